"""Putting right the times of events that were taken before the clock was set. Pure."""

import datetime as dt

import msgspec

from edge.uplink.messages import BreakStartedEvent, Event, OpenedEvent, decode_event, encode
from edge.uplink.wire import ClockQuality, InvalidMessage, moment, timestamp

UNKNOWN_BOOT = "unknown"


def corrected(
    payload: bytes, boot_id: str, now_at: dt.datetime, now_s: float
) -> tuple[bytes, dt.timedelta] | None:
    """Return an event of this boot with its wall times put right, and by how much; None: it cannot be done.

    `now_at` and `now_s` are the same moment on the synchronised wall clock and the monotonic one.
    """
    try:
        event = decode_event(payload)
        if (
            boot_id == UNKNOWN_BOOT
            or event.data.clock is not ClockQuality.UNSYNCHRONISED
            or event.data.boot_id != boot_id
        ):
            return None
        true_at = now_at - dt.timedelta(seconds=now_s - event.data.monotonic_s)
        by = true_at - moment(event.time)
        return encode(_shifted(event, by)), by
    except (InvalidMessage, OverflowError):
        return None


def _shifted(event: Event, by: dt.timedelta) -> Event:
    changes: dict[str, object] = {"clock": ClockQuality.CORRECTED}
    if isinstance(event, OpenedEvent):
        changes["since_at"] = _later(event.data.since_at, by)
        if event.data.thumbnail is not None:
            expires_at = _later(event.data.thumbnail.expires_at, by)
            changes["thumbnail"] = msgspec.structs.replace(event.data.thumbnail, expires_at=expires_at)
    elif isinstance(event, BreakStartedEvent):
        changes["ends_at"] = _later(event.data.ends_at, by)
    data = msgspec.structs.replace(event.data, **changes)
    return msgspec.structs.replace(event, time=_later(event.time, by), data=data)


def _later(text: str, by: dt.timedelta) -> str:
    return timestamp(moment(text) + by)
