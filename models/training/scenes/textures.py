"""Pictures for surfaces (wood, cloth, walls) and for the room's light, drawn and kept per process."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import bpy
import cv2
import numpy as np

from scenes import drawings

VARIANTS = 36  # of each kind: many enough for variety, few enough to hold in memory
Draw = Callable[[np.random.Generator], np.ndarray]


def image(rng: np.random.Generator, kind: str) -> bpy.types.Image:
    """Return one of the pictures of a kind (see `KINDS`), drawn on first use."""
    if kind not in KINDS:
        raise ValueError(f"texture kind must be one of {sorted(KINDS)}, not {kind!r}")
    variant = int(rng.integers(VARIANTS))
    name = f"pool.{kind}.{variant}"
    if name in bpy.data.images:
        return bpy.data.images[name]
    return _keep(name, KINDS[kind](np.random.default_rng([zlib.crc32(kind.encode()), variant])))


def _keep(name: str, rgb: np.ndarray) -> bpy.types.Image:
    """Store RGB (h, w, 3), uint8 sRGB or float32 linear, as a Blender image that survives between scenes."""
    height, width = rgb.shape[:2]
    is_float = rgb.dtype != np.uint8
    kept = bpy.data.images.new(name, width, height, float_buffer=is_float)
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = rgb[::-1] if is_float else rgb[::-1] / np.float32(255)
    kept.pixels.foreach_set(rgba.ravel())
    kept.use_fake_user = True
    return kept


def noise(
    rng: np.random.Generator, height_px: int, width_px: int, cells: tuple[int, int], octaves: int = 3
) -> np.ndarray:
    """Return smooth noise (h, w) in 0–1, with so many cells down and across."""
    total = np.zeros((height_px, width_px), np.float32)
    for octave in range(octaves):
        small = rng.random((cells[0] * 2**octave + 1, cells[1] * 2**octave + 1)).astype(np.float32)
        total += cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC) / 2**octave
    return (total - total.min()) / (np.ptp(total) + 1e-6)


def _mix(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Blend two colours by a map (h, w) into uint8."""
    return np.clip(low + (high - low) * share[..., None], 0, 255).astype(np.uint8)


def wood(rng: np.random.Generator) -> np.ndarray:
    """Draw boards seen from above, grain across."""
    tone = np.array(
        [[222, 188, 140], [176, 128, 80], [120, 78, 46], [70, 44, 28], [205, 180, 150], [44, 30, 24]]
    )
    base = tone[rng.integers(len(tone))] * rng.uniform(0.85, 1.1)
    warp = noise(rng, 384, 768, (5, 2))
    lines = np.linspace(0, rng.uniform(6, 22), 384)[:, None] + warp * rng.uniform(1, 5)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * lines)
    fine = noise(rng, 384, 768, (120, 5), 2)
    share = np.clip(0.45 * grain + 0.55 * fine, 0, 1)
    picture = _mix(base * rng.uniform(0.6, 0.85), base * 1.08, share)
    if rng.random() < 0.4:  # joints between boards
        for y in np.linspace(0, 384, int(rng.integers(4, 8)))[1:-1]:
            cv2.line(picture, (0, int(y)), (768, int(y)), tuple(float(v) for v in base * 0.4), 1)
    return picture


def laminate(rng: np.random.Generator) -> np.ndarray:
    """Draw an even or speckled board, stone or marble."""
    grey = rng.choice([rng.uniform(15, 50), rng.uniform(90, 160), rng.uniform(205, 245)])
    tint = np.array([grey] * 3) * rng.uniform(0.94, 1.04, 3)
    kind = rng.random()
    share = noise(rng, 384, 768, (3, 5), 4)
    if kind < 0.25:
        share = np.abs(share - 0.5) * 6  # veins
    elif kind < 0.5:
        share = (rng.random((384, 768)) > 0.5).astype(np.float32)
    depth = rng.uniform(0.85, 0.98)
    return _mix(tint * depth, tint, np.clip(share, 0, 1))


