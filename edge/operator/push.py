"""Pushing a policy: what became of it at each unit, as far as the unit has said.

`step` is pure: a unit's progress and something that happened, to its progress.
"""

import enum
from dataclasses import dataclass, replace

from edge.operator.presence import later
from edge.uplink.messages import State
from edge.uplink.twin_messages import Phase, Reported


class Outcome(enum.StrEnum):
    """How far a unit is."""

    WAITING = "waiting"
    """The broker does not have it yet."""
    NOT_TAKEN = "not taken"
    """The broker refused it."""
    SENT = "sent"
    """The broker has it, and gives it to the unit; the unit said nothing yet."""
    TRIAL = "on trial"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    REPLACED = "replaced"
    """Another policy came to the unit after this one."""


FINAL = frozenset(
    {Outcome.NOT_TAKEN, Outcome.CONFIRMED, Outcome.REFUSED, Outcome.ROLLED_BACK, Outcome.REPLACED}
)
_OUTCOMES = {
    Phase.TRIAL: Outcome.TRIAL,
    Phase.CONFIRMED: Outcome.CONFIRMED,
    Phase.REFUSED: Outcome.REFUSED,
    Phase.ROLLED_BACK: Outcome.ROLLED_BACK,
}


@dataclass(frozen=True, slots=True)
class Said:
    """A report of the unit came."""

    reported: Reported
    before: bool
    """Whether it was said before the policy was published."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The broker answered."""

    failure: str | None


Happening = State | Said | Delivered


@dataclass(frozen=True, slots=True)
class Progress:
    """One unit's."""

    unit: str
    outcome: Outcome = Outcome.WAITING
    detail: str = ""
    state: State | None = None
    """The latest; None for a unit that was never heard of."""
    stale: Reported | None = None
    """What it had said before: no answer to this push, even where it is of the same bytes."""

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self.outcome in FINAL

    @property
    def offline(self) -> bool:
        """Whether the unit is known not to be there."""
        return self.state is None or not self.state.online


def step(progress: Progress, happening: Happening, sha256: str) -> Progress:
    """Return a unit's progress with the document of that hash, after something happened."""
    match happening:
        case State():
            return replace(progress, state=happening) if later(progress.state, happening) else progress
        case Delivered(failure):
            if failure:
                return replace(progress, outcome=Outcome.NOT_TAKEN, detail=failure)
            return (
                replace(progress, outcome=Outcome.SENT) if progress.outcome is Outcome.WAITING else progress
            )
        case Said(reported, before):
            known = replace(progress, stale=reported) if before else progress
            return _heard(known, reported, sha256)


def _heard(progress: Progress, reported: Reported, sha256: str) -> Progress:
    document = reported.desired
    ours = document is not None and document.sha256 == sha256
    # What is in force already is so whenever it was said. Of a refusal, the cause may be gone: the clock is
    # set by now, or the key trusted.
    if reported == progress.stale and not (ours and reported.phase in (Phase.CONFIRMED, Phase.TRIAL)):
        return progress
    if reported != progress.stale:
        progress = replace(progress, stale=None)
    if document is None and reported.phase is Phase.REFUSED:  # nothing in the envelope could be read
        return replace(progress, outcome=Outcome.REFUSED, detail=_why(reported))
    if not ours:
        replaced = progress.outcome in (Outcome.TRIAL, Outcome.CONFIRMED)
        return replace(progress, outcome=Outcome.REPLACED, detail=_other(reported)) if replaced else progress
    outcome = _OUTCOMES.get(reported.phase)
    return replace(progress, outcome=outcome, detail=_why(reported)) if outcome else progress


def _why(reported: Reported) -> str:
    error = reported.error
    return f"{error.code} at {error.path}: {error.problem}" if error else ""


def _other(reported: Reported) -> str:
    document = reported.desired
    return f"by version {document.version}, {document.sha256[:12]}" if document else "by another policy"


def verdict(progress: Progress) -> str:
    """Return in words where a unit is, and what that means."""
    match progress.outcome:
        case Outcome.TRIAL:
            return "on trial: not yet confirmed"
        case Outcome.WAITING | Outcome.SENT if progress.state is None:
            return "no answer: no unit of that name was ever heard of"
        case Outcome.WAITING:
            return "waiting for the broker"
        case Outcome.SENT if progress.offline:
            return "waiting: offline; it gets the policy when it is back"
        case Outcome.SENT:
            return "no answer"
        case outcome:
            return f"{outcome}{f': {progress.detail}' if progress.detail else ''}"
