"""What happened: one thing, with all that the log says of it."""

import datetime as dt
import enum
from dataclasses import dataclass, field

from edge.policy.document import Policy
from edge.worklog.entries import Entry, PictureRef


class Kind(enum.StrEnum):
    """What sort of thing happened."""

    SEEN = "seen"
    BREAK = "break"
    ASKED = "asked"
    RULES = "rules"
    HERE = "here"
    TOLD = "told"
    """The unit of itself: what its camera did, alarms, what became of a policy."""
    LOST = "lost"
    LOG = "log"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that belongs to something seen."""

    expires_at: str
    bytes: int
    """As it is sent."""
    sealed_to: str
    """Id of the key; "" where it is open."""
    ref: PictureRef | None = None
    """The worker's own copy."""
    sent_at: str | None = None
    """None: it did not leave the unit."""
    gone_at: str | None = None
    """When the worker's own copy was deleted."""
    gone_why: str = ""


@dataclass(slots=True)
class Moment:
    """One thing that happened; entries that tell of the same thing are put together."""

    at: dt.datetime
    kind: Kind
    title: str
    facts: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    picture: Picture | None = None
    policy: Policy | None = None
    """What took force, where it can be read."""
    grave: bool = False
    """It should not be overlooked."""
    lasts: bool = False
    """It began, and its end is not written."""
    of: str = ""
    """The log in which it stands, where that is one that was changed and set aside."""
    new: bool = True
    """False: all of it was said before."""
