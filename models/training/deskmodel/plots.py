"""What a report shows in pictures: precision–recall curves, and contact sheets of the worst mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deskmodel.data import Picture, Rgb, load_rgb, write_atomically
from deskmodel.labels import LABELS
from deskmodel.metrics import Detections, Floats, Outcomes, average_precision, match, of_label, truths_of

Bgr = npt.NDArray[np.uint8]

TILE_PX = 240
COLUMNS = 6
_GREEN, _RED, _WHITE = (0, 200, 0), (40, 40, 255), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A box that was missed, or a detection without a box, in one picture."""

    picture: Picture
    box: Floats
    """(4,): what the tile is about."""
    score: float
    """Of a false alarm its score; of a miss the best score of a detection that overlaps it, 0 for none."""
    label: str


def misses(
    pictures: Sequence[Picture], detections: Sequence[Detections], label: str, threshold: float
) -> list[Mistake]:
    """Return boxes that no detection of `threshold` and above finds, the largest first."""
    class_id = LABELS.index(label)
    found = []
    for picture, seen in zip(pictures, detections, strict=True):
        truths = truths_of(picture, class_id)
        boxes, scores = of_label(seen, class_id)
        of_truth = dict(zip(match(truths, boxes).tolist(), scores.tolist(), strict=True))
        found += [
            Mistake(picture, truth, of_truth.get(i, 0.0), label)
            for i, truth in enumerate(truths)
            if of_truth.get(i, 0.0) < threshold
        ]
    return sorted(found, key=lambda miss: -float(np.prod(miss.box[2:] - miss.box[:2])))


def false_alarms(
    pictures: Sequence[Picture], detections: Sequence[Detections], label: str, threshold: float
) -> list[Mistake]:
    """Return detections of `threshold` and above that find no box, where the label is known, best first."""
    class_id = LABELS.index(label)
    found = []
    for picture, seen in zip(pictures, detections, strict=True):
        if picture.knows(label):
            boxes, scores = of_label(seen, class_id)
            places = match(truths_of(picture, class_id), boxes)
            found += [
                Mistake(picture, box, float(score), label)
                for box, score, place in zip(boxes, scores, places, strict=True)
                if place < 0 and score >= threshold
            ]
    return sorted(found, key=lambda alarm: -alarm.score)


def mistake_sheet(mistakes: Sequence[Mistake], *, missed: bool, tiles: int = 24) -> Bgr:
    """Return a contact sheet of one mistake or more, BGR: boxes green, the false alarm or miss red."""
    drawn = [_tile(mistake, missed) for mistake in mistakes[:tiles]]
    blank = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    drawn += [blank] * (-len(drawn) % COLUMNS)
    rows = [np.hstack(drawn[start : start + COLUMNS]) for start in range(0, len(drawn), COLUMNS)]
    return np.vstack(rows)


def write_png(path: Path, bgr: Bgr) -> None:
    """Write a picture whole or not at all."""
    encoded, png = cv2.imencode(".png", bgr)
    if not encoded:
        raise ValueError(f"{path}: wanted a picture to encode, got shape {bgr.shape}")
    write_atomically(path, png.tobytes())


def curves(path: Path, found: Mapping[str, Mapping[str, Outcomes]]) -> None:
    """Write a PNG of precision over recall: an axis for each label, a line for each model.

    found: label to model's name to outcomes.
    """
    import matplotlib as mpl  # noqa: PLC0415 (reports alone need it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    columns = 3
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.4 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, (label, of_models) in zip(axes.flat, found.items(), strict=False):
        for name, outcome in of_models.items():
            recall, precision = outcome.curve()
            axis.plot(recall, precision, label=f"{name} {average_precision(outcome):.2f}", linewidth=1.2)
        positives = max((outcome.positives for outcome in of_models.values()), default=0)
        axis.set(
            title=f"{label} ({positives})", xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision"
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6, title="AP50", title_fontsize=6)
    figure.tight_layout()
    temporary = path.with_suffix(".partial.png")
    figure.savefig(temporary, dpi=110)
    plt.close(figure)
    temporary.replace(path)


def _tile(mistake: Mistake, missed: bool) -> Bgr:
    """Return a square tile about the mistake: the part of the picture where it can be seen well."""
    rgb = load_rgb(mistake.picture.image)
    left, top, side = _window(rgb, mistake.box)
    scale = TILE_PX / side
    crop = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)[top : top + side, left : left + side]
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    shrunk = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)[:TILE_PX, :TILE_PX]
    tile[: shrunk.shape[0], : shrunk.shape[1]] = shrunk
    frame_px = np.array([rgb.shape[1], rgb.shape[0]] * 2)
    offset = np.array([left, top] * 2)

    def outline(box: Floats, colour: tuple[int, int, int]) -> None:
        x0, y0, x1, y1 = np.rint((box * frame_px - offset) * scale).astype(int).tolist()
        cv2.rectangle(tile, (x0, y0), (x1, y1), colour, 2)

    for truth in truths_of(mistake.picture, LABELS.index(mistake.label)):
        outline(truth, _GREEN)
    outline(mistake.box, _RED)
    words = f"{mistake.label} {'missed, at most ' if missed else ''}{mistake.score:.2f}"
    cv2.rectangle(tile, (0, TILE_PX - 18), (TILE_PX, TILE_PX), (0, 0, 0), -1)
    cv2.putText(tile, words, (4, TILE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)
    return tile


def _window(rgb: Rgb, box: Floats) -> tuple[int, int, int]:
    """Return left, top and side, in pixels, of a square with the box in it and some of what is around."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (box * np.array([width, height] * 2)).tolist()
    side = int(min(max(3.0 * max(x1 - x0, y1 - y0), 160.0), max(width, height)))
    left = int(min(max((x0 + x1 - side) / 2, 0), max(width - side, 0)))
    top = int(min(max((y0 + y1 - side) / 2, 0), max(height - side, 0)))
    return left, top, side
