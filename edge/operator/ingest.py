"""The reference ingester: stores what the units of a tenant say, and only then says so.

A message is acknowledged twice, and both only after the commit: to the broker (PUBACK), so that it may forget
it, and on the unit's `ack` topic, so that a unit that waits for that may. So an ingester may be killed at any
moment: what it had not stored comes again, and what comes again is stored once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event

from edge.operator.addresses import ANY, filter_of, unit_of
from edge.operator.incoming import read
from edge.operator.station import Station, heard_until_quiet
from edge.operator.store import Store, StoreBusy
from edge.operator.tables import Progress, Taken
from edge.uplink.command_messages import Ack, decode_ack, encode_ack
from edge.uplink.link import BrokerConfig
from edge.uplink.signals import Publication, Received
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, InvalidMessage

SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long the broker queues for an ingester that is away."""
REPEAT_S = 30.0
"""A unit is not told more often than this what it was told before."""
_PURGE_EVERY_S = 60.0
_WAIT_S = 0.5


@dataclass(slots=True)
class Totals:
    """What was stored since the start."""

    events: int = 0
    twice: int = 0
    pictures: int = 0
    unreadable: int = 0
    deleted: int = 0
    """Pictures at the end of their retention."""

    def add(self, taken: Taken) -> None:
        """Count a batch."""
        self.events += taken.events
        self.twice += taken.twice
        self.pictures += taken.pictures
        self.unreadable += taken.unreadable


def filters(tenant: str, group: str | None) -> tuple[str, str]:
    """Return what an ingester subscribes to; with a `group`, as one of those that share the work."""
    share = f"$share/{group}/" if group else ""
    return tuple(share + filter_of(tenant, ANY, *levels) for levels in (("event",), ("thumb", ANY)))  # type: ignore[return-value]


def floors(config: BrokerConfig, tenant: str) -> list[Progress]:
    """Return what ingesters before this one acknowledged: the retained `ack` of each unit. Raises LinkError.

    Units have deleted all up to there, so a new store that waited for it would wait for ever.
    """
    found: dict[str, Progress] = {}
    # Another client: this one begins a session of its own, and the ingester's may hold what nobody else has.
    apart = replace(config, client_id=f"{config.client_id}-floor", session_expiry_s=0)
    with Station(apart, [filter_of(tenant, ANY, "ack")]) as station:
        for message in heard_until_quiet(station):
            match unit_of(tenant, message.topic):
                case (unit, ("ack",)) if (ack := _ack_of(message)) is not None:
                    found[unit] = Progress(unit, ack.epoch, ack.seq)
    return list(found.values())


@dataclass(slots=True)
class Ingester:
    """From the broker to the store, and back to the units how far all is there."""

    tenant: str
    station: Station
    """Made with `manual_ack`."""
    store: Store
    told: Callable[[str], None]
    """Hears what an operator should see to."""
    totals: Totals = field(default_factory=Totals)
    _connections: int = 0
    _repeated_s: dict[Progress, float] = field(default_factory=dict)
    _purge_due_s: float = 0.0

    def turn(self, stop: Event) -> None:
        """Take what comes within half a second, and answer it. Raises StoreUnusable."""
        messages = self.station.turn(_WAIT_S)
        if self.station.connections != self._connections:
            self._connections = self.station.connections
            self._tell(self.store.newest())
        if messages and (taken := self._stored(messages, stop)) is not None:
            self.station.acknowledge(messages)
            self.totals.add(taken)
            self._tell(taken.advanced)
            self._tell(self._due(taken.repeated))
        for sent in self.station.sent():
            if sent.failure:
                self.told(f"{sent.publication.topic}: the broker refuses the acknowledgement: {sent.failure}")
        self._purge()

    def _stored(self, messages: list[Received], stop: Event) -> Taken | None:
        """Store a batch, as often as it takes; None when stopped first, and the broker has it still."""
        batch = [read(self.tenant, message) for message in messages]
        said = False
        while not stop.is_set():
            try:
                return self.store.take(batch, datetime.now(UTC))
            except StoreBusy as error:
                if not said:
                    self.told(f"{error}: nothing is acknowledged until it can be written")
                said = True
                stop.wait(1.0)
        return None

    def _tell(self, progress: list[Progress] | tuple[Progress, ...]) -> None:
        for one in progress:
            topic = Topics(self.tenant, one.unit).ack
            payload = encode_ack(Ack(epoch=one.epoch, seq=one.seq))
            self.station.publish(f"{one.unit}/{one.epoch}", Publication(topic, payload, JSON, retain=True))

    def _due(self, repeated: tuple[Progress, ...]) -> list[Progress]:
        now_s = time.monotonic()
        due = [one for one in repeated if now_s - self._repeated_s.get(one, -REPEAT_S) >= REPEAT_S]
        if due:
            fresh = {one: at_s for one, at_s in self._repeated_s.items() if now_s - at_s < REPEAT_S}
            self._repeated_s = fresh | dict.fromkeys(due, now_s)
        return due

    def _purge(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._purge_due_s:
            self._purge_due_s = now_s + _PURGE_EVERY_S
            try:
                self.totals.deleted += self.store.purge(datetime.now(UTC))
            except StoreBusy as error:
                self.told(f"{error}: pictures whose retention has ended stay for now")


def _ack_of(message: Received) -> Ack | None:
    try:
        return decode_ack(message.payload)
    except InvalidMessage:
        return None
