"""What the unit is told, what it answers, and how it comes back, against a real broker."""

import time
from dataclasses import replace
from typing import ClassVar

import pytest

from edge.backoff import Backoff
from edge.uplink import link
from edge.uplink.carry import RECONNECT
from edge.uplink.command_messages import DiagnoseResult, IdentifyResult, Reply, decode_reply
from edge.uplink.inbox import Inbox
from edge.uplink.link import BrokerConfig
from edge.uplink.listener import listen
from edge.uplink.messages import Capture, decode_state
from edge.uplink.outbox import MAX_REPLIES
from edge.uplink.patience import Patience
from edge.uplink.signals import Publication, Received
from edge.uplink.twin_messages import Document, Phase, Reported, decode_reported
from edge.uplink.wire import InvalidMessage, timestamp
from tests.broker import Mosquitto, collect, free_port, rest, subscribed, until
from tests.uplink.conftest import (
    NOW,
    TOPICS,
    Relay,
    Scripted,
    birth,
    empty,
    put_event,
    quick_uplink,
)

WELCOME = b"\x20\x03\x00\x00\x00"
PINGRESP = 0xD0
BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def reply(id_: str, **more: object) -> Reply:
    return Reply(id=id_, at=timestamp(NOW), result=IdentifyResult(for_s=3.0), **more)


def reported(version: int) -> Reported:
    document = Document(version=version, sha256="ab" * 32)
    return Reported(phase=Phase.CONFIRMED, running=document, session=1, at=timestamp(NOW))


class Taken:
    """Keeps what the inbox hands on."""

    def __init__(self) -> None:
        self.got: list[Received] = []
        self.inbox = Inbox({TOPICS.desired: self.got.append, TOPICS.command("+"): self.got.append})

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.got]


