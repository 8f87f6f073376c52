"""A USB camera through OpenCV's V4L2 backend, so that any laptop can be a unit.

OpenCV bounds a V4L2 read by a select of 10 s unless told otherwise (OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT, read
once; CAP_PROP_READ_TIMEOUT_MSEC is for FFmpeg and GStreamer), and a driver in D-state not at all. So one
thread makes every call to the camera, and whoever waits for it has a deadline of their own.
"""

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
from typing import cast

import cv2

from edge.capture.frame import CameraAbsent, CameraBusy, CameraError, CameraLost, Frame, Pixels
from edge.capture.hang import Stuck, captured
from edge.capture.usb_reader import SELECT_TIMEOUT_S, Capture, Driver, Properties, Reader
from edge.capture.wiping import blacken, overwrite_what_is_freed, release_memory
from edge.clock import Clock

log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = SELECT_TIMEOUT_S + 1.0
_BUFFERS = 2
"""One to fill while the other is read. With one, uvcvideo misses every frame that begins during a read."""

# linux/videodev2.h
_VIDIOC_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_CAP_VIDEO_CAPTURE = 0x1
_CAP_DEVICE_CAPS = 0x8000_0000


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
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SELECT_TIMEOUT_S))
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

    def properties(self) -> Properties:
        """Return what to set; each restarts the stream. MJPG comes first, as USB 2 has no room for raw HD."""
        return (
            (cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*"MJPG"))),
            (cv2.CAP_PROP_FRAME_WIDTH, float(self.width_px)),
            (cv2.CAP_PROP_FRAME_HEIGHT, float(self.height_px)),
            (cv2.CAP_PROP_FPS, float(self.fps)),
            (cv2.CAP_PROP_BUFFERSIZE, float(_BUFFERS)),
        )


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
        self._reader: Reader | None = None
        self._stuck = Stuck(str(device))
        self._rgb: Pixels | None = None

    def open(self) -> None:
        """Open the camera. Raises CameraAbsent, CameraBusy; CameraStalled if the driver hangs."""
        if self._reader is not None:
            return
        overwrite_what_is_freed()
        self._stuck.admit()
        self._reader = Reader(self._driver, self._device, self._settings.properties(), self._monotonic_s)
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
        rgb = self._rgb = cast("Pixels", cv2.cvtColor(shot.bgr, cv2.COLOR_BGR2RGB, dst=self._rgb))
        blacken(shot.bgr)
        try:
            yield Frame(rgb, *captured(self._clock, self._monotonic_s() - shot.taken_s))
        finally:
            blacken(rgb)

    @property
    def held(self) -> bool:
        """Whether a thread that hangs in the driver may still hold the closed device."""
        return self._stuck.hold

    def close(self) -> None:
        """Free the camera; a thread that hangs in the driver is left to free it when it comes back.

        The buffers that the driver fills are the kernel's, mapped into this process until then.
        """
        reader, self._reader, self._rgb = self._reader, None, None
        if reader is None:
            return
        if not self._stuck.retire(reader, _CLOSE_TIMEOUT_S):
            log.error("%s: hangs in the driver, and stays held until that lets go", self._device)
        release_memory()
