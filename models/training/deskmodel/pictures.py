"""What the network is trained on: pictures of the manifests, each time another crop, light and lens."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deskmodel.data import Picture, Rgb, load_rgb
from deskmodel.labels import LABELS

Boxes = npt.NDArray[np.float32]

MAX_SIDE_PX = 640
"""Pictures are kept in memory at most so large: about the camera's own size."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture as the network sees it, and what is known of it."""

    pixels: Rgb
    """(height, width, 3)."""
    boxes: Boxes
    """(n, 4), x0 y0 x1 y1 in pixels."""
    class_ids: npt.NDArray[np.int64]
    """(n,)."""
    sure: npt.NDArray[np.float32]
    """(labels,): how much a detection of each label without a box counts as false, 0–1."""


class Pictures:
    """Loads pictures once, and gives samples of them."""

    def __init__(self, pictures: Sequence[Picture], size_px: tuple[int, int], unsure: float) -> None:
        """Take the input's (width, height), and how much a label counts that may be there without a box."""
        self._pictures, self._size_px = pictures, size_px
        self._sure = [_sure(picture, unsure) for picture in pictures]
        with ThreadPoolExecutor(2) as pool:
            self._pixels = list(pool.map(_load, (picture.image for picture in pictures)))

    def __len__(self) -> int:
        return len(self._pictures)

    def plain(self, index: int) -> Sample:
        """Return a picture as the firmware would feed it: stretched to the input."""
        return self._warped(index, _stretch(self._pixels[index].shape, self._size_px))

    def varied(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a picture mirrored, cropped, shrunk, recoloured and spoilt by chance."""
        if rng.random() < 0.12:
            return self._mosaic(index, rng)
        sample = self._warped(index, _random_warp(self._pixels[index].shape, self._size_px, rng))
        return Sample(spoil(sample.pixels, rng), sample.boxes, sample.class_ids, sample.sure)

    def batches(
        self, size: int, rng: np.random.Generator, weights: npt.NDArray[np.float64]
    ) -> Iterator[list[Sample]]:
        """Yield one epoch: as many samples as pictures, drawn by weight, made in the background."""
        order = _draw(weights, rng)
        seeds = rng.integers(0, 2**63, len(order))
        jobs = [(int(index), int(seed)) for index, seed in zip(order, seeds, strict=True)]
        cut = [jobs[i : i + size] for i in range(0, len(jobs) - size + 1, size)]
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._batch, part) for part in cut[:3]]
            for i in range(len(cut)):
                samples = ahead[i].result()
                if i + 3 < len(cut):
                    ahead.append(pool.submit(self._batch, cut[i + 3]))
                yield samples

    def _batch(self, jobs: list[tuple[int, int]]) -> list[Sample]:
        return [self.varied(index, np.random.default_rng(seed)) for index, seed in jobs]

    def _mosaic(self, index: int, rng: np.random.Generator) -> Sample:
        """Return four pictures in one, each a quarter: small things, and strange neighbours."""
        width, height = self._size_px
        canvas = np.zeros((height, width, 3), np.uint8)
        chosen = [index, *rng.integers(0, len(self), 3).tolist()]
        boxes, class_ids = [], []
        x, y = int(width * rng.uniform(0.35, 0.65)), int(height * rng.uniform(0.35, 0.65))
        corners = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
        for chosen_index, (x0, y0, x1, y1) in zip(chosen, corners, strict=True):
            size_px = (x1 - x0, y1 - y0)
            warp = _random_warp(self._pixels[chosen_index].shape, size_px, rng)
            part = self._warped(chosen_index, warp, size_px)
            canvas[y0:y1, x0:x1] = part.pixels
            boxes.append(part.boxes + np.array([x0, y0, x0, y0], np.float32))
            class_ids.append(part.class_ids)
        sure = np.min([self._sure[i] for i in chosen], axis=0)
        return Sample(spoil(canvas, rng), np.concatenate(boxes), np.concatenate(class_ids), sure)

    def _warped(
        self, index: int, warp: npt.NDArray[np.float64], size_px: tuple[int, int] | None = None
    ) -> Sample:
        picture, pixels = self._pictures[index], self._pixels[index]
        size_px = size_px or self._size_px
        # Shrinking by more than two skips pixels: the firmware halves first too.
        if max(abs(warp[0, 0]), abs(warp[1, 1])) < 0.5:
            pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            warp = warp @ np.diag(
                [
                    self._pixels[index].shape[1] / pixels.shape[1],
                    self._pixels[index].shape[0] / pixels.shape[0],
                    1.0,
                ]
            )
        # OpenCV counts from the middle of a pixel, boxes from its edge.
        by_middles = _moved(-0.5) @ warp @ _moved(0.5)
        result = cv2.warpAffine(pixels, by_middles[:2], size_px, flags=cv2.INTER_LINEAR)
        class_ids, fractions = picture.box_array()
        height, width = pixels.shape[:2]
        ends = fractions.reshape(-1, 2, 2) * (width, height) @ warp[:2, :2].T + warp[:2, 2]
        low, high = ends.min(axis=1), ends.max(axis=1)
        seen_low = np.clip(low, 0, size_px)
        seen_high = np.clip(high, 0, size_px)
        area = np.prod(high - low, axis=1)
        seen = np.prod(seen_high - seen_low, axis=1)
        side = (seen_high - seen_low).min(axis=1, initial=np.inf) if len(low) else np.zeros(0)
        kept = (seen > 0.25 * area) & (side >= 3.0)
        boxes = np.concatenate([seen_low, seen_high], axis=1)[kept].astype(np.float32)
        return Sample(result, boxes, class_ids[kept], self._sure[index])  # type: ignore[arg-type]


def batch(samples: Sequence[Sample]) -> Tensor:
    """Return samples as the network takes them: RGB in 0–1, (n, 3, height, width)."""
    stacked = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
    return (
        stacked.permute(0, 3, 1, 2)
        .to(torch.float32)
        .div_(255.0)
        .contiguous(memory_format=torch.channels_last)
    )


def spoil(pixels: Rgb, rng: np.random.Generator) -> Rgb:
    """Return a picture as a cheap camera in poor light might have taken it; often as it is."""
    if rng.random() < 0.7:
        gain = rng.uniform(0.75, 1.3, 3) ** (0.4 if rng.random() < 0.6 else 1.0) * rng.uniform(0.6, 1.35)
        gamma = rng.uniform(0.75, 1.4)
        levels = np.arange(256)[:, None] / 255.0
        table = np.clip(levels**gamma * gain * 255.0 + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
        pixels = cv2.LUT(pixels, table[None])  # type: ignore[assignment]
    if rng.random() < 0.25:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(rng.uniform(0.2, 1.0))
        pixels = cv2.addWeighted(grey, share, pixels, 1.0 - share, 0.0)  # type: ignore[assignment]
    chance = rng.random()
    if chance < 0.12:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 1.6)))  # type: ignore[assignment]
    elif chance < 0.2:
        length = int(rng.integers(2, 7))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0)
        pixels = cv2.filter2D(pixels, -1, kernel / max(float(kernel.sum()), 1.0))  # type: ignore[assignment]
    if rng.random() < 0.25:
        noise = rng.normal(0.0, rng.uniform(2.0, 14.0), pixels.shape).astype(np.float32)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return pixels


def _load(path: str) -> Rgb:
    pixels = load_rgb(path)
    scale = MAX_SIDE_PX / max(pixels.shape[:2])
    if scale < 1.0:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return pixels


def _sure(picture: Picture, unsure: float) -> npt.NDArray[np.float32]:
    values = [
        1.0 if label in picture.known else unsure if label in picture.ignore else 0.0 for label in LABELS
    ]
    return np.array(values, np.float32)


def _moved(by_px: float) -> npt.NDArray[np.float64]:
    return np.array([[1.0, 0.0, by_px], [0.0, 1.0, by_px], [0.0, 0.0, 1.0]])


def _stretch(shape: tuple[int, ...], size_px: tuple[int, int]) -> npt.NDArray[np.float64]:
    return np.diag([size_px[0] / shape[1], size_px[1] / shape[0], 1.0])


def _random_warp(
    shape: tuple[int, ...], size_px: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the 3×3 map from picture to input: mirrored, zoomed, squeezed and moved by chance."""
    height, width = shape[:2]
    zoom = np.exp(rng.uniform(np.log(0.6), np.log(1.7)))
    squeeze = np.exp(rng.uniform(-0.18, 0.18))
    if rng.random() < 0.35:
        # Its aspect kept, as far as the squeeze lets it.
        fit = (
            max(size_px[0] / width, size_px[1] / height)
            if rng.random() < 0.5
            else min(size_px[0] / width, size_px[1] / height)
        )
        scale = np.array([fit, fit]) * zoom
    else:
        scale = np.array(size_px) / (width, height) * zoom
    scale *= (squeeze, 1.0 / squeeze)
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.deg2rad(rng.normal(0.0, 2.0)) if rng.random() < 0.2 else 0.0
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    warp = np.eye(3)
    warp[:2, :2] = np.diag(scale) @ rotation @ np.diag([mirrored, 1.0])
    # The middle of the picture lands where some of it is always seen.
    spare = np.abs(np.array(size_px) - scale * (width, height)) / 2.0
    middle = np.array(size_px) / 2.0 + rng.uniform(-1.0, 1.0, 2) * (spare + 0.08 * np.array(size_px))
    warp[:2, 2] = middle - warp[:2, :2] @ (width / 2.0, height / 2.0)
    return warp


def _draw(weights: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return as many indexes as weights, each about as often as its weight over the mean says."""
    expected = weights / weights.mean()
    times = np.floor(expected + rng.random(len(weights))).astype(np.int64)
    return rng.permutation(np.repeat(np.arange(len(weights)), times))
