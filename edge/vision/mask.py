"""Where the policy forbids to look: polygons of the frame, painted so that no pixel they touch is left."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in 0–1 of the frame."""

_MARGIN_PX = 4


def masked_pixels(height_px: int, width_px: int, masks: Sequence[Polygon]) -> npt.NDArray[np.uint8]:
    """Return uint8 (height_px, width_px): 255 where a polygon touches the pixel, else 0."""
    # On a canvas with a margin, or a sliver along the frame's last row would be drawn outside, and be lost.
    canvas = np.zeros((height_px + 2 * _MARGIN_PX, width_px + 2 * _MARGIN_PX), np.uint8)
    for polygon in masks:
        corners = np.array([[x * width_px - 0.5, y * height_px - 0.5] for x, y in polygon])
        cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32) + _MARGIN_PX], (255,))
    # Rounding the corners moves an edge by less than one pixel: grow by one, so that all asked for is in.
    grown = cv2.dilate(canvas, np.ones((3, 3), np.uint8))
    return np.array(grown[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX], np.uint8)


def spread(masked: npt.NDArray[np.uint8], height_px: int, width_px: int) -> npt.NDArray[np.uint8]:
    """Return `masked` as uint8 (height_px, width_px): 255 in each pixel that a masked one overlaps."""
    spread_down = _overlapping(masked, height_px)
    return np.ascontiguousarray(_overlapping(spread_down.T, width_px).T)


def _overlapping(masked: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.uint8]:
    """Return `rows` rows, each the maximum of those of `masked` that it overlaps."""
    starts = np.arange(rows) * masked.shape[0] // rows
    ends = -(-(np.arange(rows) + 1) * masked.shape[0] // rows)
    return np.stack([masked[start:end].max(axis=0) for start, end in zip(starts, ends, strict=True)])
