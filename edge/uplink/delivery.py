"""Delivering over one connection: the state first, then the spool in order, a window at a time."""

import logging
from collections.abc import Callable

import msgspec

from edge.uplink.diary import NotNoted
from edge.uplink.draining import Draining
from edge.uplink.flight import Flight, Sent
from edge.uplink.link import Connection
from edge.uplink.messages import State
from edge.uplink.outbox import Letter
from edge.uplink.shared import Shared
from edge.uplink.signals import (
    Acked,
    Arrived,
    Connected,
    Dismissed,
    LinkError,
    Lost,
    Publication,
    Received,
    Stalled,
    Subscribed,
)
from edge.uplink.state_post import StatePost
from edge.uplink.twin_messages import Reported, encode_reported
from edge.uplink.wire import JSON

WINDOW = 16
"""At most so many unacknowledged messages, fewer where the broker's Receive Maximum is lower."""
TURN_S = 0.8
"""The longest wait of the uplink's thread: whoever is promised a turn a second gets it."""
FAREWELL_S = 2.0
"""How long a unit that leaves waits for the broker to take its last state."""
PROMPT_S = 5.0
"""A break that comes later after a publish is not that publish's doing."""

_log = logging.getLogger(__name__)


class Delivery:
    """The state of delivering over one connection."""

    def __init__(
        self, shared: Shared, connection: Connection, welcome: Connected, post: StatePost, *, stall_s: float
    ) -> None:
        """`stall_s` is how long nothing of what was sent may be acknowledged."""
        self._shared = shared
        self._connection = connection
        self._maximum_packet_bytes = welcome.maximum_packet_bytes
        self._post = post
        self._stall_s = stall_s
        self._clock = shared.clock
        self._flight = Flight(min(WINDOW, welcome.receive_maximum))
        self._draining = Draining(shared, self._flight, self._send_spooled)
        self._asked: dict[int, str] = {}  # subscriptions that were not answered yet
        self._told: State | None = None
        self._bare: Publication | None = None
        self._said_unnoted = False
        self._reported: Reported | None = None
        self._charged: Reported | None = None  # counted already, and not noted yet
        self._letter = 0  # the number of the last reply that was sent
        self._heard_s = self._clock.now_s()  # the last acknowledgement
        self._said_refusal: str | None = None
        self.took_something = False
        """Whether the broker acknowledged anything on this connection."""
        self.subscriptions_refused = 0

    def run(self, leaving: Callable[[], Publication | None], turn: Callable[[], None]) -> None:
        """Deliver until `leaving` gives the last word, then say it. Raises LinkLost, SpoolError."""
        try:
            self._subscribe()
            while (farewell := leaving()) is None:
                turn()
                self._tell()
                self._draining.guarded(self._draining.carry)
                self._check_stall()
                self._step(TURN_S if self._draining.idle else 0.0)
        except LinkError as error:
            self._suspect(error)
            self._draining.guarded(self._shared.ledger.settle)
            raise
        self._say_goodbye(farewell)

    # What is asked for and comes down.

    def _subscribe(self) -> None:
        """Ask for all that the unit listens to, before the first publish."""
        for topic_filter in self._shared.inbox.filters:
            self._asked[self._connection.subscribe(topic_filter)] = topic_filter
        if self._shared.ingester is not None:
            self._shared.ingester.connected(self._clock.now_s())
            for topic_filter in self._shared.ingester.inbox.filters:
                # The flag then tells what was there before from what is said now.
                self._asked[self._connection.subscribe(topic_filter, as_published=False)] = topic_filter

    def _subscribed(self, answer: Subscribed) -> None:
        topic_filter = self._asked.pop(answer.mid, "?")
        if answer.failure is not None:
            self.subscriptions_refused += 1
            _log.warning(
                "the broker refuses the subscription to %s: %s: check its access list",
                topic_filter,
                answer.failure,
            )

    def _arrived(self, message: Received) -> None:
        """Hand a message on; only then it is acknowledged: a unit that dies meanwhile gets it again."""
        ingester = self._shared.ingester
        if ingester is not None and message.topic in ingester.inbox.filters:
            ingester.inbox.take(message)
        else:
            self._shared.inbox.take(message)
        self._connection.acknowledge(message)

    # What goes up.

    def _tell(self) -> None:
        """Publish state, report and replies. Of the first two only the newest counts."""
        outbox = self._shared.outbox
        state, reported = outbox.state, outbox.reported
        news = self._told is None or msgspec.structs.replace(state, at=self._told.at) != self._told
        if news and self._flight.room:
            self._tell_state(state)
        if reported is not None and reported != self._reported and self._flight.room:
            self._tell_report(reported)
        self._answer()
        self._tell_health()

    def _tell_state(self, state: State) -> None:
        """Publish the state; where it cannot be noted for the worker, only that, and what is wrong."""
        online = self._post.online(state)
        if self._noted(online):
            self._send(online, "state")
            self._told = state
        elif (bare := self._post.bare(state)) != self._bare:
            self._send(bare, "state")
            self._bare = bare

    def _tell_report(self, reported: Reported) -> None:
        """Publish what became of a policy: what was told before at once, else as often as may be."""
        outbox = self._shared.outbox
        if reported not in (outbox.told, self._charged):
            if not self._shared.reports.spend():
                return
            self._charged = reported
        report = Publication(self._shared.topics.reported, encode_reported(reported), JSON, retain=True)
        if self._noted(report):
            self._send(report, "report")
            self._reported = outbox.told = reported

    def _tell_health(self) -> None:
        """Publish the unit's health where it is time to, behind the birth; what is not noted is dropped."""
        post = self._shared.health
        if post is None or not self._draining.born or (health := post.due()) is None:
            return
        limit_bytes = self._maximum_packet_bytes
        fits = limit_bytes is None or self._connection.packet_bytes(health) <= limit_bytes
        if fits and self._noted(health):
            self._connection.publish(health)

    def _noted(self, publication: Publication) -> bool:
        """Return whether the worker's log has it, so that it may leave."""
        try:
            self._shared.diary.leaving([publication])
        except NotNoted as error:
            if not self._said_unnoted:
                _log.error("nothing leaves until the worker's log takes it: %s", error)
            self._said_unnoted = True
            return False
        self._said_unnoted = False
        return True

    def _answer(self) -> bool:
        """Publish replies; return whether all are on their way."""
        while (letter := self._shared.outbox.next_letter(self._letter)) is not None:
            if not self._flight.room:
                return False
            publication = Publication(self._shared.topics.reply(letter.name), letter.payload, JSON)
            if not self._noted(publication):
                return False
            self._letter = letter.number
            self._send(publication, f"the reply to {letter.name}", letter=letter)
        return True

    def _send_spooled(self, publication: Publication, position: int) -> None:
        self._send(publication, f"message {position}", position=position)

    def _send(
        self,
        publication: Publication,
        what: str,
        *,
        position: int | None = None,
        letter: Letter | None = None,
    ) -> int | None:
        """Publish, and return the packet identifier; None for what is larger than the broker takes."""
        sent = Sent(what, self._clock.now_s(), position, letter)
        limit_bytes = self._maximum_packet_bytes
        if limit_bytes is not None and (size := self._connection.packet_bytes(publication)) > limit_bytes:
            self._refuse(sent, f"packet of {size} bytes, the broker takes {limit_bytes}")
            return None
        mid = self._connection.publish(publication)
        self._flight.add(mid, sent)
        return mid

    # What the broker says of it.

    def _step(self, wait_s: float) -> None:
        if self._connection.step(wait_s):
            self._draining.woken()
        if (lost := self._hear()) is not None:
            raise lost

    def _hear(self) -> LinkError | None:
        """Take in what the broker said; return why the connection ended, if it did."""
        lost: LinkError | None = None
        for signal in self._connection.signals():
            match signal:
                case Acked():
                    self._acknowledged(signal)
                case Subscribed():
                    self._subscribed(signal)
                case Arrived():
                    self._arrived(signal.message)
                case Lost():
                    lost = lost or signal.error
                case _:
                    pass
        return lost

    def _acknowledged(self, ack: Acked) -> None:
        if (sent := self._flight.pop(ack.mid)) is None:
            return
        now_s = self._heard_s = self._clock.now_s()
        self._draining.born = True  # the birth is the first, and answers come in order
        ledger, ingester = self._shared.ledger, self._shared.ingester
        if ack.failure is not None:
            self._refuse(sent, ack.failure)
            return
        self._draining.progressed = self.took_something = True
        ledger.last_puback_s, ledger.round_trip_s, ledger.last_answer = now_s, now_s - sent.sent_s, None
        if sent.letter is not None:
            self._shared.outbox.done(sent.letter)
        if sent.position is not None:
            ledger.take(sent.position)
            if ingester is not None:
                ingester.waits(now_s)

    def _check_stall(self) -> None:
        """Leave a broker that answers pings, takes messages and acknowledges none. Raises Stalled."""
        oldest = self._flight.first
        if oldest is None:
            self._shared.ledger.unacknowledged_since_s = None
            return
        since_s = self._shared.ledger.unacknowledged_since_s = max(oldest.sent_s, self._heard_s)
        waited_s = self._clock.now_s() - since_s
        if waited_s > self._stall_s:
            raise Stalled(
                f"the broker has acknowledged none of {len(self._flight)} messages for {waited_s:.0f} s:"
                " is it out of disk or memory?"
            )

    def _suspect(self, error: LinkError) -> None:
        """Blame a break on the message that the broker came to next: it takes publishes in order.

        Some brokers answer a message over a limit that they never announced by ending the connection: sent
        first on each, it would keep all behind it from ever going. A broker that dies, or dismisses the unit,
        or did not come as far as the birth, says nothing of a message.
        """
        error = self._hear() or error  # what it said before, acknowledgements too
        first = self._flight.first
        prompt = first is not None and self._clock.now_s() - first.sent_s <= PROMPT_S
        if first is None or first.name is None or not prompt or isinstance(error, Dismissed):
            self._shared.ledger.suspect = None
        elif (breaks := self._shared.ledger.broke(first.name)) is not None:
            times = f"{breaks} connections in a row" if breaks > 1 else "a connection"
            self._refuse(first, f"{times} ended when it was sent; the last: {error}")
        self._draining.guarded(self._shared.ledger.settle)

    def _refuse(self, sent: Sent, reason: str) -> None:
        """Let the broker not have it: a message of the spool is set aside, a reply dropped."""
        if reason != self._said_refusal:
            _log.warning("the broker refuses %s: %s: check its access list and limits", sent.what, reason)
            self._said_refusal = reason
        self._shared.ledger.last_answer = reason
        if sent.position is not None:
            self._shared.ledger.refuse(sent.position, reason)
        if sent.letter is not None:
            self._shared.outbox.done(sent.letter, dropped=True)

    def _say_goodbye(self, farewell: Publication) -> None:
        """Publish replies and the last word, wait until the broker has it, and disconnect.

        Without that acknowledgement, no DISCONNECT is sent either: so the broker publishes the will.
        """
        deadline_s = self._clock.now_s() + FAREWELL_S
        last: int | None = None
        while (left_s := deadline_s - self._clock.now_s()) > 0:
            if last is None and self._flight.room and (self._answer() or self._said_unnoted):
                self._noted(farewell)  # it has no word of the worker's in it
                last = self._send(farewell, "the last state")
            self._step(left_s)
            self._draining.guarded(self._shared.ledger.settle)
            if last is not None and last not in self._flight:
                self._connection.disconnect()
                return
        _log.warning("the broker did not take the last state within %g s; it has the will", FAREWELL_S)
