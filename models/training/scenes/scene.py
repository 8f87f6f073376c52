"""Random composition: a room, a desk with its machines and clutter, a worker, a camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy
import numpy as np
from mathutils import Vector

from scenes import distractors, food, machines, phones, stationery, viewpoint
from scenes import shapes as s
from scenes.cast import Cast
from scenes.layout import Layout, discard
from scenes.room import DESK_TOP_M, Room, build_room, draw_room
from scenes.things import Thing, put, stand
from scenes.viewpoint import Viewpoint

PROFILES = ("train", "test", "work", "hands")
"""work: nothing forbidden; hands: somebody holds a phone, or what is taken for one, before a webcam."""
SIZES_PX = ((480, 360), (640, 360), (480, 480))


@dataclass(slots=True)
class Scene:
    """A scene under way: its room, the desk's layout, the things that get an index, and notes."""

    rng: np.random.Generator
    profile: str
    room: Room
    layout: Layout
    view: str
    things: list[Thing] = field(default_factory=list)
    held: str | None = None
    held_thing: Thing | None = None
    size_px: tuple[int, int] = SIZES_PX[0]
    viewpoint: Viewpoint | None = None

    @property
    def forbidden(self) -> bool:
        """Tell whether phones, paper and food may be there at all."""
        return self.profile != "work"


def compose(rng: np.random.Generator, profile: str) -> Scene:
    """Build a random scene of a profile in Blender, its camera set, its things numbered by their order."""
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {PROFILES}, not {profile!r}")
    view = str(rng.choice(["webcam", "desk", "room"], p=[0.45, 0.40, 0.15]))
    view = "webcam" if profile == "hands" else view
    room = draw_room(rng, wide=view == "room")
    scene = Scene(rng, profile, room, Layout(room.desk_m, DESK_TOP_M), view)
    scene.things += build_room(rng, room, books=scene.forbidden)
    scene.size_px = SIZES_PX[rng.choice(3, p=[0.88, 0.07, 0.05])]
    cast = Cast.draw(rng, view, profile)
    if cast.keeps_desk_free:  # forearms and hands lie there
        scene.layout.block(-0.33, 0.12, 0.33, room.desk_m[1] / 2)
    set_up_machines(scene)
    focus = lay_out(scene)
    cast.enter(scene, focus)
    bpy.context.view_layer.update()
    scene.viewpoint = choose_view(scene, cast, focus)
    viewpoint.set_camera(scene.viewpoint, scene.size_px)
    return scene


def set_up_machines(scene: Scene) -> None:
    """Put monitor, laptop, keyboard and mouse where they usually stand."""
    rng, light, layout = scene.rng, scene.room.light, scene.layout
    style = str(rng.choice(["none", "laptop", "monitor", "both"], p=[0.2, 0.3, 0.25, 0.25]))
    if rng.random() < 0.3 and style != "none":
        mat = distractors.mouse_mat(rng)
        if layout.add(mat, float(rng.normal(-0.25, 0.05)), 0.13, float(rng.normal(0, 0.05))):
            scene.things.append(mat)
    wanted: list[tuple[Thing, tuple[float, float, float]]] = []
    back = -layout.size_m[1] / 2
    if style in ("monitor", "both"):
        aside = (
            float(rng.choice([0, 0.28, -0.28]))
            if scene.view != "webcam"
            else float(rng.choice([-0.55, 0.55]))
        )
        wanted.append((machines.monitor(rng, light), (aside, back + 0.13, -aside * 0.5)))
    if style in ("laptop", "both"):
        aside = 0.0 if style == "laptop" and scene.view != "webcam" else float(rng.choice([-0.42, 0.42]))
        wanted.append((machines.laptop(rng, light), (aside, float(rng.uniform(-0.12, 0.04)), -aside * 0.7)))
    if style in ("monitor", "both") or (style == "laptop" and rng.random() < 0.25):
        wanted.append(
            (machines.keyboard(rng), (float(rng.normal(0.03, 0.05)), float(rng.uniform(0.08, 0.2)), 0.0))
        )
    if style != "none" and rng.random() < 0.8:
        wanted.append(
            (
                machines.mouse(rng),
                (float(rng.choice([-0.34, -0.3, 0.34])), float(rng.uniform(0.05, 0.2)), 0.0),
            )
        )
    free, layout.taken = layout.taken, [f for f in layout.taken if f.top_m > DESK_TOP_M]
    for thing, (x, y, yaw) in wanted:
        if any(
            layout.add(thing, x + float(rng.normal(0, 0.04)), y, yaw + float(rng.normal(0, 0.1)))
            for _ in range(6)
        ):
            scene.things.append(thing)
        else:
            discard(thing)
    layout.taken += free


