"""What a unit that does not run has left: read as its next start would read it, and changed in nothing."""

from pathlib import Path
from typing import cast

from edge.breaks import Breaks, Notebook
from edge.clock import Clock
from edge.config import Config
from edge.device.boot import boot_id
from edge.device.clock_quality import clock_is_synchronised
from edge.diagnosis import in_force
from edge.errors import EdgeError
from edge.notebook import NotReadable, TwoPlaces
from edge.notice import Notice
from edge.policy.document import Policy
from edge.repair import UNREADABLE, Repair
from edge.state_folder import SPOOL_FILE
from edge.uplink import books
from edge.uplink.database import looking_into
from edge.uplink.lockfile import is_held
from edge.uplink.looking import lock_of
from edge.uplink.records import SpoolEmpty, SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_store import ReadOnlyDisk

LOG_CHANGED = "the worker's log"
"""How the reasons begin for which a unit blocks itself (`edge/desk.py`)."""


class _KeptNotes:
    """The notes in a spool that nobody uses: what `TwoPlaces` asks of a spool."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def noted(self, name: str) -> str | None:
        """Return a note; None where there is no spool. Raises SpoolError."""
        if not self._path.exists():
            return None
        try:
            with looking_into(self._path) as (db, _version):
                return books.noted(db, name)
        except SpoolEmpty:
            return None


def unit_that_holds(config: Config) -> str | None:
    """Return that a unit has the spool, so that it runs and does not answer; None: none does."""
    try:
        held = is_held(lock_of(config.paths.state / SPOOL_FILE))
    except OSError as error:
        return f"whether a unit runs cannot be seen: {error.strerror}"
    return "a unit runs here and does not answer" if held else None


def unreadable(folder: Path) -> str | None:
    """Return why nothing can be told of a folder; None where it can be read, or is not there."""
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}: run this with sudo"
    return None


def notice_of(config: Config) -> Notice:
    """Return the notice, and whether it was accepted."""
    return Notice(config.paths.state, ReadOnlyDisk())


def noted_repair(config: Config) -> str | None:
    """Return why the unit is blocked; what cannot be read is a repair, as it is to the unit."""
    return Repair(_two_places(config, "repair")).why


def told_repair(config: Config) -> str | None:
    """Return why the unit is blocked. Raises NotReadable where the spool, which may say so, cannot be read.

    What stands in the file and is no note is a repair, as it is to the unit.
    """
    places = _two_places(config, "repair")
    try:
        return places.read_both()
    except NotReadable as error:
        if (text := places.read()) is not None:
            return text
        if isinstance(error.__cause__, SpoolError):
            raise
        return UNREADABLE


def noted_break(config: Config, policy: Policy, clock: Clock) -> Breaks:
    """Return the break that was on when the unit ended. Raises NotReadable where that cannot be told."""
    text = _two_places(config, "break").read_both()
    return Breaks(
        clock,
        lambda: policy.breaks.max_s,
        lambda _change, _now: None,
        synchronised=clock_is_synchronised,
        notebook=Notebook(lambda: text, lambda _text: None),
        boot_id=boot_id(),
    )


def policy_in_force(config: Config) -> Policy | None:
    """Return the policy that the next start would begin with; None where it would not start with any."""
    try:
        return in_force.policy_in_force(config).policy
    except (EdgeError, OSError):
        return None


def _two_places(config: Config, name: str) -> TwoPlaces:
    state = config.paths.state
    return TwoPlaces(state, cast("Spool", _KeptNotes(state / SPOOL_FILE)), name, ReadOnlyDisk())
