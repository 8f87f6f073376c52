"""How a value is treated before a support bundle has it. What is not as the treatment says stays out."""

import enum
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edge.support.bundle import Value
from edge.support.pseudonyms import Pseudonyms

OTHER = "other"
"""In the place of a word that is none of ours."""
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST = 2.0**53


class Unfit(ValueError):
    """The value is not what its line in the table says: it stays out, and is counted."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a bundle has of a value."""

    told: str
    """What it is, for docs/support-bundle.md."""
    treat: Callable[[object, Pseudonyms], Value]
    """Raises Unfit. Takes no None."""
    of_none: Value = None
    """What a bundle has of None."""

    def __call__(self, value: object, names: Pseudonyms) -> Value:
        """Return the value as a bundle may have it. Raises Unfit."""
        return self.of_none if value is None else self.treat(value, names)


def _number(value: object, _names: Pseudonyms) -> Value:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unfit(f"wanted a number, got {type(value).__name__}")
    if not (math.isfinite(value) and abs(value) <= _MOST):
        raise Unfit("wanted a number of at most 2^53, got one that is not")
    return float(value)


def _flag(value: object, _names: Pseudonyms) -> Value:
    if not isinstance(value, bool):
        raise Unfit(f"wanted true or false, got {type(value).__name__}")
    return value


def _given(value: object, _names: Pseudonyms) -> Value:
    return value not in ("", (), [])


def _matching(pattern: re.Pattern[str]) -> Callable[[object, Pseudonyms], Value]:
    def treat(value: object, _names: Pseudonyms) -> Value:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise Unfit("wanted a text of its pattern, got another value")
        return value

    return treat


NUMBER = Treatment("a number", _number)
FLAG = Treatment("true or false", _flag)
GIVEN = Treatment("whether there is one, not what it says", _given, of_none=False)
TIME = Treatment("a time", _matching(_TIME))
HASH = Treatment("a SHA-256", _matching(_HASH))


def one_of(words: "Collection[str] | type[enum.StrEnum]") -> Treatment:
    """Return the treatment of a word of ours; of any other one it tells only that it is another."""
    known = frozenset(map(str, words))

    def treat(value: object, _names: Pseudonyms) -> Value:
        if not isinstance(value, str):
            raise Unfit(f"wanted a word, got {type(value).__name__}")
        return str(value) if value in known else OTHER

    return Treatment("one of our own words, or `other`", treat)


def some_of(words: "Collection[str] | type[enum.StrEnum]") -> Treatment:
    """Return the treatment of a list of words of ours, with commas between them; others are `other`."""
    known = frozenset(map(str, words))

    def treat(value: object, _names: Pseudonyms) -> Value:
        if not isinstance(value, str):
            raise Unfit(f"wanted words, got {type(value).__name__}")
        found = [each.strip() for each in value.split(",")] if value else []
        return ",".join(sorted({each if each in known else OTHER for each in found}))

    return Treatment("some of our own words", treat)


def pseudonym(kind: str) -> Treatment:
    """Return the treatment of a name: another stands for it, the same at each time."""

    def treat(value: object, names: Pseudonyms) -> Value:
        if not isinstance(value, str):
            raise Unfit(f"wanted a name, got {type(value).__name__}")
        return names.name(kind, value)

    return Treatment("a pseudonym", treat)
