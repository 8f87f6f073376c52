"""The gate's steps: what may open the camera, in which order with the light, and what the light says."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.gate import (
    ASKING,
    LIT,
    START,
    Act,
    Aim,
    Closed,
    Conditions,
    Lit,
    Open,
    Signal,
    forbidden,
    step,
)
from edge.policy.schedule import Off

FREE = Conditions(None, accepted=True)
SCHEDULED = [
    Off.OFF_SHIFT,
    Off.BETWEEN_CHECKS,
    Off.BREAK,
    Off.POLICY_EXPIRED,
    Off.POLICY_NOT_YET,
]

conditions = st.builds(
    Conditions,
    st.sampled_from([None, *SCHEDULED]),
    accepted=st.booleans(),
    led=st.sampled_from([None, "a short"]),
    repair=st.sampled_from([None, "the log was changed"]),
    break_left_s=st.sampled_from([None, 10.0, 30.0, 31.0]),
    safe=st.booleans(),
    fault=st.booleans(),
    aim=st.sampled_from(Aim),
)


def allowed(now):
    if now.aim is Aim.GRANTED and now.scheduled is Off.BETWEEN_CHECKS:
        now = dataclasses.replace(now, scheduled=None)
    return now == dataclasses.replace(FREE, break_left_s=now.break_left_s, aim=now.aim)


@given(st.lists(conditions, max_size=60))
def test_whatever_comes_the_camera_opens_under_a_light_and_closes_before_it_goes_out(seen):
    state, light, camera_open = START, Signal.OFF, False
    for now in seen:
        state, actions = step(state, now)
        for action in actions:
            if action is Act.OPEN:
                assert light is Signal.WATCHING
                assert allowed(now)
                camera_open = True
            elif action is Act.CLOSE:
                assert camera_open
                camera_open = False
            elif camera_open:  # it neither goes on late nor off early
                assert {light, action} == LIT
                light = action
            else:
                assert action is not Signal.WATCHING_AIM_ASKS
                light = action
        assert camera_open == isinstance(state, Open)
        assert allowed(now) or not camera_open
        assert (light in LIT) == (not isinstance(state, Closed))
        if light in ASKING:
            assert now.aim is Aim.ASKED


@given(conditions)
def test_it_is_open_two_steps_after_nothing_forbids_it(before):
    state, _ = step(START, before)
    for _ in range(2):
        state, _ = step(state, FREE)
    assert state == Open()
    assert step(state, FREE) == (Open(), ())


@pytest.mark.parametrize(
    ("change", "why", "signal"),
    [
        ({"scheduled": Off.OFF_SHIFT}, Off.OFF_SHIFT, Signal.OFF),
        ({"scheduled": Off.BETWEEN_CHECKS}, Off.BETWEEN_CHECKS, Signal.OFF),
        ({"scheduled": Off.POLICY_EXPIRED}, Off.POLICY_EXPIRED, Signal.OFF),
        ({"scheduled": Off.POLICY_NOT_YET}, Off.POLICY_NOT_YET, Signal.OFF),
        ({"scheduled": Off.BREAK, "break_left_s": 600.0}, Off.BREAK, Signal.BREAK),
        ({"scheduled": Off.BREAK, "break_left_s": 30.0}, Off.BREAK, Signal.BREAK_ENDS),
        ({"accepted": False}, Off.NOTICE, Signal.NOTICE),
        ({"led": "a short"}, Off.LED, Signal.FAULT),
        ({"repair": "the box is open"}, Off.REPAIR, Signal.FAULT),
        ({"safe": True}, Off.SAFE, Signal.FAULT),
        ({"fault": True}, None, Signal.FAULT),
    ],
)
@pytest.mark.parametrize("state", [START, Lit(), Open()])
def test_each_off_has_its_reason_and_its_light(state, change, why, signal):
    after, actions = step(state, dataclasses.replace(FREE, **change))
    assert after == Closed(why)
    assert actions == ((Act.CLOSE, signal) if state == Open() else (signal,))


def test_an_aim_that_was_granted_opens_the_camera_between_checks_and_at_no_other_time():
    for off in SCHEDULED:
        now = dataclasses.replace(FREE, scheduled=off, aim=Aim.GRANTED)
        assert forbidden(now) is (None if off is Off.BETWEEN_CHECKS else off)
        assert forbidden(dataclasses.replace(now, aim=Aim.ASKED)) is off
    between = dataclasses.replace(FREE, scheduled=Off.BETWEEN_CHECKS, aim=Aim.GRANTED)
    for change, why in (
        ({"accepted": False}, Off.NOTICE),
        ({"led": "a short"}, Off.LED),
        ({"repair": "open"}, Off.REPAIR),
        ({"safe": True}, Off.SAFE),
    ):
        assert forbidden(dataclasses.replace(between, **change)) is why


@pytest.mark.parametrize("off", [None, *SCHEDULED])
def test_the_light_asks_for_an_aim_only_where_nothing_else_is_to_be_said(off):
    now = dataclasses.replace(FREE, scheduled=off, aim=Aim.ASKED)
    state, (*_, light) = step(START, now)
    if off is None:
        assert (state, light) == (Lit(), Signal.WATCHING)  # it opens under a steady light
        state, _ = step(state, now)
        assert step(state, now) == (Open(asks=True), (Signal.WATCHING_AIM_ASKS,))
        assert step(Open(asks=True), FREE) == (Open(), (Signal.WATCHING,))
    else:
        assert (light is Signal.AIM_ASKS) is (off is Off.BETWEEN_CHECKS)
    for change in ({"accepted": False}, {"repair": "open"}, {"safe": True}):
        assert step(START, dataclasses.replace(now, **change))[1][-1] not in ASKING


def test_every_reason_there_is_can_come_from_the_gate():
    reasons = {forbidden(dataclasses.replace(FREE, scheduled=off)) for off in SCHEDULED}
    reasons |= {
        forbidden(dataclasses.replace(FREE, **change))
        for change in ({"accepted": False}, {"led": "a short"}, {"repair": "open"}, {"safe": True})
    }
    assert reasons == set(Off)


def test_of_several_reasons_the_worker_reads_the_one_to_act_on():
    everything = Conditions(Off.BREAK, accepted=False, led="a short", repair="open", safe=True)
    assert forbidden(everything) is Off.BREAK
    assert forbidden(dataclasses.replace(everything, scheduled=Off.OFF_SHIFT)) is Off.SAFE
    everything = dataclasses.replace(everything, safe=False)
    assert forbidden(dataclasses.replace(everything, scheduled=Off.OFF_SHIFT)) is Off.REPAIR
    assert forbidden(dataclasses.replace(everything, scheduled=Off.OFF_SHIFT, repair=None)) is Off.NOTICE
    off = dataclasses.replace(everything, scheduled=Off.OFF_SHIFT, repair=None, accepted=True)
    assert forbidden(off) is Off.OFF_SHIFT
    assert forbidden(dataclasses.replace(off, scheduled=None)) is Off.LED
