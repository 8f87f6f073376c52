"""The watch loop: takes a frame and carries it all the way to the spool, a line a stage."""

import datetime as dt
import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Protocol

from edge.backoff import Backoff
from edge.capture.footage import is_still
from edge.capture.frame import Camera, CameraError, EndOfFootage, Frame, Pixels
from edge.clock import Clock
from edge.evidence.thumbnail import Album, Jpeg, encode, keep_best
from edge.policy.document import Policy
from edge.policy.judge import Closed, Ended, Judgement, JudgeState, Opened, interrupt, judge, pause
from edge.policy.schedule import Look, Off, ScheduleState, schedule
from edge.uplink.messages import Capture
from edge.vision.detector import View
from edge.vision.mask import Polygon
from edge.vision.scene import SceneState, look, open_blocks
from edge.vision.tamper import FROZEN_AFTER_S, TamperState, examine
from edge.vision.tracker import TracksState, follow
from edge.vision.types import Blind, Detection, Sight

log = logging.getLogger(__name__)

FRAME_TIMEOUT_S = 5.0
STALE_S = 2.0
"""A frame that is older than this when it comes says nothing of the present."""
REOPEN = Backoff(base_s=1.0, cap_s=30.0)

_OFF = {
    Off.OFF_SHIFT: Capture.OFF_SHIFT,
    Off.BETWEEN_CHECKS: Capture.BETWEEN_CHECKS,
    Off.POLICY_EXPIRED: Capture.OFF_SHIFT,
    Off.POLICY_NOT_YET: Capture.OFF_SHIFT,
}
_PLAIN = (Off.OFF_SHIFT, Off.BETWEEN_CHECKS)
"""Reasons that the capture state says already."""
_GRAVE = (Off.POLICY_EXPIRED.value, Off.POLICY_NOT_YET.value)
"""Reasons for which somebody has to do something."""


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
class Counts:
    """What the watch has done since it started."""

    frames: int = 0
    inferences: int = 0
    camera_faults: int = 0


@dataclass(slots=True)
class Memory:
    """What the watch remembers of what it saw. Gone when the camera closes."""

    scene: SceneState | None = None
    tamper: TamperState = field(default_factory=TamperState)
    tracks: TracksState = field(default_factory=TracksState)
    album: Album = field(default_factory=dict)


