"""Breaks as steps: they last by the monotonic clock, outlast a restart, and count for nothing."""

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.breaks import BreakBy, Now, end, restore, settle, start, take_off
from edge.policy.document import ObjectRule
from edge.policy.judge import Clear, Closed, Holding, Open, interrupt, judge, pause
from edge.policy.judge import Ended as Reason
from edge.vision.types import Box, Sight, Track

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
PHONE = ObjectRule(id="phone", labels=("cell phone",), hold_s=2, release_s=3)


def at(s, *, wall_s=None, synchronised=True):
    return Now(NOON + dt.timedelta(seconds=s if wall_s is None else wall_s), s, synchronised)


def begun(s=100.0, max_s=1800.0, **more):
    on, change = start(None, "id-1", "lunch", BreakBy.COMMAND, max_s, at(s, **more))
    assert change is not None
    assert change.on is on
    return on


def test_a_second_start_changes_nothing():
    on = begun()
    again, change = start(on, "id-2", "more lunch", BreakBy.BUTTON, 28_800.0, at(500.0))
    assert again is on
    assert change is None


def test_the_wall_clock_neither_lengthens_nor_ends_a_break():
    on = begun()
    a_year = 365 * 86400.0
    for wall_s in (-a_year, a_year):
        now = at(200.0, wall_s=wall_s)
        assert settle(on, now) is on
        assert on.ends_s == 1900.0
        # What is told is told on the clock as it is set now.
        assert on.ends_at(now) - now.at == dt.timedelta(seconds=1700)
    assert end(on, "id-2", BreakBy.TIME, at(1900.0, wall_s=a_year)).end.lasted_s == 1800.0


def test_a_restart_of_the_program_alone_takes_nothing_off_and_adds_nothing():
    on = begun()
    assert restore(on, at(900.0, synchronised=False), same_boot=True) is on


@pytest.mark.parametrize(("away_s", "left_s"), [(60, 1740), (1799, 1), (1800, 0), (9000, -7200)])
def test_after_a_power_cut_the_wall_clock_tells_what_is_left(away_s, left_s):
    back = Now(NOON + dt.timedelta(seconds=100 + away_s), 12.0, synchronised=True)
    on = restore(begun(), back, same_boot=False)
    assert on.ends_s - 12.0 == left_s
    # A break that ended while the power was out lasted as long as it could, and no longer.
    assert end(on, "id-2", BreakBy.TIME, back).end.lasted_s == min(away_s, 1800)


def test_after_a_power_cut_it_counts_from_the_start_until_the_time_is_known():
    unknown = Now(dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 5.0, synchronised=False)
    on = restore(begun(), unknown, same_boot=False)
    assert on.ends_s == 1805.0
    assert settle(on, dataclasses.replace(unknown, s=30.0)) is on
    known = Now(NOON + dt.timedelta(seconds=100 + 600), 40.0, synchronised=True)
    on = settle(on, known)
    assert on.ends_s - 40.0 == 1200.0
    # Told once: a clock that is set again changes nothing any more.
    assert settle(on, dataclasses.replace(known, at=NOON + dt.timedelta(days=9))) is on


def test_a_break_that_began_at_no_known_time_counts_from_the_restart():
    on = restore(
        begun(synchronised=False), Now(NOON + dt.timedelta(days=3), 7.0, synchronised=True), same_boot=False
    )
    assert on.ends_s == 1807.0
    assert on.settled


@given(
    st.floats(-1e9, 1e9),
    st.floats(0.0, 1e5),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_clocks_say_a_restart_leaves_at_most_a_whole_break(wall_s, s, synchronised, same_boot):
    now = Now(NOON + dt.timedelta(seconds=wall_s), s, synchronised)
    on = restore(begun(s=0.0), now, same_boot=same_boot)
    assert on.ends_s - s <= 1800.0 + 1e-6
    assert 0.0 <= end(on, "id-2", BreakBy.TIME, now).end.lasted_s <= 1800.0 + 1e-6


def phone_at(state, now_s, *, seen=True):
    track = Track(1, "cell phone", 0.9, Box(0.1, 0.1, 0.3, 0.3), 0.0, now_s, seen=True)
    return judge(state, (PHONE,), Sight((track,) if seen else (), frozenset()), None, now_s)


def opened():
    state, now_s = {}, 0.0
    for now_s in (0.0, 1.0, 2.0, 3.0, 4.0):
        state, _ = phone_at(state, now_s)
    assert isinstance(state["phone"], Open)
    return state


def test_a_break_is_not_part_of_what_was_open_before_it():
    state = take_off(pause(opened()), 1000.0)
    state, found = phone_at(state, 1005.0)
    assert found.verdicts == ()
    _, (closed,) = interrupt(state, (PHONE,), Reason.STOPPED)
    assert closed.duration_s == 5.0


def test_what_went_away_during_the_break_ends_where_the_break_began():
    state, closed = take_off(pause(opened()), 1000.0), None
    for now_s in (1004.5, 1005.5, 1006.5, 1007.5):
        state, found = phone_at(state, now_s, seen=False)
        closed = found.verdicts[0] if found.verdicts else closed
    assert closed == Closed(PHONE, 4.0, Reason.ENDED)


def test_a_hold_does_not_go_on_over_a_break():
    state, _ = phone_at({}, 0.0)
    assert isinstance(state["phone"], Holding)
    state, found = phone_at(take_off(pause(state), 100.0), 101.9)
    assert found.verdicts == ()
    assert state["phone"].since_s == 101.9


def test_the_silence_after_an_infraction_is_not_made_longer():
    assert take_off({"phone": Clear(50.0)}, 100.0) == {"phone": Clear(50.0)}
