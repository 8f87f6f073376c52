"""`deskwatch support-bundle`: what support may know of this unit, in one file that only support can open."""

import argparse
import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.config import Config, read_config
from edge.control.client import NoUnitHere, ask
from edge.control.protocol import BundleMade, CheckSaid, MakeBundle, Refused
from edge.diagnosis.patient import admit
from edge.diagnosis.runner import run as run_checks
from edge.diagnosis.table import table
from edge.errors import EdgeError
from edge.output import OutputUnwritable, check_place, complain, for_whom, put, write_file
from edge.state_folder import LOG_FOLDER
from edge.story import printable
from edge.support.extracts import check_said
from edge.support.making import Made, Sources, make, recipient_of
from edge.support.tables import known_checks
from edge.worklog.errors import LogDamaged
from edge.worklog.log import WorkerLog
from edge.worklog.segments import listed

GOOD = 0
"""As the unit calls it."""
ANSWER_S = 60.0
_PRIVATE = 0o600


class BundleRefused(EdgeError):
    """The unit makes none, so there is none: do what it says; with another unit.toml, restart it first."""


class NoLogHere(EdgeError):
    """Whoever works here could not read what was sent, so nothing is: start the unit, which makes one."""


def run(arguments: argparse.Namespace) -> int:
    """Make a bundle and write it; return the exit code. Raises EdgeError, and then there is no file."""
    config = read_config(arguments.config)
    recipient = recipient_of(config)
    now_at = dt.datetime.now(dt.UTC)
    out: Path = arguments.out or Path(f"support-{now_at:%Y%m%dT%H%M%SZ}.bundle")
    _check_place(out)
    checks = _checks(arguments)
    try:
        made = _asked(config, checks)
    except NoUnitHere:
        complain("the unit does not run: the bundle has no facts of it")
        made = _made_here(config, checks, now_at)
    write_file(out, made.sealed, mode=_PRIVATE, owner=for_whom())
    put(
        printable(
            f"{out}: written ({len(made.sealed):,} bytes). Only who has key {recipient.kid} can open it."
        )
    )
    for line in made.told:
        put(printable(f"  {line}"))
    put("All of it stands in the worker's log, word for word: deskwatch log")
    return GOOD


def _check_place(out: Path) -> None:
    """Raise OutputUnwritable for a place that takes no file: the worker's log is not to tell of one."""
    if not out.name:
        raise OutputUnwritable(f"{out}: wanted the name of a file, got a folder")
    check_place(out)
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutputUnwritable(f"{out}: wanted a folder that can be written, got {out.parent}")


def _checks(arguments: argparse.Namespace) -> tuple[CheckSaid, ...]:
    patient = admit(arguments.config, offline=arguments.offline)
    return tuple(map(check_said, run_checks(table(), patient)))


def _asked(config: Config, checks: tuple[CheckSaid, ...]) -> Made:
    """Have the running unit make it. Raises NoUnitHere where none runs, BundleRefused."""
    answer = ask(config.paths.state, MakeBundle(checks), ANSWER_S)
    match answer:
        case BundleMade(sealed=sealed, told=told):
            return Made(sealed, told)
        case Refused(problem=problem):
            raise BundleRefused(problem)
        case _:
            raise BundleRefused(f"wanted a bundle, got {type(answer).__name__}")


def _made_here(config: Config, checks: tuple[CheckSaid, ...], now_at: dt.datetime) -> Made:
    """Make it without a unit that runs. Raises NoLogHere, LogInUse, LogUnusable, LogUnwritable."""
    state = config.paths.state
    sources = Sources(config=config, now_at=now_at, checks=checks, known_checks=known_checks())
    with _as_owner(state):
        _check_log(state / LOG_FOLDER)
        with WorkerLog.open(state / LOG_FOLDER, now_at=lambda: dt.datetime.now(dt.UTC)) as worker_log:
            if worker_log.damage is not None:
                raise LogDamaged(worker_log.damage)
            return make(sources, state, lambda note: worker_log.append([note]))


def _check_log(folder: Path) -> None:
    """Raise NoLogHere for a log that is not there: a fresh one in its place would hide that it is gone."""
    try:
        there = bool(listed(folder))
    except OSError as error:
        raise NoLogHere(f"{folder}: wanted the worker's log, got: {error.strerror}") from error
    if not there:
        raise NoLogHere(f"{folder}: wanted the worker's log, got an empty folder")


@contextmanager
def _as_owner(state: Path) -> Iterator[None]:
    """Be the unit's user, where root runs this: what root writes there, the unit could not write on."""
    try:
        found = state.stat()
    except OSError as error:
        raise NoLogHere(f"{state}: wanted the unit's state, got: {error.strerror}") from error
    if os.geteuid() != 0 or found.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
