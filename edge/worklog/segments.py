"""The log's files: appended to with one fdatasync, a torn tail cut, whole old ones deleted.

One thread at a time; what OSError means is for the caller to say.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from edge.worklog.disk import MODE, sync_folder, write_at, write_whole
from edge.worklog.entries import Batch, Head, Pruned
from edge.worklog.errors import SegmentsChanged

HEAD_FILE, HEAD_NEW = "head", "head.new"
_NAME = re.compile(r"segment-([0-9]{8,})\.jsonl")


@dataclass(slots=True)
class Segment:
    """One file of whole lines."""

    first_seq: int
    head: Head
    size_bytes: int
    first_at: str
    last_at: str
    counts: dict[str, int]


def name_of(first_seq: int) -> str:
    """Return the name of the segment that begins with an entry."""
    return f"segment-{first_seq:08}.jsonl"


def first_of(name: str) -> int | None:
    """Return the entry with which a segment of that name begins; None where it is no segment's name."""
    found = _NAME.fullmatch(name)
    first_seq = int(found[1]) if found else 0
    return first_seq if first_seq > 0 and name_of(first_seq) == name else None


def listed(folder: Path) -> list[int]:
    """Return the first entries of all segments, oldest first."""
    return sorted(first for each in os.scandir(folder) if (first := first_of(each.name)) is not None)


def note_head(folder: Path, head: Head) -> None:
    """Keep how far the log goes in a file of its own, replaced as one."""
    write_whole(folder / HEAD_NEW, msgspec.json.encode(head) + b"\n")
    (folder / HEAD_NEW).replace(folder / HEAD_FILE)
    sync_folder(folder)


def pruned_of(segments: Sequence[Segment]) -> Pruned:
    """Return the note that has to stand in the log before these are deleted."""
    counts: dict[str, int] = {}
    for segment in segments:
        for kind, number in segment.counts.items():
            counts[kind] = counts.get(kind, 0) + number
    last = segments[-1].head
    return Pruned(segments[0].first_seq, last.seq, last.sha256, dict(sorted(counts.items())))


