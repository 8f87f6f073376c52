"""A Raspberry Pi camera through picamera2: a small stream to detect on, a large one for evidence.

The only importer of picamera2. What is said of it here holds for 0.3.17 to 0.3.36, by its sources.
Each of its calls can hang, so a thread makes them (hang.py), and whoever waits has a deadline.
"""

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import cv2
import numpy as np

from edge.capture.frame import CameraError, CameraLost, CameraStalled, Frame, Pixels
from edge.capture.hang import Caller, Stuck, captured
from edge.capture.picamera_stack import (
    Device,
    Driver,
    Mapped,
    Request,
    check_sizes,
    checked,
    converted,
    open_error,
    shut,
)
from edge.capture.wiping import blacken, overwrite_what_is_freed, release_memory
from edge.clock import Clock

log = logging.getLogger(__name__)

_BUFFERS = 4
"""One in our hands, one that picamera2 keeps as its newest, and two for the sensor to fill in turn."""
_OPEN_TIMEOUT_S = 20.0
_CLOSE_TIMEOUT_S = 5.0
_CALL_TIMEOUT_S = 2.0
"""For calls that take milliseconds: to map a buffer, to hand it back, to flush."""
_FAILURES = (RuntimeError, OSError, ValueError, LookupError)
"""What picamera2 and libcamera raise."""


class Picamera2Driver:
    """The real camera stack, imported when a camera is opened."""

    def open(self, number: int) -> Device:
        """Acquire the camera."""
        from picamera2 import Picamera2  # noqa: PLC0415 - present on a Raspberry Pi only

        return cast("Device", Picamera2(number))

    def stream_options(self) -> tuple[str, Any]:
        """Choose YUV420 up to the Pi 4, whose ISP has no RGB for a second stream, and RGB on the Pi 5."""
        from picamera2 import Picamera2  # noqa: PLC0415

        # Left to itself picamera2 takes Rec. 709 for HD; cv2's YUV conversions are BT.601, limited range.
        colour_space = importlib.import_module("libcamera").ColorSpace.Smpte170m()
        return ("BGR888" if Picamera2.platform.name == "PISP" else "YUV420"), colour_space

    def mapped(self, request: Request, stream: str) -> AbstractContextManager[Mapped]:
        """Map read-only, which leaves the caches alone on exit."""
        from picamera2 import MappedArray  # noqa: PLC0415

        return cast("AbstractContextManager[Mapped]", MappedArray(request, stream, write=False))


