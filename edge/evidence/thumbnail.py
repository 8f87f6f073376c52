"""The picture that goes with an event: sharp inside the evidence box, a coarse mosaic everywhere else.

It fails safe: no detector of faces has to be right, since what is not evidence is never sharp. The mosaic's
grid lies on the whole frame, so a close crop does not get finer blocks. A box is only what the detector says:
one that is too large for a thing on a desk may be somebody's face, and stays mosaic too.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.capture.frame import Frame, Pixels
from edge.policy.document import Thumbnail
from edge.policy.judge import Shot
from edge.vision.mask import Polygon, masked_pixels, spread
from edge.vision.types import Box

MOSAIC_BLOCKS = 8
"""Blocks along the frame's longer side; none is shorter than an eighth of it, either way.

So none is shorter than an eighth of any person's longer side, however close to the camera. What a face is
known by lies at 8 to 16 cycles across it; a face that fills the frame gets 8 blocks, which carry 4 at most.
Seen on photos of faces that fill half the frame: with 16 blocks an open mouth and eyes show, with 8 a patch
of skin under one of hair does.
"""
SHARP_SHARE = 0.2
"""Of the frame's area, the most that is ever sharp: of more boxes than fit, the smallest are.

A face before a webcam, half as wide as the frame, takes 0.3. Of the things labelled in 1,094 photos of desks,
4 % of the phones, 1 % of papers and drinks, and 7 % of the food are larger.
"""
CONTEXT = 3.0
"""The crop is so many times the evidence box, and at least a third of the frame, so that it shows where."""
_QUALITIES = (85, 75, 65, 55, 45, 35)
"""JPEG qualities tried before the picture is made smaller."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A redacted picture in memory: uint8 RGB (h, w, 3). The frame it came from is gone."""

    pixels: Pixels
    quality: float


@dataclass(frozen=True, slots=True)
class Jpeg:
    """An encoded thumbnail, without EXIF or comment."""

    data: bytes
    width_px: int
    height_px: int

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()


Album = Mapping[str, Picture]
"""The best picture so far, by rule id."""


def keep_best(
    album: Album, shots: Sequence[Shot], frame: Frame, masks: Sequence[Polygon], spec: Thumbnail
) -> Album:
    """Return the album with each shot that beats what it holds for that rule, redacted at once.

    Only `frame.evidence()` is read, only for a better shot, and no reference to it is kept.
    """
    better = [s for s in shots if s.first or s.rule_id not in album or s.quality > album[s.rule_id].quality]
    if not better:
        return album
    pixels = _masked(frame.evidence(), masks, frame.pixels.shape)
    pictures = {s.rule_id: Picture(redact(pixels, s.boxes, spec.max_side_px), s.quality) for s in better}
    return {**album, **pictures}


