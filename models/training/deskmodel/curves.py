"""Draw how a training went: python -m deskmodel.curves --run DIR --out PNG."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec

from deskmodel.data import DataError, read_text

mpl.use("Agg")
from matplotlib import pyplot as plt

LOSSES = {
    "classes": "classes (quality focal)",
    "overlap": "overlap (2 · GIoU)",
    "sides": "sides (¼ · distribution focal)",
    "teacher": "distance from the teacher",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m deskmodel.curves", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of deskmodel.train, with log.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="the PNG")
    options = parser.parse_args(arguments)
    try:
        rows = read_log(options.run / "log.jsonl")
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    figure, axes = plt.subplots(1, len(LOSSES), figsize=(14, 3.2), layout="constrained")
    for axis, (key, title) in zip(axes, LOSSES.items(), strict=True):
        axis.plot([row["epoch"] for row in rows], [row[key] for row in rows], marker="o", markersize=3)
        for row in rows:
            if row.get("rounded"):
                axis.axvspan(row["epoch"] - 0.5, row["epoch"] + 0.5, color="0.92", zorder=0)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("epoch (grey: rounded as int8)", fontsize=8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    return 0


def read_log(path: Path) -> list[dict[str, float]]:
    """Return a training's log, a row an epoch. Raises DataError."""
    try:
        rows = [msgspec.json.decode(line, type=dict[str, float]) for line in read_text(path).splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from error
    if not rows:
        raise DataError(f"{path}: wanted a line for each epoch, got none")
    return rows


if __name__ == "__main__":
    sys.exit(main())
