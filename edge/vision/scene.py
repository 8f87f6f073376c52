"""The scene gate: cheap statistics of each picture, and whether it is worth an inference.

A picture is reduced to a grid of block means. It is compared with the picture of the last *inference*, not
with the frame before, so that a slow movement adds up instead of slipping through.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.capture.frame import Pixels
from edge.vision.types import Box

Grey = npt.NDArray[np.uint8]
"""uint8 luma, shape (h, w)."""
Blocks = npt.NDArray[np.float32]
"""float32 grey means of a grid of near-square blocks, 0–255, shape (rows, cols), longer side GRID_LONG."""
OpenBlocks = npt.NDArray[np.bool_]
"""bool, shape (rows, cols): True where no mask of the policy hides a part of the block or its neighbours."""

GRID_LONG = 32
"""Blocks along the longer side: 9 px of a 300 px picture. A phone, 2 % of the width squared, spans 4 by 4."""
CHANGED_GREY = 4.0
"""Mean difference over 3 by 3 blocks that counts as a change, grey levels.

Measured as the maximum over the picture, on 46 photos and clips at 300 px: noise of sigma 6 a channel gives
at most 1.6, of sigma 20 3.7, JPEG quality 30 with noise 2.6; a patch of 42 px at a contrast of 8 levels gives
at least 6.0, one of 30 px 4.9.
"""
LINGER_S = 0.5
"""Two changes within this time are motion: inference then runs on every frame for as long again.

It covers the instants in which a moving thing halts, and looks several times at what has come to rest. A lone
change (a lamp, drifting light) costs one inference only.
"""
LOOK_EVERY_S = 0.09
"""In motion every frame is worth an inference, and more than eleven looks a second at it add nothing."""
GAIN_MIN, GAIN_MAX = 0.25, 4.0
"""What exposure may do between two pictures: two stops either way."""
LIT_GREY = 8.0
"""Blocks darker than this say nothing about gain: noise and rounding rule there."""
BLOCK_CHANGED_GREY = 12.0
"""A block of a box has changed: three times the gate's threshold, as one block averages less noise away."""
BOX_CHANGED_SHARE = 0.45
"""A box looks different when this share of its blocks changed.

Measured on the five clips with people: who stays and turns or gestures changes 0.05–0.37 of the box (95th
percentile by clip; 0.50 where two heads tilt at once); who leaves changes 0.60–0.77 (far away in a class room
0.33–0.76).
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known of one picture without the model. Arrays are never written to once made."""

    grey: Grey
    half: Grey
    """The picture at half size, low-passed, shape ((h + 1) // 2, (w + 1) // 2)."""
    blocks: Blocks
    open: OpenBlocks
    changed: bool
    """It differs from the picture of the last inference, light aside; True if there was none."""
    infer: bool
    """Run the detector on it: it changed, or is in motion, or the last inference is too old."""


@dataclass(frozen=True, slots=True)
class SceneState:
    """What the gate remembers. Make a new one when the policy's masks change."""

    open: OpenBlocks | None = None
    """See `open_blocks`; None where nothing is masked."""
    inferred: Blocks | None = None
    inferred_s: float = 0.0
    changed_s: float = float("-inf")
    motion_until_s: float = float("-inf")
    looked_s: float = float("-inf")
    scene: Scene | None = None
    """Of the last look."""


def look(
    state: SceneState, content: Pixels, now_s: float, max_age_s: float = 5.0
) -> tuple[SceneState, Scene]:
    """Reduce a picture to its scene and decide on inference; a scene that says `infer` counts as inferred.

    `content` is uint8 RGB (h, w, 3) without letterbox bars, masked areas black. `max_age_s` bounds how old
    an inference may grow while nothing moves.
    """
    if state.scene is not None and state.scene.infer and _in_motion(state, now_s):
        return state, state.scene
    grey = np.asarray(cv2.cvtColor(content, cv2.COLOR_RGB2GRAY), np.uint8)
    half = np.asarray(cv2.pyrDown(grey), np.uint8)
    blocks = _means(half, grid_shape(*grey.shape))
    first = state.inferred is None
    changed = state.inferred is None or differs(state.inferred, blocks)
    in_motion = changed and now_s - state.changed_s <= LINGER_S
    motion_until_s = now_s + LINGER_S if in_motion else state.motion_until_s
    infer = changed or now_s <= motion_until_s or now_s - state.inferred_s >= max_age_s
    scene = Scene(grey, half, blocks, _open(state.open, blocks), changed, infer)
    after = SceneState(
        open=state.open,
        inferred=blocks if infer else state.inferred,
        inferred_s=now_s if infer else state.inferred_s,
        changed_s=now_s if changed and not first else state.changed_s,
        motion_until_s=motion_until_s,
        looked_s=now_s,
        scene=scene,
    )
    return after, scene


