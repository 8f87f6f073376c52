"""From the spool to a real broker, whatever the broker and the wire do."""

import datetime as dt
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge.uplink import delivery, upkeep
from edge.uplink.command_messages import ReloadResult, Reply, decode_reply
from edge.uplink.ledger import Suspect
from edge.uplink.link import MAXIMUM_PACKET_BYTES, BrokerConfig
from edge.uplink.listener import listen
from edge.uplink.messages import Capture, State, decode_event, decode_state
from edge.uplink.records import Record, SpoolFull
from edge.uplink.signals import Publication, Received
from edge.uplink.tls import Tls
from edge.uplink.wire import InvalidMessage, timestamp
from tests.broker import collect, free_port, rest, subscribed, until
from tests.certificates import Authority
from tests.uplink.conftest import (
    NOW,
    TOPICS,
    Relay,
    Scripted,
    birth,
    empty,
    event_message,
    jpeg,
    put_event,
    quick_uplink,
    thumb_message,
)

HOUR = dt.timedelta(hours=1)
WELCOME = b"\x20\x03\x00\x00\x00"


def steps_of(answer: bytes) -> tuple[bytes, ...]:
    """The welcome, and the rest once the unit has sent something after it."""
    return (answer[:5], answer[5:]) if len(answer) > 5 else (answer,)


def seqs(messages: list[Received]) -> list[int]:
    return [decode_event(m.payload).data.seq for m in messages if m.topic == TOPICS.event]


def states(messages: list[Received]) -> list[State]:
    return [decode_state(m.payload) for m in messages if m.topic == TOPICS.state]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_thousand_events_in_order_none_missing_none_twice(mosquitto, spool, protocol):
    mosquitto.start()
    for _ in range(500):
        put_event(spool)
    with subscribed(mosquitto) as listener:
        with quick_uplink(spool, mosquitto.config(protocol=protocol)) as uplink:
            for _ in range(500):  # while it carries
                put_event(spool)
            until(lambda: empty(spool), "the spool to empty")
            assert uplink.status().delivered == 1000
        got = rest(listener)
    assert got[0].topic == TOPICS.state  # the birth comes first
    assert seqs(got) == list(range(1, 1001))
    assert {m.qos for m in got} == {1}


def test_birth_and_offline_are_retained(mosquitto, spool):
    mosquitto.start()
    with quick_uplink(spool, mosquitto.config()) as uplink:
        until(lambda: uplink.status().last_puback_s is not None, "the birth")
        with subscribed(mosquitto) as late:
            (born,) = collect(late, len)
    assert born.retain
    assert born.content_type == "application/json"
    state = decode_state(born.payload)
    assert (state.online, state.session, state.connection) == (True, 1, 1)
    with subscribed(mosquitto) as later:
        (last,) = collect(later, len)
    gone = decode_state(last.payload)
    assert last.retain
    assert (gone.online, gone.capture, gone.reason) == (False, Capture.STOPPED, "the unit was stopped")
    assert not uplink.status().connected


def test_a_reason_for_stopping_is_the_last_word(mosquitto, spool):
    mosquitto.start()
    with quick_uplink(spool, mosquitto.config()) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        uplink.announce(birth(capture=Capture.STOPPED, reason="low battery"))
    with subscribed(mosquitto) as later:
        (last,) = states(collect(later, len))
    assert (last.online, last.capture, last.reason) == (False, Capture.STOPPED, "low battery")


def test_a_picture_comes_with_its_event_and_expires(mosquitto, spool):
    mosquitto.start()
    expires_at = dt.datetime.now(dt.UTC) + HOUR
    gone_at = dt.datetime.now(dt.UTC)
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, expires_at))))
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, gone_at))))
    with subscribed(mosquitto) as listener, quick_uplink(spool, mosquitto.config()):
        got = collect(listener, lambda messages: len(messages) >= 4)
    assert [m.topic for m in got[1:]] == [TOPICS.event, TOPICS.thumb("e1"), TOPICS.event]
    event, picture = got[1], got[2]
    assert picture.payload == jpeg(1)
    assert picture.content_type == "image/jpeg"
    assert 3590 <= picture.expiry_s < 3600
    assert picture.user == {"event_id": "e1", "seq": "1"}
    assert (event.expiry_s, event.user["event_id"]) == (None, "e1")
    assert not any(m.retain for m in got[1:])
    assert (spool.lost().expired, spool.depth().thumbnails) == (1, 0)


