"""What is before a camera, as it should be and in every way that it should not, with a sensor's noise."""

import functools

import cv2
import numpy as np

from tests.clip import frame_at

NOISES = 16


@functools.cache
def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 2, (480, 640, 1)).astype(np.int16)


def noisy(picture: np.ndarray, number: int) -> np.ndarray:
    return np.clip(picture.astype(np.int16) + noise(number % NOISES), 0, 255).astype(np.uint8)


@functools.cache
def room() -> np.ndarray:
    """The desk of the project's clip, uint8 RGB."""
    return np.ascontiguousarray(frame_at(5.0)[:, :, ::-1])


def good(number: int) -> np.ndarray:
    return noisy(room(), number)


def black(number: int) -> np.ndarray:
    return noisy(np.zeros((480, 640, 3), np.uint8), number)


def taped(number: int) -> np.ndarray:
    return noisy(np.full((480, 640, 3), (66, 60, 52), np.uint8), number)


def white(number: int) -> np.ndarray:
    return np.maximum(noisy(np.full((480, 640, 3), 255, np.uint8), number), 252)


def window(number: int) -> np.ndarray:
    """A window that fills a third of the picture."""
    picture = room().copy()
    picture[:, 400:] = 255
    return np.maximum(noisy(picture, number), np.where(picture == 255, 253, 0).astype(np.uint8))


def evening(number: int) -> np.ndarray:
    return noisy(room() // 8, number)


@functools.cache
def _soft() -> np.ndarray:
    return cv2.GaussianBlur(room(), (0, 0), 12)


def blurred(number: int) -> np.ndarray:
    return noisy(_soft(), number)


def still(_number: int) -> np.ndarray:
    return room()


def turned(at: int):
    """The same until frame `at`; from there on another part of the room."""

    def scene(number: int) -> np.ndarray:
        seen = room() if number < at else np.roll(room(), (200, 330), axis=(0, 1))[:, ::-1]
        return noisy(seen, number)

    return scene
