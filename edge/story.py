"""Events in words, for people."""

import datetime as dt
from typing import assert_never

from edge.uplink.messages import (
    BreakEndedEvent,
    BreakStartedEvent,
    ClockSetEvent,
    ClosedEvent,
    Event,
    GapEvent,
    OpenedEvent,
)


def line_of(event: Event, start_at: dt.datetime) -> str:
    """Return an event as a line: minutes and seconds since `start_at`, what happened, to which rule."""
    elapsed_s = (dt.datetime.fromisoformat(event.time) - start_at).total_seconds()
    return f"{int(elapsed_s // 60):3d}:{elapsed_s % 60:04.1f}  {told(event)}"


def told(event: Event) -> str:
    """Return what happened, to which rule."""
    match event:
        case OpenedEvent():
            picture = event.data.thumbnail
            sealed = f", sealed to {picture.recipient}" if picture and picture.recipient else ""
            return f"opened  {event.subject:<16} {words_of(event)}{sealed}"
        case ClosedEvent():
            return f"closed  {event.subject:<16} after {event.data.duration_s:.1f} s ({event.data.reason})"
        case BreakStartedEvent():
            reason = printable(event.data.reason) or "no reason given"
            return f"started {event.subject:<16} {reason} ({event.data.by})"
        case BreakEndedEvent():
            return f"ended   {event.subject:<16} after {event.data.duration_s:.1f} s ({event.data.by})"
        case GapEvent(data=lost):
            count = "some" if lost.count is None else lost.count
            numbers = f"{lost.what}s {lost.from_seq} to {lost.to_seq}"
            return f"lost    {event.subject:<16} {count} of {numbers} ({lost.reason})"
        case ClockSetEvent():
            return f"set     {event.subject:<16} by {event.data.stepped_s:+.1f} s"
        case _:
            assert_never(event)


def printable(text: str) -> str:
    """Return `text` with a dot for each character that could steer a terminal."""
    return "".join([character if character.isprintable() else "·" for character in text])


def words_of(event: OpenedEvent) -> str:
    """Return what was seen, in words."""
    data = event.data
    match data.rule.kind:
        case "people" if data.people:
            return f"{data.people} people"
        case "people":
            return "nobody there"
        case "activity":
            return "workstation idle"
        case _:
            seen = ", ".join(data.labels)
            return f"{seen} {data.score:.2f}" if data.score is not None else seen