def test_a_put_is_carried_at_once(mosquitto, spool, monkeypatch):
    monkeypatch.setattr(delivery, "TURN_S", 3600.0)  # nothing but the put itself can wake the uplink
    mosquitto.start()
    config = mosquitto.config(keepalive_s=3600)
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, config) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        for seq in range(1, 21):
            put_event(spool)
            message = listener.receive(20.0)
            assert message is not None
            assert seqs([message]) == [seq]


def test_announced_states_come_in_order_and_the_last_is_retained(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        for number in range(50):
            uplink.announce(birth(reason=str(number)))
        uplink.announce(birth(reason="49", at="2026-03-04T06:00:00.000Z"))  # nothing new but the time
        got = states(collect(listener, lambda messages: any(s.reason == "49" for s in states(messages))))
        with listen(mosquitto.config("late"), TOPICS.state) as late:
            (retained,) = states(collect(late, len))
    numbers = [int(state.reason or -1) for state in got]
    assert numbers == sorted(set(numbers))  # each at most once, none after a newer one
    assert retained.reason == "49"


def test_a_reply_that_is_given_just_before_the_stop_is_sent(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto, TOPICS.reply("reload")) as listener:
        uplink = quick_uplink(spool, mosquitto.config())
        uplink.start()
        until(lambda: uplink.status().last_puback_s is not None, "the birth")
        for number in range(20):  # more than a window
            uplink.reply("reload", Reply(id=f"r{number}", at=timestamp(NOW), result=ReloadResult()))
        assert uplink.stop()
        got = collect(listener, lambda got: len(got) == 20)
    assert [decode_reply(message.payload).id for message in got] == [f"r{n}" for n in range(20)]


def test_what_is_due_at_each_turn_comes_before_old_messages_are_deleted(spool):
    """The clock was set: what was timed before is put right, and only then judged by its age."""
    expires_at = dt.datetime.now(dt.UTC) - HOUR
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, expires_at))))
    seen = []
    nowhere = BrokerConfig("127.0.0.1", free_port(), "unit-1")
    with quick_uplink(spool, nowhere, on_turn=lambda: seen.append(spool.depth().thumbnails)):
        until(lambda: spool.depth().thumbnails == 0, "the picture to expire")
    assert seen[0] == 1


def test_a_state_that_cannot_be_published_is_refused_where_it_is_announced(mosquitto, spool):
    uplink = quick_uplink(spool, mosquitto.config())
    with pytest.raises(InvalidMessage, match=r"\$\.reason"):
        uplink.announce(birth(reason="x" * 300))


def test_the_window_is_the_brokers_receive_maximum(mosquitto, relay, spool):
    mosquitto.start("max_inflight_messages 4")
    for _ in range(60):
        put_event(spool)
    relay.hold_acks.clear()
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink:
        until(lambda: relay.unacked == 4, "a full window")
        with pytest.raises(AssertionError, match="in vain"):
            until(lambda: relay.unacked > 4, "a fifth", 0.3)
        relay.hold_acks.set()
        until(lambda: empty(spool), "the spool to empty")
        assert uplink.status().connections == 1
    assert relay.most_unacked == 4


def test_the_window_is_sixteen_where_the_broker_takes_more(mosquitto, relay, spool):
    mosquitto.start("max_inflight_messages 100")
    for _ in range(60):
        put_event(spool)
    relay.hold_acks.clear()
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")):
        until(lambda: relay.unacked == 16, "a full window")
        relay.hold_acks.set()
        until(lambda: empty(spool), "the spool to empty")
    assert relay.most_unacked == 16


def test_what_the_broker_will_not_have_is_set_aside_and_the_rest_goes_on(mosquitto, spool, caplog):
    acl = mosquitto.folder / "acl"
    acl.write_text(
        "topic readwrite deskwatch/v1/acme/unit-1/event\ntopic readwrite deskwatch/v1/acme/unit-1/state\n"
        "topic readwrite last/#\n"
    )
    mosquitto.start(f"acl_file {acl}")
    for _ in range(3):
        spool.put(lambda serial: Record((thumb_message(serial, size_bytes=100), event_message(serial))))
    with subscribed(mosquitto) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        got = collect(listener, lambda messages: len(seqs(messages)) == 3)
        until(lambda: empty(spool), "the spool to know")
        assert (uplink.status().refused, uplink.status().delivered) == (3, 3)
        assert uplink.status().connections == 1
    assert seqs(got) == [1, 2, 3]
    assert {(r.topic, r.reason) for r in spool.refused()} == {
        (TOPICS.thumb(f"e{seq}"), "0x87 Not authorized") for seq in (1, 2, 3)
    }
    assert spool.lost().refused == 3
    assert len([w for w in warnings(caplog) if "0x87 Not authorized" in w]) == 1


