"""Where a break is kept over a restart: in two places, lest a worker is watched because one was lost."""

import logging
from contextlib import suppress
from pathlib import Path

from edge.errors import EdgeError
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_store import Disk

BREAK_FILE, BREAK_NOTE = "break.json", "break"
_MAX_BYTES = 65_536

log = logging.getLogger(__name__)


class NotKept(EdgeError):
    """Neither the state folder nor the spool took it: free space on the disk, or mount it writable."""


class TwoPlaces:
    """A small text, or none, in a file of its own and in the spool; of two that differ, the later one counts.

    Each is written behind a number that rises, so that a place that missed the end of a break does not
    bring it back.
    """

    def __init__(self, folder: Path, spool: Spool, disk: Disk | None = None) -> None:
        self._path, self._spool = folder / BREAK_FILE, spool
        self._disk = disk or Disk()

    def read(self) -> str | None:
        """Return the text."""
        return self._latest()[1]

    def write(self, text: str | None) -> None:
        """Keep the text, durable in one place at least once this returns. Raises NotKept."""
        number = self._latest()[0] + 1
        note = f"{number}\n{text or ''}"
        failures = [why for why in (self._write_file(note), self._write_spool(note)) if why is not None]
        if len(failures) == 2:
            raise NotKept(f"{failures[0]}; {failures[1]}")

    def _latest(self) -> tuple[int, str | None]:
        return max(_parse(self._from_file()), _parse(self._from_spool()), key=lambda each: each[0])

    def _from_file(self) -> str | None:
        with suppress(OSError, UnicodeDecodeError):
            return self._disk.read(self._path, _MAX_BYTES).decode()
        return None

    def _from_spool(self) -> str | None:
        with suppress(SpoolError):
            return self._spool.noted(BREAK_NOTE)
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
            self._spool.note(BREAK_NOTE, note)
        except SpoolError as error:
            return str(error)
        return None


def _parse(note: str | None) -> tuple[int, str | None]:
    number, _, text = (note or "").partition("\n")
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        return 0, None
    return int(number), text or None
