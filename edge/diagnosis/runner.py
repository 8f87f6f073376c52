"""Run checks: each in its own thread and time, so that one that hangs or breaks stops no other."""

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from edge.diagnosis.check import Check, Patient, Result, Status, Verdict, failed
from edge.facts import TOLD_HERE, quotes
from edge.story import printable
from edge.uplink.check_messages import COULD_NOT_RUN

log = logging.getLogger(__name__)

TOO_SLOW = "too-slow"
HINTS = {
    TOO_SLOW: "Run it again. If it hangs again, restart the unit and look at its disk, camera and network.",
    COULD_NOT_RUN: "Run it again with sudo. If it still cannot run, make a support bundle and send it in.",
}
"""What to do about what the runner itself finds, by code; the other hints are the checks' own."""
WHOLE_S = 60.0
"""For all checks together: whoever is on the phone waits for no more."""
LATE_S = 2.0
LONG_S = 20.0
"""One that had so long of it is itself what was too slow."""
TEXT_CHARS = 256

_hanging: dict[str, threading.Thread] = {}
"""Probes that took too long and still go on, by check: none is started a second time beside itself."""


def run(checks: Iterable[Check], patient: Patient, only: str | None = None) -> list[Result]:
    """Return the results of all checks, or of those whose name fits the glob `only`, in their order."""
    return list(each(checks, patient, only))


def each(checks: Iterable[Check], patient: Patient, only: str | None = None) -> Iterator[Result]:
    """Give the results one after the other, as they come."""
    until_s = time.monotonic() + WHOLE_S
    for check in checks:
        if only is None or fnmatchcase(check.name, only):
            yield run_check(check, patient, until_s)


def run_check(check: Check, patient: Patient, until_s: float = math.inf) -> Result:
    """Return how the check ended, its hint included. Raises nothing: what a probe raises is in the result.

    After `until_s` it has a moment, which is enough for most: others took its time.
    """
    try:
        verdict = _probed(check, patient, until_s)
        hint = check.hints[verdict.code] if verdict.status in {Status.WARN, Status.FAIL} else ""
    except _NoTimeLeft:
        verdict = Verdict(Status.SKIP, "could not run: others took its time", code=COULD_NOT_RUN)
        hint = f"Mend what is too slow above, or run it alone: deskwatch diagnose --only {check.name}"
    except _TooSlow as slow:
        verdict = failed(TOO_SLOW, f"no result in {slow.limit_s:g} s", f"within {slow.limit_s:g} s")
        hint = HINTS[TOO_SLOW]
    except Exception as error:
        log.debug("%s could not run", check.name, exc_info=True)
        # What an error says may hold names and paths: that stays at the unit.
        why = type(error).__name__ if patient.inside else f"{type(error).__name__}: {error}"
        verdict = Verdict(Status.SKIP, f"could not run: {why}", code=COULD_NOT_RUN)
        hint = HINTS[COULD_NOT_RUN]
    return Result(
        name=check.name,
        status=verdict.status,
        value=_may_leave(verdict.value) if patient.inside else _one_line(verdict.value),
        limit=_may_leave(verdict.limit) if patient.inside else _one_line(verdict.limit),
        code=verdict.code,
        hint=_one_line(hint),
    )


class _TooSlow(Exception):
    """It never leaves this module."""

    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self.limit_s = limit_s


class _NoTimeLeft(Exception):
    """Nor does this."""


def _probed(check: Check, patient: Patient, until_s: float) -> Verdict:
    """Return what the probe found in its time. Raises what it raises, _TooSlow and _NoTimeLeft."""
    before = _hanging.get(check.name)
    if before is not None and before.is_alive():
        raise _TooSlow(check.timeout_s)
    _hanging.pop(check.name, None)
    found: list[Verdict | BaseException] = []

    def probe() -> None:
        try:
            found.append(check.probe(patient))
        except BaseException as error:  # noqa: BLE001  it is raised again in the caller's thread
            found.append(error)

    thread = threading.Thread(target=probe, name=f"check-{check.name}", daemon=True)
    thread.start()
    limit_s = min(check.timeout_s, max(until_s - time.monotonic(), LATE_S))
    thread.join(limit_s)
    if not found:
        _hanging[check.name] = thread
        raise _TooSlow(round(limit_s, 2)) if limit_s >= min(check.timeout_s, LONG_S) else _NoTimeLeft
    [end] = found
    if isinstance(end, Verdict):
        return end
    if isinstance(end, Exception):
        raise end
    raise RuntimeError(f"ended by {type(end).__name__}") from end


def _may_leave(text: str) -> str:
    """Return what was found as it may leave the unit: no path, and nothing that an error quotes."""
    return TOLD_HERE if quotes(text) else _one_line(text)


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= TEXT_CHARS else f"{line[: TEXT_CHARS - 1]}…"
