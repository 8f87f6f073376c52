"""Lining the camera up, as it is asked for, agreed to and ended at the unit; the worker's log says each."""

import logging
import secrets
from typing import Final, assert_never

from edge.aim import AIM_S, ASK_S, WHY_NOT, AimRefused, AimState, Asked, End, Idle
from edge.aim_holder import COLS_MAX, ROWS_MAX
from edge.control.protocol import AimAnswer, AimAsk, AimEnd, AimLook, AimPicture, Done
from edge.device.indicator import Button, Indicator
from edge.errors import EdgeError
from edge.policy.gate import Aim
from edge.policy.schedule import Off
from edge.requests import Requests
from edge.shutter import Shutter
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog

log = logging.getLogger(__name__)

ASKED: Final = "somebody asked to line up the camera"
AGREED: Final = "you agreed, at the button, that the camera is lined up"
ENDED: Final = "the lining up of the camera ended"
_ASKED_TEXT = f"at the unit's command line; the light asks you for {ASK_S:.0f} s"
_AGREED_TEXT = (
    f"a coarse picture, {COLS_MAX} by {ROWS_MAX} grey blocks at most, is shown at the unit's command line for"
    f" {AIM_S / 60:.0f} minutes at most; nothing of it is kept or sent"
)


class AimDesk:
    """Asked from any thread; what has to be noted first is noted in the control socket's."""

    def __init__(self, requests: Requests, indicator: Indicator, worker_log: WorkerLog) -> None:
        self._requests, self._aim = requests, requests.aim
        self._indicator, self._log = indicator, worker_log
        self.button: Button | None = None
        self.shutter: Shutter | None = None

    def press(self) -> bool:
        """Take a press of the button; return whether it agreed. Waits for no disk."""
        lasted_s = 0.0 if self.button is None else self.button.lasted_s
        return self._indicator.trouble() is None and self._aim.press(lasted_s)

    def decline(self) -> None:
        """Take a no."""
        if self._aim.phase() is Aim.ASKED:
            self._aim.end(End.DECLINED)

    def tell(self) -> None:
        """Let the worker's log say that one ended. About once a second."""
        why = self._aim.ended()
        if why is None:
            return
        try:
            self._log.append([Here(ENDED, why.value)])
        except EdgeError as error:
            log.warning("an aim ended, and the worker's log does not say so: %s", error)

    def close(self) -> None:
        """End it, as the unit stops."""
        self._aim.end(End.STOPPED)
        self.tell()

    def handle(self, request: AimAsk | AimLook | AimEnd) -> AimAnswer | Done:
        """Do what was asked for. Raises EdgeError for what is not done."""
        match request:
            case AimAsk():
                return self._ask()
            case AimLook(token=token):
                return self._look(token)
            case AimEnd(token=token):
                if not isinstance(self._mine(token), Idle):
                    self._aim.end(End.DONE)
                    self.tell()
                return Done()
            case _:
                assert_never(request)

    def _ask(self) -> AimAnswer:
        self._aim.turn()
        self.tell()
        self._check()
        self._aim.check()
        self._log.append([Here(ASKED, _ASKED_TEXT)])  # raises where it cannot be noted: then nobody is asked
        token = secrets.token_urlsafe(16)
        self._aim.ask(token)
        return AimAnswer("asked", token, self._aim.left_s())

    def _check(self) -> None:
        """Raise AimRefused where the worker cannot be asked, or the camera may not be open."""
        if not self._indicator.fitted:
            raise AimRefused(
                "wanted a light that asks the worker, got a unit without one: see docs/wiring.md"
            )
        if self.button is None:
            raise AimRefused("wanted a button that agrees, got a unit without one: see docs/wiring.md")
        if (trouble := self.button.trouble()) is not None:
            raise AimRefused(f"wanted a button that works first: {trouble}")
        if self.shutter is None:
            raise AimRefused(
                "wanted a unit that has begun to watch, got one that starts: ask again in a moment"
            )
        if self.shutter.held:
            raise AimRefused("wanted a camera that can be had, got a driver that hangs: restart the unit")
        if (why := self._forbids()) is not None:
            raise AimRefused(f"wanted {WHY_NOT[why]}")

    def _forbids(self) -> Off | None:
        if self._requests.breaks.on is not None:
            return Off.BREAK
        why = None if self.shutter is None else self.shutter.forbids()
        return None if why is Off.BETWEEN_CHECKS else why

    def _look(self, token: str) -> AimAnswer:
        state = self._mine(token)
        if (why := self._forbids()) is not None:
            self._aim.end(End.BREAK if why is Off.BREAK else End.FORBIDDEN)
        if self._aim.agreed:
            self._begin()
        state = self._mine(token)
        if isinstance(state, Idle):
            self.tell()
            return AimAnswer("ended", token, text=_words(state.end))
        if isinstance(state, Asked):
            return AimAnswer("asked", token, self._aim.left_s())
        picture = self._picture()
        text = "" if picture else "no picture yet"
        return AimAnswer("granted", token, self._aim.left_s(), text, picture)

    def _begin(self) -> None:
        """Begin once the worker's log says so; where it cannot, there is no aim."""
        try:
            self._log.append([Here(AGREED, _AGREED_TEXT)])
        except EdgeError as error:
            log.warning("an aim that the worker agreed to cannot be noted, and ends: %s", error)
            self._aim.end(End.UNNOTED)
        else:
            self._aim.grant()

    def _picture(self) -> AimPicture | None:
        seen = self._aim.sighting()
        if seen is None:
            return None
        blind = tuple(sorted(seen.blind))
        return AimPicture(seen.cols, seen.rows, seen.grid, seen.brightness, seen.sharpness, blind)

    def _mine(self, token: str) -> AimState:
        """Return how it stands with the aim of whoever has the token. Raises AimRefused for anybody else."""
        state = self._aim.hear(token)
        if state.token != token:
            raise AimRefused("wanted the aim that is on, got one that was over long ago: ask anew")
        return state


def _words(why: End | None) -> str:
    return "" if why is None else why.value
