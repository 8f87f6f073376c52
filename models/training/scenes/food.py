"""Food, mostly on a plate or a napkin; the plate is no part of its box."""

from __future__ import annotations

import bpy
import numpy as np

from scenes import materials as m
from scenes import shapes as s
from scenes.things import Thing


def food(rng: np.random.Generator) -> Thing:
    """Make something to eat."""
    makers = (
        apple,
        orange,
        banana,
        sandwich,
        pizza,
        donut,
        cookies,
        burger,
        bowl,
        meal,
        croissant,
        cake,
        hot_dog,
    )
    return makers[rng.integers(len(makers))](rng)


def bare(rng: np.random.Generator) -> Thing:
    """Make something that is eaten from the hand, without a plate, its origin at its centre."""
    makers = (apple, banana, sandwich, pizza, donut, burger, croissant, hot_dog)
    thing = makers[rng.integers(len(makers))](rng)
    for plate in thing.extras:
        bpy.data.objects.remove(plate)
    points = np.empty(len(thing.objects[0].data.vertices) * 3, np.float32)
    thing.objects[0].data.vertices.foreach_get("co", points)
    points = points.reshape(-1, 3)
    middle = (points.min(0) + points.max(0)) / 2
    thing.objects[0].data.vertices.foreach_set("co", (points - middle).ravel())
    thing.objects[0].data.update()
    return Thing(thing.name, thing.label, thing.objects)


def _mottled(
    a: m.Colour, b: m.Colour, scale: float = 60.0, roughness: float = 0.6, bump: float = 0.4
) -> m.bpy.types.Material:
    return m.material(m.Look(a, roughness, mottle=b, mottle_scale=scale, bump=bump, bump_scale=scale * 3 + 1))


def _serve(rng: np.random.Generator, name: str, shape: s.Shape, surfaces: list, plate: float = 0.6) -> Thing:
    """Return the food, with the given chance on a plate."""
    low, high = shape.vertices.min(0), shape.vertices.max(0)
    shape = s.moved(shape, (0, 0, -low[2]))
    extras = []
    if rng.random() < plate:
        r = float(max(np.hypot(*(np.maximum(high, -low)[:2])) * 1.05, 0.08))
        rim = float(rng.uniform(0.008, 0.02))
        dish = s.lathe([(0, 0), (r * 0.6, 0), (r, rim), (r, rim + 0.002), (r * 0.65, 0.005), (0, 0.005)], 32)
        colour = m.plain((0.8, 0.8, 0.77) if rng.random() < 0.6 else m.any_colour(rng), 0.2)
        extras = [s.build(s.moved(dish, (0, 0, -0.0045)), "plate", [colour])]
    return Thing(name, "food", [s.build(shape, name, surfaces)], extras)


def apple(rng: np.random.Generator) -> Thing:
    """Make an apple."""
    r = float(rng.uniform(0.032, 0.042))
    profile = [
        (0, 0.12),
        (0.3, 0.02),
        (0.62, 0.06),
        (0.9, 0.5),
        (1.0, 0.95),
        (0.95, 1.3),
        (0.7, 1.62),
        (0.35, 1.7),
        (0.08, 1.5),
        (0, 1.45),
    ]
    body = s.lathe([(a * r, b * r) for a, b in profile], 24)
    stem = s.tube(np.array([[0, 0, 1.45], [0.05, 0, 1.7], [0.15, 0, 1.95]]) * r, 0.0015, 6, 1)
    skins = (
        ((0.55, 0.03, 0.03), (0.6, 0.3, 0.05)),
        ((0.35, 0.55, 0.06), (0.5, 0.6, 0.15)),
        ((0.6, 0.08, 0.05), (0.5, 0.02, 0.03)),
    )
    a, b = skins[rng.integers(len(skins))]
    return _serve(
        rng, "apple", s.join(body, stem), [_mottled(a, b, 35, 0.25, 0), m.plain((0.1, 0.05, 0.02))], 0.2
    )


def orange(rng: np.random.Generator) -> Thing:
    """Make an orange or a mandarin."""
    d = float(rng.uniform(0.055, 0.08))
    skin = _mottled((0.9, 0.32, 0.02), (0.95, 0.4, 0.04), 40, 0.4, 0.8)
    return _serve(rng, "orange", s.pebble((d, d, d * 0.92), (1, 1)), [skin], 0.2)


