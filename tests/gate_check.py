"""Did the camera take a frame that it may not take? Pure: from two journals to what was forbidden.

One journal is the camera's own, one of the hands at the unit: what they asked for, and when they were told
that it is done. All seconds are of the one monotonic clock that every process of a machine shares.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

UNDER_WAY_S = 0.5
"""One frame, or open, that began so soon after its permission ended is taken to have been under way."""
SHIFT = (dt.time(8), dt.time(12))
"""Each day, UTC, on the unit's own wall clock."""
FORBIDS = {"break": "resume", "withdraw": "accept", "repair": "done", "led": "mend"}
"""What forbids the camera as soon as it is known to be done, by what may allow it once it was asked for."""
AIMS = {**FORBIDS, "aim-end": "agree"}
"""The same, of a unit that looks for an aim alone: the end of one, and a birth, forbid it until a press."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not have been."""

    floor: str
    """break, withdraw, repair, led, shift; light where it was not on; forgotten where a restart lost it."""
    what: str


@dataclass(slots=True)
class Verdict:
    """What is wrong, and whether enough was seen to say so."""

    faults: list[Fault] = field(default_factory=list)
    frames: int = 0
    lives: int = 0
    lives_with_frames: int = 0
    under_way: int = 0
    """Frames and opens that began when it was still allowed to."""
    spans: Counter[str] = field(default_factory=Counter)
    """How often each was forbidden for sure."""

    @property
    def floors(self) -> set[str]:
        return {fault.floor for fault in self.faults}


@dataclass(frozen=True, slots=True)
class Span:
    """From an acknowledged end of a permission to the first word that may have brought it back."""

    floor: str
    from_s: float
    to_s: float


@dataclass(slots=True)
class _Life:
    """One life of the unit, as far as it has been read."""

    born_s: float
    signal: str = "off"
    is_open: bool = False
    frames: int = 0
    excused: set[tuple[str, str, float]] = field(default_factory=set)


def check(camera: Iterable[Line], hands: Iterable[Line], forbids: Mapping[str, str] = FORBIDS) -> Verdict:
    """Compare the camera's journal with the hands'."""
    verdict = Verdict()
    spans = list(_spans(hands, verdict, forbids))
    verdict.spans = Counter(span.floor for span in spans)
    lives: dict[int, _Life] = {}
    for line in camera:
        if line["act"] == "born":
            lives[line["life"]] = _Life(line["s"])
            continue
        life = lives[line["life"]]
        _light(line, life, verdict)
        if line["act"] in ("open", "frame"):
            for floor, from_s in _forbidding(line, spans):
                _weigh(line, life, floor, from_s, verdict)
    verdict.lives = len(lives)
    verdict.frames = sum(life.frames for life in lives.values())
    verdict.lives_with_frames = sum(life.frames > 0 for life in lives.values())
    return verdict


def _spans(hands: Iterable[Line], verdict: Verdict, forbids: Mapping[str, str]) -> Iterator[Span]:
    """Give each time for which it is certain that the camera may not be open."""
    allows = {allow: forbid for forbid, allow in forbids.items()}
    since_s: dict[str, float] = {"withdraw": 0.0}  # nothing was accepted at first
    known: set[str] = set()
    for line in hands:
        act, what = line["act"], line.get("what", "")
        if act == "asked" and what in allows:
            floor = allows[what]
            if floor in since_s:
                known.add(floor)
                yield Span(floor, since_s.pop(floor), line["s"])
        elif act == "told" and what in allows:
            floor = allows[what]
            if line["good"] is False and floor in known and floor != "withdraw":
                verdict.faults.append(
                    Fault("forgotten", f"{what} was refused after {floor} was acknowledged")
                )
            known.discard(floor)
        elif act == "told" and what in forbids and line["good"]:
            since_s.setdefault(what, line["s"])
    for floor, from_s in since_s.items():
        yield Span(floor, from_s, float("inf"))


def _light(line: Line, life: _Life, verdict: Verdict) -> None:
    """Follow light and camera: on before it opens and at each frame, and not out before it is closed."""
    match line["act"]:
        case "light":
            if life.is_open and line["signal"] != "watching":
                verdict.faults.append(
                    Fault("light", f"it left `watching` under an open camera: {dict(line)}")
                )
            life.signal = line["signal"]
            return
        case "close":
            life.is_open = False
            return
        case "open":
            life.is_open = True
        case "frame":
            life.frames += 1
            if not life.is_open:
                verdict.faults.append(Fault("light", f"a frame of a closed camera: {dict(line)}"))
    if life.signal != "watching":
        verdict.faults.append(Fault("light", f"it showed {life.signal}: {dict(line)}"))


def _forbidding(line: Line, spans: Iterable[Span]) -> Iterator[tuple[str, float]]:
    """Give what forbids an open or a frame, and since when, in the unit's own monotonic seconds."""
    for span in spans:
        if span.from_s < line["s"] < span.to_s:
            yield span.floor, span.from_s
    at = dt.datetime.fromisoformat(line["at"])
    if not SHIFT[0] <= at.time() < SHIFT[1]:
        end_at = dt.datetime.combine(at.date(), SHIFT[1], tzinfo=at.tzinfo)
        if at < end_at:
            end_at -= dt.timedelta(days=1)
        yield "shift", line["s"] - (at - end_at).total_seconds()


def _weigh(line: Line, life: _Life, floor: str, from_s: float, verdict: Verdict) -> None:
    """Excuse what was under way: in the life in which it was forbidden, at once, and once."""
    key = (floor, line["act"], 0.0 if floor == "shift" else from_s)
    under_way = life.born_s < from_s and line["asked_s"] <= from_s + UNDER_WAY_S
    if under_way and key not in life.excused:
        life.excused.add(key)
        verdict.under_way += 1
    else:
        late_s = line["s"] - from_s
        verdict.faults.append(Fault(floor, f"{late_s:.3f} s after it was forbidden: {dict(line)}"))
