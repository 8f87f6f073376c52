"""What a model that was run here showed."""

from dataclasses import dataclass

from edge.vision.card import Card


@dataclass(frozen=True, slots=True)
class Tried:
    """A model that was run here."""

    card: Card
    differs: str | None
    p50_s: float
    p95_s: float
