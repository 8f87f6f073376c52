"""A stand-in for OpenCV's V4L2 backend: it queues, loses, dies and hangs as the real one does.

`UsbCamera` runs on it unchanged. It keeps a bounded record of what happened to it.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import cast

import cv2

from edge.capture.frame import CameraAbsent, CameraError, Pixels
from edge.capture.standin import RECORD_MAX, Fault, Scene, Trouble


class StandInCapture:
    """A cv2.VideoCapture on V4L2: a queue that keeps the oldest frames, and loses new ones when full."""

    def __init__(self, driver: "StandInV4l2", *, opened: bool) -> None:
        self._driver = driver
        self._opened = opened
        self._properties = {cv2.CAP_PROP_BUFFERSIZE: 4.0}
        self._started_s = time.monotonic()
        self._produced = 0
        self._queue: deque[int] = deque()
        self._grabbed = 0

    def isOpened(self) -> bool:  # noqa: N802 - cv2's name
        """Return whether the device was free."""
        return self._opened

    def set(self, prop: int, value: float, /) -> bool:
        """Note what is asked for."""
        self._properties[prop] = self._driver.asked[prop] = value
        return True

    def get(self, prop: int, /) -> float:
        """Return a property; CAP_PROP_POS_MSEC is the grabbed frame's time on the monotonic clock."""
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self._taken_s(self._grabbed) * 1000.0
        return self._properties.get(prop, 0.0)

    def grab(self) -> bool:
        """Take the oldest frame of the queue, or wait for one. False if none comes, or the device died."""
        driver = self._driver
        fault = driver.trouble.at(driver.number)
        if fault is Fault.HANGS:
            driver.let_go.wait()
        if fault is Fault.STALLED:
            driver.let_go.wait(driver.select_timeout_s)
        if fault not in (None, Fault.BUSY):
            return False
        self._produce()
        while not self._queue:
            time.sleep(max(0.0, self._taken_s(self._produced) - time.monotonic()))
            self._produce()
        self._grabbed = self._queue.popleft()
        driver.number += 1
        return True

    def retrieve(self) -> tuple[bool, Pixels | None]:
        """Decode the grabbed frame: BGR."""
        driver = self._driver
        driver.decoded += 1
        if driver.trouble.fault not in (None, Fault.BUSY) and driver.number > driver.trouble.at_frame:
            return False, None  # it was on its way when the trouble began
        if driver.damaged > 0:
            driver.damaged -= 1
            return False, None
        return True, cast("Pixels", cv2.cvtColor(driver.scene(self._grabbed), cv2.COLOR_RGB2BGR))

    def release(self) -> None:
        """Free the device."""
        if self._opened:
            self._opened = False
            self._driver.holders -= 1
            self._driver.record.append("close")

    def _taken_s(self, number: int) -> float:
        return self._started_s + (number + 1) / self._driver.fps

    def _produce(self) -> None:
        """Fill the queue with what the camera has taken by now; what finds it full is lost."""
        now_s = time.monotonic()
        while self._taken_s(self._produced) <= now_s:
            if len(self._queue) < self._properties[cv2.CAP_PROP_BUFFERSIZE]:
                self._queue.append(self._produced)
            self._produced += 1


@dataclass(slots=True)
class StandInV4l2:
    """A V4L2 for UsbCamera(driver=...): frames come at `fps` of real time, as a thread waits for them."""

    scene: Scene
    fps: float = 200.0
    select_timeout_s: float = 0.3
    """After which a read without a frame fails."""
    exclusive: bool = True
    """Whether a device that is held cannot be opened again."""
    trouble: Trouble = field(default_factory=Trouble)
    record: deque[str] = field(default_factory=lambda: deque(maxlen=RECORD_MAX))
    number: int = 0
    decoded: int = 0
    damaged: int = 0
    """How many of the next frames arrive damaged."""
    holders: int = 0
    asked: dict[int, float] = field(default_factory=dict)
    """The properties that were set, in their order."""
    let_go: Event = field(default_factory=Event)

    def fail(self, fault: Fault, *, at_frame: int = 0, refusals: int | None = None) -> None:
        """Break the camera from frame `at_frame` on, for so many calls, or until `mend`."""
        self.let_go.clear()
        self.trouble = Trouble(fault, at_frame, refusals)

    def mend(self) -> None:
        """Make the camera whole, and let hanging calls go on."""
        self.trouble = Trouble()
        self.let_go.set()

    def refusal(self, device: Path) -> CameraError | None:
        """Refuse a device that is not there."""
        if self.trouble.fault is Fault.ABSENT:
            return CameraAbsent(f"{device}: no such camera")
        return None

    def capture(self, device: Path) -> StandInCapture:
        """Open the device, or find it held."""
        opened = self.trouble.fault is not Fault.BUSY and not (self.exclusive and self.holders)
        self.holders += opened
        self.record.append(f"open {device}" if opened else f"open refused: {device} is busy")
        return StandInCapture(self, opened=opened)
