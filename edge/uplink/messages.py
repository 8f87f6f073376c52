"""What goes over the wire: the topics, the unit's state, and events as CloudEvents 1.0 JSON.

Every message is a frozen msgspec struct. `encode` refuses one that a reader would refuse, so an invalid
event never enters the spool; `decode_*` refuses an unknown key, a wrong type or a value out of range,
with the JSON path. CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Meta

from edge.errors import EdgeError
from edge.policy.judge import Ended

EVENT_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
"""Content type of a structured-mode CloudEvent (CloudEvents MQTT binding, section 3.2)."""
STATE_CONTENT_TYPE = "application/json"

_MAX_ID_CHARS = 64
_FORBIDDEN_IN_ID = frozenset("/+#\0")


class InvalidId(EdgeError, ValueError):
    """An id cannot be a level of a topic: change the id, to letters, digits, '-' and '_' if in doubt."""


class InvalidMessage(EdgeError, ValueError):
    """A message is not what the contract says: the sender is wrong; drop it and count it."""


def checked_id(what: str, value: str) -> str:
    """Return `value` if it can stand as one level of a topic: 1–64 printable characters, no '/', '+', '#'."""
    if not 1 <= len(value) <= _MAX_ID_CHARS:
        raise InvalidId(f"{what}: wanted 1 to {_MAX_ID_CHARS} characters, got {len(value)}: {value[:80]!r}")
    wrong = sorted({c for c in value if c in _FORBIDDEN_IN_ID or not c.isprintable()})
    if wrong:
        raise InvalidId(
            f"{what}: wanted printable characters without '/', '+' or '#', got {wrong} in {value!r}"
        )
    return value


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one unit, all below `deskwatch/v1/{tenant}/{unit}/`."""

    tenant: str
    unit: str

    def __post_init__(self) -> None:
        checked_id("tenant", self.tenant)
        checked_id("unit", self.unit)

    @property
    def root(self) -> str:
        """The common beginning, without a slash at its end."""
        return f"deskwatch/v1/{self.tenant}/{self.unit}"

    @property
    def state(self) -> str:
        """Birth and will, retained."""
        return f"{self.root}/state"

    @property
    def event(self) -> str:
        """CloudEvents, in the order of their `seq`."""
        return f"{self.root}/event"

    def thumb(self, event_id: str) -> str:
        """Return the topic of one event's redacted picture."""
        return f"{self.root}/thumb/{checked_id('event id', event_id)}"

    @property
    def source(self) -> str:
        """The CloudEvents `source`: a URI reference, unique to the unit."""
        return f"/deskwatch/v1/{quote(self.tenant, safe='')}/{quote(self.unit, safe='')}"


Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
"""RFC 3339, UTC, milliseconds: `2026-03-04T05:06:07.089Z`."""
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
BoxTuple = tuple[Fraction, Fraction, Fraction, Fraction]
"""x0, y0, x1, y1 in 0–1 of the frame."""


def timestamp(at: dt.datetime) -> str:
    """Return a timezone-aware time as a `Timestamp`, cut (not rounded) to the millisecond."""
    if at.tzinfo is None:
        raise InvalidMessage(f"time: wanted a timezone-aware datetime, got {at!r}")
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class Capture(enum.StrEnum):
    """What the camera is doing, as `state` tells it."""

    STARTING = "starting"
    WATCHING = "watching"
    BETWEEN_CHECKS = "between-checks"
    OFF_SHIFT = "off-shift"
    BLOCKED = "blocked"
    """The camera is open and cannot see: covered, dark, moved."""
    CAMERA_FAULT = "camera-fault"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    """Only in a will: the unit went away without a word."""


