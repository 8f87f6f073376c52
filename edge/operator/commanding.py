"""Sending a command to one unit, and waiting for its reply."""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from edge.errors import EdgeError
from edge.operator.addresses import filter_of
from edge.operator.station import Station
from edge.uplink.command_messages import (
    COMMANDS,
    BreakResult,
    Command,
    DiagnoseResult,
    IdentifyResult,
    Reply,
    Result,
    ResumeResult,
    SpotCheckResult,
    decode_reply,
    encode_command,
    encode_reply,
)
from edge.uplink.link import BrokerConfig
from edge.uplink.signals import LinkError, Publication
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, InvalidMessage, timestamp

MARGIN_S = 60.0
"""So much longer a command is valid than it is waited for: clocks differ."""


YES_OR_NO = frozenset(
    {
        "button.fitted",
        "camera.open",
        "clock.synchronised",
        "led.fitted",
        "link.connected",
        "power.under_voltage",
    }
)
"""Facts that are 1 or 0 on the wire."""


class WrongOption(EdgeError):
    """This command has no such option, or not with this value: do what the message says, or leave it out."""


class NoAnswer(EdgeError):
    """Nobody answered: see with `deskwatch operator watch` whether the unit is online."""


class CommandNotTaken(EdgeError):
    """The broker refused the command: check the access list of this user."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command by its name, with what it may take."""

    name: str
    command: Command

    @classmethod
    def new(
        cls, name: str, valid_s: float, *, reason: str | None = None, for_s: float | None = None
    ) -> "Order":
        """Make a command that no unit has seen. Raises WrongOption, InvalidMessage."""
        kind = COMMANDS[name]
        given = {"reason": reason, "for_s": for_s}
        options = {key: value for key, value in given.items() if value is not None}
        unknown = options.keys() - set(kind.__struct_fields__)
        if unknown:
            option = {"reason": "--reason", "for_s": "--for"}[unknown.pop()]
            raise WrongOption(f"{name}: wanted no {option}")
        expires_at = timestamp(datetime.now(UTC) + timedelta(seconds=valid_s))
        whole = {"id": str(uuid.uuid4()), "expires_at": expires_at, **options}
        try:
            return cls(name, msgspec.convert(whole, kind))
        except msgspec.ValidationError as error:
            raise WrongOption(f"{name}: {error}") from error


def order(config: BrokerConfig, topics: Topics, order: Order, timeout_s: float) -> Reply:
    """Send it and return the reply. Raises NoAnswer, CommandNotTaken, LinkError."""
    lost: list[LinkError] = []
    deadline_s = time.monotonic() + timeout_s
    payload = encode_command(order.name, order.command)
    reply_filter = filter_of(topics.tenant, topics.unit, "reply", order.name)
    with Station(config, [reply_filter], lost=lost.append) as station:
        expiry_s = max(1, int(timeout_s))
        station.publish("command", Publication(topics.command(order.name), payload, JSON, expiry_s=expiry_s))
        while (left_s := deadline_s - time.monotonic()) > 0:
            for message in station.turn(min(left_s, 0.5)):
                try:
                    reply = decode_reply(message.payload)
                except InvalidMessage:
                    continue
                if reply.id == order.command.id and not message.retain:
                    return reply
            for sent in station.sent():
                if sent.failure:
                    raise CommandNotTaken(f"{sent.publication.topic}: {sent.failure}")
    why = f"; the broker was lost meanwhile: {lost[-1]}" if lost else ""
    raise NoAnswer(f"{topics.unit}: wanted a reply to {order.name} within {timeout_s:g} s, got none{why}")


def json_of(reply: Reply) -> str:
    """Return a reply for programs."""
    return encode_reply(reply).decode()


def told(result: Result | None) -> list[str]:
    """Return a result as lines for people."""
    match result:
        case SpotCheckResult():
            seen = ", ".join(f"{one.count} {one.label} (best {one.score:.2f})" for one in result.seen)
            lines = [
                f"saw at {result.frame_at}: {seen or 'nothing that it knows'}",
                f"camera: {result.capture}",
            ]
            return lines + ([f"it cannot see: {', '.join(result.blind)}"] if result.blind else [])
        case BreakResult():
            return [f"on a break until {result.ends_at} at the latest"]
        case ResumeResult():
            return [f"the break is over, after {result.lasted_s:.0f} s"]
        case DiagnoseResult():
            return facts_told(result)
        case IdentifyResult():
            return [f"blinks for {result.for_s:g} s"]
        case _:
            return ["done"]


def facts_told(result: DiagnoseResult) -> list[str]:
    """Return what a unit says of itself, by name."""
    width = max(map(len, result.facts), default=0)
    return [f"{name:<{width}}  {_shown(name, value)}" for name, value in sorted(result.facts.items())]


def _shown(name: str, value: str | float | None) -> str:
    if value is None:
        return "none"
    if name in YES_OR_NO and value in {0.0, 1.0}:
        return "yes" if value else "no"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Return it whole where it is: bytes do not come as powers of ten."""
    return f"{value:.0f}" if value.is_integer() else f"{value:.10g}"
