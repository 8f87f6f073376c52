"""Footage made for the tests, and a rig for every camera, with the hands that break and inspect it."""

import datetime as dt
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture.frame import Camera
from edge.capture.picamera import PiCamera
from edge.capture.replay import ReplayCamera
from edge.capture.standin import Fault, StandInCamera, plain
from edge.capture.standin_picamera2 import StandInPicamera2
from edge.capture.standin_v4l2 import StandInV4l2
from edge.capture.usb import UsbCamera, V4l2Driver
from edge.clock import Clock, SteppedClock, SystemClock

RED = (220, 20, 30)
START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)


def write_video(
    path: Path, colours: list[tuple[int, int, int]], codec: str = "MJPG", fps: float = 20.0
) -> Path:
    """A video of one RGB colour a frame, 64x48."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for red, green, blue in colours:
        writer.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    writer.release()
    return path


def write_gif(path: Path, colours: list[tuple[int, int, int]], delays_cs: list[int]) -> Path:
    """A GIF of one RGB colour a frame, 16x8, each with a delay in 1/100 s; its LZW codes never grow."""
    palette = b"".join(bytes(colour) for colour in colours).ljust(128 * 3, b"\0")
    parts = [b"GIF89a", (16).to_bytes(2, "little"), (8).to_bytes(2, "little"), b"\xf6\0\0", palette]
    for index, delay in enumerate(delays_cs):
        parts.append(b"\x21\xf9\x04\x04" + delay.to_bytes(2, "little") + b"\0\0")
        parts.append(b"\x2c\0\0\0\0" + (16).to_bytes(2, "little") + (8).to_bytes(2, "little") + b"\0\x07")
        codes = bytes([128, *[index] * 64, 128, *[index] * 64, 129])
        parts.append(bytes([len(codes)]) + codes + b"\0")
    path.write_bytes(b"".join(parts) + b"\x3b")
    return path


def write_image(path: Path, colour: tuple[int, int, int] = RED, size_px: tuple[int, int] = (32, 24)) -> Path:
    """An image of one RGB colour."""
    assert cv2.imwrite(str(path), np.full((size_px[1], size_px[0], 3), colour[::-1], np.uint8))
    return path


def open_files(path: Path) -> list[str]:
    """The open descriptors of this process on `path`, or on anything below it."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:
            continue  # the descriptor of the listing itself
    return [link for link in links if link.startswith(str(path.absolute()))]


@dataclass
class Rig:
    """A camera on the bench."""

    camera: Camera
    clock: Clock
    stall: Callable[[], object]
    mend: Callable[[], object]
    resources: Callable[[], int]
    """How many things of the device are held: descriptors, requests, openings."""
    fail: Callable[[Fault], object] | None = None
    faults: tuple[Fault, ...] = ()
    colour: tuple[int, int, int] | None = RED
    stall_s: float = 0.02
    """A timeout in which no frame comes once stalled."""
    extras: dict[str, object] = field(default_factory=dict)


def _replay_rig(source: Path, *, colour: tuple[int, int, int] | None = RED, pace: str = "fast") -> Rig:
    clock: Clock = SteppedClock(START, 100.0) if pace == "fast" else SystemClock()
    camera = ReplayCamera(source, clock, pace=pace, loop=None)  # type: ignore[arg-type]
    nothing = lambda: None  # noqa: E731
    return Rig(camera, clock, nothing, nothing, lambda: len(open_files(source)), colour=colour)


def _replay(name: str) -> Callable[[Path], Rig]:
    def build(tmp_path: Path) -> Rig:
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
            for index in range(4):
                write_image(path / f"{index}.png")
        elif name.endswith(".gif"):
            write_gif(path, [RED] * 4, [8, 9, 30, 4])
        elif name.endswith((".avi", ".mp4")):
            write_video(path, [RED] * 20, "MJPG" if name.endswith(".avi") else "mp4v")
        else:
            write_image(path)
        return _replay_rig(path)

    return build


def _replay_real_pace(tmp_path: Path) -> Rig:
    return _replay_rig(write_video(tmp_path / "red.avi", [RED] * 20), pace="real")


def _standin(_tmp_path: Path) -> Rig:
    clock = SteppedClock(START, 100.0)
    camera = StandInCamera(clock, plain(RED), evidence=plain(RED, (1280, 960)))
    return Rig(
        camera,
        clock,
        lambda: camera.fail(Fault.STALLED),
        camera.mend,
        lambda: list(camera.record).count("open") - list(camera.record).count("close"),
        camera.fail,
        (Fault.ABSENT, Fault.BUSY, Fault.STALLED, Fault.LOST),
    )


