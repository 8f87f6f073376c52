"""Exact boxes from the index map that is rendered together with the picture."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import cv2
import numpy as np

from scenes.things import Thing

LABELS = ("person", "cell phone", "paper", "drink", "food", "laptop", "monitor", "keyboard", "mouse")
MIN_VISIBLE = 0.15
MIN_SIDE_PX = 6
# A large thing cut by the frame is labelled though most of it lies outside.
LARGE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Seen:
    """What the frame shows of a thing: pixels x0, y0, x1, y1 (exclusive), and its visible share."""

    box_px: tuple[int, int, int, int]
    visible: float


def number(things: list[Thing]) -> None:
    """Give each labelled thing and named distractor its index in the map, from 1; all else is 0."""
    for i, thing in enumerate(things, 1):
        for o in thing.objects:
            o.pass_index = i


def silhouette_px(thing: Thing, camera: bpy.types.Object, size_px: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels the thing would cover if alone: all, up to a frame outside, and those in the frame.

    Each face of its meshes is filled in a mask with the frame in the middle; faces behind the lens are left
    out. Distortion and blur of the lens are neglected.
    """
    width, height = size_px
    mask = np.zeros((3 * height, 3 * width), np.uint8)
    focal = width / 2 / np.tan(camera.data.angle / 2)
    view = np.array(camera.matrix_world.inverted())
    for o in thing.objects:
        mesh = o.data
        points = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", points)
        to_view = view @ np.array(o.matrix_world)
        seen = points.reshape(-1, 3) @ to_view[:3, :3].T + to_view[:3, 3]
        depth = np.maximum(-seen[:, 2], 1e-6)
        x = seen[:, 0] / depth * focal + 1.5 * width
        y = 1.5 * height - seen[:, 1] / depth * focal
        pixels = np.clip(np.stack([x, y], 1) * 16, -(2**19), 2**19).astype(np.int32)
        ok = seen[:, 2] < -0.005
        for face in mesh.polygons:
            corners = list(face.vertices)
            if ok[corners].all():
                cv2.fillPoly(mask, [pixels[corners]], 1, shift=4)
    inside = mask[height : 2 * height, width : 2 * width]
    return int(cv2.countNonZero(mask)), int(cv2.countNonZero(inside))


def see(index: int, thing: Thing, index_map: np.ndarray, camera: bpy.types.Object) -> Seen | None:
    """Return what is seen of a thing in the index map (h, w), or None if too little.

    A person's share counts only what lies in the frame: half a person is as much a person.
    """
    pixels = (index_map == index).astype(np.uint8)
    count = cv2.countNonZero(pixels)
    if count == 0:
        return None
    x, y, w, h = cv2.boundingRect(pixels)
    if min(w, h) < MIN_SIDE_PX:
        return None
    height, width = index_map.shape
    everywhere, inside = silhouette_px(thing, camera, (width, height))
    alone = inside if thing.label == "person" else everywhere
    visible = min(count / max(alone, 1), 1.0)
    is_large = count >= LARGE_SHARE * width * height and count >= MIN_VISIBLE * inside
    return Seen((x, y, x + w, y + h), visible) if visible >= MIN_VISIBLE or is_large else None


def _person(body: bpy.types.Object) -> dict[str, object]:
    """Return what is told of a person, or of the hand that holds a thing."""
    if body.parent is not None and "hand" in body.parent:
        return {"hand": body.parent["hand"]}
    return {key: body[key] for key in ("skin_tone", "age_years", "hand") if key in body}


def describe(
    things: list[Thing], index_map: np.ndarray, camera: bpy.types.Object
) -> dict[str, list[dict[str, object]]]:
    """Return the label file's `boxes` and `distractors`, all coordinates 0–1 of the frame."""
    height, width = index_map.shape
    boxes, distractors = [], []
    for i, thing in enumerate(things, 1):
        seen = see(i, thing, index_map, camera)
        if seen is None:
            continue
        x0, y0, x1, y1 = seen.box_px
        box = [round(v, 5) for v in (x0 / width, y0 / height, x1 / width, y1 / height)]
        if thing.label is not None:
            row = {"label": thing.label, "name": thing.name, "box": box, "visible": round(seen.visible, 3)}
            boxes.append(row | _person(thing.objects[0]))
        elif thing.named:
            distractors.append({"name": thing.name, "box": box, "visible": round(seen.visible, 3)})
    return {"boxes": boxes, "distractors": distractors}
