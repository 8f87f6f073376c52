"""Out of a damaged spool, what reads: row by row, each checked against what was written."""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from edge.uplink import gaps, schema
from edge.uplink.aside import fresh_position
from edge.uplink.database import Connection, count, counter, empty_log, speaking_of, transaction
from edge.uplink.mark import Reached
from edge.uplink.messages import Lost
from edge.uplink.records import Kind, LostRange, Spooled, SpoolError, SpoolFull

_log = logging.getLogger(__name__)

_SOUGHT = 50_000
"""Positions that are tried one by one, where the tree that leads to them is broken."""
_SCANNED = 1_000_000
_EVENTS, _PICTURES = 64, 8
"""That are copied at once."""
_SPARE_BYTES = 256 << 10
"""What must be left on the disk."""
_RANGES = 64
"""Holes that are told one by one; those after them are told as one."""
_POSITION_STEP = 1 << 32
"""New messages go so far behind the old, that no position is used twice."""
_TREE = (
    "SELECT position FROM outbound NOT INDEXED ORDER BY position",
    "SELECT position FROM outbound NOT INDEXED ORDER BY position DESC",
)
_INDEX = (
    "SELECT position FROM outbound INDEXED BY giving_way ORDER BY kind, alive, position",
    "SELECT position FROM outbound INDEXED BY giving_way ORDER BY kind DESC, alive DESC, position DESC",
)
_WHOLE_INDEX = "SELECT COUNT(*) FROM outbound INDEXED BY giving_way WHERE kind > ''"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message that reads."""

    spooled: Spooled
    alive: int
    tries: int
    refused: str | None


@dataclass(slots=True)
class Salvaged:
    """What was carried over."""

    kept: int = 0
    lost: int | None = None
    """Messages that are known to have been there and do not read; None where that is not known."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Last seq by epoch, oldest epoch first."""
    session: int = 0
    seqs: dict[str, set[int]] = field(default_factory=dict)
    """Of the events that are kept, by epoch."""


