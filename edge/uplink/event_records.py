"""Events as records for the spool. Their ids, times and thumbnails are tied here."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.evidence.sealing import Parcel
from edge.policy.breaks import BreakBy
from edge.policy.document import ObjectRule, PeopleRule
from edge.policy.judge import Ended, Finding, Opened
from edge.uplink.messages import (
    EVENT_CONTENT_TYPE,
    BreakEndedData,
    BreakEndedEvent,
    BreakStartedData,
    BreakStartedEvent,
    ClockSetData,
    ClockSetEvent,
    ClosedData,
    ClosedEvent,
    Event,
    GapData,
    GapEvent,
    Model,
    OpenedData,
    OpenedEvent,
    Rule,
    ThumbnailRef,
    encode,
)
from edge.uplink.records import Kind, LostRange, OpenInfraction, Outgoing, Record, Serial
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, timestamp

Build = Callable[[Serial], Record]
"""Makes a record once its number is known."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What every event of a run says of where it comes from."""

    topics: Topics
    boot_id: str
    model: Model


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an event was made, on which clock, under which id and policy."""

    event_id: str
    now_at: dt.datetime
    now_s: float
    """Monotonic seconds at `now_at`."""
    clock: ClockQuality
    policy_version: int


def opened_record(
    origin: Origin,
    stamp: Stamp,
    opens: OpenInfraction,
    verdict: Opened,
    picture: Parcel | None,
    retain: dt.timedelta,
    serial: Serial,
) -> Record:
    """Return the event that opens `opens` and, behind it, its picture."""
    expires_at = stamp.now_at + retain
    thumbnail = None
    pictures: tuple[Outgoing, ...] = ()
    if picture is not None:
        topic = origin.topics.thumb(stamp.event_id)
        thumbnail = ThumbnailRef(
            topic=topic,
            media_type=picture.media_type,
            bytes=len(picture.data),
            sha256=picture.sha256,
            expires_at=timestamp(expires_at),
            recipient=picture.recipient,
        )
        sent = Outgoing(
            Kind.THUMBNAIL,
            topic,
            picture.data,
            picture.media_type,
            stamp.event_id,
            expires_at,
            unsettled=_unsettled(stamp),
        )
        pictures = (sent,)
    rule, finding = verdict.rule, verdict.finding
    data = OpenedData(
        **_look(origin, stamp, Rule(id=opens.rule_id, kind=opens.rule_kind), serial),
        since_at=timestamp(opens.since_at),
        hold_s=rule.hold_s,
        labels=_labels(finding),
        score=round(finding.score, 4) if finding.tracks else None,
        # Where people were stays here: the count is what the rule is about.
        boxes=_boxes(finding) if isinstance(rule, ObjectRule) else (),
        people=len(finding.tracks) if isinstance(rule, PeopleRule) else None,
        thumbnail=thumbnail,
    )
    event = OpenedEvent(**_envelope(origin, stamp, rule.id), data=data)
    return Record((_outgoing(origin, stamp, event), *pictures), opens=opens)


def closed_record(
    origin: Origin, stamp: Stamp, opened: OpenInfraction, duration_s: float, reason: Ended, serial: Serial
) -> Record:
    """Return the event that closes `opened`."""
    data = ClosedData(
        **_look(origin, stamp, Rule(id=opened.rule_id, kind=opened.rule_kind), serial),
        opened_id=opened.event_id,
        duration_s=round(duration_s, 3),
        reason=reason,
    )
    event = ClosedEvent(**_envelope(origin, stamp, opened.rule_id), data=data)
    return Record((_outgoing(origin, stamp, event),), closes=opened.event_id)


def break_started_record(
    origin: Origin, stamp: Stamp, reason: str, by: BreakBy, ends_at: dt.datetime, serial: Serial
) -> Record:
    """Return the event that says that nothing is watched."""
    data = BreakStartedData(**_data(origin, stamp, serial), reason=reason, by=by, ends_at=timestamp(ends_at))
    event = BreakStartedEvent(**_envelope(origin, stamp, "break"), data=data)
    return Record((_outgoing(origin, stamp, event),))


def break_ended_record(
    origin: Origin,
    stamp: Stamp,
    started_id: str,
    duration_s: float,
    reason: str,
    by: BreakBy,
    serial: Serial,
) -> Record:
    """Return the event that ends a break; `reason` is the break's own."""
    data = BreakEndedData(
        **_data(origin, stamp, serial),
        started_id=started_id,
        duration_s=round(duration_s, 3),
        reason=reason,
        by=by,
    )
    event = BreakEndedEvent(**_envelope(origin, stamp, "break"), data=data)
    return Record((_outgoing(origin, stamp, event),))


def gap_record(origin: Origin, stamp: Stamp, lost: LostRange, serial: Serial) -> Record:
    """Return the event that accounts for what will never come."""
    data = GapData(
        **_data(origin, stamp, serial),
        what=lost.what,
        lost_epoch=lost.epoch,
        from_seq=lost.from_seq,
        to_seq=lost.to_seq,
        count=lost.count,
        reason=lost.reason,
    )
    message = _outgoing(origin, stamp, GapEvent(**_envelope(origin, stamp, "gap"), data=data), Kind.GAP)
    return Record((message,))


def clock_set_record(origin: Origin, stamp: Stamp, stepped_s: float, serial: Serial) -> Record:
    """Return the event by which earlier times of this boot are put right."""
    data = ClockSetData(**_data(origin, stamp, serial), stepped_s=round(stepped_s, 3))
    return Record((_outgoing(origin, stamp, ClockSetEvent(**_envelope(origin, stamp, "clock"), data=data)),))


def _data(origin: Origin, stamp: Stamp, serial: Serial) -> "dict[str, Any]":
    return {
        "unit": origin.topics.unit,
        "tenant": origin.topics.tenant,
        "epoch": serial.epoch,
        "seq": serial.seq,
        "boot_id": origin.boot_id,
        "clock": stamp.clock,
        "monotonic_s": round(stamp.now_s, 3),
    }


def _look(origin: Origin, stamp: Stamp, rule: Rule, serial: Serial) -> "dict[str, Any]":
    data = _data(origin, stamp, serial)
    return {**data, "policy_version": stamp.policy_version, "model": origin.model, "rule": rule}


def _envelope(origin: Origin, stamp: Stamp, subject: str) -> "dict[str, Any]":
    return {
        "id": stamp.event_id,
        "source": origin.topics.source,
        "subject": subject,
        "time": timestamp(stamp.now_at),
    }


def _labels(finding: Finding) -> tuple[str, ...]:
    return tuple(sorted({track.label for track in finding.tracks} | {cause.value for cause in finding.blind}))


def _boxes(finding: Finding) -> tuple[tuple[float, float, float, float], ...]:
    boxes = (track.box for track in finding.tracks)
    return tuple((round(b.x0, 4), round(b.y0, 4), round(b.x1, 4), round(b.y1, 4)) for b in boxes)


def _outgoing(origin: Origin, stamp: Stamp, event: Event, kind: Kind = Kind.EVENT) -> Outgoing:
    return Outgoing(
        kind,
        origin.topics.event,
        encode(event),
        EVENT_CONTENT_TYPE,
        event.id,
        unsettled=_unsettled(stamp),
    )


def _unsettled(stamp: Stamp) -> bool:
    return stamp.clock is ClockQuality.UNSYNCHRONISED