class Watch:
    """Owns the camera and the states of scene, tracks, judge and schedule."""

    def __init__(
        self,
        camera: Camera,
        detector: Looker,
        policy: Callable[[], Policy],
        outcome: Outcome,
        clock: Clock,
        chance: random.Random,
        *,
        last_beat_s: Callable[[], float | None] = lambda: None,
        frozen_after_s: float = FROZEN_AFTER_S,
    ) -> None:
        self._camera, self._detector, self._outcome = camera, detector, outcome
        self._policy_now, self._last_beat_s = policy, last_beat_s
        self._clock, self._chance, self._frozen_after_s = clock, chance, frozen_after_s
        self._policy = policy()
        self._schedule: ScheduleState = None
        self._judge: JudgeState = {}
        self._found = Judgement()
        self._capture: tuple[Capture, str] | None = None
        self._faults_in_a_row = 0
        self.counts = Counts()
        self._memory = Memory()

    def run(self, stop: Event) -> None:
        """Watch until told to stop, or until replayed footage ends. Closes what is open, and the camera."""
        try:
            while not stop.is_set():
                self._turn()
        except EndOfFootage as end:
            log.info("%s", end)
        finally:
            self._stand_down(Ended.STOPPED)
            self._tell(Capture.STOPPED, "")

    def _turn(self) -> None:
        self._outcome.turn()
        self._take_policy()
        when = self._ask_schedule()
        if when.off is not None:
            self._clock.sleep(max(0.001, self._left_s(when)))  # wall time ends at microseconds: do not spin
            return
        try:
            self._camera.open()
            with self._camera.frame(min(FRAME_TIMEOUT_S, self._left_s(when))) as frame:
                if frame.captured_at < when.until_at:
                    self.carry(frame)
            self._faults_in_a_row = 0
        except CameraError as error:
            if self._left_s(when) > 0.0:  # else the shift ended while we waited
                self._bear(error)

    def _left_s(self, when: Look) -> float:
        return max(0.0, (when.until_at - self._clock.now_at()).total_seconds())

    def carry(self, frame: Frame) -> None:
        """Carry one frame from the camera to the spool."""
        policy, memory, now_s = self._policy, self._memory, frame.captured_s
        view = self._detector.view(frame.pixels, policy.masks)
        memory.scene, scene = look(memory.scene or _first_scene(view), view.content, now_s)
        memory.tamper, blind = examine(memory.tamper, scene, now_s, self._frozen_after_s)
        if self._clock.now_s() - now_s > STALE_S:
            blind |= {Blind.STALE}
        detections = self._detector.detect(view) if scene.infer else None
        memory.tracks, tracks = follow(memory.tracks, detections, scene, now_s)
        sight = Sight(tracks, blind)
        self._judge, found = judge(self._judge, policy.rules, sight, self._last_beat_s(), now_s)
        memory.album = keep_best(memory.album, found.shots, frame, policy.masks, policy.thumbnail)
        self._report(found, frame.captured_at)
        self.counts.frames += 1
        self.counts.inferences += detections is not None
        self._tell_sight(sight)

    def _report(self, found: Judgement, now_at: dt.datetime) -> None:
        """Pass the verdicts on, and let go of every picture that nothing waits for."""
        memory, self._found = self._memory, found
        for verdict in found.verdicts:
            if isinstance(verdict, Opened):
                picture = memory.album.get(verdict.rule.id)
                jpeg = encode(picture.pixels, self._policy.thumbnail.max_bytes) if picture else None
                self._outcome.opened(verdict, jpeg, self._policy, now_at)
            else:
                self._outcome.closed(verdict, self._policy, now_at)
        if memory.album:
            memory.album = {rule: shot for rule, shot in memory.album.items() if rule in found.on_hold}

    def _take_policy(self) -> None:
        """Change to the newest policy between two frames."""
        policy = self._policy_now()
        if policy is not self._policy:
            self._stand_down(Ended.POLICY_CHANGED)
            self._policy, self._schedule = policy, None

    def _ask_schedule(self) -> Look:
        """Return whether to watch now; if not, the camera is closed."""
        now_at, now_s, chance = self._clock.now_at(), self._clock.now_s(), self._chance.random()
        undecided = self._found.undecided
        self._schedule, when = schedule(
            self._schedule, self._policy, now_at, now_s, chance, undecided=undecided
        )
        if when.off is not None:
            self._stand_down(None if when.off is Off.BETWEEN_CHECKS else Ended.OFF_SHIFT)
            self._tell(_OFF[when.off], "" if when.off in _PLAIN else when.off.value)
        return when

    def _stand_down(self, ended: Ended | None) -> None:
        """Close the camera and forget what it saw. Without a reason what is open stays open."""
        self._close()
        if ended is None:
            self._judge, self._found = pause(self._judge), Judgement()
        else:
            self._memory = Memory()
            self._judge, closed = interrupt(self._judge, self._policy.rules, ended)
            self._report(Judgement(closed), self._clock.now_at())

    def _close(self) -> None:
        """Close the camera; no picture stays behind, only what was learned of focus and background."""
        self._camera.close()
        if self._memory.scene is not None:
            self._detector.forget()
        self._memory = Memory(tamper=replace(self._memory.tamper, last=None))

    def _bear(self, error: CameraError) -> None:
        """Close a camera that fails, tell the rules that nothing can be told, and wait to try again."""
        self.counts.camera_faults += 1
        self._close()
        now_s = self._clock.now_s()
        sight = Sight((), frozenset({Blind.STALLED}))
        self._judge, found = judge(self._judge, self._policy.rules, sight, self._last_beat_s(), now_s)
        self._report(found, self._clock.now_at())
        self._tell(Capture.CAMERA_FAULT, str(error))
        self._clock.sleep(max(0.1, REOPEN.delay_s(self._faults_in_a_row, self._chance.random())))
        self._faults_in_a_row += 1

    def _tell_sight(self, sight: Sight) -> None:
        if sight.blind:
            self._tell(Capture.BLOCKED, ", ".join(sorted(sight.blind)))
        else:
            self._tell(Capture.WATCHING, "")

    def _tell(self, capture: Capture, reason: str) -> None:
        if (capture, reason) != self._capture:
            self._capture = (capture, reason)
            level = logging.WARNING if capture is Capture.CAMERA_FAULT or reason in _GRAVE else logging.INFO
            log.log(level, "%s%s", capture, f": {reason}" if reason else "")
            self._outcome.capture(capture, reason)


def frozen_after(sources: Sequence[Path]) -> float:
    """Return after how many seconds the same picture means a frozen camera; no still image does.

    `sources` is the footage that is replayed; empty for a real camera.
    """
    still = bool(sources) and all(is_still(source) for source in sources)
    return math.inf if still else FROZEN_AFTER_S


def _first_scene(view: View) -> SceneState:
    hidden = view.letterbox.hidden
    return SceneState(open=None if hidden is None else open_blocks(hidden))
