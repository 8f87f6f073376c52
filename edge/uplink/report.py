"""From the judge's verdicts to the spool, in order, whatever the disk does."""

import datetime as dt
import logging
import math
import random
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from edge.clock import Clock
from edge.evidence.sealing import CannotSeal, Parcel, parcel
from edge.evidence.thumbnail import Jpeg
from edge.policy.breaks import BreakChange, Now
from edge.policy.document import Policy
from edge.policy.judge import Closed, Ended, Opened
from edge.uplink.event_records import (
    Build,
    Origin,
    Stamp,
    break_ended_record,
    break_started_record,
    closed_record,
    opened_record,
)
from edge.uplink.records import MessageTooLarge, OpenInfraction, Record, Serial, SpoolError
from edge.uplink.wire import ClockQuality
from edge.worklog.errors import LogUnwritable

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""How often a spool that cannot take a record is asked again."""
JUST_S = 60.0
"""A moment longer ago than this was read from a clock that has been set since."""


class Keep(Protocol):
    """Keeps the worker's copy of a picture."""

    def __call__(self, event_id: str, jpeg: bytes, expires_at: dt.datetime, *, dated: bool) -> object:
        """Keep it. Raises LogUnwritable."""
        ...


@dataclass(frozen=True, slots=True)
class Gap:
    """Where records were given up."""

    records: int


