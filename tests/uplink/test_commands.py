"""Commands: what is refused, and why; what is done, once; and that each is answered."""

import contextlib
import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.breaks import Breaks
from edge.clock import SteppedClock, SystemClock
from edge.requests import Requests
from edge.uplink.command_messages import (
    COMMANDS,
    BreakResult,
    CommandError,
    DiagnoseResult,
    IdentifyResult,
    ReloadResult,
    ResumeResult,
    decode_reply,
    encode_reply,
)
from edge.uplink.commands import AT_ONCE, EVERY_S, MAX_COMMAND_BYTES, Commands, NotDone, read_id
from edge.uplink.inbox import Inbox
from edge.uplink.records import SpoolFull
from edge.uplink.signals import Publication, Received
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import Problem, timestamp
from tests.broker import collect, subscribed
from tests.uplink.conftest import TOPICS as UNIT_TOPICS
from tests.uplink.conftest import quick_uplink

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
TOPICS = Topics("acme", "cam-1")
TIMED = ("break", "resume")


class Unit:
    """A unit that notes what it was asked to do; `look_now` answers when the test does."""

    def __init__(self):
        self.done, self.looks, self.on_break, self.error = [], [], False, None

    def start_break(self, reason):
        self.done.append(("break", reason))
        self.on_break = True
        return BreakResult(ends_at=timestamp(NOON))

    def end_break(self, reason):
        if not self.on_break:
            raise NotDone(CommandError.NOT_ON_BREAK, "no break is on")
        self.done.append(("resume", reason))
        return ResumeResult(lasted_s=5.0)

    def look_now(self, answer):
        self.done.append(("spot-check",))
        self.looks.append(answer)

    def diagnose(self, answer):
        self.done.append(("diagnose",))
        if self.error is not None:
            raise self.error
        answer(DiagnoseResult(facts={"spool.events": 3.0}))

    def identify(self, for_s, answer):
        self.done.append(("identify", for_s))
        answer(IdentifyResult(for_s=for_s))

    def reload(self, answer):
        self.done.append(("reload",))
        answer(ReloadResult())


class Rig:
    """Commands behind a real inbox; `remember` is the spool's, as a set."""

    def __init__(self, remember=None, *, synchronised=True):
        self.clock, self.unit, self.replies = SteppedClock(NOON), Unit(), []
        self.synchronised, self.known = synchronised, {}
        self.commands = Commands(
            self.unit, self.reply, remember or self.remember, self.clock, lambda: self.synchronised
        )
        self.inbox = Inbox({TOPICS.command("+"): self.commands.take}, self.clock.now_s)

    def reply(self, name, reply):
        TOPICS.reply(name)
        self.replies.append((name, decode_reply(encode_reply(reply))))

    def remember(self, command_id, expires_at, now_at):
        new = command_id not in self.known
        self.known[command_id] = expires_at
        return new

    def send(self, name, payload=None, *, retain=False, **fields):
        """Send a command and return the reply to it, if there is one."""
        if payload is None:
            expires_at = timestamp(self.clock.now_at() + dt.timedelta(seconds=60))
            payload = json.dumps({"id": "c-1", "expires_at": expires_at, **fields}).encode()
        before = len(self.replies)
        self.inbox.take(Received(f"{TOPICS.root}/cmd/{name}", 1, retain=retain, payload=payload))
        new = self.replies[before:]
        assert len(new) <= 1
        return new[0][1] if new else None

    def refused(self, name, payload=None, **fields):
        """Send what must be refused; return the problem that was told."""
        done, counted = len(self.unit.done), sum(self.inbox.refusals.values())
        reply = self.send(name, payload, **fields)
        assert len(self.unit.done) == done
        assert sum(self.inbox.refusals.values()) == counted + 1
        if reply is not None:
            assert reply.result is None
            assert self.inbox.refusals[reply.error.code] >= 1
        return reply and reply.error

    def at(self, seconds):
        return timestamp(self.clock.now_at() + dt.timedelta(seconds=seconds))


@pytest.fixture
def rig():
    return Rig()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("resume", "spot-check")])
def test_a_command_is_done_and_answered_with_its_id(rig, name):
    reply = rig.send(name)
    assert [done[0] for done in rig.unit.done] == [name]
    assert (reply.id, reply.error) == ("c-1", None)
    assert reply.result.__class__.__name__.lower() == f"{name}result"
    assert reply.at == timestamp(rig.clock.now_at())
    assert rig.replies[0][0] == name
    assert rig.inbox.refusals == {}


def test_what_a_command_says_reaches_who_does_it(rig):
    rig.send("break", id="a", reason="lunch")
    rig.send("resume", id="b", reason="back")
    rig.send("identify", id="c", for_s=5)
    assert rig.unit.done == [("break", "lunch"), ("resume", "back"), ("identify", 5.0)]


def test_a_look_is_answered_when_it_was_taken(rig):
    assert rig.send("spot-check") is None
    rig.unit.looks[0](Problem(code=CommandError.NO_FRAME, problem="no picture"))
    ((name, reply),) = rig.replies
    assert (name, reply.id, reply.error.code) == ("spot-check", "c-1", "no-frame")