def test_a_message_larger_than_the_brokers_packets_is_set_aside(mosquitto, spool):
    mosquitto.start("max_packet_size 20000")
    spool.put(lambda serial: Record((thumb_message(serial), event_message(serial))))
    with subscribed(mosquitto) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        assert seqs(collect(listener, seqs)) == [1]
        until(lambda: empty(spool), "the spool to know")
        assert uplink.status().connections == 1
    (refused,) = spool.refused()
    assert refused.reason.endswith("the broker takes 20000")


def test_a_message_over_a_limit_that_the_broker_never_announced_is_set_aside(mosquitto, spool, caplog):
    """MQTT 3.1.1 has no way to tell: the broker ends the connection."""
    mosquitto.start("max_packet_size 12000")
    put_event(spool)
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, size_bytes=15_000))))
    for _ in range(30):
        put_event(spool)
    config = mosquitto.config(protocol="3.1.1")
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, config) as uplink:
        until(lambda: uplink.status().refused == 2 and uplink.status().connected, "a second trial")
        until(lambda: empty(spool), "the spool to empty")
        put_event(spool)
        until(lambda: empty(spool), "the spool to empty")
        got = seqs(rest(listener))
        status = uplink.status()
    assert list(dict.fromkeys(got)) == list(range(1, 34))
    (refused,) = spool.refused()
    assert refused.topic == TOPICS.thumb("e2")
    first, second = [w for w in warnings(caplog) if "refuses message" in w]
    assert ": 3 connections in a row ended when it was sent" in first
    assert (
        ": a connection ended when it was sent" in second
    )  # the dead letter, tried again, when all was sent
    assert (status.refused, status.delivered) == (2, 33)
    assert 5 <= status.connections <= 8  # a reset may overtake an acknowledgement, and clear the suspect
    assert spool.lost().refused == 1


def test_a_message_over_mosquittos_own_limit_is_set_aside(mosquitto, spool):
    """It is answered with a reason code that no PUBACK can have."""
    mosquitto.start("message_size_limit 12000")
    spool.put(lambda serial: Record((thumb_message(serial, size_bytes=15_000), event_message(serial))))
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        until(lambda: empty(spool), "the spool to empty")
        assert seqs(rest(listener)) == [1]
        assert uplink.status().connections == 1
    assert [r.reason for r in spool.refused()] == ["0x95 Packet too large"]


def test_a_broker_that_restarts_again_and_again_sets_nothing_aside(mosquitto, relay, spool):
    """It says that it shuts down, or dies, each time with an event in flight."""
    mosquitto.start()
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink:
        for turn in range(8):
            until(lambda turn=turn: uplink.status().connections == turn + 1, "a connection")
            until(lambda: relay.unacked == 0 and relay.published, "the birth to be acknowledged")
            mosquitto.freeze()
            put_event(spool)
            until(lambda: relay.unacked >= 1, "an event to be in flight")
            relay.open = False
            mosquitto.stop(signal.SIGKILL if turn % 2 else signal.SIGTERM)
            until(lambda: not uplink.status().connected, "the loss to be seen")
            mosquitto.start()
            relay.open = True
        until(lambda: empty(spool), "the spool to empty")
    assert spool.refused() == []


@pytest.mark.parametrize(
    ("breaks", "suspects"),
    [
        ([7], [1]),
        ([7, 7, 7], [1, 2, 3]),
        ([7, 7, 8], [1, 2, 1]),
        ([7, None, 7], [1, 0, 1]),  # None: one that no message is to blame for
    ],
)
def test_only_breaks_in_a_row_with_the_same_message_first_count(breaks, suspects):
    suspect, got = None, []
    for position in breaks:
        suspect = None if position is None else Suspect.after(suspect, position)
        got.append(suspect.breaks if suspect else 0)
    assert got == suspects


PUBACK_OF_THE_BIRTH = b"\x40\x02\x00\x01"


