"""The durable outbound queue: what is put here survives a power cut, and leaves when the broker has it.

One SQLite file, in WAL mode with synchronous=FULL: a `put` that returned is on the disk.
https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

import datetime as dt
import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from edge.uplink.lockfile import LockFile, LockHeld
from edge.uplink.records import (
    Depth,
    Kind,
    Losses,
    MessageTooLarge,
    OpenInfraction,
    Outgoing,
    Record,
    Refused,
    SpoolCorrupt,
    Spooled,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    SpoolUnwritable,
)

ROW_BYTES = 256
"""What a message counts for beyond its payload and topic: columns, indexes, page slack."""

_SCHEMA = """
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
_VERSION = 1
_APPLICATION_ID = 0x6465736B  # "desk"
_PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # no shared-memory file, and no reader that could hold the log back
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 100",  # pages: what is in the log and in the file takes its room twice
    "secure_delete = ON",  # pictures that left or expired shall not stay readable in free pages
)
_GIVING_WAY = (
    "SELECT position, kind, size_bytes FROM outbound ORDER BY kind = 'event', refused IS NULL, position"
)


class Spool:
    """The queue, for the one process that holds its lock. Safe to use from several threads.

    A call holds the lock for a commit to the disk and no longer: `put` never waits on the network.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, max_bytes: int) -> None:
        self._path = path
        self._db = connection
        self._lock_file = lock
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._on_put: Callable[[], None] = _nobody
        self._session = 0

    @classmethod
    def open(cls, path: Path, *, max_bytes: int = 64 << 20) -> Self:
        """Open or make the spool at `path`, its folder too (0700), and count a new session.

        `max_bytes` bounds the messages; the file and its log are about a tenth and 0.5 MB larger.
        Raises SpoolLocked, SpoolUnwritable, SpoolFull, SpoolCorrupt.
        """
        if max_bytes <= ROW_BYTES:
            raise ValueError(f"max_bytes: wanted more than {ROW_BYTES}, got {max_bytes}")
        lock = _lock(path)
        try:
            spool = cls(path, _connect(path), lock, max_bytes)
            try:
                spool._start_session()
            except BaseException:
                spool._db.close()
                raise
        except BaseException:
            lock.release()
            raise
        return spool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up the lock; closing twice does nothing."""
        with self._lock:
            self._db.close()
            self._lock_file.release()

    @property
    def session(self) -> int:
        """How often this spool was opened, this time included."""
        return self._session

    def notify(self, on_put: Callable[[], None] | None) -> None:
        """Call `on_put` after every put, in the thread that puts: it must not wait. None ends it."""
        self._on_put = on_put or _nobody

    def put(self, build: Callable[[int], Record]) -> int:
        """Make a record with the next `seq` and keep it, all of it or nothing; return its seq.

        `build` is called while others wait for the spool: it should only put together what is ready.
        Where the bound is reached, thumbnails give way, oldest first, then events; each is counted as lost.
        Raises SpoolFull (the disk is), MessageTooLarge, and what `build` raises.
        """
        with self._transaction() as db:
            seq = _count(db, "seq", 1)
            record = build(seq)
            if not record.messages:
                raise ValueError(f"record {seq}: wanted at least one message, got none")
            db.executemany(
                "INSERT INTO outbound"
                " (seq, kind, size_bytes, expires_at, topic, content_type, event_id, payload)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(seq, *self._row(message)) for message in record.messages],
            )
            _keep_books(db, record)
            self._give_way(db)
        self._on_put()
        return seq

    def pending(self, limit: int, *, after: int = 0, alive_at: dt.datetime) -> list[Spooled]:
        """Return the next messages past position `after`, in order, but none that expires by `alive_at`."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT position, seq, kind, topic, payload, content_type, event_id, expires_at FROM outbound"
                " WHERE position > ? AND refused IS NULL AND (expires_at IS NULL OR expires_at > ?)"
                " ORDER BY position LIMIT ?",
                (after, alive_at.timestamp(), limit),
            ).fetchall()
        return [_spooled(*row) for row in rows]

    def release(self, positions: Iterable[int]) -> None:
        """Forget messages that the broker has; those that are gone already change nothing."""
        with self._transaction() as db:
            _delete(db, positions)

    def set_aside(self, position: int, reason: str) -> None:
        """Keep a message that the broker will not have out of the way of the others, and count it.

        It stays for `refused` to show until it expires or gives way.
        """
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE outbound SET refused = ? WHERE position = ? AND refused IS NULL", (reason, position)
            )
            _count(db, "refused", changed.rowcount)

    def expire(self, now_at: dt.datetime) -> int:
        """Delete what expired by `now_at`, count it, and return how many."""
        with self._transaction() as db:
            expired = db.execute(
                "DELETE FROM outbound WHERE expires_at IS NOT NULL AND expires_at <= ?",
                (now_at.timestamp(),),
            ).rowcount
            _count(db, "expired", expired)
        return expired

    def refused(self, limit: int = 100) -> list[Refused]:
        """Return the oldest messages that were set aside."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT position, seq, topic, refused FROM outbound WHERE refused IS NOT NULL"
                " ORDER BY position LIMIT ?",
                (limit,),
            ).fetchall()
        return [Refused(*row) for row in rows]

    def open_infractions(self) -> list[OpenInfraction]:
        """Return the infractions that were opened and not closed, oldest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT event_id, rule_id, rule_kind, since_at, opened_at FROM open_infraction"
                " ORDER BY opened_at, event_id"
            ).fetchall()
        parse = dt.datetime.fromisoformat
        return [
            OpenInfraction(event_id, rule_id, rule_kind, parse(since), parse(opened))
            for event_id, rule_id, rule_kind, since, opened in rows
        ]

    def depth(self) -> Depth:
        """Return how much waits."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT CASE WHEN refused IS NULL THEN kind ELSE 'refused' END, COUNT(*)"
                " FROM outbound GROUP BY 1"
            ).fetchall()
            used_bytes = _counter(db, "used_bytes")
        count: dict[str, int] = dict(rows)
        return Depth(count.get("event", 0), count.get("thumbnail", 0), count.get("refused", 0), used_bytes)

    def lost(self) -> Losses:
        """Return the durable counts of what never arrived."""
        with self._reading() as db:
            count: dict[str, int] = dict(db.execute("SELECT name, value FROM counter").fetchall())
        return Losses(count["event"], count["thumbnail"], count["expired"], count["refused"])

    def _start_session(self) -> None:
        with self._transaction() as db:
            self._session = _count(db, "session", 1)
            self._give_way(db)  # the bound may be lower than last time

    def _row(self, message: Outgoing) -> tuple[str, int, float | None, str, str, str, bytes]:
        size_bytes = ROW_BYTES + len(message.topic.encode()) + len(message.payload)
        if size_bytes > self._max_bytes:
            raise MessageTooLarge(
                f"{message.kind} on {message.topic}: wanted at most {self._max_bytes} bytes, the bound of"
                f" {self._path}, got {size_bytes} (payload, topic and {ROW_BYTES})"
            )
        return (
            message.kind.value,
            size_bytes,
            None if message.expires_at is None else message.expires_at.timestamp(),
            message.topic,
            message.content_type,
            message.event_id,
            message.payload,
        )

    def _give_way(self, db: sqlite3.Connection) -> None:
        """Delete until the rest fits `max_bytes`, and count what goes."""
        excess_bytes = _counter(db, "used_bytes") - self._max_bytes
        if excess_bytes <= 0:
            return
        going: list[int] = []
        for position, kind, size_bytes in db.execute(_GIVING_WAY):
            going.append(position)
            _count(db, kind, 1)
            excess_bytes -= size_bytes
            if excess_bytes <= 0:
                break
        _delete(db, going)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself after some I/O errors
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _speaking_of(self._path):
            yield self._db


