"""What stands in the worker's log, in words for the worker: no codes, no jargon, nothing left out."""

import datetime as dt
import enum
import re
from collections.abc import Callable, Mapping
from typing import assert_never

from edge.logbook import figures, findings, refusals
from edge.policy.breaks import BreakBy
from edge.policy.judge import Ended
from edge.story import printable
from edge.support.bundle import Bundle
from edge.support.noted import NOTED, Noted, told
from edge.support.noted import read as read_note
from edge.uplink.command_messages import (
    BreakResult,
    DiagnoseResult,
    IdentifyResult,
    ReloadResult,
    Reply,
    ResumeResult,
    SpotCheckResult,
    decode_reply,
)
from edge.uplink.messages import (
    Capture,
    Event,
    Health,
    Lost,
    OpenedEvent,
    State,
    decode_event,
    decode_health,
    decode_state,
)
from edge.uplink.twin_messages import Phase, Reported, decode_reported
from edge.uplink.wire import InvalidMessage
from edge.worklog.entries import Here, Sent

CAMERA = "camera"
"""`what` of a note that tells what the camera began to do: its text is a `Capture`, or `Capture: reason`."""
NOTICE_ACCEPTED = "notice accepted"
AIMS = (
    "somebody asked to line up the camera",
    "you agreed, at the button, that the camera is lined up",
    "the lining up of the camera ended",
)
"""`what` of notes on an aim; their text is the unit's own, and nobody's words."""
_ACCEPTED = re.compile(r"(?:version (\S+), )?(?:by ([a-z]+)|(at the [a-z' ]+))")
Message = Event | State | Reply | Reported | Health
_DECODERS: dict[str, Callable[[bytes], Message]] = {
    "event": decode_event,
    "state": decode_state,
    "health": decode_health,
    "config/reported": decode_reported,
}


class Mode(enum.StrEnum):
    """What the camera did for a while, as a worker would put it."""

    WATCHING = "watching"
    BREAK = "break"
    BETWEEN = "between"
    """Closed until the next spot check."""
    CLOSED = "closed"
    FAULT = "fault"
    """Closed, or blind, for a reason that somebody should see to."""
    UNKNOWN = "unknown"
    """Nothing stands in the log that could tell."""


MODES = {
    Mode.WATCHING: "watching",
    Mode.BREAK: "break, camera closed",
    Mode.BETWEEN: "between spot checks, camera closed",
    Mode.CLOSED: "camera closed",
    Mode.FAULT: "not watching, needs attention",
    Mode.UNKNOWN: "not known",
}
CAPTURES = {
    Capture.STARTING: (Mode.CLOSED, "the unit was starting"),
    Capture.WATCHING: (Mode.WATCHING, "the camera was open"),
    Capture.AIMING: (Mode.WATCHING, "the camera was open to be lined up, as you agreed at the button"),
    Capture.BETWEEN_CHECKS: (Mode.BETWEEN, "between two spot checks"),
    Capture.OFF_SHIFT: (Mode.CLOSED, "outside your shift"),
    Capture.BREAK: (Mode.BREAK, "you were on a break"),
    Capture.BLOCKED: (Mode.WATCHING, "the camera was open, but could not see"),
    Capture.NOTICE: (Mode.CLOSED, "you had not accepted the notice"),
    Capture.LED_FAULT: (Mode.FAULT, "closed, because the light did not work"),
    Capture.REPAIR: (Mode.FAULT, "closed for a repair"),
    Capture.SAFE_MODE: (Mode.FAULT, "closed, because the unit kept failing"),
    Capture.CAMERA_FAULT: (Mode.FAULT, "the camera did not work"),
    Capture.STOPPED: (Mode.CLOSED, "the unit was stopped"),
    Capture.UNKNOWN: (Mode.UNKNOWN, "nothing was written"),
}
_LOOKED = "a diagnosis at the unit"
_ENDED = {
    Ended.ENDED: "it was no longer seen",
    Ended.LOST_SIGHT: "the unit could no longer tell",
    Ended.OFF_SHIFT: "your shift ended",
    Ended.NOT_ALLOWED: "the camera had to close",
    Ended.POLICY_CHANGED: "new rules took force",
    Ended.STOPPED: "the unit was stopped",
    Ended.RESTARTED: "the unit restarted; it may have lasted longer",
}
_BY = {
    BreakBy.BUTTON: "at the button",
    BreakBy.COMMAND: "by a command from afar",
    BreakBy.LOCAL: "at the unit's command line",
    BreakBy.TIME: "by itself, its time was up",
}
_LOST = {
    Lost.SPOOL_FULL: "too much was waiting to be sent",
    Lost.DISK_FULL: "the unit's disk was full",
    Lost.TOO_OLD: "it had waited too long",
    Lost.EXPIRED: "the time for which pictures are kept was over",
    Lost.REFUSED: "the other end would not have it",
    Lost.RELEASED: "it had been handed over earlier already, or will not come",
    Lost.CORRUPT: "what waited on the disk was damaged",
}
_ASKED = {
    "spot-check": "asked to look at once",
    "break": "told to begin a break",
    "resume": "told to end the break",
    "diagnose": "asked how it is, and to look itself over",
    "identify": "asked to blink its light",
    "reload": "told to read its settings again",
}
CAUSES = {
    "covered": "covered or dark",
    "defocused": "out of focus",
    "moved": "moved",
    "frozen": "always the same picture",
}
_GONE = {
    "expired": "the time for which pictures are kept was over",
    "no-room": "newer pictures needed the room",
}
_KINDS = {
    "began": "beginning",
    "sent": "message that was sent",
    "command": "command",
    "policy-took": "change of the rules",
    "here": "thing done at the unit",
    "pruned": "note of older ones",
    "pictures-gone": "note of deleted pictures",
}