def _picamera(*, pi5: bool) -> Callable[[Path], Rig]:
    def build(_tmp_path: Path) -> Rig:
        clock = SteppedClock(START, 100.0)
        driver = StandInPicamera2(clock, plain(RED), pi5=pi5)
        camera = PiCamera(clock, driver=driver, boottime_s=driver.boottime_s)
        return Rig(
            camera,
            clock,
            lambda: driver.fail(Fault.STALLED),
            driver.mend,
            lambda: driver.held + (driver.holder is not None),
            driver.fail,
            (Fault.NOT_INSTALLED, Fault.ABSENT, Fault.BUSY, Fault.STALLED, Fault.LOST, Fault.CANNOT_STOP),
            extras={"driver": driver},
        )

    return build


def _usb(_tmp_path: Path) -> Rig:
    driver = StandInV4l2(plain(RED))
    camera = UsbCamera(Path("/dev/video0"), SystemClock(), driver=driver)
    return Rig(
        camera,
        SystemClock(),
        lambda: driver.fail(Fault.STALLED),
        driver.mend,
        lambda: driver.holders,
        driver.fail,
        (Fault.ABSENT, Fault.BUSY, Fault.STALLED, Fault.LOST),
        stall_s=0.1,
        extras={"driver": driver},
    )


def _real_picamera(_tmp_path: Path) -> Rig:
    if importlib.util.find_spec("picamera2") is None:
        pytest.skip("picamera2 is not installed: run on a Raspberry Pi")
    if not importlib.import_module("picamera2").Picamera2.global_camera_info():
        pytest.skip("no Raspberry Pi camera is attached")
    nothing = lambda: None  # noqa: E731
    return Rig(PiCamera(SystemClock()), SystemClock(), nothing, nothing, lambda: 0, colour=None, stall_s=0.0)


def _real_usb(_tmp_path: Path) -> Rig:
    devices = [each for each in sorted(Path("/dev").glob("video*")) if V4l2Driver().refusal(each) is None]
    if not devices:
        pytest.skip("no V4L2 camera is attached: none of /dev/video* captures video")
    nothing = lambda: None  # noqa: E731
    camera = UsbCamera(devices[0], SystemClock())
    resources = lambda: len(open_files(devices[0]))  # noqa: E731
    return Rig(camera, SystemClock(), nothing, nothing, resources, colour=None, stall_s=0.0)


RIGS: dict[str, Callable[[Path], Rig]] = {
    "replay-image": _replay("red.png"),
    "replay-folder": _replay("folder"),
    "replay-avi": _replay("red.avi"),
    "replay-mp4": _replay("red.mp4"),
    "replay-gif": _replay("red.gif"),
    "replay-real-pace": _replay_real_pace,
    "standin": _standin,
    "picamera-pi4": _picamera(pi5=False),
    "picamera-pi5": _picamera(pi5=True),
    "usb": _usb,
    "real-picamera": _real_picamera,
    "real-usb": _real_usb,
}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.pi if name.startswith("real") else ()) for name in RIGS]
)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Every camera there is."""
    bench = RIGS[request.param](tmp_path)
    yield bench
    bench.mend()
    bench.camera.close()


@pytest.fixture(params=["standin", "picamera-pi4", "picamera-pi5", "usb"])
def breakable_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """The cameras that can be broken on purpose."""
    bench = RIGS[request.param](tmp_path)
    yield bench
    bench.mend()
    bench.camera.close()


CLIPS = (
    "bottle-detection.mp4",
    "book.mkv",
    "eat.mkv",
    "classroom.gif",
    "head-pose-face-detection-female.gif",
    "head-pose-face-detection-female-and-male.gif",
)


@pytest.fixture(params=CLIPS)
def clip_rig(request: pytest.FixtureRequest, shared: Path) -> Iterator[Rig]:
    """Every real clip as a camera."""
    bench = _replay_rig(shared / "clips" / request.param, colour=None)
    yield bench
    bench.camera.close()


@pytest.fixture
def media() -> type:
    """The makers of footage, for test modules, which import nothing from each other."""

    class Media:
        video = staticmethod(write_video)
        gif = staticmethod(write_gif)
        image = staticmethod(write_image)
        open_files = staticmethod(open_files)

    return Media
