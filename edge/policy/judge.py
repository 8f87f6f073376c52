"""The judge: from what is in sight now to infractions that open once and close once. A pure step.

Every rule answers yes, no, or cannot tell; only seconds of "yes" count towards a verdict, so a blind
camera and a person who sits too still for the detector are never taken for an empty chair.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.policy.document import PERSON, ActivityRule, ObjectRule, PeopleRule, Rule, TamperRule
from edge.vision.types import Blind, Box, Sight, Track

STALE_GAP_S = 5.0
"""Two looks further apart than this say nothing of the time between them."""
UNSURE_S = 5.0
"""A hold is given up when the answer has been "cannot tell" for so long."""
LOST_SIGHT_S = 30.0
"""An open infraction closes when the answer has been "cannot tell" for so long."""
HOLD_BOUND = 10.0
"""A hold is given up after so many times what it takes: seen now and then is not seen."""

_OUT_OF_DATE = frozenset({Blind.STALLED, Blind.STALE, Blind.FROZEN})
"""What is in sight is not the present, so not even a "yes" can be told."""


class Answer(enum.Enum):
    """What a rule says of one moment."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


class Ended(enum.StrEnum):
    """Why an infraction closed."""

    ENDED = "ended"
    """It was not seen for the rule's `release_s`."""
    LOST_SIGHT = "lost-sight"
    """For 30 s nobody could tell."""
    OFF_SHIFT = "off-shift"
    """The shift, or the policy, ended."""
    NOT_ALLOWED = "not-allowed"
    """The camera had to close: no notice accepted, no light, a repair, safe mode."""
    POLICY_CHANGED = "policy-changed"
    """A new policy took over."""
    STOPPED = "stopped"
    """The unit was stopped."""
    RESTARTED = "restarted"
    """The unit died while it was open: it lasted at least as long as is told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's answer, and what it rests on."""

    answer: Answer
    tracks: tuple[Track, ...] = ()
    """The tracks that make the answer "yes"; empty where it rests on something missing."""
    blind: frozenset[Blind] = frozenset()
    """For tamper rules: the causes."""

    @property
    def score(self) -> float:
        """Best score of the tracks, 0-1; 0 where there are none."""
        return max((track.score for track in self.tracks), default=0.0)


@dataclass(frozen=True, slots=True)
class Clear:
    """Nothing found. Silent until `quiet_until_s`."""

    quiet_until_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Holding:
    """Found, and not yet for long enough."""

    since_s: float
    credited_s: float
    """Seconds of "yes" so far."""
    stepped_s: float
    last_yes: bool
    """Whether the step before said "yes", so that the time since then counts."""
    best: Finding
    """The "yes" of the highest score so far: the first of several."""
    unsure_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Reported, and not over."""

    since_s: float
    last_yes_s: float
    stepped_s: float
    no_s: float = 0.0
    """Seconds of "no" since the last "yes"."""
    last_no: bool = False
    unsure_since_s: float | None = None

    @property
    def ending(self) -> bool:
        """Whether it may close soon: the answer is no longer "yes"."""
        return self.last_yes_s != self.stepped_s


RuleState = Clear | Holding | Open
JudgeState = Mapping[str, RuleState]
"""State by rule id; a rule that is not in it is clear."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An infraction is confirmed."""

    rule: Rule
    since_s: float
    """When it was first seen, monotonic seconds."""
    now_s: float
    finding: Finding
    """The best of the hold; the best shot is of the same moment."""


@dataclass(frozen=True, slots=True)
class Closed:
    """An open infraction is over."""

    rule: Rule
    duration_s: float
    """From the first "yes" to the last."""
    reason: Ended


@dataclass(frozen=True, slots=True)
class Shot:
    """This moment may serve as evidence for the rule."""

    rule_id: str
    boxes: tuple[Box, ...]
    """What may be sharp: nothing, for any rule but an object's."""
    quality: float
    """To compare shots of one hold: the higher, the better."""
    first: bool
    """The first of its hold: what an earlier one left is of no use."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one step found."""

    verdicts: tuple[Opened | Closed, ...] = ()
    shots: tuple[Shot, ...] = ()
    on_hold: frozenset[str] = frozenset()
    """Ids of the rules that wait for their verdict."""
    undecided: bool = False
    """Whether any rule waits to open or to close: a spot check should look on."""


