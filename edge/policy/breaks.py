"""Breaks: nothing is watched, and the time counts for nothing. Pure steps.

A break lasts by the monotonic clock, so a wall clock that is set neither lengthens nor ends it. Only what was
left of it at a power cut is told by the wall clock, once that is known to be right.

A break neither opens, closes nor lengthens an infraction: what is open stays open, and whatever is measured
in seconds (how long it lasts, how long the workstation is quiet) goes on behind the break as if there had
been none.
"""

import dataclasses
import datetime as dt
import enum
from dataclasses import dataclass

from edge.policy.floor import BREAK_MIN_S
from edge.policy.judge import JudgeState, Open


class BreakBy(enum.StrEnum):
    """Who started or ended a break."""

    BUTTON = "button"
    """The worker, at the unit's button."""
    COMMAND = "command"
    """Somebody who may send `cmd/break` and `cmd/resume`."""
    LOCAL = "local"
    """The worker, at the unit's own command line."""
    TIME = "time"
    """Nobody: its time was up."""


_AT_THE_UNIT = (BreakBy.BUTTON, BreakBy.LOCAL)


@dataclass(frozen=True, slots=True)
class Now:
    """A moment on both clocks."""

    at: dt.datetime
    s: float
    synchronised: bool
    """Whether `at` can be believed."""


@dataclass(frozen=True, slots=True)
class OnBreak:
    """A break that is on."""

    event_id: str
    """Of the event that says that it started."""
    reason: str
    by: BreakBy
    started_at: dt.datetime
    """UTC."""
    started_s: float
    """Below 0 where it began before the unit was switched on."""
    max_s: float
    trusted: bool
    """Whether `started_at` was read from a synchronised clock."""
    settled: bool = True
    """False: begun before a power cut, and the wall clock has not told yet how long that was."""

    @property
    def ends_s(self) -> float:
        """When it ends by itself, monotonic seconds."""
        return self.started_s + self.max_s

    def ends_at(self, now: Now) -> dt.datetime:
        """Return when it ends by itself, on the wall clock as it is set now."""
        return now.at + dt.timedelta(seconds=self.ends_s - now.s)


BreakState = OnBreak | None


@dataclass(frozen=True, slots=True)
class BreakEnd:
    """How a break ended."""

    event_id: str
    """Of the event that says so."""
    by: BreakBy
    ended_at: dt.datetime
    """UTC."""
    lasted_s: float


@dataclass(frozen=True, slots=True)
class BreakChange:
    """A break that started or, with an `end`, ended."""

    on: OnBreak
    end: BreakEnd | None = None


def start(
    state: BreakState, event_id: str, reason: str, by: BreakBy, max_s: float, now: Now
) -> tuple[OnBreak, BreakChange | None]:
    """Start a break, whatever the policy says. On a break: it goes on as it is, nothing changes."""
    if state is not None:
        return state, None
    on = OnBreak(event_id, reason, by, now.at, now.s, max_s, trusted=now.synchronised)
    return on, BreakChange(on)


def gives_way(state: OnBreak, by: BreakBy) -> bool:
    """Return whether a break ends for one that somebody else begins.

    What was begun from afar can be ended from afar, and may have little time left: whoever takes a break at
    the unit has a whole one, and is left alone in it.
    """
    return state.by is BreakBy.COMMAND and by in _AT_THE_UNIT


def too_early(state: OnBreak, by: BreakBy, now: Now) -> float | None:
    """Return for how many seconds a break cannot be ended yet by whoever wants to end it; None: it can be.

    Whoever took a break at the unit is left alone for `BREAK_MIN_S`: else whoever may send `cmd/resume` could
    refuse every break by ending it at once.
    """
    if by is not BreakBy.COMMAND or state.by not in _AT_THE_UNIT:
        return None
    left_s = min(state.started_s + BREAK_MIN_S, state.ends_s) - now.s
    return left_s if left_s > 0.0 else None


def end(state: OnBreak, event_id: str, by: BreakBy, now: Now) -> BreakChange:
    """End a break. It lasted no longer than it could, also where nobody was there to end it in time."""
    lasted_s = max(0.0, min(now.s, state.ends_s) - state.started_s)
    return BreakChange(state, BreakEnd(event_id, by, now.at, lasted_s))


def restore(state: OnBreak, now: Now, *, same_boot: bool) -> OnBreak:
    """Take up a break after a restart of the program or, where it is not the `same_boot`, of the unit.

    A new boot begins a new monotonic clock: until the wall clock tells more, the break counts from now.
    """
    if same_boot:
        return state
    return settle(dataclasses.replace(state, started_s=now.s, settled=not state.trusted), now)


def settle(state: OnBreak, now: Now) -> OnBreak:
    """Take off what had passed of the break before a power cut, as soon as the wall clock can tell."""
    if state.settled or not now.synchronised:
        return state
    passed_s = max(0.0, (now.at - state.started_at).total_seconds())
    return dataclasses.replace(state, started_s=min(state.started_s, now.s - passed_s), settled=True)


def take_off(state: JudgeState, away_s: float) -> JudgeState:
    """Move what is open past a time that does not count."""
    return {
        rule_id: dataclasses.replace(
            each,
            since_s=each.since_s + away_s,
            last_yes_s=each.last_yes_s + away_s,
            stepped_s=each.stepped_s + away_s,
        )
        if isinstance(each, Open)
        else each
        for rule_id, each in state.items()
    }
