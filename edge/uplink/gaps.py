"""What was given up, noted in the transaction that gives it up, until a message tells of it."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from edge.uplink.database import Connection, count, number
from edge.uplink.messages import Lost
from edge.uplink.records import Kind, LostRange
from edge.uplink.schema import Damaged

MAX_SEQ = 2**53
"""The largest number that a message can carry."""
EPOCH = re.compile("[0-9a-f]{32}")
_REASONS = frozenset(Lost)
_INSERT = "INSERT INTO gap (what, epoch, from_seq, to_seq, count, reason) VALUES (?, ?, ?, ?, ?, ?)"
_OLDEST = "SELECT id, what, epoch, from_seq, to_seq, count, reason FROM gap ORDER BY id LIMIT ?"


class Gone(NamedTuple):
    """A message that was deleted."""

    kind: str
    epoch: str
    seq: int
    alive: int
    position: int = 0


def note_gone(db: Connection, gone: Iterable[Gone], reason: Lost, given: int) -> None:
    """Note messages that went undelivered. What the broker had refused went for that.

    Those up to position `given` may be in flight, or have come: they are not counted.
    """
    ranges: list[LostRange] = []
    for kind, epoch, seq, alive, position in sorted(gone, key=lambda each: (each.kind, each.epoch, each.seq)):
        why = reason if alive else Lost.REFUSED
        counted = None if alive and 0 < position <= given else 1
        lost = LostRange("thumbnail" if kind == Kind.THUMBNAIL else "event", epoch, seq, seq, counted, why)
        if ranges and (joined := _joined(ranges[-1], lost, apart=False)):
            ranges[-1] = joined
        else:
            ranges.append(lost)
    for lost in ranges:
        note(db, lost)


def note(db: Connection, lost: LostRange) -> None:
    """Note a range, in one with what it is next to."""
    near = db.execute(
        "SELECT id, what, epoch, from_seq, to_seq, count, reason FROM gap"
        " WHERE what = ? AND epoch = ? AND reason = ?"
        " AND (what = 'thumbnail' OR (from_seq <= ? AND to_seq >= ?)) ORDER BY id",
        (lost.what, lost.epoch, lost.reason.value, lost.to_seq + 1, lost.from_seq - 1),
    ).fetchall()
    first: int | None = None
    for id_, *columns in near:
        joined = _joined(lost, read(*columns), apart=lost.what == "thumbnail")
        if joined is None or (lost.what == "thumbnail" and _some_wait(db, joined)):
            continue
        lost = joined
        if first is None:
            first = id_
        else:
            db.execute("DELETE FROM gap WHERE id = ?", (id_,))
    if first is None:
        db.execute(_INSERT, _row(lost))
    else:
        db.execute(
            "UPDATE gap SET from_seq = ?, to_seq = ?, count = ? WHERE id = ?",
            (lost.from_seq, lost.to_seq, lost.count, first),
        )


def noted(db: Connection, limit: int) -> list[tuple[int, LostRange]]:
    """Return the oldest notes, each with its id."""
    rows = db.execute(_OLDEST, (limit,)).fetchall()
    return [(id_, read(*columns)) for id_, *columns in rows]


def forget(db: Connection, id_: int) -> None:
    """Drop a note: a message tells of it now."""
    db.execute("DELETE FROM gap WHERE id = ?", (id_,))


def waiting(db: Connection) -> int:
    """Return how many notes there are."""
    return number(db, "SELECT COUNT(*) FROM gap")


def note_released(db: Connection, epoch: str, last_seq: int) -> None:
    """Note every number up to `last_seq` that nothing waits for any more."""
    rows = db.execute("SELECT DISTINCT seq FROM outbound WHERE epoch = ? ORDER BY seq", (epoch,)).fetchall()
    kept = [seq for (seq,) in rows if seq <= last_seq]
    for before, after in itertools.pairwise([0, *kept, last_seq + 1]):
        if after - before > 1:
            note(db, LostRange("event", epoch, before + 1, after - 1, None, Lost.RELEASED))
    first = kept[0] if kept else last_seq + 1
    if first > 1:
        note(db, LostRange("thumbnail", epoch, 1, first - 1, None, Lost.RELEASED))


def count_gone(db: Connection, gone: Sequence[Gone], *, expired: bool) -> None:
    """Add to the durable counts of what was lost."""
    pictures = sum(each.kind == Kind.THUMBNAIL for each in gone)
    count(db, "expired" if expired else "thumbnail", pictures)
    count(db, "event", len(gone) - pictures)


def _some_wait(db: Connection, lost: LostRange) -> bool:
    """Return whether a picture of a range still waits: nobody may be told not to wait for it."""
    found = db.execute(
        "SELECT 1 FROM outbound WHERE kind = 'thumbnail' AND epoch = ? AND seq BETWEEN ? AND ? LIMIT 1",
        (lost.epoch, lost.from_seq, lost.to_seq),
    )
    return bool(found.fetchall())


def _joined(one: LostRange, other: LostRange, *, apart: bool) -> LostRange | None:
    """Return both as one, with what lies between where they may lie `apart`; else None."""
    if (one.what, one.epoch, one.reason) != (other.what, other.epoch, other.reason):
        return None
    counted = None if one.count is None or other.count is None else one.count + other.count
    if one.what == "event" and (one.count is None) != (other.count is None):
        return None
    if not apart and (one.from_seq > other.to_seq + 1 or other.from_seq > one.to_seq + 1):
        return None
    from_seq, to_seq = min(one.from_seq, other.from_seq), max(one.to_seq, other.to_seq)
    return replace(one, from_seq=from_seq, to_seq=to_seq, count=counted)


def _row(lost: LostRange) -> tuple[str, str, int, int, int | None, str]:
    return lost.what, lost.epoch, lost.from_seq, lost.to_seq, lost.count, lost.reason.value


def read(*columns: object) -> LostRange:
    """Read the columns of a note. Raises Damaged for what no message could say."""
    match columns:
        case (
            "event" | "thumbnail" as what,
            str(epoch),
            int(from_seq),
            int(to_seq),
            int() | None as counted,
            str(reason),
        ) if EPOCH.fullmatch(epoch) and 1 <= from_seq <= to_seq <= MAX_SEQ and reason in _REASONS:
            return LostRange(what, epoch, from_seq, to_seq, counted, Lost(reason))
    raise Damaged(f"gap: wanted what was written, got {columns}")
