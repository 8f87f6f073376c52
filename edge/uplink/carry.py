"""The uplink loop: carries the spool to the broker in its own thread, and comes back whatever happens."""

import logging
import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from edge.backoff import Backoff
from edge.clock import Clock
from edge.uplink.allowance import Allowance
from edge.uplink.broker_config import BrokerConfig, lasting_config
from edge.uplink.command_messages import Reply
from edge.uplink.delivery import TURN_S, WINDOW, Delivery
from edge.uplink.diary import Diary, Unnoted
from edge.uplink.health_post import HEALTH_EVERY_S, HealthPost
from edge.uplink.identities import Before, Identities
from edge.uplink.inbox import Inbox
from edge.uplink.ingester import Ingester
from edge.uplink.ledger import Ledger
from edge.uplink.link import Connection
from edge.uplink.link_status import LinkStatus
from edge.uplink.messages import Alarm, AlarmCode, Health, State
from edge.uplink.outbox import Outbox
from edge.uplink.patience import Patience
from edge.uplink.records import LostRange, Record, Serial, SpoolCorrupt, SpoolError
from edge.uplink.shared import Shared
from edge.uplink.signals import (
    BrokerBusy,
    BrokerUnreachable,
    Cause,
    Connected,
    LinkError,
    Publication,
    SentAway,
    Wake,
)
from edge.uplink.spool import Spool
from edge.uplink.state_post import StatePost
from edge.uplink.tls import WallClock
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import Reported
from edge.uplink.upkeep import Upkeep

RECONNECT = Backoff(base_s=30.0, cap_s=120.0, busy_s=60.0)
"""Ten thousand units that lose their broker together come back at 333 a second, a while after it does."""
REPORTS_AT_ONCE, REPORTS_EVERY_S = 60, 30.0
"""So many reports that differ, then one in so long: who sends policies does not set the log's pace."""

_log = logging.getLogger(__name__)

