"""A support bundle as the running unit makes it, asked at its control socket: of what it knows itself."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.config import Config
from edge.control.protocol import BundleMade, CheckSaid, LoggedError
from edge.errors import EdgeError
from edge.facts import Facts
from edge.policy.document import Policy
from edge.support.making import Sources, make
from edge.support.tables import known_checks
from edge.uplink.allowance import Allowance
from edge.worklog.entries import Note

AT_ONCE, EVERY_S = 5, 3600.0
"""So many at once, then one an hour: each takes room in the worker's log, where old entries give way."""


class TooManyBundles(EdgeError):
    """One more would push old entries out of the worker's log: use the last one, or wait an hour."""


class NoBundles(EdgeError):
    """This unit was started without a unit.toml, and makes no bundle: start it with `deskwatch run`."""


def no_bundles(_checks: tuple[CheckSaid, ...]) -> BundleMade:
    """Raise NoBundles."""
    raise NoBundles("wanted the settings of a unit.toml, got none")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDesk:
    """Where the unit is asked for one. For the control socket's thread alone."""

    config: Config
    state: Path
    now_at: Callable[[], dt.datetime]
    facts: Callable[[], Facts]
    errors: Callable[[], Sequence[LoggedError]]
    policy: Callable[[], tuple[Policy, str]]
    """The one in force, and its hash."""
    note: Callable[[Sequence[Note]], None]
    """Writes to the worker's log, or raises."""
    allowance: Allowance

    def make(self, checks: tuple[CheckSaid, ...]) -> BundleMade:
        """Return a bundle that stands in the worker's log. Raises EdgeError, and then there is none."""
        if not self.allowance.spend():
            raise TooManyBundles(f"wanted at most {AT_ONCE} support bundles at once, got one more")
        sources = Sources(
            config=self.config,
            now_at=self.now_at(),
            facts=self.facts(),
            checks=checks,
            known_checks=known_checks(),
            errors=self.errors(),
            policy=self.policy(),
        )
        made = make(sources, self.state, lambda note: self.note([note]))
        return BundleMade(made.sealed, made.told)
