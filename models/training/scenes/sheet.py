"""A contact sheet of rendered scenes with their boxes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from scenes.labels import LABELS

TILE_PX = (320, 240)


def _tile(folder: Path, number: int) -> np.ndarray:
    """Return one scene (240, 320, 3) BGR: labels in their colour, distractors in grey."""
    path = folder / f"{number:06}.jpg"
    picture = cv2.imread(str(path))
    if picture is None:
        raise FileNotFoundError(f"wanted a rendered scene at {path}")
    labels = json.loads(path.with_suffix(".json").read_text())
    picture = cv2.resize(picture, TILE_PX, interpolation=cv2.INTER_AREA)
    size = np.array([*TILE_PX, *TILE_PX])
    for entry in labels["distractors"] + labels["boxes"]:
        x0, y0, x1, y1 = (int(v) for v in np.array(entry["box"]) * size)
        name = entry.get("label", entry["name"])
        hue = LABELS.index(name) * 19 if name in LABELS else None
        colour = (
            (150, 150, 150)
            if hue is None
            else cv2.cvtColor(np.uint8([[[hue, 230, 255]]]), cv2.COLOR_HSV2BGR)[0, 0].tolist()
        )
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 1)
        cv2.putText(
            picture, name, (x0 + 1, max(y0 + 9, 9)), cv2.FONT_HERSHEY_SIMPLEX, 0.32, colour, 1, cv2.LINE_AA
        )
    cv2.putText(
        picture, f"{number} {labels['view']}", (3, 235), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 255, 255), 1
    )
    return picture


def contact_sheet(folder: Path, path: Path, first: int = 0, columns: int = 6, rows: int = 4) -> None:
    """Draw scenes first, first + 1, … that exist in a folder as a sheet of columns × rows."""
    numbers = sorted(int(p.stem) for p in folder.glob("[0-9]*.json") if int(p.stem) >= first)[
        : columns * rows
    ]
    tiles = [_tile(folder, n) for n in numbers]
    tiles += [np.zeros_like(tiles[0])] * (columns * rows - len(tiles))
    lines = [np.hstack(tiles[i : i + columns]) for i in range(0, columns * rows, columns)]
    cv2.imwrite(str(path), np.vstack(lines))