def banana(rng: np.random.Generator) -> Thing:
    """Make one to three bananas."""
    angle = np.linspace(-0.85, 0.85, 14)
    radii = np.interp(
        np.linspace(0, 1, 14), [0, 0.06, 0.2, 0.75, 0.9, 1], [0.006, 0.011, 0.0165, 0.017, 0.009, 0.006]
    )
    parts = []
    for i in range(int(rng.choice([1, 1, 2, 3]))):
        path = np.stack([np.sin(angle) * 0.1, np.cos(angle) * 0.1 + 0.03 * i - 0.1, np.full(14, 0.017)], 1)
        fruit = s.tube(path, radii, 7)
        tips = [1 if f[0] // 7 in (0, 12) else 0 for f in fruit.faces]
        parts.append(s.Shape(fruit.vertices, fruit.faces, tips, fruit.uvs, fruit.smooth))
    skin = _mottled(
        (0.85, 0.6, 0.06), (0.7, 0.5, 0.05) if rng.random() < 0.6 else (0.25, 0.12, 0.03), 70, 0.5, 0.1
    )
    return _serve(rng, "banana", s.join(*parts), [skin, m.plain((0.12, 0.07, 0.02), 0.8)], 0.15)


def _bread() -> tuple[m.bpy.types.Material, m.bpy.types.Material]:
    crust = _mottled((0.35, 0.16, 0.05), (0.5, 0.27, 0.1), 50, 0.7)
    return crust, _mottled((0.75, 0.6, 0.4), (0.82, 0.7, 0.52), 120, 0.9, 0.6)


def sandwich(rng: np.random.Generator) -> Thing:
    """Make a sandwich, square or cut to a triangle."""
    outline = (
        s.rounded_outline(0.11, 0.11, 0.015)
        if rng.random() < 0.5
        else np.array([[-0.06, -0.05], [0.06, -0.05], [-0.06, 0.07]])
    )
    layers, z = [], 0.0
    fillings = [2, 3, 4] if rng.random() < 0.7 else [3, 2]
    for slot, thick, grow in [
        (0, 0.013, 1.0),
        *((f, 0.004, float(rng.uniform(0.98, 1.08))) for f in fillings),
        (0, 0.013, 1.0),
    ]:
        slots = (1, 0, 1) if slot == 0 else (slot, slot, slot)
        layers.append(s.prism(outline * grow, z, z + thick, slots))
        z += thick
    crust, crumb = _bread()
    inner = [
        _mottled((0.2, 0.5, 0.06), (0.35, 0.6, 0.12)),
        m.plain((0.75, 0.35, 0.3), 0.4),
        m.plain((0.9, 0.65, 0.1), 0.4),
    ]
    return _serve(rng, "sandwich", s.join(*layers), [crust if rng.random() < 0.5 else crumb, crust, *inner])


def pizza(rng: np.random.Generator) -> Thing:
    """Make a slice of pizza or a whole one."""
    whole = rng.random() < 0.35
    r, half = float(rng.uniform(0.11, 0.15)), np.pi if whole else float(rng.uniform(0.3, 0.45))
    arc = np.linspace(-half, half, 24 if whole else 9)
    rim = np.stack([np.cos(arc), np.sin(arc)], 1) * r
    base = s.prism(rim[:-1] if whole else np.concatenate([[[0, 0]], rim]), 0, 0.008, (0, 1, 0))
    crust = s.tube(np.column_stack([rim, np.full(len(rim), 0.009)]), 0.011, 8, 0)
    parts = [base, crust]
    for _ in range(24 if whole else 6):
        a, d = float(rng.uniform(-half, half)) * 0.8, float(rng.uniform(0.35, 0.85)) * r
        bit = s.lathe([(0.011, 0), (0.011, 0.002), (0, 0.003)], 10)
        parts.append(
            s.moved(s.painted(bit, int(rng.choice([2, 2, 3]))), (np.cos(a) * d, np.sin(a) * d, 0.008))
        )
    tops = [
        _mottled((0.8, 0.5, 0.12), (0.65, 0.12, 0.04), 45, 0.45),
        m.plain((0.45, 0.05, 0.03), 0.4),
        m.plain((0.1, 0.25, 0.04)),
    ]
    return _serve(rng, "pizza", s.join(*parts), [_mottled((0.6, 0.36, 0.14), (0.4, 0.18, 0.06), 40), *tops])


def _torus(big: float, small: float, squash: float, span: tuple[float, float]) -> np.ndarray:
    u = np.linspace(0, 2 * np.pi, 25)[:, None]
    v = np.linspace(*span, 10)[None]
    ring = big + small * np.cos(v)
    return np.stack(
        [ring * np.cos(u), ring * np.sin(u), np.broadcast_to(small * squash * np.sin(v), (25, 10))], 2
    )


def donut(rng: np.random.Generator) -> Thing:
    """Make an iced donut."""
    dough = s.grid(_torus(0.026, 0.016, 0.9, (0, 2 * np.pi)), 0)
    icing = s.grid(_torus(0.026, 0.0168, 0.95, (0.35, np.pi - 0.35)), 1)
    parts = [dough, icing]
    for _ in range(int(rng.choice([0, 24]))):
        a, v = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.6, 2.5))
        d = 0.026 + 0.0165 * np.cos(v)
        bit = s.box((0.006, 0.0015, 0.0015), slot=int(rng.integers(2, 4)))
        parts.append(s.moved(bit, (d * np.cos(a), d * np.sin(a), 0.0162 * np.sin(v)), (0, 0, a * 3)))
    ice = m.pick(rng, (0.85, 0.3, 0.45), (0.08, 0.03, 0.015), (0.9, 0.88, 0.8), (0.3, 0.6, 0.8))
    surfaces = [
        _mottled((0.6, 0.32, 0.1), (0.5, 0.24, 0.07), 50),
        m.plain(ice, 0.2),
        m.plain((0.9, 0.8, 0.1)),
        m.plain((0.1, 0.3, 0.8)),
    ]
    return _serve(rng, "donut", s.join(*parts), surfaces, 0.7)


