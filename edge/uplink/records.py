"""What the spool takes, gives and counts, and how it fails."""

import datetime as dt
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.errors import EdgeError
from edge.uplink.messages import Lost


class SpoolError(EdgeError):
    """The spool cannot be used: the message names the file and what to do."""


class SpoolNewer(SpoolError):
    """A newer deskwatch wrote the spool: install that one again; this one leaves it as it is."""


class SpoolFull(SpoolError):
    """The disk is full: nothing was written, and the spool is whole; free some space, then try again."""


class SpoolUnwritable(SpoolError):
    """The state folder cannot be written: mount it read-write, owned by the user that runs the unit."""


class SpoolCorrupt(SpoolError):
    """The file is damaged: call `recover`, or open it anew; what can be read of it is kept."""


class SpoolEmpty(SpoolError):
    """Nothing was written into the file yet: start the unit."""


class SpoolLocked(SpoolError):
    """Another deskwatch has this spool open: stop it, or give this one a state folder of its own."""


class MessageTooLarge(SpoolError, ValueError):
    """A message is larger than the whole spool may be: send a smaller picture, or raise `max_bytes`."""


@dataclass(frozen=True, slots=True)
class Serial:
    """The number of a record, and the life of the spool in which it counts."""

    epoch: str
    """32 lower-case hex digits."""
    seq: int
    """From 1, rising by one."""


class Kind(enum.StrEnum):
    """What a message is; when the spool is full, thumbnails give way before events."""

    EVENT = "event"
    GAP = "gap"
    """An event too, but one that never gives way: it accounts for others."""
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True)
class LostRange:
    """What was given up, and is still to be told."""

    what: Literal["event", "thumbnail"]
    epoch: str
    from_seq: int
    to_seq: int
    count: int | None
    """None where it cannot be known."""
    reason: Lost


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
    unsettled: bool = False
    """Its time was read on a clock that was not synchronised."""


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
    epoch: str
    """In which `seq` counts."""


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
    """Gap messages too."""
    thumbnails: int
    refused: int
    """Set aside; counted in neither of the two above."""
    used_bytes: int
    """Of all three, and of the gaps that are noted, against `max_bytes`."""
    gaps: int = 0
    """Lost ranges that no message tells of yet."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What never arrived, counted since the spool was made. A message given way while in flight may have."""

    events: int
    thumbnails: int
    expired: int
    """Deleted at the end of their retention."""
    refused: int
    """Set aside at least once, because the broker would not have them."""


@dataclass(frozen=True, slots=True)
class Salvage:
    """What came of a file that was damaged, or gone."""

    kept: int
    """Messages that could be read."""
    lost: int | None
    """Events that could not, at most; None where that cannot be known."""
    aside: Path | None
    """The damaged file; None where there was none."""
