"""The uplink loop: carries the spool to the broker in its own thread, and comes back whatever happens."""

import datetime as dt
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edge.backoff import Backoff
from edge.clock import Clock
from edge.uplink.delivery import WINDOW, Delivery, Ledger, StatePost
from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.messages import State, Topics, encode
from edge.uplink.records import SpoolError
from edge.uplink.signals import BrokerUnreachable, Connected, LinkError, Wake
from edge.uplink.spool import Spool

_EXPIRE_EVERY_S = 60.0
_WAIT_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the uplink is, for the health message and the technician. Counts are since the unit's start."""

    connected: bool
    since_at: dt.datetime
    """UTC, of the last change of `connected`."""
    last_error: str | None
    """Why it is not connected, or why it was not the last time."""
    connections: int
    delivered: int
    """Messages of the spool that the broker took."""
    refused: int
    """Messages of the spool that it would not take."""


class Uplink:
    """Owns the uplink thread from `start` to `stop`. No method waits on the network but `stop`."""

    def __init__(
        self,
        spool: Spool,
        config: BrokerConfig,
        topics: Topics,
        state: State,
        *,
        clock: Clock,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to carry `spool`; `state` is the birth's, until the first `announce`.

        `clock` must run in real time: the broker does. `chance` gives 0–1 for the backoff's jitter.
        """
        encode(state)
        self._spool = spool
        self._config = config
        self._topics = topics
        self._wanted = state
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deskwatch-uplink", daemon=True)
        self._ledger = Ledger(spool)
        self._connected = False
        self._since_at = clock.now_at()
        self._last_error: str | None = None
        self._attempts = 0
        self._connections = 0
        self._last: Connection | None = None
        self._expire_due_s = clock.now_s()
        self._expiring = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to connect and carry. To be called once."""
        self._spool.notify(self._wake.set)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Say offline, disconnect, end the thread; return whether it ended in time. The rest stays."""
        self._spool.notify(None)
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._wake.close()
        return True

    def announce(self, state: State) -> None:
        """Replace the wanted state; it is published, retained, when it differs. Of several, the last counts.

        Raises InvalidMessage for a state that cannot be published.
        """
        encode(state)
        self._wanted = state
        self._wake.set()

    def status(self) -> LinkStatus:
        """Return how the uplink is now."""
        return LinkStatus(
            self._connected,
            self._since_at,
            self._last_error,
            self._connections,
            self._ledger.delivered,
            self._ledger.refused,
        )

    # All below runs in the uplink's thread.

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            began_s = self._clock.now_s()
            try:
                self._expire_when_due()
                self._connect_and_carry()
            except (LinkError, SpoolError) as error:
                self._down(str(error))
            except Exception as error:  # noqa: BLE001  a fault of ours or paho's must not end the uplink unseen
                self._down(f"{type(error).__name__}: {error}", trace=error)
            # Only a connection that held as long as the longest wait was a good one: else a broker that lets
            # a unit in and drops it at once would be called again without backoff.
            if self._clock.now_s() - began_s >= self._backoff.cap_s:
                attempt = 0
            self._stopping.wait(self._backoff.delay_s(attempt, self._chance()))
            attempt += 1
        self._turn(connected=False)

    def _connect_and_carry(self) -> None:
        if self._last is not None and self._last.dialling:
            raise BrokerUnreachable(f"cannot reach {self._config.address}: its name server does not answer")
        self._attempts += 1
        post = StatePost(self._topics.state, self._spool.session, self._attempts, self._clock)
        connection = self._last = Connection(self._config, self._wake, post.will(self._wanted))
        connection.dial()
        try:
            welcome = connection.wait_until_up(self._stopping.is_set, self._clock.now_s)
            if welcome is None:
                return
            self._up(welcome)
            delivery = Delivery(self._spool, connection, welcome, post, self._ledger, self._clock)
            # A broker may cut off a client after one and a half keepalives of silence.
            delivery.run(self._state_wanted, self._stopping, min(_WAIT_S, self._config.keepalive_s / 4))
        finally:
            connection.drop()

    def _state_wanted(self) -> State:
        self._expire_when_due()
        return self._wanted

    def _expire_when_due(self) -> None:
        """Delete expired pictures, with a broker or without.

        Whatever the clock is worth: one that runs ahead costs a picture; one never set must not keep it.
        """
        now_s = self._clock.now_s()
        if now_s >= self._expire_due_s:
            self._expire_due_s = now_s + _EXPIRE_EVERY_S
            try:
                expired = self._spool.expire(self._clock.now_at())
                self._expiring = True
                if expired:
                    _log.info("deleted %d pictures at the end of their retention, not delivered", expired)
            except SpoolError as error:  # a full disk is no reason to leave the broker
                if self._expiring:
                    _log.warning("expired pictures stay in the spool for now: %s", error)
                self._expiring = False

    def _up(self, welcome: Connected) -> None:
        self._connections += 1
        self._turn(connected=True)
        window = min(WINDOW, welcome.receive_maximum)
        _log.info(
            "connected to %s over MQTT %s, window %d", self._config.address, self._config.protocol, window
        )

    def _down(self, error: str, trace: Exception | None = None) -> None:
        """Note a failure, and log it unless it is the one that was logged last."""
        if self._connected or error != self._last_error:
            _log.warning("uplink: %s", error, exc_info=trace)
        self._last_error = error
        self._turn(connected=False)

    def _turn(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._since_at = self._clock.now_at()
