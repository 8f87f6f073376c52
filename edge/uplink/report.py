"""From the judge's verdicts to records for the spool. The events' ids, times and thumbnails are tied here."""

import datetime as dt
import logging
import math
import random
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.evidence.thumbnail import Jpeg
from edge.policy.document import ObjectRule, PeopleRule, Policy
from edge.policy.judge import Closed, Ended, Finding, Opened
from edge.uplink.messages import (
    EVENT_CONTENT_TYPE,
    ClockQuality,
    ClosedData,
    ClosedEvent,
    Event,
    Model,
    OpenedData,
    OpenedEvent,
    Rule,
    ThumbnailRef,
    Topics,
    encode,
    timestamp,
)
from edge.uplink.records import Kind, OpenInfraction, Outgoing, Record, SpoolError

log = logging.getLogger(__name__)

Build = Callable[[int], Record]
"""Makes a record once its `seq` is known."""


RETRY_S = 1.0
"""How often a spool that cannot take a record is asked again."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Where records were given up."""

    records: int


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
    clock: ClockQuality
    policy_version: int


def opened_record(
    origin: Origin,
    stamp: Stamp,
    opens: OpenInfraction,
    verdict: Opened,
    jpeg: Jpeg | None,
    retain: dt.timedelta,
    seq: int,
) -> Record:
    """Return the event that opens `opens` and, behind it, its picture."""
    expires_at = stamp.now_at + retain
    thumbnail = None
    pictures: tuple[Outgoing, ...] = ()
    if jpeg is not None:
        topic = origin.topics.thumb(stamp.event_id)
        thumbnail = ThumbnailRef(
            topic=topic,
            media_type="image/jpeg",
            bytes=len(jpeg.data),
            sha256=jpeg.sha256,
            expires_at=timestamp(expires_at),
        )
        pictures = (Outgoing(Kind.THUMBNAIL, topic, jpeg.data, "image/jpeg", stamp.event_id, expires_at),)
    rule, finding = verdict.rule, verdict.finding
    data = OpenedData(
        **_common(origin, stamp, Rule(id=opens.rule_id, kind=opens.rule_kind), seq),
        since_at=timestamp(opens.since_at),
        hold_s=rule.hold_s,
        labels=_labels(finding),
        score=round(finding.score, 4) if finding.tracks else None,
        # Where people were stays here: the count is what the rule is about.
        boxes=_boxes(finding) if isinstance(rule, ObjectRule) else (),
        people=len(finding.tracks) if isinstance(rule, PeopleRule) else None,
        thumbnail=thumbnail,
    )
    event = OpenedEvent(
        id=stamp.event_id,
        source=origin.topics.source,
        subject=rule.id,
        time=timestamp(stamp.now_at),
        data=data,
    )
    return Record((_outgoing(origin, event), *pictures), opens=opens)


def closed_record(
    origin: Origin, stamp: Stamp, opened: OpenInfraction, duration_s: float, reason: Ended, seq: int
) -> Record:
    """Return the event that closes `opened`."""
    data = ClosedData(
        **_common(origin, stamp, Rule(id=opened.rule_id, kind=opened.rule_kind), seq),
        opened_id=opened.event_id,
        duration_s=round(duration_s, 3),
        reason=reason,
    )
    event = ClosedEvent(
        id=stamp.event_id,
        source=origin.topics.source,
        subject=opened.rule_id,
        time=timestamp(stamp.now_at),
        data=data,
    )
    return Record((_outgoing(origin, event),), closes=opened.event_id)