class Source:
    """A spool that may fail at any read. What fails reads as nothing."""

    def __init__(self, path: Path, db: Connection) -> None:
        self._path, self._db = path, db

    def rows(self, sql: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """Give rows until the first that does not read."""
        try:
            with speaking_of(self._path):
                yield from self._db.execute(sql, parameters)
        except (SpoolError, MemoryError) as error:  # a damaged length may ask for more than there is
            _log.debug("%s: %s", self._path, error)

    def positions(self) -> tuple[set[int], bool]:
        """Return where messages are, and whether that is known of all."""
        found = set[int]().union(*map(self._scan, _TREE))
        forward, back = map(self._scan, _INDEX)
        sound = forward == back >= found and self.sound()
        return found | forward | back, sound

    def sound(self) -> bool:
        """Return whether the index that knows all messages reads to its end."""
        try:
            with speaking_of(self._path):
                self._db.execute(_WHOLE_INDEX).fetchall()
        except (SpoolError, MemoryError):
            return False
        return True

    def last_position(self) -> int | None:
        """Return the last position that was given out."""
        for (value,) in self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'outbound'"):
            if isinstance(value, int) and 0 <= value < 2**62:
                return value
        return None

    def message(self, position: int) -> _Kept | None:
        """Return a message that is what was written."""
        for *columns, alive, tries, refused in self.rows(schema.ONE, position):
            try:
                spooled = schema.spooled(columns)
            except schema.Damaged as error:
                _log.debug("%s", error)
                continue
            if not isinstance(tries, int) or not isinstance(refused, str | None):
                return _Kept(spooled, 1, 0, None)
            return _Kept(spooled, int(alive != 0), tries, refused)
        return None

    def _scan(self, sql: str) -> set[int]:
        rows = islice(self.rows(sql), _SCANNED)
        return {position for (position,) in rows if isinstance(position, int) and 0 < position < 2**62}


def carry_over(source: Source, into: Path, db: Connection) -> Salvaged:
    """Copy what reads from `source` into the new spool `db` at `into`, and say what it was.

    Events go first. Where the disk has no room for the pictures, they are lost. Raises SpoolFull.
    """
    done = Salvaged()
    with speaking_of(into), transaction(db):
        _carry_counters(source, db, done)
        _carry_books(source, db)
    found, complete = source.positions()
    last = source.last_position()
    with speaking_of(into):
        sought = sorted(found) if complete else _sought(found, last)
        pictures = _carry_events(source, sought, db, done)
    try:
        with speaking_of(into):
            _carry_pictures(source, pictures, into, db, done)
    except SpoolFull as error:
        _log.error("pictures of the damaged spool are lost: %s", error)
        complete = False
    with speaking_of(into), transaction(db):
        known = last is not None and last >= max(found, default=0)
        number_from(db, last + _POSITION_STEP if known and last is not None else fresh_position())
    if complete:
        done.lost = max(0, len(found) - done.kept)
    return done


def number_from(db: Connection, position: int) -> None:
    """Let the next message have a position past this one."""
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbound'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('outbound', ?)", (position,))


def close_books(db: Connection, done: Salvaged, reached: Reached | None, epoch: str | None) -> None:
    """Note what is lost, and begin `epoch`, if one is given. In the caller's transaction.

    `reached` is how far the spool is known to have come.
    """
    for old, seqs in done.seqs.items():
        done.epochs[old] = max(done.epochs.get(old, 0), *seqs)
    known = dict(done.epochs)
    if reached is not None and reached.seq > known.get(reached.epoch, -1):
        done.epochs[reached.epoch] = reached.seq
    db.execute("DELETE FROM epoch")
    for index, (old, last_seq) in enumerate(done.epochs.items(), 1):
        db.execute("INSERT INTO epoch VALUES (?, ?, ?)", (index, old, last_seq))
        if done.lost != 0:
            _note_holes(db, done, old, last_seq)
        elif last_seq > known.get(old, 0):
            note_lost(db, old, known.get(old, 0) + 1, last_seq)
    count(db, "event", done.lost or 0)
    if epoch is not None:
        begin_epoch(db, epoch)


def begin_epoch(db: Connection, epoch: str) -> None:
    """Let numbers count anew, and forget epochs of which nothing is left."""
    db.execute("INSERT INTO epoch (epoch, last_seq) VALUES (?, 0)", (epoch,))
    db.execute(
        "DELETE FROM epoch WHERE epoch <> ? AND epoch NOT IN (SELECT epoch FROM outbound)"
        " AND epoch NOT IN (SELECT epoch FROM gap)",
        (epoch,),
    )


def note_lost(db: Connection, epoch: str, from_seq: int, to_seq: int) -> None:
    """Note events, and pictures, that went with a damaged file; which came before is not known."""
    gaps.note(db, LostRange("event", epoch, from_seq, to_seq, None, Lost.CORRUPT))
    gaps.note(db, LostRange("thumbnail", epoch, from_seq, to_seq, None, Lost.CORRUPT))


def _note_holes(db: Connection, done: Salvaged, epoch: str, last_seq: int) -> None:
    holes = list(_holes(done.seqs.get(epoch, set()), last_seq))
    if len(holes) > _RANGES:
        holes[_RANGES - 1 :] = [(holes[_RANGES - 1][0], holes[-1][1])]
    for from_seq, to_seq in holes:
        gaps.note(db, LostRange("event", epoch, from_seq, to_seq, None, Lost.CORRUPT))
    if last_seq:
        gaps.note(db, LostRange("thumbnail", epoch, 1, last_seq, None, Lost.CORRUPT))


def _holes(kept: Iterable[int], last_seq: int) -> Iterator[tuple[int, int]]:
    """Give the ranges of 1 to `last_seq` that are not in `kept`."""
    expected = 1
    for seq in sorted(kept):
        if seq > expected:
            yield expected, seq - 1
        expected = seq + 1
    if expected <= last_seq:
        yield expected, last_seq


def _sought(found: set[int], last: int | None) -> list[int]:
    """Return the positions to be tried: what was found, and what may lie before it and before the last."""
    sought = set(found)
    for high in {max(found, default=0), last or 0}:
        sought.update(range(max(1, high - _SOUGHT), high + 1))
    return sorted(sought)


def _carry_events(source: Source, positions: Iterable[int], db: Connection, done: Salvaged) -> list[int]:
    """Copy all but pictures; return the positions of those."""
    pictures: list[int] = []
    for batch in _batches(positions, _EVENTS):
        keeping: list[_Kept] = []
        for kept in filter(None, map(source.message, batch)):
            if kept.spooled.message.kind is Kind.THUMBNAIL:
                pictures.append(kept.spooled.position)
            else:
                keeping.append(kept)
        with transaction(db):
            db.executemany(schema.RESTORE, map(_row, keeping))
        done.kept += len(keeping)
        for kept in keeping:
            done.seqs.setdefault(kept.spooled.epoch, set()).add(kept.spooled.seq)
    return pictures


def _carry_pictures(
    source: Source, positions: Iterable[int], into: Path, db: Connection, done: Salvaged
) -> None:
    """Copy pictures while the disk has room for them and for what comes after. Raises SpoolFull."""
    for batch in _batches(positions, _PICTURES):
        keeping = list(filter(None, map(source.message, batch)))
        size_bytes = sum(len(kept.spooled.message.payload) for kept in keeping)
        disk = os.statvfs(into.parent)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < 2 * size_bytes + _SPARE_BYTES:  # they go through the log
            raise SpoolFull(f"{into}: wanted room for pictures of {size_bytes} bytes, got {free_bytes} free")
        with transaction(db):
            db.executemany(schema.RESTORE, map(_row, keeping))
        empty_log(db)
        done.kept += len(keeping)


def _batches(positions: Iterable[int], size: int) -> Iterator[list[int]]:
    remaining = iter(positions)
    while batch := list(islice(remaining, size)):
        yield batch


def _row(kept: _Kept) -> tuple[object, ...]:
    spooled = kept.spooled
    row = schema.row_of(spooled.epoch, spooled.seq, spooled.message)
    return (spooled.position, kept.alive, kept.tries, kept.refused, *row)


def _carry_counters(source: Source, db: Connection, done: Salvaged) -> None:
    for epoch, last_seq in source.rows("SELECT epoch, last_seq FROM epoch ORDER BY number"):
        if (
            isinstance(epoch, str)
            and len(epoch) == 32
            and isinstance(last_seq, int)
            and 0 <= last_seq <= gaps.MAX_SEQ
        ):
            done.epochs[epoch] = last_seq
    for name, value in source.rows("SELECT name, value FROM counter WHERE name <> 'used_bytes'"):
        if isinstance(value, int) and 0 <= value < gaps.MAX_SEQ:
            db.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))
    done.session = counter(db, "session")


def _carry_books(source: Source, db: Connection) -> None:
    for row in source.rows(schema.LEFT_OPEN):
        try:
            opened = schema.left_open(*row)
        except schema.Damaged:
            continue
        db.execute("INSERT OR IGNORE INTO open_infraction VALUES (?, ?, ?, ?, ?)", schema.open_row(opened))
    for name, value in source.rows("SELECT name, value FROM note"):
        if isinstance(name, str) and isinstance(value, str):
            db.execute("INSERT OR IGNORE INTO note VALUES (?, ?)", (name, value))
    for id_, expires_at in source.rows("SELECT id, expires_at FROM command"):
        if isinstance(id_, str) and isinstance(expires_at, float):
            db.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", (id_, expires_at))
    for columns in source.rows("SELECT what, epoch, from_seq, to_seq, count, reason FROM gap ORDER BY id"):
        try:
            gaps.note(db, gaps.read(*columns))
        except schema.Damaged as error:
            _log.debug("%s", error)
