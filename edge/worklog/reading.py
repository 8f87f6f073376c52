"""The worker's log as another process reads it, while the unit writes and prunes. It takes no lock.

A unit that runs changes files between two looks, so a problem counts once two looks in a row find the same.
"""

import datetime as dt
import hashlib
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.worklog import aside
from edge.worklog.checking import Vanished, Walk
from edge.worklog.disk import read_file
from edge.worklog.entries import Entry, Head, Note, PictureRef, Pruned, parse
from edge.worklog.errors import BrokenEntry
from edge.worklog.pictures import FOLDER, Named, checked_id, expiry_s, in_folder
from edge.worklog.segments import listed, name_of

_LOOKS, _PAUSE_S = 8, 0.05
_NEVER_SYNCED = bytes(64)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of a log. `problem`: the first thing that is not as it was written."""

    entries: int
    from_seq: int
    head: Head
    pictures: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Unread:
    """What stood at a place of the log and does not read."""

    from_seq: int
    to_seq: int
    changed: bool
    """Whether a line stands there; else nothing does."""


def read(folder: Path) -> Iterator[Entry]:
    """Give every entry that reads, oldest first; `verify` says whether one was changed or is missing.

    Raises OSError for a file that is there and cannot be read.
    """
    for entry, _ in _entries(folder):
        yield entry


def newest(folder: Path, count: int) -> list[Entry]:
    """Return the last entries that read, oldest first; only the files that they are in are opened.

    Raises OSError for a file that is there and cannot be read.
    """
    try:
        firsts = listed(folder)
    except FileNotFoundError:
        return []
    found: deque[Entry] = deque()
    for first_seq in reversed(firsts):
        with suppress(FileNotFoundError):  # pruned since
            for line in reversed(read_file(folder / name_of(first_seq)).split(b"\n")):
                if len(found) >= count:
                    break
                with suppress(BrokenEntry):
                    found.appendleft(parse(line)[0])
        if len(found) >= count:
            break
    return list(found)


def read_whole(folder: Path) -> Iterator[Entry | Unread]:
    """Give every entry as `read` does, and in its place what does not read, or is missing."""
    due: int | None = None
    for first_seq, lines in _files(folder):
        if due is None or not lines:
            due = first_seq if lines else None
        for index, line in enumerate(lines, 1):
            try:
                entry, _ = parse(line)
            except BrokenEntry:
                if index == len(lines) or _NEVER_SYNCED in line:
                    continue  # it is being written, or a power cut came in between
                if due is not None:
                    yield Unread(due, due, changed=True)
                    due += 1
                continue
            if due is not None and entry.seq > due:
                yield Unread(due, entry.seq - 1, changed=False)
            yield entry
            due = entry.seq + 1


def set_aside(folder: Path) -> list[Path]:
    """Return the logs that were changed and gave way to the one in `folder`, the oldest first."""
    try:
        return [path for _, path in sorted(aside.kept_of(folder))]
    except FileNotFoundError:
        return []


def verify(folder: Path, *, head: str | None = None, now_at: dt.datetime | None = None) -> Verified:
    """Verify the chain, its beginning and end, and the pictures that have not expired.

    `head`: a hash noted before, which has to be in the chain still. What cannot be found: see `checking`.
    """
    found = _looked_at(folder, now_at or dt.datetime.now(dt.UTC))
    if found.problem is None and head is not None and contains(folder, head) is None:
        found.problem = f"{folder}: wanted an entry with the hash {head} that was noted before, got none"
    entries = found.head.seq - found.from_seq + 1
    return Verified(entries, found.from_seq, found.head, found.pictures, found.problem)


def contains(folder: Path, sha256: str) -> int | None:
    """Return the number of the entry that has this hash, or had it and was the last to be pruned."""
    for entry, its in _entries(folder):
        if its == sha256:
            return entry.seq
        if isinstance(entry.note, Pruned) and entry.note.last_sha256 == sha256:
            return entry.note.to_seq
    return None


def picture_bytes(folder: Path, ref: PictureRef, now_at: dt.datetime | None = None) -> bytes | None:
    """Return a picture; None where it expired, is gone, or is not the one that was kept."""
    now_s = (now_at or dt.datetime.now(dt.UTC)).timestamp()
    pictures = folder / FOLDER
    try:
        event_id, expires_s = checked_id(ref.event_id), expiry_s(ref.expires_at)
    except ValueError:
        return None
    if expires_s <= now_s:
        return None
    data = _read(pictures / f"{event_id}.{expires_s}.jpg")
    if data is None:  # its expiry was brought forward
        for name, named in list(in_folder(pictures)):
            if _is_of(named, event_id, now_s):
                data = _read(pictures / name)
    return data if data is not None and hashlib.sha256(data).hexdigest() == ref.sha256 else None


def _is_of(named: Named | None, event_id: str, now_s: float) -> bool:
    return named is not None and named.whole and named.event_id == event_id and named.expires_s > now_s


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None


def _looked_at(folder: Path, now_at: dt.datetime) -> Walk:
    before: str | None = None
    found = Walk(folder, now_at.timestamp(), _nothing)
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_S)
        found = Walk(folder, now_at.timestamp(), _nothing)
        try:
            found.run()
        except (Vanished, OSError) as error:
            found.problem = str(error)
        if found.problem is None or found.problem == before:
            break
        before = found.problem
    return found


def _entries(folder: Path) -> Iterator[tuple[Entry, str]]:
    for _, lines in _files(folder):
        for line in lines:
            try:
                yield parse(line)
            except BrokenEntry:
                continue


def _files(folder: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Give the entry with which each file begins, and its lines; of one that was pruned since, none.

    What follows the last end of a line counts as one.
    """
    try:
        firsts = listed(folder)
    except FileNotFoundError:
        return
    for first_seq in firsts:
        try:
            data: bytes | None = read_file(folder / name_of(first_seq))
        except FileNotFoundError:
            data = None  # pruned since
        yield first_seq, [] if data is None else data.split(b"\n")


def _nothing(note: Note) -> None:
    """Nobody asks for each note."""
