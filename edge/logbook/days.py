"""The log as days on the worker's clock."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from edge.logbook.camera import Span, between, spans_of
from edge.logbook.gathering import Line, Part, gather
from edge.logbook.moments import Moment
from edge.logbook.words import Mode
from edge.worklog.entries import Entry

_NOT_KNOWN = "the log of that time was changed"


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


def days_of(
    entries: Sequence[Line],
    zone: dt.tzinfo,
    now_at: dt.datetime,
    *,
    former: Sequence[Part] = (),
    anew: bool = False,
) -> list[Day]:
    """Return the days on which something is written, the newest first.

    `former`: of logs that were changed. `anew`: what the camera did in their time is not known; what they
    say of that cannot be relied on.
    """
    spans = spans_of([line for line in entries if isinstance(line, Entry)], now_at)
    by_date: dict[dt.date, list[Moment]] = {}
    for moment in gather([*former, Part("", entries)], zone):
        by_date.setdefault(moment.at.astimezone(zone).date(), []).append(moment)
    if anew and by_date:
        known_from_at = spans[0].from_at if spans else now_at
        spans.insert(0, Span(midnight(min(by_date), zone), known_from_at, Mode.UNKNOWN, _NOT_KNOWN))
    days = []
    for date in sorted(by_date, reverse=True):
        start_at, end_at = midnight(date, zone), midnight(date + dt.timedelta(days=1), zone)
        ordered = sorted(by_date[date], key=lambda moment: moment.at)  # stable: else as they were written
        days.append(Day(date, start_at, end_at, tuple(ordered), tuple(between(spans, start_at, end_at))))
    return days


def midnight(date: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """Return the UTC instant at which a day begins."""
    return dt.datetime.combine(date, dt.time(), tzinfo=zone).astimezone(dt.UTC)
