"""The spool's file, its lock, mark and reserve, through damage, a full disk and a folder that is gone."""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Self, TypeVar

from edge.uplink.aside import Aside
from edge.uplink.database import Connection, empty_log, number, speaking_of, transaction
from edge.uplink.loading import load
from edge.uplink.lockfile import LockFile, LockHeld
from edge.uplink.mark import Mark, Reached
from edge.uplink.records import Salvage, SpoolCorrupt, SpoolError, SpoolFull, SpoolLocked
from edge.uplink.reserve import Reserve
from edge.uplink.schema import NEXT_SEQ
from edge.uplink.spool_errors import of_os

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Names = tuple[tuple[int, int] | None, int | None]
"""Device and inode of the file; inode of its log."""


class SpoolFile:
    """One open spool, for one process at a time. Safe to use from several threads.

    On a full disk the reserve beside the file is given up, and it is `tight` until there is room again.
    """

    def __init__(self, path: Path, lock: LockFile) -> None:
        self.path = path
        self.tight = False
        """The disk was full, and the reserve is not back yet."""
        self.soiled = True
        """The log may hold pictures that are gone: a process that died left it."""
        self.salvaged: Salvage | None = None
        self._hold = lock
        self._lock = Lock()
        self._mark, self._reserve = Mark(path.with_suffix(".mark")), Reserve(path.with_suffix(".reserve"))
        self._broken = self._closed = False
        self._session_kept = False
        self._db, self._reached, self._known = self._load(self._mark.read())
        self._reached = replace(self._reached, session=self._reached.session + 1)
        self._numbered = self._reached.seq
        self._mark.write(self._reached)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file, its folder too (0700). Raises SpoolError."""
        lock = _hold(path)
        try:
            return cls(path, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and give up the lock; closing twice does nothing."""
        with self._lock:
            self._closed = True
            self._db.close()
            self._mark.close()
            self._hold.release()

    @property
    def session(self) -> int:
        """How often the spool was opened."""
        return self._reached.session

    @property
    def epoch(self) -> str:
        """In which the next number counts."""
        return self._reached.epoch

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Do `work` in a transaction; on a full disk once more, with the room that can be made."""
        with self._lock:
            if self.tight:
                self.tight = not self._reserve.make()
            try:
                return self._commit(work)
            except SpoolFull:
                if not self._make_room():
                    raise
            return self._commit(work)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend the connection, outside a transaction."""
        with self._lock, self._guarded() as db:
            yield db

    def number(self, db: Connection, records: int) -> int:
        """Give out numbers within `write`; return the last."""
        self._numbered = number(db, NEXT_SEQ, records)
        return self._numbered

    def wipe(self) -> None:
        """Empty the log of pictures that are gone.

        Where that fails (a full disk), the deletion stands, and the next call tries again.
        """
        if not self.soiled:
            return
        try:
            with self.reading() as db:
                self.soiled = not empty_log(db)
        except SpoolError as error:
            _log.debug("pictures that are gone stay in the log of the spool for now: %s", error)

    def tidy(self, now_at: dt.datetime | None = None) -> None:
        """Take the reserve back if there is room, and delete damaged files that were kept long enough."""
        self._reserve.make()
        if now_at is not None:
            Aside(self.path).forget(now_at)

    def forget_damaged(self, now_at: dt.datetime) -> None:
        """Delete a file that waits to be salvaged, where all pictures in it are past their time."""
        Aside(self.path).forget_unmended(now_at)

    def gone(self) -> bool:
        """Return whether the file, its log or its folder was deleted or replaced under us."""
        if self._closed:  # whoever is late has no business with it: it may be another's by now
            return False
        now = _names(self.path)
        if self._known[1] is None:  # the log is made by the first write
            self._known = self._known[0], now[1]
        return now != self._known

    @property
    def damaged(self) -> bool:
        """Whether damage was met, and is not put right yet."""
        return self._broken

    def recover(self) -> None:
        """Put a file that is damaged or gone right, in place; one that is sound stays as it is."""
        with self._lock:
            if self._closed:
                raise SpoolError(f"{self.path}: wanted an open spool, got one that was closed: open it anew")
            gone = self.gone()
            if not (gone or self._broken):
                return
            live = self._db if gone and not self._broken else None
            if live is None:
                self._db.close()
            if gone:
                self._hold.release()
                self._hold = _hold(self.path)
                self._mark.close()
            self._broken = live is None  # should the next line fail, there is no connection any more
            self._db, self._reached, self._known = self._load(
                self._reached, damaged=live is None and not gone, live=live
            )
            self._broken = self._session_kept = False
            self._numbered = self._reached.seq
            self.soiled = True
            self._mark.write(self._reached)
        self.wipe()

    def _load(
        self, reached: Reached | None, *, damaged: bool = False, live: Connection | None = None
    ) -> tuple[Connection, Reached, _Names]:
        try:
            loaded = load(self.path, reached, damaged=damaged, live=live)
        except SpoolFull:
            if not self._reserve.give_up():
                raise
            self.tight = True
            loaded = load(self.path, reached, damaged=damaged, live=live)
        self.salvaged = loaded.salvaged
        return loaded.db, loaded.reached, _names(self.path)

    def _commit(self, work: Callable[[Connection], _T]) -> _T:
        self._numbered = self._reached.seq
        with self._guarded() as db:
            with transaction(db):
                if not self._session_kept:
                    db.execute("UPDATE counter SET value = ? WHERE name = 'session'", (self.session,))
                done = work(db)
            self._session_kept = True
        if self._numbered != self._reached.seq:
            self._reached = replace(self._reached, seq=self._numbered)
            self._mark.write(self._reached)
        if self.tight:
            with suppress(SpoolError), self._guarded() as db:
                empty_log(db)  # what the log takes is missing elsewhere
        return done

    def _make_room(self) -> bool:
        """Give up the reserve; return whether there may be more room than before."""
        gave, before = self._reserve.give_up(), self.tight
        self.tight = True
        if gave:
            _log.warning("%s: the disk is full: its reserve is given up, and pictures give way", self.path)
        with suppress(SpoolError), self._guarded() as db:
            empty_log(db)
        return gave or not before

    @contextmanager
    def _guarded(self) -> Iterator[Connection]:
        try:
            with speaking_of(self.path):
                yield self._db
        except SpoolCorrupt:
            self._broken = True
            raise


def _hold(path: Path) -> LockFile:
    """Make the folder, and hold the lock file beside the spool."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LockFile.hold(path.with_name(path.name + ".lock"))
    except LockHeld as error:
        raise SpoolLocked(
            f"{path} is in use: {error}; stop that one, or give this one its own folder"
        ) from error
    except OSError as error:
        raise of_os(path, error) from error


def _names(path: Path) -> _Names:
    """Return what is at the paths of the file and its log."""
    file: tuple[int, int] | None = None
    log: int | None = None
    with suppress(OSError):
        status = path.stat()
        file = status.st_dev, status.st_ino
    with suppress(OSError):
        log = path.with_name(path.name + "-wal").stat().st_ino
    return file, log
