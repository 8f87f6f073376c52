"""Delivering over one connection: the state first, then the spool in order, a window at a time."""

import datetime as dt
import logging
from collections.abc import Callable
from threading import Event

import msgspec

from edge.clock import Clock
from edge.uplink.link import Connection
from edge.uplink.messages import STATE_CONTENT_TYPE, Capture, State, encode, timestamp
from edge.uplink.records import Spooled, SpoolError
from edge.uplink.signals import Acked, Connected, LinkError, Lost, Publication
from edge.uplink.spool import Spool

WINDOW = 16
"""At most so many unacknowledged messages, fewer where the broker's Receive Maximum is lower."""
FAREWELL_S = 2.0
"""How long a stopping unit waits for the broker to take its last state."""
_SECOND = dt.timedelta(seconds=1)

_log = logging.getLogger(__name__)


class Ledger:
    """What the broker said of messages, until the spool knows it too. Outlives a connection.

    When the disk is full the spool cannot forget what was delivered; it is told again later, and until then
    nothing of it is sent a second time.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._unsettled: dict[int, str | None] = {}
        self._failing = False
        self.delivered = 0
        self.refused = 0

    def __contains__(self, position: int) -> bool:
        return position in self._unsettled

    def take(self, position: int) -> None:
        """Note that the broker has the message."""
        self._unsettled[position] = None
        self.delivered += 1

    def refuse(self, position: int, reason: str) -> None:
        """Note that the broker will not have it."""
        self._unsettled[position] = reason
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
        self._in_flight: dict[int, int | None] = {}  # packet identifier -> position; None for a state
        self._told: State | None = None
        self._cursor = 0
        self._more = True  # the spool may hold more past the cursor
        self._said_refusal: str | None = None

    def run(self, wanted: Callable[[], State], stopping: Event, wait_s: float) -> None:
        """Deliver until `stopping`, then say goodbye. Raises LinkLost, SpoolError."""
        while not stopping.is_set():
            self._tell(wanted())
            self._fill()
            idle = not self._more or self._room() == 0
            self._step(wait_s if idle else 0.0)
        self._say_goodbye(wanted())

    def _room(self) -> int:
        return self._window - len(self._in_flight)

    def _tell(self, state: State) -> None:
        """Publish the state if it says something new. Only the newest counts, so an older one is skipped."""
        news = self._told is None or msgspec.structs.replace(state, at=self._told.at) != self._told
        if news and self._room():
            self._in_flight[self._connection.publish(self._post.online(state))] = None
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
        expiry_s = None if message.expires_at is None else int((message.expires_at - now_at).total_seconds())
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
        self._in_flight[self._connection.publish(publication)] = spooled.position

    def _step(self, wait_s: float) -> None:
        if self._connection.step(wait_s):
            self._more = True
        lost: LinkError | None = None
        for signal in self._connection.signals():
            if isinstance(signal, Acked):
                self._acknowledge(signal)
            elif isinstance(signal, Lost):
                lost = lost or signal.error
        self._ledger.settle()
        if lost is not None:
            raise lost

    def _acknowledge(self, ack: Acked) -> None:
        if ack.mid not in self._in_flight:
            return
        position = self._in_flight.pop(ack.mid)
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
                last = self._connection.publish(self._post.offline(state))
                self._in_flight[last] = None
            self._step(left_s)
            if last is not None and last not in self._in_flight:
                self._connection.disconnect()
                return
        _log.warning("the broker did not take the last state within %g s; it has the will", FAREWELL_S)