@pytest.mark.parametrize(
    ("answer", "blamed"),
    [
        (WELCOME + PUBACK_OF_THE_BIRTH + b"\xe0\x01\x95", True),  # packet too large
        (WELCOME + PUBACK_OF_THE_BIRTH + b"\xe0\x01\x8b", False),  # the broker is shutting down
        (WELCOME + PUBACK_OF_THE_BIRTH + b"\xe0\x01\x8e", False),  # another has the client id
        (WELCOME + b"\xe0\x01\x95", False),  # it did not come as far as the message
        (b"\x20\x03\x00\x88\x00", False),  # it did not let the unit in
    ],
)
def test_whose_doing_a_break_is(spool, answer, blamed):
    put_event(spool)
    with Scripted(*steps_of(answer)) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: uplink._attempts >= 6, "some breaks")
    assert len(spool.refused()) == blamed


def test_a_break_long_after_the_publish_is_not_its_doing(spool, monkeypatch):
    monkeypatch.setattr(delivery, "PROMPT_S", 0.0)
    put_event(spool)
    answer = WELCOME + PUBACK_OF_THE_BIRTH + b"\xe0\x01\x95"
    with Scripted(*steps_of(answer)) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: uplink._attempts >= 6, "some breaks")
    assert spool.refused() == []


def test_the_largest_packet_that_fits_is_sent(mosquitto, relay, spool):
    """The size is counted to the byte: at the limit it passes the broker, one byte more is not sent."""
    mosquitto.start("max_packet_size 20000")
    around = range(19_850, 20_000)
    spool.put(lambda serial: Record(tuple(thumb_message(serial, size_bytes=size) for size in around)))
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink:
        until(lambda: empty(spool), "the spool to empty")
        assert relay.largest_publish_bytes == 20_000  # as counted on the wire
        assert uplink.status().connections == 1  # not once did the broker find one too large
        reasons = [r.reason for r in spool.refused(1)]
    assert reasons == ["packet of 20001 bytes, the broker takes 20000"]


@pytest.mark.parametrize("persistence", ["true", "false"])
def test_a_broker_that_is_gone_for_a_while(mosquitto, relay, spool, persistence):
    lines = (f"persistence {persistence}", f"persistence_location {mosquitto.folder}/")
    mosquitto.start(*lines)
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink:
        with subscribed(mosquitto) as listener:
            put_event(spool)
            assert seqs(collect(listener, seqs)) == [1]
        relay.open = False
        mosquitto.stop()
        until(lambda: not uplink.status().connected, "the loss to be seen")
        for _ in range(100):
            put_event(spool)
        mosquitto.start(*lines)
        with subscribed(mosquitto) as listener:
            relay.open = True
            until(lambda: empty(spool), "the spool to empty")
            got = rest(listener)
    assert seqs(got) == list(range(2, 102))
    births = [state for state in states(got) if state.online]
    assert births[-1].connection > 1


def test_a_broker_killed_in_mid_flight(mosquitto, relay, spool):
    mosquitto.start()
    for _ in range(2000):
        put_event(spool)
    with quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink:
        until(lambda: relay.published > 100, "some to be under way")
        relay.open = False
        mosquitto.stop(signal.SIGKILL)
        until(lambda: not uplink.status().connected, "the loss to be seen")
        left = [s.seq for s in spool.pending(5000, alive_at=dt.datetime.now(dt.UTC))]
        assert left
        mosquitto.start()
        with subscribed(mosquitto, TOPICS.event) as listener:
            relay.open = True
            until(lambda: empty(spool), "the spool to empty")
            got = rest(listener)
    assert seqs(got) == left == list(range(left[0], 2001))


def test_a_wire_that_breaks_again_and_again_loses_nothing(mosquitto, relay, spool):
    mosquitto.start()
    for _ in range(3000):
        put_event(spool)
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink,
    ):
        for cut in (1, 2, 3):
            back = lambda cut=cut: uplink.status().connections == cut and relay.published >= 60 * cut  # noqa: E731
            until(back, "some to be under way")
            relay.cut()
            relay.open = True
        until(lambda: empty(spool), "the spool to empty")
        got = seqs(rest(listener))
        assert uplink.status().connections == 4
    first_seen = list(dict.fromkeys(got))
    assert first_seen == list(range(1, 3001))
    assert len(got) - 3000 <= 3 * 16  # only what was in flight may come twice


