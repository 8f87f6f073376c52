"""Times, durations, sizes and fingerprints, as people read them."""

import datetime as dt
import math

from edge.story import printable


def span(seconds: float) -> str:
    """Return a duration with as much detail as matters."""
    if not math.isfinite(seconds) or seconds < 0.0:
        return "an unknown time"
    if seconds < 10.0:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes and hours < 24 else f"{hours:,} h"


def size(count: int) -> str:
    """Return a number of bytes."""
    if count < 1000:
        return f"{count} bytes"
    unit, power = ("kB", 3) if count < 1_000_000 else ("MB", 6) if count < 1_000_000_000 else ("GB", 9)
    return f"{count / 10**power:,.1f} {unit}"


def number(count: int, one: str, many: str = "") -> str:
    """Return a count of things: `1 picture`, `2 pictures`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def parsed(text: str) -> dt.datetime | None:
    """Return a time as it stands in the log; None where it is none, or where calendars end."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 1970 <= at.year < 2200:
        return None
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


def clock(text: str, zone: dt.tzinfo) -> str:
    """Return hours and minutes of a time as it stands in the log."""
    at = parsed(text)
    return printable(text) if at is None else f"{at.astimezone(zone):%H:%M}"


def moment(text: str, zone: dt.tzinfo) -> str:
    """Return day, hours and minutes of a time as it stands in the log."""
    at = parsed(text)
    return (
        printable(text) if at is None else f"{date(at.astimezone(zone).date())}, {at.astimezone(zone):%H:%M}"
    )


def date(day: dt.date) -> str:
    """Return a day: `24 November 2026`."""
    return f"{day.day} {day:%B %Y}"


def fingerprint(sha256: str, digits: int = 16) -> str:
    """Return the beginning of a hash, in groups that can be copied by hand."""
    text = printable(sha256)[:digits]
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
