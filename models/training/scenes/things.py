"""A thing of a scene: its Blender objects, its label, its extent; and how it is put somewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy
import numpy as np
from mathutils import Euler, Matrix, Vector


@dataclass(frozen=True, slots=True)
class Thing:
    """One labelled thing, distractor or piece of scenery.

    `objects` carry the label; `extras` (a plate under food) belong to the thing but not to its box. All
    share one local frame in metres. A `label` of None with `named` set makes a distractor.
    """

    name: str
    label: str | None
    objects: list[bpy.types.Object]
    extras: list[bpy.types.Object] = field(default_factory=list)
    flat: bool = False  # others may lie on it
    named: bool = False  # list its box among the distractors
    glow: bool = False

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest corner (3,) of all objects in the local frame, metres."""
        corners = np.array([c for o in (*self.objects, *self.extras) for c in o.bound_box])
        return corners.min(0), corners.max(0)


def put(thing: Thing, matrix: Matrix) -> None:
    """Set where all the thing's objects are."""
    for o in (*thing.objects, *thing.extras):
        o.matrix_world = matrix


def stand(
    thing: Thing, x_m: float, y_m: float, z_m: float, yaw_rad: float, lean: tuple[float, float] = (0, 0)
) -> float:
    """Set a thing down on a level, turned by yaw and leaned about x and y; return its top, metres."""
    turn = Euler((lean[0], lean[1], yaw_rad), "XYZ").to_matrix().to_4x4()
    low, high = thing.bounds()
    corners = [
        turn @ Vector((x, y, z))
        for x in (low[0], high[0])
        for y in (low[1], high[1])
        for z in (low[2], high[2])
    ]
    bottom = min(c.z for c in corners)
    put(thing, Matrix.Translation((x_m, y_m, z_m - bottom + 2e-4)) @ turn)
    return z_m + max(c.z for c in corners) - bottom
