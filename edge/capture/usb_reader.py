"""The thread that reads a V4L2 camera, and what it uses of OpenCV."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol

import cv2

from edge.capture.frame import CameraBusy, CameraError, CameraLost, CameraStalled, Pixels
from edge.capture.wiping import blacken

SELECT_TIMEOUT_S = 3
"""How long OpenCV waits for a frame. The first of some cameras takes two seconds."""
_STALL_S = 1.0
"""A read that failed after longer than this had no frame; one that failed sooner lost the device."""

Properties = tuple[tuple[int, float], ...]
"""What is set of a camera (cv2.CAP_PROP_*), in this order."""


class Capture(Protocol):
    """What is used of a cv2.VideoCapture."""

    def isOpened(self) -> bool: ...  # noqa: D102, N802
    def set(self, propId: int, value: float, /) -> bool: ...  # noqa: D102, N803
    def get(self, propId: int, /) -> float: ...  # noqa: D102, N803
    def grab(self) -> bool: ...  # noqa: D102
    def retrieve(self) -> tuple[bool, Any]: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


class Driver(Protocol):
    """V4L2, or a stand-in."""

    def refusal(self, device: Path) -> CameraError | None:
        """Say why `device` cannot be a camera of ours, or None if it may be opened."""
        ...

    def capture(self, device: Path) -> Capture:
        """Open `device`; `isOpened` tells whether that worked."""
        ...


@dataclass(frozen=True, slots=True)
class Shot:
    """A decoded frame."""

    bgr: Pixels
    taken_s: float
    """The driver's own stamp: for uvcvideo, on the monotonic clock (V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC)."""


class Reader:
    """The thread that makes every call to the device. `_changed` guards all that both sides touch.

    Nothing that could hang is done while it is held.
    """

    def __init__(
        self, driver: Driver, device: Path, properties: Properties, monotonic_s: Callable[[], float]
    ) -> None:
        self._driver, self._device, self._properties = driver, device, properties
        self._monotonic_s = monotonic_s
        self._changed = Condition()
        self._opened = self._wanted = self._stopping = False  # guarded, as are the next two
        self._shot: Shot | None = None
        self._error: CameraError | None = None
        self._thread = Thread(target=self._run, name=f"camera {device}", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the thread still runs, or hangs."""
        return self._thread.is_alive()

    def wait_open(self, timeout_s: float) -> None:
        """Wait until the camera is open. Raises CameraError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._opened or self._error, timeout_s):
                raise CameraStalled(f"{self._device}: wanted it open in {timeout_s:g} s, the driver hangs")
            if self._error is not None:
                raise self._error

    def take(self, timeout_s: float) -> Shot:
        """Return the next frame to come. Raises CameraStalled, CameraLost."""
        with self._changed:
            self._shot, self._wanted = None, True
            answer = self._changed.wait_for(lambda: self._shot or self._error, timeout_s)
            self._shot, self._wanted = None, False
        if isinstance(answer, CameraError):
            raise answer.with_traceback(None)  # raised again at every call until the camera is closed
        if answer is not None:
            return answer
        raise CameraStalled(f"{self._device}: wanted a frame in {timeout_s:g} s, got none")

    def stop(self, timeout_s: float) -> bool:
        """End the thread, which frees the camera. Returns False if it hangs."""
        with self._changed:
            self._stopping = True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        capture: Capture | None = None
        error: CameraError | None = None
        try:
            capture = self._open()
            with self._changed:
                self._opened = True
                self._changed.notify_all()
            while self._turn(capture):
                pass
        except CameraError as camera_error:
            error = camera_error
        except cv2.error as cv_error:
            error = CameraLost(f"{self._device}: cannot be read: {cv_error.err}")
        finally:
            if capture is not None:
                capture.release()
            with self._changed:
                blacken(self._shot.bgr if self._shot else None)
                self._shot = None
                self._error = error or CameraLost(f"{self._device}: closed")
                self._changed.notify_all()

    def _open(self) -> Capture:
        refusal = self._driver.refusal(self._device)
        if refusal is not None:
            raise refusal
        capture = self._driver.capture(self._device)
        if not capture.isOpened():
            capture.release()
            raise CameraBusy(f"{self._device}: is there, but does not start: held by another program")
        for prop, value in self._properties:
            capture.set(prop, value)
        return capture

    def _turn(self, capture: Capture) -> bool:
        """Take one frame out of the queue, decoded if somebody waits. Returns False when told to stop."""
        started_s = self._monotonic_s()
        if not capture.grab():
            waited_s = self._monotonic_s() - started_s
            if waited_s >= _STALL_S:
                raise CameraStalled(f"{self._device}: no frame in {waited_s:.1f} s")
            gone = "" if self._device.exists() else ": it was unplugged"
            raise CameraLost(f"{self._device}: stopped giving frames{gone}")
        with self._changed:
            if self._stopping or not self._wanted:
                return not self._stopping
        taken_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        found, bgr = capture.retrieve()
        if not found or bgr is None:
            return True  # a JPEG damaged on the cable: the next one will do
        if bgr.ndim != 3 or bgr.shape[2] != 3:
            raise CameraLost(f"{self._device}: wanted pictures in colour (h, w, 3), got {bgr.shape}")
        with self._changed:
            if self._wanted:
                self._shot, self._wanted = Shot(bgr, taken_s), False
                self._changed.notify_all()
        return True
