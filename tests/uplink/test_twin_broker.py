"""The twin over real brokers: a retained policy, its report, and a move from one broker to another."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.policy.document import parse_policy
from edge.uplink.carry import Uplink
from edge.uplink.envelope import seal
from edge.uplink.inbox import Inbox
from edge.uplink.link import BrokerConfig
from edge.uplink.listener import listen
from edge.uplink.patience import Patience
from edge.uplink.signals import Publication, Received
from edge.uplink.spool import Spool
from edge.uplink.twin import Twin
from edge.uplink.twin_messages import Phase, Reported, decode_reported
from edge.uplink.twin_state import Proof
from edge.uplink.twin_store import TwinStore
from tests.broker import Mosquitto, collect, free_port, rest, subscribed, until
from tests.uplink.conftest import TOPICS, quick_uplink
from tests.uplink.policies import KEY, LABELS, LOCAL, TRUSTED, document


class Wired:
    """Twin and uplink as a unit has them; the watch is a word that it looked."""

    def __init__(self, spool: Spool, folder: Path, home: BrokerConfig, timeout_s: float) -> None:
        self.clock = SystemClock()
        self.home = self.broker = home
        self.uplink: Uplink
        self.twin = Twin(
            TwinStore(folder / "twin"),
            TRUSTED,
            TOPICS.unit,
            LABELS,
            (parse_policy(LOCAL), LOCAL),
            self.clock,
            confirm_timeout_s=timeout_s,
            report=lambda reported: self.uplink.report(reported),  # noqa: PLW0108  there is no uplink yet
            proof=self._proof,
            session=1,
            plain_broker=True,
        )
        self.policy = self.twin.policy
        inbox = Inbox({TOPICS.desired: self.twin.desired})
        patience = Patience(redial_s=0.1)
        self.uplink = quick_uplink(spool, home, inbox=inbox, on_turn=self._turn, patience=patience)

    def _turn(self) -> None:
        self.twin.turn()
        if self.twin.policy is self.policy:
            return
        self.policy = policy = self.twin.policy
        to = policy.broker
        broker = BrokerConfig(to.host, to.port, TOPICS.unit, protocol=to.protocol) if to else self.home
        if broker != self.broker:
            self.broker = broker
            self.uplink.redial(broker)

    def _proof(self) -> Proof:
        status, now_s = self.uplink.status(), self.clock.now_s()
        there = self.policy is self.twin.policy and status.config == self.broker
        puback_s = status.last_puback_s if there else None
        return Proof(status.connected and there, puback_s, now_s, now_s, off=False)


@contextlib.contextmanager
def wired(spool: Spool, folder: Path, home: BrokerConfig, timeout_s: float = 60.0) -> Iterator[Wired]:
    unit = Wired(spool, folder, home, timeout_s)
    with unit.uplink:
        yield unit


@pytest.fixture(autouse=True)
def running(mosquitto) -> None:
    mosquitto.start()


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[Mosquitto]:
    (tmp_path / "elsewhere").mkdir()
    broker = Mosquitto(tmp_path / "elsewhere")
    broker.start()
    yield broker
    broker.stop()


def desire(mosquitto: Mosquitto, content: bytes) -> None:
    with listen(mosquitto.config("operator"), TOPICS.desired) as listener:
        listener.publish(Publication(TOPICS.desired, content, "application/jose", retain=True))
        rest(listener)


def reports(messages: list[Received]) -> list[Reported]:
    return [decode_reported(message.payload) for message in messages]


def until_phase(phase: Phase, version: int | None = None):
    def reached(messages: list[Received]) -> bool:
        last = reports(messages[-1:])
        if not last or last[0].phase is not phase:
            return False
        return version is None or last[0].desired.version == version

    return reached


def test_a_retained_policy_comes_into_force_and_comes_again_without_effect(mosquitto, spool, tmp_path):
    desire(mosquitto, seal(document(1), KEY))
    with wired(spool, tmp_path, mosquitto.config()) as unit:
        with subscribed(mosquitto, TOPICS.reported) as listener:
            told = reports(collect(listener, until_phase(Phase.CONFIRMED)))
        assert told[-1].running.version == 1
        policy = unit.twin.policy
        connections = unit.uplink.status().connections
        mosquitto.stop()
        mosquitto.start()  # without persistence: it has forgotten the policy, and the unit has not
        until(lambda: unit.uplink.status().connections > connections, "the unit to come back", 30)
        desire(mosquitto, seal(document(1), KEY))
        desire(mosquitto, b"")
        with subscribed(mosquitto, TOPICS.reported) as listener:
            assert reports(collect(listener, until_phase(Phase.CONFIRMED)))[0].desired.version == 1
        assert unit.twin.policy is policy
        assert unit.uplink.status().refusals == {}


def test_a_refusal_is_reported_with_its_path_and_counted(mosquitto, spool, tmp_path):
    with (
        wired(spool, tmp_path, mosquitto.config()) as unit,
        subscribed(mosquitto, TOPICS.reported) as listener,
    ):
        collect(listener, until_phase(Phase.NONE))
        desire(mosquitto, seal(document(1, thumbnail={"retain_days": 90}), KEY))
        last = reports(collect(listener, until_phase(Phase.REFUSED)))[-1]
        assert (last.error.code, last.error.path) == ("below-floor", "$.thumbnail.retain_days")
        assert unit.uplink.status().refusals == {"below-floor": 1}
        assert unit.twin.policy.version == last.running.version == 900


def test_a_unit_moves_to_the_broker_that_a_policy_names(mosquitto, elsewhere, spool, tmp_path):
    broker = {"host": "127.0.0.1", "port": elsewhere.port, "tls": False, "protocol": "3.1.1"}
    with (
        wired(spool, tmp_path, mosquitto.config()) as unit,
        subscribed(elsewhere, TOPICS.reported) as listener,
    ):
        desire(mosquitto, seal(document(1, broker=broker), KEY))
        collect(listener, until_phase(Phase.CONFIRMED, 1), 30)
        assert unit.uplink.status().config.port == elsewhere.port


def test_a_unit_that_is_sent_nowhere_comes_back_and_says_so(mosquitto, spool, tmp_path):
    broker = {"host": "127.0.0.1", "port": free_port(), "tls": False}
    with wired(spool, tmp_path, mosquitto.config(), timeout_s=3.0) as unit:
        desire(mosquitto, seal(document(1), KEY))
        with subscribed(mosquitto, TOPICS.reported) as listener:
            collect(listener, until_phase(Phase.CONFIRMED, 1))
            desire(mosquitto, seal(document(2, broker=broker), KEY))
            last = reports(collect(listener, until_phase(Phase.ROLLED_BACK, 2), 30))[-1]
        assert (last.error.code, last.running.version) == ("trial-not-connected", 1)
        # The retained message that caused it comes again with the connection, and is held off.
        until(lambda: unit.uplink.status().refusals.get("blocked"), "the policy to come again", 30)
        assert unit.twin.policy.version == 1
        status = unit.uplink.status()
        assert status.config.port == mosquitto.port
        assert str(broker["port"]) in status.last_error