@dataclass(frozen=True, slots=True)
class Due:
    """A record that is to be written, and what has to be done first."""

    build: Build
    first: Callable[[], object] | None = None
    until_s: float = math.inf
    """Until when, on the monotonic clock, its picture may be kept."""
    bare: Build | None = None
    """The same without its picture, for after that."""


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
        clock: Clock,
        skip: Callable[[int], object] | None = None,
        keep: Keep | None = None,
    ) -> None:
        """Write as `origin`, through `put`.

        `keep` takes the worker's copy of a picture; `dated`: by a clock that was set. While it raises
        LogUnwritable, the record waits.
        """
        self._origin = origin
        self._put, self._skip, self._keep = put, skip, keep
        self._chance = chance
        self._synchronised = synchronised
        self._clock = clock
        self._open: dict[str, OpenInfraction] = {}
        self._waiting: deque[Due | Gap] = deque()
        self._failing, self._kept_late = False, 0
        self._retry_due_s = -math.inf
        self.opened_count = 0
        self.given_up = 0
        """Records lost because too many waited."""
        self.unsealed_count = 0
        """Pictures that were to be sealed and could not be: they are gone, and their events went without."""

    @property
    def waiting(self) -> int:
        """Records that the spool could not take yet."""
        return sum(not isinstance(each, Gap) for each in self._waiting)

    @property
    def untold(self) -> int:
        """Records of which the spool knows nothing: those that wait, and those lost without a gap so far."""
        return sum(each.records if isinstance(each, Gap) else 1 for each in self._waiting)

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Write an opened infraction with its picture, which is sealed here: it waits for nobody open."""
        stamp = self._stamp(policy, now_at)
        retain = dt.timedelta(days=policy.thumbnail.retain_days)
        until_s = self._clock.now_s() + retain.total_seconds()
        picture = self._parcel(jpeg, policy, stamp.event_id)
        keep = None
        if jpeg is not None and picture is not None and self._keep is not None:
            keep = partial(self._keep_copy, stamp, jpeg.data, until_s)
        rule = verdict.rule
        since_at = now_at - dt.timedelta(seconds=verdict.now_s - verdict.since_s)
        opens = OpenInfraction(stamp.event_id, rule.id, _kind(rule), since_at, now_at)

        def build(picture: Parcel | None, serial: Serial) -> Record:
            return opened_record(self._origin, stamp, opens, verdict, picture, retain, serial)

        self.opened_count += 1
        self._open[rule.id] = opens
        self._enqueue(Due(partial(build, picture), keep, until_s, partial(build, None)))

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Write the end of an open infraction."""
        opened = self._open.pop(verdict.rule.id)
        self._close(opened, verdict.duration_s, verdict.reason, policy, now_at)

    def close_left_open(self, left: Sequence[OpenInfraction], policy: Policy, now_at: dt.datetime) -> None:
        """Close what was open when the unit died, as long as it is known to have lasted."""
        for opened in left:
            known_s = (opened.opened_at - opened.since_at).total_seconds()
            self._close(opened, known_s, Ended.RESTARTED, policy, now_at)

    def break_changed(self, change: BreakChange, now: Now) -> None:
        """Write that a break started or, with an end, that it ended."""
        on, end = change.on, change.end
        ends_at = on.ends_at(now)
        if end is None:
            stamp = self._stamp(None, on.started_at, on.event_id)
        else:
            stamp = self._stamp(None, end.ended_at, end.event_id)

        def build(serial: Serial) -> Record:
            if end is None:
                return break_started_record(self._origin, stamp, on.reason, on.by, ends_at, serial)
            return break_ended_record(
                self._origin, stamp, on.event_id, end.lasted_s, on.reason, end.by, serial
            )

        self._write(build)

    def turn(self, now_s: float) -> None:
        """Try again to write what waits, at most every `RETRY_S`. To be called often."""
        for place, due in enumerate(self._waiting):
            if isinstance(due, Due) and due.bare is not None and now_s >= due.until_s:
                self._waiting[place] = Due(due.bare)  # not even in memory is a picture kept for longer
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
                    if first.first is not None:
                        first.first()
                    self._put(first.build)
            except MessageTooLarge as error:
                log.error("an event is lost: %s", error)
                self.given_up += 1
                self._waiting[0] = Gap(1)  # it stands in nobody's way
                continue
            except (SpoolError, LogUnwritable) as error:
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

    def _keep_copy(self, stamp: Stamp, jpeg: bytes, until_s: float) -> None:
        """Keep the worker's copy for as long as is left by the monotonic clock: the wall's may jump."""
        assert self._keep is not None
        left = dt.timedelta(seconds=until_s - self._clock.now_s())
        dated = stamp.clock is ClockQuality.SYNCHRONISED
        self._keep(stamp.event_id, jpeg, self._clock.now_at() + left, dated=dated)

    def _parcel(self, jpeg: Jpeg | None, policy: Policy, event_id: str) -> Parcel | None:
        """Return the picture as it may leave; none where it should be sealed and cannot be."""
        if jpeg is None:
            return None
        try:
            return parcel(jpeg.data, policy.thumbnail.sealed_to, self._origin.topics.unit, event_id)
        except CannotSeal as error:
            log.error("an event goes without its picture: %s", error)
            self.unsealed_count += 1
            return None

    def _close(
        self,
        opened: OpenInfraction,
        duration_s: float,
        reason: Ended,
        policy: Policy,
        now_at: dt.datetime,
    ) -> None:
        stamp = self._stamp(policy, now_at)

        def build(serial: Serial) -> Record:
            return closed_record(self._origin, stamp, opened, duration_s, reason, serial)

        self._write(build)

    def _write(self, build: Build) -> None:
        self._enqueue(Due(build))

    def _enqueue(self, due: Due) -> None:
        if self.waiting >= self.MAX_WAITING:
            self._give_up()
            return
        self._waiting.append(due)
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

    def _stamp(self, policy: Policy | None, now_at: dt.datetime, event_id: str = "") -> Stamp:
        event_id = event_id or str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        clock = ClockQuality.SYNCHRONISED if self._synchronised() else ClockQuality.UNSYNCHRONISED
        return Stamp(
            event_id, now_at, self._monotonic_s(now_at), clock, 0 if policy is None else policy.version
        )

    def _monotonic_s(self, at: dt.datetime) -> float:
        """Return the monotonic time of a moment that has just been."""
        age_s = (self._clock.now_at() - at).total_seconds()
        return max(0.0, self._clock.now_s() - (age_s if 0.0 <= age_s < JUST_S else 0.0))


def _kind(rule: object) -> str:
    return type(rule).__name__.removesuffix("Rule").lower()
