"""The room around the desk: walls, window, shelves, chair, desk, and its light."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from scenes import distractors, textures
from scenes import materials as m
from scenes import shapes as s
from scenes.things import Thing, stand

DESK_TOP_M = 0.74
# Kinds of light: (weight, ambient level, sun, lamp); levels are relative, the camera exposes for them.
LIGHTS: dict[str, tuple[float, float, float, float]] = {
    "day": (0.4, 1.0, 0.0, 0.0),
    "sun": (0.2, 0.7, 3.0, 0.0),
    "lamp": (0.2, 0.3, 0.0, 1.0),
    "evening": (0.1, 0.1, 0.0, 0.12),
    "backlight": (0.08, 0.35, 0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Room:
    """The room's bounds in metres, its desk's size and edge, and the ambient light level."""

    low: tuple[float, float]
    high: tuple[float, float]
    desk_m: tuple[float, float]
    light: float
    kind: str


@dataclass(frozen=True, slots=True)
class BackWall:
    """What furniture must know of its wall: its place, the kind of light, whether books are allowed."""

    y_m: float
    light: str
    books: bool


def draw_room(rng: np.random.Generator, wide: bool) -> Room:
    """Choose a room; a wide one leaves space for a camera on a shelf."""
    half = float(rng.uniform(2.3, 3.0) if wide else rng.uniform(1.3, 2.8))
    back = float(rng.uniform(2.3, 3.0) if wide else rng.uniform(0.75, 2.2))
    weights = np.array([w for w, *_ in LIGHTS.values()])
    kind = str(rng.choice(list(LIGHTS), p=weights / weights.sum()))
    desk = (float(rng.uniform(1.2, 1.8)), float(rng.uniform(0.66, 0.8)))
    front = float(rng.uniform(1.5, 3.2))
    return Room((-half, -back), (half, front), desk, LIGHTS[kind][1], kind)


def _wall(name: str, corners: np.ndarray, surface: bpy.types.Material, tile_m: float) -> bpy.types.Object:
    """Make a quad (4, 3) whose picture repeats every tile_m; the surrounding light passes through it."""
    size = (np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[3] - corners[0]))
    uv = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]]) / tile_m
    wall = s.build(s.Shape(corners, [(0, 1, 2, 3)], [0], [uv], [False]), name, [surface])
    wall.visible_shadow = wall.visible_diffuse = False
    return wall


def build_room(rng: np.random.Generator, room: Room, books: bool) -> list[Thing]:
    """Build walls, floor, desk and light, furnish the back wall; return what may be labelled."""
    (x0, y0), (x1, y1), z = room.low, room.high, 2.7
    paint = m.pictured(textures.image(rng, "wall"), 0.85)
    ground = m.pictured(textures.image(rng, "wood" if rng.random() < 0.6 else "cloth"), 0.6)
    corners = {
        "wall back": [(x1, y1, 0), (x0, y1, 0), (x0, y1, z), (x1, y1, z)],
        "wall left": [(x0, y1, 0), (x0, y0, 0), (x0, y0, z), (x0, y1, z)],
        "wall right": [(x1, y0, 0), (x1, y1, 0), (x1, y1, z), (x1, y0, z)],
        "wall front": [(x0, y0, 0), (x1, y0, 0), (x1, y0, z), (x0, y0, z)],
    }
    for name, quad in corners.items():
        _wall(name, np.array(quad, float), paint, 1.6)
    _wall("floor", np.array([(x0, y0, 0), (x1, y0, 0), (x1, y1, 0), (x0, y1, 0)], float), ground, 1.5)
    _desk(rng, room)
    m.surround(rng, room.light)
    _lights(rng, room)
    return _furnish(rng, room, books)


def _desk(rng: np.random.Generator, room: Room) -> None:
    wide, deep = room.desk_m
    kind = rng.random()
    if kind < 0.5:
        top = m.pictured(
            textures.image(rng, "wood"), float(rng.uniform(0.15, 0.6)), coat=float(rng.random() * 0.4)
        )
    elif kind < 0.85:
        top = m.pictured(textures.image(rng, "laminate"), float(rng.uniform(0.1, 0.6)))
    elif kind < 0.93:
        top = m.plain(m.neutral(rng, 0.6), 0.06)  # glass, painted below
    else:
        top = m.pictured(textures.image(rng, "cloth"), 0.85)
    side = m.plain(m.neutral(rng), 0.5)
    plate = s.moved(s.slab(wide, deep, 0.028, 0.01, 0.002), (0, 0, DESK_TOP_M - 0.014))
    legs = [
        s.box(
            (0.05, 0.05, DESK_TOP_M - 0.03),
            (x * (wide / 2 - 0.06), y * (deep / 2 - 0.06), DESK_TOP_M / 2 - 0.015),
        )
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    s.build(s.join(plate, *legs), "desk", [side, top, side])


def _lights(rng: np.random.Generator, room: Room) -> None:
    _, _, sun, lamp = LIGHTS[room.kind]
    if sun:
        light = bpy.data.lights.new("sun", "SUN")
        light.energy, light.angle = sun * float(rng.uniform(0.5, 1.5)), 0.02
        light.color = (1.0, float(rng.uniform(0.8, 0.97)), float(rng.uniform(0.6, 0.9)))
        _aim(
            light,
            (float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3)), float(rng.uniform(1.2, 4))),
            (0, 0, 0),
        )
    if lamp:
        light = bpy.data.lights.new("lamp", "AREA")
        light.energy, light.size = lamp * float(rng.uniform(6, 22)), float(rng.uniform(0.08, 0.6))
        warm = float(rng.uniform(0, 1))
        light.color = (1.0, 0.95 - 0.25 * warm, 0.92 - 0.55 * warm)
        spot = (
            float(rng.uniform(-1, 1)),
            float(rng.uniform(-0.6, 0.8)),
            DESK_TOP_M + float(rng.uniform(0.45, 1.6)),
        )
        _aim(light, spot, (float(rng.normal(0, 0.2)), 0, DESK_TOP_M))


def _aim(
    light: bpy.types.Light, place: tuple[float, float, float], target: tuple[float, float, float]
) -> None:
    made = bpy.data.objects.new(light.name, light)
    bpy.context.scene.collection.objects.link(made)
    made.location = place
    made.visible_camera = made.visible_glossy = False  # a bare lamp's mirror image is a hard white square
    made.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()


def _furnish(rng: np.random.Generator, room: Room, books: bool) -> list[Thing]:
    """Put a window, a door, a shelf, pictures or plants along the back wall, without overlap."""
    (x0, _), (x1, y1) = room.low, room.high
    makers = {"window": _window, "door": _door, "shelf": _shelf, "frame": _frame, "plant": _plant}
    slots = np.arange(x0 + 0.7, x1 - 0.5, 1.15)
    rng.shuffle(slots)
    chosen = ["window"] if room.kind in ("backlight", "sun") else []
    chosen += [str(n) for n in rng.choice(list(makers), int(rng.integers(1, 4)))]
    things: list[Thing] = []
    for x, name in zip(slots, chosen, strict=False):
        things += makers[name](rng, float(x), BackWall(y1, room.kind, books))
    return things


def _window(rng: np.random.Generator, x: float, wall: BackWall) -> list[Thing]:
    wide, tall = float(rng.uniform(0.8, 1.1)), float(rng.uniform(1.0, 1.5))
    glow = {"backlight": 4.0, "sun": 2.5, "day": 1.6}.get(wall.light, 0.12)
    pane = m.material(m.Look(image=textures.image(rng, "outdoors"), glow=glow))
    view = s.moved(s.slab(wide, tall, 0.01), turn=(np.pi / 2, 0, 0))
    bars = [s.box((wide + 0.08, 0.05, 0.05), (0, 0, z), 3) for z in (-tall / 2, tall / 2)]
    bars += [s.box((0.05, 0.05, tall), (v * wide / 2, 0, 0), 3) for v in (-1, 0, 1)]
    white = m.plain((0.75, 0.75, 0.73) if rng.random() < 0.7 else m.neutral(rng), 0.5)
    parts = [
        s.build(
            s.moved(s.join(view, *bars), (x, wall.y_m - 0.02, 1.5)), "window", [white, pane, white, white]
        )
    ]
    if rng.random() < 0.6:
        hue = (
            m.pictured(textures.image(rng, "cloth"), 0.9)
            if rng.random() < 0.5
            else m.plain(m.any_colour(rng, (0, 0.4)), 0.9)
        )
        for way in (-1, 1):
            across, rise = np.meshgrid(np.linspace(0, 0.3, 25), np.array([0.15, 2.5]))
            fold = 0.03 * np.sin(across * 105 + float(rng.uniform(0, 6)))
            points = np.stack([x + way * (wide / 2 - 0.08 + across), wall.y_m - 0.1 + fold, rise], 2)
            parts.append(s.build(s.grid(points), "curtain", [hue]))
    return []


def _door(rng: np.random.Generator, x: float, wall: BackWall) -> list[Thing]:
    leaf = s.box((0.85, 0.04, 2.0), (x, wall.y_m - 0.02, 1.0))
    panels = [s.box((0.6, 0.05, 0.7), (x, wall.y_m - 0.025, z), 1) for z in (0.55, 1.45)]
    knob = s.moved(s.pebble((0.05, 0.05, 0.05), (1, 1), 2), (x - 0.36, wall.y_m - 0.07, 1.0))
    paint = m.plain(m.pick(rng, (0.7, 0.7, 0.67), (0.25, 0.13, 0.06), (0.5, 0.35, 0.2)), 0.5)
    s.build(s.join(leaf, *panels, knob), "door", [paint, paint, m.metal(rng)])
    return []


def _frame(rng: np.random.Generator, x: float, wall: BackWall) -> list[Thing]:
    wide, tall = (float(v) for v in rng.uniform(0.3, 0.9, 2))
    panel = s.moved(
        s.slab(wide, tall, 0.02, 0, 0.004),
        (x, wall.y_m - 0.02, float(rng.uniform(1.3, 1.8))),
        (np.pi / 2, 0, 0),
    )
    edge = m.plain(m.neutral(rng), 0.5)
    s.build(panel, "picture", [edge, m.pictured(textures.image(rng, "photo"), 0.4), edge])
    return []


def _plant(rng: np.random.Generator, x: float, wall: BackWall) -> list[Thing]:
    thing = distractors.plant(rng)
    for o in thing.objects:
        o.scale = (4, 4, 4)
        o.location = (x, wall.y_m - 0.4, 0)
    return []


def _shelf(rng: np.random.Generator, x: float, wall: BackWall) -> list[Thing]:
    """Build shelves with rows of books (each row one `paper` box) and clutter."""
    wide, deep = float(rng.uniform(0.7, 1.05)), 0.26
    levels = np.arange(float(rng.uniform(0.1, 1.2)), 2.2, 0.36)
    boards = [s.box((wide, deep, 0.022), (x, wall.y_m - deep / 2, z)) for z in levels]
    sides = [
        s.box(
            (0.022, deep, levels[-1] - levels[0] + 0.38),
            (x + v * wide / 2, wall.y_m - deep / 2, (levels[0] + levels[-1]) / 2 + 0.17),
        )
        for v in (-1, 1)
    ]
    s.build(
        s.join(*boards, *sides),
        "shelf",
        [
            m.pictured(textures.image(rng, "wood"), 0.5)
            if rng.random() < 0.5
            else m.plain(m.neutral(rng, 0.3), 0.5)
        ],
    )
    things = []
    for z in levels:
        if wall.books and rng.random() < 0.6:
            things.append(
                _book_row(
                    rng, x - wide / 2 + 0.05, wall.y_m - 0.03, z + 0.012, wide * float(rng.uniform(0.2, 0.85))
                )
            )
        elif rng.random() < 0.7:
            thing = distractors.choose(rng, distractors.CLUTTER)
            stand(
                thing,
                x + float(rng.uniform(-0.3, 0.3)) * wide,
                wall.y_m - 0.14,
                z + 0.012,
                np.pi + float(rng.normal(0, 0.5)),
            )
    return things


def _book_row(rng: np.random.Generator, x: float, y: float, z: float, length: float) -> Thing:
    books, surfaces, at = [], [], x
    while at < x + length:
        thick, tall, deep = (float(rng.uniform(*r)) for r in ((0.015, 0.045), (0.18, 0.28), (0.13, 0.19)))
        spine = s.moved(s.slab(thick, tall, deep, 0.001, 0.001, 1), turn=(np.pi / 2, 0, 0))
        books.append(
            s.moved(s.painted(spine, len(surfaces) % 6), (at + thick / 2, y - deep / 2 - 0.02, z + tall / 2))
        )
        surfaces.append(m.pictured(textures.image(rng, "spines"), 0.5) if len(surfaces) < 6 else None)
        at += thick + 0.001
    return Thing("books", "paper", [s.build(s.join(*books), "books", [v for v in surfaces if v])])


def chair(rng: np.random.Generator, x_m: float, y_m: float, facing_rad: float, seat_m: float) -> None:
    """Put an office chair under a person who faces that way (0 is −y)."""
    tall = float(rng.uniform(0.35, 0.7))
    seat = s.moved(s.slab(0.48, 0.46, 0.07, 0.1, 0.02), (0, 0, seat_m - 0.06))
    rest = s.moved(
        s.slab(0.44, tall, 0.05, 0.1, 0.02), (0, 0.29, seat_m + 0.14 + tall / 2), (np.pi / 2 + 0.12, 0, 0)
    )
    stem = s.box((0.05, 0.05, seat_m - 0.1), (0, 0, (seat_m - 0.1) / 2))
    bar = s.box((0.06, 0.03, 0.4), (0, 0.27, seat_m + 0.1))
    feet = [
        s.moved(s.box((0.3, 0.04, 0.03), (0.15, 0, 0.05)), turn=(0, 0, a))
        for a in np.linspace(0, 2 * np.pi, 6)[:-1]
    ]
    shape = s.moved(s.painted(s.join(seat, rest, stem, bar, *feet), 0), (x_m, y_m, 0), (0, 0, facing_rad))
    s.build(
        shape,
        "chair",
        [m.plain(m.neutral(rng, 0.7) if rng.random() < 0.7 else m.any_colour(rng), 0.75, sheen=0.2)],
    )
