"""What the watch works with: what it looks with, whom it tells, what it remembers, what it can prove."""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edge.capture.frame import Pixels
from edge.device.watchdog import LOOKING
from edge.evidence.thumbnail import Album, Jpeg
from edge.policy.breaks import BreakState
from edge.policy.document import Policy
from edge.policy.judge import Closed, Ended, Opened
from edge.policy.schedule import Off
from edge.uplink.command_messages import CommandError
from edge.uplink.messages import Capture
from edge.vision.detector import View
from edge.vision.mask import Polygon
from edge.vision.scene import SceneState, open_blocks
from edge.vision.tamper import TamperState
from edge.vision.tracker import TracksState
from edge.vision.types import Detection

log = logging.getLogger(__name__)

CAPTURE_WHEN = {
    Off.OFF_SHIFT: Capture.OFF_SHIFT,
    Off.BETWEEN_CHECKS: Capture.BETWEEN_CHECKS,
    Off.BREAK: Capture.BREAK,
    Off.POLICY_EXPIRED: Capture.OFF_SHIFT,
    Off.POLICY_NOT_YET: Capture.OFF_SHIFT,
    Off.NOTICE: Capture.NOTICE,
    Off.LED: Capture.LED_FAULT,
    Off.REPAIR: Capture.REPAIR,
    Off.SAFE: Capture.SAFE_MODE,
}
ENDED_WHEN = {
    Off.OFF_SHIFT: Ended.OFF_SHIFT,
    Off.POLICY_EXPIRED: Ended.OFF_SHIFT,
    Off.POLICY_NOT_YET: Ended.OFF_SHIFT,
    Off.NOTICE: Ended.NOT_ALLOWED,
    Off.LED: Ended.NOT_ALLOWED,
    Off.REPAIR: Ended.NOT_ALLOWED,
    Off.SAFE: Ended.NOT_ALLOWED,
}
"""How an infraction ends that is open when the camera closes; on a break and between checks it stays open."""
_PLAIN = (Off.OFF_SHIFT, Off.BETWEEN_CHECKS, Off.NOTICE, Off.LED, Off.REPAIR, Off.SAFE)
"""Reasons that the capture state says already."""
REFUSED_WHEN = {
    Off.OFF_SHIFT: CommandError.OFF_SHIFT,
    Off.BREAK: CommandError.ON_BREAK,
    Off.POLICY_EXPIRED: CommandError.OFF_SHIFT,
    Off.POLICY_NOT_YET: CommandError.OFF_SHIFT,
    Off.NOTICE: CommandError.NOT_ALLOWED,
    Off.LED: CommandError.NOT_ALLOWED,
    Off.REPAIR: CommandError.NOT_ALLOWED,
    Off.SAFE: CommandError.NOT_ALLOWED,
}
"""Why no look is taken when somebody asks for one; between checks it is."""
_GRAVE = (Off.POLICY_EXPIRED.value, Off.POLICY_NOT_YET.value)
"""Reasons for which somebody has to do something."""
_FAULTS = (Capture.CAMERA_FAULT, Capture.LED_FAULT, Capture.REPAIR, Capture.SAFE_MODE)


def reason_of(why: Off, on: BreakState) -> str:
    """Return what `state` says beside the capture state."""
    if why is Off.BREAK:
        return "" if on is None else on.reason
    return "" if why in _PLAIN else why.value


class Looker(Protocol):
    """What the watch looks with: a `Detector`, or what stands in for one."""

    def view(self, pixels: Pixels, masks: tuple[Polygon, ...] = ()) -> View:
        """Scale a frame to the model's input, masked areas black."""
        ...

    def detect(self, view: View) -> tuple[Detection, ...]:
        """Return what is in a view."""
        ...

    def forget(self) -> None:
        """Wipe every picture that is still in memory."""
        ...


def first_scene(view: View) -> SceneState:
    """Return what the scene gate begins with, for the masks of a view."""
    hidden = view.letterbox.hidden
    return SceneState(open=None if hidden is None else open_blocks(hidden))


class Outcome(Protocol):
    """Where the watch writes what it finds."""

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Take a confirmed infraction and its picture."""
        ...

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Take the end of one."""
        ...

    def capture(self, capture: Capture, reason: str) -> None:
        """Take a change of what the camera is doing."""
        ...

    def turn(self) -> None:
        """Do what is due once a turn of the loop."""
        ...


@dataclass(slots=True)
class Memory:
    """What the watch remembers of what it saw. Gone when the camera closes."""

    scene: SceneState | None = None
    tamper: TamperState = field(default_factory=TamperState)
    tracks: TracksState = field(default_factory=TracksState)
    album: Album = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proves that a policy runs. Replaced whole, to be read from any thread. Monotonic seconds."""

    policy: Policy
    frame_s: float | None = None
    """When the last frame was taken under it."""
    inference_s: float | None = None
    """When the model last ran under it."""
    off: bool = False
    """No frame may be taken now: the model was run on a black picture."""


class CaptureState:
    """Tells what the camera is doing, each change once."""

    def __init__(self, tell: Callable[[Capture, str], None], now_s: Callable[[], float]) -> None:
        self._tell, self._now_s = tell, now_s
        self._last: tuple[Capture, str] | None = None
        self.now = Capture.STARTING
        self.since_s = now_s()
        """When frames began to come, or ceased to. Monotonic seconds."""

    def is_now(self, capture: Capture, reason: str = "") -> None:
        """Tell it, if it is not what was told last."""
        if (capture, reason) == self._last:
            return
        self._last = (capture, reason)
        if (capture in LOOKING) != (self.now in LOOKING):
            self.since_s = self._now_s()
        self.now = capture
        level = logging.WARNING if capture in _FAULTS or reason in _GRAVE else logging.INFO
        # A break's reason is the worker's own business, and no line of this log.
        log.log(level, "%s%s", capture, f": {reason}" if reason and capture is not Capture.BREAK else "")
        self._tell(capture, reason)
