"""The nine labels of the desk detector, and how the names of other label sets map to them."""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

LABELS = ("person", "cell phone", "paper", "drink", "food", "laptop", "monitor", "keyboard", "mouse")
"""Class id n is LABELS[n]. paper: sheets, notebooks, books. drink: cup, bottle, glass. monitor: TV too."""

PERSON, CELL_PHONE, PAPER, DRINK, FOOD, LAPTOP, MONITOR, KEYBOARD, MOUSE = range(len(LABELS))

FOODS = (
    "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
)  # fmt: skip
"""COCO's names of food."""

OF_COCO = MappingProxyType(
    {
        "person": "person",
        "cell phone": "cell phone",
        "book": "paper",
        "bottle": "drink",
        "wine glass": "drink",
        "cup": "drink",
        "laptop": "laptop",
        "tv": "monitor",
        "keyboard": "keyboard",
        "mouse": "mouse",
    }
    | dict.fromkeys(FOODS, "food")
)
"""From a name of COCO to one of LABELS; COCO's other names are none of them."""

COCO_80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", *FOODS, "chair",
    "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 names in the order of YOLO-style class ids. Cards with 90 ids carry names of their own."""

COCO_91_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The ids of COCO's own numbering (1–90) that no picture has."""


def coco_90() -> tuple[str, ...]:
    """Return COCO's names by its own numbering less one: name n is id n + 1, `???` where there is none."""
    names = iter(COCO_80)
    return tuple("???" if number in COCO_91_GAPS else next(names) for number in range(1, 91))


def desk_label(name: str) -> str | None:
    """Return the label that `name`, one of LABELS or of COCO's, stands for; None for any other name."""
    return name if name in LABELS else OF_COCO.get(name)


def class_map(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the class id of each of a model's label names, (len(names),), -1 where it is none of ours."""
    labels = [desk_label(name) for name in names]
    return np.array([-1 if label is None else LABELS.index(label) for label in labels], dtype=np.int64)
