"""A command from the command line to a real link and back, and what is refused before it leaves."""

import json

import pytest

from edge.cli import main
from edge.operator.access import broker_config
from edge.operator.commanding import facts_told
from edge.operator_arguments import COMMAND_NAMES
from edge.uplink.command_messages import (
    COMMANDS,
    BreakResult,
    DiagnoseResult,
    Reply,
    Seen,
    SpotCheckResult,
    decode_command,
    encode_reply,
)
from edge.uplink.messages import Capture
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, Problem, timestamp
from tests.operator.fleet import NOW, unit

RESULTS = {
    "spot-check": SpotCheckResult(
        capture=Capture.WATCHING,
        seen=(Seen(label="cell phone", count=2, score=0.81),),
        blind=("covered",),
        frame_at=timestamp(NOW),
    ),
    "break": BreakResult(ends_at=timestamp(NOW)),
    "diagnose": DiagnoseResult(facts={"spool.events": 3.0, "camera": "imx708", "clock": None}),
}


def answer(message):
    """Do as a unit does; refuse `resume`. First comes somebody else's reply, and one that is none."""
    name = message.topic.rsplit("/", 1)[1]
    command = decode_command(name, message.payload)
    error = (
        None if name in RESULTS else Problem(code="not-on-break", problem="wanted a break that is on\x1b[2J")
    )
    reply = Reply(id=command.id, at=timestamp(NOW), result=RESULTS.get(name), error=error)
    other = Reply(id="other", at=timestamp(NOW), error=Problem(code="busy", problem="not ours"))
    topic = Topics("acme", "u1").reply(name)
    return [Publication(topic, payload, JSON) for payload in (b"{", encode_reply(other), encode_reply(reply))]


def command(broker, *arguments):
    at = f"127.0.0.1:{broker.port}"
    where = ["--broker", at, "--no-tls", "--tenant", "acme", "--unit", "u1"]
    return main(["operator", "command", *arguments, *where])


def test_a_command_is_done_and_its_reply_is_told(broker, capsys):
    with unit(broker.config("u1"), answer) as fake:
        assert command(broker, "spot-check") == 0
        assert command(broker, "break", "--reason", "dentist") == 0
        assert command(broker, "diagnose") == 0
        assert command(broker, "resume") == 1
        assert command(broker, "break", "--json") == 0
    at = timestamp(NOW)
    *said, raw = capsys.readouterr().out.splitlines()
    assert said == [
        f"u1: saw at {at}: 2 cell phone (best 0.81)",
        "u1: camera: watching",
        "u1: it cannot see: covered",
        f"u1: on a break until {at} at the latest",
        "u1: camera        imx708",
        "u1: clock         none",
        "u1: spool.events  3",
        "u1: refused resume: not-on-break: wanted a break that is on·[2J",
    ]
    assert json.loads(raw)["result"]["ends_at"] == at
    first, second, *_ = fake.received
    assert not first.retain
    assert decode_command("break", second.payload).reason == "dentist"
    assert second.expiry_s == 30


def test_nobody_there_is_an_error_in_time(broker, capsys):
    assert command(broker, "identify", "--timeout", "1") == 2
    assert "u1: wanted a reply to identify within 1 s, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["identify", "--reason", "x"], "identify: wanted no --reason"),
        (["break", "--for", "5"], "break: wanted no --for"),
        (["identify", "--for", "61"], "<= 60"),
    ],
)
def test_what_a_unit_would_refuse_is_not_sent(broker, arguments, problem, capsys):
    assert command(broker, *arguments) == 2
    assert problem in capsys.readouterr().err


def test_every_command_of_the_contract_may_be_typed():
    assert set(COMMAND_NAMES) == set(COMMANDS)


class Typed:
    broker = "broker.example"
    no_tls = False
    ca_file = cert = key_file = username = password_file = client_id = None
    protocol = "5"

    def __init__(self, **more):
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("typed", "host", "port", "encrypted"),
    [
        ({}, "broker.example", 8883, True),
        ({"no_tls": True}, "broker.example", 1883, False),
        ({"broker": "b:1883"}, "b", 1883, False),
        ({"broker": "b:9000"}, "b", 9000, True),
        ({"broker": "[::1]:9000", "no_tls": True}, "::1", 9000, False),
        ({"broker": "[fe80::1]"}, "fe80::1", 8883, True),
    ],
)
def test_where_the_broker_is(typed, host, port, encrypted):
    config = broker_config(Typed(**typed))
    assert (config.host, config.port, config.tls is not None) == (host, port, encrypted)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ({"broker": "a:b:c"}, "wanted HOST or HOST:PORT"),
        ({"broker": "b:0"}, "broker.port: wanted 1 to 65535"),
        ({"cert": "c.pem"}, "--cert and --key-file go together"),
        ({"no_tls": True, "ca_file": "c.pem"}, "wanted TLS beside them"),
        ({"password_file": "p"}, "--username: wanted one"),
        ({"username": "u"}, "wanted a terminal to ask at, or --password-file"),
    ],
)
def test_what_cannot_be_meant_is_an_error(typed, problem, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(Exception, match=problem.replace("(", r"\(")):
        broker_config(Typed(**typed))


def test_a_password_comes_from_its_file(tmp_path):
    (tmp_path / "p").write_text("s3cret\nmore\n")
    config = broker_config(Typed(username="u", password_file=tmp_path / "p"))
    assert config.password == "s3cret"
    assert "s3cret" not in repr(config)


def test_bytes_are_told_whole_and_no_power_of_ten():
    told = facts_told(DiagnoseResult(facts={"disk.free_bytes": 60_352_348_160.0, "link.puback_age_s": 1.4}))
    assert [line.split() for line in told] == [
        ["disk.free_bytes", "60352348160"],
        ["link.puback_age_s", "1.4"],
    ]