def cookies(rng: np.random.Generator) -> Thing:
    """Make a few cookies with chips."""
    parts = []
    for i in range(int(rng.integers(1, 6))):
        spot = np.array([*(rng.normal(0, 0.03, 2) if i else (0, 0)), 0.008 * i])
        parts.append(
            s.moved(s.lathe([(0, 0), (0.029, 0.001), (0.033, 0.005), (0.02, 0.01), (0, 0.011)], 20), spot)
        )
        for _ in range(7):
            a, d = float(rng.uniform(0, 6.28)), float(rng.uniform(0, 0.024))
            chip = s.pebble((0.006, 0.006, 0.005), (1, 1), 1)
            parts.append(s.moved(chip, spot + np.array([np.cos(a) * d, np.sin(a) * d, 0.0105])))
    return _serve(
        rng,
        "cookies",
        s.join(*parts),
        [_mottled((0.5, 0.27, 0.1), (0.6, 0.36, 0.15), 90), m.plain((0.05, 0.02, 0.01))],
        0.8,
    )


def burger(rng: np.random.Generator) -> Thing:
    """Make a burger."""
    r = float(rng.uniform(0.045, 0.058))
    leaf = r * 1.08
    profile = [(0, 0), (r * 0.95, 0), (r, 0.008), (r * 0.97, 0.016), (r * 1.03, 0.017), (r * 1.03, 0.027),
               (leaf, 0.028), (leaf * 0.97, 0.033),
               (r, 0.034), (r * 0.97, 0.045), (r * 0.75, 0.058), (r * 0.4, 0.066), (0, 0.068)]  # fmt: skip
    layers = s.lathe(profile, 26, [0, 0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 0])
    crust, _ = _bread()
    return _serve(
        rng,
        "burger",
        layers,
        [crust, _mottled((0.12, 0.05, 0.02), (0.2, 0.09, 0.04)), m.plain((0.25, 0.5, 0.08))],
        0.8,
    )


def bowl(rng: np.random.Generator) -> Thing:
    """Make a bowl of soup, salad or cereal; the contents are the food."""
    r = float(rng.uniform(0.06, 0.085))
    fill = s.lathe([(r * 0.9, 0.0), (r * 0.5, 0.008), (0, 0.012)], 28)
    bits = []
    for _ in range(int(rng.integers(0, 45))):
        a, d = float(rng.uniform(0, 6.28)), float(rng.uniform(0, 0.8)) * r
        size = rng.uniform(0.006, 0.018, 3)
        bits.append(
            s.moved(
                s.pebble(size, (0.8, 0.9), int(rng.integers(1, 4))),
                (np.cos(a) * d, np.sin(a) * d, 0.011),
                (0, 0, a),
            )
        )
    base = m.pick(rng, (0.7, 0.3, 0.06), (0.25, 0.45, 0.08), (0.8, 0.75, 0.65), (0.5, 0.25, 0.1))
    surfaces = [
        _mottled(base, m.pick(rng, base, (0.5, 0.4, 0.1)), 70, 0.4),
        *(m.plain(c) for c in ((0.2, 0.45, 0.06), (0.7, 0.1, 0.04), (0.75, 0.5, 0.2))),
    ]
    contents = s.build(s.join(fill, *bits), "bowl of food", surfaces)
    wall = [
        (0, -0.045),
        (r * 0.5, -0.045),
        (r * 0.85, -0.02),
        (r, 0.015),
        (r - 0.003, 0.015),
        (r * 0.85, -0.012),
        (0, -0.03),
    ]
    vessel = m.plain((0.78, 0.77, 0.74) if rng.random() < 0.5 else m.any_colour(rng), 0.2)
    return Thing("bowl", "food", [contents], [s.build(s.lathe(wall, 30), "bowl", [vessel])])


