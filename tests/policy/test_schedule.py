"""Shifts across midnight and clock changes; spot checks that nobody can foretell."""

import datetime as dt
import random
import statistics
import zoneinfo

import pytest

from edge.policy.document import Continuous, ObjectRule, Policy, Shift, Spot
from edge.policy.schedule import Burst, Look, Off, Waiting, next_window, schedule
from edge.requests import LOOK_EVERY_S

UTC = dt.UTC
ALL = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def policy(*shifts: Shift, zone: str = "UTC", watch: Continuous | Spot | None = None) -> Policy:
    return Policy(
        schema="policy/1",
        version=1,
        issued_at=dt.datetime(2026, 1, 1, tzinfo=UTC),
        expires_at=dt.datetime(2027, 1, 1, tzinfo=UTC),
        timezone=zone,
        shifts=shifts,
        watch=watch or Continuous(),
        rules=(ObjectRule(id="phone", labels=("cell phone",), hold_s=7),),
    )


def on_shift(document: Policy, at: dt.datetime) -> bool:
    _, look = schedule(None, document, at, 0.0, 0.5, undecided=False)
    assert look.off in {None, Off.OFF_SHIFT}
    return look.off is None


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_shift_holds_its_start_and_not_its_end():
    day = policy(Shift(days=("wed",), start="08:00", end="17:00"))
    at = utc("2026-11-25T08:00")  # a Wednesday
    assert not on_shift(day, at - dt.timedelta(microseconds=1))
    assert on_shift(day, at)
    assert on_shift(day, utc("2026-11-25T16:59:59"))
    assert not on_shift(day, utc("2026-11-25T17:00"))
    assert not on_shift(day, utc("2026-11-26T09:00"))


def test_the_day_is_the_worker_s_not_utc_s():
    bogota = policy(Shift(days=("mon",), start="18:00", end="23:00"), zone="America/Bogota")
    assert on_shift(bogota, utc("2026-11-24T03:30"))  # Monday 22:30 there, Tuesday in UTC
    assert not on_shift(bogota, utc("2026-11-23T22:30"))


def test_a_night_shift_belongs_to_the_day_it_starts_on():
    night = policy(Shift(days=("fri",), start="22:00", end="06:00"))
    assert on_shift(night, utc("2026-11-27T23:00"))
    assert on_shift(night, utc("2026-11-28T05:59"))  # Saturday morning
    assert not on_shift(night, utc("2026-11-27T05:00"))  # Friday morning
    assert not on_shift(night, utc("2026-11-28T06:00"))


def test_a_whole_day_has_no_hole_at_midnight():
    whole = policy(Shift(days=ALL, start="00:00", end="24:00"))
    at = utc("2026-11-24T23:59")
    assert all(on_shift(whole, at + dt.timedelta(seconds=30 * n)) for n in range(6))


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)],
)
def test_a_whole_day_is_as_long_as_its_clock_change_makes_it(day, hours):
    berlin = policy(Shift(days=ALL, start="00:00", end="24:00"), zone="Europe/Berlin")
    noon = dt.datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    window = next_window(berlin, noon.astimezone(UTC))
    assert window is not None
    assert window.end_at - window.start_at == dt.timedelta(hours=hours)


def test_a_shift_keeps_its_wall_time_across_a_clock_change():
    berlin = policy(Shift(days=ALL, start="08:00", end="16:00"), zone="Europe/Berlin")
    for day, start in [("2026-03-28", "07:00"), ("2026-03-29", "06:00"), ("2026-10-25", "07:00")]:
        assert on_shift(berlin, utc(f"{day}T{start}"))
        assert not on_shift(berlin, utc(f"{day}T{start}") - dt.timedelta(minutes=1))


def test_a_shift_in_the_hour_that_spring_skips_begins_an_hour_later_by_the_clock():
    berlin = policy(Shift(days=("sun",), start="02:30", end="10:00"), zone="Europe/Berlin")
    window = next_window(berlin, utc("2026-03-29T00:00"))
    assert window is not None
    assert window.start_at == utc("2026-03-29T01:30")  # 03:30 in Berlin
    assert window.end_at == utc("2026-03-29T08:00")


def test_a_shift_that_starts_in_the_repeated_hour_starts_once_at_the_first():
    berlin = policy(Shift(days=("sun",), start="02:30", end="10:00"), zone="Europe/Berlin")
    window = next_window(berlin, utc("2026-10-24T22:00"))
    assert window is not None
    assert window.start_at == utc("2026-10-25T00:30")
    assert on_shift(berlin, utc("2026-10-25T01:15"))  # the second 02:15: no break in the shift


def test_off_shift_the_wait_ends_at_the_next_start():
    day = policy(Shift(days=("wed",), start="08:00", end="17:00"))
    _, look = schedule(None, day, utc("2026-11-25T07:59:40"), 0.0, 0.5, undecided=False)
    assert look.until_at == utc("2026-11-25T08:00")
    # And never later than a minute: the wall clock may step.
    _, look = schedule(None, day, utc("2026-11-24T00:00"), 0.0, 0.5, undecided=False)
    assert look.until_at == utc("2026-11-24T00:01")


def test_on_shift_the_look_says_when_the_shift_ends():
    day = policy(Shift(days=("wed",), start="08:00", end="17:00"))
    _, look = schedule(None, day, utc("2026-11-25T12:00"), 0.0, 0.5, undecided=False)
    assert look.until_at == utc("2026-11-25T17:00")


def test_a_policy_that_is_not_valid_yet_keeps_the_camera_closed():
    whole = policy(Shift(days=ALL, start="00:00", end="24:00"))
    before = whole.issued_at - dt.timedelta(seconds=10)
    _, look = schedule(None, whole, before, 0.0, 0.5, undecided=False)
    assert look.off is Off.POLICY_NOT_YET
    assert look.until_at == whole.issued_at


