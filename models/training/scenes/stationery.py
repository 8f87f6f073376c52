"""Paper (sheets, notebooks, books, sticky notes) and drinks (mugs, glasses, bottles, cans)."""

from __future__ import annotations

import numpy as np

from scenes import materials as m
from scenes import shapes as s
from scenes import textures
from scenes.things import Thing


def paper(rng: np.random.Generator) -> Thing:
    """Make one of the things that count as paper."""
    makers = (loose_sheet, loose_sheet, stack, notebook, open_book, closed_book, sticky_pad)
    return makers[rng.integers(len(makers))](rng)


def _page(rng: np.random.Generator) -> m.bpy.types.Material:
    return m.pictured(textures.image(rng, "page"), 0.85)


def _paper_thing(name: str, shape: s.Shape, surfaces: list) -> Thing:
    return Thing(name, "paper", [s.build(shape, name, surfaces)], flat=True)


def loose_sheet(rng: np.random.Generator) -> Thing:
    """Make one sheet, A4 or smaller, slightly curled."""
    scale = float(rng.choice([1, 1, 0.71, 0.5]))
    curl = float(rng.choice([0, 0.004, rng.uniform(0.004, 0.03)])) * scale
    leaf = s.sheet(0.21 * scale, 0.297 * scale, curl, float(rng.uniform(0, np.pi)))
    return _paper_thing("sheet", s.painted(leaf, 0), [_page(rng)])


def paper_sheet(rng: np.random.Generator, leaf: s.Shape) -> Thing:
    """Make a sheet of a given form."""
    return _paper_thing("sheet", leaf, [_page(rng)])


def stack(rng: np.random.Generator) -> Thing:
    """Make a few sheets that lie askew on each other."""
    leaves = []
    for i in range(int(rng.integers(3, 7))):
        leaf = s.slab(0.21, 0.297, 0.0012, 0, 0.0001, 0)
        spot = (*(float(v) for v in rng.normal(0, 0.006, 2)), 0.0013 * i)
        leaves.append(s.moved(leaf, spot, (0, 0, float(rng.normal(0, 0.06)))))
    edge = m.plain((0.75, 0.75, 0.72), 0.9)
    return _paper_thing("stack", s.join(*leaves), [edge, _page(rng), edge])


def notebook(rng: np.random.Generator) -> Thing:
    """Make a closed or open notebook, with a spiral now and then."""
    scale = float(rng.uniform(0.6, 1.0))
    wide, tall, thick = 0.2 * scale, 0.28 * scale, float(rng.uniform(0.004, 0.014))
    pages, face = m.plain((0.8, 0.79, 0.74), 0.9), m.pictured(textures.image(rng, "cover"), 0.5)
    if rng.random() < 0.4:
        face = m.plain(m.any_colour(rng), 0.6, sheen=0.2)
    shown = _page(rng) if rng.random() < 0.5 else face
    parts = [s.slab(wide, tall, thick, 0.004, 0.0003)]
    surfaces = [pages, shown, face, m.metal(rng)]
    if rng.random() < 0.45:
        ring = s.tube(_circle(0.006, 10), 0.0007, 5, 3)
        parts += [s.moved(ring, (-wide / 2, y, 0)) for y in np.linspace(-0.45, 0.45, 18) * tall]
    return _paper_thing("notebook", s.join(*parts), surfaces)


def _circle(radius_m: float, steps: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, steps)
    return np.stack([np.cos(angles) * radius_m, np.zeros(steps), np.sin(angles) * radius_m], 1)


def open_book(rng: np.random.Generator) -> Thing:
    """Make an open book or diary, both pages bulging towards the fold."""
    wide, tall = float(rng.uniform(0.11, 0.19)), float(rng.uniform(0.17, 0.27))
    bulge = float(rng.uniform(0.006, 0.022))
    x = np.linspace(0, 1, 10)
    z = bulge * np.sin(np.pi * np.clip(x * 1.1, 0, 1)) ** 0.7 * (1 - 0.6 * x) + 0.003
    leaves = []
    for slot, way in ((1, 1), (2, -1)):
        xs = way * x * wide
        points = np.stack([np.stack([xs, np.full(10, y), z], 1) for y in np.linspace(-tall / 2, tall / 2, 4)])
        leaves.append(s.grid(points if way == 1 else points[:, ::-1], slot))
    board = s.painted(s.slab(2 * wide + 0.006, tall + 0.006, 0.003, 0.002), 0)
    surfaces = [m.plain(m.any_colour(rng), 0.6), _page(rng), _page(rng)]
    return _paper_thing("open book", s.join(*leaves, board), surfaces)