def meal(rng: np.random.Generator) -> Thing:
    """Make a plate of rice or mash, meat and greens."""
    rice = s.moved(s.pebble((0.1, 0.08, 0.045), (0.9, 0.9), 0), (-0.03, 0.02, 0.005))
    meat = s.moved(s.pebble((0.1, 0.055, 0.022), (0.9, 0.7), 1), (0.035, 0.03, 0.01), (0, 0, 0.5))
    bits = [
        s.moved(
            s.pebble(rng.uniform(0.008, 0.024, 3), (0.9, 0.9), 2 + i % 2),
            (0.015 + rng.normal(0, 0.022), -0.045 + rng.normal(0, 0.014), 0.009),
        )
        for i in range(18)
    ]
    rice_like = m.pick(rng, (0.85, 0.82, 0.72), (0.8, 0.6, 0.25), (0.75, 0.2, 0.06))
    surfaces = [
        _mottled(rice_like, (0.7, 0.6, 0.4), 160, 0.7, 1.0),
        _mottled((0.3, 0.12, 0.05), (0.45, 0.22, 0.08)),
        m.plain((0.12, 0.35, 0.06)),
        m.plain((0.8, 0.3, 0.03)),
    ]
    return _serve(rng, "meal", s.join(rice, meat, *bits), surfaces, 1.0)


def croissant(rng: np.random.Generator) -> Thing:
    """Make a croissant."""
    angle = np.linspace(-1.3, 1.3, 19)
    path = np.stack([np.sin(angle) * 0.055, np.cos(angle) * 0.045, np.full(19, 0.02)], 1)
    radii = (0.006 + 0.018 * np.cos(np.linspace(-1.4, 1.4, 19))) * (1 + 0.12 * (np.arange(19) % 3 == 0))
    return _serve(
        rng,
        "croissant",
        s.tube(path, radii, 10),
        [_mottled((0.6, 0.3, 0.08), (0.38, 0.16, 0.04), 60, 0.4)],
        0.6,
    )


def cake(rng: np.random.Generator) -> Thing:
    """Make a slice of layer cake."""
    outline = np.array([[0.07, 0], [-0.055, 0.036], [-0.06, 0], [-0.055, -0.036]])
    parts = [s.prism(outline, 0.014 * i, 0.014 * (i + 1), (i % 2, 1, 0)) for i in range(5)]
    dough = m.pick(rng, (0.12, 0.05, 0.02), (0.8, 0.6, 0.3), (0.6, 0.08, 0.06))
    return _serve(
        rng,
        "cake",
        s.join(*parts),
        [
            _mottled(dough, dough, 90, 0.9),
            m.plain(m.pick(rng, (0.9, 0.87, 0.8), (0.15, 0.06, 0.03), (0.85, 0.4, 0.5)), 0.4),
        ],
        1.0,
    )


def hot_dog(rng: np.random.Generator) -> Thing:
    """Make a hot dog or a filled roll."""
    halves = [s.moved(s.pebble((0.15, 0.035, 0.04), (0.8, 0.9), 0), (0, y, 0.018)) for y in (-0.018, 0.018)]
    x = np.linspace(-0.08, 0.08, 12)
    sausage = s.tube(
        np.stack([x, 0 * x, 0.034 + 0 * x], 1),
        np.interp(np.abs(x), [0, 0.07, 0.08], [0.012, 0.011, 0.005]),
        10,
        1,
    )
    sauce = s.tube(np.stack([x * 0.9, 0.005 * np.sin(x * 160), 0.047 + 0 * x], 1), 0.0025, 6, 2)
    crust, _ = _bread()
    fill = [
        _mottled((0.45, 0.12, 0.05), (0.55, 0.2, 0.08), 40, 0.3, 0),
        m.plain(m.pick(rng, (0.85, 0.6, 0.02), (0.6, 0.02, 0.01)), 0.2),
    ]
    return _serve(rng, "hot dog", s.join(*halves, sausage, sauce), [crust, *fill], 0.7)
