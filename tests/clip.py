"""The project's own clip and what it shows, for tests that want footage, or a photo taken from it."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

CLIP = Path(__file__).parents[1] / "models" / "desk-clip.mp4"


@functools.cache
def truth() -> dict:
    """What the clip shows, and when."""
    return json.loads(CLIP.with_suffix(".json").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the clip's story, in seconds from its start."""

    from_s: float
    to_s: float
    what: str

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s


def phase(what: str) -> Phase:
    """The longest phase that is called so."""
    phases = [Phase(**one) for one in truth()["phases"]]
    named = [one for one in phases if one.what == what]
    assert named, f"wanted one of {[one.what for one in phases]}, got {what!r}"
    return max(named, key=lambda one: one.length_s)


def frame_at(moment_s: float) -> np.ndarray:
    """The frame shown at a moment, uint8 BGR (480, 640, 3)."""
    capture = cv2.VideoCapture(str(CLIP))
    try:
        for _ in range(round(moment_s * truth()["fps"])):
            assert capture.grab()
        good, frame = capture.read()
        assert good
        return frame
    finally:
        capture.release()


def frames(count: int) -> list[np.ndarray]:
    """The first `count` frames, as `frame_at` gives them."""
    capture = cv2.VideoCapture(str(CLIP))
    try:
        return [capture.read()[1] for _ in range(count)]
    finally:
        capture.release()


def still(what: str, path: Path, share: float = 0.5) -> Path:
    """Save the frame at a share of a phase, its middle by default, and return its path."""
    shown = phase(what)
    assert cv2.imwrite(str(path), frame_at(shown.from_s + share * shown.length_s))
    return path
