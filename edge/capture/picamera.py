"""A Raspberry Pi camera through picamera2: a small stream to detect on, a large one for evidence.

The only importer of picamera2. What is said of it here holds for 0.3.17 to 0.3.36, by its sources.
"""

import datetime as dt
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import cv2
import numpy as np

from edge.capture.frame import CameraAbsent, CameraBusy, CameraError, CameraLost, CameraStalled, Frame, Pixels
from edge.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUFFERS = 4
"""One in our hands, one that picamera2 keeps as its newest, and two for the sensor to fill in turn."""
_OPEN_TIMEOUT_S = 20.0
_CLOSE_TIMEOUT_S = 5.0
_STUCK_MAX = 3
"""Threads that may hang in the driver at once; after that only a restart of the process helps."""
_AGE_MAX_S = 10.0
"""A frame older than this has a timestamp of another clock."""


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
        _check_sizes(evidence_px, detect_px)
        if not 0.1 <= fps <= 120.0:
            raise ValueError(f"fps: wanted 0.1 to 120, got {fps}")
        self._clock = clock
        self._number = number
        self._evidence_px, self._detect_px, self._fps = evidence_px, detect_px, fps
        self._driver = driver or Picamera2Driver()
        self._boottime_s = boottime_s
        self._device: Device | None = None
        self._width_px = 0
        self._rgb: Pixels | None = None
        self._stuck: list[Future[Any]] = []

    def open(self) -> None:
        """Open and start the camera. Raises CameraAbsent, CameraBusy; CameraStalled if the driver hangs."""
        if self._device is not None:
            return
        self._stuck = [call for call in self._stuck if not call.done()]
        if len(self._stuck) >= _STUCK_MAX:
            raise CameraBusy(
                f"camera {self._number}: {len(self._stuck)} calls hang in the driver: restart the process"
            )
        call = _call(self._started, f"open camera {self._number}")
        try:
            self._device = call.result(_OPEN_TIMEOUT_S)
        except CameraError:
            raise
        except TimeoutError as error:
            call.add_done_callback(_shut_late)
            self._stuck.append(call)
            raise CameraStalled(
                f"camera {self._number}: wanted it open in {_OPEN_TIMEOUT_S:g} s, the driver hangs"
            ) from error

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        """Give the newest frame. Raises CameraStalled, CameraLost."""
        device = self._device
        if device is None:
            raise CameraLost(f"camera {self._number}: wanted an open camera, got a closed one")
        request = self._request(device, timeout_s)
        evidence = _Evidence(self._driver, request)
        try:
            yield self._frame(request, evidence)
        except BaseException:
            evidence.over = True
            with suppress(RuntimeError, OSError):  # the caller's error is the one to hear of
                request.release()
            raise
        evidence.over = True
        try:
            request.release()
        except (RuntimeError, OSError) as error:
            raise CameraLost(f"camera {self._number}: does not take its buffer back: {error}") from error

    def close(self) -> None:
        """Stop the camera and free it, within five seconds even if the driver hangs."""
        device, self._device, self._rgb = self._device, None, None
        if device is None:
            return
        call = _call(lambda: _shut(device), f"close camera {self._number}")
        try:
            call.result(_CLOSE_TIMEOUT_S)
        except TimeoutError:
            self._stuck.append(call)
            log.error("camera %d: hangs on closing: only a restart of the process frees it", self._number)

    def _started(self) -> Device:
        """Acquire, configure and start the device; in a thread, as each of these can hang."""
        try:
            device = self._driver.open(self._number)
        except (ImportError, OSError, ValueError, LookupError, RuntimeError) as error:
            raise _open_error(self._number, error) from error
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
            self._width_px = _checked(device.camera_configuration(), lores)
            device.start()
        except (OSError, ValueError, LookupError, RuntimeError) as error:
            _shut(device)
            raise _open_error(self._number, error) from error
        except CameraError:
            _shut(device)
            raise
        return device

    def _request(self, device: Device, timeout_s: float) -> Request:
        # Not capture_request(wait=timeout_s): a wait of 0 would return the job, and a request that arrives
        # between the timeout and the flush would be lost with its buffers.
        try:
            job = device.capture_request(wait=False)
            try:
                return cast("Request", device.wait(job, timeout=max(0.0, timeout_s)))
            except (TimeoutError, CancelledError):
                device.cancel_all_and_flush()
                with suppress(TimeoutError, CancelledError):
                    return cast("Request", device.wait(job, timeout=0.01))
        except (RuntimeError, OSError) as error:
            raise CameraLost(f"camera {self._number}: died: {error}") from error
        raise CameraStalled(f"camera {self._number}: wanted a frame in {timeout_s:g} s, got none")

    def _frame(self, request: Request, evidence: "_Evidence") -> Frame:
        age_s = 0.0
        stamp_ns = request.get_metadata().get("SensorTimestamp")
        if stamp_ns is not None:
            age_s = self._boottime_s() - stamp_ns / 1e9
        if not 0.0 <= age_s <= _AGE_MAX_S:
            age_s = 0.0
        try:
            with self._driver.mapped(request, "lores") as lores:
                pixels = self._converted(lores.array)
        except (RuntimeError, OSError) as error:
            raise CameraLost(f"camera {self._number}: its buffer cannot be read: {error}") from error
        captured_at = self._clock.now_at() - dt.timedelta(seconds=age_s)
        return Frame(pixels, self._clock.now_s() - age_s, captured_at, evidence)

    def _converted(self, buffer: Pixels) -> Pixels:
        """Return the small stream as RGB (h, w, 3) in our own memory, without the padding of its rows."""
        if buffer.ndim == 3:
            if self._rgb is None or self._rgb.shape != buffer.shape:
                self._rgb = np.empty(buffer.shape, np.uint8)
            np.copyto(self._rgb, buffer)
            return self._rgb
        # The planes are padded alike (U and V to half the stride), so cv2 takes the padding for picture.
        self._rgb = cast("Pixels", cv2.cvtColor(buffer, cv2.COLOR_YUV2RGB_I420, dst=self._rgb))
        return self._rgb[:, : self._width_px]


