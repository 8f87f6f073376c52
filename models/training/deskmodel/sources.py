"""Reads the photo sets: a folder of images, and beside it labels in YOLO's form, one file a photo."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from deskmodel.data import BoxRow, DataError, Picture, clipped, read_text
from deskmodel.labels import COCO_80, LABELS, class_map

_COCO_LICENCE = "annotations CC BY 4.0, photos under their Flickr licences"
_BUT_PAPER = [label for label in LABELS if label != "paper"]
"""What COCO labels of ours: it has books, but no loose sheets."""

_COCO128_EMPTY = frozenset({"000000000250", "000000000508"})
"""Photos of coco128 with nothing of COCO in them: they have no label file."""
_COCO128_LOST = frozenset({"000000000656", "000000000659"})
"""Label files of coco128 whose photos are not in the set."""

ClassOf = Callable[[int], int]
"""From a label file's class id to ours, -1 for none. Raises IndexError for an id that the set has not."""


def read_coco_people_desk(folder: Path) -> list[Picture]:
    """Return COCO photos of people and desks; a `source` of `…/val2017` or `…/train2017`.

    A name without an ending is of val2017. `_train` and `_val` are the halves of COCO 2014, where train2017
    comes from.
    """
    pictures = []
    for image in _images(folder):
        number, _, half = image.stem.partition("_")
        year = "train2017" if half else "val2017"
        source = f"coco-people-desk/{year}"
        pictures.append(_coco(image, f"coco:{int(number)}", source, _our_class))
    return pictures


def read_coco128(folder: Path) -> list[Picture]:
    """Return the first 128 photos of COCO train2017, their classes mapped to ours."""
    to_ours = class_map(COCO_80)

    def class_of(class_id: int) -> int:
        return int(to_ours[class_id])

    images = _images(folder, lost=_COCO128_LOST)
    return [_coco(image, f"coco:{int(image.stem)}", "coco128", class_of) for image in images]


def read_cellphone(folder: Path) -> list[Picture]:
    """Return photos in which phones are labelled and nothing else is."""
    known = ["cell phone"]
    ignore = [label for label in LABELS if label not in known]
    licence = "CC BY 4.0"
    return [
        _picture(image, f"cellphone:{image.stem}", "cellphone", licence, known, ignore, _our_class)
        for image in _images(folder)
    ]


def read_yolo(image: Path, class_of: ClassOf) -> list[BoxRow]:
    """Return the boxes of the label file of `image`: lines of class, centre x and y, width, height in 0–1.

    Raises DataError, naming file and line.
    """
    path = image.parent.parent / "labels" / f"{image.stem}.txt"
    rows: list[BoxRow] = []
    if image.stem in _COCO128_EMPTY and not path.exists():
        return rows
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            class_id, x, y, width, height = _numbers(line)
            ours = class_of(class_id)
            corners = clipped(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if ours >= 0:
            rows.append((ours, *corners))
    return rows


def _numbers(line: str) -> tuple[int, float, float, float, float]:
    words = line.split()
    if len(words) != 5:
        raise ValueError(f"wanted class, centre x, centre y, width and height, got {line!r}")
    class_id = int(words[0])
    if class_id < 0:
        raise ValueError(f"wanted a class of 0 or more, got {class_id}")
    x, y, width, height = (float(word) for word in words[1:])
    return class_id, x, y, width, height


def _our_class(class_id: int) -> int:
    if class_id >= len(LABELS):
        raise IndexError(f"wanted a class of 0–{len(LABELS) - 1}, got {class_id}")
    return class_id


def _coco(image: Path, picture_id: str, source: str, class_of: ClassOf) -> Picture:
    return _picture(image, picture_id, source, _COCO_LICENCE, _BUT_PAPER, ["paper"], class_of)


def _picture(
    image: Path,
    picture_id: str,
    source: str,
    licence: str,
    known: Sequence[str],
    ignore: Sequence[str],
    class_of: ClassOf,
) -> Picture:
    width_px, height_px = size_px(image)
    return Picture(
        image=str(image.resolve()),
        id=picture_id,
        source=source,
        licence=licence,
        width_px=width_px,
        height_px=height_px,
        known=list(known),
        ignore=list(ignore),
        boxes=read_yolo(image, class_of),
    )


def size_px(image: Path) -> tuple[int, int]:
    """Return a picture's width and height as OpenCV reads it. Raises DataError where it does not."""
    pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise DataError(f"{image}: wanted a picture, got a file that OpenCV cannot read, or none")
    height, width = pixels.shape
    return width, height


def _images(folder: Path, lost: frozenset[str] = frozenset()) -> list[Path]:
    """Return a set's images in the order of their names. Raises DataError where a label file has no image.

    lost: names of label files that are known to have none.
    """
    images = sorted((folder / "images").glob("*.jpg"))
    if not images:
        raise DataError(f"{folder / 'images'}: wanted *.jpg, got none")
    labelled = {path.stem for path in (folder / "labels").glob("*.txt")}
    if missing := sorted(labelled - lost - {path.stem for path in images}):
        path = folder / "labels" / f"{missing[0]}.txt"
        raise DataError(f"{path}: wanted its image {missing[0]}.jpg, got none")
    return images
