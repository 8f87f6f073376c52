"""Flat things drawn with OpenCV: pages, covers, screens, labels; all RGB uint8 (h, w, 3), top row first."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

Rgb = tuple[int, int, int]
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
LETTERS = np.array(list("eeeeaaaoootttiiinnnssrrhhlldcumfpgwybvkxjqz"))


def any_rgb(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.0, 0.8),
    value: tuple[float, float] = (0.08, 0.95),
) -> Rgb:
    """Return a random colour within a range of saturation and value."""
    rgb = colorsys.hsv_to_rgb(
        float(rng.random()), float(rng.uniform(*saturation)), float(rng.uniform(*value))
    )
    return tuple(int(255 * v) for v in rgb)


def _words(rng: np.random.Generator, letters: int) -> str:
    text = "".join(rng.choice(LETTERS, letters))
    gaps = np.sort(rng.choice(np.arange(2, max(letters - 1, 3)), max(letters // 6, 1)))
    return " ".join(text[a:b] for a, b in zip([0, *gaps], [*gaps, letters], strict=True))


def _blank(height_px: int, width_px: int, colour: Rgb) -> np.ndarray:
    return np.full((height_px, width_px, 3), colour, np.uint8)


def _lines(
    rng: np.random.Generator, canvas: np.ndarray, area: tuple[int, int, int, int], ink: Rgb, step_px: int
) -> None:
    """Fill an area (x0, y0, x1, y1) with lines of small text, ragged on the right."""
    x0, y0, x1, y1 = area
    scale = step_px / 34
    for y in range(y0 + step_px, y1, step_px):
        if rng.random() < 0.1:
            continue
        fits = max(int((x1 - x0) / (20 * scale)), 3)
        count = fits if rng.random() < 0.7 else int(rng.integers(2, fits + 1))
        cv2.putText(canvas, _words(rng, count), (x0, y), FONTS[0], scale, ink, 1, cv2.LINE_AA)


def _chart(rng: np.random.Generator, canvas: np.ndarray, area: tuple[int, int, int, int]) -> None:
    """Draw bars or a curve in an area."""
    x0, y0, x1, y1 = area
    colour = any_rgb(rng, (0.4, 0.9), (0.4, 0.9))
    cv2.rectangle(canvas, (x0, y0), (x1, y1), (150, 150, 150), 1)
    xs = np.linspace(x0 + 4, x1 - 4, int(rng.integers(5, 14))).astype(int)
    ys = rng.integers(y0 + 3, y1 - 3, len(xs))
    if rng.random() < 0.5:
        cv2.polylines(canvas, [np.stack([xs, ys], 1)], False, colour, 2, cv2.LINE_AA)  # noqa: FBT003
        return
    for x, y in zip(xs, ys, strict=True):
        cv2.rectangle(canvas, (int(x), int(y)), (int(x) + 8, y1 - 2), colour, -1)


def _scrawl(
    rng: np.random.Generator, canvas: np.ndarray, area: tuple[int, int, int, int], ink: Rgb, step_px: int
) -> None:
    """Fill an area with lines of handwriting-like waves."""
    x0, y0, x1, y1 = area
    for y in range(y0 + step_px, y1 - 4, step_px):
        if rng.random() < 0.15:
            continue
        end = int(x0 + (x1 - x0) * rng.uniform(0.4, 1))
        xs = np.arange(x0, end, 2)
        tall = step_px * 0.3
        ys = y + tall * np.sin(xs * rng.uniform(0.5, 0.9) + rng.normal(0, 1, len(xs))) * rng.uniform(
            0.3, 1, len(xs)
        )
        word = 0
        while word < len(xs):
            stop = word + int(rng.integers(6, 22))
            line = np.stack([xs[word:stop], ys[word:stop]], 1).astype(np.int32)
            cv2.polylines(canvas, [line], False, ink, 1, cv2.LINE_AA)  # noqa: FBT003
            word = stop + 5


def page(rng: np.random.Generator) -> np.ndarray:
    """Draw a sheet: blank, printed, ruled, hand-written, squared or a form."""
    paper = tuple(
        int(v) for v in rng.uniform(232, 255) * np.array([1, rng.uniform(0.97, 1), rng.uniform(0.86, 1)])
    )
    canvas = _blank(512, 362, paper)
    kind = rng.random()
    if kind < 0.1:
        return canvas
    ink = (30, 30, 34) if rng.random() < 0.6 else (24, 40, 120)
    if kind < 0.5:
        cv2.putText(canvas, _words(rng, 14), (36, 56), FONTS[1], 0.7, ink, 2, cv2.LINE_AA)
        split = int(rng.integers(150, 470))
        _lines(rng, canvas, (36, 76, 330, split), ink, int(rng.integers(9, 15)))
        if split < 360:
            _chart(rng, canvas, (60, split + 12, 300, split + 110))
            _lines(rng, canvas, (36, split + 122, 330, 480), ink, 11)
        return canvas
    rule = (150, 175, 215) if rng.random() < 0.7 else (190, 190, 190)
    step = int(rng.integers(13, 24))
    if kind < 0.85:
        for y in range(50, 500, step):
            cv2.line(canvas, (0, y), (361, y), rule, 1)
        if kind < 0.6:
            for x in range(0, 362, step):
                cv2.line(canvas, (x, 0), (x, 511), rule, 1)
        if rng.random() < 0.8:
            _scrawl(rng, canvas, (34, 36, 340, int(rng.integers(150, 500))), ink, step)
        return canvas
    for y in range(60, 480, 36):
        cv2.rectangle(canvas, (30, y), (332, y + 30), (120, 120, 120), 1)
        _lines(rng, canvas, (36, y, 150, y + 28), ink, 12)
    return canvas


def note(rng: np.random.Generator) -> np.ndarray:
    """Draw a sticky note."""
    choices = ((250, 235, 110), (255, 170, 190), (160, 225, 150), (150, 205, 250), (255, 200, 120))
    canvas = _blank(128, 128, choices[rng.integers(len(choices))])
    _scrawl(rng, canvas, (10, 8, 118, int(rng.integers(40, 120))), (30, 30, 60), 18)
    return canvas


def cover(rng: np.random.Generator) -> np.ndarray:
    """Draw the front of a book or notebook."""
    base = any_rgb(rng)
    canvas = _blank(384, 272, base)
    ink = (240, 240, 235) if sum(base) < 380 else (25, 25, 30)
    if rng.random() < 0.25:
        return canvas
    if rng.random() < 0.4:
        canvas[110:300, 20:252] = cv2.resize(photo(rng), (232, 190))
    for _ in range(int(rng.integers(0, 5))):
        spot = (int(rng.integers(272)), int(rng.integers(100, 384)))
        cv2.circle(canvas, spot, int(rng.integers(10, 90)), any_rgb(rng), -1, cv2.LINE_AA)
    font = FONTS[rng.integers(len(FONTS))]
    for i in range(int(rng.integers(1, 4))):
        cv2.putText(canvas, _words(rng, 9).upper(), (20, 50 + 36 * i), font, 0.9, ink, 2, cv2.LINE_AA)
    cv2.putText(canvas, _words(rng, 12), (20, 360), font, 0.5, ink, 1, cv2.LINE_AA)
    return canvas


def spines(rng: np.random.Generator) -> np.ndarray:
    """Draw one book spine, title along it."""
    base = any_rgb(rng)
    canvas = _blank(64, 384, base)
    ink = (240, 235, 220) if sum(base) < 380 else (30, 25, 25)
    cv2.putText(canvas, _words(rng, 16), (40, 42), FONTS[rng.integers(len(FONTS))], 0.9, ink, 2, cv2.LINE_AA)
    cv2.line(canvas, (16, 0), (16, 63), ink, 2)
    return np.ascontiguousarray(np.rot90(canvas))


def photo(rng: np.random.Generator) -> np.ndarray:
    """Draw something photo-like: soft blobs of colour over a horizon."""
    small = np.array([[any_rgb(rng) for _ in range(7)] for _ in range(5)], np.uint8)
    canvas = cv2.resize(small, (320, 200), interpolation=cv2.INTER_CUBIC)
    horizon = int(rng.integers(70, 150))
    canvas[:horizon] = canvas[:horizon] // 3 + np.array(any_rgb(rng, (0.1, 0.6), (0.5, 1.0))) // 3 * 2
    for _ in range(int(rng.integers(2, 8))):
        spot = (int(rng.integers(320)), int(rng.integers(60, 200)))
        cv2.ellipse(canvas, spot, tuple(int(v) for v in rng.integers(8, 70, 2)), 0, 0, 360, any_rgb(rng), -1)
    return cv2.GaussianBlur(canvas, (0, 0), 2.5)


def _window(rng: np.random.Generator, canvas: np.ndarray, area: tuple[int, int, int, int]) -> None:
    """Draw one application's window."""
    x0, y0, x1, y1 = area
    dark = rng.random() < 0.4
    back, ink = ((30, 32, 38), (200, 205, 210)) if dark else ((248, 248, 250), (40, 42, 48))
    cv2.rectangle(canvas, (x0, y0), (x1, y1), back, -1)
    cv2.rectangle(canvas, (x0, y0), (x1, y0 + 14), any_rgb(rng, (0, 0.6), (0.15, 0.9)), -1)
    inner = (x0 + 10, y0 + 22, x1 - 10, y1 - 8)
    kind = rng.random()
    if kind < 0.35:
        _lines(rng, canvas, inner, ink, int(rng.integers(9, 15)))
    elif kind < 0.55:  # code
        for y in range(inner[1], inner[3], 8):
            x = inner[0] + 12 * int(rng.integers(0, 4))
            while x < inner[2] - 40 and rng.random() < 0.8:
                w = int(rng.integers(10, 50))
                cv2.line(canvas, (x, y), (min(x + w, inner[2]), y), any_rgb(rng, (0.2, 0.7), (0.5, 0.95)), 3)
                x += w + 6
    elif kind < 0.75:  # spreadsheet
        for x in range(inner[0], inner[2], 46):
            cv2.line(canvas, (x, inner[1]), (x, inner[3]), (170, 170, 170), 1)
            for y in range(inner[1], inner[3], 14):
                cv2.line(canvas, (inner[0], y), (inner[2], y), (170, 170, 170), 1)
                if rng.random() < 0.5:
                    cv2.putText(canvas, str(rng.integers(9999)), (x + 3, y + 11), FONTS[0], 0.3, ink, 1)
    elif kind < 0.9:
        _chart(rng, canvas, inner)
    else:
        w, h = max(inner[2] - inner[0], 8), max(inner[3] - inner[1], 8)
        canvas[inner[1] : inner[1] + h, inner[0] : inner[0] + w] = cv2.resize(photo(rng), (w, h))


