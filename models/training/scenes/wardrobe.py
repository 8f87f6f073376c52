"""Skin, clothes, hair and glasses as meshes that hang on the body's bones.

Everything is made from the base mesh: garments from its clothing shell, hair from its scalp and hair shell.
Parameters along the limbs are measured on the unshaped base mesh, so they hold for every build.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from scenes.bodydata import load_body
from scenes.skeleton import fit_skeleton, unit

BODY_VERTICES = 13380


# Shoes begin at this part of a leg.
SHOE_TOP = 0.97


@dataclass(frozen=True)
class Piece:
    """One mesh of a person at rest: `points` (n, 3) m, `faces` (m, 4), `bones` and `weights` (n, 4).

    `uv` (n, 2) counts metres on the cloth; `colours` (n, 3) are linear RGB; either may be empty.
    """

    name: str
    points: np.ndarray
    faces: np.ndarray
    bones: np.ndarray
    weights: np.ndarray
    uv: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Regions:
    """Where vertices lie on the base mesh (V,): 0 to 1 along an arm or leg (0 elsewhere), and on the head."""

    arm: np.ndarray
    leg: np.ndarray
    head: np.ndarray
    rest: np.ndarray


def _along(points: np.ndarray, joints: list[np.ndarray]) -> np.ndarray:
    """Return how far (n,) points lie along a chain of joints; each bone counts alike, ends run on."""
    bones = len(joints) - 1
    out = np.zeros(points.shape[0])
    for number in range(bones):
        start, end = joints[number], joints[number + 1]
        share = (points - start) @ (end - start) / ((end - start) @ (end - start))
        low = -np.inf if number == 0 else 0
        out = np.where(share > low, (number + share) / bones, out)
    return out


@functools.cache
def base_regions() -> Regions:
    """Measure the base mesh once."""
    body = load_body()
    skeleton = fit_skeleton(body.rig, body.vertices)
    names = np.array(body.rig.names)[body.bones]

    def share(*prefixes: str) -> np.ndarray:
        mask = np.zeros(names.shape, dtype=bool)
        for prefix in prefixes:
            mask |= np.char.startswith(names, prefix)
        return (mask * body.weights).sum(axis=1)

    arm = np.zeros(len(names))
    leg = np.zeros(len(names))
    arms = share("upperarm", "lowerarm", "wrist", "finger", "metacarpal") > 0.5
    legs = share("upperleg", "lowerleg", "foot", "toe") > 0.5
    for side, half in (("L", body.vertices[:, 0] > 0), ("R", body.vertices[:, 0] <= 0)):
        chain = [skeleton.head(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")]
        arm = np.where(arms & half, _along(body.vertices, chain), arm)
        chain = [skeleton.head(f"{bone}.{side}") for bone in ("upperleg01", "lowerleg01", "foot")]
        leg = np.where(legs & half, _along(body.vertices, chain), leg)
    head = share(
        "head", "jaw", "eye", "oculi", "oris", "levator", "special", "temporalis", "risorius", "orbic"
    )
    return Regions(arm, leg, head, body.vertices)


def normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return vertex normals (n, 3)."""
    corner = points[faces]
    face = np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
    out = np.zeros_like(points)
    for column in range(4):
        np.add.at(out, faces[:, column], face)
    return unit(out)


def smooth(points: np.ndarray, faces: np.ndarray, rounds: int, rate: float = 0.5) -> np.ndarray:
    """Return points relaxed towards their neighbours' mean; cloth hangs straighter than skin."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 3]], faces[:, [3, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = np.maximum(np.bincount(edges[:, 0], minlength=len(points)), 1)[:, None]
    for _ in range(rounds):
        total = np.stack(
            [np.bincount(edges[:, 0], points[edges[:, 1], axis], minlength=len(points)) for axis in range(3)],
            1,
        )
        points = points + rate * (total / count - points)
    return points


def _compact(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the used vertex numbers (n,) and faces (m, 4) renumbered to them."""
    used, renumbered = np.unique(faces, return_inverse=True)
    return used, renumbered.reshape(faces.shape).astype(np.int32)


