"""Lining the camera up: a technician asks, the worker agrees at the button, and it ends. Pure steps.

Every limit counts on the monotonic clock. Nothing of it outlasts a restart.
"""

import enum
import math
from dataclasses import dataclass, replace
from typing import Final

from edge.errors import EdgeError
from edge.policy.gate import Aim
from edge.policy.schedule import Off

ASK_S: Final = 60.0
"""So long the light asks."""
AIM_S: Final = 300.0
"""So long it goes on at most, from the press on."""
SILENT_S: Final = 5.0
"""Nobody has asked for a picture for so long: whoever wanted to see is gone."""
SEEN_S: Final = 1.5
"""So long the light must have asked before a press agrees: one that is under way is for a break."""
REST_S: Final = 60.0
REST_MAX_S: Final = 900.0
"""The light is left alone for so long after an ask that came to nothing; twice as long after each more."""


class AimRefused(EdgeError):
    """The camera cannot be lined up now: do what the message says, then run `deskwatch aim` again."""


class End(enum.StrEnum):
    """Why it is over, in words."""

    NOT_ANSWERED = "nobody pressed the button in time"
    DECLINED = "the button was held: declined"
    DONE = "the technician is done"
    TIME_UP = "its five minutes are over"
    SILENT = "the technician's command is gone"
    BREAK = "a break was taken"
    FORBIDDEN = "the camera may not be open any more"
    UNNOTED = "the worker's log could not be written"
    STOPPED = "the unit stops"


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody asks."""

    not_before_s: float = -math.inf
    """The next ask is taken from then on."""
    in_vain: int = 0
    """Asks in a row that came to nothing."""
    token: str = ""
    end: End | None = None
    """Whose aim was last, and why it ended."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The worker is to answer."""

    token: str
    """Who asked: nobody else gets a picture."""
    asked_s: float
    heard_s: float
    """When whoever asked last said a word."""
    in_vain: int = 0
    shown_s: float | None = None
    """Since when the light asks."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """The worker pressed the button; it counts once it stands in the worker's log."""

    token: str
    asked_s: float
    heard_s: float
    agreed_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The camera may be open for it."""

    token: str
    asked_s: float
    heard_s: float
    agreed_s: float


AimState = Idle | Asked | Agreed | Granted
START: Final = Idle()


def ask(state: AimState, token: str, now_s: float) -> Asked:
    """Return the state in which the light asks. Raises AimRefused where somebody else does, or too soon."""
    state = settle(state, now_s)
    if not isinstance(state, Idle):
        raise AimRefused("wanted one aim at a time: somebody else asks, or looks, just now")
    if now_s < state.not_before_s:
        wait_s = math.ceil(state.not_before_s - now_s)
        raise AimRefused(f"wanted the worker asked once in a while: ask again in {wait_s} s")
    return Asked(token, now_s, now_s, state.in_vain)


def shown(state: AimState, now_s: float, *, asks: bool) -> AimState:
    """Take whether the light asks; it has to go on doing so for `SEEN_S`."""
    if not isinstance(state, Asked) or asks is (state.shown_s is not None):
        return state
    return replace(state, shown_s=now_s if asks else None)


def press(state: AimState, now_s: float, lasted_s: float = 0.0) -> tuple[AimState, bool]:
    """Take a press of the button; return also whether it was the answer. Else it is for a break.

    It is told of when the button is let go; for how long it was down, counts: it was meant as it went down.
    """
    state, began_s = settle(state, now_s), now_s - lasted_s
    if isinstance(state, Asked) and state.shown_s is not None and began_s - state.shown_s >= SEEN_S:
        return Agreed(state.token, state.asked_s, state.heard_s, now_s), True
    return state, False


def grant(state: AimState, now_s: float) -> AimState:
    """Let it begin, now that the worker's log says so."""
    state = settle(state, now_s)
    if isinstance(state, Agreed):
        return Granted(state.token, state.asked_s, state.heard_s, state.agreed_s)
    return state


def hear(state: AimState, token: str, now_s: float) -> AimState:
    """Take a word of whoever asked. One that comes too late changes nothing."""
    state = settle(state, now_s)
    return state if isinstance(state, Idle) or state.token != token else replace(state, heard_s=now_s)


def end(state: AimState, why: End, now_s: float) -> Idle:
    """End it, and see that the light is left alone for a while."""
    match state:
        case Idle():
            return state
        case Asked():
            rest_s = min(REST_S * 2.0**state.in_vain, REST_MAX_S)
            return Idle(now_s + rest_s, min(state.in_vain + 1, 8), state.token, why)
        case _:
            return Idle(max(now_s, state.asked_s + REST_S), 0, state.token, why)


def settle(state: AimState, now_s: float) -> AimState:
    """End what is past its time."""
    if (due := _due(state)) is None or now_s < due[0]:
        return state
    return end(state, due[1], now_s)


def wait_s(state: AimState, now_s: float) -> float:
    """Return how long until it ends by itself, if nobody says a word."""
    due = _due(state)
    return math.inf if due is None else max(0.0, due[0] - now_s)


def left_s(state: AimState, now_s: float) -> float:
    """Return how long there is to answer, or to look, while whoever asked stays."""
    match state:
        case Idle():
            return 0.0
        case Asked():
            return max(0.0, state.asked_s + ASK_S - now_s)
        case _:
            return max(0.0, state.agreed_s + AIM_S - now_s)


def gate(state: AimState, now_s: float) -> Aim:
    """Return what the gate is to know of it. Of what is past its time: nothing, whoever has settled it."""
    match settle(state, now_s):
        case Idle():
            return Aim.NONE
        case Granted():
            return Aim.GRANTED
        case _:
            return Aim.ASKED


def _due(state: AimState) -> tuple[float, End] | None:
    match state:
        case Idle():
            return None
        case Asked():
            over = state.asked_s + ASK_S, End.NOT_ANSWERED
        case _:
            over = state.agreed_s + AIM_S, End.TIME_UP
    return min(over, (state.heard_s + SILENT_S, End.SILENT))


WHY_NOT: Final[dict[Off, str]] = {
    Off.NOTICE: "a notice that is accepted first: deskwatch notice --accept",
    Off.LED: "a light that works first: deskwatch diagnose",
    Off.REPAIR: "the repair done first: deskwatch repair --done",
    Off.SAFE: "a unit that runs, got safe mode: systemctl reset-failed deskwatch; systemctl start deskwatch",
    Off.OFF_SHIFT: "a time within the shift: the camera stays closed until then",
    Off.BREAK: "the worker's break to be over",
    Off.POLICY_EXPIRED: "a policy that is not expired: push a new one",
    Off.POLICY_NOT_YET: "a policy that is valid already: see the clock, deskwatch diagnose",
    Off.BETWEEN_CHECKS: "nothing",
}
"""What has to be so before anybody is asked."""
