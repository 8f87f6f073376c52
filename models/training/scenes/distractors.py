"""Things a phone detector mistakes for phones, and the rest of a desk's clutter. None of them is labelled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scenes import materials as m
from scenes import shapes as s
from scenes import textures
from scenes.things import Thing

Make = Callable[[np.random.Generator], Thing]


def _thing(name: str, shape: s.Shape, surfaces: list, flat: bool = False) -> Thing:
    return Thing(name, None, [s.build(shape, name, surfaces)], flat=flat, named=True)


def _hard(rng: np.random.Generator, black: float = 0.65) -> m.bpy.types.Material:
    return m.plain(
        m.neutral(rng, black) if rng.random() < 0.75 else m.any_colour(rng), float(rng.uniform(0.15, 0.6))
    )


def wallet(rng: np.random.Generator, dark: float = 0.0) -> Thing:
    """Make a wallet: folded, long, or open with cards in it; black with the chance `dark`."""
    kind = rng.random()
    wide, tall, thick = (float(rng.uniform(*r)) for r in ((0.085, 0.1), (0.1, 0.125), (0.012, 0.026)))
    if kind < 0.2:
        wide, tall = 0.095, float(rng.uniform(0.17, 0.2))
    fold = s.slab(wide, tall, thick * 0.46, 0.006, 0.003)
    parts = [s.moved(fold, (0, 0, z)) for z in (-thick * 0.25, thick * 0.25)]
    spine = s.moved(
        s.painted(
            s.tube(np.array([[0, -tall / 2 + 0.004, 0], [0, tall / 2 - 0.004, 0]]), thick * 0.44, 10), 0
        ),
        (-wide / 2 + 0.004, 0, 0),
    )
    parts.append(spine)
    if kind > 0.75:  # open
        halves = [s.slab(wide, tall, thick * 0.4, 0.006, 0.003) for _ in range(2)]
        parts = [s.moved(h, (way * wide * 0.5, 0, 0)) for h, way in zip(halves, (-1, 1), strict=True)]
        for i in range(int(rng.integers(1, 4))):
            parts.append(
                s.moved(
                    s.painted(s.slab(wide * 0.85, 0.054, 0.001, 0.003), 3),
                    (wide * 0.5, tall * 0.15 - 0.02 * i, thick * 0.2 + 0.001 * i),
                    (0, 0, 0),
                )
            )
    if rng.random() < 0.3:
        parts.append(s.moved(s.painted(s.slab(0.015, 0.03, 0.003, 0.004), 4), (wide * 0.35, 0, thick * 0.48)))
    hide = m.leather(rng)
    if dark and rng.random() < dark:
        hide = m.plain(m.neutral(rng, 1.0), float(rng.uniform(0.3, 0.7)))
    return _thing(
        "wallet",
        s.join(*parts),
        [hide, hide, hide, m.pictured(textures.image(rng, "card"), 0.4), m.metal(rng)],
    )


def earbud_case(rng: np.random.Generator) -> Thing:
    """Make an earbud case: a rounded pebble with a seam, now and then open."""
    size = np.array([rng.uniform(0.045, 0.066), rng.uniform(0.046, 0.062), rng.uniform(0.021, 0.028)])
    square = (float(rng.uniform(0.45, 0.9)), float(rng.uniform(0.55, 0.9)))
    hull = s.pebble(size, square)
    colour = m.plain(
        (0.85, 0.85, 0.84)
        if rng.random() < 0.5
        else (0.015, 0.015, 0.017)
        if rng.random() < 0.6
        else m.any_colour(rng),
        float(rng.uniform(0.12, 0.45)),
    )
    dark = m.plain((0.05, 0.05, 0.05), 0.6)
    seam_y = size[1] * 0.18
    seam = s.moved(
        s.painted(s.slab(size[0] * 0.985, size[2] * 0.985, 0.0006, size[2] * 0.45, 0.0001), 1),
        (0, seam_y, 0),
        (np.pi / 2, 0, 0),
    )
    seam = s.moved(seam, scale=(1.012, 1, 1.012))
    light = s.moved(s.painted(s.lathe([(0.0014, 0), (0, 0.0006)], 8), 1), (0, 0, size[2] / 2 - 0.0002))
    parts = [hull, light]
    if rng.random() < 0.2:
        lid = s.moved(
            s.pebble(size * (1, 0.45, 0.9), square), (0, size[1] * 0.55, size[2] * 0.5), (-1.2, 0, 0)
        )
        buds = [
            s.moved(s.pebble((0.014, 0.02, 0.014), (1, 1), 2), (x, size[1] * 0.42, 0.002))
            for x in (-0.012, 0.012)
        ]
        parts += [lid, *buds]
    else:
        parts.append(seam)
    return _thing("earbud case", s.join(*parts), [colour, dark, colour])


def remote(rng: np.random.Generator) -> Thing:
    """Make a TV or air-conditioner remote with rows of buttons."""
    wide, tall, thick = (
        float(rng.uniform(0.036, 0.056)),
        float(rng.uniform(0.13, 0.22)),
        float(rng.uniform(0.012, 0.024)),
    )
    parts = [s.slab(wide, tall, thick, float(rng.uniform(0.004, wide / 2.2)), 0.004)]
    rows, columns = int(rng.integers(4, 11)), int(rng.choice([1, 3, 3, 4]))
    for j in range(rows):
        for i in range(columns):
            button = (
                s.lathe([(0.0038, 0), (0.0034, 0.0015), (0, 0.0018)], 10)
                if rng.random() < 0.7
                else s.slab(0.008, 0.006, 0.002, 0.001)
            )
            spot = ((i - (columns - 1) / 2) * wide * 0.26, tall * (0.42 - 0.74 * j / rows), thick / 2)
            parts.append(s.moved(s.painted(button, 4 if j == 0 and i == 0 else 3), spot))
    shell = _hard(rng, 0.8)
    return _thing(
        "remote",
        s.join(*parts),
        [shell, shell, shell, m.plain(m.neutral(rng, 0.4), 0.6), m.plain((0.6, 0.03, 0.03), 0.5)],
    )


def tablet(rng: np.random.Generator) -> Thing:
    """Make a tablet or an e-reader."""
    wide, tall = float(rng.uniform(0.115, 0.19)), float(rng.uniform(0.165, 0.26))
    body = s.slab(wide, tall, 0.0075, 0.01, 0.002)
    rim = float(rng.uniform(0.006, 0.014))
    face = s.moved(
        s.painted(s.slab(wide - 2 * rim, tall - 2 * rim, 0.0004, 0.002, 0.0001), 3), (0, 0, 0.0038)
    )
    reader = rng.random() < 0.3
    shown = (
        m.pictured(textures.image(rng, "page"), 0.7)
        if reader
        else (m.dark_glass(rng) if rng.random() < 0.5 else m.screen(rng, "screen", 1.0))
    )
    return _thing(
        "tablet", s.join(body, face), [m.metal(rng), m.plain(m.neutral(rng, 0.75), 0.15), m.metal(rng), shown]
    )


def glasses_case(rng: np.random.Generator) -> Thing:
    """Make a case for spectacles."""
    skin = m.leather(rng) if rng.random() < 0.6 else _hard(rng)
    hull = s.pebble(
        (float(rng.uniform(0.055, 0.07)), float(rng.uniform(0.15, 0.17)), float(rng.uniform(0.035, 0.05))),
        (0.6, 0.8),
    )
    return _thing("glasses case", hull, [skin])


def power_bank(rng: np.random.Generator) -> Thing:
    """Make a power bank or a portable disk."""
    wide, tall, thick = (
        float(rng.uniform(0.06, 0.08)),
        float(rng.uniform(0.09, 0.15)),
        float(rng.uniform(0.012, 0.024)),
    )
    port = s.box((0.012, 0.002, 0.005), (0, tall / 2, 0), 3)
    dots = [
        s.moved(
            s.painted(s.lathe([(0.001, 0), (0, 0.0004)], 8), 4), (0.005 * i - 0.01, -tall * 0.4, thick / 2)
        )
        for i in range(4)
    ]
    shell = m.metal(rng) if rng.random() < 0.4 else _hard(rng)
    body = s.slab(wide, tall, thick, float(rng.uniform(0.003, 0.012)), float(rng.uniform(0.001, 0.005)))
    return _thing(
        "power bank",
        s.join(body, port, *dots),
        [shell, shell, shell, m.plain((0.01, 0.01, 0.01)), m.plain((0.7, 0.8, 1.0), glow=1.0)],
    )


def calculator(rng: np.random.Generator) -> Thing:
    """Make a desk calculator."""
    wide, tall = float(rng.uniform(0.07, 0.11)), float(rng.uniform(0.115, 0.16))
    parts = [
        s.slab(wide, tall, 0.014, 0.006, 0.002),
        s.moved(s.painted(s.slab(wide * 0.84, tall * 0.16, 0.001, 0.001), 4), (0, tall * 0.33, 0.007)),
    ]
    for j in range(5):
        for i in range(4):
            key = s.painted(s.slab(wide * 0.17, tall * 0.09, 0.004, 0.001, 0.001, 1), 3)
            parts.append(s.moved(key, ((i - 1.5) * wide * 0.22, tall * (0.13 - 0.13 * j), 0.008)))
    shell = _hard(rng)
    return _thing(
        "calculator",
        s.join(*parts),
        [shell, shell, shell, m.plain(m.neutral(rng, 0.4), 0.5), m.plain((0.3, 0.35, 0.25), 0.2)],
    )


def desk_phone(rng: np.random.Generator) -> Thing:
    """Make an office telephone with its handset."""
    base = s.moved(s.slab(0.19, 0.2, 0.03, 0.01, 0.004), turn=(0.25, 0, 0))
    y = np.linspace(-0.1, 0.1, 12)
    bar = s.tube(np.stack([0 * y - 0.06, y, 0.055 - 2.0 * y**2 + y * 0.25], 1), 0.014 + 0.9 * y**2, 10, 0)
    panel = s.moved(s.painted(s.slab(0.1, 0.05, 0.002, 0.002), 4), (0.035, 0.055, 0.033), (0.25, 0, 0))
    keys = [
        s.moved(
            s.painted(s.slab(0.016, 0.011, 0.004, 0.002), 3),
            (0.005 + 0.025 * i, 0.005 - 0.022 * j, 0.019 - 0.0055 * j),
            (0.25, 0, 0),
        )
        for i in range(3)
        for j in range(4)
    ]
    shell = m.plain(m.neutral(rng, 0.7), 0.4)
    return _thing(
        "desk phone",
        s.join(base, bar, panel, *keys),
        [shell, shell, shell, m.plain(m.neutral(rng, 0.3)), m.plain((0.2, 0.25, 0.2), 0.2)],
    )


def hub(rng: np.random.Generator) -> Thing:
    """Make a USB hub, card reader or charger brick."""
    size = (float(rng.uniform(0.025, 0.05)), float(rng.uniform(0.07, 0.12)), float(rng.uniform(0.01, 0.03)))
    ports = [
        s.box((0.003, 0.013, 0.006), (size[0] / 2, y, 0), 3) for y in np.linspace(-0.3, 0.3, 3) * size[1]
    ]
    shell = m.metal(rng) if rng.random() < 0.4 else _hard(rng)
    lead = s.tube(np.array([[0, size[1] / 2, 0], [0.01, size[1], 0], [0.05, size[1] + 0.07, 0]]), 0.002, 6, 3)
    return _thing(
        "hub",
        s.join(s.slab(*size, 0.004, 0.002), *ports, lead),
        [shell, shell, shell, m.plain((0.02, 0.02, 0.02))],
    )


def coaster(rng: np.random.Generator) -> Thing:
    """Make a round or square coaster."""
    round_one = s.lathe([(0.048, 0), (0.048, 0.005), (0, 0.005)], 28)
    shape = round_one if rng.random() < 0.5 else s.slab(0.095, 0.095, 0.005, 0.008)
    surface = (
        m.pictured(textures.image(rng, "wood" if rng.random() < 0.5 else "cloth"), 0.7)
        if rng.random() < 0.5
        else _hard(rng)
    )
    return _thing("coaster", shape, [surface], flat=True)


def card_holder(rng: np.random.Generator) -> Thing:
    """Make a card holder, bank card, identity card or a passport."""
    kind = rng.random()
    if kind < 0.4:
        face = m.pictured(textures.image(rng, "card"), 0.35)
        return _thing(
            "card",
            s.moved(s.slab(0.0856, 0.054, 0.001, 0.003, 0.0002), turn=(0, 0, np.pi / 2)),
            [m.plain((0.6, 0.6, 0.6)), face, m.plain(m.any_colour(rng))],
        )
    if kind < 0.65:
        hide = m.plain(m.pick(rng, (0.1, 0.012, 0.02), (0.012, 0.02, 0.07), (0.01, 0.05, 0.03)), 0.55)
        mark = s.moved(
            s.painted(s.lathe([(0.017, 0), (0.012, 0.0003), (0, 0.0003)], 20), 3), (0, 0.0, 0.0025)
        )
        return _thing(
            "passport",
            s.join(s.slab(0.088, 0.125, 0.005, 0.004, 0.001), mark),
            [m.plain((0.7, 0.68, 0.6)), hide, hide, m.plain((0.6, 0.45, 0.15), 0.3)],
        )
    hide = m.leather(rng)
    inlay = s.moved(s.painted(s.slab(0.066, 0.085, 0.002, 0.003), 3), (0, 0.012, 0.002))
    return _thing(
        "card holder",
        s.join(s.slab(0.074, 0.1, 0.006, 0.005, 0.002), inlay),
        [hide, hide, hide, m.pictured(textures.image(rng, "card"), 0.4)],
    )


def stone(rng: np.random.Generator) -> Thing:
    """Make a pebble, a bar of soap or a sponge: mouse-like."""
    size = (
        float(rng.uniform(0.05, 0.075)),
        float(rng.uniform(0.07, 0.115)),
        float(rng.uniform(0.025, 0.045)),
    )
    a = m.any_colour(rng, (0, 0.3))
    return _thing(
        "stone",
        s.pebble(size, (float(rng.uniform(0.6, 1)), float(rng.uniform(0.7, 1)))),
        [m.material(m.Look(a, 0.6, mottle=m.pick(rng, a, (0.3, 0.28, 0.26)), mottle_scale=80))],
    )


def dark_box(rng: np.random.Generator) -> Thing:
    """Make a box of about a phone's or a notepad's size, dark more often than not."""
    size = (float(rng.uniform(0.06, 0.14)), float(rng.uniform(0.09, 0.2)), float(rng.uniform(0.01, 0.05)))
    surface = _hard(rng, 0.9) if rng.random() < 0.7 else m.pictured(textures.image(rng, "wrap"), 0.4)
    return _thing("box", s.slab(*size, float(rng.choice([0.0005, 0.004])), 0.0008), [surface])


def router(rng: np.random.Generator) -> Thing:
    """Make a router with lamps and aerials."""
    parts = [s.moved(s.slab(0.2, 0.13, 0.03, 0.012, 0.004), (0, 0, 0))]
    parts += [
        s.tube(np.array([[x, -0.06, 0], [x * 1.2, -0.065, 0.15]]), 0.005, 8, 0)
        for x in (-0.08, 0, 0.08)[: int(rng.integers(0, 4))]
    ]
    parts += [
        s.moved(s.painted(s.lathe([(0.002, 0), (0, 0.0005)], 8), 3), (-0.06 + 0.02 * i, 0.05, 0.0155))
        for i in range(5)
    ]
    shell = m.plain(m.neutral(rng, 0.5), 0.35)
    return _thing("router", s.join(*parts), [shell, shell, shell, m.plain((0.1, 0.9, 0.2), glow=2.0)])


def chocolate(rng: np.random.Generator) -> Thing:
    """Make a wrapped bar of chocolate or a packet of gum or tissues."""
    face = m.pictured(textures.image(rng, "wrap"), float(rng.uniform(0.2, 0.6)))
    size = (float(rng.uniform(0.04, 0.085)), float(rng.uniform(0.1, 0.17)), float(rng.uniform(0.008, 0.025)))
    return _thing("packet", s.slab(*size, 0.003, 0.003), [m.plain(m.any_colour(rng)), face, face])


def pen(rng: np.random.Generator) -> Thing:
    """Make a pen or a pencil."""
    y = np.array([-0.07, -0.06, 0.02, 0.021, 0.07])
    rod = s.tube(np.stack([0 * y, y, 0 * y], 1), np.array([0.0008, 0.004, 0.0045, 0.005, 0.0048]), 8)
    return _thing("pen", rod, [_hard(rng)], flat=False)


def pen_pot(rng: np.random.Generator) -> Thing:
    """Make a pot of pens."""
    r, tall = float(rng.uniform(0.034, 0.045)), float(rng.uniform(0.08, 0.11))
    pot = s.lathe([(0, 0), (r, 0), (r, tall), (r - 0.003, tall), (r - 0.003, 0.01), (0, 0.01)], 20)
    parts = [pot]
    for _ in range(int(rng.integers(2, 8))):
        a, b = rng.uniform(-0.6, 0.6, 2) * r, rng.uniform(-0.9, 0.9, 2) * r
        parts.append(
            s.tube(
                np.array([[*a, 0.012], [*b, tall + float(rng.uniform(0.02, 0.08))]]),
                0.004,
                6,
                int(rng.integers(1, 4)),
            )
        )
    return _thing("pen pot", s.join(*parts), [_hard(rng), *(m.plain(m.any_colour(rng)) for _ in range(3))])


def stapler(rng: np.random.Generator) -> Thing:
    """Make a stapler or a hole punch."""
    parts = [
        s.slab(0.038, 0.14, 0.008, 0.006),
        s.moved(s.slab(0.03, 0.14, 0.018, 0.008, 0.005), (0, 0.002, 0.028), (0.12, 0, 0)),
        s.box((0.02, 0.02, 0.03), (0, -0.055, 0.015)),
    ]
    return _thing("stapler", s.painted(s.join(*parts), 0), [_hard(rng)])


def headphones(rng: np.random.Generator) -> Thing:
    """Make headphones lying on a side."""
    a = np.linspace(-0.35, np.pi + 0.35, 20)
    band = s.tube(np.stack([np.cos(a) * 0.08, np.sin(a) * 0.09, 0 * a], 1), 0.008, 8)
    cups = [s.moved(s.pebble((0.04, 0.075, 0.08), (0.9, 0.9), 1), (x, -0.035, 0)) for x in (-0.078, 0.078)]
    return _thing("headphones", s.join(band, *cups), [_hard(rng), _hard(rng)])


def lamp(rng: np.random.Generator) -> Thing:
    """Make a desk lamp (its light is added by the room)."""
    tall = float(rng.uniform(0.3, 0.45))
    path = np.array([[0, 0, 0.01], [0, -0.05, tall * 0.6], [0.02, 0.02, tall], [0.03, 0.1, tall]])
    shade = s.moved(s.lathe([(0.02, 0.03), (0.055, -0.03), (0.052, -0.03)], 20), (0.03, 0.12, tall - 0.01))
    shape = s.join(
        s.tube(path, 0.006, 8), s.lathe([(0, 0), (0.07, 0), (0.065, 0.016), (0, 0.018)], 24), shade
    )
    return _thing("lamp", shape, [m.metal(rng) if rng.random() < 0.4 else _hard(rng)])


def plant(rng: np.random.Generator) -> Thing:
    """Make a potted plant."""
    r = float(rng.uniform(0.035, 0.08))
    pot = s.lathe(
        [(0, 0), (r * 0.7, 0), (r, r * 1.6), (r * 0.9, r * 1.6), (r * 0.88, r * 1.4), (0, r * 1.4)],
        20,
        [0, 0, 0, 0, 2],
    )
    leaves = []
    for _ in range(int(rng.integers(10, 26))):
        turn, lean, long_ = (
            float(rng.uniform(0, 6.3)),
            float(rng.uniform(0.1, 1.2)),
            float(rng.uniform(1.2, 3.2)) * r,
        )
        t = np.linspace(0, 1, 6)
        half = 0.16 * long_ * np.sin(np.pi * np.clip(t, 0.04, 0.98))
        out, up = long_ * t * np.sin(lean), long_ * (t * np.cos(lean) - 0.3 * t**2 * np.sin(lean))
        points = np.stack([np.stack([out, w * half, up + 0.15 * abs(w) * half], 1) for w in (-1, 0, 1)])
        leaves.append(s.moved(s.grid(points, 1), (0, 0, r * 1.4), (0, 0, turn)))
    green = m.pick(rng, (0.06, 0.2, 0.04), (0.12, 0.3, 0.06), (0.03, 0.12, 0.05))
    return _thing(
        "plant",
        s.join(pot, *leaves),
        [_hard(rng, 0.3), m.plain(green, 0.5), m.plain((0.04, 0.025, 0.015), 0.9)],
    )


def tissue_box(rng: np.random.Generator) -> Thing:
    """Make a box of tissues, one pulled out."""
    crowd = s.sheet(0.12, 0.09, 0.05, float(rng.uniform(0, 3)), 6)
    bent = s.moved(s.painted(crowd, 3), (0, 0, 0.05), (0.8, 0.4, 0))
    face = m.pictured(textures.image(rng, "wrap"), 0.6)
    return _thing(
        "tissue box",
        s.join(s.slab(0.115, 0.22, 0.07, 0.002), bent),
        [face, face, face, m.plain((0.85, 0.85, 0.85), 0.9)],
    )


def toy(rng: np.random.Generator) -> Thing:
    """Make a stack of toy bricks or a ball."""
    if rng.random() < 0.3:
        d = float(rng.uniform(0.04, 0.07))
        return _thing("toy", s.pebble((d, d, d), (1, 1)), [m.plain(m.any_colour(rng), 0.4)])
    blocks = [
        s.box((0.032, 0.064, 0.019), (*(float(v) for v in rng.normal(0, 0.008, 2)), 0.0195 * i), i % 3)
        for i in range(int(rng.integers(1, 5)))
    ]
    return _thing("toy", s.join(*blocks), [m.plain(m.any_colour(rng, (0.6, 1)), 0.25) for _ in range(3)])


def picture_frame(rng: np.random.Generator) -> Thing:
    """Make a standing picture frame (its picture towards local +y)."""
    wide, tall = float(rng.uniform(0.1, 0.17)), float(rng.uniform(0.12, 0.2))
    panel = s.join(
        s.slab(wide, tall, 0.012, 0.001, 0.002),
        s.moved(s.painted(s.slab(wide * 0.84, tall * 0.84, 0.001, 0, 0.0001), 3), (0, 0, 0.0058)),
    )
    shape = s.moved(s.moved(panel, turn=(np.pi / 2 - 0.2, 0, 0)), turn=(0, 0, np.pi))
    edge = m.plain(m.neutral(rng)) if rng.random() < 0.5 else m.plain((0.2, 0.11, 0.05), 0.5)
    return _thing("picture frame", shape, [edge, edge, edge, m.pictured(textures.image(rng, "photo"), 0.2)])


def mouse_mat(rng: np.random.Generator) -> Thing:
    """Make a mouse mat, dark more often than not, small or desk-wide."""
    wide, deep = ((0.24, 0.2), (0.3, 0.25), (0.7, 0.3))[rng.integers(3)]
    shape = s.slab(wide, deep, 0.003, float(rng.choice([0.002, 0.02])), 0.0008)
    dark = m.plain((0.012, 0.012, 0.014), 0.85, sheen=0.3)
    surface = (
        dark
        if rng.random() < 0.55
        else m.pictured(textures.image(rng, "cloth" if rng.random() < 0.6 else "photo"), 0.8)
    )
    return _thing("mouse mat", shape, [m.plain((0.02, 0.02, 0.02), 0.8), surface, surface], flat=True)


PHONE_LIKE: dict[str, tuple[Make, float]] = {
    "wallet": (wallet, 3.0),
    "earbud case": (earbud_case, 3.0),
    "remote": (remote, 2.0),
    "tablet": (tablet, 0.8),
    "glasses case": (glasses_case, 1.2),
    "power bank": (power_bank, 1.6),
    "calculator": (calculator, 0.8),
    "card": (card_holder, 1.6),
    "box": (dark_box, 1.2),
    "packet": (chocolate, 0.8),
    "stone": (stone, 0.8),
    "hub": (hub, 0.8),
}
CLUTTER: dict[str, tuple[Make, float]] = {
    "pen": (pen, 2.0),
    "pen pot": (pen_pot, 1.0),
    "stapler": (stapler, 0.8),
    "headphones": (headphones, 1.0),
    "lamp": (lamp, 0.6),
    "plant": (plant, 1.2),
    "tissue box": (tissue_box, 0.7),
    "toy": (toy, 0.7),
    "picture frame": (picture_frame, 0.7),
    "coaster": (coaster, 0.8),
    "desk phone": (desk_phone, 0.5),
    "router": (router, 0.4),
}


def choose(rng: np.random.Generator, among: dict[str, tuple[Make, float]]) -> Thing:
    """Make one of them, by weight."""
    weights = np.array([w for _, w in among.values()])
    return list(among.values())[rng.choice(len(weights), p=weights / weights.sum())][0](rng)
