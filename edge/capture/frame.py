"""One picture, and the protocol of what takes it."""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError

Pixels = npt.NDArray[np.uint8]
"""uint8 RGB, shape (height_px, width_px, 3)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, valid only inside the `with` that gave it: after it every camera paints `pixels` black.

    `pixels` is what the detector looks at: uint8 RGB (h, w, 3), rows contiguous or not.
    `evidence()` gives the same moment at the camera's full configured size, of the same field of view,
    uint8 RGB; it may copy, so it is called only for a frame that is kept as evidence. It goes black as well.
    """

    pixels: Pixels
    captured_s: float
    """Monotonic seconds, on the clock that the camera was made with."""
    captured_at: dt.datetime
    """The same moment as UTC wall time."""
    _evidence: Callable[[], Pixels] | None = field(default=None, repr=False)

    def evidence(self) -> Pixels:
        """Return the full-size picture of this moment; `pixels` itself where the camera has one stream.

        Raises CameraLost or CameraStalled where the camera died or hangs since.
        """
        return self.pixels if self._evidence is None else self._evidence()


class Camera(Protocol):
    """Where frames come from. Closed when made; `close` is idempotent, and after it the device is free."""

    def open(self) -> None:
        """Open the device; opening an open camera does nothing.

        Raises CameraAbsent, CameraBusy, CameraStalled (the driver hangs), FootageError (of a replay).
        """
        ...

    def frame(self, timeout_s: float) -> AbstractContextManager[Frame]:
        """Give the newest frame for the length of the `with`, waiting at most `timeout_s`.

        A driver that hangs may take two seconds more. Raises CameraStalled (no frame in time), CameraLost
        (the device died), EndOfFootage (a replay ends).
        """
        ...

    @property
    def held(self) -> bool:
        """Whether the device, though closed, may still be held by a driver that hangs."""
        ...

    def close(self) -> None:
        """Close the device, within six seconds also of a driver that hangs. No frame is left in this process.

        What a driver that hangs still holds goes when it comes back, or with the process.
        """
        ...


class CameraError(EdgeError):
    """The camera cannot give a frame: close it, wait, open it again."""


class CameraAbsent(CameraError):
    """No such camera: check the cable, the connector's latch, and `camera.device` in unit.toml."""


class CameraBusy(CameraError):
    """Another program holds the camera: stop it. Or our own calls hang in the driver: restart the process."""


class CameraStalled(CameraError, TimeoutError):
    """No frame in time, or the driver hangs: close the camera and open it again."""


class CameraLost(CameraError):
    """The camera died while it was open: close it and open it again."""


class EndOfFootage(EdgeError):
    """A replayed image, folder or clip has no more frames: stop watching."""


class FootageError(EdgeError):
    """This cannot be replayed: give an image, a folder of images, a video or a GIF that opens in a player."""