def judge(
    state: JudgeState, rules: Sequence[Rule], sight: Sight, last_beat_s: float | None, now_s: float
) -> tuple[JudgeState, Judgement]:
    """Return the new state and what this moment adds.

    `last_beat_s` is when the workstation was last active, monotonic seconds; None where nothing tells.
    """
    after: dict[str, RuleState] = {}
    verdicts: list[Opened | Closed] = []
    shots: list[Shot] = []
    for rule in rules:
        before = state.get(rule.id, Clear())
        finding = ask(rule, sight, last_beat_s, now_s, counted=not isinstance(before, Clear))
        after[rule.id], verdict = _step(rule, before, finding, now_s)
        if verdict is not None:
            verdicts.append(verdict)
        if rule.thumbnail and finding.answer is Answer.YES and _wants_shot(after[rule.id], verdict):
            boxes = tuple(track.box for track in finding.tracks) if isinstance(rule, ObjectRule) else ()
            shots.append(Shot(rule.id, boxes, finding.score, first=_since_s(after[rule.id]) == now_s))
    on_hold = frozenset(rule_id for rule_id, now in after.items() if isinstance(now, Holding))
    ending = any(isinstance(now, Open) and now.ending for now in after.values())
    return after, Judgement(tuple(verdicts), tuple(shots), on_hold, bool(on_hold) or ending)


def interrupt(
    state: JudgeState, rules: Sequence[Rule], reason: Ended
) -> tuple[JudgeState, tuple[Closed, ...]]:
    """Close all that is open, for a reason that is not the infraction's own, and forget what was on hold."""
    closed = tuple(
        Closed(rule, before.last_yes_s - before.since_s, reason)
        for rule in rules
        if isinstance(before := state.get(rule.id), Open)
    )
    return {}, closed


def pause(state: JudgeState) -> JudgeState:
    """Return the state to go on with after a time not watched: holds lapse, what is open stays open."""
    return {
        rule_id: dataclasses.replace(now, no_s=0.0, last_no=False, unsure_since_s=None)
        if isinstance(now, Open)
        else now
        for rule_id, now in state.items()
        if not isinstance(now, Holding)
    }


def ask(rule: Rule, sight: Sight, last_beat_s: float | None, now_s: float, *, counted: bool) -> Finding:
    """Return the rule's answer for this moment.

    `counted` says that it answered "yes" before, so that scores need only stay above `leave`.
    """
    match rule:
        case ObjectRule():
            return _ask_object(rule, sight, rule.leave_score if counted else rule.enter)
        case PeopleRule():
            return _ask_people(rule, sight, rule.leave_score if counted else rule.enter)
        case TamperRule():
            causes = frozenset(cause for cause in sight.blind if cause.value in rule.causes)
            if causes:
                return Finding(Answer.YES, blind=causes)
            return Finding(Answer.UNKNOWN if sight.blind else Answer.NO)
        case ActivityRule():
            if last_beat_s is None:
                return Finding(Answer.UNKNOWN)
            return Finding(Answer.YES if now_s - last_beat_s >= rule.quiet_s else Answer.NO)


def _ask_object(rule: ObjectRule, sight: Sight, threshold: float) -> Finding:
    if sight.blind & _OUT_OF_DATE:
        return Finding(Answer.UNKNOWN)
    likely = [track for track in sight.tracks if track.label in rule.labels and track.score >= threshold]
    seen = tuple(track for track in likely if track.seen)
    if seen:
        return Finding(Answer.YES, seen)
    return Finding(Answer.UNKNOWN if likely or sight.blind else Answer.NO)


def _ask_people(rule: PeopleRule, sight: Sight, threshold: float) -> Finding:
    """Compare with the bound the range that the head count lies in: those seen, to those perhaps there."""
    if sight.blind & _OUT_OF_DATE:
        return Finding(Answer.UNKNOWN)
    people = [
        track for track in sight.tracks if track.label == PERSON and track.box.height >= rule.min_height
    ]
    seen = tuple(track for track in people if track.seen and track.score >= threshold)
    if rule.max is not None:
        if len(seen) > rule.max:
            return Finding(Answer.YES, seen)
        unsure = [track for track in people if not track.seen and track.score >= threshold]
        possible = len(seen) + len(unsure) > rule.max
        return Finding(Answer.UNKNOWN if possible or sight.blind else Answer.NO)
    at_least = rule.min or 1
    if len(seen) >= at_least:
        return Finding(Answer.NO)
    # Anyone the tracker still holds, at whatever score, speaks against an empty chair.
    return Finding(Answer.UNKNOWN if len(people) >= at_least or sight.blind else Answer.YES)


