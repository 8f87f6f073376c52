"""Safe mode: a unit that kept failing looks at nothing, and stays in reach until somebody has seen to it.

Neither the camera nor the model is touched: either may be what it failed of. What waits in the spool leaves.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event

from edge.capture.frame import CameraAbsent, Frame
from edge.clock import Clock
from edge.device.watchdog import Progress
from edge.policy.schedule import Off
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.command_messages import CommandError
from edge.uplink.messages import Capture
from edge.vision.card import Card
from edge.watching import CAPTURE_WHEN, CaptureState, Outcome

TURN_S = 1.0
WHY_CHARS = 200
_MONITORED = ("MONITOR_UNIT", "MONITOR_SERVICE_RESULT", "MONITOR_EXIT_CODE", "MONITOR_EXIT_STATUS")


@dataclass(frozen=True, slots=True)
class Blindfold:
    """What a unit has in place of a detector: the card says which model it would look with."""

    card: Card


class NoCamera:
    """A camera that there is not."""

    held = False

    def open(self) -> None:
        """Raise CameraAbsent."""
        raise CameraAbsent("wanted a camera, got safe mode, which has none")

    def frame(self, timeout_s: float) -> AbstractContextManager[Frame]:
        """Raise CameraAbsent."""
        raise CameraAbsent("wanted a frame, got safe mode, which has no camera")

    def close(self) -> None:
        """Do nothing."""


class SafeWatch:
    """What runs in the watch's place: it tells, answers, and lets a break begin and end."""

    def __init__(
        self, shutter: Shutter, outcome: Outcome, clock: Clock, requests: Requests, why: str = ""
    ) -> None:
        """Take a `shutter` in safe mode; `why` the unit failed is told as the reason."""
        self._shutter, self._outcome, self._clock = shutter, outcome, clock
        self._requests, self._why = requests, why
        self._capture = CaptureState(outcome.capture, clock.now_s)
        self._turn_s = clock.now_s()

    def run(self, stop: Event) -> None:
        """Go on until told to stop."""
        try:
            while not stop.is_set():
                self._turn()
                self._clock.sleep(TURN_S)
        finally:
            self._shutter.close()
            self._requests.refuse_look(CommandError.FAILED, "the unit stops")
            self._requests.breaks.tell()
            self._capture.is_now(Capture.STOPPED)

    def progress(self, spool_s: float) -> Progress:
        """Return when what was done last, for the watchdog. From any thread."""
        return Progress(self._capture.now, self._capture.since_s, self._turn_s, self._turn_s, spool_s)

    def _turn(self) -> None:
        self._turn_s = self._clock.now_s()
        self._outcome.turn()
        self._requests.turn()
        breaks = self._requests.breaks
        breaks.tell()
        on = breaks.on
        off = self._shutter.turn(None if on is None else Off.BREAK, breaks.left_s())
        assert off is not None, "wanted a shutter in safe mode, got one that opens"
        reason = self._why if on is None else on.reason
        self._capture.is_now(CAPTURE_WHEN[off], reason)
        problem = "wanted a unit that looks, got safe mode: it failed again and again"
        self._requests.refuse_look(CommandError.NOT_ALLOWED, problem)


def why_failed(environ: Mapping[str, str] = os.environ) -> str:
    """Return what the service manager says of the unit that failed; empty where it says nothing.

    systemd names it to what OnFailure= starts (systemd.exec(5), $MONITOR_SERVICE_RESULT).
    """
    told = [environ[name] for name in _MONITORED if environ.get(name)]
    return "".join(c for c in " ".join(told) if c.isprintable())[:WHY_CHARS]
