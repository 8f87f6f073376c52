"""Reads rendered scenes: NNNNNN.jpg, and beside it NNNNNN.json with exact boxes of all that is seen."""

from pathlib import Path

import msgspec

from deskmodel.data import BoxRow, DataError, NamedBox, Picture, clipped, read_text
from deskmodel.labels import LABELS

Corners = tuple[float, float, float, float]


class SceneBox(msgspec.Struct, frozen=True):
    """A labelled thing of a scene."""

    label: str
    box: Corners
    """x0, y0, x1, y1 in 0–1 of the frame."""
    visible: float
    """The share of it that nothing hides, 0–1."""


class SceneDistractor(msgspec.Struct, frozen=True):
    """A thing of a scene that is none of the labels."""

    name: str
    box: Corners


class Scene(msgspec.Struct, frozen=True):
    """A scene's label file. Other keys are the renderer's own business."""

    profile: str
    width_px: int
    height_px: int
    boxes: list[SceneBox]
    distractors: list[SceneDistractor] = []
    view: str = ""
    held: str | None = None


def read_rendered(folder: Path) -> list[Picture]:
    """Return a folder's scenes that have both picture and labels. Raises DataError, naming the file."""
    labels = sorted(folder.glob("[0-9]*.json"))
    if not labels:
        raise DataError(f"{folder}: wanted scenes NNNNNN.json beside NNNNNN.jpg, got none")
    return [_picture(folder, path) for path in labels]


def _picture(folder: Path, path: Path) -> Picture:
    image = path.with_suffix(".jpg")
    if not image.is_file():
        raise DataError(f"{path}: wanted its picture {image.name} beside it, got none")
    try:
        scene = msgspec.json.decode(read_text(path), type=Scene)
        boxes = [_row(seen) for seen in scene.boxes]
        distractors: list[NamedBox] = [(seen.name, *clipped(*seen.box)) for seen in scene.distractors]
    except (msgspec.DecodeError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    return Picture(
        image=str(image.resolve()),
        # The profile too: the same numbers stand for other scenes in another folder.
        id=f"rendered:{scene.profile}:{folder.resolve().name}:{path.stem}",
        source="rendered" if scene.profile == "train" else f"rendered-{scene.profile}",
        licence="Apache-2.0",
        width_px=scene.width_px,
        height_px=scene.height_px,
        known=list(LABELS),
        ignore=[],
        boxes=boxes,
        distractors=distractors,
        profile=scene.profile,
        view=scene.view,
        in_hand=scene.held or "",
    )


def _row(seen: SceneBox) -> BoxRow:
    if seen.label not in LABELS:
        raise ValueError(f"boxes: wanted a label of {list(LABELS)}, got {seen.label!r}")
    return (LABELS.index(seen.label), *clipped(*seen.box))
