"""A look of our own through the camera, where no unit runs, for three seconds.

It goes through the gate as the unit's own do: under the policy in force, in a shift, on no break, with the
notice accepted, no repair, and a light that works. The worker's log says that it is taken, before it is.
"""

import math
from collections.abc import Callable
from contextlib import closing
from threading import Event

from edge.breaks import Breaks
from edge.capture.footage import is_still
from edge.capture.frame import Camera, EndOfFootage, Frame
from edge.clock import Clock
from edge.config import Config
from edge.device.hardware import Hardware
from edge.diagnosis.as_owner import as_owner
from edge.diagnosis.behind import noted_repair, notice_of, unit_that_holds
from edge.diagnosis.seen import NotSeen, Seen
from edge.latency import Rate
from edge.policy.document import Policy
from edge.policy.schedule import Off, Waiting, schedule
from edge.shutter import Shutter
from edge.state_folder import LOG_FOLDER
from edge.uplink.messages import Capture
from edge.vision.card import Card
from edge.vision.letterbox import Letterbox
from edge.vision.limits import SOFT_FLOOR
from edge.vision.scene import SceneState, look, open_blocks
from edge.vision.tamper import TamperState, examine
from edge.vision.types import Blind, Figures
from edge.worklog.entries import Here
from edge.worklog.errors import LogUnusable
from edge.worklog.log import WorkerLog

LOOK_S = 3.0
FRAME_TIMEOUT_S = 5.0
STILL_S = 2.0
"""A sensor always has noise: in a look of our own, not one pixel changed for so long means frozen."""


def scheduled(policy: Policy, breaks: Breaks, clock: Clock) -> Off | None:
    """Return why shift, policy or break have the camera closed now; spot checks would be asked for one."""
    breaks.turn()
    state, left_s = Waiting(clock.now_s()), breaks.left_s()
    now = clock.now_at(), clock.now_s()
    _, when = schedule(state, policy, *now, 0.0, undecided=False, break_left_s=left_s, asked=True)
    return when.off


