"""A stand-in for picamera2: it pads, starves, dies and hangs as the real one does.

`PiCamera` runs on it unchanged. It keeps a bounded record of what happened to it.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import cv2
import numpy as np

from edge.capture.frame import Pixels
from edge.capture.picamera_stack import Request
from edge.capture.standin import RECORD_MAX, Fault, Scene, Trouble
from edge.clock import SteppedClock


@dataclass(slots=True)
class _Mapped:
    array: Pixels


@dataclass(slots=True)
class StandInRequest:
    """A completed request: a buffer a stream, until it is released. Released buffers are scribbled over."""

    device: "StandInPicamera2Device"
    buffers: dict[str, Pixels]
    metadata: Mapping[str, Any]
    released: bool = False

    def get_metadata(self) -> Mapping[str, Any]:
        """Return the metadata of this exposure."""
        self.device.meet_hang("get_metadata")
        return self.metadata

    def release(self) -> None:
        """Hand the buffers back, which must happen once."""
        self.device.meet_hang("release")
        if self.released:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        self.released = True
        self.device.take_back(self.buffers)


class StandInPicamera2Device:
    """A Picamera2 object: buffers of the configured formats, filled one at a time on the driver's clock."""

    def __init__(self, driver: "StandInPicamera2") -> None:
        self._driver = driver
        self._configuration: dict[str, Any] = {}
        self._free: list[dict[str, Pixels]] = []
        self._next_s = 0.0
        self._jobs = 0
        self.started = False
        self.is_open = True

    def create_video_configuration(self, **options: object) -> dict[str, Any]:
        """Return the configuration asked for."""
        return dict(options)

    def configure(self, camera_config: dict[str, Any]) -> None:
        """Pad the rows as the ISP does, and allocate the buffers."""
        self._configuration = {name: dict(camera_config[name]) for name in ("main", "lores")}
        for stream in self._configuration.values():
            width, _ = stream["size"]
            row = width if stream["format"] == "YUV420" else width * 3
            align = self._driver.align_bytes
            stream["stride"] = (row + align - 1) // align * align
        self._free = [
            {name: _blank(stream) for name, stream in self._configuration.items()}
            for _ in range(camera_config["buffer_count"])
        ]
        self._driver.record.append("configure")

    def camera_configuration(self) -> dict[str, Any]:
        """Return the configuration as it came to be."""
        return self._configuration

    def start(self) -> None:
        """Begin to fill buffers."""
        self.started = True
        self._next_s = self._driver.clock.now_s() + self._driver.period_s
        self._driver.record.append("start")

    def capture_request(self, wait: bool) -> object:
        """Return a job, as picamera2 does where `wait` is false."""
        if wait:
            raise ValueError("stand-in picamera2: only wait=False, the others block for ever")
        self._jobs += 1
        return self._jobs

    def wait(self, job: object, timeout: float) -> StandInRequest:
        """Expose the next frame into a free buffer. Raises TimeoutError if none comes, or none is free."""
        if job != self._jobs or not self.started:
            raise TimeoutError
        driver = self._driver
        fault = driver.trouble.at(driver.number)
        if fault in (Fault.ABSENT, Fault.LOST):
            raise RuntimeError("Camera frontend has timed out!")
        now_s = driver.clock.now_s()
        at_s = max(self._next_s, now_s)
        if fault is Fault.STALLED or not self._free or at_s > now_s + timeout:
            driver.clock.sleep(timeout)
            raise TimeoutError
        driver.clock.advance_to(at_s)
        self._next_s = at_s + driver.period_s
        buffers = self._free.pop(0)
        picture = driver.scene(driver.number)
        for name, stream in self._configuration.items():
            _expose(picture, stream, buffers[name])
        driver.number += 1
        driver.held += 1
        driver.record.append("request")
        return StandInRequest(self, buffers, {"SensorTimestamp": round((at_s - driver.lag_s) * 1e9)})

    def cancel_all_and_flush(self) -> None:
        """Forget the jobs; if `flush_races`, a frame completes the job just before."""
        self.meet_hang("cancel_all_and_flush")
        if self._driver.flush_races:
            self._next_s = self._driver.clock.now_s()
        else:
            self._jobs += 1
        self._driver.record.append("flush")

    def meet_hang(self, call: str) -> None:
        """Hang in `call` while told to."""
        self._driver.meet_hang(call)

    def take_back(self, buffers: dict[str, Pixels]) -> None:
        """Take back the buffers of a request, which the sensor overwrites."""
        self._driver.held -= 1
        self._driver.record.append("release")
        for buffer in buffers.values():
            buffer[...] = 0x5A
        self._free.append(buffers)

    def mapped(self, request: StandInRequest, stream: str) -> Pixels:
        """Return the memory of a stream in the shape that MappedArray gives it."""
        if request.released:
            raise RuntimeError("failed to find buffer")
        configuration = self._configuration[stream]
        buffer = request.buffers[stream]
        if configuration["format"] == "YUV420":
            return buffer
        width, height = configuration["size"]
        return buffer[:, : width * 3].reshape(height, width, 3)

    def close(self) -> None:
        """Stop and release the camera; if stopping raises, it stays acquired."""
        if not self.is_open:
            return
        self.meet_hang("close")
        if self.started and self._driver.trouble.fault is Fault.CANNOT_STOP:
            self._driver.record.append("stop failed")
            raise RuntimeError("Failed to stop camera: Connection timed out")
        self.started = self.is_open = False
        self._free.clear()
        self._driver.holder = None
        self._driver.record.append("close")


