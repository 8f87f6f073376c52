"""When the unit looks: shifts on the worker's clock, and random spot checks within them. Pure steps."""

import datetime as dt
import enum
import math
from dataclasses import dataclass

from edge.policy.document import DAYS, Policy, Shift, Spot
from edge.policy.judge import LOST_SIGHT_S

ENDS_SOON_S = 30.0
"""The light announces the end of a break so long before."""
RECHECK_S = 60.0
"""Longest sleep while off: wall clocks step, and the shift follows the wall clock."""

ASKED_BURST_S = 10.0
"""A check that somebody asks for lasts no longer, whatever the policy says of checks: else whoever asks every
30 s would have a continuous watch, without a policy that says so."""


class Off(enum.StrEnum):
    """Why the camera is closed."""

    NOTICE = "notice-not-accepted"
    LED = "led-failed"
    REPAIR = "repair"
    SAFE = "safe-mode"
    OFF_SHIFT = "off-shift"
    BETWEEN_CHECKS = "between-checks"
    BREAK = "break"
    POLICY_EXPIRED = "policy-expired"
    POLICY_NOT_YET = "policy-not-yet-valid"


@dataclass(frozen=True, slots=True)
class Window:
    """One shift of one day, in UTC: watched from `start_at` up to, not including, `end_at`."""

    start_at: dt.datetime
    end_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Burst:
    """A spot check under way. Monotonic seconds."""

    until_s: float
    limit_s: float
    """It goes on past `until_s` while a rule is undecided, to a verdict, but never past this."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Between spot checks. Monotonic seconds."""

    until_s: float


ScheduleState = Burst | Waiting | None
"""None: off shift, or watching continuously."""


@dataclass(frozen=True, slots=True)
class Look:
    """Whether to watch now, and if not, why."""

    off: Off | None
    until_at: dt.datetime
    """Watching: no frame from this instant on. Off: ask again then."""


def schedule(
    state: ScheduleState,
    policy: Policy,
    now_at: dt.datetime,
    now_s: float,
    chance: float,
    *,
    undecided: bool,
    break_left_s: float | None = None,
    asked: bool = False,
) -> tuple[ScheduleState, Look]:
    """Return the new state and whether to look now.

    `chance` is uniform in [0, 1) and fresh at each call; `undecided` says that a rule waits for its verdict;
    `break_left_s` is how long the worker's break goes on; `asked` begins a spot check now. Neither a break
    nor a check that is asked for tells when the next comes: the wait is drawn anew, and it has no memory.
    """
    if break_left_s is not None:
        until_s = break_left_s - ENDS_SOON_S if break_left_s > ENDS_SOON_S else break_left_s
        return None, _off(Off.BREAK, now_at, until_s)
    if now_at >= policy.expires_at:
        return None, _off(Off.POLICY_EXPIRED, now_at, RECHECK_S)
    if now_at < policy.issued_at:
        return None, _off(Off.POLICY_NOT_YET, now_at, (policy.issued_at - now_at).total_seconds())
    window = next_window(policy, now_at)
    if window is None or now_at < window.start_at:
        wait_s = RECHECK_S if window is None else (window.start_at - now_at).total_seconds()
        return None, _off(Off.OFF_SHIFT, now_at, wait_s)
    end_at = min(window.end_at, policy.expires_at)
    if not isinstance(policy.watch, Spot):
        return None, Look(None, end_at)
    now = now_at, now_s, end_at
    return _spot(state, policy, policy.watch, now, chance, undecided=undecided, asked=asked)


def _spot(
    state: ScheduleState,
    policy: Policy,
    watch: Spot,
    now: tuple[dt.datetime, float, dt.datetime],
    chance: float,
    *,
    undecided: bool,
    asked: bool,
) -> tuple[ScheduleState, Look]:
    """Alternate waits of exponential length with bursts: memoryless, so no check foretells the next."""
    now_at, now_s, end_at = now
    match state:
        case Burst(until_s, limit_s) if now_s < until_s or (undecided and now_s < limit_s):
            return state, Look(None, end_at)
        case Waiting(until_s) if now_s < until_s and not asked:
            return state, _between(now_at, until_s - now_s, end_at)
        case _ if asked or isinstance(state, Waiting):
            longest_s = max(LOST_SIGHT_S, *(max(rule.hold_s, rule.release_s) for rule in policy.rules))
            burst_s = min(watch.burst_s, ASKED_BURST_S) if asked else watch.burst_s
            burst = Burst(now_s + burst_s, now_s + burst_s + longest_s)
            return burst, Look(None, end_at)
        case _:  # off before, or a check that is over
            wait_s = -watch.mean_interval_s * math.log1p(-chance)
            return Waiting(now_s + wait_s), _between(now_at, wait_s, end_at)


def _between(now_at: dt.datetime, wait_s: float, end_at: dt.datetime) -> Look:
    """Return that it is off until the next check, or until the shift ends: an aim may look until then."""
    look = _off(Off.BETWEEN_CHECKS, now_at, wait_s)
    return Look(look.off, min(look.until_at, end_at))


def _off(why: Off, now_at: dt.datetime, wait_s: float) -> Look:
    return Look(why, now_at + dt.timedelta(seconds=min(wait_s, RECHECK_S)))


def next_window(policy: Policy, now_at: dt.datetime) -> Window | None:
    """Return the shift that `now_at` is in, or else the next one; None where none starts within 8 days."""
    today = now_at.astimezone(policy.zone).date()
    for offset in range(-1, 9):
        day = today + dt.timedelta(days=offset)
        windows = (
            _window(policy, shift, day) for shift in policy.shifts if DAYS[day.weekday()] in shift.days
        )
        ahead = [window for window in windows if window.end_at > now_at]
        if ahead:
            return min(ahead, key=lambda window: window.start_at)
    return None


def _window(policy: Policy, shift: Shift, day: dt.date) -> Window:
    end_day = day if shift.end > shift.start else day + dt.timedelta(days=1)
    return Window(_instant(policy, day, shift.start), _instant(policy, end_day, shift.end))


def _instant(policy: Policy, day: dt.date, clock: str) -> dt.datetime:
    """Return the UTC instant at which the zone's clocks first show `clock` on `day`.

    A time that a spring change skips is as far after the change as it is after the skipped hour's start
    (PEP 495, fold 0); of a time that an autumn change repeats, the first.
    """
    if clock == "24:00":
        day, clock = day + dt.timedelta(days=1), "00:00"
    local = dt.datetime.combine(day, dt.time.fromisoformat(clock), tzinfo=policy.zone)
    return local.astimezone(dt.UTC)
