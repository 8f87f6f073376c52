"""The rules that are in force, in words for the worker."""

import datetime as dt
from collections.abc import Sequence
from typing import assert_never

from edge.logbook import figures, words
from edge.policy.document import (
    DAYS,
    ActivityRule,
    Continuous,
    ObjectRule,
    PeopleRule,
    Policy,
    Rule,
    Shift,
    Spot,
    TamperRule,
)
from edge.story import printable

_WEEK = dict(
    zip(DAYS, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True)
)


UNKNOWN = "Which rules are in force is not written in this log, or not so that this firmware can read it"


def facts(policy: Policy, zone: dt.tzinfo, server: str) -> list[tuple[str, str]]:
    """Return what a policy allows. `server`: where a policy that names none has reports go."""
    shifts = "; ".join(shift(each) for each in policy.shifts)
    kept = (
        f"{policy.thumbnail.retain_days:g} days at most here; whoever received them has to delete them by"
        " then too"
    )
    recipient = policy.thumbnail.sealed_to
    if recipient is not None:
        kept += f"; sealed: only who holds the key {figures.fingerprint(recipient.kid)} … can open them"
    masks = figures.number(len(policy.masks), "part")
    return [
        ("May look", f"{shifts} ({policy.timezone})"),
        ("How", watch(policy)),
        ("Breaks", f"whenever you like, {figures.span(policy.breaks.max_s)} at most at a time"),
        (
            "Pictures",
            "of an object: sharp only inside the box around it; all else, and people: a coarse mosaic",
        ),
        ("Kept", kept),
        *([("Blacked out", f"{masks} of the view, before anything looks at it")] if policy.masks else []),
        ("Goes to", f"the server {printable(server_of(policy, server))}"),
        (
            "In force",
            f"version {policy.version}, until {figures.moment(policy.expires_at.isoformat(), zone)}",
        ),
    ]


def server_of(policy: Policy, server: str) -> str:
    """Return the server to which reports go."""
    return policy.broker.host if policy.broker is not None else server


def rule(line: Rule) -> str:
    """Return what a rule of the policy looks for, and when it speaks."""
    after = f"for {figures.span(line.hold_s)}" if line.hold_s else "at once"
    match line:
        case ObjectRule(labels=labels):
            what = f"{printable(' or '.join(labels))}, when seen {after}"
        case PeopleRule(max=int(most)):
            what = f"more than {words.people(most)}, when seen {after}"
        case PeopleRule(min=least):
            few = "nobody" if least == 1 else f"fewer than {least} people"
            what = f"{few} at the desk, {after}"
        case TamperRule(causes=causes):
            what = f"a camera that cannot see ({', '.join(words.CAUSES[cause] for cause in causes)}), {after}"
        case ActivityRule(quiet_s=quiet_s):
            what = f"a workstation that nobody uses for {figures.span(quiet_s)}, where it tells so"
        case _:
            assert_never(line)
    return what if line.thumbnail else f"{what} (no picture)"


def shift(line: Shift) -> str:
    """Return when the worker is at work."""
    night = " (the next day)" if line.end < line.start else ""
    return f"{_days(line.days)}, {line.start} to {line.end}{night}"


def watch(policy: Policy) -> str:
    """Return how the unit looks within a shift."""
    match policy.watch:
        case Continuous():
            return "all through the shift, except on a break"
        case Spot(mean_interval_s=mean_s, burst_s=burst_s):
            every, length = figures.span(mean_s), figures.span(burst_s)
            how = f"at random moments, about every {every}, for {length} at a time"
            return f"{how}; the camera is closed in between and on a break"
        case _:
            assert_never(policy.watch)


def _days(days: Sequence[str]) -> str:
    places = [index for index, day in enumerate(DAYS) if day in days]
    if len(places) > 2 and places[-1] - places[0] == len(places) - 1:
        return f"{_WEEK[DAYS[places[0]]]} to {_WEEK[DAYS[places[-1]]]}"
    return ", ".join(_WEEK[DAYS[place]] for place in places)
