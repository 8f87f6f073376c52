"""Whether a model finds in a built-in drawing what its card says: that it is whole, fed and read rightly.

The drawing is made here, of plain shapes: the same to the last bit everywhere, and nobody's picture.
"""

import logging
from collections.abc import Sequence

import numpy as np

from edge.capture.frame import Pixels
from edge.vision.card import GOOD, Card, Expected
from edge.vision.detector import Detector
from edge.vision.types import Box, Detection

log = logging.getLogger(__name__)

STRAY_SCORE = 0.2
"""What the card does not expect may be seen as well, up to so much above its threshold."""
WIDTH_PX, HEIGHT_PX = 640, 480
_TEXT_CHARS = 200

# What, left, top, right, bottom in px, colour. Found by a search for a drawing in which all of the project's
# cards see something: shapes, and places a little beyond the edge, are as it left them.
_SHAPES: tuple[tuple[str, int, int, int, int, tuple[int, int, int]], ...] = (
    ("block", 0, 0, 640, 480, (195, 234, 125)),
    ("block", 21, 342, 640, 467, (131, 77, 68)),
    ("oval", 101, 31, 205, 145, (0, 0, 0)),
    ("oval", 106, 101, 201, 178, (221, 134, 110)),
    ("block", 126, 163, 173, 231, (245, 128, 167)),
    ("oval", 31, 178, 242, 490, (100, 19, 63)),
    ("oval", 125, 113, 133, 120, (57, 42, 90)),
    ("oval", 149, 112, 193, 120, (54, 0, 0)),
    ("block", 149, 152, 170, 157, (163, 94, 42)),
    ("block", 311, 144, 550, 333, (21, 52, 103)),
    ("block", 330, 183, 548, 302, (70, 130, 190)),
    ("block", 316, 311, 570, 411, (108, 100, 98)),
    ("keys", 310, 331, 601, 358, (54, 38, 23)),
    ("block", 218, 395, 271, 476, (40, 26, 42)),
    ("block", 227, 394, 264, 419, (241, 21, 93)),
    ("block", 591, 286, 613, 351, (252, 56, 20)),
    ("oval", 598, 274, 635, 297, (152, 5, 28)),
    ("block", 386, 416, 521, 485, (202, 219, 123)),
    ("lines", 391, 382, 508, 467, (111, 108, 146)),
)


def drawing() -> Pixels:
    """Return a person at a desk with a laptop and a phone, of plain shapes: uint8 RGB, 480 by 640."""
    picture = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for what, left, top, right, bottom, colour in _SHAPES:
        part = picture[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        if what == "oval":
            wide, high = right - left, bottom - top
            across = (2 * (columns + max(0, left)) - left - right) * high  # whole numbers: no rounding
            down = (2 * (rows + max(0, top)) - top - bottom) * wide
            part[across * across + down * down <= (wide * high) ** 2] = colour
        elif what == "keys":
            part[(rows % 7 < 4) & (columns % 18 < 14)] = colour
        elif what == "lines":
            part[np.broadcast_to(rows % 7 < 4, part.shape[:2])] = colour
        else:
            part[:] = colour
    return picture


def deviation(detector: Detector) -> str | None:
    """Run the model on the drawing; return what differs from its card, and None where nothing does.

    A card that expects nothing has nothing that differs.
    """
    if detector.card.golden is None:
        return None
    try:
        found = detector.detect(detector.view(drawing()))
    except (RuntimeError, ValueError) as error:
        return f"wanted what the card expects, got: {error}"[:_TEXT_CHARS]
    return compared(detector.card, found)


def proven(detector: Detector) -> str | None:
    """Return `good`, or what differs, which is logged; None where the card does not say what is expected."""
    if detector.card.golden is None:
        return None
    differs = deviation(detector)
    if differs is None:
        return GOOD
    log.error("the model does not see in the built-in drawing what its card says: %s", differs)
    return differs


def compared(card: Card, found: Sequence[Detection]) -> str | None:
    """Return what differs between detections of the drawing and what the card expects."""
    golden = card.golden
    assert golden is not None, "wanted a card with a golden output"
    for expected in golden.detections:
        near = [each for each in found if each.label == expected.label and _iou(each, expected) >= golden.iou]
        if not any(abs(each.score - expected.score) <= golden.score_within for each in near):
            got = ", ".join(f"{each.score:.2f}" for each in near) or "none there"
            return f"wanted {expected.label} {expected.score:.2f}, got {got}"
    for each in found:
        known = any(each.label == expected.label for expected in golden.detections)
        if not known and each.score > card.threshold_of(each.label) + STRAY_SCORE:
            return f"wanted no {each.label}, got one of {each.score:.2f}"
    return None


def _iou(found: Detection, expected: Expected) -> float:
    return found.box.iou(Box(*expected.box))
