"""Where the camera stands and looks: as a webcam, over the desk, or from a shelf."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from scenes.room import DESK_TOP_M, Room


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """A camera's place and target in metres, its horizontal angle of view, roll and distance of focus."""

    place: tuple[float, float, float]
    target: tuple[float, float, float]
    wide_rad: float
    roll_rad: float
    focus_m: float
    aperture: float  # f-number


def webcam(rng: np.random.Generator, room: Room, central: bool) -> Viewpoint:
    """Choose a webcam's view of the worker's seat; a central one stands in the middle, about eye height."""
    edge = room.desk_m[1] / 2
    if central:
        place = (
            float(rng.normal(0, 0.06)),
            -edge + float(rng.uniform(0, 0.06)),
            DESK_TOP_M + float(rng.uniform(0.24, 0.48)),
        )
    else:
        place = (
            float(rng.normal(0, 0.25)),
            -edge + float(rng.uniform(-0.1, 0.12)),
            DESK_TOP_M + float(rng.uniform(0.06, 0.55)),
        )
    target = (float(rng.normal(0, 0.1)), 0.55, DESK_TOP_M + float(rng.uniform(0.0, 0.45)))
    wide = np.radians(float(rng.uniform(60, 95)))
    return Viewpoint(
        place,
        target,
        wide,
        float(rng.normal(0, 0.03)),
        float(rng.uniform(0.5, 1.0)),
        float(rng.uniform(4, 16)),
    )


def shelf(rng: np.random.Generator, room: Room) -> Viewpoint:
    """Choose a view of the whole desk from 1.5–2.5 m away, within the room."""
    for _ in range(30):
        far, turn = float(rng.uniform(1.5, 2.5)), float(rng.uniform(0, 2 * np.pi))
        place = (far * np.cos(turn), far * np.sin(turn), float(rng.uniform(1.25, 2.2)))
        if (
            room.low[0] + 0.15 < place[0] < room.high[0] - 0.15
            and room.low[1] + 0.15 < place[1] < room.high[1] - 0.35
        ):
            break
    target = (
        float(rng.normal(0, 0.15)),
        float(rng.normal(0.15, 0.15)),
        DESK_TOP_M + float(rng.uniform(-0.05, 0.2)),
    )
    return Viewpoint(
        place, target, np.radians(float(rng.uniform(50, 80))), float(rng.normal(0, 0.03)), far, 16.0
    )


def over_desk(
    rng: np.random.Generator, focus: np.ndarray, size_m: float, room: Room, most_m: float = 1.4
) -> Viewpoint:
    """Choose a view of a point (3,) at most most_m away, in which such a thing spans 4–60 % of the width."""
    wide = np.radians(float(rng.uniform(45, 85)))
    share = float(np.clip(np.exp(rng.normal(np.log(0.17), 0.7)), 0.04, 0.6))
    for _ in range(30):
        far = float(np.clip(size_m / (2 * share * np.tan(wide / 2)), 0.16, most_m))
        lift, turn = np.radians(float(rng.uniform(12, 85))), float(rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.5:
            turn = np.pi / 2 + float(rng.normal(0, 0.5))  # as the worker sees it
        place = focus + far * np.array(
            [np.cos(turn) * np.cos(lift), np.sin(turn) * np.cos(lift), np.sin(lift)]
        )
        inside = (
            room.low[0] + 0.1 < place[0] < room.high[0] - 0.1
            and room.low[1] + 0.1 < place[1] < room.high[1] - 0.35
        )
        if inside and place[2] > DESK_TOP_M + 0.05 and _sees(place, focus):
            break
    aside = rng.normal(0, 0.22, 2) * far * np.tan(wide / 2)
    target = (float(focus[0] + aside[0]), float(focus[1] + aside[1]), float(focus[2]))
    roll = float(rng.normal(0, 0.06)) if rng.random() < 0.8 else float(rng.uniform(-0.5, 0.5))
    return Viewpoint(tuple(float(v) for v in place), target, wide, roll, far, float(rng.uniform(2.5, 16)))


def _sees(place: np.ndarray, focus: np.ndarray) -> bool:
    """Tell whether nothing stands within the camera's reach or between it and 5 cm before the focus."""
    graph = bpy.context.evaluated_depsgraph_get()
    way = Vector(focus - place)
    hit, where, *_ = bpy.context.scene.ray_cast(graph, Vector(place), way.normalized(), distance=way.length)
    return not hit or (where - Vector(focus)).length < 0.07


def set_camera(view: Viewpoint, size_px: tuple[int, int]) -> bpy.types.Object:
    """Put the scene's camera there, its picture so many pixels wide and high."""
    scene = bpy.context.scene
    lens = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", lens)
    scene.collection.objects.link(camera)
    lens.sensor_fit, lens.angle, lens.clip_start = "HORIZONTAL", view.wide_rad, 0.01
    # A webcam's chip is some 5 mm wide; what blurs is lens / f-number, so the lens must be its true length.
    lens.sensor_width = 5.0
    lens.lens = 5.0 / (2 * np.tan(view.wide_rad / 2))
    lens.dof.use_dof, lens.dof.focus_distance, lens.dof.aperture_fstop = True, view.focus_m, view.aperture
    camera.location = view.place
    turn = (Vector(view.target) - Vector(view.place)).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    roll = turn @ turn.copy().Rotation(view.roll_rad, 4, "Z")
    camera.rotation_euler = roll.to_euler()
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = size_px
    return camera
