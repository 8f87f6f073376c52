"""From version 1 of the spool to version 2: a unit that is updated delivers what it holds.

Version 1 had no epochs. What waits is numbered anew, from 1, in the spool's first epoch, in the messages too:
so their reader meets one contiguous run. Ids stay, by which a message that came before is known.
"""

from typing import TYPE_CHECKING

import msgspec

from edge.uplink import schema
from edge.uplink.records import Kind

if TYPE_CHECKING:
    from edge.uplink.database import Connection

_COLUMNS = (
    "epoch TEXT NOT NULL DEFAULT ''",
    "alive INTEGER NOT NULL DEFAULT 1",
    "unsettled INTEGER NOT NULL DEFAULT 0",
    "tries INTEGER NOT NULL DEFAULT 0",
    "checksum INTEGER",
)


def from_version_1(db: "Connection", epoch: str) -> None:
    """Change the tables and the messages that wait, within the caller's transaction."""
    for name in ("expiring", "giving_way"):
        db.execute(f"DROP INDEX IF EXISTS {name}")
    for name in ("gained", "freed"):
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    for column in _COLUMNS:
        db.execute(f"ALTER TABLE outbound ADD COLUMN {column}")
    for script in (schema.BOOKS, schema.INDEXES):
        for statement in _statements(script):
            db.execute(statement)
    last_seq = _renumber(db, epoch)
    db.execute("INSERT INTO epoch VALUES (1, ?, ?)", (epoch, last_seq))
    db.execute("DELETE FROM counter WHERE name = 'seq'")
    db.execute(f"PRAGMA user_version = {schema.VERSION}")


def renewed(payload: bytes, epoch: str, seq: int) -> bytes:
    """Return an event of version 1 as one of version 2; one that cannot be read stays as it is."""
    try:
        event = msgspec.json.decode(payload)
        # When it was, on that boot's monotonic clock, was not written down.
        event["data"] = {"monotonic_s": 0.0, **event["data"], "epoch": epoch, "seq": seq}
        return msgspec.json.encode(event)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
        return payload


def _renumber(db: "Connection", epoch: str) -> int:
    seq, old_seq = 0, None
    rows = db.execute("SELECT position, seq FROM outbound ORDER BY seq, position").fetchall()
    for position, was in rows:
        if was != old_seq:
            seq, old_seq = seq + 1, was
        _rewrite(db, position, epoch, seq)
    db.execute("UPDATE outbound SET alive = 0 WHERE refused IS NOT NULL")
    return seq


def _rewrite(db: "Connection", position: int, epoch: str, seq: int) -> None:
    kind, topic, event_id, payload = db.execute(
        "SELECT kind, topic, event_id, payload FROM outbound WHERE position = ?", (position,)
    ).fetchone()
    if kind == Kind.EVENT.value:
        payload = renewed(payload, epoch, seq)
    db.execute(
        "UPDATE outbound SET epoch = ?, seq = ?, checksum = ?, size_bytes = ?, payload = ?"
        " WHERE position = ?",
        (
            epoch,
            seq,
            schema.checksum(epoch, seq, kind, topic, event_id, payload),
            schema.ROW_BYTES + len(topic.encode()) + len(payload),
            payload,
            position,
        ),
    )


def _statements(script: str) -> list[str]:
    """Cut a script: `executescript` would commit first. A trigger's own statements stay together."""
    statements: list[str] = []
    for part in script.split(";\n"):
        if part.strip() and statements and "BEGIN" in statements[-1] and "END" not in statements[-1]:
            statements[-1] += ";\n" + part
        elif part.strip():
            statements.append(part)
    return statements
