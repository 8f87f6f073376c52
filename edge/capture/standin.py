"""A stand-in camera that does as it is told, for tests of all that stands on a camera."""

import enum
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edge.capture.frame import (
    CameraAbsent,
    CameraBusy,
    CameraLost,
    CameraStalled,
    EndOfFootage,
    Frame,
    Pixels,
)
from edge.capture.wiping import blacken
from edge.clock import SteppedClock

RECORD_MAX = 1000

Scene = Callable[[int], Pixels]
"""What is before the camera: the number of a frame, from 0, to its uint8 RGB picture (h, w, 3)."""


def plain(colour: tuple[int, int, int], size_px: tuple[int, int] = (640, 480)) -> Scene:
    """Return a scene of one RGB colour, (width, height) in size."""
    picture = np.full((size_px[1], size_px[0], 3), colour, np.uint8)
    return lambda _number: picture.copy()


def noise(seed: int, size_px: tuple[int, int] = (640, 480)) -> Scene:
    """Return a scene of noise, another in each frame, the same for the same seed."""
    shape = (size_px[1], size_px[0], 3)
    return lambda number: np.random.default_rng((seed, number)).integers(0, 256, shape, np.uint8)


class Fault(enum.Enum):
    """What can be wrong with a camera."""

    ABSENT = "absent"
    """No such camera; if it was open, it dies."""
    BUSY = "busy"
    """Held by another program: it cannot be opened, but goes on if it was open."""
    STALLED = "stalled"
    """It opens, and no frame comes."""
    LOST = "lost"
    """It dies at the next frame, and opens again."""
    HANGS = "hangs"
    """Calls do not come back until `let_go`; on the drivers only."""
    CANNOT_STOP = "cannot stop"
    """Stopping raises; on picamera2 only."""
    NOT_INSTALLED = "not installed"
    """The library is missing; on picamera2 only."""


@dataclass(slots=True)
class Trouble:
    """The fault that a stand-in has now, or will have from a frame on."""

    fault: Fault | None = None
    at_frame: int = 0
    refusals: int | None = None

    def at(self, number: int) -> Fault | None:
        """Return the fault at frame `number`; one of limited refusals wears off as it is met."""
        if self.fault is None or number < self.at_frame:
            return None
        fault = self.fault
        if self.refusals is not None:
            self.refusals -= 1
            if self.refusals <= 0:
                self.fault = None
        return fault


class StandInCamera:
    """A camera that shows a scene at `fps` on a SteppedClock, `frames` long or without end.

    `fail` breaks it, at once or at a frame, until `mend` or until so many calls met the fault. Frames are
    numbered over all openings.
    """

    def __init__(
        self,
        clock: SteppedClock,
        scene: Scene,
        *,
        fps: float = 10.0,
        frames: int | None = None,
        evidence: Scene | None = None,
    ) -> None:
        self._clock, self._scene, self._evidence = clock, scene, evidence
        self._period_s = 1.0 / fps
        self._frames = frames
        self._trouble = Trouble()
        self._is_open = False
        self._number = 0
        self._next_s = clock.now_s()
        self.record: deque[str] = deque(maxlen=RECORD_MAX)
        """What happened, the newest thousand: open, open refused: busy, frame 7, frame refused: lost."""
        self.held = False
        """Whether a driver that hangs holds it, though it is closed."""

    def fail(self, fault: Fault, *, at_frame: int = 0, refusals: int | None = None) -> None:
        """Break the camera from frame `at_frame` on, for so many calls, or until `mend`."""
        self._trouble = Trouble(fault, at_frame, refusals)

    def mend(self) -> None:
        """Make the camera whole."""
        self._trouble = Trouble()

    def open(self) -> None:
        """Open the camera. Raises CameraAbsent, CameraBusy when told to."""
        if self._is_open:
            return
        if self._trouble.fault in (Fault.ABSENT, Fault.BUSY):
            fault = self._trouble.at(self._number)
            if fault is not None:
                self.record.append(f"open refused: {fault.value}")
                error = CameraAbsent if fault is Fault.ABSENT else CameraBusy
                raise error(f"stand-in camera: {fault.value}")
        self._is_open = True
        self.record.append("open")

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        """Give the next frame, stepping the clock to it. Raises CameraStalled, CameraLost, EndOfFootage."""
        if not self._is_open:
            raise CameraLost("stand-in camera: wanted an open camera, got a closed one")
        if self._frames is not None and self._number >= self._frames:
            raise EndOfFootage(f"stand-in camera: ended after {self._frames} frames")
        fault = self._trouble.at(self._number) if self._trouble.fault is not Fault.BUSY else None
        if fault in (Fault.ABSENT, Fault.LOST):
            self.record.append(f"frame refused: {fault.value}")
            raise CameraLost(f"stand-in camera: died at frame {self._number}")
        now_s = self._clock.now_s()
        at_s = max(self._next_s, now_s)
        if fault is not None or at_s > now_s + timeout_s:
            self._clock.sleep(timeout_s)
            self.record.append("frame refused: stalled")
            raise CameraStalled(f"stand-in camera: wanted a frame in {timeout_s:g} s, got none")
        self._clock.advance_to(at_s)
        self._next_s = at_s + self._period_s
        number, self._number = self._number, self._number + 1
        self.record.append(f"frame {number}")
        evidence = self._evidence
        shown: list[Pixels] = [self._scene(number).copy()]  # a scene may show the same array again

        def large() -> Pixels:
            shown.append((evidence or self._scene)(number).copy())
            return shown[-1]

        try:
            yield Frame(shown[0], at_s, self._clock.now_at(), None if evidence is None else large)
        finally:
            blacken(*shown)

    def close(self) -> None:
        """Close the camera."""
        if self._is_open:
            self._is_open = False
            self.record.append("close")
