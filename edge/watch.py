"""The watch loop: takes a frame and carries it all the way to the spool, a line a stage."""

import datetime as dt
import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np

from edge.aim import End
from edge.aim_look import LiningUp
from edge.backoff import Backoff
from edge.capture.footage import is_still
from edge.capture.frame import CameraError, EndOfFootage, Frame
from edge.clock import Clock
from edge.counts import Counts, LastLook
from edge.device.watchdog import Progress
from edge.evidence.thumbnail import encode, keep_best
from edge.policy.breaks import take_off
from edge.policy.document import Policy
from edge.policy.gate import Aim
from edge.policy.judge import Ended, Judgement, JudgeState, Opened, interrupt, judge, pause
from edge.policy.schedule import Look, Off, ScheduleState, Waiting, schedule
from edge.requests import Requests, nobody_asks, sighting
from edge.shutter import Shutter
from edge.uplink.activity import Beats
from edge.uplink.command_messages import CommandError
from edge.uplink.messages import Capture
from edge.vision.limits import FROZEN_AFTER_S
from edge.vision.scene import look
from edge.vision.tamper import examine, unlearn
from edge.vision.tracker import follow
from edge.vision.types import Blind, Sight
from edge.watching import (
    CAPTURE_WHEN,
    ENDED_WHEN,
    REFUSED_WHEN,
    CaptureState,
    Evidence,
    Looker,
    Memory,
    Outcome,
    first_scene,
    reason_of,
)

log = logging.getLogger(__name__)

FRAME_TIMEOUT_S = 5.0
STALE_S = 2.0
"""A frame that is older than this when it comes says nothing of the present."""
RETRY_S = 5.0
"""How often a light that failed is tried again; whatever else opens the gate wakes the watch."""
REOPEN = Backoff(base_s=1.0, cap_s=30.0)
BLACK_SHAPE = (480, 640, 3)


