"""With which certificate to come: the newest, and the one before it while the broker refuses the newest.

A certificate can be issued wrongly, or by a CA that the broker does not know yet: a unit that renewed must
not be lost for that. What a broker does not take says nothing of which certificate is at fault, so the one
before is left as soon as it is refused too, and the newest is tried again now and then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.uplink.broker_config import BrokerConfig
from edge.uplink.messages import Alarm, AlarmCode
from edge.uplink.signals import Cause, LinkError

REFUSALS = 3
"""The newest certificate is refused so often in a row before the one before it is tried."""
AGAIN_S = 6 * 3600.0
"""So long the one before is used before the newest is tried again."""
_REFUSED = frozenset({Cause.CERTIFICATE_REFUSED, Cause.NOT_AUTHORISED})

Before = Callable[[BrokerConfig], BrokerConfig | None]
"""Gives the same link with the pair before the one in force; None where there is none that is still valid."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which pair is used, and what speaks against the newest."""

    refused: int = 0
    """So often the newest was refused since it was last taken."""
    before_since_s: float | None = None
    """Since when the pair before is used; None: it is not."""
    taken: bool = False
    """The broker took the pair before: so the newest is at fault."""


def refused(standing: Standing, cause: Cause | None, now_s: float, *, another: bool) -> Standing:
    """Return what a failure leads to; `another` tells whether there is a pair before that could serve."""
    if cause not in _REFUSED:
        return standing
    if standing.before_since_s is not None:
        return Standing()  # it is no better: begin anew with the newest
    count = standing.refused + 1
    # After a try in between, while the pair before is known to be good, one refusal is enough.
    if another and (count >= REFUSALS or standing.taken):
        return Standing(count, now_s, standing.taken)
    return replace(standing, refused=count)


def welcomed(standing: Standing) -> Standing:
    """Return what a connection leads to."""
    return replace(standing, taken=True) if standing.before_since_s is not None else Standing()


def tried_again(standing: Standing, now_s: float) -> Standing:
    """Return to the newest where that is due."""
    since_s = standing.before_since_s
    if since_s is None or now_s - since_s < AGAIN_S:
        return standing
    return replace(standing, before_since_s=None)


class Identities:
    """Chooses the pair of each connection; for the uplink's thread alone."""

    def __init__(self, before: Before | None, now_s: Callable[[], float]) -> None:
        self._before, self._now_s = before, now_s
        self._standing = Standing()

    @property
    def name(self) -> str:
        """`current` or `previous`, as their folders are called."""
        return "current" if self._standing.before_since_s is None else "previous"

    @property
    def due(self) -> bool:
        """Whether the newest is to be tried again now."""
        return tried_again(self._standing, self._now_s()) != self._standing

    def choose(self, config: BrokerConfig) -> BrokerConfig:
        """Return with what to connect."""
        self._standing = tried_again(self._standing, self._now_s())
        if self._standing.before_since_s is None:
            return config
        before = self._find(config)
        if before is None:  # it has expired meanwhile
            self._standing = Standing()
            return config
        return before

    def failed(self, error: LinkError, config: BrokerConfig) -> None:
        """Take in why a connection did not come about."""
        another = self._find(config) is not None
        self._standing = refused(self._standing, error.cause, self._now_s(), another=another)

    def welcomed(self) -> None:
        """Take in that the broker let the unit in."""
        self._standing = welcomed(self._standing)

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what somebody should see to."""
        if not self._standing.taken:
            return ()
        detail = "the broker refuses the unit's newest certificate, and takes the one before it"
        return (Alarm(code=AlarmCode.CERTIFICATE_REFUSED, detail=detail),)

    def _find(self, config: BrokerConfig) -> BrokerConfig | None:
        return None if self._before is None else self._before(config)
