"""A look into the spool of a unit that does not run: nothing in it is changed, and nothing is mended."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.uplink import books, schema
from edge.uplink.database import looking_into
from edge.uplink.lockfile import is_held
from edge.uplink.records import Depth, Losses, SpoolLocked

_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Look:
    """What is in a sound spool."""

    depth: Depth
    lost: Losses
    oldest_at: dt.datetime | None


def lock_of(spool: Path) -> Path:
    """Return the file that is locked while a unit uses the spool."""
    return spool.with_name(f"{spool.name}.lock")


def look(path: Path, in_use: Callable[[], bool] | None = None) -> Look | None:
    """Check all pages and count what is there; None for a spool of an older deskwatch that is sound.

    Raises SpoolError of every kind; SpoolLocked also where a unit starts to use it meanwhile.
    """
    in_use = in_use or (lambda: is_held(lock_of(path)))
    if in_use():
        raise SpoolLocked(f"{path} is in use by a unit")
    with looking_into(path) as (db, version):
        db.set_progress_handler(in_use, _STEPS)  # a unit that starts does not wait for us
        problems = db.execute("PRAGMA quick_check(1)").fetchall()
        if problems != [("ok",)]:
            raise schema.Damaged(str(problems))
        if version < schema.VERSION:
            return None
        rows = db.execute(schema.PENDING, (0, 0.0, -1))
        while (row := rows.fetchone()) is not None:  # one at a time: there may be more than the memory holds
            schema.spooled(row)
        return Look(books.depth(db), books.lost(db), books.oldest_at(db))