class Watch:
    """Owns the states of scene, tracks, judge and schedule; the camera is the shutter's."""

    def __init__(
        self,
        shutter: Shutter,
        detector: Looker,
        policy: Callable[[], Policy],
        outcome: Outcome,
        clock: Clock,
        chance: random.Random,
        *,
        beats: Beats | None = None,
        requests: Requests | None = None,
        frozen_after_s: float = FROZEN_AFTER_S,
    ) -> None:
        """Without `beats` nothing tells of activity; without `requests` nobody asks for anything."""
        self._shutter, self._detector, self._outcome = shutter, detector, outcome
        self._policy_now, self._clock, self._chance = policy, clock, chance
        self._beats = beats or Beats(clock, lambda: False)
        self._requests = requests or nobody_asks(clock)
        self._frozen_after_s = frozen_after_s
        self._policy = policy()
        self._schedule: ScheduleState = None
        self._judge: JudgeState = {}
        self._found = Judgement()
        self._capture = CaptureState(outcome.capture, clock.now_s)
        self._turn_s = self._rest_until_s = clock.now_s()
        self._faults_in_a_row = 0
        self._breaks_begun = self._requests.breaks.begun
        self._away_since_s: float | None = None
        self.evidence = Evidence(self._policy)
        self.counts = Counts()
        self._memory = Memory()
        self._lining_up = LiningUp(self._requests.aim, detector, frozen_after_s)

    def run(self, stop: Event) -> None:
        """Watch until told to stop, or until replayed footage ends. Closes what is open, and the camera."""
        try:
            while not stop.is_set():
                self._turn()
        except EndOfFootage as end:
            log.info("%s", end)
        finally:
            self._shutter.close()
            self._stand_down(Ended.STOPPED)
            self._requests.refuse_look(CommandError.FAILED, "the unit stops")
            self._requests.aim.end(End.STOPPED)
            self._requests.breaks.tell()
            self._capture.is_now(Capture.STOPPED)

    def progress(self, spool_s: float) -> Progress:
        """Return when what was done last, for the watchdog. From any thread."""
        capture, counts = self._capture, self.counts
        return Progress(
            capture.now,  # read first: it is set last
            capture.since_s,
            self._turn_s,
            self._rest_until_s,
            spool_s,
            counts.frame_s,
            counts.inference_s,
        )

    def _turn(self) -> None:
        self._turn_s = self._clock.now_s()
        self._obey()
        self._outcome.turn()
        self._requests.turn()
        self._take_policy()
        when = self._ask_schedule()
        self._obey()
        self._requests.breaks.tell()
        try:
            left_s = self._requests.breaks.left_s()
            was_open = self._shutter.is_open
            off = self._shutter.turn(when.off if left_s is None else Off.BREAK, left_s)
            self._follow(off, when.off)
            if off is not None:
                wait_s = self._left_s(when) if off is when.off else RETRY_S
                wait_s = min(wait_s, self._requests.aim.wait_s())
                self._rest(max(0.001, wait_s))  # wall time ends at microseconds: do not spin
                return
            if not was_open:
                self.counts.rate.restart()
            # For an aim between checks a frame is waited for as ever: one that is too late is not seen.
            timeout_s = FRAME_TIMEOUT_S if when.off else min(FRAME_TIMEOUT_S, self._left_s(when))
            if timeout_s <= 0.0 or self._called_off():  # to open the camera can take many seconds
                return
            with self._shutter.frame(timeout_s) as frame:
                if not (frame.captured_at < when.until_at and self._take(frame, when)):
                    self.counts.skipped += 1
            self._faults_in_a_row = 0
        except CameraError as error:
            if self._left_s(when) > 0.0 and not self._called_off():  # else nobody waits for a frame any more
                self._bear(error)

    def _obey(self) -> None:
        """Close a camera that may no longer be open, before anything that may wait for the disk."""
        self._shutter.obey(self._requests.breaks.left_s())

    def _rest(self, seconds: float) -> None:
        self._rest_until_s = self._clock.now_s() + seconds
        self._clock.sleep(seconds)
        self._rest_until_s = self._turn_s

    def _left_s(self, when: Look) -> float:
        return max(0.0, (when.until_at - self._clock.now_at()).total_seconds())

    def _take(self, frame: Frame, when: Look) -> bool:
        """Carry a frame; or one that was taken for an aim alone to that. Return whether it was looked at."""
        if when.off is None:
            return self.carry(frame)
        if self._called_off():
            return False
        self._lining_up.look(frame, self._policy.masks)
        self._capture.is_now(Capture.AIMING)
        return True

    def carry(self, frame: Frame) -> bool:
        """Carry one frame from the camera to the spool; return whether it was looked at to the end."""
        if self._called_off():
            return False
        began_s = self._clock.now_s()
        policy, memory, now_s, asked = self._policy, self._memory, frame.captured_s, self._requests.look
        view = self._detector.view(frame.pixels, policy.masks)
        memory.scene, scene = look(memory.scene or first_scene(view), view.content, now_s)
        if aims := self._requests.aim.phase() is Aim.GRANTED:
            memory.tamper = unlearn(memory.tamper)  # to move the camera is what it is for
        memory.tamper, blind = examine(memory.tamper, scene, now_s, self._frozen_after_s)
        if self._clock.now_s() - now_s > STALE_S:
            blind |= {Blind.STALE}
        detections = self._detector.detect(view) if scene.infer or asked is not None else None
        if detections is not None:
            self.counts.latencies.add(self._clock.now_s() - began_s)
        memory.tracks, tracks = follow(memory.tracks, detections, scene, now_s)
        if self._called_off():
            return False
        if aims:
            self._requests.aim.take(frame, view.content, scene, blind)
        sight = Sight(tracks, blind)
        self._judge, found = judge(self._judge, policy.rules, sight, self._beats.last_beat_s, now_s)
        memory.album = keep_best(memory.album, found.shots, frame, policy.masks, policy.thumbnail)
        self._report(found, frame.captured_at)
        self._count(now_s, inferred=detections is not None)
        self.counts.last = LastLook(memory.tamper.figures, blind, now_s - memory.tamper.still_since_s)
        self._tell_sight(sight)
        if asked is not None and detections is not None and now_s >= asked.asked_s:
            self._requests.answer_look(asked, sighting(policy, detections, blind, frame.captured_at))
        return True

    def _called_off(self) -> bool:
        """Whether a break began since the schedule was asked, or the gate would close: nobody looks on."""
        return self._requests.breaks.begun != self._breaks_begun or self._shutter.called_off()

    def _count(self, now_s: float, *, inferred: bool) -> None:
        self.counts.frames += 1
        self.counts.frame_s = self._clock.now_s()
        self.counts.rate.add(self.counts.frame_s)
        if inferred:
            self.counts.ran(now_s)
            self.counts.inference_s = self.counts.frame_s
        inference_s = now_s if inferred else self.evidence.inference_s
        self.evidence = Evidence(self._policy, now_s, inference_s)

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
            self._shutter.close()
            self._stand_down(Ended.POLICY_CHANGED)
            # Spot checks begin with one: a policy has to show that it can be looked with.
            self._policy, self._schedule = policy, Waiting(self._clock.now_s())
            self.evidence = Evidence(policy)

    def _ask_schedule(self) -> Look:
        """Return whether shift, policy, break and spot checks would have the unit watch now."""
        breaks, asked = self._requests.breaks, self._requests.look
        self._breaks_begun = breaks.begun  # before the question: a break that begins in between counts
        now_at, now_s, chance = self._clock.now_at(), self._clock.now_s(), self._chance.random()
        self._schedule, when = schedule(
            self._schedule,
            self._policy,
            now_at,
            now_s,
            chance,
            undecided=self._found.undecided,
            break_left_s=breaks.left_s(),
            asked=asked is not None,
        )
        return when

    def _follow(self, off: Off | None, scheduled: Off | None) -> None:
        """Do what is due now that the gate has closed the camera, or has it open."""
        self._requests.aim.shown(asks=self._shutter.asks)
        if off is not None:
            self._go_off(off)
        elif scheduled is None:
            self._lining_up.forget()
        elif not self._lining_up.on:  # open for an aim alone
            self._stand_down(None)
            self._lining_up.begin()
        if off is None or off is Off.BETWEEN_CHECKS:
            self._come_back(self._clock.now_s())
        else:
            self._prove_off()

    def _go_off(self, why: Off) -> None:
        """Forget what was seen; for longer than until the next check, time stands still meanwhile."""
        if why is not Off.BETWEEN_CHECKS:
            self._requests.aim.end(End.BREAK if why is Off.BREAK else End.FORBIDDEN)
        self._stand_down(ENDED_WHEN.get(why))
        on = self._requests.breaks.on
        if why is not Off.BETWEEN_CHECKS and self._away_since_s is None:
            now_s = self._clock.now_s()
            self._away_since_s = now_s if on is None else min(now_s, on.started_s)
        self._capture.is_now(CAPTURE_WHEN[why], reason_of(why, on) or self._shutter.why)
        if why in REFUSED_WHEN:
            self._requests.refuse_look(
                REFUSED_WHEN[why], f"wanted a time when the unit may look, got: {why.value}"
            )

    def _come_back(self, now_s: float) -> None:
        """Go on where the watch was when it went away: that time counts for nothing."""
        if self._away_since_s is not None:
            self._judge = take_off(self._judge, now_s - self._away_since_s)
            self._beats.skip(self._away_since_s, now_s)
            self._away_since_s = None

    def _prove_off(self) -> None:
        """Run the model once under a policy that does not look now, on black: it has to prove itself too."""
        if self.evidence.inference_s is None:
            view = self._detector.view(np.zeros(BLACK_SHAPE, np.uint8), self._policy.masks)
            self._detector.detect(view)
            self.evidence = Evidence(self._policy, None, self._clock.now_s(), off=True)

    def _stand_down(self, ended: Ended | None) -> None:
        """Forget what the camera saw before it closed. Without a reason what is open stays open."""
        self._forget()
        if ended is None:
            self._judge, self._found = pause(self._judge), Judgement()
        else:
            self._memory = Memory()
            self._judge, closed = interrupt(self._judge, self._policy.rules, ended)
            self._report(Judgement(closed), self._clock.now_at())

    def _forget(self) -> None:
        """Let no picture stay behind, only what was learned of focus and background."""
        self._lining_up.forget()
        if self._memory.scene is not None:
            self._detector.forget()
        self._memory = Memory(tamper=replace(self._memory.tamper, last=None))

    def _bear(self, error: CameraError) -> None:
        """Close a camera that fails, tell the rules that nothing can be told, and wait to try again."""
        self.counts.camera_faults += 1
        self.counts.fault = str(error)
        self._shutter.fail()
        watched = not self._lining_up.on
        self._forget()
        now_s = self._clock.now_s()
        self._come_back(now_s)
        if watched:
            sight, rules = Sight((), frozenset({Blind.STALLED})), self._policy.rules
            self._judge, found = judge(self._judge, rules, sight, self._beats.last_beat_s, now_s)
            self._report(found, self._clock.now_at())
        self._capture.is_now(Capture.CAMERA_FAULT, str(error))
        self._rest(max(0.1, REOPEN.delay_s(self._faults_in_a_row, self._chance.random())))
        self._faults_in_a_row += 1

    def _tell_sight(self, sight: Sight) -> None:
        if sight.blind:
            self._capture.is_now(Capture.BLOCKED, ", ".join(sorted(sight.blind)))
        else:
            self._capture.is_now(Capture.WATCHING)


def frozen_after(sources: Sequence[Path]) -> float:
    """Return after how many seconds the same picture means a frozen camera; no still image does.

    `sources` is the footage that is replayed; empty for a real camera.
    """
    still = bool(sources) and all(is_still(source) for source in sources)
    return math.inf if still else FROZEN_AFTER_S