def message_of(sent: Sent) -> Message | None:
    """Return the message that was sent; None where it is a picture, or none that this firmware knows."""
    if sent.payload is None:
        return None
    decode = decode_reply if sent.topic.startswith("reply/") else _DECODERS.get(sent.topic)
    if decode is None:
        return None
    try:
        return decode(sent.payload.encode("utf-8", "surrogatepass"))
    except InvalidMessage:
        return None


def camera_note(here: Here) -> tuple[Capture, str] | None:
    """Return what the camera began to do, and why, where a note of the unit to its log alone says so."""
    word, _, reason = here.text.partition(": ")
    return (Capture(word), reason) if here.what == CAMERA and word in set(Capture) else None


def doing(capture: Capture, reason: str) -> str:
    """Return what the camera did; a diagnosis of a unit that was stopped leaves it so."""
    text = CAPTURES[capture][1]
    if capture is Capture.STOPPED and reason == _LOOKED:
        return f"{text}, and its camera closed again"
    return text


def here(what: str, text: str) -> str:
    """Return what a note of something done at the unit says besides."""
    if what == NOTICE_ACCEPTED and (found := _ACCEPTED.fullmatch(text)):
        version, by, where = found.groups()
        where = where or (_BY[BreakBy(by)] if by in set(BreakBy) else f"by {by}")
        return f"Version {version} of it, {where}" if version else where[:1].upper() + where[1:]
    if what in AIMS:
        return findings.reason(text[:1].upper() + text[1:])
    if what == NOTED and (noted := read_note(text)) is not None:
        return bundle(*noted)
    return f"“{findings.reason(text)}”"


def bundle(noted: Noted, made: Bundle | None) -> str:
    """Return what is in a support bundle, and who can open it."""
    size, key = figures.size(noted.bytes), figures.fingerprint(noted.recipient)
    held = "; ".join(told(made)) if made is not None else "what another version of the firmware put there"
    return (
        f"Somebody at the unit made it, for support: a file of {size} that only who holds the key {key} …"
        f" can open. In it: {held}. All of it stands in this entry, word for word"
    )


def seen(event: OpenedEvent) -> str:
    """Return what an infraction says that was seen."""
    data = event.data
    labels = printable(", ".join(data.labels))
    match data.rule.kind:
        case "people":
            return f"{people(data.people)} seen" if data.people else "Nobody seen at the desk"
        case "activity":
            return "The workstation was not used"
        case "tamper":
            causes = ", ".join(CAUSES.get(label, printable(label)) for label in data.labels)
            return f"The camera could not see: {causes}" if causes else "The camera could not see"
        case _:
            return f"{labels[:1].upper()}{labels[1:]} seen" if labels else "Something was seen"