def cloth(rng: np.random.Generator) -> np.ndarray:
    """Draw woven cloth, plain, striped or checked."""
    base = np.array(drawings.any_rgb(rng), float)
    other = np.array(drawings.any_rgb(rng), float)
    y, x = np.mgrid[0:256, 0:256]
    weave = ((x + y) % 4 < 2).astype(np.float32) * 0.3 + noise(rng, 256, 256, (40, 40), 2) * 0.5
    picture = _mix(base * 0.8, base * 1.05, weave).astype(float)
    if rng.random() < 0.45:
        period = int(rng.integers(12, 64))
        band = (x // period % 2 == 0) if rng.random() < 0.6 else ((x // period + y // period) % 2 == 0)
        picture[band] = picture[band] * 0.4 + other * 0.6
    return np.clip(picture, 0, 255).astype(np.uint8)


def wall(rng: np.random.Generator) -> np.ndarray:  # noqa: C901 - a branch a kind of wall
    """Draw plaster, wallpaper, bricks, tiles or panels."""
    pale = np.array(drawings.any_rgb(rng, (0.0, 0.35), (0.55, 0.97)), float)
    base = pale if rng.random() < 0.8 else np.array(drawings.any_rgb(rng, (0.1, 0.7), (0.15, 0.6)), float)
    picture = _mix(base * 0.94, base * 1.02, noise(rng, 512, 512, (6, 6), 4))
    kind = rng.random()
    line = tuple(float(v) for v in base * rng.uniform(0.6, 0.95))
    if kind < 0.12:
        for row in range(24):
            for column in range(-1, 8):
                x, y = column * 64 + (row % 2) * 32, row * 22
                tone = np.array([165, 90, 68]) * rng.uniform(0.6, 1.2)
                cv2.rectangle(picture, (x + 2, y + 2), (x + 61, y + 19), tuple(float(v) for v in tone), -1)
    elif kind < 0.25:
        for x in range(0, 512, int(rng.integers(20, 90))):
            cv2.line(picture, (x, 0), (x, 511), line, int(rng.integers(1, 14)))
    elif kind < 0.35:
        step = int(rng.integers(30, 90))
        for y in range(0, 512, step):
            for x in range(0, 512, step):
                cv2.circle(
                    picture, (x + (y // step % 2) * step // 2, y), step // 5, line, int(rng.choice([-1, 2]))
                )
    elif kind < 0.45:
        for v in range(0, 512, 64):
            cv2.line(picture, (v, 0), (v, 511), line, 2)
            cv2.line(picture, (0, v), (511, v), line, 2)
    return picture


def outdoors(rng: np.random.Generator) -> np.ndarray:
    """Draw what a window shows: sky, trees, houses, out of focus; sometimes night."""
    night = rng.random() < 0.2
    top, low = ((12, 16, 34), (40, 36, 48)) if night else ((120, 165, 225), (235, 240, 246))
    ramp = np.linspace(0, 1, 256)[:, None].repeat(256, 1).astype(np.float32)
    picture = _mix(np.array(top, float), np.array(low, float), ramp)
    for _ in range(int(rng.integers(2, 7))):
        x, w, h = (int(rng.integers(*span)) for span in ((-40, 256), (30, 110), (30, 150)))
        cv2.rectangle(picture, (x, 256 - h), (x + w, 256), drawings.any_rgb(rng, (0, 0.4), (0.1, 0.7)), -1)
        for _ in range(6 * night):
            spot = (int(x + rng.integers(w)), int(256 - rng.integers(h)))
            cv2.circle(picture, spot, 3, (255, 220, 150), -1)
    for _ in range(int(rng.integers(0, 30))):
        green = np.array([60, 105, 45]) * rng.uniform(0.2 if night else 0.5, 1.4)
        spot = (int(rng.integers(256)), int(rng.integers(140, 256)))
        cv2.circle(picture, spot, int(rng.integers(8, 40)), tuple(float(v) for v in green), -1)
    return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1, 5)))


def surroundings(rng: np.random.Generator) -> bpy.types.Image:
    """Return a blurred room as an equirectangular light map (128×256, linear, mean about 0.5)."""
    variant = int(rng.integers(VARIANTS))
    name = f"pool.surroundings.{variant}"
    if name in bpy.data.images:
        return bpy.data.images[name]
    rng = np.random.default_rng([7, variant])
    up = np.linspace(1, -1, 128)[:, None].repeat(256, 1).astype(np.float32)
    level = np.where(
        up > 0.35, rng.uniform(0.5, 1.0), np.where(up < -0.3, rng.uniform(0.1, 0.3), rng.uniform(0.25, 0.6))
    )
    level = level * (0.6 + 0.8 * noise(rng, 128, 256, (4, 8)))
    rgb = level[..., None] * rng.uniform(0.85, 1.1, 3)
    warmth = float(rng.uniform(0, 1))
    lamp = np.array([1.0, 0.93 - 0.25 * warmth, 0.9 - 0.5 * warmth])
    for _ in range(int(rng.integers(1, 4))):  # ceiling lamps
        x, y = int(rng.integers(256)), int(rng.integers(4, 36))
        w, h = int(rng.integers(4, 30)), int(rng.integers(3, 10))
        rgb[y : y + h, x : x + w] = lamp * rng.uniform(3, 14)
    for _ in range(int(rng.integers(0, 3))):  # windows
        x, y = int(rng.integers(256)), int(rng.integers(30, 48))
        w, h = int(rng.integers(10, 44)), int(rng.integers(16, 34))
        rgb[y : y + h, x : x + w] = np.array([0.85, 0.95, 1.1]) * rng.uniform(2, 10)
    for _ in range(int(rng.integers(2, 9))):  # furniture
        x, y = int(rng.integers(256)), int(rng.integers(48, 90))
        rgb[y : y + int(rng.integers(8, 36)), x : x + int(rng.integers(6, 40))] *= rng.uniform(0.2, 1.5, 3)
    rgb = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), float(rng.uniform(0.6, 2.0)))
    return _keep(name, rgb * np.float32(0.5 / rgb.mean()))


KINDS: dict[str, Draw] = {
    "wood": wood,
    "laminate": laminate,
    "cloth": cloth,
    "wall": wall,
    "outdoors": outdoors,
    "page": drawings.page,
    "cover": drawings.cover,
    "spines": drawings.spines,
    "screen": drawings.screen,
    "phone": drawings.phone_screen,
    "wrap": drawings.wrap,
    "photo": drawings.photo,
    "card": drawings.card,
    "note": drawings.note,
}