def test_a_frozen_broker_does_not_slow_a_put(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        mosquitto.freeze()
        for _ in range(100):  # a put that waited on the broker would wait for ever
            spool.put(lambda serial: Record((event_message(serial), thumb_message(serial))))
        mosquitto.thaw()
        until(lambda: empty(spool), "the spool to empty")
        got = rest(listener)
        assert uplink.status().connections == 1
    assert seqs(got) == list(range(1, 101))


UNIT = """
import sys, time
from pathlib import Path
from tests.broker import *
from tests.uplink.conftest import *
spool = Spool.open(Path(sys.argv[1]))
uplink = quick_uplink(spool, BrokerConfig("127.0.0.1", int(sys.argv[2]), "unit-1"))
uplink.start()
until(lambda: uplink.status().connected, "a connection")
while True:
    put_event(spool)
    time.sleep(0.002)
"""


def test_a_unit_killed_leaves_its_will_and_its_events(mosquitto, tmp_path):
    mosquitto.start()
    path = tmp_path / "killed" / "spool.db"
    got: list[Received] = []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subscribed(mosquitto) as listener:
        for session in (1, 2):
            unit = subprocess.Popen(
                [sys.executable, "-c", UNIT, str(path), str(mosquitto.port)], env=environment
            )
            enough = len(seqs(got)) + 30
            while len(seqs(got)) < enough:
                message = listener.receive(10.0)
                assert message is not None
                got.append(message)
            unit.kill()
            unit.wait()
            got += collect(listener, lambda messages: any(not s.online for s in states(messages)))
            last = states(got)[-1]
            assert (last.online, last.session, last.capture) == (False, session, Capture.UNKNOWN)
            assert last.reason == "connection lost"
    assert [(s.online, s.session) for s in states(got)] == [(True, 1), (False, 1), (True, 2), (False, 2)]
    seen = list(dict.fromkeys(seqs(got)))
    assert seen == list(range(1, len(seen) + 1))


def test_wrong_credentials(mosquitto, spool, caplog):
    passwords = mosquitto.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "unit-1", "right"], check=True)
    passwords.chmod(0o644)
    mosquitto.start(f"password_file {passwords}", anonymous=False)
    put_event(spool)
    wrong = mosquitto.config(username="unit-1", password="hunter2")
    for protocol, name in (("5", "Not authorized"), ("3.1.1", "Not authorized")):
        caplog.clear()
        with quick_uplink(spool, replace(wrong, protocol=protocol)) as uplink:
            until(lambda: uplink._attempts >= 4, "some attempts")
            status = uplink.status()
        assert not status.connected
        assert status.connections == 0
        assert f"refused the unit over MQTT {protocol}: {name}" in status.last_error
        assert "check its user" in status.last_error
        assert warnings(caplog) == [f"uplink: {status.last_error}"]  # once, not at each attempt
        assert "hunter2" not in caplog.text + repr(wrong)
    with quick_uplink(spool, mosquitto.config(username="unit-1", password="right")):
        until(lambda: empty(spool), "the spool to empty")


def failing_with(spool, config: BrokerConfig, message: str, caplog) -> None:
    """The uplink says `message` once, keeps trying, and stops at once."""
    caplog.clear()
    put_event(spool)
    uplink = quick_uplink(spool, config)
    uplink.start()
    until(lambda: message in (uplink.status().last_error or "") and uplink._attempts >= 3, message)
    assert uplink.stop()
    assert len([w for w in warnings(caplog) if message in w]) == 1
    assert spool.depth().events == 1
    spool.release([s.position for s in spool.pending(9, alive_at=dt.datetime.now(dt.UTC))])


def test_nobody_listens(spool, caplog):
    config = BrokerConfig("127.0.0.1", free_port(), "unit-1")
    failing_with(spool, config, f"cannot reach 127.0.0.1:{config.port}", caplog)


def test_a_name_without_an_address(spool, caplog):
    failing_with(spool, BrokerConfig("broker.invalid", 1883, "unit-1"), "the name has no address", caplog)