def redact(pixels: Pixels, sharp: Sequence[Box], max_side_px: int) -> Pixels:
    """Return a new picture, longest side at most `max_side_px`, where only `sharp` is more than mosaic.

    `pixels` is uint8 RGB (h, w, 3). With `sharp` empty it is the whole frame, all mosaic. Never enlarges, and
    of `sharp` takes no more than SHARP_SHARE.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = _window(sharp, width, height)
    scale = min(1.0, max_side_px / max(right - left, bottom - top))
    out_width = max(1, round((right - left) * scale))
    out_height = max(1, round((bottom - top) * scale))
    # The source pixel under the middle of each output pixel, and from it the block.
    columns = left + (np.arange(out_width) + 0.5) * (right - left) / out_width
    rows = top + (np.arange(out_height) + 0.5) * (bottom - top) / out_height
    out = _mosaic(pixels, rows, columns)
    for box in _small_enough(sharp):
        _sharpen(out, pixels, box, rows, columns)
    return out


def encode(pixels: Pixels, max_bytes: int) -> Jpeg:
    """Return `pixels` (uint8 RGB) as a JPEG of at most `max_bytes`: first less quality, then fewer pixels."""
    while True:
        height, width = pixels.shape[:2]
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        for quality in _QUALITIES:
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if data.size <= max_bytes:
                return Jpeg(data.tobytes(), width, height)
        if max(width, height) < 8:
            raise ValueError(f"max_bytes: wanted room for a JPEG, got {max_bytes} bytes")
        smaller = (max(1, width * 3 // 4), max(1, height * 3 // 4))
        pixels = np.asarray(cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _masked(pixels: Pixels, masks: Sequence[Polygon], looked_shape: tuple[int, ...]) -> Pixels:
    """Return `pixels` with the policy's polygons black; a copy only where there are any.

    Also black is what was black in the smaller picture that the detector saw, `looked_shape` in size: its
    pixels are larger, and so reach further beyond a polygon's edge.
    """
    if not masks:
        return pixels
    visible = np.array(pixels, copy=True, order="C")
    height, width = pixels.shape[:2]
    visible[masked_pixels(height, width, masks) > 0] = 0
    looked_height, looked_width = looked_shape[:2]
    if (looked_height, looked_width) != (height, width):
        unseen = masked_pixels(looked_height, looked_width, masks)
        visible[spread(unseen, height, width) > 0] = 0
    return visible


def _small_enough(sharp: Sequence[Box]) -> list[Box]:
    """Return the smallest boxes, of SHARP_SHARE together at most; what overlaps counts twice."""
    kept, area = [], 0.0
    for box in sorted(sharp, key=lambda each: each.area):
        area += box.area
        if area > SHARP_SHARE:
            break
        kept.append(box)
    return kept


def _window(sharp: Sequence[Box], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in pixels of what the thumbnail shows of the frame."""
    if not sharp:
        return 0, 0, width, height
    x0, x1 = min(box.x0 for box in sharp), max(box.x1 for box in sharp)
    y0, y1 = min(box.y0 for box in sharp), max(box.y1 for box in sharp)
    left, right = _widen(x0, x1)
    top, bottom = _widen(y0, y1)
    return int(left * width), int(top * height), math.ceil(right * width), math.ceil(bottom * height)


def _widen(low: float, high: float) -> tuple[float, float]:
    """Return a span with room around `low` to `high`, within 0-1."""
    length = min(1.0, max((high - low) * CONTEXT, 1 / 3))
    start = min(max((low + high - length) / 2, 0.0), 1.0 - length)
    return start, start + length


def _mosaic(pixels: Pixels, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Pixels:
    height, width = pixels.shape[:2]
    longer = max(width, height)
    across, down = max(1, width * MOSAIC_BLOCKS // longer), max(1, height * MOSAIC_BLOCKS // longer)
    blocks = cv2.resize(pixels, (across, down), interpolation=cv2.INTER_AREA)
    block_row = (rows * down / height).astype(np.intp)
    block_column = (columns * across / width).astype(np.intp)
    return np.asarray(blocks[block_row[:, None], block_column[None, :]], dtype=np.uint8)


def _sharpen(
    out: Pixels, pixels: Pixels, box: Box, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> None:
    """Paint the box into `out`, from no source pixel but those wholly inside it."""
    height, width = pixels.shape[:2]
    x0, x1 = int(np.ceil(box.x0 * width)), int(np.floor(box.x1 * width))
    y0, y1 = int(np.ceil(box.y0 * height)), int(np.floor(box.y1 * height))
    inside_x = np.flatnonzero((columns >= x0) & (columns < x1))
    inside_y = np.flatnonzero((rows >= y0) & (rows < y1))
    if not (inside_x.size and inside_y.size):
        return
    crop = cv2.resize(pixels[y0:y1, x0:x1], (inside_x.size, inside_y.size), interpolation=cv2.INTER_AREA)
    out[inside_y[0] : inside_y[-1] + 1, inside_x[0] : inside_x[-1] + 1] = crop
