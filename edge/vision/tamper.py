"""Tamper measures: whether what this camera shows can be trusted.

Light and cover are judged ten times a second, focus and view twice, against slowly learned
references, by the limits of `limits.py`.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge.vision.limits import (
    ALIKE_NCC,
    CHECK_EVERY_S,
    COVERED_CONTRAST,
    COVERED_GREY,
    DARK_GREY,
    FLAT_GREY,
    FROZEN_AFTER_S,
    GAP_S,
    LEAVE,
    LIGHT_EVERY_S,
    MIN_OPEN_BLOCKS,
    MOVED_HOLD_S,
    MOVED_LEARN_S,
    MOVED_SHARE,
    MOVED_TAU_S,
    RELEARN_S,
    SOFT_CEILING,
    SOFT_FLOOR,
    SOFT_HOLD_S,
    SOFT_LEARN_S,
    SOFT_RATIO,
    SOFT_TAU_S,
    WHITE_GREY,
)
from edge.vision.scene import Blocks, Grey, OpenBlocks, Scene
from edge.vision.types import Blind, Figures


@dataclass(frozen=True, slots=True)
class Focus:
    """The unit's own sharpness, learned over watched time."""

    reference: float = 0.0
    learned_s: float = 0.0
    soft_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The background, learned over watched time, and the view that may replace it."""

    background: Blocks | None = None
    learned_s: float = 0.0
    moved_since_s: float | None = None
    candidate: Blocks | None = None
    candidate_since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TamperState:
    """What the measures remember of the past. Make a new one when the policy's masks change."""

    last: Scene | None = None
    last_s: float = 0.0
    still_since_s: float = 0.0
    checked_s: float = float("-inf")
    found: frozenset[Blind] = frozenset()
    focus: Focus = field(default_factory=Focus)
    view: View = field(default_factory=View)
    figures: Figures = field(default_factory=Figures)


def examine(
    state: TamperState, scene: Scene, now_s: float, frozen_after_s: float = FROZEN_AFTER_S
) -> tuple[TamperState, frozenset[Blind]]:
    """Take one scene, return why it cannot be trusted: any `Blind` but STALLED and STALE."""
    if state.last is None or now_s - state.last_s > GAP_S:
        state = _resumed(state, now_s)
    elif 0.0 <= now_s - state.last_s < LIGHT_EVERY_S - 1e-3:  # less a millisecond: cameras of 10 fps jitter
        return state, state.found
    still_since_s = state.still_since_s if _same(state.last, scene) else now_s
    found, figures = _light(scene, state.found, state.figures)
    focus, view, checked_s = state.focus, state.view, state.checked_s
    if found:  # nothing to be said of focus or view in the dark
        focus, view = replace(focus, soft_since_s=None), replace(view, moved_since_s=None)
    elif now_s - checked_s >= CHECK_EVERY_S:
        watched_s = min(now_s - checked_s, GAP_S)
        sharp = sharpness(scene.half, scene.blocks, scene.open)
        figures = replace(figures, sharpness=sharp)
        focus = _focus_step(focus, sharp, now_s, watched_s)
        view, relearned = _view_step(view, scene, now_s, watched_s)
        focus = Focus() if relearned else focus
        checked_s = now_s
    if _lasted(focus.soft_since_s, now_s, SOFT_HOLD_S):
        found |= {Blind.DEFOCUSED}
    if _lasted(view.moved_since_s, now_s, MOVED_HOLD_S):
        found |= {Blind.MOVED}
    if now_s - still_since_s > frozen_after_s:
        found |= {Blind.FROZEN}
    return TamperState(scene, now_s, still_since_s, checked_s, found, focus, view, figures), found


def unlearn(state: TamperState) -> TamperState:
    """Forget view and focus as they were: somebody moves the camera, or turns its lens, by intent."""
    return replace(state, focus=Focus(), view=View())


