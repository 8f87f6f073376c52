"""The other end of the wire: a subscription, for the demo and the tests."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.signals import (
    Arrived,
    BrokerRefused,
    LinkLost,
    Lost,
    Publication,
    Received,
    Subscribed,
    Wake,
)


class Listener:
    """A subscription. To be read often: the broker cuts off a listener that is silent for long."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Received] = deque()

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next message, or None after `timeout_s`. Raises LinkLost when the connection ends."""
        deadline_s = time.monotonic() + timeout_s
        while not self._waiting:
            for signal in self._connection.signals():
                if isinstance(signal, Arrived):
                    self._waiting.append(signal.message)
                elif isinstance(signal, Lost) and not self._waiting:
                    raise signal.error
            left_s = deadline_s - time.monotonic()
            if not self._waiting:
                if left_s <= 0:
                    return None
                self._connection.step(min(left_s, 1.0))
        return self._waiting.popleft()

    def publish(self, message: Publication) -> None:
        """Send a message at QoS 1, and do not wait for the broker to have it. Raises LinkLost."""
        self._connection.publish(message)

    def subscribe(self, topic_filter: str, timeout_s: float) -> None:
        """Subscribe, and wait for the broker's answer. Raises BrokerRefused, LinkLost."""
        deadline_s = time.monotonic() + timeout_s
        self._connection.subscribe(topic_filter)
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._connection.step(left_s)
            for signal in self._connection.signals():
                if isinstance(signal, Lost):
                    raise signal.error
                if isinstance(signal, Arrived):
                    self._waiting.append(signal.message)
                if isinstance(signal, Subscribed):
                    if signal.failure:
                        raise BrokerRefused(f"subscription to {topic_filter}: {signal.failure}")
                    return
        raise LinkLost(f"subscription to {topic_filter}: no answer in time")


@contextmanager
def listen(config: BrokerConfig, topic_filter: str) -> Iterator[Listener]:
    """Subscribe at QoS 1; when the `with` begins, the broker has confirmed it. Raises LinkError."""
    wake = Wake()
    connection = Connection(config, wake)
    try:
        connection.dial()
        connection.wait_until_up(lambda: False)
        listener = Listener(connection)
        listener.subscribe(topic_filter, config.connect_timeout_s)
        yield listener
    finally:
        connection.disconnect()
        wake.close()
