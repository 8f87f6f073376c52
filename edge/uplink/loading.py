"""Opening the spool whatever state it is in: sound, damaged, gone, in the middle of a salvage."""

import logging
import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from edge.uplink import migration, salvage, schema
from edge.uplink.aside import Aside, fresh_position
from edge.uplink.database import (
    Connection,
    connect,
    counter,
    empty_log,
    number,
    one,
    open_file,
    speaking_of,
    transaction,
)
from edge.uplink.mark import Reached
from edge.uplink.records import Salvage, SpoolCorrupt, SpoolError, SpoolFull, SpoolLocked, SpoolUnwritable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spool that can be used."""

    db: Connection
    reached: Reached
    """With the session before this one."""
    salvaged: Salvage | None


def load(
    path: Path, reached: Reached | None, *, damaged: bool = False, live: Connection | None = None
) -> Loaded:
    """Open the spool; salvage it first where it must be.

    `reached` is how far it is known to have come. `damaged` says that it does not read, however it looks.
    `live` is a connection to a file that is gone from its path; it is closed. Raises SpoolError.
    """
    aside = Aside(path)
    if not aside.resume() and not damaged and live is None:
        try:
            return _sound(path, reached)
        except SpoolCorrupt as error:
            _log.error("the spool is damaged: %s", error)
    salvaged = _salvage(aside, reached, live)
    sound = _sound(path, reached)
    return Loaded(sound.db, sound.reached, salvaged)


def _sound(path: Path, reached: Reached | None) -> Loaded:
    """Open a spool that reads. Raises SpoolCorrupt where it does not."""
    db = connect(path, secrets.token_hex(16))
    try:
        with speaking_of(path):
            _check(db)
            for name in schema.COUNTERS:
                counter(db, name)
            salvaged = _catch_up(path, db, reached)
            epoch, seq = _epoch(db)
            session = max(counter(db, "session"), reached.session if reached else 0)
    except BaseException:
        db.close()
        raise
    return Loaded(db, Reached(epoch, seq, session), salvaged)


def _catch_up(path: Path, db: Connection, reached: Reached | None) -> Salvage | None:
    """Begin a new epoch where the file holds less than was reached: its numbers would be used twice."""
    if reached is None or reached.seq == 0:
        return None
    row = one(db, "SELECT last_seq FROM epoch WHERE epoch = ?", reached.epoch)
    known = 0 if row is None else int(row[0])
    if row is None and counter(db, "session") > 0:  # salvaged since, and nothing of that epoch is left
        return None
    if known >= reached.seq:
        return None
    _log.error("%s has lost its end: wanted events up to %d, got %d", path, reached.seq, known)
    with transaction(db):
        salvage.note_lost(db, reached.epoch, known + 1, reached.seq)
        if row is None:
            salvage.number_from(db, fresh_position())
        else:
            salvage.begin_epoch(db, secrets.token_hex(16))
    kept = number(db, "SELECT COUNT(*) FROM outbound")
    return Salvage(kept, reached.seq - known if row else None, None)


def _salvage(aside: Aside, reached: Reached | None, live: Connection | None) -> Salvage:
    there = aside.begin()
    epoch = secrets.token_hex(16)
    with ExitStack() as open_files:
        source = live
        if live is None and there and (source := _opened(aside.damaged)):
            open_files.callback(source.close)
        db = connect(aside.new, epoch)
        open_files.callback(db.close)
        done = salvage.Salvaged()
        if source is not None:
            done = salvage.carry_over(salvage.Source(aside.damaged, source), aside.new, db)
        whole = live is not None and done.lost == 0 and bool(done.epochs)
        with speaking_of(aside.new):
            with transaction(db):
                if source is None:
                    salvage.number_from(db, fresh_position())
                salvage.close_books(db, done, reached, None if whole else epoch)
                session = max(done.session, reached.session if reached else 0)
                db.execute("UPDATE counter SET value = ? WHERE name = 'session'", (session,))
            empty_log(db)
    place = aside.finish()
    if live is not None:
        live.close()  # it deletes a log by its name, so before there is another of that name
    _log.error(
        "the spool was salvaged: %d messages were kept, %s lost; the old file: %s",
        done.kept,
        "some" if done.lost is None else done.lost,
        place,
    )
    return Salvage(done.kept, done.lost, place)


def _opened(path: Path) -> Connection | None:
    """Open a damaged file; None where not even that can be done. Raises SpoolError for what is not damage."""
    try:
        source = open_file(path)
    except (SpoolFull, SpoolLocked, SpoolUnwritable):
        raise
    except SpoolError as error:
        _log.error("nothing of the damaged spool reads: %s", error)
        return None
    with suppress(SpoolError), speaking_of(path):
        if number(source, "PRAGMA user_version") == 1:
            with transaction(source):
                migration.from_version_1(source, secrets.token_hex(16))
    return source


def _check(db: Connection) -> None:
    """Read all pages: most damage shows before anything is built on it. Raises Damaged."""
    problems = db.execute("PRAGMA quick_check(1)").fetchall()
    if problems != [("ok",)]:
        raise schema.Damaged(str(problems))


def _epoch(db: Connection) -> tuple[str, int]:
    row = one(db, schema.EPOCH)
    if row is None or not isinstance(row[0], str) or not isinstance(row[1], int):
        raise schema.Damaged(f"epoch: wanted one with its last seq, got {row}")
    return row[0], row[1]
