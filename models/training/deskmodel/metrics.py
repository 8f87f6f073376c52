"""How well detections agree with boxes: AP50, and precision and recall at a threshold. NumPy only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deskmodel.data import Picture
from deskmodel.labels import LABELS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MATCH_IOU = 0.5
MAX_PER_PICTURE = 100
"""Detections of one label in one picture that count, the best of them, as in COCO."""
SIZE_BINS = {"<1 %": (0.0, 0.01), "1–5 %": (0.01, 0.05), ">5 %": (0.05, 1.0)}
"""Box areas in 0–1 of the frame: from the first on, less than the second."""
_MAX_CANDIDATES = 1000
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Detections:
    """What a model sees in one picture, of all labels."""

    boxes: Floats
    """(n, 4) as x0 y0 x1 y1 in 0–1 of the picture."""
    class_ids: npt.NDArray[np.int64]
    """(n,)."""
    scores: Floats
    """(n,) in 0–1."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One label's detections over many pictures, best first, and how many boxes there were to find."""

    scores: Floats
    """(n,)."""
    hits: Bools
    """(n,): found a box that no better detection had found."""
    positives: int

    def curve(self) -> tuple[Floats, Floats]:
        """Return recall and precision after each detection, (n,) each."""
        found = np.cumsum(self.hits)
        taken = np.arange(1, len(self.hits) + 1)
        return found / max(self.positives, 1), found / taken


def area(boxes: Floats) -> Floats:
    """Return the areas of boxes (n, 4), (n,)."""
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Return intersection over union of boxes (n, 4) with boxes (m, 4): (n, m); 0 for two empty boxes."""
    low = np.maximum(a[:, np.newaxis, :2], b[np.newaxis, :, :2])
    high = np.minimum(a[:, np.newaxis, 2:], b[np.newaxis, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    union = area(a)[:, np.newaxis] + area(b)[np.newaxis] - shared
    return np.where(shared > 0.0, shared / np.maximum(union, 1e-12), 0.0)


def suppress(
    boxes: Floats, class_ids: npt.NDArray[np.int64], scores: Floats, iou: float, limit: int
) -> npt.NDArray[np.intp]:
    """Return the indexes of at most `limit` boxes, best first, no two of a class overlapping more than `iou`.

    boxes (n, 4), class_ids (n,), scores (n,). Of many, the best 1000 are looked at.
    """
    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    kept: list[int] = []
    while len(order) and len(kept) < limit:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        covered = (iou_matrix(boxes[[best]], boxes[rest])[0] > iou) & (class_ids[rest] == class_ids[best])
        order = rest[~covered]
    return np.array(kept, dtype=np.intp)


def match(truths: Floats, boxes: Floats, counted: Bools | None = None) -> npt.NDArray[np.int64]:
    """Return which truth each detection finds, (n,), -1 for none. Greedy: give detections best first.

    truths (m, 4), boxes (n, 4). A detection takes the free truth that it overlaps most, from MATCH_IOU up;
    one that is `counted`, (m,), before one that is not.
    """
    found = np.full(len(boxes), -1, dtype=np.int64)
    if not len(truths):
        return found
    overlaps = iou_matrix(boxes, truths)
    free = np.ones(len(truths), dtype=bool)
    preferred = free.copy() if counted is None else counted
    for i, row in enumerate(overlaps):
        for among in (free & preferred, free & ~preferred):
            candidates = np.where(among, row, 0.0)
            best = int(np.argmax(candidates))
            if candidates[best] >= MATCH_IOU:
                found[i], free[best] = best, False
                break
    return found


def outcomes(
    pictures: Sequence[Picture],
    detections: Sequence[Detections],
    label: str,
    size: tuple[float, float] = (0.0, 1.0),
    *,
    unlabelled_too: bool = False,
) -> Outcomes:
    """Return how a label's detections fare.

    Pictures in which the label is not known are left out; with `unlabelled_too` they count as if what has no
    box were not there, which calls some right detections false. Boxes outside `size` are neither to be found
    nor wrong to find, and nor are unmatched detections of other sizes.
    """
    class_id = LABELS.index(label)
    parts = [
        _of_picture(picture, seen, class_id, size)
        for picture, seen in zip(pictures, detections, strict=True)
        if picture.knows(label) or (unlabelled_too and label in picture.ignore)
    ]
    scores = np.concatenate([np.zeros(0), *(part.scores for part in parts)])
    hits = np.concatenate([np.zeros(0, dtype=bool), *(part.hits for part in parts)])
    order = np.argsort(-scores, kind="stable")
    return Outcomes(scores[order], hits[order], sum(part.positives for part in parts))


def of_label(seen: Detections, class_id: int) -> tuple[Floats, Floats]:
    """Return the boxes (n, 4) and scores (n,) of a label, best first, MAX_PER_PICTURE at most."""
    places = np.flatnonzero(seen.class_ids == class_id)
    places = places[np.argsort(-seen.scores[places], kind="stable")][:MAX_PER_PICTURE]
    return seen.boxes[places], seen.scores[places]


def truths_of(picture: Picture, class_id: int) -> Floats:
    """Return a picture's boxes of a label, (m, 4)."""
    class_ids, boxes = picture.box_array()
    return boxes[class_ids == class_id]


