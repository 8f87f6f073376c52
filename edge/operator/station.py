"""One client of the broker that comes back by itself: what it hears, and a window of what it says.

Everything happens in the caller's thread, in `turn`: the same link as a unit's, read from the other end.
"""

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edge.backoff import Backoff
from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.signals import (
    Acked,
    Arrived,
    BrokerRefused,
    LinkError,
    LinkLost,
    Lost,
    Publication,
    Received,
    Subscribed,
    Wake,
)

WINDOW = 16
"""At most so many unacknowledged messages, fewer where the broker's Receive Maximum is lower."""
BATCH = 512
"""At most so many messages are given by one turn."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The broker answered a publication."""

    key: str
    publication: Publication
    failure: str | None
    """The reason code where the broker did not take it."""


class Station:
    """Subscriptions and publications over one connection after the other.

    The first connection must succeed: a wrong name or password is told at once. One that is lost later is
    made again with full jitter, and what the broker had not taken is sent again.
    """

    def __init__(
        self,
        config: BrokerConfig,
        filters: Sequence[str],
        *,
        manual_ack: bool = False,
        lost: Callable[[LinkError], None] = lambda _error: None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; `lost` is told why a connection ended, or could not be made again."""
        self._config = config
        self._filters = tuple(filters)
        self._manual_ack = manual_ack
        self._lost = lost
        self._backoff = backoff or Backoff(1.0, 30.0)
        self._chance = chance
        self._wake = Wake()
        self._connection: Connection | None = None
        self._attempt = 0
        self._retry_s = 0.0  # monotonic
        self._up_s = 0.0
        self._window = WINDOW
        self._waiting: dict[str, Publication] = {}
        self._in_flight: dict[int, tuple[str, Publication]] = {}
        self._arrived: list[Received] = []
        self._sent: list[Sent] = []
        self.connections = 0
        """How often it was connected: whoever sees it grow may have missed something."""

    def __enter__(self) -> Self:
        try:
            self._connect()
        except BaseException:
            self._wake.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            with contextlib.suppress(LinkError):
                self._connection.disconnect()
        self._wake.close()

    @property
    def idle(self) -> bool:
        """Whether the broker has all that was published."""
        return not self._waiting and not self._in_flight

    def publish(self, key: str, publication: Publication) -> None:
        """Send at QoS 1 as soon as the window has room; what still waits under the same `key` is replaced."""
        self._waiting[key] = publication

    def turn(self, wait_s: float) -> list[Received]:
        """Move bytes for up to `wait_s`, less when something came; return what came, in order.

        Nothing of one connection is ever given after `connections` has grown.
        """
        try:
            if self._connection is None:
                self._reconnect(wait_s)
            else:
                self._step(self._connection, wait_s)
        except LinkError as error:
            self._down(error)
        return self._take()

    def sent(self) -> list[Sent]:
        """Return what the broker answered since the last call."""
        answers, self._sent = self._sent, []
        return answers

    def acknowledge(self, messages: Sequence[Received]) -> None:
        """Tell the broker, with `manual_ack`, that it may forget what the last turn gave."""
        if self._connection is not None:
            for message in messages:
                self._connection.acknowledge(message)

    def _take(self) -> list[Received]:
        taken, self._arrived = self._arrived[:BATCH], self._arrived[BATCH:]
        return taken

    def _reconnect(self, wait_s: float) -> None:
        left_s = self._retry_s - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, wait_s))
            return
        self._connect()

    def _connect(self) -> None:
        connection = Connection(self._config, self._wake, manual_ack=self._manual_ack)
        try:
            connection.dial()
            welcome = connection.wait_until_up(lambda: False)
            assert welcome is not None
            self._window = min(WINDOW, welcome.receive_maximum)
            for topic_filter in self._filters:
                self._subscribe(connection, topic_filter)
        except BaseException:
            connection.drop()
            raise
        self._connection = connection
        self.connections += 1
        self._up_s = time.monotonic()

    def _subscribe(self, connection: Connection, topic_filter: str) -> None:
        deadline_s = time.monotonic() + self._config.connect_timeout_s
        connection.subscribe(topic_filter, as_published=False)
        while True:
            for signal in connection.signals():
                if isinstance(signal, Subscribed):
                    if signal.failure:
                        raise BrokerRefused(
                            f"{self._config.address} refused the subscription to {topic_filter}:"
                            f" {signal.failure}: check the broker's access list"
                        )
                    return
                self._hear(signal)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise LinkLost(f"{self._config.address}: no answer to the subscription to {topic_filter}")
            connection.step(left_s)

    def _step(self, connection: Connection, wait_s: float) -> None:
        self._fill(connection)
        connection.step(0.0 if self._arrived else wait_s)
        for signal in connection.signals():
            self._hear(signal)
        self._fill(connection)

    def _fill(self, connection: Connection) -> None:
        while self._waiting and len(self._in_flight) < self._window:
            key = next(iter(self._waiting))
            publication = self._waiting.pop(key)
            try:
                mid = connection.publish(publication)
            except LinkError:
                self._waiting.setdefault(key, publication)
                raise
            self._in_flight[mid] = key, publication

    def _hear(self, signal: object) -> None:
        if isinstance(signal, Arrived):
            self._arrived.append(signal.message)
        elif isinstance(signal, Acked) and signal.mid in self._in_flight:
            self._sent.append(Sent(*self._in_flight.pop(signal.mid), signal.failure))
        elif isinstance(signal, Lost):
            raise signal.error

    def _down(self, error: LinkError) -> None:
        if self._connection is not None:
            with contextlib.suppress(LinkError):
                for signal in self._connection.signals():  # what came before the end
                    self._hear(signal)
            self._connection.drop()
            self._connection = None
            # Only a connection that held as long as the longest wait was a good one.
            if time.monotonic() - self._up_s >= self._backoff.cap_s:
                self._attempt = 0
        unsent = dict(self._in_flight.values())
        self._in_flight.clear()
        self._waiting = {**unsent, **self._waiting}  # newer ones of the same key win
        if self._manual_ack:
            self._arrived.clear()  # the broker has them still, and their packet ids mean nothing any more
        self._retry_s = time.monotonic() + self._backoff.delay_s(self._attempt, self._chance())
        self._attempt += 1
        self._lost(error)


def heard_until_quiet(station: Station, quiet_s: float = 1.0, at_most_s: float = 30.0) -> list[Received]:
    """Return all that comes until nothing has for `quiet_s`.

    A broker does not say where its retained messages end.
    """
    heard: list[Received] = []
    end_s = time.monotonic() + at_most_s
    quiet_from_s = time.monotonic()
    while (now_s := time.monotonic()) < end_s and now_s - quiet_from_s < quiet_s:
        came = station.turn(quiet_s)
        if came:
            heard += came
            quiet_from_s = time.monotonic()
    return heard
