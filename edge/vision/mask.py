"""Where the policy forbids to look: polygons of the frame, painted so that no pixel they touch is left."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in 0–1 of the frame."""


def masked_pixels(height_px: int, width_px: int, masks: Sequence[Polygon]) -> npt.NDArray[np.uint8]:
    """Return uint8 (height_px, width_px): 255 where a polygon touches the pixel, else 0."""
    masked = np.zeros((height_px, width_px), np.uint8)
    for polygon in masks:
        corners = np.array([[x * width_px - 0.5, y * height_px - 0.5] for x, y in polygon])
        cv2.fillPoly(masked, [np.rint(corners).astype(np.int32)], (255,))
    # Rounding the corners moves an edge by less than one pixel: grow by one, so that all asked for is in.
    return np.asarray(cv2.dilate(masked, np.ones((3, 3), np.uint8)), np.uint8)