def _wants_shot(after: RuleState, verdict: Opened | Closed | None) -> bool:
    return isinstance(after, Holding) or isinstance(verdict, Opened)


def _since_s(state: RuleState) -> float | None:
    return None if isinstance(state, Clear) else state.since_s


def _step(
    rule: Rule, before: RuleState, finding: Finding, now_s: float
) -> tuple[RuleState, Opened | Closed | None]:
    match before:
        case Clear(quiet_until_s):
            if finding.answer is not Answer.YES or now_s < quiet_until_s:
                return before, None
            return _begin(rule, finding, now_s)
        case Holding():
            return _hold(rule, before, finding, now_s)
        case Open():
            return _follow(rule, before, finding, now_s)


def _begin(rule: Rule, finding: Finding, now_s: float) -> tuple[RuleState, Opened | None]:
    holding = Holding(now_s, 0.0, now_s, last_yes=True, best=finding)
    return _open_if_due(rule, holding)


def _open_if_due(rule: Rule, holding: Holding) -> tuple[RuleState, Opened | None]:
    # Sums of frame times fall short of a round hold by an ulp.
    if holding.credited_s < rule.hold_s - 1e-6:
        return holding, None
    now_s = holding.stepped_s
    return Open(holding.since_s, now_s, now_s), Opened(rule, holding.since_s, now_s, holding.best)


def _hold(
    rule: Rule, before: Holding, finding: Finding, now_s: float
) -> tuple[RuleState, Opened | Closed | None]:
    """Count the seconds of "yes" between two steps that both said so; open when they are enough."""
    if finding.answer is Answer.NO:
        return Clear(), None
    elapsed_s = now_s - before.stepped_s
    unsure_since_s = before.unsure_since_s
    unsure = finding.answer is Answer.UNKNOWN or elapsed_s > STALE_GAP_S
    if unsure and unsure_since_s is None:
        unsure_since_s = before.stepped_s
    too_long = now_s - before.since_s > HOLD_BOUND * (rule.hold_s + UNSURE_S)
    if too_long or (unsure_since_s is not None and now_s - unsure_since_s > UNSURE_S):
        return _begin(rule, finding, now_s) if finding.answer is Answer.YES else (Clear(), None)
    if unsure:
        unsure_state = dataclasses.replace(
            before, stepped_s=now_s, last_yes=finding.answer is Answer.YES, unsure_since_s=unsure_since_s
        )
        return unsure_state, None
    credited_s = before.credited_s + (elapsed_s if before.last_yes else 0.0)
    best = finding if finding.score > before.best.score else before.best
    return _open_if_due(rule, Holding(before.since_s, credited_s, now_s, last_yes=True, best=best))


def _follow(
    rule: Rule, before: Open, finding: Finding, now_s: float
) -> tuple[RuleState, Opened | Closed | None]:
    """Keep the infraction open until the answer was "no" for `release_s` in all, or long unknown."""
    elapsed_s = now_s - before.stepped_s
    match finding.answer:
        case Answer.YES:
            return Open(before.since_s, now_s, now_s), None
        case Answer.NO:
            counts = before.last_no and elapsed_s <= STALE_GAP_S
            no_s = before.no_s + (elapsed_s if counts else 0.0)
            if no_s < rule.release_s - 1e-6:
                after = dataclasses.replace(
                    before, stepped_s=now_s, no_s=no_s, last_no=True, unsure_since_s=None
                )
                return after, None
            reason = Ended.ENDED
        case Answer.UNKNOWN:
            since_s = now_s if before.unsure_since_s is None else before.unsure_since_s
            if now_s - since_s < LOST_SIGHT_S:
                after = dataclasses.replace(before, stepped_s=now_s, last_no=False, unsure_since_s=since_s)
                return after, None
            reason = Ended.LOST_SIGHT
    closed = Closed(rule, before.last_yes_s - before.since_s, reason)
    return Clear(quiet_until_s=now_s + rule.cooldown_s), closed
