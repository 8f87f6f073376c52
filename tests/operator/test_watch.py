"""Watching a fleet: what is told, and what is not."""

import datetime as dt
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from edge.operator.views import line_of
from edge.operator.watching import Fleet, Tone, filters
from edge.uplink.messages import Alarm, AlarmCode, Capture, encode, encode_health
from edge.uplink.signals import Publication, Received
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import Document, Phase, Reported, encode_reported
from edge.uplink.wire import JSON, Problem, timestamp
from tests.broker import until
from tests.operator.fleet import NOW, gap, opened, publication, state, unit
from tests.uplink.test_health import HEALTH

DESKWATCH = Path(sys.executable).parent / "deskwatch"
U1 = Topics("acme", "u1")


def heard(topic, payload):
    return Received(topic, 1, retain=False, payload=payload)


def of(fleet, said):
    return [(line.text, line.tone) for line in fleet.take(heard(U1.state, encode(said)))]


def test_a_state_is_told_when_it_says_something_new():
    fleet = Fleet("acme")
    ((text, tone),) = of(fleet, state())
    assert (text, tone) == ("online  watching, policy 7, firmware 0.1.0, session 1.1", Tone.GOOD)
    assert of(fleet, state(at=timestamp(NOW + dt.timedelta(seconds=9)))) == []
    assert of(fleet, state(capture=Capture.BREAK))[0][0].startswith("online  break, ")
    ((text, tone),) = of(fleet, state(online=False, reason="connection lost"))
    assert (text, tone) == (
        "offline unknown: connection lost, policy 7, firmware 0.1.0, session 1.1",
        Tone.ALARM,
    )


def test_an_offline_of_an_older_connection_or_session_is_dropped():
    fleet = Fleet("acme")
    of(fleet, state(session=4, connection=2))
    assert of(fleet, state(online=False, session=4, connection=1)) == []
    assert of(fleet, state(online=False, session=3, connection=9)) == []
    assert of(fleet, state(online=False, session=4, connection=2)) != []
    assert of(fleet, state(session=1)) != []  # set up anew


def test_an_alarm_is_told_when_it_comes_and_when_it_goes():
    fleet = Fleet("acme")
    alarm = Alarm(code=AlarmCode.DEAD_LETTERS, detail="3 messages")
    assert of(fleet, state(alarms=(alarm,)))[1:] == [("ALARM   dead-letters: 3 messages", Tone.ALARM)]
    assert of(fleet, state(alarms=(alarm,), at=timestamp(NOW + dt.timedelta(seconds=9)))) == []
    assert of(fleet, state()) == [("over    dead-letters", Tone.GOOD)]


def test_a_report_names_version_and_reason():
    fleet = Fleet("acme")
    own = Document(version=7, sha256="7" * 64)
    problem = Problem(code="expired", path="$.expires_at", problem="wanted a later time")
    report = Reported(phase=Phase.NONE, running=own, session=1, at=timestamp(NOW))
    refused = Reported(
        phase=Phase.REFUSED,
        desired=Document(version=8, sha256="8" * 64),
        running=own,
        error=problem,
        session=1,
        at=timestamp(NOW),
    )
    lines = [
        line
        for one in (report, report, refused)
        for line in fleet.take(heard(U1.reported, encode_reported(one)))
    ]
    assert [line.text for line in lines] == [
        "policy  none: none was sent; version 7, the unit's own, is in force",
        "policy  refused: version 8, 888888888888: expired at $.expires_at: wanted a later time",
    ]
    assert lines[1].tone is Tone.ALARM


@pytest.mark.parametrize(
    "message",
    [
        heard("", b"x"),
        heard("deskwatch/v1/other/u1/state", b"x"),
        heard("deskwatch/v1/acme/u1/state", b""),
        heard("deskwatch/v1/acme/u1", b"x"),
        heard("deskwatch/v1/acme//state", b"x"),
    ],
)
def test_what_is_none_of_its_business_is_not_told(message):
    assert Fleet("acme").take(message) == []