class Segments:
    """All segments of a log, the newest of them open."""

    def __init__(self, folder: Path, segment_bytes: int, known: list[Segment]) -> None:
        self._folder, self._segment_bytes = folder, segment_bytes
        self._known = known
        self._descriptor = -1
        self._unsure = False  # whether the newest may hold more than counts
        self._leftover: Path | None = None  # a segment that was begun, and does not count
        if known:
            self._descriptor = self._opened()
            os.fdatasync(self._descriptor)  # what reads whole need not be on the disk yet

    @classmethod
    def taken(cls, folder: Path, segment_bytes: int, known: list[Segment]) -> Self:
        """Take up the segments of a log that was verified; what was never synced is cut. Raises OSError."""
        for first_seq in listed(folder)[-1:]:
            path = folder / name_of(first_seq)
            if known and known[-1].first_seq == first_seq:
                os.truncate(path, known[-1].size_bytes)
            else:
                path.unlink()  # not one whole line
        return cls(folder, segment_bytes, known)

    def close(self) -> None:
        """Close the newest; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fits(self, batch: Batch, pruning: Sequence[Segment]) -> bool:
        """Return whether the newest takes the batch: it stays, and is neither full nor of another day."""
        if len(pruning) == len(self._known):
            return False
        newest = self._known[-1]
        same_day = newest.first_at[:10] == batch.at[:10]
        return same_day and newest.size_bytes + len(batch.data) <= self._segment_bytes

    def over(self, limit_bytes: int, *, but_newest: bool = False) -> list[Segment]:
        """Return the oldest segments, as many as must go for the rest to fit."""
        excess_bytes = sum(each.size_bytes for each in self._known) - limit_bytes
        going: list[Segment] = []
        for segment in self._known[: len(self._known) - but_newest]:
            if excess_bytes <= 0:
                break
            going.append(segment)
            excess_bytes -= segment.size_bytes
        return going

    def older(self, than_at: str) -> list[Segment]:
        """Return the oldest segments, as long as they end before a time.

        One that only seems old, written after a start with a clock that stood in 1970, takes none before it.
        """
        return list(itertools.takewhile(lambda each: each.last_at < than_at, self._known))

    def append(self, batch: Batch, *, anew: bool) -> None:
        """Write a batch, durable on return, to the newest segment or to one of its own.

        Raises OSError, and none of it counts; SegmentsChanged.
        """
        self._settle()
        self.look()
        if anew:
            self._begin(batch)
        else:
            self._extend(batch)

    def look(self) -> None:
        """Check that the newest is still the one that was written. Raises SegmentsChanged, OSError."""
        if not self._known:
            return
        path, wanted = self._path(self._known[-1]), self._known[-1].size_bytes
        ours = os.fstat(self._descriptor)
        try:
            named = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SegmentsChanged(f"{path}: wanted the newest file of the log, got nothing") from error
        if not os.path.samestat(ours, named):
            raise SegmentsChanged(f"{path}: wanted the file that the unit wrote, got another")
        if ours.st_size != wanted and not self._unsure:
            raise SegmentsChanged(f"{path}: wanted {wanted} bytes, got {ours.st_size}")

    def look_at_all(self) -> None:
        """Check that no segment was taken away either."""
        self.look()
        there = set(listed(self._folder)) if self._known else set()
        for segment in self._known:
            if segment.first_seq not in there:
                raise SegmentsChanged(f"{self._path(segment)}: wanted a file of the log, got nothing")

    def leave_out(self, oldest: int) -> None:
        """Count so many no more: the log says that they are pruned."""
        self._known = self._known[oldest:]

    def delete(self, first_seq: int) -> None:
        """Delete a segment, if it is there."""
        (self._folder / name_of(first_seq)).unlink(missing_ok=True)

    def _path(self, segment: Segment) -> Path:
        return self._folder / name_of(segment.first_seq)

    def _opened(self) -> int:
        return os.open(self._path(self._known[-1]), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _extend(self, batch: Batch) -> None:
        newest = self._known[-1]
        self._unsure = True
        try:
            write_at(self._descriptor, batch.data, newest.size_bytes)
            os.fdatasync(self._descriptor)
        except OSError:
            self._try_to_settle()
            raise
        self._unsure = False
        newest.size_bytes += len(batch.data)
        newest.head, newest.last_at = batch.head, batch.at
        for kind, number in batch.counts.items():
            newest.counts[kind] = newest.counts.get(kind, 0) + number

    def _begin(self, batch: Batch) -> None:
        self._leftover = path = self._folder / name_of(batch.first_seq)
        descriptor = -1
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, MODE)
            write_at(descriptor, batch.data, 0)
            os.fdatasync(descriptor)
            sync_folder(self._folder)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            self._try_to_settle()
            raise
        self._leftover = None
        self.close()
        self._descriptor = descriptor
        self._known.append(
            Segment(batch.first_seq, batch.head, len(batch.data), batch.at, batch.at, dict(batch.counts))
        )

    def _try_to_settle(self) -> None:
        with suppress(OSError, SegmentsChanged):  # the next append tries again first
            self._settle()

    def _settle(self) -> None:
        """Take away what was half-written, and look at what is left: a failed sync may have dropped more."""
        if self._leftover is not None:
            self._leftover.unlink(missing_ok=True)
            self._leftover = None
        if not self._unsure:
            return
        self.look()
        newest = self._known[-1]
        os.ftruncate(self._descriptor, newest.size_bytes)
        os.fdatasync(self._descriptor)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, not from memory
        data = os.pread(self._descriptor, newest.size_bytes, 0)
        last = data[data.rfind(b"\n", 0, -1) + 1 : -1]
        if len(data) != newest.size_bytes or hashlib.sha256(last).hexdigest() != newest.head.sha256:
            raise SegmentsChanged(
                f"{self._path(newest)}, entry {newest.head.seq}: wanted the hash {newest.head.sha256},"
                f" got {hashlib.sha256(last).hexdigest()} after a write that failed"
            )
        self._unsure = False
