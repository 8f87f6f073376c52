"""Walk the whole log and find the first thing that is not as it was written.

What no walk can find: somebody who may write the folder can cut off the entries since the head was last noted
(once a minute at least), or write the whole log anew, hashes and all. Against that a worker writes a head
down: a log in which it is not found again (`reading.contains`) is not the log it was taken from.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edge.worklog.disk import read_file
from edge.worklog.entries import Entry, Head, Note, PicturesGone, Pruned, Sent, count, follow, parse
from edge.worklog.errors import BrokenEntry
from edge.worklog.pictures import FOLDER, Named, expiry_s, in_folder
from edge.worklog.segments import HEAD_FILE, HEAD_NEW, Segment, first_of, listed, name_of

_TORN = bytes(64)  # what a power cut leaves of a page that was never written


class Vanished(Exception):
    """A file was listed and is gone: the unit pruned it. Look again."""


@dataclass(slots=True)
class _Expected:
    seq: int
    sha256: str
    expires_s: int


@dataclass(slots=True)
class Walk:
    """What a walk found."""

    folder: Path
    now_s: float
    on_note: Callable[[Note], None]
    segments: list[Segment] = field(default_factory=list)
    head: Head = field(default_factory=lambda: Head(0, ""))
    noted: Head | None = None
    pruned: list[tuple[int, Pruned]] = field(default_factory=list)
    torn: bool = False  # whether the newest file ends in what was never synced
    pictures: int = 0
    problem: str | None = None
    _before: str = ""  # what the first entry names as the hash before it
    _noted_hash: str = ""
    _expected: dict[str, _Expected] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    @property
    def from_seq(self) -> int:
        """The first entry that is there; 1 where there is none."""
        return self.segments[0].first_seq if self.segments else 1

    def run(self) -> None:
        """Walk; `problem` is the first thing found. Raises Vanished, and OSError where there is no folder."""
        self._read_head()
        self.problem = (
            self._segments() or self._beginning() or self._end() or self._pictures() or self._strangers()
        )

    def _read_head(self) -> None:
        try:
            self.noted = msgspec.json.decode(read_file(self.folder / HEAD_FILE), type=Head)
        except (OSError, msgspec.MsgspecError):
            self.noted = None

    def _segments(self) -> str | None:
        firsts = listed(self.folder)
        for place, first_seq in enumerate(firsts):
            name = name_of(first_seq)
            if place and first_seq != self.head.seq + 1:
                return (
                    f"{name_of(self.head.seq + 1)}, entry {self.head.seq + 1}: wanted this file, got {name}"
                )
            try:
                data = read_file(self.folder / name)
            except FileNotFoundError as error:
                raise Vanished(
                    f"{name}, entry {first_seq}: wanted the file that was listed, got none"
                ) from error
            except OSError as error:
                return f"{name}, entry {first_seq}: wanted to read it, got {error}"
            problem = self._segment(name, first_seq, data, newest=place == len(firsts) - 1)
            if problem is not None:
                return f"{name}, entry {max(first_seq, self.head.seq + 1)}: {problem}"
        return None

    def _segment(self, name: str, first_seq: int, data: bytes, *, newest: bool) -> str | None:
        lines = data.split(b"\n")
        tail = lines.pop()
        segment: Segment | None = None
        for line in lines:
            try:
                segment = self._line(first_seq, line, segment)
            except BrokenEntry as error:
                size_bytes = segment.size_bytes if segment else 0
                if newest and self._never_synced(data[size_bytes:]):
                    self.torn = True
                    return None
                return str(error)
        if not newest and (tail or segment is None):
            return "wanted whole lines up to the end of the file, got " + (
                repr(tail[-20:]) if tail else "none"
            )
        if tail and _is_whole(tail[:-1]):
            return f"wanted the end of the line, got {tail[-1:]!r}"
        self.torn = bool(tail) or segment is None
        return None

    def _line(self, first_seq: int, line: bytes, segment: Segment | None) -> Segment:
        """Take one line, the first of its segment or one more."""
        entry, sha256 = parse(line)
        if self.segments:
            follow(entry, self.head)
        elif entry.seq != first_seq:
            raise BrokenEntry(f"wanted entry {first_seq}, got entry {entry.seq}")
        else:
            self._before = entry.prev
        self._keep_in_mind(entry)
        self.head = Head(entry.seq, sha256)
        if segment is None:
            segment = Segment(first_seq, self.head, 0, entry.at, entry.at, {})
            self.segments.append(segment)
        segment.head, segment.last_at = self.head, entry.at
        segment.size_bytes += len(line) + 1
        count(segment.counts, entry.note)
        if self.noted is not None and entry.seq == self.noted.seq:
            self._noted_hash = sha256
        self.on_note(entry.note)
        return segment

    def _keep_in_mind(self, entry: Entry) -> None:
        match entry.note:
            case Pruned():
                self.pruned.append((entry.seq, entry.note))
            case PicturesGone(event_ids=event_ids):
                self._gone.update(event_ids)
            case Sent(picture=picture) if picture is not None:
                try:
                    expires_s = expiry_s(picture.expires_at)
                except ValueError as error:
                    raise BrokenEntry(f"wanted a time, got {picture.expires_at!r}") from error
                if expires_s > self.now_s:
                    self._expected[picture.event_id] = _Expected(entry.seq, picture.sha256, expires_s)
            case _:
                pass

    def _never_synced(self, rest: bytes) -> bool:
        return _TORN in rest and (self.noted is None or self.head.seq >= self.noted.seq)

    def _beginning(self) -> str | None:
        """Check that what is missing before the first entry is noted as pruned."""
        if not self.segments:
            return None
        first, name = self.from_seq, name_of(self.from_seq)
        last_hash = {each.head.seq: each.head.sha256 for each in self.segments} | {first - 1: self._before}
        before: Pruned | None = None
        for seq, note in self.pruned:
            where = f"entry {seq}, which says that entries {note.from_seq} to {note.to_seq} were pruned"
            if before is not None and note.from_seq != before.to_seq + 1:
                return f"{where}: wanted it to go on from entry {before.to_seq + 1}"
            if note.to_seq >= first - 1 and last_hash.get(note.to_seq) != note.last_sha256:
                got = last_hash.get(note.to_seq, "no file that ends there")
                return f"{where}: wanted the last hash {note.last_sha256}, got {got}"
            before = note
        if first > 1 and (before is None or before.to_seq < first - 1):
            return (
                f"{name}, entry {first}: wanted a note that entries up to {first - 1} were pruned, got none"
            )
        if first == 1 and self._before:
            return f"{name}, entry 1: wanted no hash before it, got {self._before}"
        return None

    def _end(self) -> str | None:
        """Check that the log goes as far as was noted."""
        if self.noted is None:
            return f"{HEAD_FILE}: wanted the noted head, got none that reads" if self.segments else None
        if self.noted.seq > self.head.seq:
            return (
                f"entries {self.head.seq + 1} to {self.noted.seq}: wanted a log up to the noted head"
                f" {self.noted.sha256}, got one that ends before"
            )
        if self.noted.seq < self.from_seq - 1:
            # It is noted anew before anything that was pruned is deleted.
            raise Vanished(f"{HEAD_FILE}: wanted a head from {self.from_seq - 1} on, got {self.noted.seq}")
        if self.noted.seq >= self.from_seq and self._noted_hash != self.noted.sha256:
            return (
                f"entry {self.noted.seq}: wanted the hash {self.noted.sha256} that is noted in {HEAD_FILE},"
                f" got {self._noted_hash}"
            )
        return None

    def _pictures(self) -> str | None:
        there: dict[str, Named] = {}
        gone = set(self._gone)
        for _, named in in_folder(self.folder / FOLDER):
            if named is not None and named.whole:
                there[named.event_id] = named
            elif named is not None and named.gone:
                gone.add(named.event_id)
        self.pictures = len(there)
        for event_id, wanted in self._expected.items():
            if event_id in gone:
                continue
            got = self._picture(there.get(event_id))
            if got != wanted.sha256:
                return (
                    f"{FOLDER}/{there.get(event_id, event_id)}, of entry {wanted.seq}: wanted the picture"
                    f" {wanted.sha256}, got {got or 'none'}"
                )
        return None

    def _picture(self, named: Named | None) -> str | None:
        if named is None:
            return None
        try:
            return hashlib.sha256(read_file(self.folder / FOLDER / str(named))).hexdigest()
        except OSError:
            return None

    def _strangers(self) -> str | None:
        for each in sorted(entry.name for entry in os.scandir(self.folder)):
            if each not in {HEAD_FILE, HEAD_NEW, FOLDER} and first_of(each) is None:
                return f"{each}: wanted only files of the log, got this"
        for name, named in in_folder(self.folder / FOLDER):
            if named is None:
                return f"{FOLDER}/{name}: wanted only pictures of the log, got this"
        return None


def _is_whole(line: bytes) -> bool:
    try:
        parse(line)
    except BrokenEntry:
        return False
    return True
