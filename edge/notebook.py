"""Where a break or a repair is kept over a restart: in two places, lest it is forgotten with one."""

import logging
from contextlib import suppress
from pathlib import Path

from edge.errors import EdgeError
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_store import Disk

_MAX_BYTES = 65_536

log = logging.getLogger(__name__)


class NotKept(EdgeError):
    """Neither the state folder nor the spool took it: free space on the disk, or mount it writable."""


class NotReadable(EdgeError):
    """One of the two places cannot be read, and may hold the later text: write what is true to both."""


class TwoPlaces:
    """A small text, or none, in a file of its own and in the spool; of two that differ, the later one counts.

    Each is written behind a number that rises, so that a place that missed the end of a break does not
    bring it back.
    """

    def __init__(self, folder: Path, spool: Spool, name: str = "break", disk: Disk | None = None) -> None:
        """`name`: of the file, before its `.json`, and of the spool's note."""
        self._path, self._spool, self._name = folder / f"{name}.json", spool, name
        self._disk = disk or Disk()
        self._number = 0
        """The highest that was read or written: a place that cannot be read for a while may have it."""

    def read(self) -> str | None:
        """Return the text; a place that cannot be read counts as empty."""
        return self._latest()[1]

    def read_both(self) -> str | None:
        """Return the text. Raises NotReadable where either place has something that is none."""
        places = []
        try:
            for place, note in (
                (str(self._path), self._file_note()),
                ("spool", self._spool.noted(self._name)),
            ):
                parsed = _parse(note)
                if parsed is None:
                    raise NotReadable(
                        f"{place}: wanted the text {self._name!r} behind its number, got another"
                    )
                places.append(parsed)
        except (OSError, UnicodeDecodeError, SpoolError) as error:
            raise NotReadable(
                f"{self._path} and spool: wanted the text {self._name!r}, got: {error}"
            ) from error
        latest = max(places, key=lambda each: each[0])
        self._number = max(self._number, latest[0])
        return latest[1]

    def write(self, text: str | None) -> None:
        """Keep the text, durable in one place at least once this returns. Raises NotKept."""
        self._number = max(self._number, self._latest()[0]) + 1
        note = f"{self._number}\n{text or ''}"
        failures = [why for why in (self._write_file(note), self._write_spool(note)) if why is not None]
        if len(failures) == 2:
            raise NotKept(f"{failures[0]}; {failures[1]}")

    def _latest(self) -> tuple[int, str | None]:
        file = spool = None
        with suppress(OSError, UnicodeDecodeError):
            file = self._file_note()
        with suppress(SpoolError):
            spool = self._spool.noted(self._name)
        latest = max(_parse(file) or _NONE, _parse(spool) or _NONE, key=lambda each: each[0])
        self._number = max(self._number, latest[0])
        return latest

    def _file_note(self) -> str | None:
        """Return what is in the file, None where there is none. Raises OSError, UnicodeDecodeError."""
        try:
            return self._disk.read(self._path, _MAX_BYTES).decode()
        except FileNotFoundError:
            return None

    def _write_file(self, note: str) -> str | None:
        """Return why it failed."""
        new = self._path.with_suffix(".new")
        try:
            self._disk.write(new, note.encode())
            self._disk.replace(new, self._path)
            self._disk.sync_folder(self._path.parent)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return None

    def _write_spool(self, note: str) -> str | None:
        """Return why it failed."""
        try:
            self._spool.note(self._name, note)
        except SpoolError as error:
            return str(error)
        return None


_NONE: tuple[int, str | None] = (0, None)


def _parse(note: str | None) -> tuple[int, str | None] | None:
    """Return a text and its number; None for what is no note."""
    if note is None:
        return _NONE
    number, newline, text = note.partition("\n")
    if not (newline and number.isascii() and number.isdigit() and len(number) < 18):
        return None
    return int(number), text or None
