"""What a unit that does not run has left on its disk: what its next start will do, and what waits."""

from collections.abc import Callable, Iterator

from edge.clock import Clock
from edge.config import Config
from edge.diagnosis.behind import (
    noted_break,
    notice_of,
    policy_in_force,
    told_repair,
)
from edge.errors import EdgeError
from edge.logbook import figures
from edge.state_folder import SPOOL_FILE
from edge.uplink.looking import look
from edge.uplink.records import SpoolEmpty, SpoolLocked

NOT_KNOWN = "not known"


def left_rows(config: Config, clock: Clock) -> Iterator[tuple[str, str]]:
    """Give a label and a text for each thing; what the disk does not give back is not known."""
    for label, tell in (
        ("policy", lambda: _policy(config)),
        ("waiting", lambda: _waiting(config)),
        ("notice", lambda: _notice(config)),
        ("repair", lambda: told_repair(config) or ""),
        ("break", lambda: _break(config, clock)),
    ):
        if text := _told(tell):
            yield label, text


def _told(tell: Callable[[], str]) -> str:
    try:
        return tell()
    except (EdgeError, OSError) as error:
        if isinstance(error, SpoolLocked) or isinstance(error.__cause__, SpoolLocked):
            return f"{NOT_KNOWN}: a process has it, and does not answer"
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{NOT_KNOWN}: {why}"


def _policy(config: Config) -> str:
    policy = policy_in_force(config)
    return "none that it would start with" if policy is None else f"version {policy.version}"


def _waiting(config: Config) -> str:
    spool = config.paths.state / SPOOL_FILE
    try:
        found = look(spool) if spool.exists() else None
    except SpoolEmpty:
        found = None
    if found is None:
        return "nothing"
    depth = found.depth
    if not depth.events and not depth.thumbnails:
        return "nothing"
    return f"{figures.number(depth.events, 'event')}, {figures.number(depth.thumbnails, 'picture')}"


def _notice(config: Config) -> str:
    return "accepted" if notice_of(config).accepted else "not accepted: deskwatch notice --accept"


def _break(config: Config, clock: Clock) -> str:
    policy = policy_in_force(config)
    if policy is None:
        return ""
    breaks = noted_break(config, policy, clock)
    return "" if breaks.on is None else "one was on when it stopped"
