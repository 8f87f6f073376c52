"""The pictures of what was sent: a file each, named for its event and its expiry; gone on time, and wiped.

A picture leaves in steps that a power cut may part: its file is renamed to say why, then zeroed and emptied.
The empty file stays until the log says that the picture is gone, so that none is ever missing without a word.
"""

import datetime as dt
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from edge.worklog.disk import sync_folder, wipe, write_whole
from edge.worklog.entries import PictureRef
from edge.worklog.errors import LogUnwritable

MAX_KEPT = dt.timedelta(days=20)
EXPIRED, NO_ROOM = "expired", "no-room"
FOLDER = "pictures"
_JPG, _UNDATED, _NEW = "jpg", "undated", "new"
_EVENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NAME = re.compile(rf"({_EVENT_ID.pattern})\.([0-9]{{1,12}})\.({_JPG}|{_UNDATED}|{_NEW}|{EXPIRED}|{NO_ROOM})")


@dataclass(frozen=True, slots=True)
class Named:
    """What a file's name says."""

    event_id: str
    expires_s: int
    kind: str

    @classmethod
    def parse(cls, name: str) -> "Named | None":
        """Return what a name says; None where it is none of ours."""
        found = _NAME.fullmatch(name)
        return cls(found[1], int(found[2]), found[3]) if found else None

    def __str__(self) -> str:
        return f"{self.event_id}.{self.expires_s}.{self.kind}"

    @property
    def whole(self) -> bool:
        """Whether the picture can be looked at."""
        return self.kind in {_JPG, _UNDATED}

    @property
    def gone(self) -> bool:
        """Whether the file says why the picture is no longer there."""
        return self.kind in {EXPIRED, NO_ROOM}


def checked_id(event_id: str) -> str:
    """Return the id if it may be part of a file's name. Raises ValueError."""
    if not _EVENT_ID.fullmatch(event_id):
        raise ValueError(f"event_id: wanted 1 to 128 of A-Z a-z 0-9 . _ -, got {event_id[:140]!r}")
    return event_id


def in_folder(folder: Path) -> Iterator[tuple[str, Named | None]]:
    """Give the names of all files; none where there is no folder."""
    try:
        names = sorted(each.name for each in os.scandir(folder))
    except FileNotFoundError:
        return
    yield from ((name, Named.parse(name)) for name in names)


def expiry_s(expires_at: str) -> int:
    """Return the Unix time of a reference's expiry. Raises ValueError."""
    return math.floor(dt.datetime.fromisoformat(expires_at).timestamp())


def sweep(folder: Path, now_at: dt.datetime | None) -> int:
    """Wipe and delete what expired by `now_at`, or all of it, where no log is; return how many."""
    gone = 0
    for name, named in list(in_folder(folder)):
        if named is None or now_at is None or named.expires_s <= now_at.timestamp():
            wipe(folder / name)
            (folder / name).unlink(missing_ok=True)
            gone += 1
    return gone


@dataclass(slots=True)
class _Kept:
    named: Named
    bytes: int


