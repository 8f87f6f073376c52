"""Lining the camera up, as pure steps: who is asked, for how long, and what ends it."""

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge import aim
from edge.aim import (
    AIM_S,
    ASK_S,
    REST_MAX_S,
    REST_S,
    SEEN_S,
    SILENT_S,
    START,
    Agreed,
    AimRefused,
    Asked,
    End,
    Granted,
    Idle,
    ask,
    end,
    gate,
    grant,
    hear,
    left_s,
    press,
    settle,
    shown,
    wait_s,
)
from edge.policy.gate import Aim
from edge.policy.schedule import Off

T = 100.0


def asked(at_s=T):
    return shown(ask(START, "me", at_s), at_s, asks=True)


def kept(state, to_s):
    """Say a word each second until then."""
    now_s = state.heard_s
    while now_s < to_s:
        now_s = min(now_s + 1.0, to_s)
        state = hear(state, "me", now_s)
    return state


def agreed(at_s=T + 2.0):
    state, answered = press(hear(asked(), "me", at_s), at_s)
    assert answered
    return state


def test_only_a_press_that_the_log_knows_of_grants_it():
    state = asked()
    assert gate(state, T) is Aim.ASKED
    state = hear(state, "me", T + 2.0)
    state, answered = press(state, T + 2.0)
    assert (answered, type(state), gate(state, T + 2.0)) == (True, Agreed, Aim.ASKED)
    state = grant(state, T + 2.1)
    assert (type(state), gate(state, T + 2.1)) == (Granted, Aim.GRANTED)
    assert left_s(state, T + 2.1) == pytest.approx(AIM_S - 0.1)


@pytest.mark.parametrize("state", [START, agreed(), grant(agreed(), T + 2.0), end(asked(), End.DONE, T)])
def test_any_other_press_is_no_answer(state):
    assert press(state, T + 2.5) == (state, False)


def test_a_press_before_the_light_asked_for_long_enough_is_no_answer():
    """It is for a break: whoever pressed cannot have seen what the light asks."""
    assert press(ask(START, "me", T), T + 3.0)[1] is False  # the light never asked
    assert press(asked(), T + SEEN_S - 0.01)[1] is False
    assert press(asked(), T + SEEN_S)[1] is True
    assert press(asked(), T + SEEN_S + 1.0, lasted_s=1.1)[1] is False  # it went down before
    assert press(asked(), T + SEEN_S + 1.0, lasted_s=0.9)[1] is True
    dark = shown(shown(asked(), T + 1.0, asks=False), T + 2.0, asks=True)
    assert press(dark, T + 3.0)[1] is False  # it has to go on asking


def test_a_press_on_an_ask_that_is_over_is_no_answer():
    state = kept(asked(), T + ASK_S - 0.01)
    assert press(state, T + ASK_S - 0.01)[1] is True
    after, answered = press(state, T + ASK_S)
    assert (answered, after.end) == (False, End.NOT_ANSWERED)


def test_it_ends_after_five_minutes_whatever_is_said():
    state = grant(agreed(), T + 2.0)
    state = kept(state, T + 2.0 + AIM_S - 0.5)
    assert gate(state, T + 2.0 + AIM_S - 0.01) is Aim.GRANTED
    assert gate(state, T + 2.0 + AIM_S) is Aim.NONE
    over = hear(state, "me", T + 2.0 + AIM_S)
    assert over.end is End.TIME_UP
    assert grant(over, T + 400.0) is over
    assert hear(over, "me", T + 400.0) is over


@pytest.mark.parametrize("state", [asked(), agreed(T + 1.9), grant(agreed(T + 1.9), T + 1.9)])
def test_it_ends_when_nobody_has_said_a_word_for_five_seconds(state):
    quiet_s = state.heard_s + SILENT_S
    assert wait_s(state, state.heard_s) == SILENT_S
    assert settle(state, quiet_s - 0.01) is state
    assert settle(state, quiet_s).end is End.SILENT
    assert gate(state, quiet_s) is Aim.NONE
    assert settle(hear(state, "somebody else", quiet_s - 1.0), quiet_s).end is End.SILENT


