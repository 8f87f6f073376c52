"""What the twin says of itself: each phase as a `Reported`, and which was the last."""

from collections.abc import Callable

import msgspec

from edge.clock import Clock
from edge.uplink.envelope import Signed
from edge.uplink.inbox import Refusal
from edge.uplink.twin_check import sha256_of
from edge.uplink.twin_messages import Document, Phase, Reported
from edge.uplink.twin_state import Mark, Notes
from edge.uplink.wire import Problem, timestamp

_MAX_VERSION = 2**53
_MAX_PATH_CHARS = 256
_MAX_PROBLEM_CHARS = 1024


class TwinReports:
    """Builds reports and hands them on."""

    def __init__(self, report: Callable[[Reported], None], clock: Clock, session: int) -> None:
        self._report = report
        self._clock = clock
        self._session = session
        self._last: Reported | None = None
        self._told = False

    @property
    def last(self) -> Reported:
        """The last one that was told, or the first that will be."""
        assert self._last is not None
        return self._last

    def prepare(self, reported: Reported) -> None:
        """Have a report told by the next `tell_prepared`."""
        self._last, self._told = reported, False

    def tell_prepared(self) -> None:
        """Tell it, unless it was told."""
        if not self._told:
            self.tell(self.last)

    def tell(self, reported: Reported) -> None:
        """Hand a report on."""
        self._last, self._told = reported, True
        self._report(reported)

    def standing(self, notes: Notes, running: Document) -> Reported:
        """Return how the newest accepted policy stands."""
        if notes.trial is not None:
            return self._reported(Phase.TRIAL, running, notes.trial)
        if (failure := notes.failure) is not None:
            error = as_problem(failure.code, "$", failure.problem)
            return self._reported(Phase.ROLLED_BACK, running, failure.mark, error)
        if notes.confirmed is not None:
            return self._reported(Phase.CONFIRMED, running, notes.confirmed)
        return self._reported(Phase.NONE, running)

    def fallen(self, left: Mark | None, fault: Refusal, running: Document) -> Reported:
        """Return that what was confirmed, `left`, could not be taken up again."""
        return self._reported(Phase.ROLLED_BACK, running, left, _from(fault))

    def refused(self, signed: Signed | None, refusal: Refusal, running: Document) -> Reported:
        """Return that a document was not taken; None where no trusted key signed it."""
        mark = None
        if signed is not None:
            sha256 = sha256_of(signed.document)
            mark = Mark(version=_version(signed.document), sha256=sha256, key=signed.kid)
        return self._reported(Phase.REFUSED, running, mark, _from(refusal))

    def _reported(
        self, phase: Phase, running: Document, mark: Mark | None = None, error: Problem | None = None
    ) -> Reported:
        return Reported(
            phase=phase,
            desired=document(mark) if mark is not None else None,
            running=running,
            error=error,
            key=mark.key if mark is not None else None,
            session=self._session,
            at=timestamp(self._clock.now_at()),
        )


def document(mark: Mark) -> Document:
    """Return a mark as it goes over the wire."""
    return Document(version=mark.version, sha256=mark.sha256)


def as_problem(code: str, path: str, problem: str) -> Problem:
    """Return a refusal for the wire, whose bounds it keeps whatever was in the document."""
    return Problem(code=code, path=_plain(path, _MAX_PATH_CHARS), problem=_plain(problem, _MAX_PROBLEM_CHARS))


def _from(refusal: Refusal) -> Problem:
    return as_problem(refusal.code, refusal.path, refusal.problem)


def _plain(text: str, most: int) -> str:
    text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be sent
    return text if len(text) <= most else text[: most - 1] + "…"


def _version(refused: bytes) -> int:
    """Return the version that a refused document claims; 0 where it has none that can be sent."""
    try:
        raw = msgspec.json.decode(refused)
    except (ValueError, RecursionError):
        return 0
    version = raw.get("version") if isinstance(raw, dict) else None
    return version if type(version) is int and 0 <= version <= _MAX_VERSION else 0
