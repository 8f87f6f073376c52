"""The ingester's store: every event once, its picture until its retention ends, and how far all is here.

SQLite in WAL mode with synchronous=FULL: what `take` returned from is on the disk. Several processes may
share one file, as the members of a shared subscription do.
"""

import contextlib
import datetime as dt
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.errors import EdgeError
from edge.operator.incoming import Incoming
from edge.operator.intake import RETENTION, Intake, note
from edge.operator.tables import SCHEMA, VERSION, Progress, Taken
from edge.uplink.wire import timestamp

_BUSY_S = 5.0
_PASSING = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
)
"""Primary result codes of what an operator can put right while we wait: https://sqlite.org/rescode.html"""


class StoreBusy(EdgeError):
    """The store cannot be written now: make room on its disk; one that runs goes on by itself."""


class StoreUnusable(EdgeError):
    """The store cannot be used: choose another path with --store, or put that file right."""


class Store:
    """The events of one tenant."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._soiled = True  # an ingester that died may have left in the log what it had deleted

    @classmethod
    def open(cls, path: Path, tenant: str) -> Self:
        """Open or make the store at `path`, with mode 0600: pictures of homes are in it.

        Raises StoreUnusable, StoreBusy.
        """
        database = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with _told(path):
                database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
                for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                    database.execute(f"PRAGMA {pragma}")
                _prepare(database, path, tenant)
            return cls(database)
        except OSError as error:
            raise StoreUnusable(f"{path}: wanted a file to write, got: {error.strerror}") from error
        except BaseException:
            if database is not None:
                database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def take(self, batch: Sequence[Incoming], now_at: dt.datetime) -> Taken:
        """Store a batch in one transaction. Raises StoreBusy, and nothing of it is stored."""
        with self._transaction():
            intake = Intake(self._db, now_at)
            for item in batch:
                intake.take(item)
            return intake.done()

    @property
    def empty(self) -> bool:
        """Whether no unit is known yet."""
        return not self._db.execute("SELECT EXISTS (SELECT 1 FROM progress)").fetchone()[0]

    def settle_below(self, floors: Sequence[Progress]) -> None:
        """Take all up to these numbers as settled by an ingester before this one."""
        with self._transaction():
            for floor in floors:
                note(self._db, floor, heard=True)

    def newest(self) -> list[Progress]:
        """Return how far everything is, of each unit's newest epoch."""
        rows = self._db.execute(
            "SELECT unit, epoch, seq, max(heard) FROM progress GROUP BY unit ORDER BY unit"
        )
        return [Progress(unit, epoch, seq) for unit, epoch, seq, _ in rows]

    def purge(self, now_at: dt.datetime) -> int:
        """Delete the pictures whose retention has ended, from the log too; return how many.

        What could not be read may be a picture as well, and goes after the longest retention that one has. A
        clock of ours that was ahead, and is put back, keeps neither for longer.
        """
        with self._transaction():
            latest = timestamp(now_at + RETENTION)
            self._db.execute("UPDATE pictures SET expires_at = ?1 WHERE expires_at > ?1", (latest,))
            self._db.execute(
                "UPDATE unreadable SET received_at = ?1 WHERE received_at > ?1", (timestamp(now_at),)
            )
            gone = self._db.execute(
                "DELETE FROM pictures WHERE expires_at <= ?", (timestamp(now_at),)
            ).rowcount
            unread = self._db.execute(
                "DELETE FROM unreadable WHERE received_at <= ?", (timestamp(now_at - RETENTION),)
            ).rowcount
        self._soiled = self._soiled or bool(gone or unread)
        if self._soiled:
            with _told(None):
                busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._soiled = bool(busy)  # somebody reads; the next time, then
        return gone

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _told(None):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@dataclass(frozen=True, slots=True)
class SavedPicture:
    """A picture as it came."""

    unit: str
    event_id: str
    data: bytes
    announced_sha256: str | None
    """By its event; None where that is not here."""


def pictures(
    path: Path, now_at: dt.datetime, *, unit: str | None = None, event_id: str | None = None
) -> Iterator[SavedPicture]:
    """Give the pictures in a store whose retention has not ended; an ingester may be writing to it.

    Raises StoreUnusable, StoreBusy.
    """
    where = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
    with _told(path), contextlib.closing(sqlite3.connect(where, timeout=_BUSY_S, uri=True)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise StoreUnusable(f"{path}: wanted a store of version {VERSION}, got {version}")
        rows = database.execute(
            "SELECT pictures.unit, event_id, pictures.payload, picture_sha256 FROM pictures"
            " LEFT JOIN events ON events.unit = pictures.unit AND events.id = event_id"
            " WHERE expires_at > ? AND pictures.unit = coalesce(?, pictures.unit)"
            " AND event_id = coalesce(?, event_id) ORDER BY pictures.unit, pictures.received_at, event_id",
            (timestamp(now_at), unit, event_id),
        )
        for row in rows:
            yield SavedPicture(*row)


def _prepare(database: sqlite3.Connection, path: Path, tenant: str) -> None:
    """Make the tables where there are none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in SCHEMA.split(";\n"):
                database.execute(statement)
            database.execute("INSERT INTO tenant VALUES (?)", (tenant,))
            database.execute(f"PRAGMA user_version = {VERSION}")
        else:
            _check(database, version, path, tenant)
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise


def _check(database: sqlite3.Connection, version: int, path: Path, tenant: str) -> None:
    if version != VERSION:
        raise StoreUnusable(f"{path}: wanted a store of version {VERSION}, got {version}")
    (owner,) = database.execute("SELECT name FROM tenant").fetchone()
    if owner != tenant:
        raise StoreUnusable(f"{path}: wanted a store of tenant {tenant!r}, got one of {owner!r}")


@contextlib.contextmanager
def _told(path: Path | None) -> Iterator[None]:
    """Raise what SQLite says in words of ours."""
    where = f"{path}: " if path else "the store: "
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = StoreBusy if code in _PASSING else StoreUnusable
        raise kind(f"{where}{error}") from error
