"""Cell phones: bare or cased, lit or dark. Origin at the centre, screen +z, long axis +y."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scenes import materials as m
from scenes import shapes as s
from scenes import textures
from scenes.things import Thing

CASE, SCREEN, LENS, RIM = 3, 4, 5, 6


def phone(rng: np.random.Generator, light: float = 1.0, lit: float = 0.5) -> Thing:
    """Make a phone 12–17 cm long; `lit` is the chance that its screen shows something."""
    wide, tall = float(rng.uniform(0.064, 0.079)), float(rng.uniform(0.136, 0.166))
    thick, radius = float(rng.uniform(0.0072, 0.0095)), float(rng.uniform(0.006, 0.0125))
    old = rng.random() < 0.15  # a home button and broad bezels
    body = s.slab(wide, tall, thick, radius, float(rng.uniform(0.0008, 0.003)))
    chin = 0.015 if old else float(rng.uniform(0.0015, 0.0035))
    glass = s.slab(wide - 0.004, tall - 2 * chin, 0.0003, 0.002 if old else radius - 0.002, 0.0001)
    parts = [body, s.moved(s.painted(glass, SCREEN), (0, 0, thick / 2 + 0.00012))]
    if old:
        parts.append(
            s.moved(
                s.painted(s.lathe([(0.0055, 0), (0.0055, 0.0004)], 16), LENS),
                (0, 0.0085 - tall / 2, thick / 2),
            )
        )
    elif rng.random() < 0.7:  # a camera in the screen
        spot = (float(rng.choice([0, 0, -wide / 2 + 0.012])), tall / 2 - 0.009, thick / 2 + 0.0002)
        parts.append(s.moved(s.painted(s.lathe([(0.0022, 0), (0.0022, 0.0002)], 12), LENS), spot))
    cased = rng.random() < 0.6
    depth = float(rng.uniform(0.0012, 0.003)) if cased else 0.0
    parts += _camera_bump(rng, wide, tall, -thick / 2 - depth)
    if cased:
        parts += _case(wide, tall, thick, radius, depth)
    if rng.random() < 0.5:
        parts.append(s.box((0.001, 0.014, 0.003), (wide / 2 + 0.0008 + depth * 0.8, tall * 0.2, 0), RIM))
    frame = m.metal(rng) if rng.random() < 0.6 else m.plain(m.neutral(rng), 0.3)
    back = m.plain(m.any_colour(rng, (0, 0.6)), float(rng.uniform(0.05, 0.4)), coat=float(rng.random()))
    on = rng.random() < lit
    display = m.screen(rng, "phone", light) if on else m.dark_glass(rng)
    surfaces = [frame, m.dark_glass(rng), back, _case_material(rng), display, m.dark_glass(rng), m.metal(rng)]
    return Thing("cell phone", "cell phone", [s.build(s.join(*parts), "cell phone", surfaces)], glow=on)


def _case(wide: float, tall: float, thick: float, radius: float, depth: float) -> list[s.Shape]:
    """Return a shell around the back and sides: a tray whose rim stands just above the glass."""
    tray = s.slab(wide + 2 * depth, tall + 2 * depth, thick + depth - 0.0012, radius + depth, 0.0012)
    return [s.moved(s.painted(tray, CASE), (0, 0, -depth / 2 - 0.0008))]


def _case_material(rng: np.random.Generator) -> m.bpy.types.Material:
    kind = rng.random()
    if kind < 0.2:
        return m.leather(rng)
    if kind < 0.35:
        return m.pictured(textures.image(rng, "wrap"), 0.4)
    if kind < 0.55:
        return m.plain(m.neutral(rng, 0.9), float(rng.uniform(0.3, 0.7)))
    return m.plain(m.any_colour(rng), float(rng.uniform(0.15, 0.7)))


def _camera_bump(rng: np.random.Generator, wide: float, tall: float, back: float) -> list[s.Shape]:
    """Return the lenses on the back, in one of the usual layouts."""
    kind = int(rng.integers(4))
    lens = s.painted(s.lathe([(0.0055, 0), (0.0058, 0.0014), (0.0045, 0.0016)], 16), LENS)
    top = tall / 2 - 0.006
    if kind == 0:  # a square island
        spots = [(-0.0075, 0.0075), (-0.0075, -0.0075), (0.0075, 0)]
        island, size = (wide / 2 - 0.019, top - 0.013), (0.033, 0.033)
    elif kind == 1:  # a column
        spots = [(0, 0.013), (0, 0), (0, -0.013)]
        island, size = (wide / 2 - 0.013, top - 0.02), (0.017, 0.042)
    elif kind == 2:  # a bar across
        spots = [(-0.013, 0), (0, 0)]
        island, size = (0, top - 0.02), (wide - 0.004, 0.018)
    else:  # a single old one
        spots = [(0, 0)]
        island, size = (wide / 2 - 0.012, top - 0.008), (0.013, 0.013)
    plate = s.painted(s.slab(*size, 0.0015, min(size) / 3, 0.0005), s.BACK if rng.random() < 0.6 else LENS)
    parts = [s.moved(plate, (*island, back - 0.0006))]
    parts += [s.moved(lens, (island[0] + x, island[1] + y, back - 0.0012), (np.pi, 0, 0)) for x, y in spots]
    return parts


def phone_stand(rng: np.random.Generator, phone: Thing, floor_m: float) -> Thing:
    """Make the stand of a phone that leans upright above a level: a rest along its back, a lip and a foot."""
    place = np.array(phone.objects[0].matrix_world)
    low, _ = phone.bounds()
    rest = s.moved(s.slab(0.055, 0.09, 0.003, 0.005), (0, float(low[1]) + 0.045, float(low[2]) - 0.003))
    lip = s.box((0.055, 0.003, 0.016), (0, float(low[1]) - 0.002, 0))
    upper = s.join(rest, lip)
    upper = replace(upper, vertices=upper.vertices @ place[:3, :3].T + place[:3, 3])
    yaw = float(np.arctan2(place[1, 0], place[0, 0]))
    foot = s.moved(s.slab(0.07, 0.1, 0.004, 0.01), (*place[:2, 3], floor_m + 0.002), (0, 0, yaw))
    surface = m.metal(rng) if rng.random() < 0.5 else m.plain(m.neutral(rng))
    return Thing("phone stand", None, [s.build(s.painted(s.join(upper, foot), 0), "phone stand", [surface])])


def cable(rng: np.random.Generator, start_m: np.ndarray, end_m: np.ndarray) -> Thing:
    """Lay a cable from a plug (3,) to somewhere (3,), with slack."""
    t = np.linspace(0, 1, 20)[:, None]
    aside = np.cross(end_m - start_m, (0, 0, 1.0))
    path = start_m + (end_m - start_m) * t + aside * float(rng.uniform(-0.35, 0.35)) * np.sin(np.pi * t) * t
    colour = m.plain(m.neutral(rng, 0.4), 0.5)
    return Thing(
        "cable", None, [s.build(s.tube(path, float(rng.uniform(0.0013, 0.002)), 6), "cable", [colour])]
    )