def people(count: int | None) -> str:
    """Return a count of people."""
    return "1 person" if count == 1 else f"{count} people"


def ended(reason: Ended) -> str:
    """Return why an infraction closed."""
    return _ENDED[reason]


def by_whom(by: BreakBy) -> str:
    """Return by whom a break was started or ended."""
    return _BY[by]


def lost(reason: Lost) -> str:
    """Return why something will never come."""
    return _LOST[reason]


def gone(why: str) -> str:
    """Return why pictures were deleted."""
    return _GONE.get(why, printable(why))


def kinds(counts: Mapping[str, int]) -> str:
    """Return how many entries of each kind there were."""
    said = []
    for kind, count in counts.items():
        one = _KINDS.get(kind, printable(kind))
        noun, of, rest = one.partition(" ")
        said.append(f"{count:,} {noun if count == 1 else noun + 's'}{of}{_agree(rest, count)}")
    return ", ".join(said)


def _agree(rest: str, count: int) -> str:
    return rest if count == 1 else rest.replace("that was", "that were")


def asked(name: str) -> str:
    """Return what somebody wanted of the unit from afar."""
    return f"The unit was {_ASKED.get(name, f'asked for “{printable(name)}”')}"


def answered(reply: Reply, zone: dt.tzinfo) -> str:
    """Return what the unit replied."""
    if reply.error is not None:
        return f"It refused: {refusals.command(reply.error)}"
    match reply.result:
        case None:
            said = "nothing"
        case SpotCheckResult(blind=blind) if blind:
            said = f"it could not see: {', '.join(CAUSES.get(each, printable(each)) for each in blind)}"
        case SpotCheckResult(seen=found):
            counted = ", ".join(f"{one.count} × {printable(one.label)}" for one in found)
            said = f"it saw {counted or 'nothing that the rules name'}. No picture was sent"
        case BreakResult(ends_at=ends_at):
            said = f"on a break until {figures.clock(ends_at, zone)} at the latest"
        case ResumeResult(lasted_s=lasted_s):
            said = f"the break had lasted {figures.span(lasted_s)}"
        case DiagnoseResult(facts=facts, checks=checks):
            looked = f", and how {figures.number(len(checks), 'check')} of itself ended" if checks else ""
            said = f"{figures.number(len(facts), 'fact')} about itself{looked}"
        case IdentifyResult(for_s=for_s):
            said = f"it blinks for {figures.span(for_s)}"
        case ReloadResult():
            said = "it starts over with them"
        case _:
            assert_never(reply.result)
    return f"It answered: {said}"


HEALTH = (
    "The unit told how it fares, as it does each minute while it is connected: one of an hour stands here"
)


def fares(said: Health) -> list[str]:
    """Return what the unit told of its own health, for the curious: nothing of it is about a person."""
    frames, looks = figures.number(said.frames, "frame"), figures.number(said.inferences, "look")
    told = [f"{frames} and {looks} since its start"]
    if said.temperature_c is not None:
        told.append(f"its processor has {said.temperature_c:.0f} °C")
    if said.disk_free_bytes is not None:
        told.append(f"{figures.size(said.disk_free_bytes)} free on its disk")
    if said.spool_events is not None:
        told.append(f"{figures.number(said.spool_events, 'report')} waiting to be sent")
    return told


def reported(said: Reported) -> str:
    """Return what the unit told of the rules that were sent to it."""
    version = f" (version {said.desired.version})" if said.desired else ""
    why = f": {refusals.of_rules(said.error)}" if said.error else ""
    match said.phase:
        case Phase.NONE:
            return "The unit said that it was sent no rules, and follows its own"
        case Phase.TRIAL:
            return f"The unit said that it tries the new rules{version}"
        case Phase.CONFIRMED:
            return f"The unit said that the new rules{version} work"
        case Phase.REFUSED:
            return f"Rules that were sent to the unit{version} were refused and changed nothing{why}"
        case Phase.ROLLED_BACK:
            return f"The unit went back to the rules before, the new ones{version} failed{why}"
        case _:
            assert_never(said.phase)