class Reporter:
    """Writes verdicts into the spool, in order, and knows which infractions are open.

    A spool that cannot take a record (a full disk) does not stop the watch: up to `MAX_WAITING` records wait
    in memory and go in, in order, once it can. Records beyond those are lost; each uses up a `seq` through
    `skip`, so that the reader of the events sees a gap where they would have been.
    """

    MAX_WAITING = 64

    def __init__(
        self,
        origin: Origin,
        put: Callable[[Build], object],
        chance: random.Random,
        synchronised: Callable[[], bool],
        skip: Callable[[int], object] | None = None,
    ) -> None:
        self._origin = origin
        self._put, self._skip = put, skip
        self._chance = chance
        self._synchronised = synchronised
        self._open: dict[str, OpenInfraction] = {}
        self._waiting: deque[Build | Gap] = deque()
        self._failing, self._kept_late = False, 0
        self._retry_due_s = -math.inf
        self.opened_count = 0
        self.given_up = 0
        """Records lost because too many waited."""

    @property
    def waiting(self) -> int:
        """Records that the spool could not take yet."""
        return sum(not isinstance(each, Gap) for each in self._waiting)

    @property
    def untold(self) -> int:
        """Records of which the spool knows nothing: those that wait, and those lost without a gap so far."""
        return sum(each.records if isinstance(each, Gap) else 1 for each in self._waiting)

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Write an opened infraction with its picture."""
        stamp = self._stamp(policy, now_at)
        retain = dt.timedelta(days=policy.thumbnail.retain_days)
        rule = verdict.rule
        since_at = now_at - dt.timedelta(seconds=verdict.now_s - verdict.since_s)
        opens = OpenInfraction(stamp.event_id, rule.id, _kind(rule), since_at, now_at)

        def build(seq: int) -> Record:
            return opened_record(self._origin, stamp, opens, verdict, jpeg, retain, seq)

        self.opened_count += 1
        self._open[rule.id] = opens
        self._write(build)

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Write the end of an open infraction."""
        opened = self._open.pop(verdict.rule.id)
        self._close(opened, verdict.duration_s, verdict.reason, policy, now_at)

    def close_left_open(self, left: Sequence[OpenInfraction], policy: Policy, now_at: dt.datetime) -> None:
        """Close what was open when the unit died, as long as it is known to have lasted."""
        for opened in left:
            known_s = (opened.opened_at - opened.since_at).total_seconds()
            self._close(opened, known_s, Ended.RESTARTED, policy, now_at)

    def turn(self, now_s: float) -> None:
        """Try again to write what waits, at most every `RETRY_S`. To be called often."""
        if self._waiting and now_s >= self._retry_due_s:
            self._retry_due_s = now_s + RETRY_S
            self.flush()

    def flush(self) -> bool:
        """Try now to write what waits; return whether nothing is left."""
        while self._waiting:
            first = self._waiting[0]
            try:
                if isinstance(first, Gap):
                    if self._skip is not None:
                        self._skip(first.records)
                else:
                    self._put(first)
            except SpoolError as error:
                if not self._failing:
                    log.error("the spool cannot take events, which wait in memory: %s", error)
                self._failing = True
                return False
            self._waiting.popleft()
            self._kept_late += self._failing and not isinstance(first, Gap)
        if self._failing:
            log.warning(
                "the spool takes events again: %d that waited are in it, %d were lost since the start",
                self._kept_late,
                self.given_up,
            )
        self._failing, self._kept_late = False, 0
        return True

    def _close(
        self,
        opened: OpenInfraction,
        duration_s: float,
        reason: Ended,
        policy: Policy,
        now_at: dt.datetime,
    ) -> None:
        stamp = self._stamp(policy, now_at)

        def build(seq: int) -> Record:
            return closed_record(self._origin, stamp, opened, duration_s, reason, seq)

        self._write(build)

    def _write(self, build: Build) -> None:
        if self.waiting >= self.MAX_WAITING:
            self._give_up()
            return
        self._waiting.append(build)
        if not self._failing:
            self.flush()

    def _give_up(self) -> None:
        self.given_up += 1
        last = self._waiting[-1]
        if isinstance(last, Gap):
            self._waiting[-1] = Gap(last.records + 1)
            return
        log.error("events are lost from now on: %d already wait for the spool", self.MAX_WAITING)
        self._waiting.append(Gap(1))

    def _stamp(self, policy: Policy, now_at: dt.datetime) -> Stamp:
        event_id = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        clock = ClockQuality.SYNCHRONISED if self._synchronised() else ClockQuality.UNSYNCHRONISED
        return Stamp(event_id, now_at, clock, policy.version)


def _common(origin: Origin, stamp: Stamp, rule: Rule, seq: int) -> "dict[str, Any]":
    return {
        "unit": origin.topics.unit,
        "tenant": origin.topics.tenant,
        "seq": seq,
        "boot_id": origin.boot_id,
        "clock": stamp.clock,
        "policy_version": stamp.policy_version,
        "model": origin.model,
        "rule": rule,
    }


def _kind(rule: object) -> str:
    return type(rule).__name__.removesuffix("Rule").lower()


def _labels(finding: Finding) -> tuple[str, ...]:
    return tuple(sorted({track.label for track in finding.tracks} | {cause.value for cause in finding.blind}))


def _boxes(finding: Finding) -> tuple[tuple[float, float, float, float], ...]:
    boxes = (track.box for track in finding.tracks)
    return tuple((round(b.x0, 4), round(b.y0, 4), round(b.x1, 4), round(b.y1, 4)) for b in boxes)


def _outgoing(origin: Origin, event: Event) -> Outgoing:
    return Outgoing(Kind.EVENT, origin.topics.event, encode(event), EVENT_CONTENT_TYPE, event.id)