class ClockQuality(enum.StrEnum):
    """Whether the wall times of a message can be believed."""

    SYNCHRONISED = "synchronised"
    UNSYNCHRONISED = "unsynchronised"


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules that hold for every message."""


class Model(_Wire, frozen=True, kw_only=True):
    """The detector that looked."""

    name: Text
    sha256: Sha256


class Rule(_Wire, frozen=True, kw_only=True):
    """The line of the policy that spoke."""

    id: Text
    kind: Text


class State(_Wire, frozen=True, kw_only=True):
    """Payload of `state`: birth, change, explicit offline, and will.

    Of two messages of a unit, the one with the higher (`session`, `connection`) is the later: a reader drops
    an offline that is older than the online it holds, whenever a broker delivers a late will.
    """

    online: bool
    session: Count = 0
    """+1 at each start of the unit, durable; the uplink fills it in."""
    connection: Count = 0
    """+1 at each connection within a session; the uplink fills it in."""
    boot_id: Text
    firmware: Text
    model: Model | None
    policy_version: Count | None
    capture: Capture
    reason: Annotated[str, Meta(max_length=256)] = ""
    at: Timestamp
    """When it was written: in a will, when the connection was made."""


class ThumbnailRef(_Wire, frozen=True, kw_only=True):
    """The picture that was spooled with the event. It may never come: pictures give way before events."""

    topic: Text
    media_type: Text
    bytes: Positive
    sha256: Sha256
    expires_at: Timestamp


class _EventData(_Wire, frozen=True, kw_only=True):
    unit: Text
    tenant: Text
    seq: Positive
    """Contiguous per unit: a reader that sees a gap has lost an event."""
    boot_id: Text
    clock: ClockQuality
    policy_version: Count
    model: Model
    rule: Rule


class OpenedData(_EventData, frozen=True, kw_only=True):
    """What was seen when an infraction opened."""

    since_at: Timestamp
    """Start of the hold: when it was first seen."""
    hold_s: Seconds
    labels: tuple[Text, ...] = ()
    score: Fraction | None = None
    """Best score over the hold; None for rules that have none."""
    boxes: tuple[BoxTuple, ...] = ()
    people: Count | None = None
    """Counted people, for people rules."""
    thumbnail: ThumbnailRef | None = None


class ClosedData(_EventData, frozen=True, kw_only=True):
    """How an infraction ended."""

    opened_id: Text
    """`id` of the event that opened it."""
    duration_s: Seconds
    """From `since_at` of the opened event to the last time it was seen."""
    reason: Ended


class _CloudEvent(_Wire, frozen=True, kw_only=True, tag_field="type"):
    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Meta(min_length=1, max_length=_MAX_ID_CHARS)]
    source: Text
    subject: Text
    """The rule's id."""
    time: Timestamp
    datacontenttype: Literal["application/json"] = "application/json"


class OpenedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.infraction.opened.v1"):
    """An infraction opened."""

    data: OpenedData


class ClosedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.infraction.closed.v1"):
    """An infraction closed."""

    data: ClosedData


Event = OpenedEvent | ClosedEvent

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_state_decoder: msgspec.json.Decoder[State] = msgspec.json.Decoder(State)
_Message = TypeVar("_Message", State, Event)


def encode(message: State | Event) -> bytes:
    """Return the JSON of a message, or raise InvalidMessage: a struct is not checked when it is made."""
    try:
        payload = _encoder.encode(message)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidMessage(f"{type(message).__name__} cannot be written as JSON: {error}") from error
    read: State | Event = decode_state(payload) if isinstance(message, State) else decode_event(payload)
    if read != message:  # NaN is written as null, a list is read as a tuple
        raise InvalidMessage(f"{type(message).__name__}: wanted what its reader reads, {read}, got {message}")
    return payload


def decode_state(payload: bytes) -> State:
    """Read the payload of `state`."""
    return _decode(_state_decoder, "state", payload)


def decode_event(payload: bytes) -> Event:
    """Read the payload of `event`."""
    return _decode(_event_decoder, "event", payload)


def _decode(decoder: "msgspec.json.Decoder[_Message]", what: str, payload: bytes) -> _Message:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(f"{what} of {len(payload)} bytes: {error}") from error
