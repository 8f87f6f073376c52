"""The privacy floor: what no policy may ask for, whoever signed it.

Most of it has no key in the document at all. These tables say which values, and which keys that somebody
might try, would go below it, so that they are refused as that and not as a slip of the pen.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

RETAIN_MAX_DAYS = 20
BREAK_MIN_S = 300
PERSON = "person"
"""The label that `people` rules count."""

_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Floor:
    """One value that is bounded for the worker's sake."""

    path: str
    """Where it stands in the document; `[*]` is any place of a list."""
    below: Callable[[object], bool]
    says: str
    """What a policy may ask for."""


def _number_over(limit: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and value > limit


def _number_under(limit: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and value < limit


def _is_none(value: object) -> bool:
    return value is None or value is False


def _names_a_person(value: object) -> bool:
    return isinstance(value, list) and PERSON in value


FLOORS = (
    Floor("$.thumbnail.retain_days", _number_over(RETAIN_MAX_DAYS), "pictures go after 20 days at most"),
    Floor("$.breaks", _is_none, "a break can always be taken"),
    Floor("$.breaks.max_s", _number_under(BREAK_MIN_S), "a break may last five minutes at least"),
    Floor("$.rules[*].labels", _names_a_person, "people are counted, and never pictured sharp"),
)
"""Bounded values. Their ranges stand in the types, which is where an invalid policy cannot be built."""

NEVER = {
    "$.thumbnail.background": "all but the evidence box is a coarse mosaic",
    "$.thumbnail.sharp_background": "all but the evidence box is a coarse mosaic",
    "$.thumbnail.mosaic": "all but the evidence box is a coarse mosaic",
    "$.thumbnail.blur": "all but the evidence box is a coarse mosaic",
    "$.thumbnail.faces": "people are never pictured sharp",
    "$.rules[*].sharp": "people are never pictured sharp, and objects only inside their box",
    "$.rules[*].identify": "nobody is identified",
    "$.rules[*].faces": "nobody is identified",
    "$.rules[*].emotions": "nobody is identified, and no mood is read",
    "$.led": "the light is on whenever the camera is",
    "$.watch.led": "the light is on whenever the camera is",
    "$.notice": "no picture is taken before the worker accepted the notice",
    "$.breaks.enabled": "a break can always be taken",
    "$.breaks.allowed": "a break can always be taken",
    "$.breaks.infraction": "a break is no infraction",
    "$.watch.off_shift": "the camera is closed outside the shift",
    "$.watch.on_break": "the camera is closed on a break",
    "$.watch.always": "the camera is closed outside the shift and on a break",
    "$.audio": "there is no microphone",
    "$.stream": "no live view leaves the unit",
    "$.live_view": "no live view leaves the unit",
    "$.record": "pictures that are no evidence live in memory only",
    "$.log": "the worker can read whatever left the unit",
}
"""Keys that the document does not have and never will, and why."""


def why_below(path: str, value: object) -> str | None:
    """Return what the floor says where `value`, at a JSON `path` of a document, goes below it."""
    place = _INDEX.sub("[*]", path)
    if place in NEVER:
        return NEVER[place]
    return next((floor.says for floor in FLOORS if floor.path == place and floor.below(value)), None)


def first_below(document: object) -> tuple[str, str] | None:
    """Return path and reason of the first value in a decoded document that goes below the floor."""
    for floor in FLOORS:
        for path, value in _at(document, floor.path.removeprefix("$"), "$"):
            if floor.below(value):
                return path, floor.says
    return None


def value_at(document: object, path: str) -> object:
    """Return the value at a JSON `path` without `[*]`; None where there is none."""
    return next((value for _, value in _at(document, path.removeprefix("$"), "$")), None)


def _at(value: object, rest: str, path: str) -> Iterator[tuple[str, object]]:
    """Give the values at the path `rest` below `value`, each with its whole path."""
    if not rest:
        yield path, value
        return
    step = re.match(r"\.([^.\[]+)|\[([0-9]+|\*)\]", rest)
    if step is None:
        return
    key, index = step.groups()
    rest = rest[step.end() :]
    if key is not None and isinstance(value, dict) and key in value:
        yield from _at(value[key], rest, f"{path}.{key}")
    elif index is not None and isinstance(value, list):
        for place, item in enumerate(value):
            if index in ("*", str(place)):
                yield from _at(item, rest, f"{path}[{place}]")
