"""From the settings to the camera."""

from pathlib import Path
from typing import assert_never

from edge.capture.frame import Camera
from edge.capture.picamera import PiCamera
from edge.capture.replay import ReplayCamera
from edge.capture.usb import Settings, UsbCamera
from edge.clock import Clock
from edge.config import CameraTable, ConfigError


def make_camera(table: CameraTable, clock: Clock) -> Camera:
    """Return the camera that the settings name, closed."""
    size = (table.width_px, table.height_px)
    match table.kind:
        case "pi":
            evidence = (table.evidence_width_px, table.evidence_height_px)
            return PiCamera(clock, number=int(table.device), evidence_px=evidence, detect_px=size)
        case "usb":
            return UsbCamera(Path(table.device), clock, settings=Settings(*size))
        case "replay":
            assert table.source is not None
            return ReplayCamera(table.source, clock, pace="real", loop=None)
        case _:
            assert_never(table.kind)


def check_source(table: CameraTable) -> None:
    """Raise ConfigError where footage that is to be replayed is not there."""
    source = table.source
    if source is not None and not source.exists():
        wanted = "camera.source: wanted an image, a folder of images or a clip"
        raise ConfigError(f"{wanted}, got none at {source}")
