"""What other threads ask of the watch: a break, its end, a look now."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from edge.aim import End
from edge.aim_holder import AimHolder
from edge.breaks import Breaks
from edge.clock import Clock
from edge.policy.breaks import BreakBy, Now
from edge.policy.document import PERSON, ObjectRule, PeopleRule, Policy, Rule
from edge.policy.document import Breaks as PolicyBreaks
from edge.uplink.command_messages import (
    BreakResult,
    CommandError,
    ResumeResult,
    Seen,
    SpotCheckResult,
)
from edge.uplink.commands import Answer, NotDone
from edge.uplink.messages import Capture
from edge.uplink.wire import Problem, timestamp
from edge.vision.types import Blind, Detection

LOOK_WITHIN_S = 10.0
"""A look that is asked for and has not been taken by then is given up."""
LOOK_EVERY_S = 30.0
"""Spot checks by command come no faster: else whoever asks often enough would have a continuous watch."""


@dataclass(frozen=True, slots=True)
class AskedLook:
    """Somebody wants to know what is to be seen now."""

    answer: Answer
    asked_s: float
    """Only a frame from then on is "now"."""


class Requests:
    """Asked from any thread; the watch reads `look` and `breaks.on` between two frames."""

    def __init__(self, breaks: Breaks, clock: Clock) -> None:
        self.breaks = breaks
        self.look: AskedLook | None = None
        self.aim = AimHolder(clock)
        self._clock = clock
        self._lock = Lock()
        self._look_due_s = -math.inf

    def start_break(self, reason: str, by: BreakBy = BreakBy.COMMAND) -> BreakResult:
        """Start a break, or return the end of the one that is on."""
        on = self.breaks.start(reason, by)
        self.aim.end(End.BREAK)
        now = Now(self._clock.now_at(), self._clock.now_s(), synchronised=True)
        return BreakResult(ends_at=timestamp(on.ends_at(now)))

    def end_break(self, _reason: str, by: BreakBy = BreakBy.COMMAND) -> ResumeResult:
        """End the break. Raises NotDone where there is none."""
        return ResumeResult(lasted_s=round(self.breaks.end(by), 3))

    def look_now(self, answer: Answer) -> None:
        """Have the watch look. Raises NotDone where it is about to already."""
        with self._lock:
            if self.look is not None:
                raise NotDone(CommandError.BUSY, "wanted one look at a time: another is being taken")
            now_s = self._clock.now_s()
            if now_s < self._look_due_s:
                wait_s = self._look_due_s - now_s
                raise NotDone(
                    CommandError.BUSY, f"wanted one look in {LOOK_EVERY_S:g} s: ask in {wait_s:.0f} s"
                )
            self._look_due_s = now_s + LOOK_EVERY_S
            self.look = AskedLook(answer, now_s)
        self._clock.wake()

    def answer_look(self, asked: AskedLook, what: SpotCheckResult | Problem) -> None:
        """Answer a look that was asked for, if that has not been done."""
        with self._lock:
            if self.look is not asked:
                return
            self.look = None
            if isinstance(what, Problem):
                self._look_due_s = -math.inf  # nothing was seen
        asked.answer(what)

    def refuse_look(self, code: CommandError, problem: str) -> None:
        """Answer the look that was asked for, if there is one, with why none is taken."""
        asked = self.look
        if asked is not None:
            self.answer_look(asked, Problem(code=code, problem=problem))

    def turn(self) -> None:
        """End a break, an aim, a look whose time is over. To be called about once a second."""
        self.breaks.turn()
        self.aim.turn()
        asked = self.look
        if asked is not None and self._clock.now_s() - asked.asked_s >= LOOK_WITHIN_S:
            problem = f"wanted a picture within {LOOK_WITHIN_S:g} s, got none: see the unit's state"
            self.answer_look(asked, Problem(code=CommandError.NO_FRAME, problem=problem))


def nobody_asks(clock: Clock) -> Requests:
    """Return what a watch has that stands alone: no break is told of, none outlasts it."""
    return Requests(Breaks(clock, lambda: PolicyBreaks().max_s, lambda _change, _now: None), clock)


def sighting(
    policy: Policy, detections: Sequence[Detection], blind: frozenset[Blind], frame_at: dt.datetime
) -> SpotCheckResult:
    """Return what a frame showed that counts for a rule, and nothing else of the worker's home."""
    scores: dict[str, list[float]] = {}
    for seen in detections:
        if any(_counts(rule, seen) for rule in policy.rules):
            scores.setdefault(seen.label, []).append(seen.score)
    return SpotCheckResult(
        capture=Capture.BLOCKED if blind else Capture.WATCHING,
        seen=tuple(
            Seen(label=label, count=len(found), score=round(max(found), 4))
            for label, found in sorted(scores.items())
        ),
        blind=tuple(sorted(blind)),
        frame_at=timestamp(frame_at),
    )


def _counts(rule: Rule, seen: Detection) -> bool:
    match rule:
        case ObjectRule():
            return seen.label in rule.labels and seen.score >= rule.enter
        case PeopleRule():
            tall = seen.box.height >= rule.min_height
            return seen.label == PERSON and seen.score >= rule.enter and tall
        case _:
            return False
