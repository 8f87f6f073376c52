"""The worker's log as the unit writes it."""

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from edge.worklog import aside
from edge.worklog.checking import Vanished, Walk
from edge.worklog.disk import hold
from edge.worklog.entries import Began, Head, Note, PictureRef, PicturesGone, Sent, chain
from edge.worklog.errors import LogDamaged, LogUnusable, LogUnwritable, SegmentsChanged
from edge.worklog.pictures import FOLDER, Pictures, expiry_s
from edge.worklog.segments import Segment
from edge.worklog.writing import NOTHING, Writer

log = logging.getLogger(__name__)


class WorkerLog:
    """The log and its pictures. Thread-safe: `keep_picture` never waits for an append."""

    def __init__(
        self,
        folder: Path,
        lock_descriptor: int,
        *,
        max_bytes: int,
        pictures_max_bytes: int,
        max_age: dt.timedelta,
        now_at: Callable[[], dt.datetime],
        now_s: Callable[[], float],
    ) -> None:
        """Use `open`."""
        self._folder, self._lock_descriptor = folder, lock_descriptor
        self._max_age, self._now_at = max_age, now_at
        self._pictures = Pictures(folder / FOLDER, pictures_max_bytes, now_s)
        self._writer = Writer(folder, max_bytes)
        self._lock = Lock()
        self._found: str | None = None  # for good
        self._changed: str | None = None  # looked at again by every append

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        max_bytes: int = 32 << 20,
        pictures_max_bytes: int = 256 << 20,
        max_age: dt.timedelta = dt.timedelta(days=60),
        now_at: Callable[[], dt.datetime],
        now_s: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open or make the log and verify all of it: see `damage`. Raises LogInUse, LogUnusable."""
        bounds = {"max_bytes": max_bytes, "pictures_max_bytes": pictures_max_bytes}
        lock_descriptor = -1
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_descriptor = hold(folder.with_name(f"{folder.name}.lock"))
            aside.finish(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            opened = cls(folder, lock_descriptor, **bounds, max_age=max_age, now_at=now_at, now_s=now_s)
            opened._load()
        except BaseException as error:
            if lock_descriptor >= 0:
                os.close(lock_descriptor)
            if not isinstance(error, OSError):
                raise
            raise LogUnusable(f"{folder}: wanted a folder for the worker's log, got {error}") from error
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Note the head, close the files and give up the lock; closing twice does nothing."""
        with self._lock:
            if self._lock_descriptor < 0:
                return
            if self.damage is None:
                self._writer.tidy_if_possible()
            self._writer.close()
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    @property
    def damage(self) -> str | None:
        """What is not as it was written: file, entry, wanted and got. None where all of it is."""
        return self._found or self._changed

    @property
    def head(self) -> Head:
        """The last entry that counts."""
        return self._writer.head

    @property
    def pictures_dropped(self) -> int:
        """How many pictures gave way to newer ones since this process opened the log."""
        return self._pictures.dropped

    def append(self, notes: Sequence[Note]) -> None:
        """Write notes with one sync, durable on return. Raises LogDamaged, and LogUnwritable: none counts."""
        if not notes:
            return
        for note in notes:
            if isinstance(note, Sent) and note.picture is not None:
                expiry_s(note.picture.expires_at)  # ValueError here, not a broken log at the next start
        with self._lock:
            self._write(notes)

    def has_sent(self, topic: str, sha256: str) -> bool:
        """Return whether the message stands in the log, or stood there; the newest are remembered."""
        return (topic, sha256) in self._writer.remembered

    def keep_picture(
        self, event_id: str, jpeg: bytes, expires_at: dt.datetime, *, dated: bool = True
    ) -> PictureRef:
        """Keep a picture until `expires_at`, 20 days at most, durable on return. Raises LogUnwritable.

        Not `dated`: nobody had set the clock that says so; it gets its end once somebody has.
        Older pictures give way. ValueError: an id that may be no file's name, or that has another picture.
        """
        return self._pictures.keep(event_id, jpeg, expires_at, self._now_at(), dated=dated)

    def picture_ref(self, event_id: str) -> PictureRef | None:
        """Return what names the picture of an event; None where none is kept."""
        return self._pictures.ref(event_id)

    def keep_until(self, event_id: str, expires_at: dt.datetime) -> None:
        """Keep a picture that is kept until another time, 20 days at most. Raises LogUnwritable."""
        try:
            self._pictures.keep_until(event_id, expires_at, self._now_at())
        except OSError as error:
            raise LogUnwritable(f"{self._folder}: the picture of {event_id}: {error}") from error

    def expire(self, *, synchronised: bool) -> int:
        """Wipe expired pictures, note those that are gone, prune; return how many pictures expired.

        Call it once a minute. A clock that is ahead costs pictures, never entries: those go by a
        `synchronised` one. Raises LogUnwritable after all that could be done; of a damaged log, see `damage`.
        """
        now_at, failure, gone = self._now_at(), None, 0
        try:
            gone += self._pictures.expire(now_at, synchronised=synchronised)
            gone += aside.expire(self._folder, now_at)
        except OSError as error:
            failure = error
        with self._lock:
            self._look()
            if self.damage is None:
                self._expire_entries(now_at - self._max_age if synchronised else None)
        if failure is not None:
            raise LogUnwritable(f"{self._folder}: wanted to delete what expired, got {failure}") from failure
        return gone

    def start_anew(self, reason: str) -> None:
        """Move a damaged log aside and begin a new one; a sound one stays. Raises LogUnwritable."""
        with self._lock:
            self._check_open()
            if self.damage is None:
                return
            began = chain([Began(reason, self._writer.head.sha256)], NOTHING, self._now_at())
            try:
                aside.replace(self._folder, began)
                self._load()
            except OSError as error:
                raise LogUnwritable(f"{self._folder}: wanted to begin a new log, got {error}") from error

    def _load(self) -> None:
        """Read all there is and go on where it ends."""
        self._writer.remembered.clear()
        found = Walk(self._folder, self._now_at().timestamp(), self._writer.remembered.add)
        try:
            found.run()
        except Vanished as error:  # nobody else prunes
            found.problem = str(error)
        self._writer.take(found)
        self._pictures.load()
        self._found, self._changed = found.problem, None
        if found.problem is not None:
            log.error("the worker's log is damaged: %s", found.problem)
        elif self._writer.head.seq == 0:
            try:
                self._write([])
            except LogUnwritable as error:
                log.warning("the worker's log cannot begin yet: %s", error)

    def _check_open(self) -> None:
        if self._lock_descriptor < 0:
            raise LogUnwritable(f"{self._folder}: closed")

    def _look(self) -> None:
        self._check_open()
        try:
            self._writer.look()
            self._changed = None
        except SegmentsChanged as error:
            self._changed = str(error)
        except OSError as error:
            raise LogUnwritable(f"{self._folder}: {error}") from error

    def _write(self, notes: Sequence[Note], pruning: Sequence[Segment] = ()) -> None:
        self._check_open()
        if self._found is not None:
            raise LogDamaged(self._found)
        try:
            self._writer.commit(notes, self._now_at(), pruning)
            self._changed = None
        except SegmentsChanged as error:
            self._changed = str(error)
            raise LogDamaged(str(error)) from error
        except OSError as error:
            raise LogUnwritable(f"{self._folder}: {error}") from error

    def _expire_entries(self, before_at: dt.datetime | None) -> None:
        try:
            buried = self._pictures.buried()
            going = self._writer.going(before_at)
            notes = [
                PicturesGone(why, tuple(each.event_id for each in buried if each.kind == why))
                for why in sorted({each.kind for each in buried})
            ]
            if notes or going:
                self._write(notes, going)
            self._pictures.forget(buried)
            self._writer.tidy()
        except OSError as error:
            raise LogUnwritable(f"{self._folder}: {error}") from error