def structure(blocks: Blocks, open_: OpenBlocks) -> float | None:
    """Return by how many grey levels the 5 % strongest blocks stand out from the 5 by 5 around them.

    None if too little of the picture is open. A smooth shade, such as light through a finger, counts little.
    """
    inner = np.asarray(
        cv2.erode(
            open_.astype(np.uint8), np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
    ).astype(np.bool_)
    if np.count_nonzero(inner) < MIN_OPEN_BLOCKS:
        return None
    return _quantile(np.abs(blocks - np.asarray(cv2.blur(blocks, (5, 5))))[inner], 0.95)


def sharpness(half: Grey, blocks: Blocks, open_: OpenBlocks) -> float | None:
    """Return how steep the strongest edges are for their height: about 0.2–0.8 in focus, below 0.1 out of it.

    The fine detail (absolute Laplacian, mean by block) of the 5 % strongest blocks, over the steps between
    neighbouring blocks of the 5 % strongest: both grow with contrast and light, so that the ratio does not;
    taking the strongest keeps noise and a smooth scene out of it. None if too little of the picture is open.
    """
    if np.count_nonzero(open_) < MIN_OPEN_BLOCKS:
        return None
    rows, cols = blocks.shape
    detail = cv2.convertScaleAbs(cv2.Laplacian(_fine(half), cv2.CV_16S))
    by_block = np.asarray(cv2.resize(detail, (cols, rows), interpolation=cv2.INTER_AREA))
    across = np.abs(np.diff(blocks, axis=1))[open_[:, 1:] & open_[:, :-1]]
    down = np.abs(np.diff(blocks, axis=0))[open_[1:] & open_[:-1]]
    return _quantile(by_block[open_], 0.95) / (_quantile(across, 0.95) + _quantile(down, 0.95) + 1.0)


def alike_share(then: Blocks, scene: Scene) -> float | None:
    """Return the share of 5 by 5 neighbourhoods that show the same structure as `then`, 0–1.

    Normalised cross-correlation: a change of light, even from one side, leaves it; two flat neighbourhoods
    are alike. None if too little of the picture is open.
    """
    now, size = scene.blocks, (5, 5)
    if np.count_nonzero(scene.open) < MIN_OPEN_BLOCKS:
        return None
    mean_then, mean_now = np.asarray(cv2.blur(then, size)), np.asarray(cv2.blur(now, size))
    var_then = np.maximum(np.asarray(cv2.blur(then * then, size)) - mean_then * mean_then, 0.0)
    var_now = np.maximum(np.asarray(cv2.blur(now * now, size)) - mean_now * mean_now, 0.0)
    shared = np.asarray(cv2.blur(then * now, size)) - mean_then * mean_now
    flat = FLAT_GREY * FLAT_GREY
    alike = (shared > ALIKE_NCC * np.sqrt(var_then * var_now)) | ((var_then < flat) & (var_now < flat))
    return float(alike[scene.open].mean())


def _resumed(state: TamperState, now_s: float) -> TamperState:
    """Start all that must last anew: the camera was closed, and nobody saw what lasted."""
    return replace(
        state,
        last=None,
        still_since_s=now_s,
        focus=replace(state.focus, soft_since_s=None),
        view=replace(state.view, moved_since_s=None),
    )


def _same(last: Scene | None, scene: Scene) -> bool:
    """Bit for bit: a real sensor always has noise. Block means differ first, and cheaper."""
    return (
        last is not None
        and np.array_equal(last.blocks, scene.blocks)
        and np.array_equal(last.grey, scene.grey)
    )


def _light(scene: Scene, before: frozenset[Blind], figures: Figures) -> tuple[frozenset[Blind], Figures]:
    """MASKED where too little is open, COVERED where hardly any structure is, DARK where little light is."""
    standing_out = structure(scene.blocks, scene.open)
    if standing_out is None:
        return frozenset({Blind.MASKED}), Figures()
    levels = scene.blocks[scene.open]
    brightness = _quantile(levels, 0.75)
    figures = Figures(
        grey=float(levels.mean()),
        brightness=brightness,
        white=float((levels >= WHITE_GREY).mean()),
        contrast=standing_out,
        sharpness=figures.sharpness,
    )
    covered_below = max(COVERED_GREY, COVERED_CONTRAST * brightness)
    if standing_out < covered_below * (LEAVE if Blind.COVERED in before else 1.0):
        return frozenset({Blind.COVERED}), replace(figures, sharpness=None)
    if brightness < DARK_GREY * (LEAVE if Blind.DARK in before else 1.0):
        return frozenset({Blind.DARK}), replace(figures, sharpness=None)
    return frozenset(), figures


def _focus_step(focus: Focus, sharp: float | None, now_s: float, watched_s: float) -> Focus:
    """Learn the sharpness of a sharp picture; note since when it has been soft."""
    if sharp is None:
        return replace(focus, soft_since_s=None)
    limit = SOFT_FLOOR
    if focus.learned_s >= SOFT_LEARN_S:
        limit = max(limit, min(SOFT_RATIO * focus.reference, SOFT_CEILING))
    if sharp < limit:
        return replace(focus, soft_since_s=now_s if focus.soft_since_s is None else focus.soft_since_s)
    share = watched_s / min(focus.learned_s + watched_s, SOFT_TAU_S)
    reference = focus.reference + share * (sharp - focus.reference)
    return Focus(reference, min(focus.learned_s + watched_s, SOFT_TAU_S))


def _view_step(view: View, scene: Scene, now_s: float, watched_s: float) -> tuple[View, bool]:
    """Learn the background while it is the same one; return also whether another view was accepted as it."""
    if view.background is None or view.background.shape != scene.blocks.shape:
        return View(background=scene.blocks), view.background is not None
    alike = alike_share(view.background, scene)
    if alike is None:
        return replace(view, moved_since_s=None), False
    if alike >= MOVED_SHARE:
        learned_s = min(view.learned_s + watched_s, MOVED_TAU_S)
        return View(_blend(view.background, scene.blocks, watched_s / learned_s), learned_s), False
    if view.learned_s < MOVED_LEARN_S:  # too little known to accuse anyone: start with this view
        return View(background=scene.blocks), True
    return _moved_step(view, scene, now_s, watched_s)


def _moved_step(view: View, scene: Scene, now_s: float, watched_s: float) -> tuple[View, bool]:
    """Keep the new view as a candidate, and take it as the background once it was steady for RELEARN_S."""
    since_s = now_s if view.moved_since_s is None else view.moved_since_s
    candidate = view.candidate
    steady = candidate is not None and (alike_share(candidate, scene) or 0.0) >= MOVED_SHARE
    if candidate is None or not steady:
        return View(view.background, view.learned_s, since_s, scene.blocks, now_s), False
    if now_s - view.candidate_since_s >= RELEARN_S:
        return View(background=candidate, learned_s=RELEARN_S), True
    candidate = _blend(candidate, scene.blocks, watched_s / RELEARN_S)
    return replace(view, moved_since_s=since_s, candidate=candidate), False


def _blend(then: Blocks, now: Blocks, share: float) -> Blocks:
    return then + np.float32(share) * (now - then)


def _fine(half: Grey) -> Grey:
    """Bring a larger picture's half to about the 150 px at which sharpness was measured."""
    longer = max(half.shape)
    if longer <= 160:
        return half
    size = (round(half.shape[1] * 150 / longer), round(half.shape[0] * 150 / longer))
    return np.asarray(cv2.resize(half, size, interpolation=cv2.INTER_AREA), np.uint8)


def _quantile(values: npt.NDArray[np.generic], share: float) -> float:
    place = min(int(share * values.size), values.size - 1)
    return float(np.partition(values, place, axis=None)[place]) if values.size else 0.0


def _lasted(since_s: float | None, now_s: float, hold_s: float) -> bool:
    return since_s is not None and now_s - since_s >= hold_s
