"""What is typed behind an option, parsed. Each raises ArgumentTypeError, which says what was wanted."""

import argparse
import datetime as dt
import math


def moment(text: str) -> dt.datetime:
    """Parse a time of this century, UTC where it names no zone: far from it, calendars overflow."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or not 2000 <= at.year < 2100:
        raise argparse.ArgumentTypeError(f"wanted a time from 2000 to 2099, 2026-03-02T09:00, got {text!r}")
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def seconds(text: str) -> float:
    """Parse a length of time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"wanted seconds above 0, below a million, got {text!r}")
    return value


def span(text: str) -> tuple[float, float]:
    """Parse `3-8`, in seconds."""
    start, _, end = text.partition("-")
    try:
        parsed = float(start), float(end)
    except ValueError:
        parsed = math.nan, math.nan
    if not 0.0 <= parsed[0] < parsed[1] < 1e6:
        wanted = "wanted START-END in seconds, the end later, below a million: 3-8"
        raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}")
    return parsed


def measured_seconds(text: str) -> float:
    """Parse how long to measure."""
    value = seconds(text)
    if value < 1.0:  # too few steps for a percentile
        raise argparse.ArgumentTypeError(f"wanted 1 second or more, got {text!r}")
    return value


def words(text: str) -> str:
    """Parse what must not be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"wanted a few words, got {text!r}")
    return text


def count(text: str) -> int:
    """Parse a whole number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"wanted a whole number, 0 or more, got {text!r}")
    return int(text)
