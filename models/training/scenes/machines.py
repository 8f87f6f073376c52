"""Laptop, monitor, keyboard and mouse. Their user sits at local +y, as the worker does at the desk."""

from __future__ import annotations

import numpy as np

from scenes import materials as m
from scenes import shapes as s
from scenes.things import Thing

TOWARDS_USER = (0.0, 0.0, np.pi)  # built for a user at -y, where x runs to the right, then turned about


def _thing(name: str, shape: s.Shape, surfaces: list, glow: bool = False) -> Thing:
    return Thing(name, name, [s.build(s.moved(shape, turn=TOWARDS_USER), name, surfaces)], glow=glow)


def _key_rows(columns: int, rows: int) -> list[list[float]]:
    """Return each row's key widths in key units, from the space bar up; every row sums to `columns`."""
    edge = columns - 14 if columns > 15 else 0  # a block at the right of full-size boards
    main = columns - edge
    half = (main - 13) / 2
    rows_out = [
        [1.25, 1.25, 1.25, main - 8.75, 1.25, 1.25, 1.25, 1.25],
        [1.25 + half, *[1.0] * 10, main - 11.25 - half],
        [1.0 + half, *[1.0] * 11, main - 12 - half],
        [0.5 + half, *[1.0] * 12, main - 12.5 - half],
        [*[1.0] * 13, main - 13],
        [main / 14] * 14,
    ]
    return [[w for w in row if w > 0.2] + [1.0] * edge for row in rows_out[:rows]]


def _keys(
    rng: np.random.Generator, size: tuple[float, float], rows: int, columns: int, lift: float
) -> list[s.Shape]:
    """Return key caps that fill (width, depth) about the origin, tops at `lift`; slots 0 and 1."""
    pitch_x, pitch_y = size[0] / columns, size[1] / rows
    accent = rng.random() < 0.25
    caps = []
    for j, row in enumerate(_key_rows(columns, rows)):
        x = -size[0] / 2
        for i, units in enumerate(row):
            wide = units * pitch_x
            if columns > 15 and i == len(row) - (columns - 14):
                x += pitch_x * 0.25
            slot = 1 if accent and (i in (0, len(row) - 1)) else 0
            cap = s.slab(wide - 0.14 * pitch_x, pitch_y * 0.86, lift, 0.0012, min(0.0012, lift / 3), 1)
            caps.append(
                s.moved(s.painted(cap, slot), (x + wide / 2, (j + 0.5) * pitch_y - size[1] / 2, lift / 2))
            )
            x += wide
    return caps


def keyboard(rng: np.random.Generator) -> Thing:
    """Make a full-size, tenkeyless or compact keyboard."""
    columns = int(rng.choice([15, 17, 21]))
    rows = 6 if rng.random() < 0.75 else 5
    wide, deep = columns * 0.0193 + 0.012, rows * 0.0193 + float(rng.uniform(0.008, 0.03))
    thin = rng.random() < 0.5
    lift, thick = (0.0025, 0.007) if thin else (0.009, 0.018)
    caps = _keys(rng, (columns * 0.0188, rows * 0.0188), rows, columns, lift)
    body = s.moved(s.painted(s.slab(wide, deep, thick, 0.006, 0.002), 2), (0, 0, -thick / 2))
    shape = s.moved(s.join(body, *caps), turn=(float(rng.uniform(0.0, 0.09)), 0, 0))
    frame = m.neutral(rng, 0.6)
    key = m.neutral(rng, 0.9 if frame[0] < 0.1 else 0.15)
    surfaces = [
        m.plain(key, 0.5),
        m.plain(m.any_colour(rng), 0.5),
        m.metal(rng) if rng.random() < 0.25 else m.plain(frame, 0.45),
    ]
    return _thing("keyboard", shape, surfaces)


def mouse(rng: np.random.Generator) -> Thing:
    """Make a mouse with a wheel and a split between its buttons."""
    size = (float(rng.uniform(0.056, 0.07)), float(rng.uniform(0.095, 0.125)), float(rng.uniform(0.05, 0.08)))
    hull = s.pebble(size, (0.75, 0.95))
    lower = hull.vertices.copy()
    lower[:, 2] = np.maximum(lower[:, 2], 0) * np.interp(
        lower[:, 1], [-size[1] / 2, 0, size[1] / 2], [1.05, 1.0, 0.72]
    )
    hull = s.Shape(lower, hull.faces, hull.slots, hull.uvs, hull.smooth)
    front = size[1] * 0.27
    wheel = s.moved(
        s.lathe([(0, -0.004), (0.011, -0.004), (0.011, 0.004), (0, 0.004)], 16, [1, 1, 1]),
        (0, front, size[2] * 0.38),
        (0, np.pi / 2, 0),
    )
    seam = s.box((0.0012, size[1] * 0.4, 0.004), (0, size[1] * 0.26, size[2] * 0.385), 1)
    seam = s.moved(seam, turn=(-0.12, 0, 0))
    surfaces = [
        m.plain(
            m.neutral(rng, 0.6) if rng.random() < 0.85 else m.any_colour(rng), float(rng.uniform(0.25, 0.6))
        ),
        m.plain((0.03, 0.03, 0.03), 0.7),
    ]
    return _thing("mouse", s.join(hull, wheel, seam), surfaces)


