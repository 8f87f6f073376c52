"""What is said over the control socket: one line of JSON asks, one line of JSON answers."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import EdgeError

MAX_LINE_BYTES = 65_536
"""Its newline included."""
REASON_CHARS = 256


class NotUnderstood(EdgeError, ValueError):
    """A line is not what was agreed: run the `deskwatch` of the unit's own version, or restart the unit."""


Reason = Annotated[str, Meta(max_length=REASON_CHARS)]


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class Status(_Said, frozen=True, tag="status"):
    """Tell how the unit is."""


class TakeBreak(_Said, frozen=True, tag="take-break"):
    """Start a break, at once."""

    reason: Reason = ""


class Resume(_Said, frozen=True, tag="resume"):
    """End the break."""


class AcceptNotice(_Said, frozen=True, tag="accept-notice"):
    """The worker has read the notice, and accepts it."""

    version: Annotated[str, Meta(min_length=1, max_length=64)]
    """Of the text that was read."""


class WithdrawNotice(_Said, frozen=True, tag="withdraw-notice"):
    """The worker no longer accepts the notice: nothing is captured from now on."""


class BeginRepair(_Said, frozen=True, tag="begin-repair"):
    """Keep the camera closed until the repair is said to be done."""

    reason: Annotated[str, Meta(min_length=1, max_length=REASON_CHARS)]


class EndRepair(_Said, frozen=True, tag="end-repair"):
    """The repair is done."""


Request = Status | TakeBreak | Resume | AcceptNotice | WithdrawNotice | BeginRepair | EndRepair


class Done(_Said, frozen=True, tag="done"):
    """It was done."""

    text: str = ""
    """What there is to say of it beyond that, for people."""
    ends_at: str | None = None
    """When the break ends by itself, ISO 8601 in UTC; to TakeBreak only."""
    lasted_s: float | None = None
    """How long the break was; to Resume only."""


class Refused(_Said, frozen=True, tag="refused"):
    """It was not done, or not wholly."""

    problem: str
    """Why, for people."""


class StatusAnswer(_Said, frozen=True, tag="status"):
    """How the unit is."""

    facts: dict[str, str | float | None]
    """By name."""


Answer = Done | Refused | StatusAnswer

_Kind = TypeVar("_Kind", Request, Answer)
_requests: "msgspec.json.Decoder[Request]" = msgspec.json.Decoder(Request)
_answers: "msgspec.json.Decoder[Answer]" = msgspec.json.Decoder(Answer)


def read_request(line: bytes) -> Request:
    """Return what is asked. Raises NotUnderstood."""
    return _read(line, _requests, "request")


def read_answer(line: bytes) -> Answer:
    """Return what was answered. Raises NotUnderstood."""
    return _read(line, _answers, "answer")


def line_of(said: Request | Answer) -> bytes:
    """Return the line, with its newline. Raises NotUnderstood where it cannot be one."""
    try:
        line = msgspec.json.encode(said) + b"\n"
    except (msgspec.MsgspecError, TypeError, ValueError) as error:  # half a surrogate is a ValueError
        raise NotUnderstood(f"{type(said).__name__}: wanted what JSON can say, got: {error}") from error
    if len(line) > MAX_LINE_BYTES:
        kind = type(said).__name__
        raise NotUnderstood(f"{kind}: wanted a line of at most {MAX_LINE_BYTES} bytes, got {len(line)}")
    return line


def _read(line: bytes, decoder: "msgspec.json.Decoder[_Kind]", what: str) -> _Kind:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotUnderstood(f"{what} of {len(line)} bytes: {error}") from error