def test_what_cannot_be_done_now_is_answered_and_is_no_refusal(rig):
    assert rig.send("resume").error.code == "not-on-break"
    assert rig.inbox.refusals == {}


def test_a_fault_is_answered_and_counted(rig):
    rig.unit.error = ZeroDivisionError("seven by zero")
    assert rig.send("diagnose").error == Problem(code="failed", problem="ZeroDivisionError: seven by zero")
    assert rig.inbox.refusals == {"fault": 1}


@pytest.mark.parametrize(
    "answer",
    [
        DiagnoseResult(facts={"heat": float("nan")}),
        Problem(code="failed", problem="\udc80"),
        Problem(code="", problem=""),
    ],
)
def test_an_answer_that_cannot_be_written_is_told_as_a_failure(rig, answer):
    """Whoever answers, in whatever thread, hears nothing of it."""
    rig.send("spot-check")
    rig.unit.looks[0](answer)
    ((_, reply),) = rig.replies
    assert (reply.id, reply.result, reply.error.code) == ("c-1", None, "failed")


def test_an_unknown_command_is_refused(rig):
    assert rig.refused("self-destruct").code == "unknown"
    # Where no topic of a reply could be made of it, nothing is said.
    assert rig.refused("Großer Befehl") is None
    assert rig.refused("x" * 60) is None
    assert rig.inbox.refusals == {"unknown": 3}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_retained_command_is_refused(rig, name):
    assert rig.refused(name, retain=True).code == "retained"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": 7}, None),
        ({"id": ""}, None),
        ({"id": "x" * 65}, None),
        ({"id": "a\nb"}, None),
        ({"expires_at": "tomorrow"}, "$.expires_at"),
        ({"expires_at": "2026-02-30T00:00:00.000Z"}, "$.expires_at"),
        ({"expires_at": None}, "$.expires_at"),
        ({"for_s": 61}, "$.for_s"),
        ({"for_s": "long"}, "$.for_s"),
        ({"color": "red"}, "$"),
    ],
)
def test_what_is_not_a_command_is_refused_with_its_path_where_the_id_can_be_read(rig, fields, path):
    problem = rig.refused("identify", **fields)
    assert rig.inbox.refusals == {"invalid": 1}
    assert (problem and problem.path) == path


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"id": "a"',
        b"[" * 3000,
        b'{"id":' * 600,
        b'"' + b"x" * 9000 + b'"',
    ],
)
def test_garbage_is_refused_in_silence(rig, payload):
    assert rig.refused("break", payload) is None
    assert rig.inbox.refusals == {"invalid": 1}


def test_a_command_that_is_too_long_is_not_read_at_all(rig):
    whole = {"id": "c-1", "expires_at": rig.at(60), "reason": ""}
    payload = json.dumps(whole).encode()
    assert rig.refused("break", payload + b" " * (MAX_COMMAND_BYTES + 1 - len(payload))) is None
    assert rig.send("break", payload + b" " * (MAX_COMMAND_BYTES - len(payload))).error is None


@pytest.mark.parametrize(
    ("ahead_s", "code"),
    [(-1e6, "expired"), (0.0, "expired"), (86400.001, "too-far-ahead"), (1e8, "too-far-ahead")],
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_good_for_a_day_at_most_and_not_once_expired(rig, name, ahead_s, code):
    problem = rig.refused(name, expires_at=rig.at(ahead_s))
    assert (problem.code, problem.path) == (code, "$.expires_at")


@pytest.mark.parametrize("ahead_s", [0.001, 86400.0])
def test_the_bounds_of_that_day_are_good(rig, ahead_s):
    assert rig.send("diagnose", expires_at=rig.at(ahead_s)).error is None


def test_a_command_is_done_once(rig):
    assert rig.send("break").error is None
    problem = rig.refused("break")
    assert (problem.code, problem.path) == ("replayed", "$.id")
    # An id is used up for all commands.
    assert rig.refused("diagnose").code == "replayed"


def test_a_command_that_was_refused_leaves_its_id_unused(rig):
    rig.refused("break", retain=True)
    rig.refused("break", expires_at=rig.at(-1))
    assert rig.known == {}
    assert rig.send("break").error is None


@pytest.mark.parametrize("ahead_s", [-3e8, -1.0, 3e8])
def test_a_clock_that_is_wrong_keeps_no_worker_from_a_break_or_in_one(ahead_s):
    rig = Rig(synchronised=False)
    for name in TIMED:
        assert rig.send(name, id=name, expires_at=rig.at(ahead_s)).error is None
        assert rig.refused(name, id=name, expires_at=rig.at(ahead_s)).code == "replayed"
        assert rig.refused(name, id="other", expires_at=rig.at(ahead_s), retain=True).code == "retained"
        # What is remembered is not forgotten before the command could come again.
        assert rig.known[name] >= rig.clock.now_at() + dt.timedelta(days=1)
    assert rig.send("diagnose", id="d", expires_at=rig.at(ahead_s)).error is None  # it says why
    problem = rig.refused("identify", id="i", expires_at=rig.at(ahead_s))
    assert problem.code in ("expired", "too-far-ahead")
    assert "does not know the time" in problem.problem


def test_a_flood_of_commands_costs_the_disk_little_and_keeps_no_worker_from_a_break():
    rig = Rig()
    for number in range(AT_ONCE):
        assert rig.send("identify", id=f"a{number}").error is None
    assert rig.refused("identify", id="b").code == "busy"
    assert rig.refused("resume", id="c").code == "busy"
    assert rig.send("break", id="d").error is None
    assert len(rig.known) == AT_ONCE
    rig.clock.sleep(EVERY_S)
    assert rig.send("identify", id="b").error is None
    assert rig.refused("identify", id="e").code == "busy"


def test_a_disk_that_remembers_nothing_keeps_no_worker_from_a_break_but_from_nothing_else():
    def full(_id, _expires_at, _now_at):
        raise SpoolFull("the disk is full")

    rig = Rig(full)
    assert rig.send("break").error is None
    for name in COMMANDS:
        if name != "break":
            assert rig.refused(name).code == "failed"


names = st.sampled_from([*COMMANDS, "x", "", "spot-check/..", "é", "a" * 300])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {}, optional={"id": values, "expires_at": values, "reason": values, "for_s": values, "more": values}
).map(lambda body: json.dumps(body).encode())