def test_a_host_that_says_nothing(spool, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = BrokerConfig("127.0.0.1", silent.getsockname()[1], "unit-1", connect_timeout_s=0.2)
        failing_with(spool, config, "no welcome from", caplog)


def test_a_host_that_speaks_something_else(spool, caplog):
    """Bytes of another protocol end the attempt with a message, not the thread."""
    with Scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n") as host:
        failing_with(spool, host.config(), "is that an MQTT broker", caplog)


@pytest.mark.parametrize(
    ("protocol", "answer", "message"),
    [
        ("5", b"\x20\x03\x00\x84\x00", 'set broker.protocol to "3.1.1"'),
        ("5", b"\x20\x03\x00\x85\x00", "check the unit's id"),
        ("5", b"\x20\x03\x00\x86\x00", "check broker.username and broker.password"),
        ("5", b"\x20\x03\x00\x87\x00", "access list does not let this unit in"),
        ("5", b"\x20\x03\x00\x88\x00", "not ready"),
        ("5", b"\x20\x03\x00\x97\x00", "Quota exceeded (0x97): ask who runs the broker"),
        ("5", b"\x20\x02\x00\x01", 'set broker.protocol to "3.1.1"'),  # from a broker of 3.1.1
        ("5", b"\x20\x03\x00\xee\x00", "127.0.0.1"),  # a reason that no version defines
        ("3.1.1", b"\x20\x02\x00\x01", "version of broker.protocol"),
        ("3.1.1", b"\x20\x02\x00\x02", "check the unit's id"),
        ("3.1.1", b"\x20\x02\x00\x04", "check broker.username and broker.password"),
        ("3.1.1", b"\x20\x02\x00\x05", "access list does not let this unit in"),
    ],
)
def test_a_technician_reads_why_it_was_refused(spool, caplog, protocol, answer, message):
    with Scripted(answer) as broker:
        failing_with(spool, broker.config(protocol=protocol), message, caplog)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\x8e\x00", "another client came with the client id 'unit-1'"),
        (b"\x8b\x00", "the broker is shutting down"),
        (b"", "ended the connection"),
    ],
)
def test_a_technician_reads_why_it_ended(spool, answer, message):
    welcome, goodbye = b"\x20\x03\x00\x00\x00", bytes([0xE0, len(answer)]) + answer
    with Scripted(welcome + goodbye) as broker, quick_uplink(spool, broker.config()) as uplink:
        until(lambda: message in (uplink.status().last_error or ""), message)


def test_stopping_while_a_host_says_nothing(spool):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uplink = quick_uplink(spool, BrokerConfig("127.0.0.1", silent.getsockname()[1], "unit-1"))
        uplink.start()
        peer, _ = silent.accept()
        assert uplink.stop()  # in less than its 5 s, where the welcome may take 10
        peer.close()


def test_stopping_when_the_broker_is_frozen_leaves_the_will(mosquitto, spool):
    mosquitto.start()
    uplink = quick_uplink(spool, mosquitto.config())
    uplink.start()
    until(lambda: uplink.status().connected, "a connection")
    with subscribed(mosquitto) as listener:
        collect(listener, len)
        mosquitto.freeze()
        assert uplink.stop()
        mosquitto.thaw()
        got = states(collect(listener, states))
    assert not got[-1].online


def test_a_fault_of_our_own_does_not_end_the_uplink(mosquitto, spool, caplog, monkeypatch):
    mosquitto.start()
    faults = itertools.chain([RuntimeError("a fault")], itertools.repeat(None))
    pending = spool.pending

    def faulty(*args, **more):
        if fault := next(faults):
            raise fault
        return pending(*args, **more)

    monkeypatch.setattr(spool, "pending", faulty)
    put_event(spool)
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        assert seqs(collect(listener, len)) == [1]
        assert uplink.status().last_error == "RuntimeError: a fault"
    assert any(r.exc_info for r in caplog.records)


def test_a_full_disk_sends_nothing_twice(mosquitto, spool, caplog, monkeypatch):
    """The spool cannot forget what was delivered, the connection is lost meanwhile, and space comes back."""
    mosquitto.start()
    release, full = spool.release, [True]

    def releasing(positions):
        if full[0]:
            raise SpoolFull("spool.db: full")
        release(positions)

    monkeypatch.setattr(spool, "release", releasing)
    for _ in range(40):
        put_event(spool)
    relay = Relay(mosquitto.port)
    try:
        with (
            subscribed(mosquitto, TOPICS.event) as listener,
            quick_uplink(spool, BrokerConfig("127.0.0.1", relay.port, "unit-1")) as uplink,
        ):
            until(lambda: uplink.status().delivered == 40, "all to be delivered")
            assert spool.depth().events == 40
            relay.cut()
            until(lambda: not uplink.status().connected, "the loss to be seen")
            relay.open = True
            put_event(spool)
            until(lambda: uplink.status().delivered == 41, "the one after the loss")
            full[0] = False
            put_event(spool)
            until(lambda: empty(spool), "the spool to empty")
            got = rest(listener)
    finally:
        relay.close()
    assert seqs(got) == list(range(1, 43))
    assert len([w for w in warnings(caplog) if "cannot be told" in w]) == 1


