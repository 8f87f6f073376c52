"""What is in force when the unit starts: believed only as far as a trusted key has signed it.

A policy whose key is no longer trusted is not believed either. An edit on the disk cannot be told from a key
that was taken away, and a key is taken away because what it signs is no longer wanted. The way to change keys
is to trust both, push the policy under the new one, see every unit report that, and then take the old one
away. The file stays: with its key back, it is in force again.
"""

from dataclasses import dataclass

import msgspec

from edge.policy.document import Policy
from edge.uplink.envelope import Signed
from edge.uplink.inbox import Refusal
from edge.uplink.twin_check import Checks, sha256_of
from edge.uplink.twin_messages import RefusalCode
from edge.uplink.twin_state import MAX_KEYS, Mark, Notes, TwinState, same
from edge.uplink.twin_store import Loaded


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the twin begins. A trial that stands in the state was cut short."""

    state: TwinState
    policy: Policy | None
    """The confirmed one; None: there is none, or it cannot be in force."""
    left: Mark | None
    """What was confirmed and cannot be in force, and why."""
    fault: Refusal | None


def recover(loaded: Loaded, checks: Checks) -> Recovered:
    """Return what can be in force of what was on the disk."""
    notes, left = loaded.notes, loaded.notes.confirmed
    policy, mark, fault = None, None, _as_refusal(loaded)
    if loaded.confirmed is not None:
        try:
            policy = checks.read(loaded.confirmed.document)
            mark = _mark(loaded.confirmed, policy)
            _check_noted(mark, notes)
        except Refusal as refusal:
            policy, mark, fault = None, None, refusal
    if left is not None and policy is None and fault is None:
        fault = Refusal(RefusalCode.BAD_ENVELOPE, "$", "wanted the confirmed policy on the disk, got no file")
    notes = msgspec.structs.replace(notes, confirmed=mark)
    if loaded.lost:
        notes = msgspec.structs.replace(notes, trial=_read_trial(loaded, checks))
    notes = _at_least(notes)
    return Recovered(TwinState(notes), policy, left, fault)


def _as_refusal(loaded: Loaded) -> Refusal | None:
    return None if loaded.fault is None else Refusal(loaded.fault.code, "$", loaded.fault.problem)


def _check_noted(mark: Mark, notes: Notes) -> None:
    """Refuse a signed file that somebody else put there: an older one, or one that failed.

    One that is newer than the notes know is the unit's own: a card may have lost one of two writes.
    """
    noted = notes.confirmed
    if same(noted, mark):
        return
    if mark.sha256 in notes.blocked:
        raise Refusal(
            RefusalCode.BLOCKED, "$", "the file of the confirmed policy holds one that failed its trial"
        )
    if noted is not None and mark.version <= noted.version:
        problem = f"the file of the confirmed policy: wanted version {noted.version}, got {mark.version}"
        raise Refusal(RefusalCode.OLDER_VERSION, "$.version", problem)


def _read_trial(loaded: Loaded, checks: Checks) -> Mark | None:
    """Return what was on trial when the notes were lost."""
    if loaded.trial is None:
        return None
    try:
        return _mark(loaded.trial, checks.read(loaded.trial.document))
    except Refusal:
        return None


def _at_least(notes: Notes) -> Notes:
    """Return notes that know the versions that the envelopes tell, whatever became of the rest."""
    newest = {mark.key: mark for mark in reversed(notes.newest)}
    for mark in (notes.confirmed, notes.trial):
        if mark is not None and (mark.key not in newest or newest[mark.key].version < mark.version):
            newest[mark.key] = mark
    return msgspec.structs.replace(notes, newest=tuple(reversed(newest.values()))[:MAX_KEYS])


def _mark(signed: Signed, policy: Policy) -> Mark:
    return Mark(version=policy.version, sha256=sha256_of(signed.document), key=signed.kid)
