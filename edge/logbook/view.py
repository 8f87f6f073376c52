"""The worker's log in the terminal: a line for what is new, a header a day, and whether it is whole."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge.logbook import figures, findings, rules
from edge.logbook.gathering import Line, moments_of
from edge.logbook.moments import Kind, Moment, Picture
from edge.logbook.news import News
from edge.logbook.survey import Survey, Verdict
from edge.story import printable
from edge.worklog.reading import Unread, Verified

_TAGS = {
    Kind.SEEN: "seen",
    Kind.BREAK: "break",
    Kind.ASKED: "afar",
    Kind.RULES: "rules",
    Kind.HERE: "here",
    Kind.TOLD: "unit",
    Kind.LOST: "lost",
    Kind.LOG: "log",
    Kind.OTHER: "other",
}
FOLD = 6
"""So many notes of the unit about itself in turns are told in one line."""
_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


def rules_lines(about: Survey, server: str) -> list[str]:
    """Return the rules in force, in words."""
    policy = about.policy
    if policy is None:
        return [f"The rules: {rules.UNKNOWN[:1].lower()}{rules.UNKNOWN[1:]}."]
    facts = rules.facts(policy, about.zone, server)
    facts.append(("Reports", "; ".join(rules.rule(line) for line in policy.rules)))
    whose = f", as {about.policy_of} says, which was changed" if about.policy_of else ""
    return [f"The rules now{whose}:", *(f"  {name:<11}  {text}" for name, text in facts)]


def verdict_lines(said: Verdict) -> list[str]:
    """Return whether the log is whole, what to do where it is not, and what was found, word for word."""
    exact = f"Word for word: {said.exact}" if said.exact else ""
    return [f"{said.title}. {said.text}", *filter(None, (said.to_do, exact))]


def head_line(verified: Verified) -> str:
    """Return the line that lets the worker check this very log later."""
    if not verified.head.seq:
        return "The log is empty: there is nothing to write down yet"
    if verified.problem is not None:
        return f"The last entry that fits is {verified.head.seq}, with the fingerprint {verified.head.sha256}"
    return (
        f"Entry {verified.head.seq} has the fingerprint {verified.head.sha256}: write this down to check"
        " later that nothing up to here was changed (deskwatch log --head; its first 16 characters will do)"
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """What one entry says."""

    local: dt.datetime | None
    clock: str
    seq: int
    kind: Kind
    text: str
    new: bool


def lines_of(
    entries: Iterable[Line], zone: dt.tzinfo, *, colour: bool, current: bool = True
) -> Iterator[str]:
    """Give a line for each entry that says something new, and a header for each day.

    What the unit says of itself in turns, such as "open" and "closed" of spot checks, becomes one line.
    `current`: whether it is the log that is written now.
    """
    day: dt.date | None = None
    nothing_new = 0
    for line in _folded(_told(entries, zone)):
        if not line.new:
            nothing_new += 1
            continue
        if line.local is not None and line.local.date() != day:
            header = f"{line.local:%A}, {figures.date(line.local.date())}"
            if day is not None:
                yield ""
            day = line.local.date()
            yield f"{_BOLD}{header}{_PLAIN}" if colour else header
        text = f"  {line.clock:<8}  {line.seq:>5}  {_TAGS[line.kind]:<5}  {line.text}"
        yield f"{_DIM}{text}{_PLAIN}" if colour and line.kind is Kind.TOLD else text
    if nothing_new:
        count = figures.number(nothing_new, "entry says", "entries say")
        yield ""
        where = " With --json, all stand there word for word." if current else ""
        yield f"Left out: {count} only what was said before, or how the unit fares.{where}"


def _told(lines: Iterable[Line], zone: dt.tzinfo) -> Iterator[_Line]:
    news = News()
    for line in lines:
        if isinstance(line, Unread):
            yield _Line(None, "", line.from_seq, Kind.LOG, findings.unread(line), new=True)
            continue
        (moment,) = moments_of([line], zone, news)
        at = figures.parsed(line.at)
        local = at.astimezone(zone) if at else None
        clock = f"{local:%H:%M:%S}" if local else printable(line.at)
        yield _Line(local, clock, line.seq, moment.kind, _text_of(moment, zone), moment.new)


def _folded(lines: Iterable[_Line]) -> Iterator[_Line]:
    """Give `lines`, where two notes of the unit about itself take turns on a day in one."""
    run: list[_Line] = []
    for line in lines:
        if not line.new:
            yield line
            continue
        if run and not _takes_turns(run, line):
            yield from _as_one(run)
            run = []
        if line.kind is Kind.TOLD:
            run.append(line)
        else:
            yield line
    yield from _as_one(run)


def _takes_turns(run: Sequence[_Line], line: _Line) -> bool:
    last = run[-1]
    if line.kind is not Kind.TOLD or line.local is None or last.local is None:
        return False
    return line.local.date() == last.local.date() and (len(run) == 1 or line.text == run[-2].text)


def _as_one(run: Sequence[_Line]) -> Sequence[_Line]:
    if len(run) < FOLD:
        return run
    counts = Counter(line.text for line in run)
    said = ", ".join(f"{count} × {text}" for text, count in counts.items())
    return [replace(run[0], text=f"{said}, until {run[-1].clock}")]


def _text_of(moment: Moment, zone: dt.tzinfo) -> str:
    facts = [moment.title, *moment.facts]
    if moment.picture is not None:
        facts.append(picture_words(moment.picture, zone))
    return "; ".join(fact[:1].lower() + fact[1:] if index else fact for index, fact in enumerate(facts))


def picture_words(picture: Picture, zone: dt.tzinfo) -> str:
    """Return how large a picture is, who can open it, and until when it is kept."""
    size = figures.size(picture.bytes)
    sealed = f", sealed to key {figures.fingerprint(picture.sealed_to)} …" if picture.sealed_to else ""
    until = f", to be deleted by {figures.moment(picture.expires_at, zone)}" if picture.expires_at else ""
    return f"{'with a picture of ' if picture.sent_at is None else ''}{size}{sealed}{until}"
