"""Answers to commands on their way: a flood of questions, a unit that stops, answers that no broker takes."""

import contextlib
import datetime as dt
import json
import threading

import pytest

from edge.breaks import Breaks
from edge.clock import SystemClock
from edge.device.indicator import StandinIndicator
from edge.examination import AT_ONCE, Examination
from edge.orders import Orders
from edge.requests import Requests
from edge.uplink.allowance import Allowance
from edge.uplink.command_messages import DiagnoseResult, Reply, decode_reply
from edge.uplink.commands import Commands
from edge.uplink.inbox import Inbox
from edge.uplink.messages import decode_state
from edge.uplink.outbox import MAX_REPLIES
from edge.uplink.signals import Publication
from edge.uplink.wire import timestamp
from tests.broker import collect, subscribed, until
from tests.uplink.conftest import NOW, TOPICS, quick_uplink

pytestmark = pytest.mark.timeout(300)
FLOOD = 50


class Unit:
    """A unit whose diagnosis lasts until `go`."""

    def __init__(self, spool, *, at_once=AT_ONCE):
        clock, self.go, self.examined, self.at_work, self.most = SystemClock(), threading.Event(), 0, 0, 0
        requests = Requests(Breaks(clock, lambda: 1800.0, lambda *_: None), clock)
        allowance = Allowance(at_once, 300.0, clock.now_s)
        self.examination = Examination(lambda: {"a.b": 1.0}, self._examine, allowance)
        orders = Orders(requests, self.examination, StandinIndicator(), None)
        commands = Commands(orders, self.reply, spool.remember, clock, lambda: True)
        self.inbox = Inbox({TOPICS.command("+"): commands.take})

    def _examine(self, _facts):
        self.examined += 1
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        assert self.go.wait(120)
        self.at_work -= 1
        return ()

    def reply(self, name, reply):
        self.uplink.reply(name, reply)


@contextlib.contextmanager
def running(spool, broker, **more):
    unit = Unit(spool, **more)
    try:
        with quick_uplink(spool, broker.config("unit-1"), inbox=unit.inbox) as unit.uplink:
            yield unit
        unit.at_work_at_the_end = unit.at_work
    finally:
        unit.go.set()


def ready(listener):
    """Wait for a birth: the unit subscribed before it."""
    states = lambda got: [decode_state(one.payload) for one in got if one.topic == TOPICS.state]  # noqa: E731
    collect(listener, lambda got: any(state.online for state in states(got)))


def ask(listener, command_id):
    expires_at = timestamp(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=600))
    payload = json.dumps({"id": command_id, "expires_at": expires_at}).encode()
    listener.publish(Publication(TOPICS.command("diagnose"), payload, "application/json"))


def replies(listener, count):
    def of(messages):
        return [decode_reply(message.payload) for message in messages if "/reply/" in message.topic]

    return of(collect(listener, lambda messages: len(of(messages)) >= count))


def test_of_fifty_that_ask_at_once_one_is_served_and_all_are_answered(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto) as backend, running(spool, mosquitto) as unit:
        ready(backend)
        for number in range(FLOOD):
            ask(backend, f"c-{number}")
        came = replies(backend, FLOOD - 1)
        assert {reply.error.code for reply in came} == {"busy"}
        assert unit.examined == 1
        unit.go.set()
        (served,) = replies(backend, 1)
        assert {reply.id for reply in (*came, served)} == {f"c-{number}" for number in range(FLOOD)}
        assert served.result == DiagnoseResult(facts={"a.b": 1.0})
        status = unit.uplink.status()
        assert (unit.most, status.connections, status.replies_dropped) == (1, 1, 0)


def test_more_diagnoses_than_may_be_are_busy_as_well(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto) as backend, running(spool, mosquitto, at_once=1) as unit:
        unit.go.set()
        ready(backend)
        ask(backend, "c-1")
        assert [reply.error for reply in replies(backend, 1)] == [None]
        unit.examination._thread.join(30)
        ask(backend, "c-2")
        assert [reply.error.code for reply in replies(backend, 1)] == ["busy"]


def test_a_unit_that_stops_does_not_wait_for_a_diagnosis(mosquitto, spool):
    """Nor does one that starts over, which stops first."""
    mosquitto.start()
    with subscribed(mosquitto) as backend:
        with running(spool, mosquitto) as unit:
            ready(backend)
            ask(backend, "c-1")
            until(lambda: unit.at_work, "the diagnosis to begin")
        assert unit.at_work_at_the_end == 1
        unit.examination._thread.join(30)
        assert (unit.at_work, unit.examination._thread.is_alive()) == (0, False)
        with running(spool, mosquitto) as again:
            again.go.set()
            ready(backend)
            ask(backend, "c-2")
            assert [reply.id for reply in replies(backend, 1)] == ["c-2"]


def answer(command_id, texts):
    """An answer with so many texts of 200 bytes."""
    facts = {f"a.{number}": "x" * 200 for number in range(texts)}
    return Reply(id=command_id, at=timestamp(NOW), result=DiagnoseResult(facts=facts))


@pytest.mark.parametrize(
    ("limit", "protocol", "connections"),
    [("max_packet_size", "5", 1), ("message_size_limit", "5", 1), ("max_packet_size", "3.1.1", 8)],
)
def test_an_answer_that_the_broker_does_not_take_is_dropped_and_counted_and_those_behind_it_go(
    mosquitto, spool, limit, protocol, connections
):
    mosquitto.start(f"{limit} 12000")
    config = mosquitto.config(protocol=protocol)
    with subscribed(mosquitto) as backend, quick_uplink(spool, config) as uplink:
        until(lambda: uplink.status().connected, "a connection")
        for command_id, texts in (("before", 1), ("large", 100), ("behind", 1)):
            uplink.reply("diagnose", answer(command_id, texts))
        until(lambda: uplink.status().replies_dropped == 1, "the large one to be dropped")
        until(lambda: uplink._shared.outbox.next_letter(0) is None, "the others to be acknowledged")
        came = [reply.id for reply in replies(backend, 2)]
        assert list(dict.fromkeys(came)) == ["before", "behind"]
        assert uplink.status().connected
        assert uplink.status().connections <= connections


def test_answers_that_wait_for_a_broker_are_bounded(mosquitto, spool):
    with quick_uplink(spool, mosquitto.config()) as uplink:  # no broker is there
        for number in range(MAX_REPLIES + 30):
            uplink.reply("diagnose", answer(f"c-{number}", 1))
        assert uplink.status().replies_dropped == 30
        mosquitto.start()
        until(lambda: uplink._shared.outbox.next_letter(0) is None, "those that are left to leave")
        assert uplink.status().replies_dropped == 30
