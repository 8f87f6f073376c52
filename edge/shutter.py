"""The one owner of the camera: it is open only while the gate says so, and only under a light that is on."""

import dataclasses
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from edge.capture.frame import Camera, CameraStalled, Frame
from edge.device.indicator import Indicator, NoIndicator
from edge.policy.gate import (
    ASKING,
    START,
    Act,
    Aim,
    Closed,
    Conditions,
    GateState,
    Lit,
    Open,
    Signal,
    forbidden,
    step,
)
from edge.policy.schedule import Off

log = logging.getLogger(__name__)


class Shutter:
    """Does what the gate's steps say. Nobody else may hold the camera; for the watch's thread alone."""

    def __init__(
        self,
        camera: Camera,
        *,
        indicator: Indicator | None = None,
        accepted: Callable[[], bool] = lambda: True,
        repair: Callable[[], str | None] = lambda: None,
        safe: bool = False,
        aim: Callable[[], Aim] = lambda: Aim.NONE,
    ) -> None:
        """Ask before every frame whether the notice is `accepted`, and why the unit is blocked for `repair`.

        Footage that somebody replays needs neither. In `safe` mode the camera never opens. `aim`: whether
        somebody lines the camera up, or asks to.
        """
        self._camera, self._indicator = camera, indicator or NoIndicator()
        self._accepted, self._repair, self._safe, self._aim = accepted, repair, safe, aim
        self._state: GateState = START
        self._scheduled: Off | None = None
        """As it was told at the last turn."""
        self._asks = False

    @property
    def is_open(self) -> bool:
        """Whether the camera may be giving frames."""
        return isinstance(self._state, Open)

    @property
    def held(self) -> bool:
        """Whether the camera, though closed, may be held by a driver that hangs: the light stays on."""
        return not self.is_open and self._camera.held

    @property
    def why(self) -> str:
        """What somebody has to see to, in words, where that keeps the camera closed."""
        match self._state:
            case Closed(why=Off.REPAIR):
                return self._repair() or ""
            case Closed(why=Off.LED):
                return self._indicator.trouble() or "the light did not work when it was tried"
            case _:
                return ""

    def obey(self, break_left_s: float | None) -> None:
        """Close the camera where it may no longer be open, without a word on the schedule."""
        if self.is_open and (break_left_s is not None or self.called_off()):
            self.turn(self._scheduled if break_left_s is None else Off.BREAK, break_left_s)

    def turn(self, scheduled: Off | None, break_left_s: float | None = None) -> Off | None:
        """Open or close the camera; return why it is closed, None where it is open.

        `scheduled`: why shift, policy, break or spot checks have it closed. Raises what `Camera.open` does.
        """
        self._scheduled = scheduled
        self._step(self._conditions(scheduled, break_left_s))
        if isinstance(self._state, Lit):
            self._step(self._conditions(scheduled, break_left_s))  # now that the light is on
        return self._state.why if isinstance(self._state, Closed) else None

    def called_off(self) -> bool:
        """Return whether something forbids, since the last turn, what the camera sees now."""
        return self.forbids() is not None

    def forbids(self) -> Off | None:
        """Return what forbids to look now, by the schedule of the last turn. From any thread."""
        return forbidden(self._conditions(self._scheduled, None))

    @property
    def asks(self) -> bool:
        """Whether the light was last told to ask for an aim. From any thread."""
        return self._asks

    def frame(self, timeout_s: float) -> AbstractContextManager[Frame]:
        """Give the newest frame, as the camera does. Raises CameraStalled too where it is not open."""
        if not self.is_open:
            raise CameraStalled("wanted an open camera, got one that the gate keeps closed")
        return self._camera.frame(timeout_s)

    def fail(self) -> None:
        """Close a camera that failed; the next turn tries it again."""
        self._step(dataclasses.replace(self._conditions(None, None), led=None, fault=True))

    def close(self) -> None:
        """Close the camera: the watch ends, or begins anew."""
        self._step(Conditions(Off.BETWEEN_CHECKS, accepted=True))

    def _conditions(self, scheduled: Off | None, break_left_s: float | None) -> Conditions:
        return Conditions(
            scheduled,
            self._accepted(),
            led=self._indicator.trouble(),
            repair=self._repair(),
            break_left_s=break_left_s,
            safe=self._safe,
            aim=self._aim(),
        )

    def _step(self, conditions: Conditions) -> None:
        state, actions = step(self._state, conditions)
        for action in actions:
            if action is Act.OPEN:
                self._state = state  # first: one that fails half-way has to be closed
                self._camera.open()
            elif action is Act.CLOSE:
                self._camera.close()
            else:
                # A driver that hangs may hold the camera still, and what it does with it nobody knows.
                signal = Signal.WATCHING if self._camera.held else action
                self._indicator.show(signal)
                self._asks = signal in ASKING
        self._state = state