@settings(max_examples=300, deadline=None)
@given(names, st.binary(max_size=600) | bodies, st.booleans())
def test_whatever_comes_nothing_escapes_nothing_is_done_and_it_is_counted(name, payload, retain):
    rig = Rig()
    rig.inbox.take(Received(f"{TOPICS.root}/cmd/{name}", 1, retain=retain, payload=payload))
    assert rig.unit.done == []
    assert sum(rig.inbox.refusals.values()) == 1
    assert "fault" not in rig.inbox.refusals


@given(st.binary(max_size=200) | bodies)
def test_an_id_that_is_read_can_stand_in_a_reply(payload):
    command_id = read_id(payload)
    assert command_id is None or (1 <= len(command_id) <= 64 and command_id.isprintable())


def test_a_command_is_done_once_over_a_restart_too(tmp_path):
    """As a broker that did not get the acknowledgement sends it again."""
    expires_at = timestamp(NOON + dt.timedelta(hours=1))
    with Spool.open(tmp_path / "spool.db") as spool:
        assert Rig(spool.remember).send("resume", expires_at=expires_at).error.code == "not-on-break"
    with Spool.open(tmp_path / "spool.db") as spool:
        assert Rig(spool.remember).refused("resume", expires_at=expires_at).code == "replayed"


class Wired:
    """Commands between a real broker and real breaks; what else a unit does is not wired."""

    def __init__(self, spool):
        clock = SystemClock()
        self.breaks = Breaks(clock, lambda: 1800.0, lambda *_: None)
        commands = Commands(Requests(self.breaks, clock), self.reply, spool.remember, clock, lambda: True)
        self.inbox = Inbox({UNIT_TOPICS.command("+"): commands.take})

    def reply(self, name, reply):
        self.uplink.reply(name, reply)


@contextlib.contextmanager
def wired(spool, broker):
    unit = Wired(spool)
    with quick_uplink(spool, broker.config("unit-1"), inbox=unit.inbox) as unit.uplink:
        yield unit


def ask(listener, name, command_id, *, retain=False, ahead_s=60):
    expires_at = timestamp(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead_s))
    payload = json.dumps({"id": command_id, "expires_at": expires_at}).encode()
    listener.publish(Publication(UNIT_TOPICS.command(name), payload, "application/json", retain=retain))


def replies(listener, count):
    def of(messages):
        return [decode_reply(message.payload) for message in messages if "/reply/" in message.topic]

    return of(collect(listener, lambda messages: len(of(messages)) >= count))


def test_commands_come_through_a_real_broker_also_those_that_waited_and_not_what_was_retained(
    mosquitto, spool
):
    mosquitto.start()
    with subscribed(mosquitto) as backend:
        ask(backend, "break", "old", retain=True)
        with wired(spool, mosquitto) as unit:
            (refused,) = replies(backend, 1)
            assert (refused.id, refused.error.code) == ("old", "retained")
            assert unit.breaks.on is None
            # Taken from the broker again, so that it does not come at the next connection too.
            backend.publish(Publication(UNIT_TOPICS.command("break"), b"", "application/json", retain=True))
            ask(backend, "break", "c-1")
            ask(backend, "resume", "c-2", ahead_s=-60)
            started, late = replies(backend, 2)
            assert (started.id, started.error, late.error.code) == ("c-1", None, "expired")
            assert unit.breaks.on is not None
        ask(backend, "break", "c-1")
        ask(backend, "break", "c-3")
        with wired(spool, mosquitto) as unit:
            answers = {reply.id: reply for reply in replies(backend, 2)}
            assert answers["c-1"].error.code == "replayed"
            assert answers["c-3"].error is None
            assert unit.breaks.on is not None
