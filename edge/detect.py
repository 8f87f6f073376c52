"""Detections of single images: what `deskwatch detect` prints and draws."""

import itertools
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from edge.capture.frame import Pixels
from edge.errors import EdgeError
from edge.output import make_folder, write_file
from edge.vision.types import Detection

_COLOURS = (
    (255, 196, 61),
    (94, 214, 161),
    (110, 177, 255),
    (255, 130, 130),
    (214, 155, 255),
    (240, 240, 110),
)


class DrawingUnwritable(EdgeError):
    """A picture with boxes cannot be written: choose another place with --draw."""


def detections_json(path: Path, detections: Iterable[Detection]) -> str:
    """Return the line that `detect --json` prints for an image."""
    found = [
        {
            "label": d.label,
            "score": round(d.score, 6),
            "box": [round(side, 6) for side in (d.box.x0, d.box.y0, d.box.x1, d.box.y1)],
        }
        for d in detections
    ]
    return json.dumps({"image": str(path), "detections": found})


def table(path: Path, detections: Sequence[Detection]) -> str:
    """Return an image's detections for people, one a line below its name."""
    lines = [f"{path}: {len(detections)} found"]
    for d in detections:
        box = f"x {d.box.x0:.2f}-{d.box.x1:.2f}  y {d.box.y0:.2f}-{d.box.y1:.2f}"
        lines.append(f"  {d.score:.2f}  {d.label:<16} {box}")
    return "\n".join(lines)


def drawing_paths(out: Path, images: Sequence[Path]) -> list[Path]:
    """Return where each image's drawing goes, no two to one place.

    That is the file `out`, or for several images a name of its own each in the folder `out`.
    """
    if len(images) == 1 and not _is_folder(out):
        return [out]
    taken: dict[str, None] = {}
    for image in images:
        names = (image.stem if number == 1 else f"{image.stem}-{number}" for number in itertools.count(1))
        taken[next(name for name in names if name not in taken)] = None
    return [out / f"{name}.png" for name in taken]


def prepare(drawings: Iterable[Path], images: Iterable[Path]) -> None:
    """Refuse drawings that cannot be saved or would replace an image, and make their folders.

    Raises DrawingUnwritable, OutputUnwritable.
    """
    seen = list(images)
    for drawing in drawings:
        if drawing.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp"}:
            raise DrawingUnwritable(f"{drawing}: wanted a name that ends in .png, .jpg or .webp")
        for image in seen:
            if _same(drawing, image):
                raise DrawingUnwritable(f"{drawing}: wanted another file than the image, got {image}")
        make_folder(drawing.parent)


def save_drawing(path: Path, picture: Pixels) -> None:
    """Write an RGB picture of one of the kinds that `prepare` takes. Raises as that does."""
    encoded, data = False, None
    with suppress(cv2.error):
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not encoded or data is None:  # WebP ends at 16383 pixels
        got = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DrawingUnwritable(f"{path}: wanted a picture small enough for {path.suffix}, got {got}")
    write_file(path, data.tobytes())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise DrawingUnwritable(f"{path}: wanted a file or folder, got: {error.strerror}") from error


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def draw(pixels: Pixels, detections: Iterable[Detection]) -> Pixels:
    """Return a copy of an RGB picture with boxes and labels."""
    picture = np.ascontiguousarray(pixels).copy()
    height, width = picture.shape[:2]
    scale = max(0.4, max(height, width) / 1600)
    for d in detections:
        colour = _COLOURS[sum(d.label.encode()) % len(_COLOURS)]
        corner = (round(d.box.x0 * width), round(d.box.y0 * height))
        cv2.rectangle(picture, corner, (round(d.box.x1 * width), round(d.box.y1 * height)), colour, 2)
        text = f"{d.label} {d.score:.2f}"
        (text_px, line_px), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        top = max(line_px + 6, corner[1])
        cv2.rectangle(picture, (corner[0], top - line_px - 6), (corner[0] + text_px + 6, top), colour, -1)
        at = (corner[0] + 3, top - 4)
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return picture
