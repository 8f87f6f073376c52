"""Delivering over one connection: the state first, then the spool in order, a window at a time."""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

import msgspec

from edge.clock import Clock
from edge.policy.document import RETAIN_MAX_DAYS
from edge.uplink.link import Connection
from edge.uplink.messages import STATE_CONTENT_TYPE, Capture, State, encode, timestamp
from edge.uplink.records import Spooled, SpoolError
from edge.uplink.signals import Acked, Connected, Dismissed, LinkError, Lost, Publication
from edge.uplink.spool import Spool

WINDOW = 16
"""At most so many unacknowledged messages, fewer where the broker's Receive Maximum is lower."""
FAREWELL_S = 2.0
"""How long a stopping unit waits for the broker to take its last state."""
BREAKS = 3
"""A message that breaks so many connections in a row is set aside."""
PROMPT_S = 5.0
"""A break that comes later after a publish is not that publish's doing."""
_SECOND = dt.timedelta(seconds=1)
_EXPIRY_MAX_S = RETAIN_MAX_DAYS * 24 * 3600  # whatever the clock says when it is wrong

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that may be what breaks the connections: sent, first unacknowledged, and then a break."""

    position: int
    breaks: int
    """In a row, with nothing of the spool acknowledged between them."""

    @classmethod
    def after(cls, before: "Suspect | None", position: int) -> "Suspect":
        """Return the suspect of a break, given the one of the break before it."""
        return cls(position, before.breaks + 1 if before and before.position == position else 1)


class Ledger:
    """What the broker said of messages, until the spool knows it too. Outlives a connection.

    When the disk is full the spool cannot forget what was delivered; it is told again later, and until then
    nothing of it is sent a second time.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._unsettled: dict[int, str | None] = {}
        self._failing = False
        self.suspect: Suspect | None = None
        self.delivered = 0
        self.refused = 0

    def __contains__(self, position: int) -> bool:
        return position in self._unsettled

    def take(self, position: int) -> None:
        """Note that the broker has the message."""
        self._unsettled[position] = None
        self.suspect = None
        self.delivered += 1

    def refuse(self, position: int, reason: str) -> None:
        """Note that the broker will not have it."""
        self._unsettled[position] = reason
        self.suspect = None
        self.refused += 1

    def settle(self) -> None:
        """Tell the spool; where it fails, keep it for the next time."""
        if not self._unsettled:
            return
        try:
            self._spool.release([at for at, reason in self._unsettled.items() if reason is None])
            for position, reason in self._unsettled.items():
                if reason is not None:
                    self._spool.set_aside(position, reason)
        except SpoolError as error:
            if not self._failing:
                _log.warning("the spool cannot be told what was delivered: %s", error)
            self._failing = True
            return
        self._failing = False
        self._unsettled.clear()


class StatePost:
    """Makes the `state` messages of one connection: its birth, changes, offline and will."""

    def __init__(self, topic: str, session: int, connection: int, clock: Clock) -> None:
        self._topic = topic
        self._session = session
        self._connection = connection
        self._clock = clock

    def online(self, state: State) -> Publication:
        """Return the birth, or a change."""
        return self._publication(state)

    def will(self, state: State) -> Publication:
        """Return what the broker says of a unit that goes away without a word."""
        gone = msgspec.structs.replace(
            state,
            online=False,
            capture=Capture.UNKNOWN,
            reason="connection lost",
            at=timestamp(self._clock.now_at()),
        )
        return self._publication(gone)

    def offline(self, state: State) -> Publication:
        """Return the last word of a unit that stops; the reason stays where `state` has stopped already."""
        stopped = state.capture is Capture.STOPPED and state.reason
        gone = msgspec.structs.replace(
            state,
            online=False,
            capture=Capture.STOPPED,
            reason=state.reason if stopped else "the unit was stopped",
            at=timestamp(self._clock.now_at()),
        )
        return self._publication(gone)

    def _publication(self, state: State) -> Publication:
        numbered = msgspec.structs.replace(state, session=self._session, connection=self._connection)
        return Publication(self._topic, encode(numbered), STATE_CONTENT_TYPE, retain=True)


