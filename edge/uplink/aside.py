"""Where a damaged spool goes, in steps that a power cut may end anywhere.

`spool.db` is renamed to `spool.db.salvaging`; what reads is copied to `spool.db.new`, which is renamed to
`spool.db`; then the damaged one becomes `spool.db.corrupt-N`. What lies there tells which step is the next.
"""

import datetime as dt
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.policy.floor import RETAIN_MAX_DAYS
from edge.uplink.spool_errors import of_os
from edge.worklog.disk import wipe

KEPT = 2
"""Damaged files that stay for whoever wants to know what happened."""
KEPT_FOR = dt.timedelta(days=1)
"""They hold pictures, which have a time to go."""
PICTURES_STAY = dt.timedelta(days=RETAIN_MAX_DAYS)
_LOG = "-wal"


@dataclass(frozen=True, slots=True)
class Aside:
    """The files around the spool at `path`. Raises SpoolError where they cannot be moved."""

    path: Path

    @property
    def damaged(self) -> Path:
        """The file that is being salvaged."""
        return self._beside(".salvaging")

    @property
    def new(self) -> Path:
        """The file that it is salvaged into."""
        return self._beside(".new")

    def resume(self) -> bool:
        """Return whether a salvage was cut short, and is to be done again."""
        try:
            if self.damaged.exists() and self.path.exists():  # all but its last step was done
                self.retire()
        except OSError as error:
            raise of_os(self.path, error) from error
        return self.damaged.exists()

    def begin(self) -> bool:
        """Move the spool out of the way, unless that was done before; return whether there is one."""
        try:
            for leftover in (self.new, _log(self.new)):
                leftover.unlink(missing_ok=True)
            if self.path.exists():
                self.path.rename(self.damaged)
            if not self.damaged.exists():
                _log(self.path).unlink(missing_ok=True)  # the log of a file that is gone is another's poison
            elif _log(self.path).exists():
                _log(self.path).rename(_log(self.damaged))
            self._sync()
        except OSError as error:
            raise of_os(self.path, error) from error
        return self.damaged.exists()

    def finish(self) -> Path | None:
        """Put the new file, which must be closed, in its place; return where the damaged one lies now."""
        try:
            self.new.rename(self.path)
            self._sync()
            return self.retire()
        except OSError as error:
            raise of_os(self.path, error) from error

    def retire(self) -> Path | None:
        """Keep the damaged file, and the one before; delete older ones."""
        if not self.damaged.exists():
            return None
        kept = self._kept()
        number = 1 + max((number for number, _ in kept), default=0)
        place = self._beside(f".corrupt-{number}")
        if _log(self.damaged).exists():
            _log(self.damaged).rename(_log(place))
        self.damaged.rename(place)
        os.utime(place)
        for _, old in kept[: max(0, len(kept) + 1 - KEPT)]:
            _delete(old)
        self._sync()
        return place

    def forget(self, now_at: dt.datetime) -> None:
        """Delete damaged files that were kept for `KEPT_FOR`, by a clock that may have stepped either way."""
        for _, old in self._kept():
            with suppress(OSError):
                age_s = now_at.timestamp() - old.stat().st_mtime
                if abs(age_s) >= KEPT_FOR.total_seconds():
                    _delete(old)

    def forget_unmended(self, now_at: dt.datetime) -> None:
        """Delete the file that is being salvaged where it was last written before any picture may stay."""
        with suppress(OSError):
            written_s = [each.stat().st_mtime for each in (self.damaged, _log(self.damaged)) if each.exists()]
            newest_s = max(written_s, default=math.inf)
            if now_at.timestamp() - newest_s >= PICTURES_STAY.total_seconds():
                _delete(self.damaged)

    def _kept(self) -> list[tuple[int, Path]]:
        """Return the damaged files, oldest first."""
        stem = self.path.name + ".corrupt-"
        numbered = [(path.name.removeprefix(stem), path) for path in self.path.parent.glob(f"{stem}*")]
        return sorted((int(number), path) for number, path in numbered if number.isdecimal())

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _sync(self) -> None:
        """Wait until the folder's names are on the disk."""
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _log(path: Path) -> Path:
    return path.with_name(path.name + _LOG)


def _delete(path: Path) -> None:
    """Overwrite, then delete: there may be pictures in it."""
    for each in (_log(path), path):
        with suppress(OSError):
            wipe(each)
            each.unlink(missing_ok=True)


def fresh_position() -> int:
    """Return a position that no message of this unit had, where none of the old ones is known."""
    return time.time_ns() // 1000