@pytest.mark.parametrize("state", [asked(), agreed(), grant(agreed(), T + 2.0)])
def test_a_second_asker_is_refused(state):
    with pytest.raises(AimRefused, match="one aim at a time"):
        ask(state, "you", T + 2.1)


def test_after_one_that_was_granted_a_new_one_takes_a_new_press():
    over = end(grant(agreed(), T + 2.0), End.DONE, T + 90.0)
    again = ask(over, "me", T + 90.0)
    assert isinstance(again, Asked)
    assert gate(again, T + 90.0) is Aim.ASKED
    assert grant(again, T + 91.0) is again


def test_it_asks_once_a_minute_at_most_and_ever_more_rarely_in_vain():
    state, now_s, asking_s = START, 0.0, 0.0
    starts = []
    while now_s < 4 * 3600.0:  # whoever asks at every moment, and keeps it up
        try:
            state = ask(state, "me", now_s)
        except AimRefused:
            now_s += 1.0
            continue
        starts.append(now_s)
        state = settle(kept(state, now_s + ASK_S), now_s + ASK_S)
        now_s, asking_s = now_s + ASK_S, asking_s + ASK_S
    waits = [later - earlier - ASK_S for earlier, later in itertools.pairwise(starts)]
    assert waits[:4] == [REST_S, 2 * REST_S, 4 * REST_S, 8 * REST_S]
    assert set(waits[4:]) == {REST_MAX_S}
    assert asking_s < 0.1 * now_s
    assert ask(end(agreed(), End.DONE, T + 3.0), "me", T + REST_S)
    with pytest.raises(AimRefused, match="ask again in 1 s"):
        ask(end(agreed(), End.DONE, T + 3.0), "me", T + REST_S - 1.0)


def test_every_reason_of_the_gate_says_what_to_do():
    assert set(aim.WHY_NOT) == set(Off)


steps = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["me", "you"])),
    st.tuples(st.just("hear"), st.sampled_from(["me", "you"])),
    st.tuples(st.sampled_from(["press", "grant", "settle", "lit", "dark", "end"]), st.just("")),
)


waits = st.one_of(st.sampled_from([0.0, 0.5, 1.0, SEEN_S]), st.floats(0.0, 40.0))


@given(st.lists(st.tuples(steps, waits), max_size=80))
@example([(("ask", "me"), 0.0), (("lit", ""), 0.0), (("press", ""), 1.0), (("grant", ""), 0.0)])
def test_whatever_comes_nothing_is_granted_without_a_press_under_a_light_that_asks(done):  # noqa: C901
    state, now_s = START, 0.0
    pressed_s, lit_s = -math.inf, math.inf
    for (what, who), wait in done:
        now_s += wait
        before = state
        match what:
            case "ask":
                try:
                    state = ask(state, who, now_s)
                except AimRefused:
                    continue
                lit_s = math.inf
            case "hear":
                state = hear(state, who, now_s)
            case "press":
                state, answered = press(state, now_s)
                if answered:
                    assert now_s - lit_s >= SEEN_S
                    pressed_s = now_s
            case "grant":
                state = grant(state, now_s)
            case "settle":
                state = settle(state, now_s)
            case "end":
                state = end(state, End.DONE, now_s)
            case _:
                lit = what == "lit"
                state = shown(state, now_s, asks=lit)
                lit_s = min(lit_s, now_s) if lit else math.inf
        if gate(state, now_s) is Aim.GRANTED:
            assert isinstance(state, Granted)
            assert state.agreed_s == pressed_s
            assert now_s < pressed_s + AIM_S
            assert now_s < state.heard_s + SILENT_S
        if isinstance(state, Granted) and not isinstance(before, Granted):
            assert isinstance(before, Agreed)
        assert wait_s(state, now_s) >= 0.0
        assert isinstance(state, Idle) or left_s(state, now_s) <= AIM_S