@dataclass(slots=True)
class _Evidence:
    """The large stream of a request, copied when asked for: uint8 RGB (h, w, 3)."""

    driver: Driver
    request: Request
    over: bool = False

    def __call__(self) -> Pixels:
        if self.over:
            raise RuntimeError("evidence(): wanted inside the `with` of its frame, got after it")
        with self.driver.mapped(self.request, "main") as main:
            return np.array(main.array)


def _call(function: Callable[[], T], name: str) -> Future[T]:
    """Run `function` in a thread of its own, which may hang for ever without holding up the process."""
    call: Future[T] = Future()

    def run() -> None:
        try:
            call.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            call.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return call


def _shut_late(call: "Future[Device]") -> None:
    """Close a device that opened after nobody waited for it any more."""
    if call.exception() is None:
        _shut(call.result())


def _shut(device: Device) -> None:
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


def _checked(configuration: Mapping[str, Any], lores: str) -> int:
    """Check what libcamera made of the configuration; it may adjust it. Returns the small stream's width."""
    for stream, wanted in (("main", "BGR888"), ("lores", lores)):
        got = configuration[stream]["format"]
        if got != wanted:
            raise CameraAbsent(f"camera stream {stream}: wanted the format {wanted}, got {got}")
    return int(configuration["lores"]["size"][0])


def _check_sizes(evidence_px: tuple[int, int], detect_px: tuple[int, int]) -> None:
    for name, (width, height) in (("evidence_px", evidence_px), ("detect_px", detect_px)):
        if width % 2 or height % 2 or not (64 <= width <= 4608 and 64 <= height <= 3456):
            raise ValueError(f"{name}: wanted even sides, 64 to 4608 by 64 to 3456, got {width}x{height}")
    if detect_px[0] > evidence_px[0] or detect_px[1] > evidence_px[1]:
        raise ValueError(f"detect_px: wanted at most evidence_px {evidence_px}, got {detect_px}")
    if abs(detect_px[0] * evidence_px[1] / (detect_px[1] * evidence_px[0]) - 1.0) > 0.02:
        raise ValueError(f"detect_px: wanted the shape of evidence_px {evidence_px}, got {detect_px}")


def _open_error(number: int, error: BaseException) -> CameraError:
    """Turn what picamera2 raises into what a person can act on; the cause is often two links down."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < 8:
        links.append(link)
        link = link.__cause__
    why = ": ".join(dict.fromkeys(str(each) or type(each).__name__ for each in links))
    if isinstance(error, ImportError) or (isinstance(error, ValueError) and "numpy" in why):
        hint = "apt install python3-picamera2, with a venv of --system-site-packages and the system's numpy"
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
