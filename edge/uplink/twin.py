"""The policy in force, and how a signed one from afar comes into force: on trial first, then for good."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Lock

from edge.clock import Clock
from edge.policy.document import Policy
from edge.uplink.allowance import Allowance
from edge.uplink.envelope import EnvelopeError, PublicKey, Signed, open_envelope
from edge.uplink.inbox import Refusal
from edge.uplink.signals import Received
from edge.uplink.twin_check import Checks, check_fresh, sha256_of
from edge.uplink.twin_messages import Document, RefusalCode, Reported
from edge.uplink.twin_report import TwinReports, document
from edge.uplink.twin_start import recover
from edge.uplink.twin_state import (
    Action,
    Begin,
    Confirm,
    Mark,
    Offered,
    Proof,
    Refuse,
    Resigned,
    Signal,
    Started,
    Stopped,
    Tell,
    Turn,
    TwinState,
    Unstorable,
    same,
    step,
)
from edge.uplink.twin_store import NotStored, TwinStore

TRIALS_AT_ONCE, TRIALS_EVERY_S = 20, 900.0
"""So many new policies at once, then one in so long: with the longest, the worker's log still holds days."""
_TOO_MANY = Refusal(
    RefusalCode.TOO_MANY,
    "$",
    f"wanted at most {TRIALS_AT_ONCE} new policies at once and one in {TRIALS_EVERY_S / 60:g} min after that,"
    " got more: send it again later",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A policy and what it is known by."""

    policy: Policy
    document: Document


class Twin:
    """Owns the policy. `desired` and `turn` belong to the uplink's thread; `policy` may be read from any."""

    policy: Policy
    """In force now; replaced as a whole. Whoever reads it twice may get two."""

    def __init__(
        self,
        store: TwinStore,
        trusted: Mapping[str, PublicKey],
        unit: str,
        labels: Collection[str],
        local: tuple[Policy, bytes],
        clock: Clock,
        *,
        confirm_timeout_s: float,
        report: Callable[[Reported], None],
        proof: Callable[[], Proof],
        session: int,
        plain_broker: bool = False,
        trials: Allowance | None = None,
    ) -> None:
        """Read what is stored; a trial that a crash cut short is rolled back here.

        `local` is the unit's own file, parsed and in bytes: in force until the first signed policy. It is not
        signed, so its version holds none back. `report` is first called by the first `turn` or `desired`.
        `plain_broker` lets a policy name a broker without TLS: for a unit whose own is without it.
        `trials` is spent by each new document: the worker's log has them whole.
        """
        self._store = store
        self._trusted = trusted
        self._checks = Checks(unit, labels, plain_broker)
        self._clock = clock
        self._timeout_s = confirm_timeout_s
        self._trials = trials or Allowance(TRIALS_AT_ONCE, TRIALS_EVERY_S, clock.now_s)
        self._reports = TwinReports(report, clock, session)
        self._proof = proof
        self._lock = Lock()
        self._stopped = self._full = False
        self._envelope = b""  # of the trial
        policy, content = local
        self._good = _Running(policy, Document(version=policy.version, sha256=sha256_of(content)))
        self._start()

    def _start(self) -> None:
        recovered = recover(self._store.load(self._open), self._checks)
        self._state, mark = recovered.state, recovered.state.notes.confirmed
        if recovered.policy is not None and mark is not None:
            self._good = _Running(recovered.policy, document(mark))
        self._lay(self._good)
        self._state, actions = self._step(Started())
        if actions:
            self._settle()
        self._reports.prepare(self._standing())
        if (fault := recovered.fault) is not None:
            _log.error("the confirmed policy is not in force: %s", fault)
            self._reports.prepare(self._reports.fallen(recovered.left, fault, self._running.document))

    @property
    def confirmed(self) -> Policy:
        """Last-known-good: in force too, unless another is on trial."""
        return self._good.policy

    @property
    def reported(self) -> Reported:
        """What was reported last, or will be by the first turn."""
        return self._reports.last

    def desired(self, message: Received) -> None:
        """Take the payload of `config/desired`: the Inbox's handler. Raises Refusal, once it is reported.

        It is retained, and so comes again with every connection; an empty one is its deletion. Neither
        changes anything.
        """
        with self._lock:
            if self._stopped or not message.payload:
                return
            signed = None
            try:
                signed = self._open(message.payload)
                self._offer(message.payload, signed)
            except EnvelopeError as error:
                raise self._refused(None, Refusal(error.code, "$", error.problem)) from error
            except NotStored as error:
                raise self._refused(signed, Refusal(RefusalCode.NOT_STORED, "$", str(error))) from error

    def turn(self) -> None:
        """Move a trial on; to be called at least once a second."""
        with self._lock:
            if self._stopped:
                return
            self._reports.tell_prepared()
            if self._state.notes.trial is None:
                return
            state, actions = self._step(Turn(self._proof()))
            if Confirm() in actions:
                self._confirm(state)
            elif actions:
                self._roll_back(state)

    def stop(self, *, crashed: bool = False) -> None:
        """End a running trial; from now on nothing changes.

        It is not held against the policy, unless the unit crashed under it: that policy is blocked.
        """
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._state, actions = self._step(Started() if crashed else Stopped())
                if actions:
                    self._settle()

    def _offer(self, envelope: bytes, signed: Signed) -> None:
        """Put a document on trial, if it is sound in itself and the state has room for it."""
        policy, mark = self._look(signed)
        state, actions = self._step(Offered(mark, frozenset(self._trusted)))
        for action in actions:
            match action:
                case Begin():
                    assert policy is not None
                    if not self._trials.spend():
                        raise self._refused(signed, _TOO_MANY)
                    self._begin(envelope, policy, state)
                case Resigned():
                    self._store.resign(envelope, state.notes)
                    self._state = state
                    _log.info("the policy in force came under key %s", mark.key)
                case Tell():
                    self._state = state
                    self._reports.tell(self._standing())
                case Refuse():
                    refusal = Refusal(action.code, action.path, action.problem)
                    raise refusal if Tell() in actions else self._refused(signed, refusal)
                case _:
                    pass

    def _look(self, signed: Signed) -> tuple[Policy | None, Mark]:
        """Return what was signed. What runs, and is offered again, has passed its checks: None."""
        notes, sha256 = self._state.notes, sha256_of(signed.document)
        known = notes.trial or notes.confirmed
        mark = Mark(version=known.version if known is not None else 0, sha256=sha256, key=signed.kid)
        if same(known, mark):
            return None, mark
        try:
            policy = self._checks.read(signed.document)
            check_fresh(policy, self._clock.now_at())
        except Refusal as refusal:
            raise self._refused(signed, refusal) from refusal.__cause__
        return policy, Mark(version=policy.version, sha256=sha256, key=signed.kid)

    def _begin(self, envelope: bytes, policy: Policy, state: TwinState) -> None:
        """Start a trial: on the disk first."""
        assert state.notes.trial is not None
        self._store.begin(envelope, state.notes)
        self._state, self._envelope, self._full = state, envelope, False
        self._lay(_Running(policy, document(state.notes.trial)))
        _log.info("policy version %d is on trial for %g s", policy.version, self._timeout_s)

    def _confirm(self, state: TwinState) -> None:
        """End a trial well, or try to with every turn until its time is up."""
        try:
            self._store.confirm(self._envelope, state.notes)
        except NotStored as error:
            if not self._full:
                self._full = True
                _log.error("a proven policy cannot be confirmed yet: %s", error)
            if self._clock.now_s() - self._state.since_s >= self._timeout_s:
                self._roll_back(self._step(Unstorable())[0])
            return
        self._state, self._envelope, self._good = state, b"", self._running
        _log.info("policy version %d is confirmed", self.policy.version)
        self._reports.tell(self._standing())

    def _roll_back(self, state: TwinState) -> None:
        """Run what ran before, whatever the disk says to it."""
        self._state, self._envelope = state, b""
        self._lay(self._good)
        self._settle()
        self._reports.tell(self._standing())

    def _settle(self) -> None:
        """Write that a trial is over. Where that fails, a restart takes it for cut short, and blocks it."""
        failure = self._state.notes.failure
        if failure is not None:
            version = failure.mark.version
            _log.error("policy version %d is rolled back: %s: %s", version, failure.code, failure.problem)
        try:
            self._store.settle(self._state.notes)
        except NotStored as error:
            _log.error("the end of a trial is not stored: %s", error)

    def _lay(self, running: _Running) -> None:
        self._running = running
        self.policy = running.policy

    def _open(self, envelope: bytes) -> Signed:
        return open_envelope(envelope, self._trusted)

    def _step(self, signal: Signal) -> tuple[TwinState, tuple[Action, ...]]:
        return step(self._state, signal, self._clock.now_s(), self._timeout_s)

    def _standing(self) -> Reported:
        return self._reports.standing(self._state.notes, self._running.document)

    def _refused(self, signed: Signed | None, refusal: Refusal) -> Refusal:
        """Report a refusal, and return it to be raised."""
        self._reports.tell(self._reports.refused(signed, refusal, self._running.document))
        return refusal
