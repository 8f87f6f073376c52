"""Whoever is at the broker does not set the pace at which the worker's log fills, and so forgets."""

import time

import pytest

from edge.clock import SystemClock
from edge.uplink.allowance import Allowance, KeptAllowance
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.commands import AT_ONCE, EVERY_S
from edge.uplink.twin import TRIALS_AT_ONCE, TRIALS_EVERY_S
from edge.uplink.twin_messages import Document, Phase, Reported, decode_reported
from edge.uplink.wire import timestamp
from tests.broker import collect, rest, subscribed
from tests.uplink.conftest import NOW, TOPICS, quick_uplink
from tests.uplink.policies import Unit, document
from tests.uplink.test_commands import Rig


def spent(allowance):
    """How many are to be had."""
    return sum(allowance.spend() for _ in range(1000))


def test_a_burst_and_then_one_at_a_time():
    now_s = [100.0]
    allowance = Allowance(5, 30.0, lambda: now_s[0])
    assert spent(allowance) == 5
    now_s[0] += 29.0
    assert spent(allowance) == 0
    now_s[0] += 31.0
    assert spent(allowance) == 2
    now_s[0] += 1e6
    assert spent(allowance) == 5


def test_a_restart_fills_none_up_but_another_boot_does(spool):
    now_s = [100.0]

    def again(boot_id="boot-1"):
        return Allowance(5, 30.0, lambda: now_s[0], KeptAllowance(spool, "commands", boot_id))

    assert spent(again()) == 5
    assert spent(again()) == 0
    now_s[0] += 60.0
    assert spent(again()) == 2
    now_s[0] = 3.0
    assert spent(again("boot-2")) == 5
    assert spent(Allowance(5, 30.0, lambda: now_s[0], KeptAllowance(spool, "others", "boot-2"))) == 5


@pytest.mark.parametrize(
    "text", ["", "boot-1", "boot-1 x y", "boot-1 1 2 3", "boot-1 nan nan", "boot-1 inf inf"]
)
def test_a_note_that_is_none_lets_nobody_have_more_than_a_burst(spool, text):
    spool.note("allowance-commands", text)
    assert spent(Allowance(5, 30.0, lambda: 100.0, KeptAllowance(spool, "commands", "boot-1"))) <= 5


def test_what_is_refused_is_answered_a_while_and_then_only_counted():
    rig = Rig()
    for number in range(1000):
        rig.send("no-such-command", id=f"n{number}")
    assert len(rig.replies) == AT_ONCE
    assert rig.inbox.refusals["unknown"] == 1000
    assert rig.send("identify", id="real").error is None
    rig.clock.sleep(EVERY_S)
    assert rig.refused("no-such-command", id="later").code == "unknown"


def test_breaks_without_end_are_done_each_and_told_of_a_while():
    notes = []
    rig = Rig()
    rig.commands._note = lambda name, payload: notes.append((name, payload))
    for number in range(1000):
        rig.send("break", id=f"b{number}", reason="x")
    assert len(rig.unit.done) == 1000
    assert len(rig.replies) == len(notes) == 2 * AT_ONCE


def test_a_command_is_noted_without_what_its_sender_padded_it_with():
    notes = []
    rig = Rig()
    rig.commands._note = lambda name, payload: notes.append(payload)
    text = f'{{"id": "a",{" " * 3000}"expires_at": "{rig.at(60)}", "reason": "lunch"}}'
    assert rig.send("break", text.encode()).error is None
    assert len(notes[0]) < 200
    assert "lunch" in notes[0]


def test_policies_without_end_take_force_a_while(tmp_path):
    unit = Unit(tmp_path)
    for version in range(2, 2 + TRIALS_AT_ONCE):
        assert unit.offer(document(version)) is None
    more = document(500)
    assert unit.offer(more) == "too-many"
    assert unit.last.error.code == "too-many"
    assert unit.version == 1 + TRIALS_AT_ONCE
    unit.prove()
    assert unit.last.phase == "confirmed"
    unit.clock.sleep(TRIALS_EVERY_S)
    assert unit.offer(more) is None
    assert unit.version == 500


def reported(version):
    return Reported(
        phase=Phase.REFUSED,
        desired=Document(version=version, sha256="0" * 64),
        running=Document(version=1, sha256="1" * 64),
        session=1,
        at=timestamp(NOW),
    )


def test_of_reports_that_come_too_fast_the_newest_is_told_in_time(mosquitto, spool):
    mosquitto.start()
    config = BrokerConfig("127.0.0.1", mosquitto.port, "unit-1")
    allowance = Allowance(3, 2.0, time.monotonic)

    def versions(got):
        return [decode_reported(m.payload).desired.version for m in got if m.topic == TOPICS.reported]

    with subscribed(mosquitto) as listener:
        with quick_uplink(spool, config, clock=SystemClock(), reports=allowance) as uplink:
            got = collect(listener, lambda got: len(got) > 0, 20)
            for version in range(1, 41):
                uplink.report(reported(version))
                time.sleep(0.05)
            got += collect(listener, lambda got: 40 in versions(got), 20)
        got += rest(listener)
    told = versions(got)
    assert told[-1] == 40
    assert len(told) <= 6
    assert told == sorted(told)
