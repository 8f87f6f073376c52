"""The clip's set: one fixed home office, its camera, its two people, and what a shot of it is."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix

from scenes import distractors, machines, materials, phones, room, stationery, viewpoint
from scenes import shapes as s
from scenes.people import WEBCAM_M, Character, Place, build_object, make_character, place_matrix, posed_points
from scenes.posture import Posture, Setting, held_transform
from scenes.stance import Stance, pose_stance
from scenes.things import Thing, put, stand

SIZE_PX = (640, 480)
SEAT_M = 0.45
ROOM_SEED, WORKER_SEED, VISITOR_SEED = 37, 52, 77
VIEW = viewpoint.Viewpoint((0.03, -0.37, 1.18), (0.0, 0.55, 0.915), np.radians(84), 0.012, 0.9, 11.0)


@dataclass(frozen=True)
class Pose:
    """Where somebody is (metres, radians; see `people.Place`) and how: a posture in their own frame."""

    x_m: float
    y_m: float
    facing_rad: float
    posture: Posture


@dataclass(frozen=True)
class Shot:
    """All that moves: the chair's x, y and yaw, the people there, the phone, the sheets' x, y, yaw."""

    chair: tuple[float, float, float]
    worker: Pose | None = None
    visitor: Pose | None = None
    has_phone: bool = False
    sheets: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Actor:
    """A dressed person whose meshes are moved from shot to shot; `objects` go with the character's pieces."""

    character: Character
    objects: tuple[bpy.types.Object, ...]

    def setting(self, side: str, size_m: np.ndarray | None = None) -> Setting:
        """Return what postures must know of this person; `side` (L, R) is the busy hand."""
        body = self.character
        return Setting(body.skeleton, body.shaped, SEAT_M, WEBCAM_M, side, size_m, is_round=False)

    def play(self, pose: Pose | None) -> np.ndarray | None:
        """Move the meshes into a pose or out of sight; return where a held thing is (4, 4), if any."""
        for thing in self.objects:
            thing.hide_render = pose is None
        if pose is None:
            return None
        world = place_matrix(Place(pose.x_m, pose.y_m, pose.facing_rad, SEAT_M))
        posed = pose_stance(self.character.skeleton, pose.posture.stance)
        points = posed_points(self.character, posed, world)
        for thing, moved in zip(self.objects, points, strict=True):
            thing.data.vertices.foreach_set("co", moved.astype(np.float32).ravel())
            thing.data.update()
        return None if pose.posture.held is None else world @ held_transform(posed, pose.posture)


@dataclass(frozen=True)
class Set:
    """The furnished room; `things` carry the labels."""

    things: list[Thing]
    chair: bpy.types.Object
    worker: Actor
    visitor: Actor
    phone: Thing
    sheets: tuple[Thing, Thing]

    def arrange(self, shot: Shot) -> None:
        """Bring everything into place for a shot."""
        self.chair.location = (*shot.chair[:2], 0.0)
        self.chair.rotation_euler = (0.0, 0.0, shot.chair[2])
        held = self.worker.play(shot.worker)
        self.visitor.play(shot.visitor)
        shown = shot.has_phone and held is not None
        _show(self.phone, shown)
        if shown:
            put(self.phone, Matrix(held.tolist()))
        for number, sheet in enumerate(self.sheets):
            _show(sheet, shot.sheets is not None)
            if shot.sheets is not None:
                x, y, yaw = shot.sheets
                stand(
                    sheet,
                    x + 0.035 * number,
                    y - 0.012 * number,
                    room.DESK_TOP_M + 0.002 * number,
                    yaw + 0.22 * number,
                )
        bpy.context.view_layer.update()


def _show(thing: Thing, shown: bool) -> None:
    for o in thing.objects:
        o.hide_render = not shown


def _actor(seed: int) -> Actor:
    character = make_character(np.random.default_rng(seed))
    at_rest = pose_stance(character.skeleton, Stance(np.array([0, 0, 0.9]), (0.0, 0.0), (0.0, 0.0)))
    points = posed_points(character, at_rest, np.eye(4))
    objects = [
        build_object(piece, moved, piece.faces, character.materials[piece.name])
        for piece, moved in zip(character.pieces, points, strict=True)
    ]
    return Actor(character, tuple(objects))


def build_set() -> Set:
    """Build room, desk, things, people and camera."""
    rng = np.random.default_rng(ROOM_SEED)
    office = room.Room((-2.6, -1.6), (2.6, 2.3), (1.7, 0.72), 0.7, "sun")
    things = room.build_room(rng, office, books=False)
    room.chair(rng, 0.0, 0.0, 0.0, SEAT_M)
    placed = (
        (machines.keyboard(rng), 0.02, 0.10, 0.03),
        (machines.mouse(rng), -0.33, 0.15, 0.45),
        (machines.monitor(rng, 1.0, 1.0), -0.58, 0.20, -1.0),
        (stationery.mug(rng), -0.39, 0.28, 2.2),
        (distractors.pen_pot(rng), -0.50, 0.34, 0.3),
        (distractors.plant(rng), 0.74, 0.36, 0.0),
    )
    for thing, x_m, y_m, yaw_rad in placed:
        stand(thing, x_m, y_m, room.DESK_TOP_M, yaw_rad)
        things.append(thing)
    mouse = placed[1][0].objects[0]
    mouse.data.materials[0] = materials.plain((0.72, 0.72, 0.70), 0.35)  # a black one passes for a phone
    worker, visitor = _actor(WORKER_SEED), _actor(VISITOR_SEED)
    phone = phones.phone(rng, 1.0, 1.0)
    leaf = s.painted(s.sheet(0.21, 0.297, 0.004, 0.6), 0)
    sheets = (stationery.paper_sheet(rng, leaf), stationery.paper_sheet(rng, leaf))
    people = [Thing("person", "person", list(actor.objects)) for actor in (worker, visitor)]
    things += [*people, phone, *sheets]
    viewpoint.set_camera(VIEW, SIZE_PX)
    return Set(things, bpy.data.objects["chair"], worker, visitor, phone, sheets)