def _display(rng: np.random.Generator, light: float, lit: float) -> tuple[m.bpy.types.Material, bool]:
    on = rng.random() < lit
    return (m.screen(rng, "screen", light) if on else m.dark_glass(rng)), on


def laptop(rng: np.random.Generator, light: float = 1.0, lit: float = 0.7, closed: float = 0.15) -> Thing:
    """Make a laptop 29–38 cm wide, its lid open by 90–130° or, with the given chance, closed."""
    wide = float(rng.uniform(0.29, 0.38))
    deep, thick = wide * float(rng.uniform(0.64, 0.7)), float(rng.uniform(0.011, 0.02))
    base = s.slab(wide, deep, thick, 0.01, 0.002)
    keys = _keys(rng, (wide * 0.86, deep * 0.42), 6, 15, 0.0014)
    keys = [s.moved(k, (0, deep * 0.17, thick / 2), (0, 0, 0)) for k in keys]
    keys = [s.painted(k, 4) for k in keys]
    pad = s.moved(
        s.painted(s.slab(wide * 0.33, deep * 0.3, 0.0006, 0.004, 0.0001), 5),
        (0, -deep * 0.28, thick / 2 + 0.0001),
    )
    rim = 0.006 + float(rng.uniform(0, 0.01))
    lid = s.slab(wide, deep, 0.006, 0.01, 0.001)
    glass = s.moved(s.painted(s.slab(wide - 0.002, deep - 0.002, 0.0004, 0.009, 0.0001), 6), (0, 0, 0.003))
    picture = s.moved(
        s.painted(s.slab(wide - 2 * rim, deep - 2.6 * rim, 0.0004, 0.001, 0.0001), 3), (0, 0.3 * rim, 0.0034)
    )
    mark = s.moved(s.painted(s.slab(0.03, 0.03, 0.0004, 0.01, 0.0001), 5), (0, 0, -0.0032))
    panel = s.moved(s.join(lid, glass, picture, mark), (0, deep / 2, 0.004))  # hinge on the x axis
    opening = 0.0 if rng.random() < closed else float(rng.uniform(1.5, 2.25))
    panel = (
        s.moved(panel, turn=(np.pi - opening, 0, 0))
        if opening
        else s.moved(panel, turn=(np.pi, 0, 0), to=(0, 0, 0.008))
    )
    panel = s.moved(panel, (0, deep / 2, thick / 2))
    display, on = _display(rng, light, lit)
    shell = m.metal(rng) if rng.random() < 0.6 else m.plain(m.neutral(rng, 0.6), 0.4)
    key = m.plain(m.neutral(rng, 0.85), 0.5)
    bezel = m.plain((0.01, 0.01, 0.01), 0.2) if rng.random() < 0.8 else shell
    surfaces = [shell, shell, shell, display, key, m.plain(m.neutral(rng, 0.5), 0.35), bezel]
    return _thing("laptop", s.join(base, *keys, pad, panel), surfaces, glow=on and opening > 0)


def monitor(rng: np.random.Generator, light: float = 1.0, lit: float = 0.75) -> Thing:
    """Make a monitor 48–72 cm wide on its foot."""
    wide = float(rng.uniform(0.48, 0.72))
    tall = wide * float(rng.choice([0.56, 0.6, 0.44]))
    deep, rim = float(rng.uniform(0.015, 0.045)), float(rng.uniform(0.004, 0.018))
    raise_m = float(rng.uniform(0.06, 0.2))
    panel = s.slab(wide, tall, deep, 0.004, 0.002)
    picture = s.moved(
        s.painted(s.slab(wide - 2 * rim, tall - 2.5 * rim, 0.0005, 0.001, 0.0001), 3),
        (0, 0.2 * rim, deep / 2 + 0.0001),
    )
    bulge = s.moved(s.painted(s.slab(wide * 0.5, tall * 0.5, 0.03, 0.02, 0.01), 0), (0, 0, -deep / 2 - 0.012))
    upright = s.moved(
        s.join(panel, picture, bulge),
        (0, 0, raise_m + tall / 2),
        (np.pi / 2 - float(rng.uniform(0, 0.12)), 0, 0),
    )
    neck = s.moved(
        s.painted(s.slab(0.05, 0.02, raise_m + tall * 0.5, 0.005), 4), (0, 0.05, (raise_m + tall * 0.5) / 2)
    )
    foot = s.painted(
        s.slab(float(rng.uniform(0.18, 0.3)), float(rng.uniform(0.14, 0.2)), 0.012, 0.03, 0.003), 4
    )
    shape = s.join(upright, neck, s.moved(foot, (0, 0.03, 0.006)))
    display, on = _display(rng, light, lit)
    shell = m.plain(m.neutral(rng, 0.8), 0.45)
    stand = m.metal(rng) if rng.random() < 0.4 else shell
    return _thing("monitor", shape, [shell, shell, shell, display, stand], glow=on)
