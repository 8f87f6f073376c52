"""How a signed policy comes into force: one trial at a time, pure steps, time handed in.

What must survive a power cut is `Notes`; `TwinState` adds what is of this run only.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.uplink.twin_messages import RefusalCode
from edge.uplink.wire import Count, Sha256, Text

MAX_KEYS = 16
MAX_BLOCKED = 32


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which document."""

    version: Count
    sha256: Sha256
    key: Text
    """Id of the key that signed it."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a document that was in force no longer is."""

    mark: Mark
    code: RefusalCode
    problem: Annotated[str, Meta(max_length=1024)]


class Notes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a restart must know."""

    confirmed: Mark | None = None
    """Last-known-good; None: the unit's own file is."""
    trial: Mark | None = None
    newest: Annotated[tuple[Mark, ...], Meta(max_length=MAX_KEYS)] = ()
    """The highest version that was ever put on trial, of each key. A key that is no longer trusted holds none
    back: whoever stole it could have used up every number."""
    blocked: Annotated[tuple[Sha256, ...], Meta(max_length=MAX_BLOCKED)] = ()
    """Documents that failed on trial, the last ones."""
    failure: Failure | None = None
    """Of the last trial, if it failed and nothing came after it."""


@dataclass(frozen=True, slots=True)
class TwinState:
    """Where the unit is with its policy."""

    notes: Notes
    since_s: float = 0.0
    """When the trial began, if there is one."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What speaks for the policy now in force; whoever wires the unit gathers it.

    All of it is under that policy, and over a link with its `broker` settings: until the unit is connected
    with those, `connected` is False and `puback_s` None. Times are monotonic, of the last one.
    """

    connected: bool
    puback_s: float | None
    """The broker acknowledged something that the unit published."""
    frame_s: float | None
    inference_s: float | None
    off: bool
    """The unit may not look now (off shift, on a break). Then no frame is wanted, and the inference was run
    on a blank picture."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A document came that is sound in itself."""

    mark: Mark
    trusted: frozenset[str]
    """Ids of the keys that are trusted now."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Time went on."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class Started:
    """The unit starts: what is on trial by its notes was cut short."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The unit stops cleanly."""


@dataclass(frozen=True, slots=True)
class Unstorable:
    """The trial is proven, but the disk does not take it."""


Signal = Offered | Turn | Started | Stopped | Unstorable


@dataclass(frozen=True, slots=True)
class Begin:
    """Store it, then run it on trial."""


@dataclass(frozen=True, slots=True)
class Resigned:
    """The confirmed document came under another key: keep the new envelope."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Make the document on trial last-known-good."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Run last-known-good again."""


@dataclass(frozen=True, slots=True)
class Untry:
    """Forget the trial, without holding anything against it."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Nothing changes: report how it stands."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing changes, for this reason."""

    code: RefusalCode
    path: str
    problem: str


Action = Begin | Resigned | Confirm | RollBack | Untry | Tell | Refuse


def step(
    state: TwinState, signal: Signal, now_s: float, timeout_s: float
) -> tuple[TwinState, tuple[Action, ...]]:
    """Return what becomes of `state`, and what is to be done for it to hold."""
    if isinstance(signal, Offered):
        return _offered(state, signal, now_s)
    trial = state.notes.trial
    return (state, ()) if trial is None else _moved(state, trial, signal, now_s - timeout_s)


def _moved(
    state: TwinState, trial: Mark, signal: Turn | Started | Stopped | Unstorable, overdue_s: float
) -> tuple[TwinState, tuple[Action, ...]]:
    """Move a trial on; one that began at `overdue_s` or before has had its time."""
    match signal:
        case Turn(proof):
            code = missing(proof, state.since_s)
            if code is None:
                return _confirmed(state.notes, trial), (Confirm(),)
            if state.since_s > overdue_s:
                return state, ()
        case Started():
            code = RefusalCode.TRIAL_INTERRUPTED
        case Unstorable():
            problem = "wanted room on the unit's disk to confirm it, got none: it may be tried again"
            failure = Failure(mark=trial, code=RefusalCode.NOT_STORED, problem=problem)
            return _without_trial(state.notes, failure), (RollBack(),)
        case Stopped():
            return _without_trial(state.notes), (Untry(),)
    return _failed(state.notes, trial, code), (RollBack(),)


