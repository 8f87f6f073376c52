"""`deskwatch diagnose`: every check of the table, by whoever stands at the unit."""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import msgspec

from edge import __version__, check_report
from edge.diagnosis.check import Check, Patient, Result
from edge.diagnosis.patient import admit
from edge.diagnosis.runner import WHOLE_S, run_check
from edge.diagnosis.table import table
from edge.errors import EdgeError
from edge.output import coloured, complain, put
from edge.uplink.wire import timestamp

log = logging.getLogger(__name__)

USAGE = 64
"""EX_USAGE of sysexits.h."""
LONG = 16
"""A table of more lines may push its first one out of sight: the sentence stands below it again."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints; its fields stand in docs/diagnosis.md."""

    summary: str
    exit_code: int
    checked_at: str
    firmware: str
    running: bool
    silence: str
    offline: bool
    results: tuple[Result, ...]


def run(arguments: argparse.Namespace) -> int:
    """Run the checks and tell; return the exit code."""
    try:
        return _run(arguments)
    except (EdgeError, BrokenPipeError):
        raise
    except Exception:  # whoever reads exit codes must not take a fault of ours for a warning
        log.exception("the diagnosis itself broke")
        return check_report.INCOMPLETE


def _run(arguments: argparse.Namespace) -> int:
    checks = table()
    chosen = [one for one in checks if arguments.only is None or fnmatchcase(one.name, arguments.only)]
    if not chosen:
        areas = ", ".join(dict.fromkeys(f"{one.name.partition('.')[0]}.*" for one in checks))
        complain(f"--only {arguments.only!r}: wanted the name of a check, or one of {areas}")
        return USAGE
    patient = admit(arguments.config, offline=arguments.offline)
    results = _results(chosen, patient, quiet=arguments.json)
    code = check_report.exit_code(results)
    if arguments.json:
        put(_json(results, patient, code))
        return code
    width = shutil.get_terminal_size((80, 24)).columns
    colour = coloured()
    lines = list(check_report.lines_of(results, width, colour=colour))
    for line in lines:
        put(line)
    if len(results) > LONG:
        end = lines.index("")
        for line in ("", *lines[:end]):
            put(line)
    return code


def _results(checks: list[Check], patient: Patient, *, quiet: bool) -> list[Result]:
    found: list[Result] = []
    until_s = time.monotonic() + WHOLE_S
    with _progress(quiet=quiet) as show:
        for number, check in enumerate(checks, 1):
            show(f"{number} of {len(checks)}: {check.name}")
            found.append(run_check(check, patient, until_s))
    return found


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[_Show]":
    """Show on a terminal what is being checked, in one line that is gone at the end."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield _Show(shown=False)
        return
    try:
        yield _Show(shown=True)
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


class _Show:
    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __call__(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\033[K{text[:40]}")
            sys.stderr.flush()


def _json(results: list[Result], patient: Patient, code: int) -> str:
    whole = Report(
        summary=check_report.summary(results),
        exit_code=code,
        checked_at=timestamp(patient.clock.now_at()),
        firmware=__version__,
        running=patient.facts is not None,
        silence=patient.silence,
        offline=patient.offline,
        results=tuple(results),
    )
    return msgspec.json.encode(whole).decode()