def test_what_cannot_be_read_is_told_without_steering_the_terminal():
    (line,) = Fleet("acme").take(heard(U1.event, b'{"type": "\x1b[2J"}'))
    assert "\x1b[2J" not in line_of(line, NOW, colour=False)
    assert line.tone is Tone.NOTICE
    good = line_of(Fleet("acme").take(opened(1))[0], NOW + dt.timedelta(hours=3), colour=True)
    assert good.startswith("\033[33m")
    assert "opened  phone            cell phone 0.71  (of 2026-" in good


def watch(broker, *options, **more):
    at = f"127.0.0.1:{broker.port}"
    command = [DESKWATCH, "operator", "watch", "--broker", at, "--no-tls", "--tenant", "acme", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)


def test_a_program_reads_along_and_the_watch_comes_back_after_the_broker(broker):
    with watch(broker, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        with unit(broker.config("unit-1")) as fake:
            assert json.loads(watching.stdout.readline())["kind"] == "state"
            fake.say(publication(opened(1)))
            line = json.loads(watching.stdout.readline())
            assert (line["unit"], line["kind"], line["message"]["data"]["seq"]) == ("unit-1", "event", 1)
            fake.say(Publication(Topics("acme", "unit-1").event, b"no event", JSON))
            line = json.loads(watching.stdout.readline())
            assert (line["kind"], list(line["message"])) == ("event", ["problem"])
        broker.stop()
        assert "deskwatch: 127.0.0.1" in watching.stderr.readline()
        broker.start()
        until(lambda: "connected again" in watching.stderr.readline(), "the watch to come back", 30)
        with unit(broker.config("unit-1")) as fake:
            fake.say(publication(gap(2, 1, 1)))
            while json.loads(line := watching.stdout.readline())["kind"] != "event":
                pass
        assert json.loads(line)["message"]["data"]["from_seq"] == 1
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
        rest = watching.stderr.read()
        assert "Traceback" not in rest


def test_colour_is_for_terminals(broker):
    ours, theirs = pty.openpty()
    with (
        unit(broker.config("unit-1"), birth=state(alarms=(Alarm(code=AlarmCode.DEAD_LETTERS),))),
        watch(broker, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as watching,
    ):
        os.close(theirs)
        said = b""
        deadline_s = time.monotonic() + 20
        while b"ALARM" not in said and time.monotonic() < deadline_s:
            if select.select([ours], [], [], 0.5)[0]:
                said += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 0
    os.close(ours)
    assert b"\033[32m" in said
    assert b"\033[1;31m" in said


@pytest.mark.parametrize(
    "at", ["2026-99-99T99:99:99.999Z", "0000-00-00T00:00:00.000Z", "0001-01-01T00:00:00.000Z"]
)
def test_a_time_that_no_calendar_has_is_told_as_it_came(at, monkeypatch):
    """Retained by anybody of the tenant, it would else end every watch at its start."""
    monkeypatch.setenv("TZ", "America/Bogota")
    time.tzset()
    try:
        (line,) = Fleet("acme").take(heard(U1.state, encode(state(at=at))))
        assert line_of(line, NOW, colour=False).endswith(f"(of {at})")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("up_s", "said"), [(59.0, "59 s"), (200.0, "3 min"), (5400.0, "1.5 h")])
def test_what_is_not_known_of_its_health_has_no_word(up_s, said):
    bare = msgspec.structs.replace(HEALTH, temperature_c=None, spool_events=None, up_s=up_s)
    ((line,),) = [Fleet("acme").take(heard(U1.health, encode_health(bare)))]
    assert line.text == f"health  clock synchronised, up {said}"


def test_health_is_a_line_with_what_is_wrong_standing_out():
    told = [
        Fleet("acme").take(heard(U1.health, encode_health(msgspec.structs.replace(HEALTH, throttled=bits))))
        for bits in (0x50000, 0x50005)
    ]
    ((well,), (ill,)) = told
    assert (well.kind, well.tone, ill.tone) == ("health", Tone.DIM, Tone.NOTICE)
    assert well.text == "health  54 °C, spool 0, clock synchronised, up 1 min"
    assert ill.text.startswith("health  54 °C, under-voltage, throttled, spool 0, clock synchronised")
    assert U1.health not in filters("acme", "u1")
    assert U1.health in filters("acme", "u1", health=True)