def border_edges(faces: np.ndarray) -> np.ndarray:
    """Return the directed edges (e, 2) that only one face has."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 3]], faces[:, [3, 0]]])
    low, high = edges.min(axis=1).astype(np.int64), edges.max(axis=1).astype(np.int64)
    _, first, count = np.unique(low * 1_000_000 + high, return_index=True, return_counts=True)
    return edges[first[count == 1]]


@dataclass(frozen=True)
class Cut:
    """A garment's ends: along arms and legs (0 to 1), and heights on the unshaped base mesh, m.

    `neck_m` is the neckline's height at the body's axis; `neck_slope` lowers it towards the front.
    """

    arm: float
    leg: float
    bottom_m: float
    neck_m: float
    neck_slope: float = 0.35


def _excess(cut: Cut, regions: Regions) -> np.ndarray:
    """Return (V,) above 0 where a vertex lies outside of the garment; the unit is about a metre."""
    # The neckline rises away from the neck, or a low one would bare the shoulders.
    rise = 1.5 * np.maximum(np.abs(regions.rest[:, 0]) - 0.065, 0)
    neck = regions.rest[:, 2] - (cut.neck_m + cut.neck_slope * (regions.rest[:, 1] + 0.03) + rise)
    legs = np.where(regions.leg > 0, (regions.leg - cut.leg) * 0.8, -1)
    arms = np.where(regions.arm > 0, (regions.arm - cut.arm) * 0.5, -1)
    neck = np.where(regions.arm > 0, -1, neck)
    bottom = np.where(regions.arm > 0, -1, cut.bottom_m - regions.rest[:, 2])
    return np.max([neck, legs, arms, bottom], axis=0)


def covered(cut: Cut, margin_m: float = 0.014) -> np.ndarray:
    """Return (V,) which vertices of the body a garment hides, all but a margin at its ends."""
    return _excess(cut, base_regions()) < -margin_m


def garment(name: str, shaped: np.ndarray, cut: Cut, loose_m: float, rounds: int) -> Piece:
    """Cut a garment from the clothing shell of a shaped body (V, 3) m and hang it `loose_m` off the skin."""
    body, regions = load_body(), base_regions()
    excess = _excess(cut, regions)
    quads = body.faces["helper-tights"]
    quads = quads[(excess[quads] < 0).sum(axis=1) >= 2]
    used, faces = _compact(quads)
    points = shaped[used]
    # Corners beyond the cut move back along the edge to the nearest corner inside, for a straight hem.
    over = np.maximum(excess[used], 0)
    edges = np.concatenate([faces[:, [a, b]] for a in range(4) for b in range(4) if a != b])
    out_in = edges[(over[edges[:, 0]] > 0) & (over[edges[:, 1]] == 0)]
    share = over[out_in[:, 0]] / np.maximum(over[out_in[:, 0]] - excess[used][out_in[:, 1]], 1e-6)
    moved = points[out_in[:, 0]] + share[:, None] * (points[out_in[:, 1]] - points[out_in[:, 0]])
    points[out_in[:, 0]] = moved
    points = smooth(points, faces, rounds)
    # Cuffs of long sleeves sit close to the wrist; below the waist a top hangs over the trousers.
    slack = loose_m * (1 - 0.7 * np.clip((regions.arm[used] - 0.85) / 0.1, 0, 1))
    slack += 0.06 * np.clip(0.13 - regions.rest[used, 2], 0, 0.15) * (cut.bottom_m > -1)
    if cut.bottom_m <= -1:
        slack *= np.clip((0.02 - regions.rest[used, 2]) / 0.12, 0.2, 1)
    points = points + normals(points, faces) * slack[:, None]
    uv = np.stack(
        [regions.rest[used, 0], np.where(regions.arm[used] > 0, -regions.arm[used], regions.rest[used, 2])], 1
    )
    piece = Piece(name, points, faces, body.bones[used], body.weights[used], uv, np.zeros((0, 3)))
    return _hem(piece, 0.005)


def shoes(shaped: np.ndarray) -> Piece:
    """Make shoes out of the feet of a shaped body (V, 3) m; smoothing melts the toes together."""
    body, regions = load_body(), base_regions()
    quads = body.faces["body"]
    used, faces = _compact(quads[(regions.leg[quads] > SHOE_TOP).all(axis=1)])
    points = smooth(shaped[used], faces, 40)
    points = points + normals(points, faces) * 0.014
    return _hem(
        Piece(
            "shoes",
            points,
            faces,
            body.bones[used],
            body.weights[used],
            np.zeros((len(used), 2)),
            np.zeros((0, 3)),
        ),
        0.006,
    )


def _hem(piece: Piece, depth_m: float) -> Piece:
    """Fold every border of a garment inwards, so that cloth seems to have a thickness."""
    border = border_edges(piece.faces)
    used, local = np.unique(border, return_inverse=True)
    local = local.reshape(border.shape) + len(piece.points)
    inside = piece.points[used] - normals(piece.points, piece.faces)[used] * depth_m
    strip = np.stack([border[:, 1], border[:, 0], local[:, 0], local[:, 1]], axis=1)
    return replace(
        piece,
        points=np.concatenate([piece.points, inside]),
        faces=np.concatenate([piece.faces, strip]).astype(np.int32),
        bones=np.concatenate([piece.bones, piece.bones[used]]),
        weights=np.concatenate([piece.weights, piece.weights[used]]),
        uv=np.concatenate([piece.uv, piece.uv[used]]),
    )