class Pictures:
    """All pictures of a log. Thread-safe, by a lock of its own that is held for one file at a time."""

    def __init__(self, folder: Path, max_bytes: int, now_s: Callable[[], float]) -> None:
        self._folder, self._max_bytes, self._now_s = folder, max_bytes, now_s
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}  # oldest first
        self._ends_s: dict[str, float] = {}  # on the monotonic clock, of those that this process kept undated
        self.dropped = 0

    def load(self) -> None:
        """Find what is there; finish what a power cut interrupted. Raises OSError."""
        with self._lock:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            found: list[tuple[int, _Kept]] = []
            for name, named in list(in_folder(self._folder)):
                path = self._folder / name
                if named is not None and named.whole:
                    status = path.stat()
                    found.append((status.st_mtime_ns, _Kept(named, status.st_size)))
                elif named is not None:
                    wipe(path)
                    if not named.gone:
                        path.unlink()
            found.sort(key=lambda each: each[0])
            self._kept = {kept.named.event_id: kept for _, kept in found}

    def keep(
        self, event_id: str, jpeg: bytes, expires_at: dt.datetime, now_at: dt.datetime, *, dated: bool
    ) -> PictureRef:
        """Write a picture, durable on return; older ones give way. Kept already, it stays as it is.

        Undated: `expires_at` is by a clock that nobody had set.
        Raises LogUnwritable, and ValueError for an id that is no name or that has another picture.
        """
        sha256 = hashlib.sha256(jpeg).hexdigest()
        expires_at = min(expires_at, now_at + MAX_KEPT)
        expires_s = math.floor(expires_at.timestamp())
        if len(jpeg) > self._max_bytes:
            raise LogUnwritable(f"{event_id}: wanted a picture of {self._max_bytes} bytes, got {len(jpeg)}")
        named = Named(checked_id(event_id), max(0, expires_s), _JPG if dated else _UNDATED)
        new, path = self._folder / f"{event_id}.{named.expires_s}.{_NEW}", self._folder / str(named)
        with self._lock:
            try:
                if (same := self._same(event_id, sha256)) is not None:
                    return same
                self._make_room(len(jpeg))
                self._folder.mkdir(mode=0o700, exist_ok=True)
                write_whole(new, jpeg)
                new.rename(path)
                sync_folder(self._folder)
            except OSError as error:
                for each in (new, path):
                    with suppress(OSError):
                        wipe(each)
                        each.unlink(missing_ok=True)
                raise LogUnwritable(f"{path}: {error}") from error
            self._kept[event_id] = _Kept(named, len(jpeg))
            if not dated:
                self._ends_s[event_id] = self._now_s() + (expires_at - now_at).total_seconds()
        return _ref(named, sha256, len(jpeg))

    def ref(self, event_id: str) -> PictureRef | None:
        """Return what names a picture that is kept; None where it is not, or cannot be read."""
        with self._lock:
            kept = self._kept.get(event_id)
            if kept is None:
                return None
            try:
                data = (self._folder / str(kept.named)).read_bytes()
            except OSError:
                return None
        return _ref(kept.named, hashlib.sha256(data).hexdigest(), len(data))

    def expire(self, now_at: dt.datetime, *, synchronised: bool) -> int:
        """Wipe what expired; return how many. Raises OSError, after all that could be done.

        By a synchronised clock, none is left more than 20 days: it was written while the clock ran ahead.
        Those that were kept undated have what is left of their time by the monotonic clock; of a process
        before this one, nobody can tell how much that is.
        """
        gone, failure = 0, None
        for event_id, kept in list(self._kept.items()):
            try:
                gone += self._mind(event_id, kept.named, now_at, synchronised=synchronised)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        return gone

    def keep_until(self, event_id: str, expires_at: dt.datetime, now_at: dt.datetime) -> None:
        """Give a picture that is kept another end: its own was by a wrong clock. Raises OSError."""
        expires_s = max(0, math.floor(min(expires_at, now_at + MAX_KEPT).timestamp()))
        with self._lock:
            self._date(event_id, expires_s)

    def buried(self) -> list[Named]:
        """Return what is gone and not yet noted in the log; what could not be wiped is tried again."""
        found: list[Named] = []
        for name, named in in_folder(self._folder):
            if named is not None and named.gone:
                wipe(self._folder / name)
                found.append(named)
        return found

    def forget(self, noted: Iterable[Named]) -> None:
        """Delete what is left of pictures of which the log says that they are gone."""
        for named in noted:
            (self._folder / str(named)).unlink(missing_ok=True)

    def _mind(self, event_id: str, named: Named, now_at: dt.datetime, *, synchronised: bool) -> bool:
        """Wipe or date one picture; return whether it expired."""
        now_s, latest_s = now_at.timestamp(), math.floor((now_at + MAX_KEPT).timestamp())
        expires_s, expired = named.expires_s, named.expires_s <= now_s
        if named.kind == _UNDATED:
            end_s = self._ends_s.get(event_id)
            if end_s is None:
                expired = expired or synchronised
            else:
                left_s = end_s - self._now_s()
                expires_s, expired = math.floor(now_s + left_s), left_s <= 0.0
        with self._lock:
            if expired:
                return self._bury(event_id, EXPIRED)
            expires_s = min(expires_s, latest_s)
            if synchronised and (named.kind == _UNDATED or expires_s < named.expires_s):
                self._date(event_id, expires_s)
        return False

    def _same(self, event_id: str, sha256: str) -> PictureRef | None:
        kept = self._kept.get(event_id)
        if kept is None:
            return None
        try:
            held = hashlib.sha256((self._folder / str(kept.named)).read_bytes()).hexdigest()
        except FileNotFoundError:
            del self._kept[event_id]
            return None
        if held != sha256:
            raise ValueError(f"{event_id}: wanted the picture {held} that is kept, got {sha256}")
        return _ref(kept.named, sha256, kept.bytes)

    def _make_room(self, more_bytes: int) -> None:
        held_bytes = sum(each.bytes for each in self._kept.values())
        for event_id, kept in list(self._kept.items()):
            if held_bytes + more_bytes <= self._max_bytes:
                return
            self._bury(event_id, NO_ROOM)
            held_bytes -= kept.bytes
            self.dropped += 1

    def _bury(self, event_id: str, why: str) -> bool:
        """Rename first: zeros under the name of a picture would look like a picture that was changed."""
        kept = self._kept.get(event_id)
        if kept is None:
            return False
        buried = self._folder / f"{event_id}.{kept.named.expires_s}.{why}"
        self._ends_s.pop(event_id, None)
        try:
            (self._folder / str(kept.named)).rename(buried)
        except FileNotFoundError:
            del self._kept[event_id]  # somebody took it away: verifying the log names it
            return False
        del self._kept[event_id]
        sync_folder(self._folder)
        wipe(buried)
        return True

    def _date(self, event_id: str, expires_s: int) -> None:
        kept = self._kept.get(event_id)
        if kept is None:
            return
        named = Named(event_id, expires_s, _JPG)
        (self._folder / str(kept.named)).rename(self._folder / str(named))
        self._kept[event_id] = _Kept(named, kept.bytes)
        self._ends_s.pop(event_id, None)
        sync_folder(self._folder)


def _ref(named: Named, sha256: str, size_bytes: int) -> PictureRef:
    expires_at = dt.datetime.fromtimestamp(named.expires_s, dt.UTC)
    text = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return PictureRef(named.event_id, sha256, size_bytes, text)
