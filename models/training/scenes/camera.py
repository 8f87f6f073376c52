"""A cheap camera's flaws, put on a clean linear picture: lens, exposure, colour, noise, sharpening, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Sensor:
    """One camera: gains as used by `expose`; `noise` is the deviation at mid grey, blurs in pixels."""

    exposure: float  # mean level aimed at, 0–1
    balance: tuple[float, float, float]
    vignette: float
    barrel: float
    defocus_px: float
    motion_px: float
    motion_rad: float
    noise: float
    chroma: float
    sharpen: float
    contrast: float
    saturation: float
    quality: int


def draw_sensor(rng: np.random.Generator, dim: bool) -> Sensor:
    """Choose a camera; in dim light it is noisier, slower and darker."""
    warm, green = float(rng.normal(0, 0.09)), float(rng.normal(0, 0.03))
    moving = rng.random() < (0.35 if dim else 0.15)
    return Sensor(
        exposure=float(np.clip(rng.normal(0.36 if dim else 0.45, 0.08), 0.2, 0.68)),
        balance=(1 + warm, 1 + green, 1 - warm),
        vignette=float(rng.uniform(0, 0.45)),
        barrel=float(rng.normal(0, 0.05)),
        defocus_px=float(rng.choice([0, rng.uniform(0.3, 0.9), rng.uniform(0.9, 2.0)], p=[0.5, 0.38, 0.12])),
        motion_px=float(rng.uniform(1.5, 8)) if moving else 0.0,
        motion_rad=float(rng.uniform(0, np.pi)),
        noise=float(rng.uniform(0.01, 0.06) if dim else rng.gamma(2.0, 0.006)),
        chroma=float(rng.uniform(0, 0.7)),
        sharpen=float(rng.choice([0, rng.uniform(0.2, 1.4)])),
        contrast=float(rng.normal(1.05, 0.12)),
        saturation=float(np.clip(rng.normal(1.0, 0.2), 0.3, 1.6)),
        quality=int(rng.integers(35, 96)),
    )


def distort(sensor: Sensor, picture: np.ndarray, exact: bool) -> np.ndarray:
    """Bend a picture or index map (h, w, ...) as the lens does; exact: keep values, take the nearest."""
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    half = np.float32(max(width, height) / 2)
    u, v = (x - width / 2) / half, (y - height / 2) / half
    # Scaled so that no empty corner comes into the frame.
    reach = 1 + (height**2 + width**2) / (4 * half**2) * max(sensor.barrel, 0.0)
    scale = ((1 + sensor.barrel * (u * u + v * v)) / reach).astype(np.float32)
    return cv2.remap(
        picture,
        u * scale * half + width / 2,
        v * scale * half + height / 2,
        cv2.INTER_NEAREST if exact else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _blur(sensor: Sensor, picture: np.ndarray) -> np.ndarray:
    if sensor.defocus_px:
        picture = cv2.GaussianBlur(picture, (0, 0), sensor.defocus_px)
    if sensor.motion_px:
        size = int(sensor.motion_px) * 2 + 3
        kernel = np.zeros((size, size), np.float32)
        reach = np.array([np.cos(sensor.motion_rad), np.sin(sensor.motion_rad)]) * sensor.motion_px / 2
        a, b = (np.round((size // 2 + way * reach) * 16).astype(int) for way in (-1, 1))
        cv2.line(kernel, tuple(int(v) for v in a), tuple(int(v) for v in b), 1.0, 1, cv2.LINE_AA, 4)
        picture = cv2.filter2D(picture, -1, kernel / max(kernel.sum(), 1e-6))
    return picture


def _meter(linear: np.ndarray, wanted: float) -> float:
    """Return the gain that brings the picture's middle to a level, highlights clipped as a meter would."""
    height, width = linear.shape[:2]
    grey = linear[height // 8 :, width // 10 : -width // 10].mean(axis=2)
    gain = 1.0 / max(float(grey.mean()), 1e-5)
    for _ in range(8):
        level = float((np.minimum(grey * gain, 1.0) ** (1 / 2.2)).mean())
        gain *= (wanted / max(level, 1e-3)) ** 1.6
    return gain


def expose(sensor: Sensor, linear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what the camera makes of linear RGB (h, w, 3): uint8 RGB, before JPEG."""
    picture = _blur(sensor, np.maximum(linear.astype(np.float32), 0))
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    picture *= (1 - sensor.vignette * radius)[..., None]
    picture *= _meter(picture, sensor.exposure) * np.array(sensor.balance, np.float32)
    # Shot noise grows with the root of the light; the rest is read noise. Colour noise is coarser.
    grain = rng.standard_normal((height, width, 1)).astype(np.float32)
    small = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3)).astype(np.float32)
    colour = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    spread = sensor.noise * (0.25 + np.sqrt(np.clip(picture, 0, 1)))
    picture = picture + spread * ((1 - sensor.chroma) * grain + sensor.chroma * colour)
    picture = np.clip(picture, 0, None)
    picture = np.where(picture < 0.8, picture, 1 - 0.2 * np.exp(-(picture - 0.8) / 0.2))  # a soft shoulder
    picture = np.clip(picture, 0, 1) ** np.float32(1 / 2.2)
    picture = (picture - 0.45) * sensor.contrast + 0.45
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * sensor.saturation
    if sensor.sharpen:
        picture = picture + sensor.sharpen * (picture - cv2.GaussianBlur(picture, (0, 0), 1.1))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def to_jpeg(sensor: Sensor, rgb: np.ndarray) -> bytes:
    """Encode RGB uint8 (h, w, 3) at the camera's quality."""
    ok, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, sensor.quality])
    if not ok:
        raise ValueError(f"a picture of shape {rgb.shape} and type {rgb.dtype} could not be encoded as JPEG")
    return data.tobytes()
