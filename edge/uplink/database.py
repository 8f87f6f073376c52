"""The spool's SQLite connection: how it is opened, and how its failures are told.

WAL mode with synchronous=FULL: a commit that returned is on the disk.
https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.uplink import migration, schema
from edge.uplink.records import SpoolCorrupt, SpoolEmpty, SpoolError, SpoolNewer
from edge.uplink.spool_errors import of_damage, of_os, of_sqlite

Connection = sqlite3.Connection
"""With isolation_level None: a transaction begins and ends where the SQL says so."""

_VERSIONS = range(1000)
"""What a version of the spool may ever be: beyond it, the file's header is damaged."""

_NOTHING: tuple[int, int, set[str]] = (0, 0, set())
"""The header of a file that was made, and not written to: power may fail in between."""


def connect(path: Path, epoch: str) -> Connection:
    """Open the spool at `path`; make it, with numbers that count in `epoch`, where there is none.

    One of the version before is brought up to this one. Raises SpoolError of every kind.
    """
    db = open_file(path)
    try:
        with speaking_of(path):
            _make_tables(path, db, epoch)
    except BaseException:
        db.close()
        raise
    return db


def open_file(path: Path) -> Connection:
    """Open a file, whatever is in it. Raises SpoolError where SQLite will not have it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its log inherits the mode
    except OSError as error:
        raise of_os(path, error) from error
    with speaking_of(path):
        db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in schema.PRAGMAS:
                db.execute(f"PRAGMA {pragma}").close()
        except BaseException:
            db.close()
            raise
        return db


@contextmanager
def looking_into(path: Path) -> Iterator[tuple[Connection, int]]:
    """Open a spool that nobody uses, to read only; give its version too. Raises SpoolError.

    With `immutable` only where the log is empty: it would leave out what stands there. Without it a reader
    leaves an index where there was none, which a unit that starts just now may have taken already: it stays.
    `immutable` alone would make a file where there is none, and make it whoever's that looks.
    """
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    with speaking_of(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=1.0, isolation_level=None)
        try:
            db.execute("PRAGMA cell_size_check = ON").close()
            version, application, tables = _header(db)
            if (version, application, tables) == _NOTHING:
                raise SpoolEmpty(f"{path} has nothing in it yet: a unit that starts makes its tables")
            _check_header(path, version, application, tables)
            yield db, version
        finally:
            db.close()


@contextmanager
def speaking_of(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, and what a damaged row leads to."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # it may quote the damage in its message
        raise of_sqlite(path, error) from error
    except schema.Damaged as error:
        raise of_damage(path, error) from error


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Do all of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has rolled back by itself after some I/O errors
            db.execute("ROLLBACK")
        raise


def empty_log(db: Connection) -> bool:
    """Move the log into the file, whose free pages are zeroed, and cut it; return whether that was done."""
    ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy


def one(db: Connection, sql: str, *parameters: str | float) -> tuple[Any, ...] | None:
    """Return the first row, of a few.

    All are fetched, so that the statement is done with: one that is not keeps a file locked that was closed.
    """
    rows = db.execute(sql, parameters).fetchall()
    return rows[0] if rows else None


def number(db: Connection, sql: str, *parameters: str | float) -> int:
    """Return the one integer that a statement gives. Raises Damaged where it gives none."""
    row = one(db, sql, *parameters)
    if row is None or not isinstance(row[0], int):
        raise schema.Damaged(f"{sql}: wanted an integer, got {row}")
    return row[0]


def counter(db: Connection, name: str) -> int:
    """Return a durable counter."""
    return number(db, "SELECT value FROM counter WHERE name = ?", name)


def count(db: Connection, name: str, more: int) -> None:
    """Add to a durable counter."""
    if more:  # a write of the same value would still cost the disk a commit
        db.execute("UPDATE counter SET value = value + ? WHERE name = ?", (more, name))


def _make_tables(path: Path, db: Connection, epoch: str) -> None:
    version, application, tables = _header(db)
    if (version, application, tables) == _NOTHING:
        db.executescript(schema.CREATE)
        db.execute("INSERT INTO epoch VALUES (1, ?, 0)", (epoch,))
        db.execute("COMMIT")
        return
    _check_header(path, version, application, tables)
    if version < schema.VERSION:
        with transaction(db):
            migration.from_version_1(db, epoch)


def _header(db: Connection) -> tuple[int, int, set[str]]:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return number(db, "PRAGMA user_version"), number(db, "PRAGMA application_id"), tables


def _check_header(path: Path, version: int, application: int, tables: set[str]) -> None:
    """Raise SpoolError for what this deskwatch cannot use."""
    ours = "outbound" in tables or application == schema.APPLICATION_ID
    if not ours:
        raise SpoolError(f"{path} is a database of another program: move it away, or name another file")
    if application != schema.APPLICATION_ID or version not in _VERSIONS or version == 0:
        raise SpoolCorrupt(f"{path}: its header is damaged: it says application {application:#x}")
    if version > schema.VERSION:
        raise SpoolNewer(
            f"{path}: wanted version {schema.VERSION} of the spool, got {version}: install that deskwatch"
        )
