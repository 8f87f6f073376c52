"""How it stands with lining the camera up, and the one coarse picture of it: in memory alone, newest only."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge import aim as steps
from edge.aim import START, Agreed, AimState, End, Idle
from edge.capture.frame import Frame, Pixels
from edge.clock import Clock
from edge.policy.gate import Aim
from edge.vision.scene import Scene
from edge.vision.tamper import sharpness
from edge.vision.types import Blind

log = logging.getLogger(__name__)

COLS_MAX: Final = 64
ROWS_MAX: Final = 36
BLOCK_MIN_PX: Final = 4
"""A block is the mean of so many pixels each way at least, however small the picture."""
TAKE_EVERY_S: Final = 0.1
FRESH_S: Final = 2.0
"""What is older is not "now", and is shown to nobody."""
Grid = npt.NDArray[np.uint8]
"""uint8 grey means of blocks, shape (rows, cols), at most ROWS_MAX by COLS_MAX."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What whoever lines the camera up gets to see."""

    cols: int
    rows: int
    grid: bytes
    """One grey level a block, row by row."""
    brightness: float
    """Mean grey level, 0–255."""
    sharpness: float | None
    """See edge.vision.tamper.sharpness."""
    blind: frozenset[Blind]


class AimHolder:
    """Asked from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._state: AimState = START
        self._untold: tuple[End, ...] = ()
        self._grid = np.zeros((ROWS_MAX, COLS_MAX), np.uint8)
        self._shape = (0, 0)
        self._taken_s = -math.inf
        self._figures: tuple[float, float | None, frozenset[Blind]] = (0.0, None, frozenset())

    def phase(self) -> Aim:
        """Return what the gate is to know."""
        return steps.gate(self._state, self._clock.now_s())

    def check(self) -> None:
        """Raise AimRefused where nobody may ask now."""
        steps.ask(self._state, "", self._clock.now_s())

    def ask(self, token: str) -> None:
        """Have the light ask. Raises AimRefused."""
        self._move(lambda state, now_s: steps.ask(state, token, now_s))

    def shown(self, *, asks: bool) -> None:
        """Take from the watch whether the light asks."""
        self._move(lambda state, now_s: steps.shown(state, now_s, asks=asks))

    def press(self, lasted_s: float = 0.0) -> bool:
        """Take a press of the button; return whether it was the answer. Waits for no disk."""
        with self._lock:
            state, answered = steps.press(self._state, self._clock.now_s(), lasted_s)
            self._become(state)
        if answered:
            log.info("the worker agrees to an aim, at the button")
        return answered

    def hear(self, token: str) -> AimState:
        """Take a word of whoever has the token, and return how it stands."""
        return self._move(lambda state, now_s: steps.hear(state, token, now_s))

    @property
    def agreed(self) -> bool:
        """Whether the worker agreed, and the log does not say so yet."""
        return isinstance(self._state, Agreed)

    def grant(self) -> AimState:
        """Begin, once the log says that the worker agreed."""
        state = self._move(steps.grant)
        self._clock.wake()
        return state

    def end(self, why: End) -> bool:
        """End it; return whether there was one."""
        was = self._state
        state = self._move(lambda state, now_s: steps.end(state, why, now_s))
        return state is not was

    def turn(self) -> None:
        """End what is past its time."""
        self._move(steps.settle)

    def ended(self) -> End | None:
        """Return why the last one ended, once."""
        with self._lock:
            untold, self._untold = self._untold, ()
        return untold[-1] if untold else None

    def wait_s(self) -> float:
        """Return in how many seconds to look again whether it is over."""
        return steps.wait_s(self._state, self._clock.now_s())

    def left_s(self) -> float:
        """Return how long there is to answer, or to look."""
        return steps.left_s(self._state, self._clock.now_s())

    def take(self, frame: Frame, content: Pixels, scene: Scene, blind: frozenset[Blind]) -> None:
        """Take what the camera sees, where somebody may see it: as a coarse grid, in the last one's place.

        `content` is the frame as the model sees it: uint8 RGB, masked areas black, perhaps of another shape.
        """
        now_s = frame.captured_s
        if self.phase() is not Aim.GRANTED or now_s - self._taken_s < TAKE_EVERY_S:
            return
        height, width = frame.pixels.shape[:2]
        grid = coarse(content, width / height)
        sharp = sharpness(scene.half, scene.blocks, scene.open)
        with self._lock:
            if steps.gate(self._state, self._clock.now_s()) is Aim.GRANTED:
                rows, cols = self._shape = grid.shape
                self._grid[:rows, :cols] = grid
                self._taken_s = now_s
                self._figures = float(grid.mean()), sharp, blind
        grid.fill(0)

    def sighting(self) -> Sighting | None:
        """Return what is to be seen now; None: nothing, or nothing new enough."""
        with self._lock:
            now_s = self._clock.now_s()
            if steps.gate(self._state, now_s) is not Aim.GRANTED or now_s - self._taken_s > FRESH_S:
                return None
            (rows, cols), (brightness, sharp, blind) = self._shape, self._figures
            return Sighting(cols, rows, self._grid[:rows, :cols].tobytes(), brightness, sharp, blind)

    def _move(self, step: Callable[[AimState, float], AimState]) -> AimState:
        with self._lock:
            self._become(step(self._state, self._clock.now_s()))
            return self._state

    def _become(self, state: AimState) -> None:
        """Take the next state, with the lock held. At the end nothing is left of what was seen."""
        if state is self._state:
            return
        turned = type(state) is not type(self._state)
        self._state = state
        if isinstance(state, Idle):
            self._grid.fill(0)
            self._shape, self._taken_s = (0, 0), -math.inf
            self._figures = (0.0, None, frozenset())
            if state.end is not None:
                self._untold = (*self._untold, state.end)[-1:]
                log.info("the aim is over: %s", state.end)
        if turned:
            self._clock.wake()


def coarse(content: Pixels, aspect: float) -> Grid:
    """Return the grey means of blocks of a picture, uint8 RGB (h, w, 3).

    They are near-square where it is drawn as wide for its height as `aspect` says.
    """
    height, width = content.shape[:2]
    cols_max, rows_max = min(COLS_MAX, width // BLOCK_MIN_PX), min(ROWS_MAX, height // BLOCK_MIN_PX)
    cols = max(1, min(cols_max, round(rows_max * aspect)))
    rows = max(1, min(rows_max, round(cols_max / aspect)))
    grey = cv2.cvtColor(content, cv2.COLOR_RGB2GRAY)
    grid = np.asarray(cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)
    grey.fill(0)
    return grid