def _boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class PiCamera:
    """The camera of a unit: `Frame.pixels` is of the size `detect_px`, `Frame.evidence()` of `evidence_px`.

    Both are (width, height) of one field of view. `pixels` is one buffer, used again for the next frame; the
    evidence stream stays in the camera's memory, and is copied only when asked for.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        number: int = 0,
        evidence_px: tuple[int, int] = (1280, 960),
        detect_px: tuple[int, int] = (640, 480),
        fps: float = 10.0,
        driver: Driver | None = None,
        boottime_s: Callable[[], float] = _boottime_s,
    ) -> None:
        check_sizes(evidence_px, detect_px)
        if not 0.1 <= fps <= 120.0:
            raise ValueError(f"fps: wanted 0.1 to 120, got {fps}")
        self._clock = clock
        self._number, self._name = number, f"camera {number}"
        self._evidence_px, self._detect_px, self._fps = evidence_px, detect_px, fps
        self._driver = driver or Picamera2Driver()
        self._boottime_s = boottime_s
        self._opened: _Opened | None = None
        self._rgb: Pixels | None = None
        self._stuck = Stuck(self._name)

    def open(self) -> None:
        """Open and start the camera. Raises CameraAbsent, CameraBusy; CameraStalled if the driver hangs."""
        if self._opened is not None:
            return
        overwrite_what_is_freed()
        self._stuck.admit()
        caller = Caller(self._name)
        try:
            device, width_px = caller.call(
                self._started, _OPEN_TIMEOUT_S, "it open", late=lambda started: shut(started[0])
            )
        except BaseException:
            self._stuck.retire(caller)
            raise
        self._opened = _Opened(device, width_px, caller)

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        """Give the newest frame. Raises CameraStalled, CameraLost.

        If the driver hangs, CameraStalled comes up to two seconds after `timeout_s`.
        """
        opened = self._opened
        if opened is None:
            raise CameraLost(f"{self._name}: wanted an open camera, got a closed one")
        # The thread is lent the buffer: if it hangs, and wakes later, it writes into one that nobody uses.
        rgb, self._rgb = self._rgb, None
        shot = opened.caller.call(
            lambda: self._shot(opened, rgb, max(0.0, timeout_s)),
            max(0.0, timeout_s) + _CALL_TIMEOUT_S,
            "a frame",
            late=lambda late: self._release(late.request),
        )
        self._rgb = shot.rgb
        evidence = _Evidence(self._name, self._driver, opened.caller, shot.request)
        captured_s, captured_at = captured(self._clock, shot.age_s)
        try:
            yield Frame(shot.rgb[:, : opened.width_px], captured_s, captured_at, evidence)
        except BaseException:
            with suppress(CameraError):  # the caller's error is the one to hear of
                self._hand_back(opened.caller, evidence)
            raise
        finally:
            blacken(shot.rgb, *evidence.copies)
        self._hand_back(opened.caller, evidence)

    @property
    def held(self) -> bool:
        """Whether a thread that hangs in the driver may still hold the closed device."""
        return self._stuck.hold

    def close(self) -> None:
        """Stop the camera and free it, within six seconds even if the driver hangs.

        The buffers of its streams are the kernel's (dma-buf): handed back with each frame, mapped only while
        one is read, and freed by the kernel as the camera closes.
        """
        opened, self._opened, self._rgb = self._opened, None, None
        if opened is None:
            return
        closer = Caller(self._name) if opened.caller.hung else opened.caller
        try:
            closer.call(lambda: shut(opened.device), _CLOSE_TIMEOUT_S, "it closed")
        except CameraStalled:
            log.error("%s: hangs on closing: only a restart of the process frees it", self._name)
        for caller in {opened.caller, closer}:
            self._stuck.retire(caller)
        release_memory()

    def _started(self) -> tuple[Device, int]:
        """Acquire, configure and start the device. Returns it, and the width of the small stream in px."""
        try:
            device = self._driver.open(self._number)
        except (ImportError, *_FAILURES) as error:
            raise open_error(self._number, error) from error
        try:
            lores, colour_space = self._driver.stream_options()
            period_us = round(1e6 / self._fps)
            device.configure(
                device.create_video_configuration(
                    main={"format": "BGR888", "size": self._evidence_px},  # named by libcamera: RGB in memory
                    lores={"format": lores, "size": self._detect_px},
                    raw=None,
                    colour_space=colour_space,
                    buffer_count=_BUFFERS,
                    controls={"FrameDurationLimits": (period_us, period_us)},
                    display=None,
                    encode=None,
                )
            )
            width_px = checked(device.camera_configuration(), lores)
            device.start()
        except CameraError:
            shut(device)
            raise
        except _FAILURES as error:
            shut(device)
            raise open_error(self._number, error) from error
        return device, width_px

    def _shot(self, opened: "_Opened", rgb: Pixels | None, timeout_s: float) -> "_Shot":
        """Take the newest exposure; in the thread."""
        request = self._request(opened.device, timeout_s)
        try:
            stamp_ns = request.get_metadata().get("SensorTimestamp")
            age_s = 0.0 if stamp_ns is None else self._boottime_s() - stamp_ns / 1e9
            with self._driver.mapped(request, "lores") as lores:
                return _Shot(request, converted(lores.array, rgb), age_s)
        except (*_FAILURES, cv2.error) as error:
            with suppress(CameraLost):
                self._release(request)
            raise CameraLost(f"{self._name}: its buffer cannot be read: {error}") from error

    def _request(self, device: Device, timeout_s: float) -> Request:
        # Not capture_request(wait=timeout_s): a wait of 0 would return the job, and a request that arrives
        # between the timeout and the flush would be lost with its buffers.
        try:
            job = device.capture_request(wait=False)
            try:
                return cast("Request", device.wait(job, timeout=timeout_s))
            except (TimeoutError, CancelledError):
                device.cancel_all_and_flush()
                with suppress(TimeoutError, CancelledError):
                    return cast("Request", device.wait(job, timeout=0.01))
        except _FAILURES as error:
            raise CameraLost(f"{self._name}: died: {error}") from error
        raise CameraStalled(f"{self._name}: wanted a frame in {timeout_s:g} s, got none")

    def _release(self, request: Request) -> None:
        try:
            request.release()
        except _FAILURES as error:
            raise CameraLost(f"{self._name}: does not take its buffer back: {error}") from error

    def _hand_back(self, caller: Caller, evidence: "_Evidence") -> None:
        evidence.over = True
        caller.call(lambda: self._release(evidence.request), _CALL_TIMEOUT_S, "its buffer taken back")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A camera that runs."""

    device: Device
    width_px: int
    """Of the small stream, without the padding of its rows."""
    caller: Caller


@dataclass(frozen=True, slots=True)
class _Shot:
    """One exposure, with its small stream converted."""

    request: Request
    rgb: Pixels
    age_s: float


@dataclass(slots=True)
class _Evidence:
    """The large stream of a request, copied when asked for: uint8 RGB (h, w, 3). Raises CameraError."""

    name: str
    driver: Driver
    caller: Caller
    request: Request
    copies: list[Pixels] = field(default_factory=list)
    over: bool = False

    def __call__(self) -> Pixels:
        if self.over:
            raise RuntimeError("evidence(): wanted inside the `with` of its frame, got after it")
        copy = self.caller.call(
            self._copied, _CALL_TIMEOUT_S, "its large stream", late=lambda _copy: self.request.release()
        )
        self.copies.append(copy)
        return copy

    def _copied(self) -> Pixels:
        try:
            with self.driver.mapped(self.request, "main") as main:
                return np.array(main.array)
        except _FAILURES as error:
            raise CameraLost(f"{self.name}: its large stream cannot be read: {error}") from error
