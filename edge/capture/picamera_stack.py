"""What is used of picamera2, and what is made of its errors. Imports none of it: see picamera.py."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import cv2
import numpy as np

from edge.capture.frame import CameraAbsent, CameraBusy, CameraError, Pixels

log = logging.getLogger(__name__)


class Mapped(Protocol):
    """A picamera2 MappedArray: the camera's own memory, valid inside its `with` only."""

    @property
    def array(self) -> Pixels:
        """BGR888: RGB (h, w, 3), rows padded to the stride. YUV420: planes (h * 3 / 2, stride)."""
        ...


class Request(Protocol):
    """A picamera2 CompletedRequest: one exposure, in all its streams, until it is released."""

    def get_metadata(self) -> Mapping[str, Any]:
        """Return the metadata of this exposure; SensorTimestamp is in ns since boot."""
        ...

    def release(self) -> None:
        """Hand the buffers back to the camera."""
        ...


class Device(Protocol):
    """What is used of a Picamera2 object."""

    started: bool

    def create_video_configuration(self, **options: object) -> dict[str, Any]: ...  # noqa: D102
    def configure(self, camera_config: dict[str, Any]) -> None: ...  # noqa: D102
    def camera_configuration(self) -> dict[str, Any]: ...  # noqa: D102
    def start(self) -> None: ...  # noqa: D102
    def capture_request(self, wait: bool) -> object: ...  # noqa: D102
    def wait(self, job: object, timeout: float) -> object: ...  # noqa: D102
    def cancel_all_and_flush(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Driver(Protocol):
    """The camera stack: the real one, or a stand-in."""

    def open(self, number: int) -> Device:
        """Acquire camera `number`. Raises ImportError, IndexError (no such camera), RuntimeError."""
        ...

    def stream_options(self) -> tuple[str, Any]:
        """Return the format of the small stream, and the colour space that `cv2` converts YUV from."""
        ...

    def mapped(self, request: Request, stream: str) -> AbstractContextManager[Mapped]:
        """Map the memory of a stream of `request`, without a copy."""
        ...


def shut(device: Device) -> None:
    """Close the device, also if it cannot be stopped.

    `Picamera2.close` ends its event thread, stops the camera and releases it, and leaves it acquired if
    stopping raises; with `started` false it does not stop it again. `Picamera2.stop` is not used: it waits
    for ever for an event thread that died.
    """
    try:
        device.close()
    except Exception as error:  # noqa: BLE001 - libcamera raises what it likes, and the camera must be freed
        log.warning("the camera does not stop, and is closed without: %s", error)
        device.started = False
        try:
            device.close()
        except Exception:
            log.exception("the camera does not close: a restart of the process frees it")


def checked(configuration: Mapping[str, Any], lores: str) -> int:
    """Check what libcamera made of the configuration; it may adjust it. Returns the small stream's width."""
    for stream, wanted in (("main", "BGR888"), ("lores", lores)):
        got = configuration[stream]["format"]
        if got != wanted:
            raise CameraAbsent(f"camera stream {stream}: wanted the format {wanted}, got {got}")
    return int(configuration["lores"]["size"][0])


def converted(buffer: Pixels, rgb: Pixels | None) -> Pixels:
    """Return the small stream as RGB in memory of our own, `rgb` if that fits; rows of YUV stay padded."""
    if buffer.ndim == 3:
        if rgb is None or rgb.shape != buffer.shape:
            rgb = np.empty(buffer.shape, np.uint8)
        np.copyto(rgb, buffer)
        return rgb
    # The planes are padded alike (U and V to half the stride), so cv2 takes the padding for picture.
    return cast("Pixels", cv2.cvtColor(buffer, cv2.COLOR_YUV2RGB_I420, dst=rgb))


def check_sizes(evidence_px: tuple[int, int], detect_px: tuple[int, int]) -> None:
    """Check sizes that are asked for: sides that YUV420 can have, of one field of view. Raises ValueError."""
    for name, (width, height) in (("evidence_px", evidence_px), ("detect_px", detect_px)):
        if width % 2 or height % 2 or not (64 <= width <= 4608 and 64 <= height <= 3456):
            raise ValueError(f"{name}: wanted even sides, 64 to 4608 by 64 to 3456, got {width}x{height}")
    if detect_px[0] > evidence_px[0] or detect_px[1] > evidence_px[1]:
        raise ValueError(f"detect_px: wanted at most evidence_px {evidence_px}, got {detect_px}")
    if abs(detect_px[0] * evidence_px[1] / (detect_px[1] * evidence_px[0]) - 1.0) > 0.02:
        raise ValueError(f"detect_px: wanted the shape of evidence_px {evidence_px}, got {detect_px}")


def open_error(number: int, error: BaseException) -> CameraError:
    """Turn what picamera2 raises into what a person can act on; the cause is often two links down."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < 8:
        links.append(link)
        link = link.__cause__
    why = ": ".join(dict.fromkeys(str(each) or type(each).__name__ for each in links))
    if isinstance(error, ImportError) or (isinstance(error, ValueError) and "numpy" in why):
        hint = "apt install python3-picamera2, then scripts/venv, which makes an environment that fits it"
        return CameraAbsent(f"camera {number}: picamera2 cannot be imported: {why}: {hint}")
    if "busy" in why.lower() or "acquire" in why.lower():
        return CameraBusy(f"camera {number}: held by another program: {why}")
    if isinstance(error, IndexError):
        return CameraAbsent(
            f"camera {number}: no such camera: check the cable and `rpicam-hello --list-cameras`"
        )
    if any(isinstance(each, PermissionError) for each in links):
        return CameraAbsent(f"camera {number}: not permitted: add the user to the group video: {why}")
    return CameraAbsent(f"camera {number}: cannot be opened: {why}")
