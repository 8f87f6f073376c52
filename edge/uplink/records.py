"""What the spool takes, gives and counts, and how it fails."""

import datetime as dt
import enum
from dataclasses import dataclass

from edge.errors import EdgeError


class SpoolError(EdgeError):
    """The spool cannot be used: the message names the file and what to do."""


class SpoolFull(SpoolError):
    """The disk is full: nothing was written, and the spool is whole; free some space and put again."""


class SpoolUnwritable(SpoolError):
    """The state folder cannot be written: mount it read-write, owned by the user that runs the unit."""


class SpoolCorrupt(SpoolError):
    """The file is not a sound spool: move it away (what it held is lost) and start again."""


class SpoolLocked(SpoolError):
    """Another deskwatch has this spool open: stop it, or give this one a state folder of its own."""


class MessageTooLarge(SpoolError, ValueError):
    """A message is larger than the whole spool may be: send a smaller picture, or raise `max_bytes`."""


class Kind(enum.StrEnum):
    """What a message is; when the spool is full, thumbnails give way before events."""

    EVENT = "event"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be published at QoS 1, not retained."""

    kind: Kind
    topic: str
    payload: bytes
    content_type: str
    event_id: str
    expires_at: dt.datetime | None = None
    """UTC. From then on it is deleted, not sent."""


@dataclass(frozen=True, slots=True)
class OpenInfraction:
    """What is needed to close an infraction after the unit died while it was open."""

    event_id: str
    rule_id: str
    rule_kind: str
    since_at: dt.datetime
    """UTC start of the hold."""
    opened_at: dt.datetime
    """UTC."""


@dataclass(frozen=True, slots=True)
class Record:
    """What goes into the spool in one transaction: an event, its picture, and what they open or close."""

    messages: tuple[Outgoing, ...]
    """In the order in which they are to be sent: the event first."""
    opens: OpenInfraction | None = None
    closes: str | None = None
    """Event id of the infraction that ends; one that is not open changes nothing."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A message that waits."""

    position: int
    """Place in the queue, rising, never used again. Pass it to `release`."""
    seq: int
    """Number of the record that it is of; the event's own `seq`."""
    message: Outgoing


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was set aside, and why."""

    position: int
    seq: int
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """What the spool holds now."""

    events: int
    thumbnails: int
    refused: int
    """Set aside; counted in neither of the two above."""
    used_bytes: int
    """Of all three, against `max_bytes`."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What never arrived, counted since the spool was made. A message given way while in flight may have."""

    events: int
    thumbnails: int
    expired: int
    """Deleted at the end of their retention."""
    refused: int
    """Set aside because the broker would not have them."""
