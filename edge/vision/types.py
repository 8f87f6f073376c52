"""What the vision room says of a moment."""

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in 0–1 of the whole frame: x to the right, y down, x0 <= x1 and y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.x0 <= self.x1 <= 1.0 and 0.0 <= self.y0 <= self.y1 <= 1.0):
            raise ValueError(f"box: wanted 0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1, got {self}")

    @property
    def width(self) -> float:
        """Width in 0–1 of the frame's width."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in 0–1 of the frame's height."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in 0–1 of the frame's area."""
        return self.width * self.height

    def intersection(self, other: "Box") -> float:
        """Return the shared area, in 0–1 of the frame's area."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height if width > 0.0 and height > 0.0 else 0.0

    def iou(self, other: "Box") -> float:
        """Return intersection over union, 0–1; 0 for two empty boxes."""
        shared = self.intersection(other)
        return shared / (self.area + other.area - shared) if shared > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that the model sees in one frame."""

    label: str
    score: float
    """The model's confidence, 0–1."""
    box: Box


@dataclass(frozen=True, slots=True)
class Track:
    """A detection followed over frames under one id."""

    track_id: int
    label: str
    score: float
    """Score at the latest hit, 0–1."""
    box: Box
    """Box at the latest hit."""
    first_s: float
    """When it was first hit, monotonic seconds."""
    last_s: float
    """When it was last hit, or last held to be there because the picture inside its box had not changed."""
    seen: bool
    """True if the latest inference hit it. False: missed, but perhaps still there: "cannot tell"."""


class Blind(enum.StrEnum):
    """Why the tracks of a moment cannot be trusted."""

    DARK = "dark"
    COVERED = "covered"
    DEFOCUSED = "defocused"
    MOVED = "moved"
    FROZEN = "frozen"
    MASKED = "masked"
    """The policy's masks leave too little of the picture to judge by."""
    STALLED = "stalled"
    """No frame came."""
    STALE = "stale"
    """The frame came too late to speak of now."""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that the judge is told of a moment."""

    tracks: tuple[Track, ...]
    blind: frozenset[Blind] = frozenset()


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of the last picture, for whoever has to see to the camera: numbers alone, no picture.

    None: too little of it is open, or it was not looked at for that yet.
    """

    grey: float | None = None
    """Mean grey level, 0–255."""
    brightness: float | None = None
    """The level that a quarter of the blocks exceed: what DARK is judged by."""
    white: float | None = None
    """Share of the blocks that are burnt out, 0–1."""
    contrast: float | None = None
    """See `structure`."""
    sharpness: float | None = None
    """See `sharpness`."""
