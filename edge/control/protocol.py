"""What is said over the control socket: one line of JSON asks, one line of JSON answers."""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import EdgeError
from edge.uplink.messages import Alarm

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


class CheckSaid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a check of the diagnosis ended, without its words."""

    name: Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]
    status: Literal["pass", "warn", "fail", "skip"]
    code: Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9-]*\Z")] = ""
    number: float | None = None
    """What was found, where that is a number."""
    unit: Annotated[str, Meta(max_length=8)] = ""
    """Of `number`."""


class MakeBundle(_Said, frozen=True, tag="make-bundle"):
    """Make a support bundle, and note it in the worker's log first."""

    checks: Annotated[tuple[CheckSaid, ...], Meta(max_length=128)] = ()
    """What the diagnosis found."""


Token = Annotated[str, Meta(min_length=16, max_length=64)]


class AimAsk(_Said, frozen=True, tag="aim"):
    """Have the light ask whether somebody at the unit may line up the camera."""


class AimLook(_Said, frozen=True, tag="aim-look"):
    """Tell how it stands, and what is to be seen. Nobody asks for 5 s: it ends."""

    token: Token


class AimEnd(_Said, frozen=True, tag="aim-end"):
    """End it."""

    token: Token


Request = (
    Status
    | TakeBreak
    | Resume
    | AcceptNotice
    | WithdrawNotice
    | BeginRepair
    | EndRepair
    | AimAsk
    | AimLook
    | AimEnd
    | MakeBundle
)


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


class LoggedError(msgspec.Struct, frozen=True, kw_only=True):
    """An error or a warning that the unit logged."""

    at: str
    """ISO 8601 in UTC, by the clock of then."""
    level: str
    """`ERROR`, `WARNING`, `CRITICAL`."""
    logger: str
    template: str
    """As it stands in our source: nothing of the unit or the worker is in it."""
    text: str
    """With what was filled in: for whoever sits at the unit, and never sent."""


class BundleMade(_Said, frozen=True, tag="bundle"):
    """The support bundle, which stands in the worker's log now."""

    sealed: bytes
    told: tuple[str, ...] = ()
    """What is in it, for people."""


class StatusAnswer(_Said, frozen=True, tag="status"):
    """How the unit is."""

    facts: dict[str, str | float | None]
    """By name."""
    errors: tuple[LoggedError, ...] = ()
    """The newest that it logged, warnings too, the last one last."""
    alarms: tuple[Alarm, ...] = ()
    """What somebody should see to."""


class AimPicture(_Said, frozen=True, tag="aim-picture"):
    """A coarse picture, and its figures."""

    cols: Annotated[int, Meta(ge=1, le=64)]
    rows: Annotated[int, Meta(ge=1, le=36)]
    grid: Annotated[bytes, Meta(max_length=64 * 36)]
    """Grey levels, row by row."""
    brightness: float
    """Mean grey level, 0–255."""
    sharpness: float | None
    """0.2–0.8 in focus, below 0.12 out of it; null: too little is open to tell."""
    blind: tuple[str, ...] = ()
    """Why it cannot be trusted."""


class AimAnswer(_Said, frozen=True, tag="aim"):
    """How it stands with lining up the camera; to AimAsk and AimLook."""

    phase: Literal["asked", "granted", "ended"]
    token: Token
    left_s: float = 0.0
    """How long there is to answer, or to look."""
    text: str = ""
    """Why it ended, or why nothing is to be seen, for people."""
    picture: AimPicture | None = None


Answer = Done | Refused | StatusAnswer | AimAnswer | BundleMade

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
