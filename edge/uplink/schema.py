"""How the spool lies in SQLite: tables, settings, and records as rows."""

import datetime as dt
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge.uplink.records import Kind, OpenInfraction, Outgoing, Spooled

ROW_BYTES = 256
"""What a message counts for beyond its payload and topic: columns, indexes, page slack. A noted gap too."""

OUTBOUND = """
CREATE TABLE outbound (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    alive INTEGER NOT NULL DEFAULT 1,
    size_bytes INTEGER NOT NULL,
    expires_at REAL,
    unsettled INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    refused TEXT,
    checksum INTEGER,
    topic TEXT NOT NULL,
    content_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    payload BLOB NOT NULL
);
"""
INDEXES = """
CREATE INDEX expiring ON outbound (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX giving_way ON outbound (kind, alive);
CREATE INDEX unsettled ON outbound (position) WHERE unsettled;
CREATE TRIGGER gained AFTER INSERT ON outbound BEGIN
    UPDATE counter SET value = value + NEW.size_bytes WHERE name = 'used_bytes';
END;
CREATE TRIGGER freed AFTER DELETE ON outbound BEGIN
    UPDATE counter SET value = value - OLD.size_bytes WHERE name = 'used_bytes';
END;
CREATE TRIGGER resized AFTER UPDATE OF size_bytes ON outbound BEGIN
    UPDATE counter SET value = value + NEW.size_bytes - OLD.size_bytes WHERE name = 'used_bytes';
END;
"""
BOOKS = """
CREATE TABLE epoch (number INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL);
CREATE TABLE gap (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL,
    epoch TEXT NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    count INTEGER,
    reason TEXT NOT NULL
);
CREATE TRIGGER noted AFTER INSERT ON gap BEGIN
    UPDATE counter SET value = value + 256 WHERE name = 'used_bytes';
END;
CREATE TRIGGER told AFTER DELETE ON gap BEGIN
    UPDATE counter SET value = value - 256 WHERE name = 'used_bytes';
END;
CREATE TABLE aged (position INTEGER PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE command (id TEXT PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
"""
OPEN_INFRACTION = """
CREATE TABLE open_infraction (
    event_id TEXT PRIMARY KEY,
    rule_id TEXT NOT NULL,
    rule_kind TEXT NOT NULL,
    since_at TEXT NOT NULL,
    opened_at TEXT NOT NULL
) WITHOUT ROWID;
"""
COUNTERS = ("session", "used_bytes", "event", "thumbnail", "expired", "refused")
COUNTER = """
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES
    ('session', 0), ('used_bytes', 0), ('event', 0), ('thumbnail', 0), ('expired', 0), ('refused', 0);
"""
VERSION = 2
APPLICATION_ID = 0x6465736B  # "desk"
PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # no shared-memory file, and no reader that could hold the log back
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 100",  # pages: what is in the log and in the file takes its room twice
    "secure_delete = ON",  # zeroes what is deleted; the log, which it does not reach, is emptied besides
    "trusted_schema = OFF",  # a damaged schema runs nothing
    "cell_size_check = ON",  # damage is met when a page is read, not when it is written again
)


