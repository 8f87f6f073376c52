"""What every message on the wire is made of: a frozen struct, and types that hold its ranges.

`encode_as` refuses a message that its reader would refuse, so an invalid one never leaves; `Reader` refuses
an unknown key, a wrong type or a value out of range, with the JSON path.
"""

import datetime as dt
import enum
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import EdgeError

MAX_ID_CHARS = 64
JSON = "application/json"

_FORBIDDEN_IN_ID = frozenset("/+#\0")


class InvalidId(EdgeError, ValueError):
    """An id cannot be a level of a topic: change the id, to letters, digits, '-' and '_' if in doubt."""


class InvalidMessage(EdgeError, ValueError):
    """A message is not what the contract says: the sender is wrong; drop it and count it."""


def checked_id(what: str, value: str) -> str:
    """Return `value` if it can stand as one level of a topic: 1–64 printable characters, no '/', '+', '#'."""
    if not 1 <= len(value) <= MAX_ID_CHARS:
        raise InvalidId(f"{what}: wanted 1 to {MAX_ID_CHARS} characters, got {len(value)}: {value[:80]!r}")
    wrong = sorted({c for c in value if c in _FORBIDDEN_IN_ID or not c.isprintable()})
    if wrong:
        raise InvalidId(
            f"{what}: wanted printable characters without '/', '+' or '#', got {wrong} in {value!r}"
        )
    return value


Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z",
        description="RFC 3339, UTC, milliseconds: 2026-03-04T05:06:07.089Z",
    ),
]
MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Remark = Annotated[str, Meta(max_length=256)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256 in lower-case hex")]
Epoch = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z", description="32 lower-case hex digits")]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=2**53)]
Seconds = Annotated[float, Meta(ge=0)]
BoxTuple = tuple[Fraction, Fraction, Fraction, Fraction]
"""x0, y0, x1, y1 in 0–1 of the frame."""


def timestamp(at: dt.datetime) -> str:
    """Return a timezone-aware time as a `Timestamp`, cut (not rounded) to the millisecond."""
    if at.tzinfo is None:
        raise InvalidMessage(f"time: wanted a timezone-aware datetime, got {at!r}")
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def moment(text: str) -> dt.datetime:
    """Return a `Timestamp` as a UTC datetime. Raises InvalidMessage for a day that no calendar has."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidMessage(f"time: wanted RFC 3339 in UTC, got {text!r}: {error}") from error


class ClockQuality(enum.StrEnum):
    """Whether the wall times of a message can be believed."""

    SYNCHRONISED = "synchronised"
    """The system said that its clock was set."""
    CORRECTED = "corrected"
    """Taken before the clock was set, put right from the monotonic clock of the same boot afterwards."""
    UNSYNCHRONISED = "unsynchronised"
    """They cannot; `boot_id` and `monotonic_s` can."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules that hold for every message."""


class Problem(Wire, frozen=True, kw_only=True):
    """Why something was refused."""

    code: Text
    """What a program acts on; each is listed beside the message that carries it."""
    path: Remark = "$"
    """JSON path of the value at fault, in the document that was refused."""
    problem: Annotated[str, Meta(max_length=1024)]
    """For people: what was wanted, and what came."""


_Message = TypeVar("_Message", bound=Wire)


class Reader(Generic[_Message]):
    """Reads one type of message (or one union of them) from JSON."""

    def __init__(self, what: str, kind: "type[_Message]") -> None:
        self._what = what
        self._decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(kind)

    def read(self, payload: bytes) -> _Message:
        """Return the message. Raises InvalidMessage with the JSON path."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidMessage(f"{self._what} of {len(payload)} bytes: {error}") from error


_encoder = msgspec.json.Encoder()


def encode_as(message: _Message, reader: Reader[_Message]) -> bytes:
    """Return the JSON of a message, or raise InvalidMessage: a struct is not checked when it is made."""
    try:
        payload = _encoder.encode(message)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidMessage(f"{type(message).__name__} cannot be written as JSON: {error}") from error
    read = reader.read(payload)
    if read != message:  # NaN is written as null, a list is read as a tuple
        raise InvalidMessage(f"{type(message).__name__}: wanted what its reader reads, {read}, got {message}")
    return payload