def closed_book(rng: np.random.Generator) -> Thing:
    """Make a closed book: boards, a block of pages, a spine."""
    wide, tall, thick = (float(rng.uniform(*r)) for r in ((0.11, 0.21), (0.17, 0.28), (0.01, 0.045)))
    block = s.painted(s.slab(wide - 0.006, tall - 0.006, thick - 0.004, 0.0), 3)
    boards = [s.moved(s.slab(wide, tall, 0.002, 0.001), (0, 0, z)) for z in (thick / 2, -thick / 2)]
    spine = s.box((0.002, tall, thick), (-wide / 2, 0, 0), 0)
    hue = m.plain(m.any_colour(rng), 0.5)
    cover = m.pictured(textures.image(rng, "cover"), float(rng.uniform(0.2, 0.6)))
    return _paper_thing(
        "book", s.join(block, *boards, spine), [hue, cover, hue, m.plain((0.8, 0.77, 0.68), 0.9)]
    )


def sticky_pad(rng: np.random.Generator) -> Thing:
    """Make a pad of sticky notes."""
    image = textures.image(rng, "note")
    pad = s.slab(0.076, 0.076, float(rng.uniform(0.002, 0.02)), 0.0, 0.0002, 0)
    return _paper_thing(
        "sticky notes",
        pad,
        [m.plain(m.pick(rng, (0.9, 0.75, 0.15), (0.9, 0.4, 0.5))), m.pictured(image, 0.8)],
    )


def drink(rng: np.random.Generator) -> Thing:
    """Make one of the vessels."""
    makers = (mug, mug, paper_cup, glass, bottle, bottle, can)
    return makers[rng.integers(len(makers))](rng)


def _skin(rng: np.random.Generator) -> m.bpy.types.Material:
    if rng.random() < 0.3:
        return m.pictured(textures.image(rng, "wrap"), 0.25, coat=0.5)
    colour = (0.8, 0.79, 0.76) if rng.random() < 0.35 else m.any_colour(rng)
    return m.plain(colour, float(rng.uniform(0.08, 0.5)), coat=float(rng.random()))


def _drink_thing(name: str, shape: s.Shape, surfaces: list) -> Thing:
    low = shape.vertices[:, 2].min()
    high = shape.vertices[:, 2].max()
    centred = s.moved(shape, (0, 0, -(low + high) / 2))  # held things have their origin at the centre
    return Thing(name, "drink", [s.build(centred, name, surfaces)])


def mug(rng: np.random.Generator) -> Thing:
    """Make a mug with a handle and something in it."""
    r, tall = float(rng.uniform(0.035, 0.046)), float(rng.uniform(0.08, 0.115))
    foot = r * float(rng.uniform(0.75, 1.0))
    fill = tall * float(rng.uniform(0.5, 0.92))
    wall = [
        (0, 0),
        (foot, 0),
        (foot * 0.3 + r * 0.7, tall * 0.3),
        (r, tall * 0.8),
        (r, tall),
        (r - 0.003, tall),
        (r - 0.004, fill),
        (0, fill),
    ]
    cup = s.lathe(wall, 28, [0, 0, 0, 0, 0, 1, 2])
    angle = np.linspace(-np.pi / 2, np.pi / 2, 12)
    bow = np.stack(
        [r - 0.003 + np.cos(angle) * 0.028, np.zeros(12), tall * 0.52 + np.sin(angle) * tall * 0.3], 1
    )
    handle = s.tube(bow, 0.005, 8, 1)
    inside = m.plain((0.75, 0.74, 0.7), 0.2)
    liquid = m.plain(
        m.pick(rng, (0.02, 0.008, 0.003), (0.25, 0.13, 0.06), (0.2, 0.07, 0.01), (0.6, 0.6, 0.6)), 0.05
    )
    return _drink_thing("mug", s.join(cup, handle), [_skin(rng), inside, liquid])