CREATE = (
    f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    f"{OUTBOUND} {INDEXES} {BOOKS} {OPEN_INFRACTION} {COUNTER}"
)
"""Makes the tables; leaves the transaction open, for the first epoch."""
INSERT = (
    "INSERT INTO outbound (epoch, seq, kind, size_bytes, expires_at, unsettled, checksum,"
    " topic, content_type, event_id, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
RESTORE = (
    "INSERT INTO outbound (position, alive, tries, refused, epoch, seq, kind, size_bytes, expires_at,"
    " unsettled, checksum, topic, content_type, event_id, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
NEXT_SEQ = (
    "UPDATE epoch SET last_seq = last_seq + ? WHERE number = (SELECT MAX(number) FROM epoch)"
    " RETURNING last_seq"
)
EPOCH = "SELECT epoch, last_seq FROM epoch ORDER BY number DESC LIMIT 1"
PENDING = (
    "SELECT position, epoch, seq, kind, topic, payload, content_type, event_id, expires_at, unsettled,"
    " checksum FROM outbound WHERE position > ? AND alive AND (expires_at IS NULL OR expires_at > ?)"
    " ORDER BY position LIMIT ?"
)
ONE = (
    "SELECT position, epoch, seq, kind, topic, payload, content_type, event_id, expires_at, unsettled,"
    " checksum, alive, tries, refused FROM outbound WHERE position = ?"
)
GIVING_WAY = "SELECT position, size_bytes FROM outbound WHERE kind = ? ORDER BY alive, position"
REFUSED = (
    "SELECT position, seq, topic, refused FROM outbound"
    " WHERE kind IN ('event', 'gap', 'thumbnail') AND alive = 0 ORDER BY position LIMIT ?"
)
DEPTH = "SELECT kind, alive, COUNT(*) FROM outbound GROUP BY kind, alive"
LEFT_OPEN = (
    "SELECT event_id, rule_id, rule_kind, since_at, opened_at FROM open_infraction"
    " ORDER BY opened_at, event_id"
)


_TYPES = (int, str, int, str, bytes, str, str)


class Damaged(ValueError):
    """A row is not what was written: salvage the spool."""


class Row(NamedTuple):
    """The columns of `INSERT`, in its order."""

    epoch: str
    seq: int
    kind: str
    size_bytes: int
    expires_at: float | None
    unsettled: bool
    checksum: int
    topic: str
    content_type: str
    event_id: str
    payload: bytes


def row_of(epoch: str, seq: int, message: Outgoing) -> Row:
    """Return a message as a row."""
    return Row(
        epoch,
        seq,
        message.kind.value,
        size_bytes(message),
        None if message.expires_at is None else message.expires_at.timestamp(),
        message.unsettled,
        checksum(epoch, seq, message.kind.value, message.topic, message.event_id, message.payload),
        message.topic,
        message.content_type,
        message.event_id,
        message.payload,
    )


def size_bytes(message: Outgoing) -> int:
    """Return what a message counts for against the bound."""
    return ROW_BYTES + len(message.topic.encode()) + len(message.payload)


def checksum(epoch: str, seq: int, kind: str, topic: str, event_id: str, payload: bytes) -> int:
    """Return what tells a damaged message from a sound one: SQLite has no checksums of its own."""
    return zlib.crc32(payload, zlib.crc32(f"{epoch}\0{seq}\0{kind}\0{topic}\0{event_id}".encode()))


def spooled(row: Sequence[Any]) -> Spooled:
    """Read a row of `PENDING`. Raises Damaged."""
    position, epoch, seq, kind, topic, payload, content_type, event_id, expires, unsettled, check = row
    columns = (position, epoch, seq, topic, payload, content_type, event_id)
    if not all(map(isinstance, columns, _TYPES)):
        raise Damaged(f"message {position}: wanted columns of {_TYPES}, got {tuple(map(type, columns))}")
    # What an older version wrote has no checksum where it could not be read.
    if check is not None and check != checksum(epoch, seq, kind, topic, event_id, payload):
        raise Damaged(f"message {position}: wanted checksum {check}, got another")
    try:
        expires_at = None if expires is None else dt.datetime.fromtimestamp(expires, dt.UTC)
        outgoing = Outgoing(Kind(kind), topic, payload, content_type, event_id, expires_at, bool(unsettled))
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise Damaged(f"message {position}: {error}") from error
    return Spooled(position, seq, outgoing, epoch)


def open_row(opened: OpenInfraction) -> tuple[str, str, str, str, str]:
    """Return an open infraction as a row."""
    since, at = (time.astimezone(dt.UTC).isoformat() for time in (opened.since_at, opened.opened_at))
    return opened.event_id, opened.rule_id, opened.rule_kind, since, at


def left_open(*columns: Any) -> OpenInfraction:  # noqa: ANN401  whatever is in the file
    """Read a row of `LEFT_OPEN`. Raises Damaged for what no closing event could be made of."""
    event_id, rule_id, rule_kind, since, at = columns
    try:
        since_at, opened_at = map(dt.datetime.fromisoformat, (since, at))
        sound = opened_at >= since_at  # a TypeError where one of them has no zone
    except (TypeError, ValueError) as error:
        raise Damaged(f"open infraction {event_id!r}: {error}") from error
    if not sound or not all(isinstance(each, str) and each for each in (event_id, rule_id, rule_kind)):
        raise Damaged(f"open infraction: wanted what was written, got {columns}")
    return OpenInfraction(event_id, rule_id, rule_kind, since_at, opened_at)