def tell(mosquitto: Mosquitto, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish something from elsewhere, and wait until the broker has it."""
    with listen(mosquitto.config("elsewhere"), "nothing") as listener:
        listener.publish(Publication(topic, payload, "text/plain", retain=retain))
        rest(listener)


@BOTH
def test_what_is_sent_down_is_handed_on_and_what_was_sent_meanwhile_comes_later(mosquitto, spool, protocol):
    mosquitto.start()
    taken = Taken()
    tell(mosquitto, TOPICS.desired, b"policy 1", retain=True)
    config = mosquitto.config(protocol=protocol)
    with quick_uplink(spool, config, inbox=taken.inbox) as uplink:
        until(lambda: taken.payloads() == [b"policy 1"], "the retained policy")
        assert taken.got[0].retain
        tell(mosquitto, TOPICS.command("break"), b"now")
        until(lambda: taken.payloads()[1:] == [b"now"], "the command")
        assert (taken.got[1].topic, taken.got[1].retain) == (TOPICS.command("break"), False)
        assert uplink.status().subscriptions_refused == 0
    for number in (b"1", b"2", b"3"):  # while the unit is off
        tell(mosquitto, TOPICS.command("break"), number)
    with quick_uplink(spool, config, inbox=taken.inbox):
        until(lambda: {b"1", b"2", b"3"} <= set(taken.payloads()), "the commands")
    assert [p for p in taken.payloads() if p.isdigit()] == [b"1", b"2", b"3"]


def test_a_command_comes_again_where_the_wire_broke_over_it(mosquitto, relay, spool):
    """It is acknowledged once it was handled, not when it came."""
    mosquitto.start()
    handled: list[Received] = []

    def breaking(message: Received) -> None:
        handled.append(message)
        if len(handled) == 1:
            relay.cut()
            relay.open = True

    inbox = Inbox({TOPICS.command("+"): breaking})
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1"), inbox=inbox) as uplink:
        until(lambda: uplink.status().last_puback_s is not None, "the birth, which follows the subscription")
        tell(mosquitto, TOPICS.command("reload"), b"now")
        until(lambda: [m.payload for m in handled] == [b"now", b"now"], "the command again")


@BOTH
def test_a_subscription_that_is_refused_is_counted_and_asked_for_again(mosquitto, spool, protocol, caplog):
    acl = mosquitto.folder / "acl"
    acl.write_text(f"topic write {TOPICS.root}/#\ntopic read {TOPICS.desired}\ntopic readwrite nothing\n")
    mosquitto.start(f"acl_file {acl}")
    taken = Taken()
    relay = Relay(mosquitto.port)
    try:
        config = BrokerConfig("127.0.0.1", relay.port, "unit-1", protocol=protocol)
        with quick_uplink(spool, config, inbox=taken.inbox) as uplink:
            for connections in (1, 2):
                until(lambda n=connections: uplink.status().connections == n, "a connection")
                put_event(spool)
                until(lambda: empty(spool), "the broker to have answered")
                relay.cut()
                relay.open = True
        refused = uplink.status().subscriptions_refused
    finally:
        relay.close()
    # mosquitto 2 grants a subscription that its list does not let through, and delivers nothing.
    assert refused in (0, 2)
    if refused:
        assert f"the broker refuses the subscription to {TOPICS.command('+')}" in caplog.text


def test_reports_and_replies(mosquitto, spool):
    """Of reports the last counts, and it is retained; every reply comes, and is not."""
    mosquitto.start()
    relay = Relay(mosquitto.port)
    try:
        with (
            subscribed(mosquitto) as listener,
            quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink,
        ):
            uplink.report(reported(1))
            uplink.report(reported(2))
            for number in range(40):
                uplink.reply("identify", reply(f"c{number}"))
            got = collect(listener, lambda messages: len(replies(messages)) == 40)
            assert replies(got) == [f"c{number}" for number in range(40)]
            assert {m.topic for m in got if "/reply/" in m.topic} == {TOPICS.reply("identify")}
            assert not any(m.retain for m in got if "/reply/" in m.topic)
            assert versions(got)[-1] == 2
            relay.cut()
            until(lambda: not uplink.status().connected, "the loss to be seen")
            uplink.report(reported(3))
            relay.open = True
            got = collect(listener, versions)
            assert versions(got) == [3]
            # What was not acknowledged before the cut comes again.
            assert set(replies(got)) <= {f"c{number}" for number in range(40 - 16, 40)}
            relay.cut()
            relay.open = True
            assert versions(collect(listener, versions)) == [3]  # on each new connection
            with pytest.raises(InvalidMessage):
                uplink.reply("identify", reply("x" * 65))
            with pytest.raises(InvalidMessage):
                uplink.report(reported(-1))
        with listen(mosquitto.config("late"), TOPICS.reported) as late:
            assert versions(collect(late, len)) == [3]
        assert uplink.status().replies_dropped == 0
    finally:
        relay.close()


def replies(messages: list[Received]) -> list[str]:
    return [decode_reply(m.payload).id for m in messages if "/reply/" in m.topic]


def versions(messages: list[Received]) -> list[int]:
    return [decode_reported(m.payload).running.version for m in messages if m.topic == TOPICS.reported]


def test_of_too_many_replies_the_oldest_is_dropped_and_what_is_not_acknowledged_is_sent_again(
    mosquitto, spool
):
    mosquitto.start()
    relay = Relay(mosquitto.port)
    try:
        relay.open = False
        config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
        with subscribed(mosquitto) as listener, quick_uplink(spool, config) as uplink:
            for number in range(MAX_REPLIES + 3):
                uplink.reply("identify", reply(f"c{number}"))
            assert uplink.status().replies_dropped == 3
            relay.hold_acks.clear()
            relay.open = True
            until(lambda: relay.unacked == 16, "a full window")
            relay.cut()
            relay.hold_acks.set()
            relay.open = True
            got = replies(collect(listener, lambda messages: f"c{MAX_REPLIES + 2}" in replies(messages)))
    finally:
        relay.close()
    assert list(dict.fromkeys(got)) == [f"c{number}" for number in range(3, MAX_REPLIES + 3)]


def test_a_reply_that_is_too_large_or_breaks_connections_is_dropped(mosquitto, spool):
    facts: dict[str, str | float | None] = {f"fact{n}": float(n) for n in range(60)}
    large = Reply(id="large", at=timestamp(NOW), result=DiagnoseResult(facts=facts))
    # MQTT 5 tells the broker's limit; over 3.1.1 it ends the connection.
    mosquitto.start("max_packet_size 700")
    for protocol, connections in (("5", 1), ("3.1.1", 4)):
        config = mosquitto.config(protocol=protocol)
        with subscribed(mosquitto) as listener, quick_uplink(spool, config) as uplink:
            uplink.reply("diagnose", large)
            uplink.reply("identify", reply("c2"))
            until(lambda: uplink.status().replies_dropped == 1, "the reply to be dropped")
            assert set(replies(collect(listener, replies))) == {"c2"}
            assert uplink.status().connections == connections


def test_redialling_says_goodbye_here_and_a_birth_there(mosquitto, tmp_path, spool):
    other = Mosquitto(tmp_path)
    mosquitto.start()
    other.start()
    try:
        taken = Taken()
        with quick_uplink(
            spool, mosquitto.config(), inbox=taken.inbox, patience=Patience(redial_s=0.05)
        ) as uplink:
            put_event(spool)
            until(lambda: empty(spool), "the first broker to have it")
            before_s = uplink.status().last_puback_s
            there = other.config(protocol="3.1.1")
            uplink.redial(there)
            until(lambda: uplink.status().config == there, "the other settings")
            put_event(spool)
            until(lambda: empty(spool), "the second broker to have it")
            status = uplink.status()
            assert (status.connected, status.address, status.protocol) == (True, there.address, "3.1.1")
            assert status.last_puback_s > before_s
            tell(other, TOPICS.command("break"), b"there")
            until(lambda: taken.payloads() == [b"there"], "a command from there")
            with subscribed(mosquitto) as late:
                gone = decode_state(collect(late, len)[0].payload)
            assert (gone.online, gone.connection, gone.capture) == (False, 1, Capture.UNKNOWN)
            assert gone.reason == "connecting with other settings"  # not the will: it was a clean goodbye
            with subscribed(other, TOPICS.state) as late:
                born = decode_state(collect(late, len)[0].payload)
            assert (born.online, born.connection) == (True, 2)
    finally:
        other.stop()


def test_redialling_ends_a_wait_and_a_connection_attempt(mosquitto, spool):
    mosquitto.start()
    nowhere = BrokerConfig("127.0.0.1", free_port(), "unit-1")
    patience = Patience(redial_s=0.05)
    with quick_uplink(spool, nowhere, backoff=Backoff(3600.0, 3600.0), patience=patience) as uplink:
        uplink.redial(mosquitto.config())  # while it waits
        until(lambda: uplink.status().connected, "a connection")
    with Scripted() as silent:
        config = silent.config(connect_timeout_s=3600.0)
        with quick_uplink(spool, config, patience=patience) as uplink:
            until(lambda: uplink._attempts == 1, "an attempt")
            uplink.redial(mosquitto.config())  # while it waits for a welcome
            until(lambda: uplink.status().connected, "a connection")


@pytest.mark.parametrize("phase", ["connected", "waiting", "dialling"])
def test_a_turn_a_second_whatever_the_link_does(mosquitto, spool, phase):
    mosquitto.start()
    turns: list[float] = []

    def turn() -> None:
        turns.append(time.monotonic())
        if len(turns) == 2:
            raise RuntimeError("whoever is called must not end the uplink")

    with Scripted() as silent:
        config, backoff = {
            "connected": (mosquitto.config(keepalive_s=3600), Backoff(0.01, 0.01)),
            "waiting": (BrokerConfig("127.0.0.1", free_port(), "unit-1"), Backoff(3600.0, 3600.0)),
            "dialling": (silent.config(connect_timeout_s=3600.0), Backoff(0.01, 0.01)),
        }[phase]
        uplink = quick_uplink(spool, config, backoff=backoff, on_turn=turn)
        began_s = time.monotonic()
        with uplink:
            until(lambda: len(turns) >= 5, "five turns", 20.0)
            assert uplink.status().connected == (phase == "connected")
    gaps_s = [after - before for before, after in zip([began_s, *turns], turns, strict=False)]
    assert max(gaps_s) < 1.5  # promised: 1; the rest is the machine's
    assert sum(gaps_s) / len(gaps_s) > 0.4  # no busy loop


def test_a_broker_that_takes_messages_and_acknowledges_none_is_left_and_no_message_is_blamed(spool, caplog):
    """It answers pings, so the keepalive sees nothing."""
    for _ in range(3):
        put_event(spool)
    with Scripted(WELCOME) as broker:
        patience = Patience(stall_s=0.3)
        with quick_uplink(spool, broker.config(), patience=patience) as uplink:
            until(lambda: uplink.status().connections >= 5, "some connections")
            assert "the broker has acknowledged none of 4 messages" in uplink.status().last_error
            assert uplink.status().last_puback_s is None
    assert spool.refused() == []
    assert spool.depth().events == 3


def test_a_stalled_wire_is_left_and_all_is_sent_again(mosquitto, relay, spool):
    mosquitto.start()
    config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
    with subscribed(mosquitto, TOPICS.event) as listener:
        with quick_uplink(spool, config, patience=Patience(stall_s=0.5)) as uplink:
            put_event(spool)
            until(lambda: empty(spool), "the first")
            relay.hold_acks.clear()  # PUBLISH comes through, PUBACK does not
            put_event(spool)
            until(lambda: uplink.status().connections >= 2, "another connection")
            relay.hold_acks.set()
            until(lambda: empty(spool), "the second")
        got = rest(listener)
    assert {m.user["seq"] for m in got} == {"1", "2"}
    assert spool.refused() == []


class Recorder(Backoff):
    """Backoff that keeps what it was asked, and waits next to nothing."""

    asked: ClassVar[list[tuple[int, bool]]] = []

    def delay_s(self, attempt: int, chance: float, *, busy: bool = False) -> float:
        self.asked.append((attempt, busy))
        return 0.02


@pytest.mark.parametrize(
    ("answers", "base_s", "asked"),
    [
        ((b"",), 3600.0, [(0, False), (1, False), (2, False)]),
        ((b"\x20\x03\x00\x88\x00",), 3600.0, [(0, False), (1, True), (2, True)]),  # unavailable
        ((b"\x20\x03\x00\x9f\x00",), 3600.0, [(0, False), (1, True), (2, True)]),  # too many connect
        ((b"\x20\x03\x00\x87\x00",), 3600.0, [(0, False), (1, False), (2, False)]),  # not authorised
        # It takes the birth, and ends the connection at once: no progress.
        ((WELCOME, b"\x40\x02\x00\x01\xe0\x01\x8b"), 3600.0, [(0, False), (1, True), (2, True)]),
        ((WELCOME, b"\x40\x02\x00\x01\xe0\x01\x98"), 3600.0, [(0, False), (1, False), (2, False)]),
        # The same, and it held for long enough.
        ((WELCOME, b"\x40\x02\x00\x01\xe0\x01\x98"), 0.0, [(0, False), (0, False), (0, False)]),
        # It held, and took nothing.
        ((WELCOME, b"\xe0\x01\x8b"), 0.0, [(0, False), (1, True), (2, True)]),
    ],
)
def test_when_the_wait_grows_and_when_it_begins_anew(spool, answers, base_s, asked):
    recorder = Recorder(base_s, 3600.0)
    recorder.asked.clear()
    with (
        Scripted(*answers) as broker,
        quick_uplink(spool, broker.config(connect_timeout_s=1.0), backoff=recorder) as uplink,
    ):
        until(lambda: uplink._attempts >= 3, "three attempts")
    assert recorder.asked[:3] == asked


def test_a_fleet_comes_back_spread_out():
    """Ten thousand units: at no time more than 400 in a second, and all within two waits of a minute each."""
    units = 10_000
    second = [0] * 121
    for unit in range(units):
        second[int(RECONNECT.delay_s(0, unit / units))] += 1
    assert max(second) <= 400
    assert sum(second[:31]) == units
    crowd = [RECONNECT.delay_s(0, unit / units, busy=True) for unit in range(units)]
    assert 59 < max(crowd) <= 60
    assert RECONNECT.delay_s(50, 1.0) == 120.0


def test_the_first_connect_waits_too(mosquitto, spool):
    """After a power cut all units of a street start at once."""
    mosquitto.start()
    uplink = quick_uplink(spool, mosquitto.config(), backoff=Backoff(0.7, 0.7))
    began_s = time.monotonic()
    with uplink:
        until(lambda: uplink.status().connected, "a connection")
        assert time.monotonic() - began_s >= 0.7


@pytest.mark.parametrize(("property_", "what"), [(b"\x24\x00", "QoS 1"), (b"\x25\x00", "retained messages")])
def test_a_broker_that_cannot_do_what_the_unit_needs_is_named_as_such(spool, property_, what):
    says = f"takes no {what}: this unit needs a broker that does"
    with (
        Scripted(b"\x20\x05\x00\x00\x02" + property_) as broker,
        quick_uplink(spool, broker.config()) as uplink,
    ):
        until(lambda: says in (uplink.status().last_error or ""), says)


def test_a_topic_that_is_not_utf_8_ends_the_connection_and_no_more(spool):
    hostile = WELCOME + b"\x30\x06\x00\x02\xff\xfe\x00x"
    with Scripted(hostile) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: "not UTF-8" in (uplink.status().last_error or ""), "the reason")
        until(lambda: uplink.status().connections >= 2, "another connection")


def test_a_message_at_qos_2_that_nobody_asked_for_ends_the_connection(spool):
    """paho would keep it until its release, and 65,534 others."""
    hostile = WELCOME + b"\x34\x07\x00\x01x\x00\x01\x00x"
    with Scripted(hostile) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: "a message at QoS 2" in (uplink.status().last_error or ""), "the reason")
        until(lambda: uplink.status().connections >= 2, "another connection")


def test_a_broker_that_wants_answers_and_reads_none_is_left(spool, monkeypatch):
    """Its socket takes some megabytes; behind that, the answers would fill the unit's memory."""
    monkeypatch.setattr(link, "MAXIMUM_BACKLOG", 16)
    really_send = link._Client._sock_send

    def send(client: link._Client, packet: bytes) -> int:
        if packet[0] == PINGRESP:
            raise BlockingIOError
        return really_send(client, packet)

    monkeypatch.setattr(link._Client, "_sock_send", send)
    hostile = WELCOME + b"\xc0\x00" * 50
    with Scripted(hostile) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: "answers wait for it" in (uplink.status().last_error or ""), "the reason")


def test_the_wanted_state_is_announced_after_a_redial(mosquitto, spool):
    mosquitto.start()
    with quick_uplink(spool, mosquitto.config(), patience=Patience(redial_s=0.01)) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        uplink.announce(birth(capture=Capture.OFF_SHIFT))
        uplink.redial(replace(mosquitto.config(), keepalive_s=10))
        until(lambda: uplink.status().connections == 2, "a second connection")
        with subscribed(mosquitto, TOPICS.state) as late:
            got = collect(late, lambda messages: any(decode_state(m.payload).online for m in messages))
        assert decode_state(got[-1].payload).capture is Capture.OFF_SHIFT
