"""The log as days on the worker's clock."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from edge.logbook.camera import Span, between, spans_of
from edge.logbook.moments import Moment, moments_of
from edge.logbook.words import Mode
from edge.worklog.entries import (
    Entry,
)


@dataclass(frozen=True, slots=True)
class Day:
    """A day on the worker's clock, from midnight to midnight; one that has not ended, until now."""

    date: dt.date
    start_at: dt.datetime
    end_at: dt.datetime
    """The midnight that ends it, also where that is still to come. UTC."""
    moments: tuple[Moment, ...]
    """In the order in which they happened."""
    spans: tuple[Span, ...]

    def lasted_s(self, mode: Mode) -> float:
        """Return how long the camera was in `mode`."""
        return sum(span.lasted_s for span in self.spans if span.mode is mode)


def days_of(entries: Sequence[Entry], zone: dt.tzinfo, now_at: dt.datetime) -> list[Day]:
    """Return the days on which something is written, the newest first."""
    spans = spans_of(entries, now_at)
    by_date: dict[dt.date, list[Moment]] = {}
    for moment in moments_of(entries, zone):
        by_date.setdefault(moment.at.astimezone(zone).date(), []).append(moment)
    days = []
    for date in sorted(by_date, reverse=True):
        start_at, end_at = midnight(date, zone), midnight(date + dt.timedelta(days=1), zone)
        ordered = sorted(by_date[date], key=lambda moment: moment.at)  # stable: else as they were written
        days.append(Day(date, start_at, end_at, tuple(ordered), tuple(between(spans, start_at, end_at))))
    return days


def midnight(date: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """Return the UTC instant at which a day begins."""
    return dt.datetime.combine(date, dt.time(), tzinfo=zone).astimezone(dt.UTC)