class OwnLook:
    """One look through the gate."""

    def __init__(
        self, config: Config, policy: Policy, card: Card, breaks: Breaks, hardware: Hardware, clock: Clock
    ) -> None:
        self._config, self._policy, self._card, self._breaks = config, policy, card, breaks
        self._hardware, self._light, self._clock = hardware, hardware.indicator, clock
        self._pressed = Event()
        self._scene: SceneState | None = None
        self._tamper = TamperState()
        self._rate, self._still_s = Rate(), 0.0
        self._blind: frozenset[Blind] = frozenset()
        self._letterbox: Letterbox | None = None

    def take(self, opened: Callable[[Config, Clock], Camera]) -> Seen | NotSeen:
        """Open the camera if the gate lets us, look, close it. Raises CameraError, and the log's errors."""
        shutter = Shutter(
            opened(self._config, self._clock),
            indicator=self._light,
            accepted=lambda: notice_of(self._config).accepted,  # read anew: no unit tells of a withdrawal
            repair=lambda: noted_repair(self._config),
        )
        if (off := self._forbidden(shutter)) is not None:
            return NotSeen(off)
        self._note(Capture.WATCHING)  # before it opens; what cannot be noted is not done
        try:
            if (started := unit_that_holds(self._config)) is not None:
                return NotSeen(f"not looked: {started}")
            off_now = shutter.turn(self._off(), self._breaks.left_s())
            if off_now is not None:
                return NotSeen(_in_words(off_now, shutter))
            self._watch_as_long_as_nobody_presses(shutter)
        finally:
            shutter.close()
            self._forget()
            self._note(Capture.STOPPED)
        return self._found()

    def _off(self) -> Off | None:
        return scheduled(self._policy, self._breaks, self._clock)

    def _forbidden(self, shutter: Shutter) -> str | None:
        """Ask all that can be asked before the light goes on."""
        if not notice_of(self._config).accepted:
            return _in_words(Off.NOTICE, shutter)
        if noted_repair(self._config) is not None:
            return _in_words(Off.REPAIR, shutter)
        return _in_words(Off.LED, shutter) if self._light.trouble() is not None else None

    def _watch_as_long_as_nobody_presses(self, shutter: Shutter) -> None:
        make = self._hardware.make_button
        if make is None:
            self._watch(shutter)
            return
        with closing(make(self._pressed.set, self._pressed.set)):
            self._watch(shutter)

    def _watch(self, shutter: Shutter) -> None:
        end_s = self._clock.now_s() + LOOK_S
        while self._clock.now_s() < end_s and self._may(shutter):
            try:
                with shutter.frame(FRAME_TIMEOUT_S) as frame:
                    if self._may(shutter):
                        self._measure(frame)
            except EndOfFootage:
                return

    def _may(self, shutter: Shutter) -> bool:
        """Ask anew whether a look may go on; a press of the button ends it.

        So does a unit that starts meanwhile: a break that it is told of, it alone knows of.
        """
        if self._pressed.is_set() or unit_that_holds(self._config) is not None:
            return False
        return self._off() is None and not shutter.called_off()

    def _measure(self, frame: Frame) -> None:
        spec, (height, width) = self._card.input, frame.pixels.shape[:2]
        if self._letterbox is None:
            self._letterbox = Letterbox(
                (width, height),
                (spec.width_px, spec.height_px),
                fit=spec.fit,
                pad=spec.pad,
                masks=self._policy.masks,
            )
            hidden = self._letterbox.hidden
            self._scene = SceneState(open=None if hidden is None else open_blocks(hidden))
        assert self._scene is not None, "wanted a scene beside the letterbox"
        content = self._letterbox.paint(frame.pixels)[self._letterbox.content]
        now_s = frame.captured_s
        self._rate.add(now_s)
        self._scene, scene = look(self._scene, content, now_s)
        self._tamper, self._blind = examine(
            self._tamper, scene, now_s, STILL_S if self._moves() else math.inf
        )
        self._still_s = now_s - self._tamper.still_since_s

    def _moves(self) -> bool:
        """Whether what is before the camera has a sensor's noise; a replayed image has none."""
        source = self._config.camera.source
        return source is None or not is_still(source)

    def _forget(self) -> None:
        """Let no picture stay behind."""
        if self._letterbox is not None:
            self._letterbox.wipe()
        for scene in (self._tamper.last, None if self._scene is None else self._scene.scene):
            if scene is not None:
                for pixels in (scene.grey, scene.half, scene.blocks):
                    pixels.fill(0)
        self._scene, self._tamper = None, TamperState(figures=self._tamper.figures)

    def _found(self) -> Seen | NotSeen:
        figures, blind = self._tamper.figures, self._blind
        if figures == Figures() and not blind:
            return NotSeen("no frame came before the camera had to close")
        if figures.sharpness is not None and figures.sharpness < SOFT_FLOOR:
            blind |= {Blind.DEFOCUSED}  # three seconds are too short for the measure's own hold
        return Seen(figures, blind, self._still_s, self._rate.hz(), learned=False)

    def _note(self, capture: Capture) -> None:
        """Tell the worker's log. Raises EdgeError; a log that was changed takes nothing."""
        folder = self._config.paths.state / LOG_FOLDER
        note = Here("camera", f"{capture.value}: a diagnosis at the unit")
        try:
            with (
                as_owner(folder.parent),
                WorkerLog.open(folder, now_at=self._clock.now_at, now_s=self._clock.now_s) as worker_log,
            ):
                worker_log.append([note])
        except OSError as error:
            raise LogUnusable(f"{folder}: wanted the worker's log, got {error.strerror}") from error


def _in_words(off: Off, shutter: Shutter) -> str:
    match off:
        case Off.NOTICE:
            return "not looked: the worker has not accepted the notice"
        case Off.REPAIR:
            return "not looked: the unit is blocked for a repair"
        case Off.LED:
            return f"not looked: the light does not work: {shutter.why or 'see light.works'}"
        case _:
            return f"not looked: {off.value}"
