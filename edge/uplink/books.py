"""What the spool keeps beside the queue: open infractions, command ids, small notes, dead letters, ages."""

import datetime as dt
from collections.abc import Callable, Iterable

import msgspec

from edge.uplink import schema
from edge.uplink.database import Connection, count, counter, number, one
from edge.uplink.gaps import Gone, waiting
from edge.uplink.records import Depth, Kind, Losses, Record

MAX_TRIES = 3
"""How often a dead letter is put back into the queue. One that accounts for others has no such bound."""
MAX_COMMANDS = 1024
STEP_S = 3_600.0
"""By which a synchronised clock may be put back, so that pictures seem to have come from later."""
_PICTURES_OF_A_RECORD = 16
_OF_RECORD = "WHERE position > ? AND position <= ? AND epoch = ? AND seq = ? AND kind = 'thumbnail'"
_UNSETTLE = f"UPDATE outbound SET unsettled = 1 {_OF_RECORD}"  # noqa: S608  of constants
_SHIFT = f"UPDATE outbound SET unsettled = 0, expires_at = expires_at + ? {_OF_RECORD}"  # noqa: S608
_AGES_KEPT = 128
_AGES_A_LIFE = 64
"""An event's age is known to this part of what it may reach."""


def depth(db: Connection) -> Depth:
    """Return how much waits."""
    of = {(kind, bool(alive)): held for kind, alive, held in db.execute(schema.DEPTH).fetchall()}
    events = of.get((Kind.EVENT, True), 0) + of.get((Kind.GAP, True), 0)
    refused = sum(held for (_, alive), held in of.items() if not alive)
    return Depth(events, of.get((Kind.THUMBNAIL, True), 0), refused, counter(db, "used_bytes"), waiting(db))


def lost(db: Connection) -> Losses:
    """Return the durable counts of what never arrived."""
    return Losses(*(counter(db, name) for name in ("event", "thumbnail", "expired", "refused")))


class _Dated(msgspec.Struct):
    """What an event says of when it was."""

    time: dt.datetime


def oldest_at(db: Connection) -> dt.datetime | None:
    """Return when the oldest event that waits happened; None where none does, or its time is not known."""
    row = one(
        db,
        "SELECT payload, unsettled FROM outbound WHERE alive AND kind IN ('event', 'gap')"
        " ORDER BY position LIMIT 1",
    )
    if row is None or row[1]:
        return None
    try:
        return msgspec.json.decode(row[0], type=_Dated).time
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError):  # damage, which whoever sends it meets
        return None


def keep(db: Connection, record: Record) -> None:
    """Note what a record opens and closes."""
    if record.closes is not None:
        db.execute("DELETE FROM open_infraction WHERE event_id = ?", (record.closes,))
    if record.opens is not None:
        db.execute(
            "INSERT OR REPLACE INTO open_infraction VALUES (?, ?, ?, ?, ?)", schema.open_row(record.opens)
        )


def note(db: Connection, name: str, value: str | None) -> None:
    """Write a note; None takes it away."""
    if value is None:
        db.execute("DELETE FROM note WHERE name = ?", (name,))
    else:
        db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))


def noted(db: Connection, name: str) -> str | None:
    """Return a note."""
    row = one(db, "SELECT value FROM note WHERE name = ?", name)
    return None if row is None else str(row[0])


def remember(db: Connection, id_: str, expires_s: float, now_s: float) -> bool:
    """Note a command's id; return False if it is known. Both times are of the UTC epoch."""
    db.execute("DELETE FROM command WHERE expires_at <= ?", (now_s,))
    new = db.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", (id_, expires_s)).rowcount == 1
    if new:
        excess = number(db, "SELECT COUNT(*) FROM command") - MAX_COMMANDS
        if excess > 0:
            db.execute(
                "DELETE FROM command WHERE id IN"
                " (SELECT id FROM command WHERE id <> ? ORDER BY expires_at, id LIMIT ?)",
                (id_, excess),
            )
    return new


def set_aside(db: Connection, position: int, reason: str) -> None:
    """Take a message out of the queue, and keep it."""
    changed = db.execute(
        "UPDATE outbound SET refused = ?, alive = 0 WHERE position = ? AND alive RETURNING tries",
        (reason, position),
    ).fetchall()
    count(db, "refused", sum(tries == 0 for (tries,) in changed))


def retry(db: Connection) -> int:
    """Put dead letters back into the queue, at their old places; return how many."""
    return db.execute(
        "UPDATE outbound SET refused = NULL, alive = 1, tries = tries + 1"
        " WHERE kind IN ('event', 'gap', 'thumbnail') AND alive = 0 AND (tries < ? OR kind = 'gap')",
        (MAX_TRIES,),
    ).rowcount


def tried_out(db: Connection) -> list[int]:
    """Return the positions of dead letters that will not be tried again."""
    rows = db.execute(
        "SELECT position FROM outbound"
        " WHERE kind IN ('event', 'thumbnail') AND alive = 0 AND tries >= ? ORDER BY position",
        (MAX_TRIES,),
    )
    return [position for (position,) in rows]


def remove(db: Connection, positions: Iterable[int]) -> list[Gone]:
    """Delete messages; return those that were there."""
    gone: list[Gone] = []
    for position in positions:
        rows = db.execute(
            "DELETE FROM outbound WHERE position = ? RETURNING kind, epoch, seq, alive, position", (position,)
        ).fetchall()
        gone += [Gone(*row) for row in rows]
    return gone


