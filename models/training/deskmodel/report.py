"""From detections to numbers, and from numbers to a page of Markdown."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deskmodel.data import Picture
from deskmodel.labels import CELL_PHONE, LABELS
from deskmodel.metrics import (
    MATCH_IOU,
    SIZE_BINS,
    Detections,
    Outcomes,
    at_threshold,
    average_precision,
    iou_matrix,
    match,
    mean,
    of_label,
    outcomes,
    recall_at_precision,
    truths_of,
)
from deskmodel.timing import Timing

Numbers = dict[str, Any]
PRECISION = 0.9


def label_outcomes(
    pictures: Sequence[Picture], detections: Sequence[Detections], label: str, size: str = ""
) -> Outcomes | None:
    """Return a label's outcomes, or None where no picture has a box of it.

    Where a label is known nowhere but has boxes (COCO's books), the pictures of the sources that label some
    of it count all the same: a sheet that is found there, rightly, counts as false.
    """
    bounds = SIZE_BINS[size] if size else (0.0, 1.0)
    partly = partly_labelled(pictures, label)
    if partly:
        sources = {picture.source for picture in pictures if label in picture.labels_present()}
        kept = [i for i, picture in enumerate(pictures) if picture.source in sources]
        pictures, detections = [pictures[i] for i in kept], [detections[i] for i in kept]
    found = outcomes(pictures, detections, label, bounds, unlabelled_too=partly)
    return found if found.positives or any(picture.knows(label) for picture in pictures) else None


def partly_labelled(pictures: Sequence[Picture], label: str) -> bool:
    """Return whether a label has boxes, but in no picture all of them."""
    known = any(picture.knows(label) for picture in pictures)
    return not known and any(label in picture.labels_present() for picture in pictures)


def measure(
    pictures: Sequence[Picture], detections: Sequence[Detections], thresholds: Mapping[str, float]
) -> Numbers:
    """Return one model's numbers on one set: for each label, and for phones by the size of their box."""
    labels = {}
    for label in LABELS:
        found = label_outcomes(pictures, detections, label)
        if found is not None:
            judged = sum(picture.knows(label) for picture in pictures)
            labels[label] = _numbers(found, thresholds[label]) | {"pictures": judged}
    sizes = {}
    for size in SIZE_BINS:
        found = label_outcomes(pictures, detections, "cell phone", size)
        if found is not None and found.positives:
            sizes[size] = _numbers(found, thresholds["cell phone"])
    return {"labels": labels, "phones by size": sizes, "mean AP50": mean(n["AP50"] for n in labels.values())}


def _numbers(found: Outcomes, threshold: float) -> Numbers:
    precision, recall, false = at_threshold(found, threshold)
    sure_recall, sure_threshold = recall_at_precision(found, PRECISION)
    return {
        "boxes": found.positives,
        "AP50": average_precision(found),
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "false alarms": false,
        "recall at precision 0.9": sure_recall,
        "threshold at precision 0.9": sure_threshold,
    }


def confusion(
    pictures: Sequence[Picture], detections: Sequence[Detections], threshold: float
) -> dict[str, Numbers]:
    """Return, for each distractor's name, how many there are and how many are called a phone.

    One is if a detection of `threshold` and above overlaps it by MATCH_IOU, and finds no phone.
    """
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for picture, seen in zip(pictures, detections, strict=True):
        boxes, scores = of_label(seen, CELL_PHONE)
        astray = boxes[(match(truths_of(picture, CELL_PHONE), boxes) < 0) & (scores >= threshold)]
        for name, *corners in picture.distractors:
            called = bool((iou_matrix(np.array([corners]), astray) >= MATCH_IOU).any())
            for key in (name, "all"):
                counts[key][0] += 1
                counts[key][1] += called
    return {name: {"seen": n, "called a phone": k, "share": k / n} for name, (n, k) in sorted(counts.items())}


def page(results: Numbers) -> str:
    """Return the report as Markdown."""
    parts = ["# Detectors compared\n"]
    for name, model in results["models"].items():
        thresholds = sorted(set(model["thresholds"].values()))
        parts.append(
            f"- **{name}**: thresholds {thresholds}; from score {results['floor']:g} up; {model['limits']}."
        )
    for name, facts in results["sets"].items():
        parts.append(f"\n## {name}: {facts['pictures']} pictures\n")
        parts.append(_ap_table(results, name, facts["partly labelled"]))
        parts.append(_threshold_table(results, name))
        parts.append(_size_table(results, name))
        parts.append(_confusion_table(results, name))
    parts.append(_timing_table(results["timings"]))
    return "\n".join(part for part in parts if part) + "\n"


def _ap_table(results: Numbers, name: str, partly: Sequence[str]) -> str:
    of_models = {model: facts["sets"][name] for model, facts in results["models"].items()}
    labels = [label for label in LABELS if any(label in n["labels"] for n in of_models.values())]
    heads = [label + ("\\*" if label in partly else "") for label in labels]
    first = next(iter(of_models.values()))["labels"]
    rows = [["boxes", *(str(first[label]["boxes"]) for label in labels), ""]]
    for model, numbers in of_models.items():
        cells = [_shown(numbers["labels"][label]["AP50"]) for label in labels]
        rows.append([model, *cells, _shown(numbers["mean AP50"])])
    note = "\n\\* Not all of it is labelled: right detections of the rest count as false.\n" if partly else ""
    return _table(["AP50", *heads, "mean"], rows) + note


def _threshold_table(results: Numbers, name: str) -> str:
    rows = []
    for model, facts in results["models"].items():
        cells = [model]
        for label in LABELS:
            numbers = facts["sets"][name]["labels"].get(label)
            cells.append(
                f"{_shown(numbers['recall'])} / {_shown(numbers['precision'])} / {numbers['false alarms']} / "
                f"{_shown(numbers['recall at precision 0.9'])}"
                if numbers
                else "–"
            )
        rows.append(cells)
    head = "recall / precision / false alarms at the threshold / recall at precision 0.9"
    return _table([head, *LABELS], rows)


def _size_table(results: Numbers, name: str) -> str:
    rows = []
    for model, facts in results["models"].items():
        sizes = facts["sets"][name]["phones by size"]
        if sizes:
            cells = [
                f"{_shown(sizes[size]['AP50'])} / {_shown(sizes[size]['recall'])} of {sizes[size]['boxes']}"
                if size in sizes
                else "–"
                for size in SIZE_BINS
            ]
            rows.append([model, *cells])
    heads = ["phones by share of the frame: AP50 / recall at the threshold", *SIZE_BINS]
    return _table(heads, rows) if rows else ""


def _confusion_table(results: Numbers, name: str) -> str:
    of_models = {model: facts["sets"][name]["confusion"] for model, facts in results["models"].items()}
    first = next(iter(of_models.values()))
    rows = [
        [thing, str(numbers["seen"]), *(_shown(confused[thing]["share"]) for confused in of_models.values())]
        for thing, numbers in first.items()
    ]
    return _table(["called a phone", "seen", *of_models], rows) if rows else ""


def _timing_table(timings: Sequence[Timing]) -> str:
    rows = [[t.name, str(t.threads), f"{t.median_ms:.1f}", f"{t.ratio:.2f}"] for t in timings]
    heads = ["invoke()", "threads", "median, ms", "of the reference"]
    return "\n## Time\n\n" + _table(heads, rows) if rows else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _shown(number: float) -> str:
    return "–" if math.isnan(number) else f"{number:.2f}"
