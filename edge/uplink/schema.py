"""How the spool lies in SQLite: tables, settings, and records as rows."""

import datetime as dt

from edge.uplink.records import Kind, OpenInfraction, Outgoing, Spooled

ROW_BYTES = 256
"""What a message counts for beyond its payload and topic: columns, indexes, page slack."""

SCHEMA = """
CREATE TABLE outbound (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    expires_at REAL,
    refused TEXT,
    topic TEXT NOT NULL,
    content_type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX expiring ON outbound (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX giving_way ON outbound (kind = 'event', refused IS NULL, position);
CREATE TRIGGER gained AFTER INSERT ON outbound BEGIN
    UPDATE counter SET value = value + NEW.size_bytes WHERE name = 'used_bytes';
END;
CREATE TRIGGER freed AFTER DELETE ON outbound BEGIN
    UPDATE counter SET value = value - OLD.size_bytes WHERE name = 'used_bytes';
END;
CREATE TABLE open_infraction (
    event_id TEXT PRIMARY KEY,
    rule_id TEXT NOT NULL,
    rule_kind TEXT NOT NULL,
    since_at TEXT NOT NULL,
    opened_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES
    ('seq', 0), ('session', 0), ('used_bytes', 0),
    ('event', 0), ('thumbnail', 0), ('expired', 0), ('refused', 0);
"""
VERSION = 1
APPLICATION_ID = 0x6465736B  # "desk"
PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # no shared-memory file, and no reader that could hold the log back
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 100",  # pages: what is in the log and in the file takes its room twice
    "secure_delete = ON",  # zeroes what is deleted; the log, which it does not reach, is emptied besides
)
CREATE = (
    f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    f"{SCHEMA} COMMIT;"
)

INSERT = (
    "INSERT INTO outbound (seq, kind, size_bytes, expires_at, topic, content_type, event_id, payload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
PENDING = (
    "SELECT position, seq, kind, topic, payload, content_type, event_id, expires_at FROM outbound"
    " WHERE position > ? AND refused IS NULL AND (expires_at IS NULL OR expires_at > ?)"
    " ORDER BY position LIMIT ?"
)
GIVING_WAY = (
    "SELECT position, kind, size_bytes FROM outbound ORDER BY kind = 'event', refused IS NULL, position"
)
REFUSED = (
    "SELECT position, seq, topic, refused FROM outbound WHERE refused IS NOT NULL ORDER BY position LIMIT ?"
)
DEPTH = "SELECT CASE WHEN refused IS NULL THEN kind ELSE 'refused' END, COUNT(*) FROM outbound GROUP BY 1"
LEFT_OPEN = (
    "SELECT event_id, rule_id, rule_kind, since_at, opened_at FROM open_infraction"
    " ORDER BY opened_at, event_id"
)

Row = tuple[str, int, float | None, str, str, str, bytes]


def row_of(message: Outgoing) -> Row:
    """Return the columns of a message, from `kind` on."""
    return (
        message.kind.value,
        ROW_BYTES + len(message.topic.encode()) + len(message.payload),
        None if message.expires_at is None else message.expires_at.timestamp(),
        message.topic,
        message.content_type,
        message.event_id,
        message.payload,
    )


def spooled(
    position: int,
    seq: int,
    kind: str,
    topic: str,
    payload: bytes,
    content_type: str,
    event_id: str,
    expires: float | None,
) -> Spooled:
    """Read a row of `PENDING`."""
    expires_at = None if expires is None else dt.datetime.fromtimestamp(expires, dt.UTC)
    return Spooled(position, seq, Outgoing(Kind(kind), topic, payload, content_type, event_id, expires_at))


def open_row(opened: OpenInfraction) -> tuple[str, str, str, str, str]:
    """Return an open infraction as a row."""
    since, at = (time.astimezone(dt.UTC).isoformat() for time in (opened.since_at, opened.opened_at))
    return opened.event_id, opened.rule_id, opened.rule_kind, since, at


def left_open(event_id: str, rule_id: str, rule_kind: str, since: str, at: str) -> OpenInfraction:
    """Read a row of `LEFT_OPEN`."""
    parse = dt.datetime.fromisoformat
    return OpenInfraction(event_id, rule_id, rule_kind, parse(since), parse(at))
