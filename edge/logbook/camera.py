"""What the camera did, and when: told from the unit's notes of it, its states, and the events of breaks."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge.logbook import figures, findings, words
from edge.logbook.words import Mode
from edge.uplink.messages import BreakEndedEvent, BreakStartedEvent, Capture, State
from edge.uplink.wire import ClockQuality
from edge.worklog.entries import Entry, Here, Sent

KNOWN_FROM = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""Before this firmware was: a clock that shows it was not set."""
_STOPPED = words.CAPTURES[Capture.STOPPED][1]
SILENT = dt.timedelta(days=1)
"""After so long without a word nobody can tell what the camera does."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the camera did from one time to another."""

    from_at: dt.datetime
    to_at: dt.datetime
    mode: Mode
    why: str

    @property
    def lasted_s(self) -> float:
        """How long."""
        return (self.to_at - self.from_at).total_seconds()


def between(spans: Iterable[Span], from_at: dt.datetime, to_at: dt.datetime) -> Iterator[Span]:
    """Give the parts of `spans` that lie between two times."""
    for span in spans:
        if span.from_at < to_at and span.to_at > from_at:
            yield dataclasses.replace(span, from_at=max(span.from_at, from_at), to_at=min(span.to_at, to_at))


def spans_of(entries: Sequence[Entry], now_at: dt.datetime) -> list[Span]:
    """Return what the camera did, as far as is written, without holes from the first word to `now_at`."""
    marks = _marks(entries, now_at)
    ends = [*(min(at, now_at) for at, _, _ in marks[1:]), now_at]
    spans = [
        Span(at, end_at, mode, why)
        for (at, mode, why), end_at in zip(marks, ends, strict=False)  # where nothing is told, nothing ends
        if end_at > at
    ]
    for from_at, to_at in _breaks(entries, spans, now_at):
        spans = list(_laid_over(spans, Span(from_at, to_at, Mode.BREAK, words.CAPTURES[Capture.BREAK][1])))
    return list(_joined(spans))


Mark = tuple[dt.datetime, Mode, str]


def _marks(entries: Sequence[Entry], now_at: dt.datetime) -> list[Mark]:
    """Return since when the camera did what, as the unit told it: to the broker, or to the log alone."""
    marks: list[Mark] = []
    session: int | None = None
    last_at: dt.datetime | None = None
    for entry in entries:
        at = figures.parsed(entry.at)
        if at is None or at < KNOWN_FROM:
            continue
        said = words.message_of(entry.note) if isinstance(entry.note, Sent) else None
        noted = words.camera_note(entry.note) if isinstance(entry.note, Here) else None
        if isinstance(said, State) and said.capture is not Capture.UNKNOWN:
            if session not in (None, said.session):
                _nothing_since(marks, last_at)
            since_at = min(figures.parsed(said.at) or at, at)
            _mark(marks, (since_at, *_camera(said.capture, said.reason)))
            session = said.session
        elif noted is not None:
            if noted[0] is Capture.STARTING:
                _nothing_since(marks, last_at)
                session = None  # the next one's start is known
            _mark(marks, (at, *_camera(*noted)))
        last_at = at
    looks = bool(marks) and marks[-1][1] in (Mode.WATCHING, Mode.BETWEEN)
    if looks and last_at is not None and now_at - last_at > SILENT:
        _mark(marks, (last_at, Mode.UNKNOWN, "nothing was written since"))
    return marks


def _nothing_since(marks: list[Mark], last_at: dt.datetime | None) -> None:
    """Mark what lies between a life that did not say that it ended and the next one."""
    if last_at is not None and marks and not marks[-1][2].startswith(_STOPPED):
        _mark(marks, (last_at, Mode.UNKNOWN, "nothing was written: no power, or a crash"))


def _camera(capture: Capture, reason: str) -> tuple[Mode, str]:
    mode, why = words.CAPTURES[capture][0], words.doing(capture, reason)
    return mode, f"{why}: {findings.reason(reason)}" if reason else why


def _mark(marks: list[Mark], mark: Mark) -> None:
    while marks and marks[-1][0] >= mark[0]:  # the clock was put back: the later word holds
        marks.pop()
    marks.append(mark)


def _breaks(
    entries: Sequence[Entry], spans: Sequence[Span], now_at: dt.datetime
) -> list[tuple[dt.datetime, dt.datetime]]:
    """Return the breaks by their own events, which tell of those too that fell into a time without a link."""
    found: dict[str, tuple[dt.datetime, dt.datetime]] = {}
    for entry in entries:
        said = words.message_of(entry.note) if isinstance(entry.note, Sent) else None
        if not isinstance(said, BreakStartedEvent | BreakEndedEvent):
            continue
        at = figures.parsed(said.time)
        if at is None or at < KNOWN_FROM or said.data.clock is ClockQuality.UNSYNCHRONISED:
            continue
        if isinstance(said, BreakStartedEvent):
            over = [s.from_at for s in spans if s.from_at > at and s.mode not in (Mode.BREAK, Mode.UNKNOWN)]
            latest_at = figures.parsed(said.data.ends_at) or now_at
            found[said.id] = (at, min([latest_at, now_at, *over[:1]]))
        elif said.data.started_id in found:
            found[said.data.started_id] = (found[said.data.started_id][0], at)
        else:
            found[said.data.started_id] = (at - dt.timedelta(seconds=min(said.data.duration_s, 86_400)), at)
    return [(from_at, to_at) for from_at, to_at in found.values() if from_at < to_at]


def _laid_over(spans: Sequence[Span], top: Span) -> Iterator[Span]:
    """Give `spans` with `top` in place of what it covers of them."""
    for span in spans:
        if span.to_at <= top.from_at or span.from_at >= top.to_at:
            yield span
            continue
        if span.from_at < top.from_at:
            yield dataclasses.replace(span, to_at=top.from_at)
        yield dataclasses.replace(
            top, from_at=max(top.from_at, span.from_at), to_at=min(top.to_at, span.to_at)
        )
        if span.to_at > top.to_at:
            yield dataclasses.replace(span, from_at=top.to_at)


def _joined(spans: Sequence[Span]) -> Iterator[Span]:
    """Give `spans` with neighbours of the same mode and reason made one."""
    last: Span | None = None
    for span in spans:
        if last is not None and (last.mode, last.why, last.to_at) == (span.mode, span.why, span.from_at):
            last = dataclasses.replace(last, to_at=span.to_at)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