def acknowledged(db: Connection, epoch: str, seq: int) -> list[int]:
    """Return the positions of all messages of `epoch` up to `seq`. ValueError: there were fewer."""
    row = one(db, "SELECT last_seq FROM epoch WHERE epoch = ?", epoch)
    if row is None:  # of a spool before this one: nothing of it is here
        return []
    if seq > row[0]:
        raise ValueError(f"ack of epoch {epoch}: wanted a seq of at most {row[0]}, got {seq}")
    positions: list[int] = []
    # Within an epoch both rise together, so nothing past the first that is not acknowledged need be read.
    for position, its_epoch, its_seq in db.execute(
        "SELECT position, epoch, seq FROM outbound ORDER BY position"
    ):
        if its_epoch == epoch:
            if its_seq > seq:
                break
            positions.append(position)
    return positions


Fix = Callable[[bytes], tuple[bytes, dt.timedelta] | None]
"""Returns an event with its times put right, and by how much; None where that cannot be done."""


def amend(db: Connection, fix: Fix) -> int:
    """Put right the events whose time was read on a clock that was not set; return how many.

    Their pictures expire as much later. A picture that stays unsettled is one whose age nobody can tell.
    """
    rows = db.execute("SELECT position FROM outbound WHERE unsettled AND kind <> 'thumbnail'").fetchall()
    return sum(_amend(db, position, fix) for (position,) in rows)


def _amend(db: Connection, position: int, fix: Fix) -> bool:
    ((epoch, seq, kind, topic, event_id, payload),) = db.execute(
        "SELECT epoch, seq, kind, topic, event_id, payload FROM outbound WHERE position = ?", (position,)
    ).fetchall()
    found = fix(payload)
    pictures = position, position + _PICTURES_OF_A_RECORD, epoch, seq
    if found is None:
        db.execute("UPDATE outbound SET unsettled = 0 WHERE position = ?", (position,))
        db.execute(_UNSETTLE, pictures)
        return False
    fixed, shift = found
    db.execute(
        "UPDATE outbound SET unsettled = 0, payload = ?, size_bytes = size_bytes + ?, checksum = ?"
        " WHERE position = ?",
        (
            fixed,
            len(fixed) - len(payload),
            schema.checksum(epoch, seq, kind, topic, event_id, fixed),
            position,
        ),
    )
    db.execute(_SHIFT, (shift.total_seconds(), *pictures))
    return True


def undated(db: Connection) -> list[int]:
    """Return the positions of pictures whose time was read on a clock that was not set."""
    rows = db.execute("SELECT position FROM outbound WHERE unsettled AND kind = 'thumbnail'")
    return [position for (position,) in rows]


def beyond(db: Connection, latest_s: float) -> list[int]:
    """Return the positions of pictures that would stay beyond the longest retention: a clock was ahead.

    None stays beyond `latest_s`: those that the clock's small steps account for go then.
    """
    rows = db.execute(
        "SELECT position FROM outbound WHERE kind = 'thumbnail' AND expires_at > ?", (latest_s + STEP_S,)
    ).fetchall()
    db.execute(
        "UPDATE outbound SET expires_at = ?1"
        " WHERE kind = 'thumbnail' AND (expires_at IS NULL OR expires_at BETWEEN ?1 AND ?1 + ?2)",
        (latest_s, STEP_S),
    )
    return [position for (position,) in rows]


def pictures(db: Connection, until: int | None = None) -> list[int]:
    """Return the positions of all pictures, up to one."""
    rows = db.execute("SELECT position FROM outbound WHERE kind = 'thumbnail' ORDER BY position").fetchall()
    return [position for (position,) in rows if until is None or position <= until]


def expired(db: Connection, now_s: float) -> list[int]:
    """Return the positions of what is past its time."""
    rows = db.execute(
        "SELECT position FROM outbound WHERE expires_at IS NOT NULL AND expires_at <= ?", (now_s,)
    )
    return [position for (position,) in rows]


def too_old(db: Connection, now_s: float, max_age_s: float, limit: int) -> list[int]:
    """Return the positions of the oldest events that have been here for `max_age_s`, and note how far we are.

    The age runs from when the clock was first known to be right, not from the event's own time, which may
    have been read on a wrong one. A gap message stays: it accounts for others.
    """
    _note_age(db, now_s, max_age_s / _AGES_A_LIFE)
    until = number(db, "SELECT IFNULL(MAX(position), 0) FROM aged WHERE at <= ?", now_s - max_age_s)
    if until == 0:
        return []
    rows = db.execute(
        "SELECT position FROM outbound WHERE position <= ? AND kind = 'event' ORDER BY position LIMIT ?",
        (until, limit),
    ).fetchall()
    if len(rows) < limit:
        db.execute("DELETE FROM aged WHERE position <= ?", (until,))
    return [position for (position,) in rows]


def _note_age(db: Connection, now_s: float, step_s: float) -> None:
    newest = one(db, "SELECT position, at FROM aged ORDER BY position DESC LIMIT 1")
    last = number(db, "SELECT IFNULL(MAX(position), 0) FROM outbound")
    if last == 0:
        if newest is not None:
            db.execute("DELETE FROM aged")
        return
    if newest is not None and (last <= newest[0] or 0 <= now_s - newest[1] < step_s):
        return
    db.execute("INSERT INTO aged VALUES (?, ?)", (last, now_s))
    db.execute(
        "DELETE FROM aged WHERE position NOT IN (SELECT position FROM aged ORDER BY position DESC LIMIT ?)",
        (_AGES_KEPT,),
    )
