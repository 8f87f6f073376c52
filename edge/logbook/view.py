"""The worker's log in the terminal: a line an entry, a header a day, and whether it is whole."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edge.logbook import figures
from edge.logbook.moments import Kind, Moment, Picture, moments_of, policy_of
from edge.policy.document import Policy
from edge.story import printable
from edge.worklog.entries import Began, Entry, PolicyTook
from edge.worklog.reading import Verified

_TAGS = {
    Kind.SEEN: "seen",
    Kind.BREAK: "break",
    Kind.ASKED: "afar",
    Kind.RULES: "rules",
    Kind.HERE: "here",
    Kind.TOLD: "state",
    Kind.LOST: "lost",
    Kind.LOG: "log",
    Kind.OTHER: "other",
}
_BOLD, _DIM, _PLAIN = "\033[1m", "\033[2m", "\033[0m"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a log is about, before all of it is read out."""

    policy: Policy | None = None
    """The last that took force, as far as it can be read."""
    set_aside: str = ""
    """Why the log before this one was given up; "" where there was none."""
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None

    @property
    def zone(self) -> dt.tzinfo:
        """The worker's clock."""
        return self.policy.zone if self.policy else dt.UTC

    @property
    def zone_name(self) -> str:
        """What that clock is called."""
        return self.policy.timezone if self.policy else "UTC"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is whole."""

    good: bool
    title: str
    text: str


def survey(entries: Iterable[Entry]) -> Survey:
    """Return when a log begins and ends, and which policy it ends under."""
    policy: Policy | None = None
    first_at = last_at = None
    set_aside = ""
    for entry in entries:
        if isinstance(entry.note, PolicyTook):
            policy = policy_of(entry.note.document) or policy
        elif isinstance(entry.note, Began) and entry.note.before:
            set_aside = entry.note.reason
        last_at = figures.parsed(entry.at) or last_at
        first_at = first_at or last_at
    return Survey(policy, set_aside, first_at, last_at)


def verdict(verified: Verified, about: Survey) -> Verdict:
    """Return the verdict in words."""
    if verified.problem is not None:
        text = (
            f"Found: {printable(verified.problem)}. It may be a fault of the unit's disk, or somebody"
            " changed it. What comes after that place cannot be relied on."
        )
        return Verdict(good=False, title="This log was changed or damaged", text=text)
    count = figures.number(verified.entries, "entry", "entries")
    since = ""
    if about.first_at is not None:
        since = f" since {figures.date(about.first_at.astimezone(about.zone).date())}"
    text = f"{count}, each with the fingerprint of the one before it, and every fingerprint fits."
    if verified.from_seq > 1:
        text += (
            f" Older ones, up to number {verified.from_seq - 1:,}, were deleted in time, as it says itself."
        )
    if about.set_aside:
        text += f" It is not the first: the log before it was set aside: {printable(about.set_aside)}"
    return Verdict(good=True, title=f"This log is complete and unchanged{since}", text=text)


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


def lines_of(entries: Iterable[Entry], zone: dt.tzinfo, *, colour: bool) -> Iterator[str]:
    """Give a line for each entry, and a header for each day."""
    day: dt.date | None = None
    for entry in entries:
        at = figures.parsed(entry.at)
        local = at.astimezone(zone) if at else None
        if local is not None and local.date() != day:
            header = f"{local:%A}, {figures.date(local.date())}"
            if day is not None:
                yield ""
            day = local.date()
            yield f"{_BOLD}{header}{_PLAIN}" if colour else header
        moment = moments_of([entry], zone)[0]
        clock = f"{local:%H:%M:%S}" if local else printable(entry.at)
        line = f"  {clock}  {entry.seq:>5}  {_TAGS[moment.kind]:<5}  {_text_of(moment, zone)}"
        yield f"{_DIM}{line}{_PLAIN}" if colour and moment.kind is Kind.TOLD else line


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
