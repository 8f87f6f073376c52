"""Who is seen, and who is not: recall over rendered people by skin, age, hand, light and distance.

    python -m deskmodel.subgroups --scenes DIR --model CARD.toml

Of rendered scenes all this is known of each person, which no photo set here tells. Shares come with their
95 % interval (Wilson), as the groups are small.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from deskmodel.adapters import open_model
from deskmodel.data import DataError, load_rgb, read_text
from deskmodel.labels import LABELS
from deskmodel.metrics import Floats, match, of_label
from edge.errors import EdgeError

FLOOR = 0.1
CHILD_YEARS = 16.0
Z = 1.96


class SeenBox(msgspec.Struct, frozen=True):
    """A box of a scene, and what is told of the person, or of the hand that holds the thing."""

    label: str
    box: tuple[float, float, float, float]
    skin_tone: float | None = None
    """0 the lightest, 1 the darkest."""
    age_years: float | None = None
    hand: str | None = None


class Scene(msgspec.Struct, frozen=True):
    """A scene's label file, as far as it matters here."""

    light: str
    view: str
    boxes: list[SeenBox]


@dataclass(frozen=True, slots=True)
class Found:
    """One box to find, the groups that it is of, and whether it was found."""

    groups: tuple[str, ...]
    hit: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deskmodel.subgroups",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of rendered scenes")
    parser.add_argument("--model", type=Path, required=True, help="a card")
    options = parser.parse_args(arguments)
    try:
        print(table(list(look(options.scenes, options.model))))
    except (DataError, EdgeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def look(folder: Path, card: Path) -> Iterator[Found]:
    """Yield each person and each phone of the scenes. Raises DataError."""
    paths = sorted(folder.glob("[0-9]*.json"))
    if not paths:
        raise DataError(f"{folder}: wanted scenes NNNNNN.json, got none")
    model = open_model(card)
    for path in tqdm(paths, unit="scene", disable=None):
        try:
            scene = msgspec.json.decode(read_text(path), type=Scene)
        except msgspec.DecodeError as error:
            raise DataError(f"{path}: {error}") from error
        seen = model.detect(load_rgb(path.with_suffix(".jpg")), FLOOR)
        for label in ("person", "cell phone"):
            wanted = [one for one in scene.boxes if one.label == label]
            boxes, scores = of_label(seen, LABELS.index(label))
            boxes = boxes[scores >= model.threshold_of(label)]
            truths: Floats = np.array([one.box for one in wanted], dtype=np.float64).reshape(-1, 4)
            found = set(match(truths, boxes).tolist())
            for i, one in enumerate(wanted):
                yield Found(tuple(groups(one, scene)), i in found)


def groups(one: SeenBox, scene: Scene) -> Iterator[str]:
    """Yield the names of the groups that a box counts in."""
    yield f"{one.label}: all"
    yield f"{one.label}: light, {scene.light}"
    yield f"{one.label}: view, {scene.view}"
    x0, y0, x1, y1 = one.box
    share = (x1 - x0) * (y1 - y0)
    yield f"{one.label}: of the frame, {'< 1 %' if share < 0.01 else '1–5 %' if share < 0.05 else '> 5 %'}"
    if one.skin_tone is not None:
        third = ("light", "middle", "dark")[min(int(one.skin_tone * 3), 2)]
        yield f"{one.label}: skin, {third}"
    if one.age_years is not None:
        yield f"{one.label}: {'children' if one.age_years < CHILD_YEARS else 'adults'}"
    if one.label == "cell phone" and one.hand is not None:
        yield f"{one.label}: in the {'left' if one.hand == 'L' else 'right'} hand"


def table(found: Sequence[Found]) -> str:
    """Return a Markdown table of the groups."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in found:
        for group in one.groups:
            counts[group][0] += one.hit
            counts[group][1] += 1
    lines = ["| group | found | recall | 95 % interval |", "| --- | --- | --- | --- |"]
    for group, (hits, count) in sorted(counts.items()):
        low, high = wilson(hits, count)
        lines.append(f"| {group} | {hits} of {count} | {hits / count:.2f} | {low:.2f}–{high:.2f} |")
    return "\n".join(lines)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share. Raises ValueError for a count of 0."""
    if count <= 0:
        raise ValueError(f"count: wanted 1 or more, got {count}")
    share = hits / count
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * (share * (1 - share) / count + Z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    sys.exit(main())
