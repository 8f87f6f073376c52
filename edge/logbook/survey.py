"""What a log is about, and whether it is whole: what is said before any of it is read out."""

import datetime as dt
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.logbook import figures, findings, rules
from edge.logbook.gathering import policy_of
from edge.policy.document import Policy
from edge.story import printable
from edge.worklog.entries import Began, Entry, PolicyTook
from edge.worklog.reading import Verified

SERVERS_MAX = 8
TELL = "tell somebody whom you trust: your works council, or whoever looks after privacy where you work"
DONE = "`deskwatch repair --done`"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a log is about, before all of it is read out."""

    policy: Policy | None = None
    """The last that took force, as far as it can be read."""
    policy_of: str = ""
    """The log that was changed and says so, where this one says nothing of rules."""
    servers: tuple[str, ...] = ()
    """Those that policies name, in the order in which they first did."""
    began: Began | None = None
    """Why this log took the place of another; None where it did not, or where that is long ago."""
    former: tuple[Path, ...] = ()
    """The logs that were changed and lie aside, the oldest first."""
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

    @property
    def anew(self) -> bool:
        """Whether what came before this log was changed."""
        return self.began is not None or bool(self.former)


class Sound(enum.Enum):
    """How far a log can be relied on."""

    WHOLE = "good"
    ANEW = "warn"
    """It is whole; one that came before it was changed."""
    CHANGED = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is whole, and what to do where it is not."""

    sound: Sound
    title: str
    text: str
    to_do: str = ""
    exact: str = ""
    """What was found, word for word."""

    @property
    def good(self) -> bool:
        """Whether there is nothing to be told."""
        return self.sound is Sound.WHOLE


def survey(entries: Iterable[Entry], former: Sequence[tuple[Path, Iterable[Entry]]] = ()) -> Survey:
    """Return when a log begins and ends, and which policy it ends under."""
    servers: dict[str, None] = {}
    policy_before: tuple[Policy | None, str] = None, ""
    for path, theirs in former:
        for entry in theirs:
            if (found := _policy(entry, servers)) is not None:
                policy_before = found, path.name
    policy: Policy | None = None
    began: Began | None = None
    first_at = last_at = None
    for entry in entries:
        policy = _policy(entry, servers) or policy
        if entry.seq == 1 and isinstance(entry.note, Began) and findings.anew(entry.note):
            began = entry.note
        last_at = figures.parsed(entry.at) or last_at
        first_at = first_at or last_at
    last_policy, policy_from = (policy, "") if policy is not None else policy_before
    paths = tuple(path for path, _ in former)
    return Survey(last_policy, policy_from, tuple(servers), began, paths, first_at, last_at)


def _policy(entry: Entry, servers: dict[str, None]) -> Policy | None:
    policy = policy_of(entry.note.document) if isinstance(entry.note, PolicyTook) else None
    if policy is not None and policy.broker is not None and len(servers) < SERVERS_MAX:
        servers[policy.broker.host] = None
    return policy


def server_words(about: Survey, server: str) -> str:
    """Return through which server it went. `server`: where rules that name none have it go."""
    now = server if about.policy is None else rules.server_of(about.policy, server)
    others = [each for each in dict.fromkeys((*about.servers, server)) if each != now]
    before = f" (at other times it may have been {', '.join(map(printable, others))})" if others else ""
    return f"through the server {printable(now)}{before}"


def verdict(verified: Verified, about: Survey, folder: Path) -> Verdict:
    """Return the verdict on the log in `folder` in words."""
    if verified.problem is not None:
        text = (
            f"Found: {findings.plain(verified.problem)}. It may be a fault of the unit's disk, or somebody"
            " changed it. What comes after that place cannot be relied on."
        )
        to_do = (
            f"Keep a copy of this, and of {folder} where you can; {TELL}. The unit closes the camera, at"
            " its next start or within a minute, and keeps it closed until somebody there has looked and"
            f" typed {DONE}."
        )
        title = "This log was changed or damaged"
        aside = _aside(about) if about.anew else ""
        return Verdict(Sound.CHANGED, title, text + aside, to_do, printable(verified.problem))
    whole = _whole(verified)
    since = figures.date(about.first_at.astimezone(about.zone).date()) if about.first_at is not None else ""
    if about.anew:
        return _anew(about, whole, since)
    title = f"This log is complete and unchanged{f' since {since}' if since else ''}"
    return Verdict(Sound.WHOLE, title, whole)


def _whole(verified: Verified) -> str:
    count = figures.number(verified.entries, "entry", "entries")
    text = f"{count}, each with the fingerprint of the one before it, and every fingerprint fits."
    if verified.from_seq > 1:
        text += (
            f" Older ones, up to number {verified.from_seq - 1:,}, were deleted in time, as it says itself."
        )
    return text


def _anew(about: Survey, whole: str, since: str) -> Verdict:
    if about.began is None:
        title, found, exact = "A log before this one was changed", "", ""
    else:
        title = f"This log was begun anew{f' on {since}' if since else ''}: the one before it was changed"
        found = f"Found in the one before: {findings.plain(findings.of(about.began))}. It may be a fault of"
        found += " the unit's disk, or somebody changed it."
        exact = findings.of(about.began)
    text = f"{found}{_aside(about)} What stands in this log since then: {whole}".strip()
    to_do = (
        f"Keep the old log and a copy of this, and {TELL}. A unit whose camera is closed for it stays so"
        f" until whoever has looked into it types {DONE} there."
    )
    return Verdict(Sound.ANEW, title, text, to_do, exact)


def _aside(about: Survey) -> str:
    if not about.former:
        return " The old one does not lie beside this one any more."
    where = " and ".join(str(path) for path in about.former)
    is_are, told = ("lies", "it") if len(about.former) == 1 else ("lie", "them")
    return f" What was changed {is_are} in {where}; what can still be read of {told} is told here too."
