"""A USB camera through OpenCV's V4L2 backend, so that any laptop can be a unit.

OpenCV bounds a V4L2 read by a select of 10 s unless told otherwise (OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT, read
once; CAP_PROP_READ_TIMEOUT_MSEC is for FFmpeg and GStreamer), and a driver in D-state not at all. So one
thread makes every call to the camera, and whoever waits for it has a deadline of their own.
"""

import datetime as dt
import errno
import fcntl
import grp
import logging
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Protocol, cast

import cv2

from edge.capture.frame import CameraAbsent, CameraBusy, CameraError, CameraLost, CameraStalled, Frame, Pixels
from edge.clock import Clock

log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 15.0
_SELECT_TIMEOUT_S = 3
"""How long OpenCV waits for a frame. The first of some cameras takes two seconds."""
_CLOSE_TIMEOUT_S = _SELECT_TIMEOUT_S + 1.0
_STALL_S = 1.0
"""A read that failed after longer than this had no frame; one that failed sooner lost the device."""
_STUCK_MAX = 3
"""Threads that may hang in the driver at once; after that only a restart of the process helps."""
_AGE_MAX_S = 10.0
"""A frame older than this has a timestamp of another clock."""
_BUFFERS = 2
"""One to fill while the other is read. With one, uvcvideo misses every frame that begins during a read."""

# linux/videodev2.h
_VIDIOC_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_CAP_VIDEO_CAPTURE = 0x1
_CAP_DEVICE_CAPS = 0x8000_0000


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


class V4l2Driver:
    """The kernel's video devices."""

    def refusal(self, device: Path) -> CameraError | None:
        """Look at the node itself first, as OpenCV tells no reasons."""
        try:
            if not stat.S_ISCHR(device.stat().st_mode):
                return CameraAbsent(
                    f"{device}: wanted a video device such as /dev/video0, got a file or folder"
                )
            handle = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return open_error(device, error)
        try:
            answer = fcntl.ioctl(handle, _VIDIOC_QUERYCAP, bytes(_CAPABILITY.size))
        except OSError as error:
            return open_error(device, error)
        finally:
            os.close(handle)
        _, card, _, _, capabilities, of_node = _CAPABILITY.unpack(answer)
        if not (of_node if capabilities & _CAP_DEVICE_CAPS else capabilities) & _CAP_VIDEO_CAPTURE:
            name = card.rstrip(b"\0").decode("utf-8", "replace")
            return CameraAbsent(
                f"{device} ({name}): wanted a device that captures video, got one that does not"
            )
        return None

    def capture(self, device: Path) -> Capture:
        """Open the device with OpenCV, which reads the variable when it first waits for a frame."""
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(_SELECT_TIMEOUT_S))
        return cast("Capture", cv2.VideoCapture(str(device), cv2.CAP_V4L2))


