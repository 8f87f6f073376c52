"""Hair and glasses: hair grows from the scalp of the base mesh or from its hair shell."""

from __future__ import annotations

import numpy as np

from scenes.bodydata import load_body, load_target
from scenes.skeleton import unit
from scenes.wardrobe import Piece, base_regions, border_edges, normals, smooth

HAIR_STYLES = ("bald", "buzz", "short", "crop", "medium", "long", "bun", "afro")


def _scalp(style: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scalp quads (m, 4) and how far (V,) each vertex lies inside of the hairline, m."""
    body, regions = load_body(), base_regions()
    rest = regions.rest
    eye = body.vertices[np.unique(body.faces["helper-l-eye"])].mean(axis=0)
    back = np.clip((rest[:, 1] - (eye[1] + 0.02)) / 0.11, 0, 1)
    nape = {"medium": -0.085, "bun": -0.05, "long": -0.09}.get(style, -0.055)
    # The hairline falls from above the brow, in front of the ear, to the nape.
    line = eye[2] + 0.060 * (1 - back) ** 0.8 + nape * back
    side = np.clip((np.abs(rest[:, 0]) - 0.045) / 0.03, 0, 1) * (1 - back)
    inside = rest[:, 2] - line + 0.012 * side
    quads = body.faces["body"]
    keep = (regions.head[quads] > 0.3).all(axis=1) & (inside[quads] > -0.02).any(axis=1)
    # Ears stick out: they stay free of hair.
    ears = np.zeros(len(rest), dtype=bool)
    for name in ("ears/l-ear-scale-incr", "ears/r-ear-scale-incr"):
        indices, offsets = load_target(name)
        length = np.linalg.norm(offsets, axis=1)
        ears[indices[length > 0.45 * length.max()]] = True
    keep &= ~ears[quads].any(axis=1)
    return quads[keep], inside


def hair_pieces(rng: np.random.Generator, shaped: np.ndarray, style: str) -> list[Piece]:
    """Return the meshes of a hair style out of `HAIR_STYLES`."""
    if style not in HAIR_STYLES:
        raise ValueError(f"wanted a hair style of {HAIR_STYLES}, got {style!r}")
    if style == "bald":
        return []
    body = load_body()
    quads, inside = _scalp(style)
    used, faces = np.unique(quads, return_inverse=True)
    faces = faces.reshape(quads.shape).astype(np.int32)
    thick_m = {
        "buzz": 0.004,
        "short": 0.016,
        "crop": 0.026,
        "medium": 0.026,
        "long": 0.018,
        "bun": 0.012,
        "afro": 0.065,
    }[style]
    thick_m *= rng.uniform(0.8, 1.25)
    ramp_m = max(0.014, 1.1 * thick_m)
    lift = np.clip(inside[used] / ramp_m, -0.2, 1)
    edge = np.unique(border_edges(faces))
    lift[edge] = np.minimum(lift[edge], 0.1)
    points = shaped[used]
    lump = sum(
        np.sin(points @ rng.normal(0, 1, 3) * rng.uniform(50, 160) + rng.uniform(0, 6)) for _ in range(5)
    ) * {"buzz": 0.04, "bun": 0.04, "afro": 0.07}.get(style, 0.13)
    outward = normals(smooth(points, faces, 8), faces)
    # At its edge hair dips below the skin, which draws a soft natural line.
    raised = points + outward * (lift * thick_m * (1 + lump) - 0.0025 * (lift <= 0.02))[:, None]
    points = np.where((lift > 0.15)[:, None], smooth(raised, faces, 2 if thick_m > 0.01 else 0), raised)
    pieces = [
        Piece("hair", points, faces, body.bones[used], body.weights[used], np.zeros((0, 2)), np.zeros((0, 3)))
    ]
    if style == "long":
        pieces.append(_long_hair(shaped))
    if style == "bun":
        top = shaped[used][np.argmax(shaped[used][:, 2])]
        pieces.append(
            _ball(
                "hair",
                top + np.array([0, 0.075, 0.0]),
                0.042 * rng.uniform(0.8, 1.3),
                load_body().rig.index["head"],
            )
        )
    return pieces


def _long_hair(shaped: np.ndarray) -> Piece:
    body = load_body()
    quads = body.faces["helper-hair"]
    # The shell's curtain before the face is left out, and what falls below the shoulders too.
    middle = base_regions().rest[quads].mean(axis=1)
    curtain = (middle[:, 1] < -0.05) & (np.abs(middle[:, 0]) < 0.078) & (middle[:, 2] < 0.80)
    locks = (middle[:, 1] < 0.0) & (middle[:, 2] < 0.60)
    quads = quads[~curtain & ~locks & (middle[:, 2] > 0.46)]
    used, faces = np.unique(quads, return_inverse=True)
    return Piece(
        "hair",
        shaped[used],
        faces.reshape(quads.shape).astype(np.int32),
        body.bones[used],
        body.weights[used],
        np.zeros((0, 2)),
        np.zeros((0, 3)),
    )


def rigid_piece(name: str, points: np.ndarray, faces: np.ndarray, bone: int) -> Piece:
    """Return a mesh that hangs on one bone."""
    bones = np.full((len(points), 4), bone, dtype=np.int32)
    weights = np.tile(np.eye(1, 4), (len(points), 1))
    return Piece(name, points, faces.astype(np.int32), bones, weights, np.zeros((0, 2)), np.zeros((0, 3)))


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Return quads (rows * columns, 4) of a grid that closes on itself along its columns."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    after = (column + 1) % columns
    quads = [
        row * columns + column,
        row * columns + after,
        (row + 1) * columns + after,
        (row + 1) * columns + column,
    ]
    return np.stack([quad.ravel() for quad in quads], axis=1)


def _ball(name: str, centre: np.ndarray, radius_m: float, bone: int) -> Piece:
    height, angle = np.meshgrid(
        np.linspace(-1.5, 1.5, 9), np.linspace(0, 2 * np.pi, 14, endpoint=False), indexing="ij"
    )
    points = np.stack(
        [np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)], axis=-1
    )
    return rigid_piece(name, centre + radius_m * points.reshape(-1, 3), _grid_faces(9, 14), bone)


def _tube(path: np.ndarray, radius_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a square tube's points and quads along a path (n, 3) m."""
    ahead = unit(np.gradient(path, axis=0))
    across = unit(np.cross(ahead, np.array([0.02, 0.3, 1.0])))
    up = np.cross(across, ahead)
    ring = [across, up, -across, -up]
    points = np.stack([path + radius_m * direction for direction in ring], axis=1).reshape(-1, 3)
    return points, _grid_faces(len(path), 4)


def glasses_pieces(rng: np.random.Generator, shaped: np.ndarray) -> list[Piece]:
    """Return a pair of glasses: rims, bridge and temples."""
    body = load_body()
    eye = shaped[np.unique(body.faces["helper-l-eye"])].mean(axis=0)
    wide, tall = rng.uniform(0.021, 0.026), rng.uniform(0.015, 0.022)
    power = rng.choice([2.0, 3.0, 4.0])
    angle = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([np.cos(angle), np.zeros(25), np.sin(angle)], axis=1)
    ring /= (np.abs(ring[:, [0]]) ** power + np.abs(ring[:, [2]]) ** power) ** (1 / power)
    front = eye + np.array([0.003, -0.031, -0.003])
    indices, offsets = load_target("ears/l-ear-scale-incr")
    length = np.linalg.norm(offsets, axis=1)
    # Temples run along the head to where the ear joins it.
    aside = shaped[indices[length > 0.45 * length.max()]][:, 0].min()
    paths = []
    for outward in (1.0, -1.0):
        middle = front * [outward, 1, 1]
        rim = middle + ring * [wide, 0, tall]
        rim[:, 1] += np.abs(rim[:, 0]) * 0.12
        paths.append(rim)
        corner = middle + np.array([outward * wide, 0.005, 0.006])
        ear = np.array([outward * aside, corner[1] + 0.115, corner[2] - 0.002])
        bend = np.array([outward * aside, corner[1] + 0.012, corner[2]])
        paths.append(np.array([corner, bend, (bend + ear) / 2, ear]))
    paths.append(
        np.array(
            [
                front * [-1, 1, 1] + [wide, 0, 0.003],
                [0, front[1] - 0.002, front[2] + 0.006],
                front - [wide, 0, -0.003],
            ]
        )
    )
    radius_m = rng.uniform(0.0010, 0.0024)
    bone = body.rig.index["head"]
    return [rigid_piece("glasses", *_tube(path, radius_m), bone) for path in paths]
