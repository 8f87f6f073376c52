"""What is asked of a unit, and what it answers: `cmd/{name}`, `reply/{name}`, `ack` and `activity`."""

import enum
from typing import Annotated

from msgspec import Meta

from edge.uplink.check_messages import CheckResult
from edge.uplink.messages import Capture
from edge.uplink.wire import (
    Count,
    Epoch,
    Fraction,
    MessageId,
    Problem,
    Reader,
    Remark,
    Seconds,
    Text,
    Timestamp,
    Wire,
    encode_as,
)


class Command(Wire, frozen=True, kw_only=True):
    """What every command says."""

    id: MessageId
    """Never used again: a second command with it is refused as replayed."""
    expires_at: Timestamp
    """From then on it is refused; at most a day ahead."""


class SpotCheck(Command, frozen=True, kw_only=True):
    """Look now, and tell what is seen. Refused outside the shift and on a break."""


class Break(Command, frozen=True, kw_only=True):
    """Stop watching, at once: `cmd/break`."""

    reason: Remark = ""
    """For people; it stands in the break's events."""


class Resume(Command, frozen=True, kw_only=True):
    """End the break: `cmd/resume`."""

    reason: Remark = ""
    """For people."""


class Diagnose(Command, frozen=True, kw_only=True):
    """Tell how the unit is."""


class Identify(Command, frozen=True, kw_only=True):
    """Blink, so that whoever stands beside the unit knows it."""

    for_s: Annotated[float, Meta(ge=1, le=60)] = 10.0
    """How long to blink."""


class Reload(Command, frozen=True, kw_only=True):
    """Read unit.toml again, and start over with it."""


COMMANDS: dict[str, type[Command]] = {
    "spot-check": SpotCheck,
    "break": Break,
    "resume": Resume,
    "diagnose": Diagnose,
    "identify": Identify,
    "reload": Reload,
}
"""By the last level of the topic."""


class CommandError(enum.StrEnum):
    """`error.code` of a command that was not done."""

    INVALID = "invalid"
    UNKNOWN = "unknown"
    RETAINED = "retained"
    EXPIRED = "expired"
    TOO_FAR_AHEAD = "too-far-ahead"
    REPLAYED = "replayed"
    OFF_SHIFT = "off-shift"
    ON_BREAK = "on-break"
    NOT_ON_BREAK = "not-on-break"
    TOO_EARLY = "too-early"
    """A break that was taken at the unit is not ended from afar in its first five minutes."""
    NOT_ALLOWED = "not-allowed"
    """The camera is closed for the worker's sake: no notice accepted, no light, a repair, safe mode."""
    BUSY = "busy"
    """The same is being done already."""
    NO_FRAME = "no-frame"
    """The camera gave no picture in time."""
    NO_LED = "no-led"
    FAILED = "failed"


class Seen(Wire, frozen=True, kw_only=True):
    """All of one label in a frame. Where they were stays on the unit."""

    label: Text
    """As the model names it."""
    count: Count
    """How many."""
    score: Fraction
    """The highest."""


class SpotCheckResult(Wire, frozen=True, kw_only=True, tag="spot-check"):
    """What one frame showed."""

    capture: Capture
    seen: tuple[Seen, ...]
    """Empty where nothing was."""
    blind: tuple[Text, ...] = ()
    """Why the camera could not see, if it could not."""
    frame_at: Timestamp


class BreakResult(Wire, frozen=True, kw_only=True, tag="break"):
    """The break that is on."""

    ends_at: Timestamp


class ResumeResult(Wire, frozen=True, kw_only=True, tag="resume"):
    """The break that was ended."""

    lasted_s: Seconds
    """How long it was on."""


class DiagnoseResult(Wire, frozen=True, kw_only=True, tag="diagnose"):
    """How the unit is."""

    facts: dict[str, str | float | None]
    """By name, such as `spool.events`; every name stands in docs/messages.md."""
    checks: Annotated[tuple[CheckResult, ...], Meta(max_length=256)] = ()
    """Causes before effects: the first that fails is the likely cause of what fails after it."""


class IdentifyResult(Wire, frozen=True, kw_only=True, tag="identify"):
    """It blinks."""

    for_s: Seconds
    """How long."""


class ReloadResult(Wire, frozen=True, kw_only=True, tag="reload"):
    """The settings are good, and the unit starts over with them."""


Result = SpotCheckResult | BreakResult | ResumeResult | DiagnoseResult | IdentifyResult | ReloadResult


class Reply(Wire, frozen=True, kw_only=True):
    """Payload of `reply/{name}`: either a result or an error."""

    id: MessageId
    """The command's."""
    at: Timestamp
    result: Result | None = None
    """What was done."""
    error: Problem | None = None
    """Why it was not done."""


class Ack(Wire, frozen=True, kw_only=True):
    """Payload of `ack`: the ingester has all of this epoch up to `seq`, pictures too, for good."""

    epoch: Epoch
    """Of the unit's spool, as its events have it."""
    seq: Count
    """0: nothing yet."""


class Activity(Wire, frozen=True, kw_only=True):
    """Payload of `activity`: somebody used the workstation."""

    at: Timestamp


_replies = Reader("reply", Reply)
_acks = Reader("ack", Ack)
_beats = Reader("activity", Activity)
_commands = {name: Reader(f"cmd/{name}", kind) for name, kind in COMMANDS.items()}


def decode_command(name: str, payload: bytes) -> Command:
    """Read the payload of `cmd/{name}`, a name of COMMANDS. Raises InvalidMessage."""
    return _commands[name].read(payload)


def encode_command(name: str, command: Command) -> bytes:
    """Return the JSON of a command, or raise InvalidMessage."""
    return encode_as(command, _commands[name])


def encode_reply(reply: Reply) -> bytes:
    """Return the JSON of a reply, or raise InvalidMessage."""
    return encode_as(reply, _replies)


def decode_reply(payload: bytes) -> Reply:
    """Read the payload of `reply/{name}`."""
    return _replies.read(payload)


def encode_ack(ack: Ack) -> bytes:
    """Return the JSON of an acknowledgement, or raise InvalidMessage."""
    return encode_as(ack, _acks)


def decode_ack(payload: bytes) -> Ack:
    """Read the payload of `ack`."""
    return _acks.read(payload)


def decode_activity(payload: bytes) -> Activity:
    """Read the payload of `activity`."""
    return _beats.read(payload)


def encode_activity(beat: Activity) -> bytes:
    """Return the JSON of a beat, or raise InvalidMessage."""
    return encode_as(beat, _beats)