def paper_cup(rng: np.random.Generator) -> Thing:
    """Make a paper cup with a sleeve and mostly a lid."""
    r, tall = float(rng.uniform(0.036, 0.046)), float(rng.uniform(0.09, 0.15))
    wall = [(0, 0), (r * 0.72, 0), (r * 0.78, tall * 0.25), (r * 0.92, tall * 0.7), (r, tall)]
    slots = [0, 0, 1, 0]
    top = [(r + 0.002, tall), (r + 0.002, tall + 0.006), (r - 0.004, tall + 0.012), (0, tall + 0.012)]
    if rng.random() < 0.3:
        top = [(r - 0.001, tall), (r - 0.006, tall * 0.85), (0, tall * 0.85)]
    lid = m.plain(m.neutral(rng, 0.4), 0.35)
    sleeve = m.plain(m.pick(rng, (0.35, 0.2, 0.1), (0.02, 0.02, 0.02), (0.05, 0.2, 0.08)), 0.8)
    return _drink_thing(
        "paper cup", s.lathe(wall + top, 26, slots + [2] * len(top)), [_skin(rng), sleeve, lid]
    )


def glass(rng: np.random.Generator) -> Thing:
    """Make a drinking glass with water, juice or cola."""
    r, tall = float(rng.uniform(0.03, 0.042)), float(rng.uniform(0.09, 0.15))
    fill = tall * float(rng.uniform(0.2, 0.9))
    wall = [(0, 0), (r * 0.85, 0), (r, tall), (r - 0.002, tall), (r * 0.84, 0.008), (0, 0.008)]
    inner = s.lathe(
        [(0, 0.009), (r * 0.82, 0.009), (r * (0.82 + 0.13 * fill / tall), fill), (0, fill)], 24, [1, 1, 1]
    )
    clear = m.plain((0.97, 0.98, 0.98), 0.02, transmission=1.0)
    drop = m.pick(
        rng, (0.9, 0.95, 0.95), (0.85, 0.4, 0.02), (0.12, 0.03, 0.01), (0.7, 0.1, 0.1), (0.9, 0.9, 0.85)
    )
    liquid = m.plain(drop, 0.03, transmission=0.85)
    return _drink_thing("glass", s.join(s.lathe(wall, 24), inner), [clear, liquid])


def bottle(rng: np.random.Generator) -> Thing:
    """Make a water, soda or steel bottle."""
    r, tall = float(rng.uniform(0.029, 0.042)), float(rng.uniform(0.18, 0.28))
    neck = float(rng.uniform(0.011, 0.02))
    wall = [
        *(
            (0, 0),
            (r * 0.95, 0),
            (r, 0.01),
            (r, tall * 0.3),
            (r * 1.002, tall * 0.31),
            (r * 1.002, tall * 0.58),
        ),
        *((r, tall * 0.6), (r * 0.93, tall * 0.7), (neck, tall * 0.86), (neck, tall * 0.92)),
        *((neck * 1.25, tall * 0.92), (neck * 1.25, tall), (0, tall)),
    ]
    slots = [0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2]
    kind = rng.random()
    if kind < 0.45:
        tint = m.pick(rng, (0.9, 0.95, 0.97), (0.5, 0.75, 0.9), (0.2, 0.5, 0.25), (0.25, 0.1, 0.04))
        body = m.plain(tint, 0.06, transmission=0.9)
    else:
        body = m.metal(rng) if kind < 0.6 else m.plain(m.any_colour(rng), 0.3)
        slots = [0 if kind < 0.85 and i == 1 else i for i in slots]
    label = m.pictured(textures.image(rng, "wrap"), 0.4)
    return _drink_thing("bottle", s.lathe(wall, 24, slots), [body, label, m.plain(m.any_colour(rng), 0.4)])


def can(rng: np.random.Generator) -> Thing:
    """Make a drink can."""
    r, tall = float(rng.uniform(0.026, 0.033)), float(rng.uniform(0.115, 0.165))
    wall = [
        (0, 0.004),
        (r * 0.75, 0),
        (r, 0.01),
        (r, tall - 0.012),
        (r * 0.82, tall),
        (r * 0.78, tall - 0.004),
        (0, tall - 0.004),
    ]
    shine = m.plain((0.7, 0.7, 0.72), 0.25, metallic=1.0)
    surface = m.pictured(textures.image(rng, "wrap"), 0.25, metallic=0.5)
    return _drink_thing("can", s.lathe(wall, 26, [1, 1, 0, 1, 1, 1]), [surface, shine])