def test_an_expired_policy_closes_the_camera():
    whole = policy(Shift(days=ALL, start="00:00", end="24:00"))
    _, look = schedule(None, whole, whole.expires_at, 0.0, 0.5, undecided=False)
    assert look.off is Off.POLICY_EXPIRED


def run_spot(document: Policy, hours: float, *, undecided: bool = False, seed: int = 7, step_s: float = 1.0):
    """Step through a shift; return the lengths of the looks and of the gaps between them."""
    rng, state, now_s = random.Random(seed), None, 0.0
    at = utc("2026-11-24T00:00")
    runs: list[tuple[bool, float]] = []
    while now_s < hours * 3600:
        state, look = schedule(
            state, document, at + dt.timedelta(seconds=now_s), now_s, rng.random(), undecided=undecided
        )
        on = look.off is None
        assert on or look.off is Off.BETWEEN_CHECKS
        if runs and runs[-1][0] == on:
            runs[-1] = (on, runs[-1][1] + step_s)
        else:
            runs.append((on, step_s))
        now_s += step_s
    whole = runs[1:-1]
    return [length for on, length in whole if on], [length for on, length in whole if not on]


SPOT = Spot(mean_interval_s=300, burst_s=20)
WHOLE = Shift(days=ALL, start="00:00", end="24:00")


def test_spot_checks_come_as_a_poisson_process():
    looks, gaps = run_spot(policy(WHOLE, watch=SPOT), hours=200, step_s=5.0)
    assert set(looks) == {20}
    assert len(gaps) > 2000
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(300, rel=0.08)
    # Of an exponential law: deviation = mean, and a share of 1 - 1/e below the mean.
    assert statistics.pstdev(gaps) == pytest.approx(mean, rel=0.1)
    below = sum(gap < mean for gap in gaps) / len(gaps)
    assert below == pytest.approx(0.632, abs=0.04)


def test_a_check_goes_on_to_a_verdict_but_not_for_ever():
    looks, _ = run_spot(policy(WHOLE, watch=SPOT), hours=5, undecided=True)
    # As long as anything may take to be decided: here, to be lost from sight.
    assert set(looks) == {20 + 30}


def test_the_end_of_the_shift_ends_a_spot_check():
    short = policy(Shift(days=("tue",), start="00:00", end="01:00"), watch=SPOT)
    state, look = schedule(None, short, utc("2026-11-24T00:59:00"), 0.0, 0.0, undecided=False)
    state, look = schedule(state, short, utc("2026-11-24T00:59:50"), 50.0, 0.5, undecided=False)
    assert look.off is None
    state, look = schedule(state, short, utc("2026-11-24T01:00:00"), 60.0, 0.5, undecided=True)
    assert look.off is Off.OFF_SHIFT
    assert state is None


@pytest.mark.parametrize("watch", [Continuous(), SPOT])
def test_on_a_break_nothing_is_watched_whatever_the_policy_says(watch):
    whole = policy(WHOLE, watch=watch)
    at = utc("2026-11-24T12:00")
    state, look = schedule(
        Burst(20.0, 50.0), whole, at, 10.0, 0.5, undecided=True, break_left_s=15.0, asked=True
    )
    assert (state, look) == (None, Look(Off.BREAK, at + dt.timedelta(seconds=15)))
    # A long one is asked about again: the policy may change meanwhile.
    _, look = schedule(None, whole, at, 10.0, 0.5, undecided=False, break_left_s=1800.0)
    assert look.until_at == at + dt.timedelta(seconds=60)


def test_the_wait_after_a_break_is_drawn_anew():
    whole, at = policy(WHOLE, watch=SPOT), utc("2026-11-24T12:00")
    state, _ = schedule(Waiting(1000.0), whole, at, 900.0, 0.5, undecided=False, break_left_s=600.0)
    state, _ = schedule(state, whole, at, 1500.0, 0.5, undecided=False)
    assert state.until_s == pytest.approx(1500.0 + 300 * 0.6931, abs=0.1)


@pytest.mark.parametrize("state", [None, Waiting(5000.0), Burst(10.0, 40.0)])
def test_a_check_that_is_asked_for_begins_at_once(state):
    whole, at = policy(WHOLE, watch=SPOT), utc("2026-11-24T12:00")
    state, look = schedule(state, whole, at, 100.0, 0.5, undecided=False, asked=True)
    assert look.off is None
    assert state == Burst(110.0, 140.0)
    # It goes on as the check that it is, and the one under way is not made longer.
    assert schedule(state, whole, at, 105.0, 0.5, undecided=False, asked=True)[0] is state
    state, look = schedule(state, whole, at, 110.0, 0.5, undecided=False)
    assert look.off is Off.BETWEEN_CHECKS


def test_whoever_asks_as_often_as_they_may_gets_no_continuous_watch():
    """Nor out of long checks: whoever may send commands has no key to sign a policy of all the time."""
    rare = policy(WHOLE, watch=Spot(mean_interval_s=28_800.0, burst_s=600.0))
    state, at, open_s = None, utc("2026-11-24T12:00"), 0
    for now_s in range(3600):
        asked = now_s % int(LOOK_EVERY_S) == 0
        state, look = schedule(state, rare, at, float(now_s), 0.99, undecided=False, asked=asked)
        open_s += look.off is None
    assert 0 < open_s <= 3600 / 3


def test_nobody_can_ask_for_a_check_outside_the_shift():
    night = policy(Shift(days=ALL, start="22:00", end="23:00"), watch=SPOT)
    _, look = schedule(None, night, utc("2026-11-24T12:00"), 0.0, 0.5, undecided=False, asked=True)
    assert look.off is Off.OFF_SHIFT