def _of_picture(picture: Picture, seen: Detections, class_id: int, size: tuple[float, float]) -> Outcomes:
    boxes, scores = of_label(seen, class_id)
    truths = truths_of(picture, class_id)
    counted = _within(truths, size)
    found = match(truths, boxes, counted)
    hits = np.zeros(len(boxes), dtype=bool)
    matched = found >= 0
    hits[matched] = counted[found[matched]]
    judged = hits | (~matched & _within(boxes, size))
    return Outcomes(scores[judged], hits[judged], int(counted.sum()))


def _within(boxes: Floats, size: tuple[float, float]) -> Bools:
    areas = area(boxes)
    return (areas >= size[0]) & ((areas < size[1]) | (size[1] >= 1.0))


def average_precision(found: Outcomes) -> float:
    """Return the mean, over 101 recalls, of the best precision at that recall or more; NaN without boxes."""
    if found.positives == 0:
        return float("nan")
    if not len(found.scores):
        return 0.0
    recall, precision = found.curve()
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    reached = places < len(recall)
    return float(best_from_here[places[reached]].sum() / len(_RECALLS))


def at_threshold(found: Outcomes, threshold: float) -> tuple[float, float, int]:
    """Return precision, recall, and the number of false detections, at scores of `threshold` and above.

    Precision is NaN where nothing is detected, recall where there is nothing to find.
    """
    taken = found.scores >= threshold
    hits, count = int(found.hits[taken].sum()), int(taken.sum())
    precision = hits / count if count else float("nan")
    recall = hits / found.positives if found.positives else float("nan")
    return precision, recall, count - hits


def recall_at_precision(found: Outcomes, precision: float) -> tuple[float, float]:
    """Return the highest recall at a threshold whose precision is `precision` or more, and that threshold.

    Recall 0 and an infinite threshold where there is none; recall NaN where there is nothing to find.
    """
    if found.positives == 0:
        return float("nan"), float("inf")
    recalls, precisions = found.curve()
    # A threshold takes all detections of one score or none.
    last = np.append(found.scores[1:] != found.scores[:-1], True)[: len(found.scores)]
    good = np.flatnonzero((precisions >= precision) & last)
    if not len(good):
        return 0.0, float("inf")
    return float(recalls[good[-1]]), float(found.scores[good[-1]])


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are numbers; NaN where none is."""
    numbers = [value for value in values if value == value]  # noqa: PLR0124 (NaN differs from itself)
    return sum(numbers) / len(numbers) if numbers else float("nan")
