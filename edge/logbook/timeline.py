"""A day of the camera as a bar and in words. The height of a piece tells as much as its colour does."""

import datetime as dt
import html
from collections import Counter
from collections.abc import Iterator, Sequence

from edge.logbook import figures, words
from edge.logbook.camera import Span
from edge.logbook.days import Day
from edge.logbook.moments import Kind
from edge.logbook.words import Mode
from edge.story import printable

ROWS = 60
"""Pieces of a day that are told one by one."""
_WIDTH, _HEIGHT = 1000.0, 48
_PIECES_MAX = 600
_LEAST = 2.0
"""A look of a few seconds is not too small to be seen."""
_TALL = {
    Mode.WATCHING: 40,
    Mode.FAULT: 24,
    Mode.BREAK: 24,
    Mode.BETWEEN: 8,
    Mode.CLOSED: 4,
    Mode.UNKNOWN: 40,
}
_PATTERNS = (
    '<svg width="0" height="0" aria-hidden="true" class="defs"><defs>'
    '<pattern id="unknown" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="8" height="8" class="unknown-a"/><rect width="3" height="8" class="unknown-b"/></pattern>'
    "</defs></svg>"
)


def legend() -> str:
    """Return what the bars mean, and the pattern that they share."""
    keys = "".join(
        f'<li><span class="key {mode}" aria-hidden="true"></span>{words.MODES[mode]}</li>' for mode in Mode
    )
    keys += '<li><span class="key mark" aria-hidden="true"></span>something was reported</li>'
    note = '<p class="legend-note">As the unit noted it, connected or not.</p>'
    return f'{_PATTERNS}<ul class="legend" aria-label="What the bars mean">{keys}</ul>{note}'


def bar(day: Day, zone: dt.tzinfo, name: str) -> str:
    """Return the day from midnight to midnight: what the camera did, and when something was reported."""
    if not day.spans:
        return ""
    lasted = ((mode, day.lasted_s(mode)) for mode in Mode)
    said = ", ".join(f"{words.MODES[mode]} {figures.span(seconds)}" for mode, seconds in lasted if seconds)
    # What is tall is drawn last: a short look stands in front of what is around it.
    pieces = sorted(_merged(day), key=lambda span: _TALL[span.mode])
    drawn = "".join(_piece(day, span) for span in pieces)
    seen = [moment.at for moment in day.moments if moment.kind is Kind.SEEN][:_PIECES_MAX]
    ticks = "".join(
        f'<rect class="seen" x="{_x(day, at) - 2:.1f}" y="0" width="4" height="6"/>' for at in seen
    )
    return (
        f'<div class="bar"><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{html.escape(f"{name}: {said}", quote=True)}">{drawn}{ticks}</svg>'
        f'<div class="hours" aria-hidden="true">{"".join(_hours(day, zone))}</div></div>'
    )


def table(day: Day, zone: dt.tzinfo) -> str:
    """Return the same in words."""
    if not day.spans:
        return ""
    rows = "".join(
        f"<tr><td>{span.from_at.astimezone(zone):%H:%M}–{_end(day, span, zone)}</td>"
        f"<td>{words.MODES[span.mode]}</td><td>{html.escape(printable(span.why))}</td></tr>"
        for span in day.spans[:ROWS]
    )
    rest = Counter(span.mode for span in day.spans[ROWS:])
    more = ", ".join(f"{count:,} × {words.MODES[mode]}" for mode, count in rest.items())
    if more:
        rows += f'<tr><td>and then</td><td colspan="2">{more}</td></tr>'
    return (
        '<details class="hourly"><summary>The camera on this day, in words</summary><table><thead><tr>'
        "<th>Time</th><th>Camera</th><th>Why</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _end(day: Day, span: Span, zone: dt.tzinfo) -> str:
    return "24:00" if span.to_at == day.end_at else f"{span.to_at.astimezone(zone):%H:%M}"


def _x(day: Day, at: dt.datetime) -> float:
    return (at - day.start_at) / (day.end_at - day.start_at) * _WIDTH


def _piece(day: Day, span: Span) -> str:
    left, right = _x(day, span.from_at), _x(day, span.to_at)
    tall = _TALL[span.mode]
    wide = max(right - left, _LEAST)
    place = f'x="{left:.1f}" y="{_HEIGHT - tall}" width="{wide:.1f}" height="{tall}"'
    return f'<rect class="{span.mode}" {place}/>'


def _merged(day: Day) -> Sequence[Span]:
    """Return the spans, bounded in number: of too many, the longest."""
    if len(day.spans) <= _PIECES_MAX:
        return day.spans
    return sorted(day.spans, key=lambda span: (span.mode is not Mode.WATCHING, -span.lasted_s))[:_PIECES_MAX]


def _hours(day: Day, zone: dt.tzinfo) -> Iterator[str]:
    """Give the labels below the bar. A day on which the clocks change has 23 or 25 hours, and shows it."""
    for hour in range(0, 24, 3):
        at = dt.datetime.combine(day.date, dt.time(hour), tzinfo=zone).astimezone(dt.UTC)
        yield f'<span style="left:{_x(day, at) / 10:.2f}%">{hour:02d}</span>'
    yield '<span style="left:100%">24</span>'