def test_over_tls(mosquitto, spool, caplog, tmp_path):
    ours = Authority(tmp_path / "ca")
    broker = ours.issue("broker", host="127.0.0.1")
    mosquitto.start(listener=f"certfile {broker.certificate}\nkeyfile {broker.key}")
    for _ in range(50):
        spool.put(lambda serial: Record((event_message(serial), thumb_message(serial))))
    with quick_uplink(spool, mosquitto.config(tls=Tls(ca_file=ours.file))) as uplink:
        until(lambda: empty(spool), "the spool to empty")
        assert uplink.status().connections == 1
    failing_with(spool, mosquitto.config(tls=Tls()), "its certificate is not trusted", caplog)
    with Scripted(b"") as plain:
        none = plain.config(tls=Tls(ca_file=tmp_path / "none.pem"))
        failing_with(spool, none, f"broker.ca_file: wanted a readable file, got {tmp_path}/none.pem", caplog)


def test_pictures_that_cannot_be_expired_are_no_reason_to_leave_the_broker(
    mosquitto, spool, caplog, monkeypatch
):
    tries = []

    def expire(now_at, *, synchronised):
        tries.append(now_at)
        raise SpoolFull("spool.db: full")

    monkeypatch.setattr(spool, "expire", expire)
    monkeypatch.setattr(upkeep, "EXPIRE_EVERY_S", 0.0)
    mosquitto.start()
    with quick_uplink(spool, mosquitto.config()) as uplink:
        for _ in range(20):
            put_event(spool)
            until(lambda: empty(spool), "the spool to empty")
        until(lambda: len(tries) > 2, "it to be tried again")
        assert uplink.status().connections == 1
    assert len([w for w in warnings(caplog) if "expired pictures" in w]) == 1


def test_no_picture_stays_at_the_broker_for_more_than_twenty_days_and_the_expired_are_deleted(
    mosquitto, spool, caplog
):
    """Whatever the clock was when it was taken."""
    caplog.set_level(logging.INFO)
    now_at = dt.datetime.now(dt.UTC)
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, now_at + 320 * 24 * HOUR))))
    spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, now_at - HOUR))))
    mosquitto.start()
    spool.note("boot-of-pictures", "boot-1")  # else they would wait for a clock that is set
    carrying = quick_uplink(spool, mosquitto.config(), synchronised=lambda: False)
    with subscribed(mosquitto) as listener, carrying as uplink:
        until(lambda: uplink.status().delivered == 3, "all that is alive")
        (picture,) = [m for m in rest(listener) if "/thumb/" in m.topic]
        assert picture.topic == TOPICS.thumb("e1")
        assert picture.expiry_s == 20 * 24 * 3600
        assert (spool.depth().thumbnails, spool.lost().expired) == (0, 1)
    assert [r.getMessage() for r in caplog.records if "retention" in r.getMessage()] == [
        "deleted 1 messages at the end of their retention, not delivered"
    ]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_packet_too_large_for_memory_is_not_read(spool, protocol):
    welcome = WELCOME if protocol == "5" else b"\x20\x02\x00\x00"
    with (
        Scripted(welcome + b"\x30\xff\xff\xff\x7f" + bytes(1000)) as server,  # announces 256 MB
        quick_uplink(spool, server.config(protocol=protocol)) as uplink,
    ):
        says = f"a packet of 268435455 bytes, wanted at most {MAXIMUM_PACKET_BYTES}"
        until(lambda: says in (uplink.status().last_error or ""), says)
        assert uplink.status().connections >= 1


def test_the_broker_is_told_what_is_too_large_and_keeps_it(mosquitto):
    mosquitto.start()
    with subscribed(mosquitto, "big") as listener:
        for size_bytes in (MAXIMUM_PACKET_BYTES, MAXIMUM_PACKET_BYTES - 100):
            listener.publish(Publication("big", bytes(size_bytes), "text/plain"))
        assert [len(m.payload) for m in rest(listener)] == [MAXIMUM_PACKET_BYTES - 100]