__all__ = ["LinkStatus", "Uplink"]


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
        backoff: Backoff = RECONNECT,
        chance: Callable[[], float] = random.random,
        inbox: Inbox | None = None,
        release: Literal["puback", "ack"] = "puback",
        gap: Callable[[Serial, LostRange], Record] | None = None,
        synchronised: Callable[[], bool] = lambda: True,
        on_turn: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
        diary: Diary | None = None,
        reports: Allowance | None = None,
        health: Callable[[], Health] | None = None,
        health_every_s: float = HEALTH_EVERY_S,
        before: Before | None = None,
    ) -> None:
        """Prepare to carry `spool`; `state` is the birth's, until the first `announce`.

        `clock` must run in real time: the broker does. `chance` gives 0–1 for the backoff's jitter. `gap`
        writes the record that tells of a loss. `synchronised` tells whether the wall clock can be believed.
        `on_turn` is called in the uplink's thread, at least once a second; it must not wait. `diary` notes
        for the worker whatever leaves. `reports` is spent by reports of what became of a policy. `health`
        is called in the uplink's thread. `before` gives the pair to come with where the newest is refused.
        """
        patience = patience or Patience()
        ledger = Ledger(spool, keeps=release == "ack")
        self._shared = Shared(
            spool,
            ledger,
            Upkeep(spool, ledger, clock, synchronised, gap, state.boot_id),
            Outbox(state),
            inbox or Inbox({}),
            Ingester(topics.ack, patience) if release == "ack" else None,
            topics,
            patience,
            clock,
            diary or Unnoted(),
            reports or Allowance(REPORTS_AT_ONCE, REPORTS_EVERY_S, clock.now_s),
            None if health is None else HealthPost(topics.health, health, clock, health_every_s),
        )
        self._config = config
        self._next_config: BrokerConfig | None = None
        self._clock = clock
        self._wall_clock = WallClock(clock.now_at, synchronised)
        self._backoff = backoff
        self._chance = chance
        self._on_turn = on_turn
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deskwatch-uplink", daemon=True)
        self._connected = False
        self._since_at = clock.now_at()
        self._last_error: str | None = None
        self._last_cause: Cause | None = None
        self._identities = Identities(before, clock.now_s)
        self._attempts = 0
        self._connections = 0
        self._subscriptions_refused = 0
        self._dialling: tuple[BrokerConfig, Connection] | None = None
        self._turn_due_s = clock.now_s()
        self._turn_failing = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to connect and carry. To be called once."""
        self._shared.spool.notify(self._wake.set)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Say offline, disconnect, end the thread; return whether it ended in time. The rest stays."""
        self._shared.spool.notify(None)
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
        self._shared.outbox.announce(state)
        self._wake.set()

    def report(self, reported: Reported) -> None:
        """Publish what became of a policy, retained, now and on each new connection. The last counts.

        Raises InvalidMessage.
        """
        self._shared.outbox.report(reported)
        self._wake.set()

    def reply(self, name: str, reply: Reply) -> None:
        """Publish what became of command `name`; while there is no broker the newest 64 wait in memory.

        Raises InvalidMessage.
        """
        self._shared.outbox.reply(name, reply)
        self._wake.set()

    def redial(self, config: BrokerConfig) -> None:
        """Say goodbye, and connect with other settings from now on."""
        self._next_config = config
        self._wake.set()

    def hold(self, *, held: bool) -> None:
        """Keep all messages, also those that the broker took: it may not be the one that they are for.

        They are sent (again) once that is over, over whatever connection there is then. For `on_turn` alone.
        """
        self._shared.ledger.hold(held=held)

    def mend(self, damage: SpoolCorrupt) -> None:
        """Mend the spool, where somebody else found it damaged. For `on_turn` alone."""
        self._shared.upkeep.recover(damage)

    def status(self) -> LinkStatus:
        """Return how the uplink is now."""
        shared, ingester = self._shared, self._shared.ingester
        return LinkStatus(
            connected=self._connected,
            since_at=self._since_at,
            last_error=self._last_error,
            last_cause=self._last_cause,
            config=self._config,
            connections=self._connections,
            delivered=shared.ledger.delivered,
            refused=shared.ledger.refused,
            dead_letters=shared.upkeep.dead_letters,
            last_puback_s=shared.ledger.last_puback_s,
            round_trip_s=shared.ledger.round_trip_s,
            unacknowledged_since_s=shared.ledger.unacknowledged_since_s,
            last_answer=shared.ledger.last_answer,
            identity=self._identities.name,
            ingester_seq=ingester.seq if ingester else None,
            subscriptions_refused=self._subscriptions_refused,
            replies_dropped=shared.outbox.replies_dropped,
            refusals={**shared.inbox.refusals, **(ingester.inbox.refusals if ingester else {})},
        )

    # All below runs in the uplink's thread.

    def _run(self) -> None:
        attempt = 0
        # At the start too: after a power cut all start at once.
        delay_s = self._backoff.delay_s(0, self._chance())
        if delay_s > 1.0:
            _log.info("connecting to %s in %.0f s", self._config.address, delay_s)
        while True:
            self._wait(delay_s)
            if self._stopping.is_set():
                break
            if self._next_config is not None:
                self._config, self._next_config = self._next_config, None
                self._shared.ledger.forget_broker()
                attempt, delay_s = 0, self._shared.patience.redial_s * self._chance()
                continue
            held, busy = self._try()
            attempt = 0 if held else attempt + 1
            delay_s = self._backoff.delay_s(attempt, self._chance(), busy=busy)
        self._note(connected=False)

    def _wait(self, delay_s: float) -> None:
        """Wait, with turns, unless there is something to do at once."""
        end_s = self._clock.now_s() + delay_s
        while not self._interrupted():
            self._turn()
            left_s = end_s - self._clock.now_s()
            if left_s <= 0:
                return
            self._wake.wait(min(left_s, TURN_S))

    def _interrupted(self) -> bool:
        return self._stopping.is_set() or self._next_config is not None

    def _try(self) -> tuple[bool, bool]:
        """Connect and carry until that ends; return whether it was any good, and whether too many come.

        Good is a connection on which the broker took something, and that held for as long as the first wait:
        else one that lets a unit in and drops it at once would be called again without backoff.
        """
        began_s, busy, delivery = self._clock.now_s(), False, None
        try:
            connection, post = self._connect()
            try:
                if (welcome := self._welcome(connection)) is None:
                    return False, False
                stall_s = self._shared.patience.stall_s or 2.0 * self._config.keepalive_s
                delivery = Delivery(self._shared, connection, welcome, post, stall_s=stall_s)
                delivery.run(lambda: self._farewell(post), self._turn)
            finally:
                connection.drop()
        except (LinkError, SpoolError) as error:
            busy = isinstance(error, BrokerBusy | SentAway)
            self._down(str(error), error.cause if isinstance(error, LinkError) else None)
            if isinstance(error, LinkError) and not self._connected:
                self._identities.failed(error, self._config)
        except Exception as error:  # noqa: BLE001  a fault of ours or paho's must not end the uplink unseen
            self._down(f"{type(error).__name__}: {error}", trace=error)
        self._note(connected=False)
        self._shared.ledger.unacknowledged_since_s = None
        took = delivery is not None and delivery.took_something
        self._subscriptions_refused += delivery.subscriptions_refused if delivery is not None else 0
        return took and self._clock.now_s() - began_s >= self._backoff.base_s, busy

    def _connect(self) -> tuple[Connection, StatePost]:
        if self._dialling is not None:
            config, last = self._dialling
            if last.dialling and config == self._config:
                says = f"cannot reach {config.address}: its name server does not answer"
                raise BrokerUnreachable(says).because(Cause.NO_NAME_SERVER)
        self._attempts += 1
        shared = self._shared
        post = StatePost(shared.topics.state, shared.spool.session, self._attempts, self._clock)
        will = post.will(shared.outbox.state)
        lasting = lasting_config(self._identities.choose(self._config))
        connection = Connection(lasting, self._wake, will, manual_ack=True, clock=self._wall_clock)
        self._dialling = self._config, connection
        connection.dial()
        return connection, post

    def _welcome(self, connection: Connection) -> Connected | None:
        """Wait for the broker's welcome; None when there is something else to do first."""

        def stopped() -> bool:
            self._turn()
            return self._interrupted()

        welcome = connection.wait_until_up(stopped, self._clock.now_s, TURN_S)
        if welcome is not None:
            self._connections += 1
            self._identities.welcomed()
            self._note(connected=True)
            window = min(WINDOW, welcome.receive_maximum)
            address, protocol = self._config.address, self._config.protocol
            _log.info("connected to %s over MQTT %s, window %d", address, protocol, window)
        return welcome

    def _farewell(self, post: StatePost) -> Publication | None:
        """Return the last word, where it is time to say it."""
        if self._stopping.is_set():
            return post.offline(self._shared.outbox.state)
        if self._next_config is not None or self._identities.due:
            return post.redialling(self._shared.outbox.state)
        return None

    def _turn(self) -> None:
        """Do what is to be done at least once a second, connected or not. Never raises."""
        now_s = self._clock.now_s()
        if now_s < self._turn_due_s:
            return
        self._turn_due_s = now_s + TURN_S
        try:
            try:
                self._on_turn()  # first: it may put times right by which the upkeep deletes
            finally:
                self._shared.upkeep.turn()
                self._shared.outbox.alarm(self._alarms(now_s))
            self._turn_failing = False
        except Exception:  # noqa: BLE001  whoever is to be called must not end the uplink
            if not self._turn_failing:
                _log.exception("a turn of the uplink failed")
            self._turn_failing = True

    def _alarms(self, now_s: float) -> tuple[Alarm, ...]:
        alarms = (*self._shared.upkeep.alarms(), *self._identities.alarms())
        ingester = self._shared.ingester
        if ingester is None or not self._connected or not ingester.silent(now_s):
            return alarms
        detail = f"nothing acknowledged for {self._shared.patience.silent_s:g} s; the last was {ingester.seq}"
        return (*alarms, Alarm(code=AlarmCode.INGESTER_SILENT, detail=detail))

    def _down(self, error: str, cause: Cause | None = None, trace: Exception | None = None) -> None:
        """Note a failure, and log it unless it is the one that was logged last."""
        if self._connected or error != self._last_error:
            _log.warning("uplink: %s", error, exc_info=trace)
        self._last_error, self._last_cause = error, cause

    def _note(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._since_at = self._clock.now_at()
