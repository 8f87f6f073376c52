"""The push itself: a retained message to each unit, and waiting for what each says."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from edge.operator.addresses import ANY, filter_of, unit_of
from edge.operator.push import Delivered, Happening, Progress, Said, step
from edge.operator.signing import SignedPolicy
from edge.operator.station import Station
from edge.uplink.messages import decode_state
from edge.uplink.signals import Publication, Received
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import decode_reported
from edge.uplink.wire import InvalidMessage

CONTENT_TYPE = "application/jose"
"""A JWS in compact serialization: RFC 7515, section 9.2.1."""
_WAIT_S = 0.25


def filters(tenant: str, units: Sequence[str], *, everyone: bool) -> list[str]:
    """Return what to hear of these units: their states, and what they report."""
    names = [ANY] if everyone else units
    return [
        filter_of(tenant, name, *levels) for name in names for levels in (("state",), ("config", "reported"))
    ]


def fleet(tenant: str, heard: Sequence[Received]) -> list[str]:
    """Return the units that said, or whose will says, how they are."""
    units = (unit_of(tenant, message.topic) for message in heard if message.payload)
    return sorted({found[0] for found in units if found is not None and found[1] == ("state",)})


@dataclass(slots=True)
class Push:
    """One policy on its way to some units."""

    tenant: str
    signed: SignedPolicy
    units: Sequence[str]
    changed: Callable[[Progress], None]
    """Hears of each change of a unit's outcome, or of its being there."""
    progress: dict[str, Progress] = field(init=False)

    def __post_init__(self) -> None:
        self.progress = {unit: Progress(unit) for unit in self.units}

    def note(self, heard: Sequence[Received]) -> None:
        """Take in what the units had said before anything was published."""
        for message in heard:
            self._take(message, before=True)

    def run(self, station: Station, timeout_s: float, stop: Event, *, offline_too: bool) -> None:
        """Publish, and wait until every unit has answered for good, or time is up."""
        deadline_s = time.monotonic() + timeout_s
        for unit in self.units:
            desired = Topics(self.tenant, unit).desired
            station.publish(unit, Publication(desired, self.signed.envelope, CONTENT_TYPE, retain=True))
        while not stop.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
            for message in station.turn(min(_WAIT_S, left_s)):
                # What the first connection gives as retained was there when we subscribed; one that is made
                # later may give the very answer.
                self._take(message, before=message.retain and station.connections == 1)
            for sent in station.sent():
                self._step(sent.key, Delivered(sent.failure))
            if station.idle and not self.awaited(offline_too=offline_too):
                return

    def awaited(self, *, offline_too: bool) -> list[Progress]:
        """Return the units that may still answer."""
        return [one for one in self.progress.values() if not one.final and (offline_too or not one.offline)]

    def _take(self, message: Received, *, before: bool) -> None:
        try:
            match unit_of(self.tenant, message.topic):
                case (unit, ("state",)):
                    self._step(unit, decode_state(message.payload))
                case (unit, ("config", "reported")):
                    self._step(unit, Said(decode_reported(message.payload), before))
                case _:
                    pass
        except InvalidMessage:
            pass  # an empty one clears a retained message; of another no unit is better known

    def _step(self, unit: str, happening: Happening) -> None:
        before = self.progress.get(unit)
        if before is None:
            return
        after = self.progress[unit] = step(before, happening, self.signed.sha256)
        if (before.outcome, before.detail, before.offline) != (after.outcome, after.detail, after.offline):
            self.changed(after)
