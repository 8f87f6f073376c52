"""A coarse picture as lines of a terminal, its figures, and what to do about them. Pure."""

import enum
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge.control.protocol import AimPicture
from edge.vision.limits import SOFT_CEILING, SOFT_FLOOR

Grid = npt.NDArray[np.uint8]

DARK_GREY: Final = 45.0
BRIGHT_GREY: Final = 205.0
"""Mean levels between which a desk is well lit: night photos of desks lie below, overexposed ones above."""
WHITE_GREY: Final = 250
WHITE_SHARE: Final = 0.08
"""Share of the picture that is all white from which on a lamp or a window dazzles."""
BELOW_ROWS: Final = 5
"""Lines that stand around a picture: a title above, three of figures and one of advice below."""
_RAMP = " .:-=+*#%@"
_BAR = 20


class Depth(enum.Enum):
    """What a terminal can show."""

    PLAIN = "plain"
    """No colour: letters that are more or less black."""
    GREYS = "greys"
    """The 24 greys of 256 colours."""
    TRUE = "true"


def grid_of(picture: AimPicture) -> Grid:
    """Return the grey levels, (rows, cols). Levels that are not there are black."""
    cells = picture.rows * picture.cols
    levels = picture.grid[:cells].ljust(cells, b"\0")
    return np.frombuffer(levels, np.uint8).reshape(picture.rows, picture.cols)


def lines_of(grid: Grid, cols: int, rows: int, depth: Depth) -> list[str]:
    """Return a picture as at most `rows` lines of at most `cols` characters: two levels a character."""
    fitted = _fitted(grid, max(1, cols), max(1, rows) * 2)
    if fitted.shape[0] % 2:
        fitted = np.vstack([fitted, np.zeros((1, fitted.shape[1]), np.uint8)])
    pairs = fitted.reshape(-1, 2, fitted.shape[1])
    if depth is Depth.PLAIN:
        return ["".join(_letter(int(level)) for level in pair.mean(axis=0)) for pair in pairs]
    return [_blocks(pair[0].tolist(), pair[1].tolist(), depth) for pair in pairs]


def figures_of(picture: AimPicture) -> list[str]:
    """Return what was measured, three lines."""
    level, sharp = picture.brightness, picture.sharpness
    lit = "too dark" if level < DARK_GREY else "too bright" if level > BRIGHT_GREY else "good"
    bright = f"brightness {_bar(level / 255)} {level:4.0f} of 255: {lit}"
    if sharp is None:
        focus = f"sharpness  {_bar(0.0)}    - : too little is open to tell"
    else:
        told = "out of focus" if sharp < SOFT_FLOOR else "soft" if sharp < SOFT_CEILING else "in focus"
        focus = f"sharpness  {_bar(sharp / 0.6)} {sharp:4.2f}, wanted {SOFT_CEILING:g} or more: {told}"
    sees = f"cannot see: {', '.join(picture.blind)}" if picture.blind else "sees"
    return [bright, focus, f"the unit {sees}"]


def advice(picture: AimPicture) -> str:
    """Return the one thing to do next."""
    for blind, what in _BLIND.items():
        if blind in picture.blind:
            return what
    white = float((grid_of(picture) >= WHITE_GREY).mean())
    if white > WHITE_SHARE:
        return "Dazzled: lower the lamp, draw the curtain, or turn away from the window."
    if picture.brightness < DARK_GREY:
        return "Too dark: put on a lamp, or turn it to the desk."
    if picture.brightness > BRIGHT_GREY:
        return "Too bright: lower the lamp, or turn the camera down to the desk."
    if picture.sharpness is not None and picture.sharpness < SOFT_CEILING:
        return "Not sharp: film off, wipe the lens, turn its ring until sharpness rises."
    return "Good. Wanted: the whole desk, its far edge in the upper third, the chair."


_BLIND = {
    "covered": "Covered: take away what is before the lens; peel off its film.",
    "dark": "Dark: put on a lamp.",
    "masked": "The policy's masks hide nearly all: turn the camera, or change the masks.",
    "frozen": "The same picture all the time: unplug the camera, and plug it in again.",
    "stale": "The picture comes late: the unit has too much to do.",
}


def _fitted(grid: Grid, cols: int, rows: int) -> Grid:
    """Enlarge by a whole factor where there is room, or make smaller; the shape of a block is kept."""
    grid_rows, grid_cols = grid.shape
    zoom = min(cols // grid_cols, rows // grid_rows)
    if zoom >= 1:
        return np.repeat(np.repeat(grid, zoom, axis=0), zoom, axis=1)
    scale = min(cols / grid_cols, rows / grid_rows)
    size = (max(1, int(grid_cols * scale)), max(1, int(grid_rows * scale)))
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_AREA), np.uint8)


def _letter(level: int) -> str:
    return _RAMP[min(level * len(_RAMP) // 256, len(_RAMP) - 1)]


def _blocks(upper: Sequence[int], lower: Sequence[int], depth: Depth) -> str:
    """Return a line of half blocks: the upper level is the letter's, the lower one the ground's."""
    parts: list[str] = []
    last = ("", "")
    for above, below in zip(upper, lower, strict=True):
        colours = _colour(above, depth), _colour(below, depth)
        if colours != last:
            parts.append(f"\x1b[38;{colours[0]};48;{colours[1]}m")
            last = colours
        parts.append("▀")
    return f"{''.join(parts)}\x1b[0m"


def _colour(level: int, depth: Depth) -> str:
    if depth is Depth.TRUE:
        return f"2;{level};{level};{level}"
    step = round((level - 8) / 10)
    return f"5;{16 if step < 0 else 231 if step > 23 else 232 + step}"


def _bar(share: float) -> str:
    full = round(min(max(share, 0.0), 1.0) * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}]"
