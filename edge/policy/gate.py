"""The capture gate: whether the camera may be open, and what the light shows. Pure steps.

The camera is open only while nothing forbids it. Before it opens the light goes on, and is found to be on; it
goes off after the camera has closed. `edge/shutter.py` does what the steps say, and is the only owner of the
camera.
"""

import enum
from dataclasses import dataclass
from typing import assert_never

from edge.policy.schedule import ENDS_SOON_S, Off


class Signal(enum.StrEnum):
    """What the light says."""

    OFF = "off"
    """Nothing is watched."""
    WATCHING = "watching"
    """Steady: the camera is open."""
    BREAK = "break"
    """Slow blink: a break."""
    BREAK_ENDS = "break-ends"
    """Two short flashes, again and again: the break ends within `ENDS_SOON_S`."""
    NOTICE = "notice"
    """One short flash now and then: the notice waits to be accepted."""
    FAULT = "fault"
    """Fast blink: the camera is closed for a reason that somebody should see to."""
    AIM_ASKS = "aim-asks"
    """Three short flashes, again and again: somebody asks to line the camera up, and a press agrees."""
    WATCHING_AIM_ASKS = "watching-aim-asks"
    """The same while the camera is open: three short dark flashes in a steady light."""


LIT = frozenset({Signal.WATCHING, Signal.WATCHING_AIM_ASKS})
"""Signals of an open camera."""
ASKING = frozenset({Signal.AIM_ASKS, Signal.WATCHING_AIM_ASKS})
"""Signals that ask the worker for a press of the button."""


class Aim(enum.Enum):
    """Whether somebody at the unit lines the camera up; `edge/aim.py` has how it comes to that."""

    NONE = "none"
    ASKED = "asked"
    """The worker is asked, and has not answered."""
    GRANTED = "granted"
    """The worker agreed: the camera may be open between spot checks too."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """All that the gate goes by, read in one moment."""

    scheduled: Off | None
    """Why shift, policy, break or spot checks have the camera closed; None: they would have it open."""
    accepted: bool
    """Whether the worker accepted the notice that ships."""
    led: str | None = None
    """What is wrong with the light; None: nothing, or the unit has none."""
    repair: str | None = None
    """Why the unit is blocked for repair; None: it is not."""
    break_left_s: float | None = None
    """How long the worker's break goes on."""
    safe: bool = False
    """Whether the unit runs in safe mode: it kept failing, and looks at nothing until it runs again."""
    fault: bool = False
    """Whether the camera failed, and rests until it is tried again."""
    aim: Aim = Aim.NONE


@dataclass(frozen=True, slots=True)
class Closed:
    """The camera is closed."""

    why: Off | None
    """None: at the start, or after a fault of the camera."""


@dataclass(frozen=True, slots=True)
class Lit:
    """Nothing forbids to open the camera: the light is on, and is to be looked at first."""


@dataclass(frozen=True, slots=True)
class Open:
    """The camera is open, under a light that is on."""

    asks: bool = False
    """Whether that light asks as well."""


GateState = Closed | Lit | Open


class Act(enum.Enum):
    """What is done to the camera."""

    OPEN = "open"
    CLOSE = "close"


Action = Act | Signal
"""To the camera, or the light's new signal; to be done in the order given."""

START = Closed(None)

_SIGNALS = {
    Off.NOTICE: Signal.NOTICE,
    Off.LED: Signal.FAULT,
    Off.REPAIR: Signal.FAULT,
    Off.SAFE: Signal.FAULT,
    Off.BREAK: Signal.BREAK,
}
"""By what keeps the camera closed; for all else the light is off."""
_LOOKS = {False: Signal.WATCHING, True: Signal.WATCHING_AIM_ASKS}


def forbidden(conditions: Conditions) -> Off | None:
    """Return why the camera may not be open now; None: it may.

    A break comes first: the worker who takes one sees it. What somebody has to see to comes before what
    passes by itself.
    """
    if conditions.scheduled is Off.BREAK:
        return Off.BREAK
    if conditions.safe:
        return Off.SAFE
    if conditions.repair is not None:
        return Off.REPAIR
    if not conditions.accepted:
        return Off.NOTICE
    aims = conditions.scheduled is Off.BETWEEN_CHECKS and conditions.aim is Aim.GRANTED
    if conditions.scheduled is not None and not aims:
        return conditions.scheduled
    return Off.LED if conditions.led is not None else None


def step(state: GateState, conditions: Conditions) -> tuple[GateState, tuple[Action, ...]]:
    """Return the next state, and what to do on the way there.

    From `Lit` it takes another step, under conditions that were read after the light went on.
    """
    why = forbidden(conditions)
    if why is not None or conditions.fault:
        signal = _signal(why, conditions)
        return Closed(why), (Act.CLOSE, signal) if isinstance(state, Open) else (signal,)
    match state:
        case Closed():
            return Lit(), (Signal.WATCHING,)
        case Lit():
            return Open(), (Act.OPEN,)
        case Open(asks=asks):
            asked = conditions.aim is Aim.ASKED
            return Open(asked), () if asked is asks else (_LOOKS[asked],)
        case _:
            assert_never(state)


def _signal(why: Off | None, conditions: Conditions) -> Signal:
    if conditions.aim is Aim.ASKED and why in (None, Off.BETWEEN_CHECKS):
        return Signal.AIM_ASKS
    if why is None:
        return Signal.FAULT
    left_s = conditions.break_left_s
    if why is Off.BREAK and left_s is not None and left_s <= ENDS_SOON_S:
        return Signal.BREAK_ENDS
    return _SIGNALS.get(why, Signal.OFF)
