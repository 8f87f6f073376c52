"""What is typed at the unit itself: a break and its end, the notice, a repair. Each returns an exit code.

0 done; 1 the unit says why not; 2 it could not be asked (an error that is raised).
"""

import argparse
import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path

from edge.config import read_config
from edge.control.client import NoUnitHere, ask
from edge.control.protocol import (
    REASON_CHARS,
    AcceptNotice,
    Answer,
    BeginRepair,
    Done,
    EndRepair,
    Refused,
    Request,
    Resume,
    Status,
    StatusAnswer,
    TakeBreak,
    WithdrawNotice,
)
from edge.errors import EdgeError
from edge.notice import Notice, shipped
from edge.output import complain, put
from edge.story import printable

GOOD, REFUSED = 0, 1
OPENS = "In the shift, the camera opens again."


class AnswerUnexpected(EdgeError):
    """The unit answers another question: restart it, so that it runs the same version as this command."""


def run(arguments: argparse.Namespace) -> int:
    """Do what was typed; return the exit code."""
    return _ACTIONS[arguments.command](arguments)


def _take_break(arguments: argparse.Namespace) -> int:
    """Start a break."""
    reason = one_line(arguments.reason)
    done = _done(arguments, TakeBreak(reason))
    if done is None:
        return REFUSED
    until = "" if done.ends_at is None else f" {_until(done.ends_at, dt.datetime.now(dt.UTC))}"
    what = "nothing is looked at" if done.text else "the camera is closed"
    put(f"On a break{until}: {what}. End it with: deskwatch resume")
    if done.text:
        put(printable(done.text))
    elif not reason:
        put('A reason can be given: deskwatch break --reason "water"')
    return GOOD


def _resume(arguments: argparse.Namespace) -> int:
    """End the break."""
    done = _done(arguments, Resume())
    if done is None:
        return REFUSED
    lasted = "" if done.lasted_s is None else f" It lasted {_lasting(done.lasted_s)}."
    put(f"The break is over.{lasted} {printable(done.text) or OPENS}")
    return GOOD


def _notice(arguments: argparse.Namespace) -> int:
    """Show the notice; with an option, accept it or take that back."""
    shown = shipped()
    if arguments.withdraw:
        if not _withdrawn(arguments):
            return REFUSED
        put("Withdrawn: nothing is captured until the notice is accepted again: deskwatch notice --accept")
        return GOOD
    put(f"{shown.text}\n\nVersion {shown.version} of the notice.")
    if arguments.accept:
        if _done(arguments, AcceptNotice(shown.version)) is None:
            return REFUSED
        put("Accepted. To take that back at any time: deskwatch notice --withdraw")
        return GOOD
    put(_acceptance(arguments.config, shown.version))
    return GOOD


def _withdrawn(arguments: argparse.Namespace) -> bool:
    """Withdraw the notice, also where no unit runs: the next one that starts finds it so."""
    try:
        return _done(arguments, WithdrawNotice()) is not None
    except NoUnitHere:
        Notice(read_config(arguments.config).paths.state).withdraw()
        return True


def _repair(arguments: argparse.Namespace) -> int:
    """Begin a repair, or end it."""
    if arguments.done:
        done = _done(arguments, EndRepair())
        if done is None:
            return REFUSED
        put(f"The repair is done. {printable(done.text) or OPENS}")
        return GOOD
    if _done(arguments, BeginRepair(one_line(arguments.reason))) is None:
        return REFUSED
    put("Blocked for a repair: the camera stays closed, over restarts. When done: deskwatch repair --done")
    return GOOD


def one_line(reason: str) -> str:
    """Return a reason as it may stand in an event and on a terminal: printable, and not too long."""
    text = " ".join(reason.encode("utf-8", "replace").decode().split())
    return printable(text)[:REASON_CHARS]


def _done(arguments: argparse.Namespace, request: Request) -> Done | None:
    """Have the unit do it; None: it would not, and the reason was told. Raises EdgeError."""
    answer = _ask(arguments.config, request)
    match answer:
        case Done():
            return answer
        case Refused(problem=problem):
            complain(printable(problem))
            return None
        case _:
            raise AnswerUnexpected(f"wanted it done or refused, got {type(answer).__name__}")


def _ask(config: Path, request: Request) -> Answer:
    return ask(read_config(config).paths.state, request)


def _acceptance(config: Path, version: str) -> str:
    """Return whether the unit that runs here has the notice accepted, or why that is not known."""
    try:
        answer = _ask(config, Status())
    except EdgeError as error:
        return f"Whether it is accepted is not known: {printable(str(error))}"
    facts = answer.facts if isinstance(answer, StatusAnswer) else {}
    theirs, at = facts.get("notice.version"), facts.get("notice.accepted_at")
    if theirs is None:
        return "Whether it is accepted is not known: the unit does not say"
    if theirs != version:
        return (
            f"The unit runs with version {printable(str(theirs))}, not this one: systemctl restart deskwatch"
        )
    if not isinstance(at, str):
        return "Not accepted: nothing is captured. To accept it: deskwatch notice --accept, or the button"
    return f"Accepted on {_when(at)}. To take that back: deskwatch notice --withdraw"


def _until(ends_at: str, now_at: dt.datetime) -> str:
    """Return until when a break lasts, by the clock on the wall: `until 14:30 (30 min at most)`."""
    end_at = _moment(ends_at)
    if end_at is None:
        return f"until {printable(ends_at)}"
    left_min = max(0, math.ceil((end_at - now_at).total_seconds() / 60 - 0.01))
    end, now = end_at.astimezone(), now_at.astimezone()
    day = "" if end.date() == now.date() else f"{end:%A} "
    return f"until {day}{end:%H:%M} ({left_min} min at most)"


def _lasting(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def _when(text: str) -> str:
    at = _moment(text)
    return printable(text) if at is None else f"{at.astimezone():%Y-%m-%d at %H:%M}"


def _moment(text: str) -> dt.datetime | None:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "break": _take_break,
    "notice": _notice,
    "repair": _repair,
    "resume": _resume,
}