def missing(proof: Proof, since_s: float) -> RefusalCode | None:
    """Return the first thing that the trial lacks; None when it is proven."""

    def came(at_s: float | None) -> bool:
        return at_s is not None and at_s >= since_s

    if not proof.connected:
        return RefusalCode.TRIAL_NOT_CONNECTED
    if not came(proof.puback_s):
        return RefusalCode.TRIAL_NOT_PUBLISHED
    if not (proof.off or came(proof.frame_s)):
        return RefusalCode.TRIAL_NO_FRAME
    return None if came(proof.inference_s) else RefusalCode.TRIAL_NO_INFERENCE


def _offered(state: TwinState, offer: Offered, now_s: float) -> tuple[TwinState, tuple[Action, ...]]:
    notes, mark = state.notes, offer.mark
    if same(notes.trial, mark):
        return state, (Tell(),)
    if notes.trial is None and same(notes.confirmed, mark):
        return _confirmed_again(state, mark)
    refusal = _used_up(notes, offer)
    if refusal is not None:
        again = notes.failure is not None and same(notes.failure.mark, mark)
        return state, ((Tell(), refusal) if again and refusal.code is RefusalCode.BLOCKED else (refusal,))
    others = tuple(one for one in notes.newest if one.key != mark.key)
    notes = msgspec.structs.replace(notes, trial=mark, newest=(mark, *others)[:MAX_KEYS], failure=None)
    return TwinState(notes, now_s), (Begin(), Tell())


def _confirmed_again(state: TwinState, mark: Mark) -> tuple[TwinState, tuple[Action, ...]]:
    notes = state.notes
    if notes.failure is not None:
        # The operator went back to it: what failed in between is past.
        state = replace(state, notes=msgspec.structs.replace(notes, failure=None))
    if notes.confirmed == mark:
        return state, (Tell(),)
    others = tuple(one for one in notes.newest if one.key != mark.key)
    held = next((one for one in notes.newest if one.key == mark.key and one.version > mark.version), mark)
    notes = msgspec.structs.replace(state.notes, confirmed=mark, newest=(held, *others)[:MAX_KEYS])
    return replace(state, notes=notes), (Resigned(), Tell())


def _used_up(notes: Notes, offer: Offered) -> Refuse | None:
    """Tell why this version or these bytes cannot come (any more)."""
    mark = offer.mark
    held = [one for one in notes.newest if one.key in offer.trusted]
    newest = max(held, key=lambda one: one.version, default=None)
    if newest is not None and mark.version < newest.version:
        problem = (
            f"wanted version {newest.version} at least, as this unit had that before, got {mark.version}"
        )
        return Refuse(RefusalCode.OLDER_VERSION, "$.version", problem)
    if newest is not None and mark.version == newest.version and not same(newest, mark):
        problem = (
            f"version {mark.version} had other bytes before: wanted a higher version for a changed policy"
        )
        return Refuse(RefusalCode.VERSION_REUSED, "$.version", problem)
    if mark.sha256 in notes.blocked:
        problem = (
            "this very document failed its trial on this unit: wanted a changed one, with a higher version"
        )
        return Refuse(RefusalCode.BLOCKED, "$", problem)
    return None


def same(one: Mark | None, other: Mark) -> bool:
    """Tell whether both are the same document, whoever signed it."""
    return one is not None and one.sha256 == other.sha256


def _confirmed(notes: Notes, trial: Mark) -> TwinState:
    return TwinState(msgspec.structs.replace(notes, confirmed=trial, trial=None, failure=None))


def _without_trial(notes: Notes, failure: Failure | None = None) -> TwinState:
    return TwinState(msgspec.structs.replace(notes, trial=None, failure=failure))


def _failed(notes: Notes, trial: Mark, code: RefusalCode) -> TwinState:
    others = tuple(sha256 for sha256 in notes.blocked if sha256 != trial.sha256)
    blocked = (trial.sha256, *others)[:MAX_BLOCKED]
    failure = Failure(mark=trial, code=code, problem=_PROBLEMS[code])
    return TwinState(msgspec.structs.replace(notes, trial=None, blocked=blocked, failure=failure))


_PROBLEMS = {
    RefusalCode.TRIAL_NOT_CONNECTED: "wanted a connection to its broker in time, got none",
    RefusalCode.TRIAL_NOT_PUBLISHED: "wanted a broker's acknowledgement in time, got none",
    RefusalCode.TRIAL_NO_FRAME: "wanted a picture from the camera in time, got none",
    RefusalCode.TRIAL_NO_INFERENCE: "wanted an inference in time, got none",
    RefusalCode.TRIAL_INTERRUPTED: "wanted a trial to its end, got a crash or a power cut before it",
}
