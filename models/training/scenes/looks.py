"""What a person looks like: skin and its colours, eyes, and the drawing of cloth patterns."""

from __future__ import annotations

import cv2
import numpy as np

from scenes.bodydata import load_body, load_target
from scenes.skeleton import unit
from scenes.wardrobe import Piece, base_regions

MIRROR = np.array([-1.0, 1, 1])
# sRGB, from light to dark; a tone between 0 and 1 is interpolated.
SKIN_TONES = (
    (246, 221, 205),
    (235, 192, 164),
    (210, 160, 124),
    (168, 116, 80),
    (122, 78, 51),
    (84, 53, 34),
    (52, 34, 26),
)
HAIR_TONES = (
    (12, 10, 10),
    (28, 20, 16),
    (60, 38, 24),
    (98, 66, 40),
    (160, 120, 74),
    (206, 172, 118),
    (150, 70, 36),
    (150, 148, 146),
    (226, 224, 220),
)


def linear(rgb: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Turn sRGB (..., 3) of 0-255 into linear light of 0-1."""
    value = np.asarray(rgb, dtype=float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def skin_tone(tone: float) -> np.ndarray:
    """Return sRGB (3,) 0-255 of a tone from 0 (very light) to 1 (very dark)."""
    stops = np.linspace(0, 1, len(SKIN_TONES))
    return np.array([np.interp(tone, stops, [rgb[channel] for rgb in SKIN_TONES]) for channel in range(3)])


def _near(points: np.ndarray, centre: np.ndarray, radius_m: np.ndarray | float) -> np.ndarray:
    """Return a soft spot (n,) of 0 to 1 about a centre; the radius may differ by axis."""
    return np.exp(-(((points - centre) / radius_m) ** 2).sum(axis=1))


def _brows(rest: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Return how much of a brow (n,) lies over points near a resting eye (3,) m."""
    outward = np.sign(eye[0])
    along = (rest[:, 0] - eye[0]) * outward
    arch = eye[2] + 0.021 + 0.006 * np.cos((along - 0.004) / 0.013) - 0.004
    inside = (along > -0.019) & (along < 0.026) & (rest[:, 1] < eye[1] + 0.02)
    return inside * np.exp(-(((rest[:, 2] - arch) / 0.0042) ** 2))


def skin_piece(
    rng: np.random.Generator,
    shaped: np.ndarray,
    hidden: np.ndarray,
    tone: float,
    hair: np.ndarray,
    beard: float,
) -> Piece:
    """Return the visible skin of a shaped body (V, 3) m; `hidden` (V,) marks what clothes cover."""
    body, rest = load_body(), base_regions().rest
    quads = body.faces["body"]
    quads = quads[~hidden[quads].all(axis=1)]
    used, faces = np.unique(quads, return_inverse=True)
    at = rest[used]
    colour = np.tile(linear(skin_tone(tone)), (len(used), 1))
    eye = body.vertices[np.unique(body.faces["helper-l-eye"])].mean(axis=0)
    mirrored = eye * MIRROR
    cheek = np.array([0.012, -0.01, -0.045])
    mouth = body.vertices[np.unique(body.faces["helper-upper-teeth"])]
    lip_centre = np.array([0, mouth[:, 1].min(), mouth[:, 2].min() - 0.002])
    lips = _lip_mask()[used]
    flush = sum(_near(at, spot, 0.022) for spot in (eye + cheek, mirrored + cheek * MIRROR))
    flush = np.clip(flush + _near(at, lip_centre + np.array([0, -0.02, 0.035]), 0.014), 0, 1)[:, None]
    colour = colour * (1 - flush * [0.02, 0.14, 0.14])
    mottle = rng.normal(0, 1, (len(used), 1)) * 0.035
    colour = colour * (1 + mottle)
    lip_tint = np.array([0.85, 0.52, 0.52]) * rng.uniform(0.85, 1.0)
    colour = colour * (1 - 0.8 * lips[:, None] * (1 - lip_tint))
    sockets = np.clip(_near(at, eye, [0.03, 0.05, 0.016]) + _near(at, mirrored, [0.03, 0.05, 0.016]), 0, 1)
    colour = colour * (1 - 0.22 * sockets[:, None])
    brow = np.clip(_brows(at, eye) + _brows(at, mirrored), 0, 1)[:, None] * rng.uniform(0.5, 0.95)
    colour = colour * (1 - brow) + hair * 0.45 * brow
    if beard > 0:
        colour = _grow_beard(colour, at, lip_centre, lips, hair, beard)
    return Piece(
        "skin",
        shaped[used],
        faces.reshape(quads.shape).astype(np.int32),
        body.bones[used],
        body.weights[used],
        np.zeros((0, 2)),
        np.clip(colour, 0, 1),
    )


def _lip_mask() -> np.ndarray:
    """Return (V,) how red a vertex is with lip: those a lip's volume target moves."""
    mask = np.zeros(len(load_body().vertices))
    for name in ("mouth/mouth-upperlip-volume-incr", "mouth/mouth-lowerlip-volume-incr"):
        indices, offsets = load_target(name)
        length = np.linalg.norm(offsets, axis=1)
        mask[indices] = np.maximum(mask[indices], np.clip(length / length.max() * 1.6, 0, 1))
    return mask


def _grow_beard(
    colour: np.ndarray, at: np.ndarray, lip: np.ndarray, lips: np.ndarray, hair: np.ndarray, beard: float
) -> np.ndarray:
    chin = np.clip((lip[2] + 0.02 - at[:, 2]) / 0.02, 0, 1) * np.clip(
        (at[:, 2] - lip[2] + 0.075) / 0.02, 0, 1
    )
    front = np.clip((-0.02 - at[:, 1]) / 0.03, 0, 1)
    grown = (chin * front * (1 - lips) * beard * (np.abs(at[:, 0]) < 0.09))[:, None]
    return colour * (1 - grown) + hair * grown


def eyes_piece(rng: np.random.Generator, shaped: np.ndarray) -> Piece:
    """Return both eyeballs with their irises."""
    body = load_body()
    quads = np.concatenate([body.faces["helper-l-eye"], body.faces["helper-r-eye"]])
    used, faces = np.unique(quads, return_inverse=True)
    points = shaped[used]
    iris = linear(
        ((62, 38, 22), (40, 26, 18), (86, 104, 120), (84, 90, 58), (110, 78, 44))[
            rng.choice(5, p=[0.4, 0.35, 0.08, 0.07, 0.1])
        ]
    )
    colours = np.tile(linear((224, 218, 212)), (len(used), 1))
    for half in (points[:, 0] > 0, points[:, 0] <= 0):
        centre = (points[half].min(axis=0) + points[half].max(axis=0)) / 2
        angle = np.arccos(np.clip(-unit(points - centre)[:, 1], -1, 1))
        colours = np.where((half & (angle < 0.62))[:, None], iris, colours)
        colours = np.where((half & (angle < 0.22))[:, None], 0.01, colours)
    return Piece(
        "eyes",
        points,
        faces.reshape(quads.shape).astype(np.int32),
        body.bones[used],
        body.weights[used],
        np.zeros((0, 2)),
        colours,
    )


def cloth_pattern(rng: np.random.Generator, size_px: int = 256) -> np.ndarray:
    """Draw a cloth's colours: uint8 BGR (size, size, 3) that spans one metre and may repeat."""
    hue, grey = rng.uniform(0, 180), rng.random() < 0.4

    def colour() -> np.ndarray:
        hsv = [
            (hue + rng.normal(0, 25)) % 180,
            0 if grey else rng.uniform(40, 210),
            rng.choice([rng.uniform(15, 70), rng.uniform(90, 245)]),
        ]
        return cv2.cvtColor(np.uint8([[hsv]]), cv2.COLOR_HSV2BGR)[0, 0].astype(float)

    first, second = colour(), colour()
    row, column = np.mgrid[0:size_px, 0:size_px] / size_px
    kind = rng.choice(["plain", "stripes", "checks", "dots", "print"], p=[0.5, 0.17, 0.13, 0.05, 0.15])
    pitch = 1 / rng.integers(8, 36)
    mask = np.zeros((size_px, size_px))
    if kind == "stripes":
        along = row if rng.random() < 0.75 else column
        mask = (along / pitch % 1 < rng.uniform(0.15, 0.55)).astype(float)
    elif kind == "checks":
        mask = (row / pitch % 1 < 0.5) * 0.5 + (column / pitch % 1 < 0.5) * 0.5
    elif kind == "dots":
        mask = (np.hypot(row / pitch % 1 - 0.5, column / pitch % 1 - 0.5) < 0.25).astype(float)
    elif kind == "print":
        mask = _chest_print(rng, size_px)
    image = first * (1 - mask[..., None]) + second * mask[..., None]
    grain = cv2.GaussianBlur(rng.normal(0, 10, (size_px, size_px, 1)), (3, 3), 0)[..., None]
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _chest_print(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Return a mask of letters at the chest, (size, size) of 0 to 1."""
    mask = np.zeros((size_px, size_px), dtype=np.float32)
    word = "".join(rng.choice(list("ABCDEHKLMNORSTX"), rng.integers(2, 5)))
    scale = rng.uniform(0.7, 1.4)
    (wide, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, 3)
    # The texture's middle column is the body's middle, and row v is at v metres below 1 m.
    at = (size_px // 2 - wide // 2, int(size_px * (1 - 0.43)))
    cv2.putText(mask, word, at, cv2.FONT_HERSHEY_DUPLEX, scale, 1.0, 3, cv2.LINE_AA)
    return mask
