"""What the broker said of messages of the spool, until the spool knows it too."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from edge.uplink.records import SpoolCorrupt, SpoolError
from edge.uplink.spool import Spool

BREAKS = 3
"""A message that breaks so many connections in a row is set aside."""
SETTLE_AT = 256
SETTLE_WITHIN_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that may be what breaks the connections: sent, first unacknowledged, and then a break."""

    name: int | str
    """Position in the spool, or what it is."""
    breaks: int
    """In a row, with nothing acknowledged between them but what is sent first."""

    @classmethod
    def after(cls, before: "Suspect | None", name: int | str) -> "Suspect":
        """Return the suspect of a break, given the one of the break before it."""
        return cls(name, before.breaks + 1 if before and before.name == name else 1)


class Ledger:
    """Outlives a connection. Positions in it are those of the spool as it is.

    When the disk is full the spool cannot forget what was delivered; it is told again later, and until then
    nothing of it is sent a second time.
    """

    def __init__(self, spool: Spool, *, keeps: bool) -> None:
        """With `keeps`, what the broker took stays in the spool, for the ingester to release."""
        self._spool = spool
        self._keeps = keeps
        self._held = False
        self._unsettled: dict[int, str | None] = {}
        self._retried: frozenset[int | str] = frozenset()
        self._failing = False
        self._settle_due_s: float | None = None
        self.suspect: Suspect | None = None
        self.delivered = 0
        self.refused = 0
        self.last_refusal: str | None = None
        self.last_puback_s: float | None = None
        """When the broker last took anything of ours, on the monotonic clock."""
        self.round_trip_s: float | None = None
        """How long that took, from the publish on."""
        self.unacknowledged_since_s: float | None = None
        """Since when the broker has acknowledged nothing, though something is on its way to it."""
        self.last_answer: str | None = None
        """Why it did not take the last message that it answered; None: it took it."""
        self.generation = 0
        """Rises when every position that was known became worthless."""

    def __contains__(self, position: int) -> bool:
        return position in self._unsettled

    def take(self, position: int) -> None:
        """Note that the broker has the message."""
        if not (self._keeps or self._held):
            self._unsettled[position] = None
        self.suspect = None
        self.delivered += 1

    def hold(self, *, held: bool) -> None:
        """Keep all that the broker takes, while it is on trial; what was kept is sent again after that."""
        if self._held and not held:
            self.generation += 1
        self._held = held

    def refuse(self, position: int, reason: str) -> None:
        """Note that the broker will not have it."""
        self._unsettled[position] = self.last_refusal = reason
        self.suspect = None
        self.refused += 1

    def broke(self, name: int | str) -> int | None:
        """Note that a connection ended when this was sent; return how often, once it is to be set aside.

        One that was a dead letter before is at fault the first time.
        """
        self.suspect = Suspect.after(self.suspect, name)
        enough = 1 if name in self._retried else BREAKS
        return self.suspect.breaks if self.suspect.breaks >= enough else None

    def retry(self, positions: Iterable[int]) -> None:
        """Note which messages are dead letters that are tried again."""
        self._retried = frozenset(positions)

    def forget_broker(self) -> None:
        """Start over with what the broker said last: it is another one from now on."""
        self.last_puback_s = self.round_trip_s = self.last_answer = None

    def forget(self) -> None:
        """Start over with positions: the spool was mended, and numbers its messages anew.

        Some of what was delivered and not yet released comes twice: readers know it by its id.
        """
        self._unsettled.clear()
        self._retried = frozenset()
        self.suspect = None
        self.generation += 1

    def settle_when_due(self, now_s: float, *, waiting: bool) -> None:
        """Settle many at a time while more is on its way (`waiting`): each time costs the disk a commit.

        What a crash leaves unsettled is sent again. Raises SpoolCorrupt.
        """
        if not self._unsettled:
            return
        if self._settle_due_s is None:
            self._settle_due_s = now_s + SETTLE_WITHIN_S
        if not waiting or len(self._unsettled) >= SETTLE_AT or now_s >= self._settle_due_s:
            self._settle_due_s = None
            self.settle()

    def settle(self) -> None:
        """Tell the spool; where it fails, keep it for the next time. Raises SpoolCorrupt."""
        if not self._unsettled:
            return
        try:
            self._spool.release([at for at, reason in self._unsettled.items() if reason is None])
            for position, reason in self._unsettled.items():
                if reason is not None:
                    self._spool.set_aside(position, reason)
        except SpoolCorrupt:
            raise
        except SpoolError as error:
            if not self._failing:
                _log.warning("the spool cannot be told what was delivered: %s", error)
            self._failing = True
            return
        self._failing = False
        self._unsettled.clear()
