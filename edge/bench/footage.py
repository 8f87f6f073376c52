"""What the bench looks at: a moving scene, a static one, and the clip that they are made of."""

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.capture.frame import Frame, Pixels
from edge.capture.replay import ReplayCamera
from edge.clip import ClipMissing, desk_clip
from edge.clock import SteppedClock
from edge.errors import EdgeError

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 10.0
PAN_PX = 6
BUSY_S = 17.5
"""When the clip shows two people: what is found costs its share of decoding and tracking."""
START_AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


class BenchImpossible(EdgeError):
    """Nothing can be measured here: mend what the message names, or give another model with --model."""


def clip() -> Path:
    """Return the clip that is measured on, the project's own. Raises BenchImpossible."""
    try:
        return desk_clip()
    except ClipMissing as error:
        raise BenchImpossible(f"{error}: the bench runs in a checkout") from error


def moving_pictures(count: int) -> list[Pixels]:
    """Return RGB pictures, uint8 (480, 640, 3), of the clip under a panning camera.

    Every picture differs from the one before, so that the gate lets each pass: the model's work is compared.
    """
    camera = ReplayCamera(clip(), SteppedClock(START_AT), loop=None)
    camera.open()
    pictures: list[Pixels] = []
    while len(pictures) < count:
        with camera.frame(5.0) as frame:
            if frame.captured_s < BUSY_S:
                continue
            wide = cv2.resize(frame.pixels, (WIDTH_PX + PAN_PX * count, HEIGHT_PX))
        left = PAN_PX * len(pictures)
        pictures.append(np.ascontiguousarray(wide[:, left : left + WIDTH_PX], np.uint8))
    camera.close()
    return pictures


def noisy(pixels: Pixels, count: int) -> list[Pixels]:
    """Return `count` versions of a picture, each with a sensor's noise of its own, sigma 4."""
    rng = np.random.default_rng(0)
    return [
        np.clip(pixels + rng.normal(0.0, 4.0, pixels.shape), 0, 255).astype(np.uint8) for _ in range(count)
    ]


def as_taken(pictures: list[Pixels]) -> Iterator[Frame]:
    """Give frames without end, each stamped with the moment at which it is taken."""
    for picture in itertools.cycle(pictures):
        yield Frame(picture, time.perf_counter(), START_AT)


def at_10_fps(pictures: list[Pixels]) -> Iterator[Frame]:
    """Give frames without end, as fast as they are taken, stamped as a camera at 10 fps stamps them."""
    for number, picture in enumerate(itertools.cycle(pictures)):
        seconds = number / FPS
        yield Frame(picture, seconds, START_AT + dt.timedelta(seconds=seconds))