@dataclass(slots=True)
class StandInPicamera2:
    """A picamera2 for PiCamera(driver=...). `pi5` gives the small stream in RGB, as only its ISP can."""

    clock: SteppedClock
    scene: Scene
    fps: float = 10.0
    pi5: bool = False
    align_bytes: int = 64
    lag_s: float = 0.03
    """From the exposure to the request."""
    flush_races: bool = False
    """Whether a frame that was late for the wait is in time for the flush after it."""
    hangs_in: frozenset[str] = frozenset({"open", "close"})
    """The calls that Fault.HANGS holds up; a mapping is "map main" or "map lores"."""
    trouble: Trouble = field(default_factory=Trouble)
    record: deque[str] = field(default_factory=lambda: deque(maxlen=RECORD_MAX))
    number: int = 0
    held: int = 0
    """Requests not yet released."""
    holder: StandInPicamera2Device | None = None
    let_go: Event = field(default_factory=Event)

    @property
    def period_s(self) -> float:
        """Seconds between frames."""
        return 1.0 / self.fps

    def fail(self, fault: Fault, *, at_frame: int = 0, refusals: int | None = None) -> None:
        """Break the camera from frame `at_frame` on, for so many calls, or until `mend`."""
        self.trouble = Trouble(fault, at_frame, refusals)
        self.let_go.clear()

    def mend(self) -> None:
        """Make the camera whole, and let hanging calls go on."""
        self.trouble = Trouble()
        self.let_go.set()

    def meet_hang(self, call: str) -> None:
        """Hang in `call` while told to."""
        if self.trouble.fault is Fault.HANGS and call in self.hangs_in:
            self.let_go.wait()

    def boottime_s(self) -> float:
        """Return the clock that SensorTimestamp is on."""
        return self.clock.now_s()

    def open(self, number: int) -> StandInPicamera2Device:
        """Acquire the camera, with the errors of picamera2."""
        self.meet_hang("open")
        if self.trouble.fault is Fault.NOT_INSTALLED:
            raise ImportError("No module named 'picamera2'")
        if self.trouble.fault is Fault.ABSENT or number != 0:
            raise IndexError("list index out of range")
        if self.trouble.fault is Fault.BUSY or self.holder is not None:
            busy = RuntimeError("Failed to acquire camera: Device or resource busy")
            raise RuntimeError("Camera __init__ sequence did not complete.") from busy
        self.holder = StandInPicamera2Device(self)
        self.record.append("open")
        return self.holder

    def stream_options(self) -> tuple[str, object]:
        """Return the format of the small stream, and the colour space that the scene is encoded in."""
        return ("BGR888" if self.pi5 else "YUV420"), "Smpte170m"

    @contextmanager
    def mapped(self, request: Request, stream: str) -> Iterator[_Mapped]:
        """Map the memory of a stream, unless the camera has died since the frame."""
        self.record.append(f"map {stream}")
        self.meet_hang(f"map {stream}")
        if self.trouble.fault is Fault.LOST and self.number > self.trouble.at_frame:
            raise RuntimeError("failed to find buffer")
        if not isinstance(request, StandInRequest):
            raise TypeError(f"request: wanted one of this stand-in, got {type(request).__name__}")
        yield _Mapped(request.device.mapped(request, stream))


def _blank(stream: Mapping[str, Any]) -> Pixels:
    _, height = stream["size"]
    rows = height * 3 // 2 if stream["format"] == "YUV420" else height
    return np.full((rows, stream["stride"]), 0x5A, np.uint8)


def _expose(picture: Pixels, stream: Mapping[str, Any], buffer: Pixels) -> None:
    """Write a picture into a buffer as the ISP does, and leave the padding as it is."""
    width, height = stream["size"]
    sized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    if stream["format"] != "YUV420":
        buffer[:, : width * 3] = sized.reshape(height, width * 3)
        return
    planes = cv2.cvtColor(sized, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = width * height, width * height // 4
    buffer[:height, :width] = planes[:luma].reshape(height, width)
    padded = buffer[height:].reshape(-1, buffer.shape[1] // 2)
    padded[: height // 2, : width // 2] = planes[luma : luma + chroma].reshape(height // 2, width // 2)
    padded[height // 2 :, : width // 2] = planes[luma + chroma :].reshape(height // 2, width // 2)
