"""What was measured of the last picture, or why there is nothing to tell."""

from dataclasses import dataclass

from edge.vision.types import Blind, Figures


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of the last picture: numbers alone."""

    figures: Figures
    blind: frozenset[Blind]
    still_s: float
    rate_hz: float | None
    age_s: float = 0.0
    learned: bool = True
    """Whether the unit itself looked, which knows how sharp and where its view is otherwise."""


@dataclass(frozen=True, slots=True)
class NotSeen:
    """Why there is nothing to tell."""

    why: str
    fault: str | None = None
    """What the camera failed of."""