def _in_motion(state: SceneState, now_s: float) -> bool:
    return state.looked_s <= now_s < min(state.looked_s + LOOK_EVERY_S, state.motion_until_s)


def grid_shape(height_px: int, width_px: int) -> tuple[int, int]:
    """Return (rows, cols) of the block grid of a picture."""
    longer = max(height_px, width_px)
    return max(1, round(GRID_LONG * height_px / longer)), max(1, round(GRID_LONG * width_px / longer))


def open_blocks(hidden: npt.NDArray[np.bool_]) -> OpenBlocks:
    """Return the blocks that a mask leaves open, for `SceneState(open=...)`.

    `hidden` is bool (h, w), of the content's size, True where the policy's masks paint it black. The edge of
    a mask is sharp and still whatever the lens does, so that blocks beside one are left out as well.
    """
    rows, cols = grid_shape(*hidden.shape)
    share = cv2.resize(hidden.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA)
    touched = (np.asarray(share) > 0.0).astype(np.uint8)
    near: OpenBlocks = np.asarray(cv2.dilate(touched, np.ones((3, 3), np.uint8))).astype(np.bool_)
    return ~near


def difference(then: Blocks, now: Blocks) -> Blocks:
    """Return now − then in grey levels after taking out a change of exposure, shape (rows, cols).

    The gain is the median over blocks of now / then: right while less than half the picture changed, and
    where more did, the difference is plain whatever the gain.
    """
    lit = then > LIT_GREY
    ratios = now[lit] / then[lit]
    gain = 1.0
    if ratios.size > 0:
        middle = ratios.size // 2
        gain = min(max(float(np.partition(ratios, middle)[middle]), GAIN_MIN), GAIN_MAX)
    predicted = np.minimum(then * np.float32(gain), np.float32(255.0))
    left: Blocks = now - predicted
    return left


def differs(then: Blocks, now: Blocks) -> bool:
    """Tell whether something moved, came or went between two pictures; False for a change of light alone."""
    if then.shape != now.shape:
        return True
    return bool(np.asarray(cv2.blur(np.abs(difference(then, now)), (3, 3))).max() > CHANGED_GREY)


def box_differs(then: Blocks, scene: Scene, box: Box) -> bool:
    """Tell whether the picture inside `box` is clearly another one than in `then`, light aside."""
    if then.shape != scene.blocks.shape:
        return True
    inside = _slices(box, *then.shape)
    seen = scene.open[inside]
    if not seen.any():
        return True
    changed = np.abs(difference(then, scene.blocks)[inside][seen]) > BLOCK_CHANGED_GREY
    return bool(changed.mean() > BOX_CHANGED_SHARE)


def _means(half: Grey, shape: tuple[int, int]) -> Blocks:
    rows, cols = shape
    return np.asarray(cv2.resize(half, (cols, rows), interpolation=cv2.INTER_AREA)).astype(np.float32)


def _open(given: OpenBlocks | None, blocks: Blocks) -> OpenBlocks:
    if given is None:
        return np.ones(blocks.shape, np.bool_)
    if given.shape != blocks.shape:
        raise ValueError(f"open blocks: wanted shape {blocks.shape} as the picture's, got {given.shape}")
    return given


def _slices(box: Box, rows: int, cols: int) -> tuple[slice, slice]:
    """Return the blocks that `box` touches, at least one each way."""
    top, left = min(int(box.y0 * rows), rows - 1), min(int(box.x0 * cols), cols - 1)
    bottom, right = max(top + 1, int(np.ceil(box.y1 * rows))), max(left + 1, int(np.ceil(box.x1 * cols)))
    return slice(top, bottom), slice(left, right)
