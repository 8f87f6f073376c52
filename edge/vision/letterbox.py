"""From a frame to the pixels that the model sees, and from the model's boxes back to the frame's, exactly."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge.capture.frame import Pixels
from edge.vision.mask import Polygon, masked_pixels
from edge.vision.types import Box

_Image = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

# Bilinear sampling reads 2×2 pixels, and skips the others where it shrinks by more. Up to here that cost no
# accuracy that could be measured (docs/model-card.md), and it is eight times as fast as the area mean.
_MAX_BILINEAR = 3.0


class Letterbox:
    """Scales frames of one size into a buffer of its own, of the model's input size.

    `letterbox` keeps the aspect ratio, centred between bars of level `pad`; `stretch` fills the input. What
    the polygons of `masks` touch is black, and has no share in any other pixel.
    """

    def __init__(
        self,
        frame_px: tuple[int, int],
        input_px: tuple[int, int],
        *,
        fit: Literal["letterbox", "stretch"] = "letterbox",
        pad: int = 0,
        masks: Sequence[Polygon] = (),
    ) -> None:
        """Take the sizes of frame and input as (width, height)."""
        frame_width, frame_height = frame_px
        input_width, input_height = input_px
        width, height = input_px
        if fit == "letterbox":
            scale = min(input_width / frame_width, input_height / frame_height)
            width = max(1, min(input_width, round(frame_width * scale)))
            height = max(1, min(input_height, round(frame_height * scale)))
        left, top = (input_width - width) // 2, (input_height - height) // 2
        self.content = (slice(top, top + height), slice(left, left + width))
        """Rows and columns of the buffer that hold the picture, without the bars."""
        # Picture inside the input, in 0–1 of the input: what both inverses are made of.
        self._x, self._width = left / input_width, width / input_width
        self._y, self._height = top / input_height, height / input_height
        self.has_bars = (width, height) != input_px
        """False: 0–1 of the input is 0–1 of the frame, and `to_frame` changes nothing."""
        self._halves = [
            np.empty((rows, cols, 3), np.uint8) for cols, rows in _halvings(frame_px, (width, height))
        ]
        self._buffer = np.full((input_height, input_width, 3), pad, np.uint8)
        self._picture = self._buffer[self.content]
        self._keep = self._unmasked(frame_px, masks) if masks else None

    def paint(self, pixels: Pixels) -> Pixels:
        """Scale a frame, uint8 (frame height, frame width, 3), into the buffer, and return the buffer.

        The buffer, uint8 (input height, input width, 3), holds until the next call.
        """
        _shrink(pixels, self._halves, self._picture)
        if self._keep is not None:
            cv2.bitwise_and(self._picture, self._keep, dst=self._picture)
        return self._buffer

    def wipe(self) -> None:
        """Make the last picture black."""
        self._picture.fill(0)
        for half in self._halves:
            half.fill(0)

    @property
    def hidden(self) -> npt.NDArray[np.bool_] | None:
        """True where the content is masked: bool (h, w) of the content; None without masks."""
        return None if self._keep is None else self._keep[:, :, 0] == 0

    def to_frame(self, box: Box) -> Box:
        """Map a box in 0–1 of the input to 0–1 of the frame, clipped to the frame."""
        return Box(
            _clip((box.x0 - self._x) / self._width),
            _clip((box.y0 - self._y) / self._height),
            _clip((box.x1 - self._x) / self._width),
            _clip((box.y1 - self._y) / self._height),
        )

    def to_input(self, box: Box) -> Box:
        """Map a box in 0–1 of the frame to 0–1 of the input: the inverse of `to_frame`."""
        return Box(
            _clip(box.x0 * self._width + self._x),
            _clip(box.y0 * self._height + self._y),
            _clip(box.x1 * self._width + self._x),
            _clip(box.y1 * self._height + self._y),
        )

    def _unmasked(self, frame_px: tuple[int, int], masks: Sequence[Polygon]) -> Pixels:
        """Return 255 where no masked pixel of the frame has a share, else 0: uint8, the picture's shape."""
        width, height = frame_px
        masked = masked_pixels(height, width, masks)
        # Float, so that the smallest share of a masked pixel shows.
        share = np.repeat(masked.astype(np.float32)[:, :, np.newaxis], 3, axis=2)
        shares = np.empty(self._picture.shape, np.float32)
        _shrink(share, [half.astype(np.float32) for half in self._halves], shares)
        return np.where(shares > 0.0, np.uint8(0), np.uint8(255))


def _halvings(from_px: tuple[int, int], to_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the sizes to halve through until bilinear sampling reads nearly every pixel."""
    sizes = []
    (width, height), (to_width, to_height) = from_px, to_px
    while max(width / to_width, height / to_height) > _MAX_BILINEAR:
        width, height = max(to_width, width // 2), max(to_height, height // 2)
        sizes.append((width, height))
    return sizes


def _shrink(pixels: _Image, halves: Sequence[_Image], into: _Image) -> None:
    """Resize into `into` in place, by way of `halves`."""
    for half in halves:
        # At exactly one half bilinear sampling is the mean of 2×2 pixels, and OpenCV has a fast path for it.
        cv2.resize(pixels, (half.shape[1], half.shape[0]), dst=half, interpolation=cv2.INTER_LINEAR)
        pixels = half
    cv2.resize(pixels, (into.shape[1], into.shape[0]), dst=into, interpolation=cv2.INTER_LINEAR)


def _clip(value: float) -> float:
    return 0.0 if value < 0.0 else min(value, 1.0)
