"""Pictures and their boxes: the manifest, a file of JSON lines, one picture a line."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from deskmodel.labels import LABELS

Rgb = npt.NDArray[np.uint8]

SLACK = 1e-3
"""How far a box may reach past the picture, in 0–1 of it, before its label file is held to be wrong."""

Pixels = Annotated[int, msgspec.Meta(ge=1)]
BoxRow = tuple[int, float, float, float, float]
"""class_id, x0, y0, x1, y1 in 0–1 of the picture."""
NamedBox = tuple[str, float, float, float, float]
"""A distractor's name, x0, y0, x1, y1 in 0–1 of the picture."""


class DataError(ValueError):
    """Data is not what it should be: the message says what was wanted, what came, in which file and line."""


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A picture and what is known of it: one line of a manifest."""

    image: str
    """Absolute path."""
    id: str
    """Unique over all manifests: no id is both trained on and held out."""
    source: str
    licence: str
    width_px: Pixels
    height_px: Pixels
    known: list[str]
    """Labels of which every instance has a box here. A detection of any of them without one is false."""
    ignore: list[str]
    """Labels that may be present without a box. A box of theirs is right all the same."""
    boxes: list[BoxRow]
    distractors: list[NamedBox] = []
    """Of rendered scenes: things that are none of the labels, and are mistaken for them."""
    profile: str = ""
    view: str = ""
    in_hand: str = ""
    """Of rendered scenes: what the person holds up."""
    split: Annotated[str, msgspec.Meta(pattern=r"^(|train|held(-[a-z]+)*)$")] = ""
    """Of extra photo sets: which manifest they go to."""

    def __post_init__(self) -> None:
        """Check labels and boxes. Raises ValueError, which msgspec passes on with the line."""
        if unknown := sorted({*self.known, *self.ignore} - set(LABELS)):
            raise ValueError(f"known, ignore: wanted names of {list(LABELS)}, got {unknown}")
        if both := sorted(set(self.known) & set(self.ignore)):
            raise ValueError(f"known, ignore: wanted each label in one of them, got {both} in both")
        for class_id, *corners in self.boxes:
            if not 0 <= class_id < len(LABELS):
                raise ValueError(f"boxes: wanted a class of 0–{len(LABELS) - 1}, got {class_id}")
            check_corners(*corners)
        for _, *corners in self.distractors:
            check_corners(*corners)

    def knows(self, label: str) -> bool:
        """Return whether a detection of `label` can be told right from wrong here."""
        return label in self.known

    def labels_present(self) -> set[str]:
        """Return the labels that have a box here."""
        return {LABELS[row[0]] for row in self.boxes}

    def box_array(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return class ids (n,) and boxes (n, 4) as x0 y0 x1 y1 in 0–1."""
        rows = np.array(self.boxes, dtype=np.float64).reshape(-1, 5)
        return rows[:, 0].astype(np.int64), rows[:, 1:]


def check_corners(x0: float, y0: float, x1: float, y1: float) -> None:
    """Raise ValueError unless x0 < x1 and y0 < y1, all in 0–1 within SLACK."""
    low, high = -SLACK, 1.0 + SLACK
    if not (low <= x0 < x1 <= high and low <= y0 < y1 <= high):
        raise ValueError(f"box: wanted 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, got {[x0, y0, x1, y1]}")


def clipped(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """Return checked corners within 0–1, to six decimals: a thousandth of a pixel of a wide picture."""
    check_corners(x0, y0, x1, y1)
    x0, y0, x1, y1 = (round(min(max(side, 0.0), 1.0), 6) for side in (x0, y0, x1, y1))
    return x0, y0, x1, y1


def read_manifest(path: Path) -> list[Picture]:
    """Return a manifest's pictures, in its order. Raises DataError, naming file and line."""
    decoder = msgspec.json.Decoder(Picture)
    pictures = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            picture = decoder.decode(line)
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if picture.id in seen:
            raise DataError(
                f"{path}:{number}: wanted each id once, got {picture.id} of line {seen[picture.id]}"
            )
        seen[picture.id] = number
        pictures.append(picture)
    return pictures


def write_manifest(path: Path, pictures: Iterable[Picture]) -> None:
    """Write a manifest as a whole or not at all."""
    lines = [msgspec.json.encode(picture) for picture in pictures]
    write_atomically(path, b"".join(line + b"\n" for line in lines))


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` in place at once: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)  # mkstemp's own mode shuts everyone else out
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_text(path: Path) -> str:
    """Return a text file's content. Raises DataError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: wanted a text file, got {error}") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises DataError."""
    try:
        return msgspec.json.decode(read_text(path))
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from error


def load_rgb(path: str | Path) -> Rgb:
    """Return a picture as uint8 RGB (h, w, 3). Raises DataError where it is missing or no picture."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise DataError(f"{path}: wanted a picture that OpenCV reads, got {_reason(Path(path))}")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _reason(path: Path) -> str:
    return "another file" if path.is_file() else "no such file"