def screen(rng: np.random.Generator) -> np.ndarray:
    """Draw a desktop with windows, 640×400."""
    canvas = cv2.resize(photo(rng), (640, 400)) if rng.random() < 0.5 else _blank(400, 640, any_rgb(rng))
    if rng.random() < 0.5:
        _window(rng, canvas, (0, 0, 639, 380))
    for _ in range(int(rng.integers(0, 4))):
        x, y = int(rng.integers(0, 380)), int(rng.integers(0, 200))
        _window(rng, canvas, (x, y, x + int(rng.integers(160, 255)), y + int(rng.integers(110, 180))))
    cv2.rectangle(canvas, (0, 382), (639, 399), any_rgb(rng, (0, 0.4), (0.05, 0.9)), -1)
    for x in range(8, 200, 20):
        cv2.rectangle(canvas, (x, 386), (x + 11, 396), any_rgb(rng), -1)
    return canvas


def phone_screen(rng: np.random.Generator) -> np.ndarray:  # noqa: C901 - a branch a kind of screen
    """Draw a phone's screen, 224×480: lock screen, icons, chat, feed, keypad or a dark video."""
    dark = rng.random() < 0.4
    back, ink = ((18, 18, 22), (225, 225, 230)) if dark else ((246, 246, 248), (30, 30, 34))
    canvas = _blank(480, 224, back)
    kind = int(rng.integers(6))
    if kind in (0, 1):
        canvas = cv2.resize(photo(rng), (224, 480))
    if kind == 0:
        clock = f"{rng.integers(24):02}:{rng.integers(60):02}"
        cv2.putText(canvas, clock, (40, 110), FONTS[0], 1.6, (250, 250, 250), 3, cv2.LINE_AA)
    elif kind == 1:
        for y in range(50, 420, 62):
            for x in range(16, 200, 52):
                cv2.rectangle(canvas, (x, y), (x + 36, y + 36), any_rgb(rng, (0.2, 0.9), (0.3, 1)), -1)
    elif kind == 2:
        y = 60
        while y < 400:
            h, w, left = int(rng.integers(24, 70)), int(rng.integers(80, 160)), rng.random() < 0.5
            x = 10 if left else 214 - w
            bubble = (200, 200, 206) if left else any_rgb(rng, (0.4, 0.8), (0.5, 0.9))
            cv2.rectangle(canvas, (x, y), (x + w, y + h), bubble, -1)
            _lines(rng, canvas, (x + 6, y, x + w - 6, y + h), (40, 40, 44), 14)
            y += h + 12
    elif kind == 3:
        for y in range(44, 440, 150):
            canvas[y : y + 110, 8:216] = cv2.resize(photo(rng), (208, 110))
            _lines(rng, canvas, (10, y + 108, 214, y + 144), ink, 14)
    elif kind == 4:
        for i in range(12):
            spot = (48 + 64 * (i % 3), 190 + 64 * (i // 3))
            cv2.circle(canvas, spot, 25, (128, 128, 136), -1, cv2.LINE_AA)
            cv2.putText(canvas, str((i + 1) % 10), (spot[0] - 9, spot[1] + 10), FONTS[0], 0.9, ink, 2)
    else:
        canvas[150:300] = cv2.resize(photo(rng), (224, 150))
    cv2.putText(canvas, "12:30", (14, 20), FONTS[0], 0.4, ink, 1, cv2.LINE_AA)
    return canvas


def wrap(rng: np.random.Generator) -> np.ndarray:
    """Draw a label that goes around a can, bottle or packet, 128×256."""
    canvas = _blank(128, 256, any_rgb(rng, (0.2, 0.95)))
    for _ in range(int(rng.integers(1, 4))):
        y = int(rng.integers(0, 110))
        cv2.rectangle(canvas, (0, y), (255, y + int(rng.integers(6, 50))), any_rgb(rng), -1)
    for x in (10, 138):
        ink = (250, 250, 245) if rng.random() < 0.6 else any_rgb(rng)
        cv2.putText(canvas, _words(rng, 6).upper(), (x, 75), FONTS[2], 0.8, ink, 2, cv2.LINE_AA)
    return canvas


def card(rng: np.random.Generator) -> np.ndarray:
    """Draw an identity or bank card, 200×126."""
    canvas = cv2.resize(photo(rng), (200, 126)) if rng.random() < 0.4 else _blank(126, 200, any_rgb(rng))
    ink = (245, 245, 245) if canvas.mean() < 130 else (30, 30, 34)
    cv2.rectangle(canvas, (16, 40), (44, 62), (205, 175, 95), -1)
    cv2.putText(canvas, "4929 1180 7713", (16, 88), FONTS[0], 0.5, ink, 1, cv2.LINE_AA)
    _lines(rng, canvas, (16, 90, 150, 122), ink, 12)
    return canvas