def lay_out(scene: Scene) -> Thing | None:
    """Scatter labelled things and distractors over the desk; return one on which a close view may look."""
    rng = scene.rng
    busy = {"webcam": 0.7, "desk": 1.0, "room": 1.2}[scene.view]
    makers = []
    if scene.forbidden:
        makers += [lambda: phones.phone(rng, scene.room.light)] * int(rng.poisson(0.75 * busy))
        makers += [lambda: stationery.paper(rng)] * int(rng.poisson(1.0 * busy))
        makers += [lambda: food.food(rng)] * int(rng.poisson(0.6 * busy))
    makers += [lambda: stationery.drink(rng)] * int(rng.poisson(0.7 * busy))
    makers += [lambda: distractors.choose(rng, distractors.PHONE_LIKE)] * int(rng.poisson(1.1 * busy))
    makers += [lambda: distractors.choose(rng, distractors.CLUTTER)] * int(rng.poisson(1.3 * busy))
    things = [make() for make in makers]
    things.sort(key=lambda t: not t.flat)  # flat things first, so that others may lie on them
    centre = (float(rng.normal(0, 0.15)), float(rng.normal(0.02, 0.08)))
    placed = [t for t in things if _lay(scene, t, centre)]
    scene.things += placed
    for phone in [t for t in placed if t.label == "cell phone"]:
        _dress(scene, phone)
    near = [
        t
        for t in scene.things
        if t.label in ("mouse", "keyboard", "laptop", "monitor") or t.name == "mouse mat"
    ]
    return _pick_focus(rng, placed, near)


def _lay(scene: Scene, thing: Thing, centre: tuple[float, float]) -> bool:
    rng = scene.rng
    faces_worker = thing.name in ("picture frame", "desk phone", "lamp", "tablet", "calculator")
    spread = 0.16 if scene.view == "desk" else 0.3
    if not scene.layout.scatter(
        rng, thing, centre, spread, np.pi if faces_worker and rng.random() < 0.6 else None
    ):
        return False
    low, high = thing.bounds()
    lies = high[2] - low[2] < 0.03 and thing.label in ("cell phone", None) and not thing.flat
    if lies and rng.random() < 0.3:  # back side up
        place = thing.objects[0].matrix_world.copy()
        turn = place.copy()
        turn.identity()
        turn[0][0], turn[2][2] = -1.0, -1.0
        place[2][3] += float(low[2] + high[2])
        put(thing, place @ turn)
    return True


def _dress(scene: Scene, phone: Thing) -> None:
    """Put a phone on a stand, partly below a sheet, or on a cable, now and then."""
    rng = scene.rng
    place = phone.objects[0].matrix_world.copy()
    x, y, z = place.translation
    low, high = phone.bounds()
    kind = rng.random()
    if kind < 0.1:
        yaw, lean = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0.9, 1.35))
        level = z + float(low[2])
        stand(phone, x, y, level + 0.006, yaw, (lean, 0))
        phones.phone_stand(rng, phone, level)
    elif kind < 0.2:
        leaf = s.moved(s.painted(s.sheet(0.15, 0.21, 0.02, float(rng.uniform(0, 3))), 0), (0, 0, 0))
        sheet = stationery.paper_sheet(rng, leaf)
        stand(
            sheet,
            x + float(rng.choice([-1, 1])) * 0.07,
            y + float(rng.normal(0, 0.05)),
            z + float(high[2]) + 0.004,
            float(rng.uniform(0, 6)),
        )
        scene.things.append(sheet)
    elif kind < 0.35:
        plug = np.array(place @ Vector((0, float(low[1]), 0)))
        away = plug + np.array([*rng.normal(0, 0.35, 2), 0])
        away[2] = plug[2] = max(plug[2], DESK_TOP_M + 0.003)
        phones.cable(rng, plug, away)


def _pick_focus(rng: np.random.Generator, placed: list[Thing], near: list[Thing]) -> Thing | None:
    pool = placed + near
    if not pool:
        return None
    weights = np.array(
        [
            4.0 if t.label == "cell phone" else 1.5 if t.label or t.name in distractors.PHONE_LIKE else 0.5
            for t in pool
        ]
    )
    return pool[rng.choice(len(pool), p=weights / weights.sum())]


def choose_view(scene: Scene, cast: Cast, focus: Thing | None) -> Viewpoint:
    """Choose the camera's place for the scene's kind of view."""
    if scene.view == "webcam":
        return viewpoint.webcam(scene.rng, scene.room, cast.central)
    if scene.view == "room":
        return viewpoint.shelf(scene.rng, scene.room)
    if focus is None:
        return viewpoint.over_desk(scene.rng, np.array([0, 0, DESK_TOP_M]), 0.5, scene.room)
    most_m = 0.5 if cast.pose == "hand_only" else 1.4  # such a person ends at the shoulder
    low, high = focus.bounds()
    middle = focus.objects[0].matrix_world @ Vector([float(v) for v in (low + high) / 2])
    return viewpoint.over_desk(scene.rng, np.array(middle), float((high - low).max()), scene.room, most_m)
