"""The notice: what the worker reads and accepts, at the unit, before anything is captured.

What was accepted is a text, not a version alone: a file beside the spool names both, and whatever else is
found there, or cannot be read, is as if nothing had been accepted.
"""

import datetime as dt
import hashlib
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.errors import EdgeError
from edge.policy.breaks import BreakBy
from edge.uplink.twin_store import Disk
from edge.uplink.wire import timestamp

NOTICE_FILE = "notice.json"
_MAX_BYTES = 4096
_VERSION = re.compile(r"version: ([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_AT_THE_UNIT = frozenset({BreakBy.BUTTON, BreakBy.LOCAL})

log = logging.getLogger(__name__)


class NoticeError(EdgeError):
    """The notice is not accepted: read the one that ships, `deskwatch notice`, and accept it at the unit."""


class NoticeNotKept(NoticeError):
    """The disk did not take it: free space, or mount it writable, then do the same again."""


@dataclass(frozen=True, slots=True)
class NoticeText:
    """A notice to read."""

    version: str
    text: str
    """Without the line that names the version."""
    sha256: str
    """Of both."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    sha256: str
    accepted_at: Annotated[dt.datetime, Meta(tz=True)]
    by: BreakBy


class Notice:
    """The text that ships, and whether the worker has accepted it. Safe to use from several threads."""

    def __init__(self, folder: Path, disk: Disk | None = None, text: str | None = None) -> None:
        """Read what was accepted in `folder`. `text` begins with its version; None: the one that ships."""
        shown = shipped() if text is None else parse(text)
        self.version, self.text, self._sha256 = shown.version, shown.text, shown.sha256
        self._path, self._disk = folder / NOTICE_FILE, disk or Disk()
        self._lock = Lock()
        self._withdrawals = 0
        self._to_forget = False
        """It is not accepted, and the disk may say that it is."""
        self._accepted_at = self._load()

    @property
    def accepted(self) -> bool:
        """Whether something may be captured, as far as the notice goes."""
        return self._accepted_at is not None

    @property
    def accepted_at(self) -> dt.datetime | None:
        """When this very text was accepted, UTC by the unit's clock; None: it is not."""
        return self._accepted_at

    @property
    def kept(self) -> bool:
        """Whether a restart would know that it is not accepted."""
        return not self._to_forget

    def facts(self) -> dict[str, str | float | None]:
        """Return what `state`, `diagnose` and `deskwatch notice` tell of it."""
        at = self._accepted_at
        return {
            "notice.version": self.version,
            "notice.accepted_at": None if at is None else timestamp(at),
        }

    def accept(self, version: str, by: BreakBy, now_at: dt.datetime) -> None:
        """Take note that the worker accepts the text; it is durable before it counts. Twice is as once.

        Raises NoticeError where it is another version, or nobody at the unit, and NoticeNotKept.
        """
        if version != self.version:
            raise NoticeError(f"wanted version {self.version} of the notice accepted, got {version[:64]!r}")
        if by not in _AT_THE_UNIT:
            raise NoticeError(f"wanted the notice accepted at the unit, by button or command line, got {by}")
        with self._lock:
            if self._accepted_at is not None:
                return
            withdrawals = self._withdrawals
            try:
                self._keep(_Kept(version, self._sha256, now_at, by))
            except OSError as error:
                self._to_forget = True
                with suppress(OSError):
                    self._forget()
                raise NoticeNotKept(f"{self._path}: wanted it written, got: {_why(error)}") from error
            if self._withdrawals != withdrawals:  # while the disk took its time
                raise NoticeError("wanted the notice accepted, but it was withdrawn meanwhile")
            self._to_forget = False
            self._accepted_at = now_at
        log.info("version %s of the notice is accepted, by %s", version, by)

    def withdraw(self) -> None:
        """Take note that the worker no longer accepts it: `accepted` is False from now on.

        Raises NoticeNotKept where a restart would not know of it; `turn` tries again.
        """
        self._withdrawals += 1
        self._accepted_at = None  # before the lock: who holds it may wait for the disk
        with self._lock:
            self._accepted_at = None
            self._to_forget = True
            log.info("version %s of the notice is withdrawn", self.version)
            try:
                self._forget()
            except OSError as error:
                raise NoticeNotKept(
                    "withdrawn: nothing is captured from now on, but that would not outlast a restart:"
                    f" {self._path}: wanted it removed, got: {_why(error)}"
                ) from error

    def turn(self) -> None:
        """Try again what the disk would not take. To be called about once a second."""
        if not self._to_forget:
            return
        with self._lock, suppress(OSError):
            if self._to_forget:
                self._forget()

    def _load(self) -> dt.datetime | None:
        try:
            kept = self._kept()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            log.warning(
                "%s: wanted what was accepted, got: %s; the notice waits to be accepted", self._path, error
            )
            return None
        if (kept.version, kept.sha256) != (self.version, self._sha256) or kept.by not in _AT_THE_UNIT:
            log.info(
                "version %s of the notice waits to be accepted; before, %s was",
                self.version,
                kept.version[:64],
            )
            return None
        return kept.accepted_at.astimezone(dt.UTC)

    def _kept(self) -> _Kept:
        """Read what `accept` wrote. Raises OSError, ValueError, RecursionError."""
        if self._path.is_symlink():
            raise ValueError("a link")
        return msgspec.json.decode(self._disk.read(self._path, _MAX_BYTES), type=_Kept)

    def _keep(self, kept: _Kept) -> None:
        fresh = self._path.with_name(f"{NOTICE_FILE}.new")
        self._disk.write(fresh, msgspec.json.encode(kept))
        self._disk.replace(fresh, self._path)
        self._disk.sync_folder(self._path.parent)

    def _forget(self) -> None:
        """Delete what was accepted, or make it say nothing where that fails."""
        try:
            with suppress(FileNotFoundError):
                self._disk.remove(self._path)
            self._disk.sync_folder(self._path.parent)
        except OSError:
            self._disk.write(self._path, b"")
        self._to_forget = False


def parse(whole: str) -> NoticeText:
    """Return the notice in a file's text. Raises NoticeError where it has no version, or says nothing."""
    first, _, rest = whole.partition("\n")
    version = _VERSION.fullmatch(first.strip())
    if version is None or not rest.strip():
        raise NoticeError(f'wanted a notice that begins with "version: 1", and a text, got {first[:80]!r}')
    return NoticeText(version[1], rest.strip("\n"), hashlib.sha256(whole.encode()).hexdigest())


def shipped() -> NoticeText:
    """Return the notice of this firmware."""
    return parse(resources.files("edge.defaults").joinpath("notice.txt").read_text("utf-8"))


def _why(error: OSError) -> str:
    return error.strerror or str(error)
