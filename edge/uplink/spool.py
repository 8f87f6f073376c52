"""The durable outbound queue: what is put here survives a power cut, and leaves when the broker has it.

One SQLite file, in WAL mode with synchronous=FULL: a `put` that returned is on the disk.
https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

import datetime as dt
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from edge.uplink import schema
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
)
from edge.uplink.schema import ROW_BYTES
from edge.uplink.spool_errors import of_os, of_sqlite

_log = logging.getLogger(__name__)


class Spool:
    """The queue, for the one process that holds its lock. Safe to use from several threads.

    A call holds the lock for a commit to the disk and no longer: `put` never waits on the network.
    Once a picture is gone, by delivery or by age, none of it stays in the spool's files; one that gave way is
    wiped by the next call of `release` or `expire`, so that `put` need not wait for that.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, max_bytes: int) -> None:
        self._path = path
        self._db = connection
        self._lock_file = lock
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._on_put: Callable[[], None] = _nobody
        self._session = 0
        self._session_kept = False
        self._soiled = True  # the log may hold pictures that are gone: a process that died left it

    @classmethod
    def open(cls, path: Path, *, max_bytes: int = 64 << 20) -> Self:
        """Open or make the spool at `path`, its folder too (0700), and count a new session.

        `max_bytes` bounds the messages; the file and its log are about a tenth and 0.5 MB larger.
        A full disk is no bar to a spool that exists: what it holds can be read and delivered, and the session
        is written as soon as there is room. To make a new one takes some space.
        Raises SpoolLocked, SpoolUnwritable, SpoolCorrupt, and SpoolFull for a new one.
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
        """How often this spool was opened, this time included.

        Where the disk stayed full for a whole session, the next one has the same number.
        """
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
            db.executemany(schema.INSERT, [(seq, *self._row(message)) for message in record.messages])
            _keep_books(db, record)
            self._give_way(db)
        self._on_put()
        return seq

    def skip(self, records: int) -> None:
        """Use up the `seq` of records that will never come: their reader sees the gap. They count as lost."""
        with self._transaction() as db:
            _count(db, "seq", records)
            _count(db, "event", records)

    def pending(self, limit: int, *, after: int = 0, alive_at: dt.datetime) -> list[Spooled]:
        """Return the next messages past position `after`, in order, but none that expires by `alive_at`."""
        with self._reading() as db:
            rows = db.execute(schema.PENDING, (after, alive_at.timestamp(), limit)).fetchall()
        return [schema.spooled(*row) for row in rows]

    def release(self, positions: Iterable[int]) -> None:
        """Forget messages that the broker has; those that are gone already change nothing."""
        with self._transaction() as db:
            self._delete(db, positions)
        self._wipe()

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
            rows = db.execute(
                "SELECT position FROM outbound WHERE expires_at IS NOT NULL AND expires_at <= ?",
                (now_at.timestamp(),),
            ).fetchall()
            self._delete(db, [position for (position,) in rows])
            _count(db, "expired", len(rows))
        self._wipe()
        return len(rows)

    def refused(self, limit: int = 100) -> list[Refused]:
        """Return the oldest messages that were set aside."""
        with self._reading() as db:
            rows = db.execute(schema.REFUSED, (limit,)).fetchall()
        return [Refused(*row) for row in rows]

    def open_infractions(self) -> list[OpenInfraction]:
        """Return the infractions that were opened and not closed, oldest first."""
        with self._reading() as db:
            rows = db.execute(schema.LEFT_OPEN).fetchall()
        return [schema.left_open(*row) for row in rows]

    def depth(self) -> Depth:
        """Return how much waits."""
        with self._reading() as db:
            count: dict[str, int] = dict(db.execute(schema.DEPTH).fetchall())
            used_bytes = _counter(db, "used_bytes")
        return Depth(count.get("event", 0), count.get("thumbnail", 0), count.get("refused", 0), used_bytes)

    def lost(self) -> Losses:
        """Return the durable counts of what never arrived."""
        with self._reading() as db:
            count: dict[str, int] = dict(db.execute("SELECT name, value FROM counter").fetchall())
        return Losses(count["event"], count["thumbnail"], count["expired"], count["refused"])

    def _start_session(self) -> None:
        with self._reading() as db:
            self._session = _counter(db, "session") + 1
        try:
            with self._transaction() as db:
                self._give_way(db)  # the bound may be lower than last time
        except SpoolFull as error:
            _log.warning("session %d cannot be written yet: %s", self._session, error)
        self._wipe()

    def _row(self, message: Outgoing) -> schema.Row:
        row = schema.row_of(message)
        if row[1] > self._max_bytes:
            raise MessageTooLarge(
                f"{message.kind} on {message.topic}: wanted at most {self._max_bytes} bytes, the bound of"
                f" {self._path}, got {row[1]} (payload, topic and {ROW_BYTES})"
            )
        return row

    def _give_way(self, db: sqlite3.Connection) -> None:
        """Delete until the rest fits `max_bytes`, and count what goes."""
        excess_bytes = _counter(db, "used_bytes") - self._max_bytes
        if excess_bytes <= 0:
            return
        going: list[int] = []
        for position, kind, size_bytes in db.execute(schema.GIVING_WAY):
            going.append(position)
            _count(db, kind, 1)
            excess_bytes -= size_bytes
            if excess_bytes <= 0:
                break
        self._delete(db, going)

    def _delete(self, db: sqlite3.Connection, positions: Iterable[int]) -> None:
        for position in positions:
            gone = db.execute(
                "DELETE FROM outbound WHERE position = ? RETURNING kind", (position,)
            ).fetchall()
            self._soiled = self._soiled or gone == [(Kind.THUMBNAIL.value,)]

    def _wipe(self) -> None:
        """Move the log into the file, whose free pages are zeroed, and cut it to nothing.

        Where that fails (a full disk), the deletion stands, and the next call tries again.
        """
        if not self._soiled:
            return
        try:
            with self._reading() as db:
                ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._soiled = bool(busy)
        except SpoolError as error:
            _log.debug("pictures that are gone stay in the log of the spool for now: %s", error)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                if not self._session_kept:
                    db.execute("UPDATE counter SET value = ? WHERE name = 'session'", (self._session,))
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has rolled back by itself after some I/O errors
                    db.execute("ROLLBACK")
                raise
            self._session_kept = True

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
        raise of_os(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its log inherits the mode
    except OSError as error:
        raise of_os(path, error) from error
    with _speaking_of(path):
        db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in schema.PRAGMAS:
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
        db.executescript(schema.CREATE)
    elif application != schema.APPLICATION_ID:
        raise SpoolCorrupt(f"{path} is a database of another program: move it away, or name another file")
    elif version != schema.VERSION:
        raise SpoolError(
            f"{path}: wanted version {schema.VERSION} of the spool, got {version}: install that deskwatch"
        )


def _counter(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return int(value)


def _count(db: sqlite3.Connection, name: str, more: int) -> int:
    """Add to a durable counter, and return it."""
    if more:  # a write of the same value would still cost the disk a commit
        db.execute("UPDATE counter SET value = value + ? WHERE name = ?", (more, name))
    return _counter(db, name)


def _keep_books(db: sqlite3.Connection, record: Record) -> None:
    """Note what the record opens and closes."""
    if record.closes is not None:
        db.execute("DELETE FROM open_infraction WHERE event_id = ?", (record.closes,))
    if record.opens is not None:
        db.execute("INSERT INTO open_infraction VALUES (?, ?, ?, ?, ?)", schema.open_row(record.opens))


@contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise of_sqlite(path, error) from error