class Delivery:
    """The state of delivering over one connection."""

    def __init__(
        self,
        spool: Spool,
        connection: Connection,
        welcome: Connected,
        post: StatePost,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._spool = spool
        self._connection = connection
        self._window = min(WINDOW, welcome.receive_maximum)
        self._maximum_packet_bytes = welcome.maximum_packet_bytes
        self._post = post
        self._ledger = ledger
        self._clock = clock
        # By packet identifier, in the order of sending: position (None for a state), and when it was sent.
        self._in_flight: dict[int, tuple[int | None, float]] = {}
        self._told: State | None = None
        self._cursor = 0
        self._more = True  # the spool may hold more past the cursor
        self._said_refusal: str | None = None

    def run(self, wanted: Callable[[], State], stopping: Event, wait_s: float) -> None:
        """Deliver until `stopping`, then say goodbye. Raises LinkLost, SpoolError."""
        try:
            while not stopping.is_set():
                self._tell(wanted())
                self._fill()
                idle = not self._more or self._room() == 0
                self._step(wait_s if idle else 0.0)
        except LinkError as error:
            self._suspect(error)
            raise
        self._say_goodbye(wanted())

    def _room(self) -> int:
        return self._window - len(self._in_flight)

    def _tell(self, state: State) -> None:
        """Publish the state if it says something new. Only the newest counts, so an older one is skipped."""
        news = self._told is None or msgspec.structs.replace(state, at=self._told.at) != self._told
        if news and self._room():
            self._send(self._post.online(state), None)
            self._told = state

    def _fill(self) -> None:
        """Publish what waits, in order, as far as the window has room."""
        room = self._room()
        if not room or not self._more:
            return
        now_at = self._clock.now_at()
        # Expiry goes over the wire in whole seconds: what has less than one left is not worth sending.
        batch = self._spool.pending(room, after=self._cursor, alive_at=now_at + _SECOND)
        self._more = len(batch) == room
        for spooled in batch:
            if spooled.position not in self._ledger:
                self._publish(spooled, now_at)
            self._cursor = spooled.position

    def _publish(self, spooled: Spooled, now_at: dt.datetime) -> None:
        message = spooled.message
        expiry_s: int | None = None
        if message.expires_at is not None:
            expiry_s = min(int((message.expires_at - now_at).total_seconds()), _EXPIRY_MAX_S)
        publication = Publication(
            message.topic,
            message.payload,
            message.content_type,
            expiry_s=expiry_s,
            user=(("event_id", message.event_id), ("seq", str(spooled.seq))),
        )
        limit_bytes = self._maximum_packet_bytes
        if limit_bytes is not None and (size := self._connection.packet_bytes(publication)) > limit_bytes:
            self._refuse(spooled.position, f"packet of {size} bytes, the broker takes {limit_bytes}")
            return
        self._send(publication, spooled.position)

    def _send(self, publication: Publication, position: int | None) -> int:
        mid = self._connection.publish(publication)
        self._in_flight[mid] = position, self._clock.now_s()
        return mid

    def _step(self, wait_s: float) -> None:
        if self._connection.step(wait_s):
            self._more = True
        if (lost := self._hear()) is not None:
            raise lost

    def _hear(self) -> LinkError | None:
        """Take in what the broker said; return why the connection ended, if it did."""
        lost: LinkError | None = None
        for signal in self._connection.signals():
            if isinstance(signal, Acked):
                self._acknowledge(signal)
            elif isinstance(signal, Lost):
                lost = lost or signal.error
        self._ledger.settle()
        return lost

    def _suspect(self, error: LinkError) -> None:
        """Blame a break on the message that the broker came to next: it takes publishes in order.

        Some brokers answer a message over a limit that they never announced by ending the connection: sent
        first on each, it would keep all behind it from ever going. A broker that dies, or dismisses the unit,
        or did not come as far as the birth, says nothing of a message.
        """
        error = self._hear() or error  # what it said before, acknowledgements too
        position, sent_s = next(iter(self._in_flight.values()), (None, 0.0))
        if position is None or isinstance(error, Dismissed) or self._clock.now_s() - sent_s > PROMPT_S:
            self._ledger.suspect = None
            return
        suspect = self._ledger.suspect = Suspect.after(self._ledger.suspect, position)
        if suspect.breaks >= BREAKS:
            self._refuse(position, f"{BREAKS} connections in a row ended when it was sent; the last: {error}")
            self._ledger.settle()

    def _acknowledge(self, ack: Acked) -> None:
        if ack.mid not in self._in_flight:
            return
        position, _ = self._in_flight.pop(ack.mid)
        if ack.failure is not None:
            self._refuse(position, ack.failure)
        elif position is not None:
            self._ledger.take(position)

    def _refuse(self, position: int | None, reason: str) -> None:
        what = "state" if position is None else f"message {position}"
        if reason != self._said_refusal:
            _log.warning("the broker refuses %s: %s: check its access list and limits", what, reason)
            self._said_refusal = reason
        if position is not None:
            self._ledger.refuse(position, reason)

    def _say_goodbye(self, state: State) -> None:
        """Publish offline, wait until the broker has it, and disconnect.

        Without that acknowledgement, no DISCONNECT is sent either: so the broker publishes the will.
        """
        deadline_s = self._clock.now_s() + FAREWELL_S
        last: int | None = None
        while (left_s := deadline_s - self._clock.now_s()) > 0:
            if last is None and self._room():
                last = self._send(self._post.offline(state), None)
            self._step(left_s)
            if last is not None and last not in self._in_flight:
                self._connection.disconnect()
                return
        _log.warning("the broker did not take the last state within %g s; it has the will", FAREWELL_S)
