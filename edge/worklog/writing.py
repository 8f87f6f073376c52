"""The chain as it grows: batches, the head noted now and then, old segments named before they are deleted."""

import datetime as dt
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from edge.worklog.checking import Walk
from edge.worklog.entries import Began, Head, Note, Sent, at_text, chain
from edge.worklog.segments import Segment, Segments, note_head, pruned_of

NOTHING = Head(0, "")
MAX_SENT = 100_000
_SEGMENT_BYTES = 1 << 20
_SEGMENTS_AT_LEAST = 8
_PRUNED_BYTES = 1024  # a note of what was pruned is shorter

log = logging.getLogger(__name__)


class Remembered:
    """Which messages stand in the log: the newest of them, by eight bytes each."""

    def __init__(self) -> None:
        self._keys: dict[int, None] = {}

    def __contains__(self, message: tuple[str, str]) -> bool:
        return _key(*message) in self._keys

    def add(self, note: Note) -> None:
        """Remember it, if it was sent."""
        if isinstance(note, Sent):
            self._keys[_key(note.topic, note.sha256)] = None
            while len(self._keys) > MAX_SENT:
                del self._keys[next(iter(self._keys))]

    def clear(self) -> None:
        """Forget all."""
        self._keys.clear()


class Writer:
    """The segments and the head. One thread at a time."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _SEGMENTS_AT_LEAST)
        self.head = self._noted = NOTHING
        self.remembered = Remembered()
        self._segments = Segments(folder, self._segment_bytes, [])
        self._to_delete: list[int] = []

    def close(self) -> None:
        """Close the files."""
        self._segments.close()

    def take(self, found: Walk) -> None:
        """Go on where a verified log ends; finish what was interrupted. Raises OSError.

        Of a damaged one, only its last good head is taken.
        """
        self._segments.close()
        self._segments, self._to_delete = Segments(self._folder, self._segment_bytes, []), []
        self.head, self._noted = found.head, found.noted or NOTHING
        if found.problem is None:
            pruned_to = found.pruned[-1][1].to_seq if found.pruned else 0
            going = [each for each in found.segments if each.head.seq <= pruned_to]
            known = found.segments[len(going) :]
            self._segments = Segments.taken(self._folder, self._segment_bytes, known)
            self._to_delete = [each.first_seq for each in going]
            self.tidy_if_possible()

    def look(self) -> None:
        """Check that the files are still those that were written. Raises SegmentsChanged, OSError."""
        self._segments.look_at_all()

    def going(self, before_at: dt.datetime | None) -> list[Segment]:
        """Return the segments that end before a time, and those that a lower bound has no room for."""
        aged = self._segments.older(at_text(before_at)) if before_at is not None else []
        return max(aged, self._segments.over(self._max_bytes, but_newest=True), key=len)

    def commit(self, notes: Sequence[Note], now_at: dt.datetime, pruning: Sequence[Segment] = ()) -> None:
        """Write notes as one, after a note of `pruning`, which leaves. Raises OSError, SegmentsChanged."""
        if self.head.seq == 0:
            note_head(self._folder, NOTHING)  # a log without a noted head was tampered with
            notes = [Began("first"), *notes]
        written = [pruned_of(pruning), *notes] if pruning else notes
        batch = chain(written, self.head, now_at)
        anew = not self._segments.fits(batch, pruning)
        if anew:
            room_bytes = self._max_bytes - max(self._segment_bytes, len(batch.data) + _PRUNED_BYTES)
            going = self._segments.over(room_bytes)
            if len(going) > len(pruning):
                self.commit(notes, now_at, going)
                return
        self._segments.append(batch, anew=anew)
        self.head = batch.head
        self._segments.leave_out(len(pruning))
        self._to_delete += [each.first_seq for each in pruning]
        for note in written:
            self.remembered.add(note)
        if anew:
            self.tidy_if_possible()

    def tidy(self) -> None:
        """Note the head, then delete what the log says is pruned. Raises OSError."""
        if self._noted != self.head and self.head.seq:
            note_head(self._folder, self.head)
            self._noted = self.head
        while self._to_delete:
            self._segments.delete(self._to_delete[0])
            del self._to_delete[0]

    def tidy_if_possible(self) -> None:
        """Tidy, or do so later: what was written counts all the same."""
        try:
            self.tidy()
        except OSError as error:
            log.warning("%s: its head is noted later: %s", self._folder, error)


def _key(topic: str, sha256: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{topic}\0{sha256}".encode()).digest()[:8])
