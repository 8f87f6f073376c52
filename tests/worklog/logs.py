"""A log in a test: its clock, its notes, and what stands in it."""

import datetime as dt
import hashlib
import random
from pathlib import Path

from edge.worklog.entries import Entry, Here, PictureRef, Sent
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read

NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


class Clock:
    """The wall time, which a test may set to anything."""

    def __init__(self, at: dt.datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        return self.at


def opened(folder: Path, clock: Clock | None = None, **bounds: object) -> WorkerLog:
    return WorkerLog.open(folder, now_at=clock or Clock(), **bounds)  # type: ignore[arg-type]


def sent(text: str, picture: PictureRef | None = None) -> Sent:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Sent("event", "application/json", len(text), sha256, text, picture)


def jpeg(seed: int, size_bytes: int = 3000) -> bytes:
    return b"\xff\xd8" + random.Random(seed).randbytes(size_bytes - 2)


def texts(folder: Path) -> list[str]:
    """What was said at the unit, in order."""
    return [entry.note.text for entry in read(folder) if isinstance(entry.note, Here)]


def entries(folder: Path) -> list[Entry]:
    return list(read(folder))


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-*.jsonl"))