def _nobody() -> None:
    """Nobody waits for a put."""


def _lock(path: Path) -> LockFile:
    """Make the folder, and hold the lock file beside the spool."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LockFile.hold(path.with_name(path.name + ".lock"))
    except LockHeld as error:
        raise SpoolLocked(
            f"{path} is in use: {error}; stop that one, or give this one its own folder"
        ) from error
    except OSError as error:
        raise _of_os_error(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its log inherits the mode
    except OSError as error:
        raise _of_os_error(path, error) from error
    with _speaking_of(path):
        db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}").close()
            _make_tables(path, db)
        except BaseException:
            db.close()
            raise
        return db


def _make_tables(path: Path, db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    if (version, application, tables) == (0, 0, 0):
        db.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION};"
            f"{_SCHEMA} COMMIT;"
        )
    elif application != _APPLICATION_ID:
        raise SpoolCorrupt(f"{path} is a database of another program: move it away, or name another file")
    elif version != _VERSION:
        raise SpoolError(
            f"{path}: wanted version {_VERSION} of the spool, got {version}: install that deskwatch"
        )


def _counter(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return int(value)


def _count(db: sqlite3.Connection, name: str, more: int) -> int:
    """Add to a durable counter, and return it."""
    if more:  # a write of the same value would still cost the disk a commit
        db.execute("UPDATE counter SET value = value + ? WHERE name = ?", (more, name))
    return _counter(db, name)


def _delete(db: sqlite3.Connection, positions: Iterable[int]) -> None:
    db.executemany("DELETE FROM outbound WHERE position = ?", [(position,) for position in positions])


def _keep_books(db: sqlite3.Connection, record: Record) -> None:
    """Note what the record opens and closes."""
    if record.closes is not None:
        db.execute("DELETE FROM open_infraction WHERE event_id = ?", (record.closes,))
    if record.opens is not None:
        opened = record.opens
        db.execute(
            "INSERT INTO open_infraction VALUES (?, ?, ?, ?, ?)",
            (
                opened.event_id,
                opened.rule_id,
                opened.rule_kind,
                opened.since_at.astimezone(dt.UTC).isoformat(),
                opened.opened_at.astimezone(dt.UTC).isoformat(),
            ),
        )


def _spooled(
    position: int,
    seq: int,
    kind: str,
    topic: str,
    payload: bytes,
    content_type: str,
    event_id: str,
    expires: float | None,
) -> Spooled:
    expires_at = None if expires is None else dt.datetime.fromtimestamp(expires, dt.UTC)
    return Spooled(position, seq, Outgoing(Kind(kind), topic, payload, content_type, event_id, expires_at))


@contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite_error(path, error) from error


_RECOVERY: dict[int, tuple[type[SpoolError], str]] = {
    sqlite3.SQLITE_FULL: (SpoolFull, "free some space on its disk"),
    sqlite3.SQLITE_READONLY: (
        SpoolUnwritable,
        "mount its folder read-write, owned by the user that runs the unit",
    ),
    sqlite3.SQLITE_CANTOPEN: (SpoolUnwritable, "its folder must be writable by the user that runs the unit"),
    sqlite3.SQLITE_PERM: (SpoolUnwritable, "its folder must be writable by the user that runs the unit"),
    sqlite3.SQLITE_BUSY: (SpoolLocked, "stop the other program that has it open"),
    sqlite3.SQLITE_NOTADB: (SpoolCorrupt, "move it away and start again; what it held is lost"),
    sqlite3.SQLITE_CORRUPT: (SpoolCorrupt, "move it away and start again; what it held is lost"),
    sqlite3.SQLITE_IOERR: (SpoolError, "check the disk or card, it failed to read or write"),
}
"""By primary result code: https://sqlite.org/rescode.html"""


def _of_sqlite_error(path: Path, error: sqlite3.Error) -> SpoolError:
    code: int = getattr(error, "sqlite_errorcode", 0)
    kind, hint = _RECOVERY.get(code & 0xFF, (SpoolError, "restart the unit"))
    return kind(f"{path}: {error}: {hint}")


def _of_os_error(path: Path, error: OSError) -> SpoolError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull(f"{path}: {error.strerror}: free some space on its disk")
    hint = "its folder must be writable by the user that runs the unit"
    return SpoolUnwritable(f"{path}: {error.strerror} ({error.filename}): {hint}")