def open_error(device: Path, error: OSError) -> CameraError:
    """Turn a refusal of the kernel into what a person can act on."""
    if error.errno == errno.EBUSY:
        return CameraBusy(f"{device}: held by another program")
    if error.errno in (errno.EACCES, errno.EPERM):
        return CameraAbsent(
            f"{device}: not permitted: add the user to the group {_group(device)} and log in anew"
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
        present = (
            ", ".join(sorted(str(each) for each in Path("/dev").glob("video*"))[:8]) or "no video device"
        )
        return CameraAbsent(f"{device}: no such camera: check the cable; there is {present}")
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return CameraAbsent(
            f"{device}: wanted a video device such as /dev/video0, got another kind of device"
        )
    return CameraAbsent(f"{device}: cannot be opened: {error.strerror}")


def _group(device: Path) -> str:
    try:
        return grp.getgrgid(device.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "video"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked of the camera; it may give the nearest it has."""

    width_px: int = 1280
    height_px: int = 720
    fps: int = 30

    def __post_init__(self) -> None:
        if not (64 <= self.width_px <= 4096 and 64 <= self.height_px <= 4096 and 1 <= self.fps <= 120):
            raise ValueError(f"camera: wanted 64 to 4096 px a side and 1 to 120 fps, got {self}")


class UsbCamera:
    """A V4L2 camera, of one stream: `Frame.evidence()` is `Frame.pixels`.

    The thread takes every frame out of the driver's queue, which costs little, and decodes only those asked
    for; so a slow consumer gets the next frame to come, not one that has waited for it.
    """

    def __init__(
        self,
        device: Path,
        clock: Clock,
        *,
        settings: Settings | None = None,
        driver: Driver | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._clock = clock
        self._settings = settings or Settings()
        self._driver = driver or V4l2Driver()
        self._monotonic_s = monotonic_s
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        self._rgb: Pixels | None = None

    def open(self) -> None:
        """Open the camera. Raises CameraAbsent, CameraBusy; CameraStalled if the driver hangs."""
        if self._reader is not None:
            return
        self._stuck = [reader for reader in self._stuck if reader.is_alive()]
        if len(self._stuck) >= _STUCK_MAX:
            raise CameraBusy(
                f"{self._device}: {len(self._stuck)} reads hang in the driver: restart the process"
            )
        self._reader = _Reader(self._driver, self._device, self._settings, self._monotonic_s)
        try:
            self._reader.wait_open(_OPEN_TIMEOUT_S)
        except CameraError:
            self.close()
            raise

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        """Give the next frame to come. Raises CameraStalled, CameraLost."""
        if self._reader is None:
            raise CameraLost(f"{self._device}: wanted an open camera, got a closed one")
        shot = self._reader.take(max(0.0, timeout_s))
        self._rgb = cast("Pixels", cv2.cvtColor(shot.bgr, cv2.COLOR_BGR2RGB, dst=self._rgb))
        age_s = max(0.0, self._monotonic_s() - shot.taken_s)
        captured_at = self._clock.now_at() - dt.timedelta(seconds=age_s)
        yield Frame(self._rgb, self._clock.now_s() - age_s, captured_at)

    def close(self) -> None:
        """Free the camera; a thread that hangs in the driver is left to free it when it comes back."""
        reader, self._reader, self._rgb = self._reader, None, None
        if reader is not None and not reader.stop(_CLOSE_TIMEOUT_S):
            self._stuck.append(reader)
            log.error("%s: hangs in the driver, and stays held until that lets go", self._device)


@dataclass(frozen=True, slots=True)
class _Shot:
    bgr: Pixels
    taken_s: float
    """When, on the monotonic clock."""


class _Reader:
    """The thread that makes every call to the device. `_changed` guards all that both sides touch."""

    def __init__(
        self, driver: Driver, device: Path, settings: Settings, monotonic_s: Callable[[], float]
    ) -> None:
        self._driver, self._device, self._settings = driver, device, settings
        self._monotonic_s = monotonic_s
        self._changed = Condition()
        self._opened = self._wanted = self._stopping = False
        self._shot: _Shot | None = None
        self._error: CameraError | None = None
        self._thread = Thread(target=self._run, name=f"camera {device}", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wait_open(self, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._opened or self._error, timeout_s):
                raise CameraStalled(f"{self._device}: wanted it open in {timeout_s:g} s, the driver hangs")
            if self._error is not None:
                raise self._error

    def take(self, timeout_s: float) -> _Shot:
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
        """End the thread. Returns False if it hangs."""
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
            while not self._stopping:
                self._turn(capture)
        except CameraError as camera_error:
            error = camera_error
        except cv2.error as cv_error:
            error = CameraLost(f"{self._device}: cannot be read: {cv_error.err}")
        finally:
            if capture is not None:
                capture.release()
            with self._changed:
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
        # Each of these restarts the stream, in this order: MJPG first, as USB 2 has no room for raw HD.
        capture.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*"MJPG")))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, float(self._settings.width_px))
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, float(self._settings.height_px))
        capture.set(cv2.CAP_PROP_FPS, float(self._settings.fps))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, float(_BUFFERS))
        return capture

    def _turn(self, capture: Capture) -> None:
        started_s = self._monotonic_s()
        if not capture.grab():
            waited_s = self._monotonic_s() - started_s
            if waited_s >= _STALL_S:
                raise CameraStalled(f"{self._device}: no frame in {waited_s:.1f} s")
            gone = "" if self._device.exists() else ": it was unplugged"
            raise CameraLost(f"{self._device}: stopped giving frames{gone}")
        if not self._wanted:
            return
        now_s = self._monotonic_s()
        # The driver's own stamp, on the monotonic clock (V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC) for uvcvideo.
        taken_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        if not 0.0 <= now_s - taken_s <= _AGE_MAX_S:
            taken_s = now_s
        found, bgr = capture.retrieve()
        if not found or bgr is None:
            return  # a JPEG damaged on the cable: the next one will do
        if bgr.ndim != 3 or bgr.shape[2] != 3:
            raise CameraLost(f"{self._device}: wanted pictures in colour (h, w, 3), got {bgr.shape}")
        with self._changed:
            if self._wanted:
                self._shot, self._wanted = _Shot(bgr, taken_s), False
                self._changed.notify_all()
