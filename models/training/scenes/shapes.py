"""Meshes as plain arrays: slabs, lathed forms, tubes and grids, joined and moved before Blender sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np

SIDE, FRONT, BACK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """A mesh: vertices (n, 3) in metres, faces as vertex ids, per face a slot, UVs (k, 2), smoothness."""

    vertices: np.ndarray
    faces: list[tuple[int, ...]]
    slots: list[int]
    uvs: list[np.ndarray]
    smooth: list[bool]


def join(*shapes: Shape) -> Shape:
    """Return all shapes as one."""
    offsets = np.cumsum([0, *(len(s.vertices) for s in shapes)])
    return Shape(
        np.concatenate([s.vertices for s in shapes]),
        [tuple(i + int(o) for i in f) for s, o in zip(shapes, offsets, strict=False) for f in s.faces],
        [m for s in shapes for m in s.slots],
        [u for s in shapes for u in s.uvs],
        [k for s in shapes for k in s.smooth],
    )


def rotation(x_rad: float = 0.0, y_rad: float = 0.0, z_rad: float = 0.0) -> np.ndarray:
    """Return the (3, 3) matrix that turns about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos((x_rad, y_rad, z_rad)), np.sin((x_rad, y_rad, z_rad))
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x


def moved(
    shape: Shape,
    to: Sequence[float] = (0, 0, 0),
    turn: Sequence[float] = (0, 0, 0),
    scale: float | Sequence[float] = 1.0,
) -> Shape:
    """Return the shape scaled, turned (radians about x, y, z) and shifted (metres), in that order."""
    vertices = (shape.vertices * np.asarray(scale)) @ rotation(*turn).T + np.asarray(to, float)
    return replace(shape, vertices=vertices)


def painted(shape: Shape, slot: int) -> Shape:
    """Return the shape with every face in one material slot."""
    return replace(shape, slots=[slot] * len(shape.faces))


def rounded_outline(width_m: float, height_m: float, radius_m: float, steps: int = 4) -> np.ndarray:
    """Return a rounded rectangle about the origin, counter-clockwise: (4·(steps + 1), 2) metres."""
    radius = min(radius_m, width_m / 2 - 1e-5, height_m / 2 - 1e-5)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (width_m / 2 - radius, height_m / 2 - radius)
    angles = np.linspace(0, np.pi / 2, steps + 1)
    return np.concatenate(
        [
            corner + radius * np.stack([np.cos(angles + i * np.pi / 2), np.sin(angles + i * np.pi / 2)], 1)
            for i, corner in enumerate(corners)
        ]
    )


def _rings(rings: np.ndarray, caps: tuple[int, int], side: Sequence[int]) -> Shape:
    """Skin rings (r, k, 3) with quads and close both ends; caps name the slots of the last and first ring."""
    count, k = rings.shape[:2]
    faces, slots, uvs, smooth = [], [], [], []
    for i in range(count - 1):
        for j in range(k):
            n = (j + 1) % k
            faces.append((i * k + j, i * k + n, (i + 1) * k + n, (i + 1) * k + j))
            slots.append(side[i])
            u0, u1, v0, v1 = j / k, (j + 1) / k, i / (count - 1), (i + 1) / (count - 1)
            uvs.append(np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]]))
            smooth.append(True)
    for ring, slot, order in ((count - 1, caps[0], 1), (0, caps[1], -1)):
        flat = rings[ring, ::order, :2]
        low, span = flat.min(0), np.maximum(np.ptp(flat, 0), 1e-6)
        uv = (flat - low) / span
        faces.append(tuple(ring * k + j for j in range(k))[::order])
        slots.append(slot)
        uvs.append(uv if order == 1 else uv * (-1, 1) + (1, 0))
        smooth.append(False)
    return Shape(rings.reshape(-1, 3), faces, slots, uvs, smooth)


def slab(
    width_m: float,
    height_m: float,
    thick_m: float,
    radius_m: float = 0.0,
    bevel_m: float = 0.0005,
    steps: int = 4,
) -> Shape:
    """Return a flat box with round corners, x wide, y high, its front at +z; slots SIDE, FRONT and BACK."""
    bevel = min(bevel_m, thick_m / 2.01, width_m / 2.1, height_m / 2.1)
    outer = rounded_outline(width_m, height_m, max(radius_m, 1e-5), steps)
    inner = rounded_outline(width_m - 2 * bevel, height_m - 2 * bevel, max(radius_m - bevel, 1e-5), steps)
    levels = [
        (inner, -thick_m / 2),
        (outer, bevel - thick_m / 2),
        (outer, thick_m / 2 - bevel),
        (inner, thick_m / 2),
    ]
    rings = np.stack([np.column_stack([line, np.full(len(line), z)]) for line, z in levels])
    return _rings(rings, (FRONT, BACK), [SIDE] * 3)


def box(size_m: Sequence[float], centre_m: Sequence[float] = (0, 0, 0), slot: int = 0) -> Shape:
    """Return a sharp box of one slot."""
    shape = slab(size_m[0], size_m[1], size_m[2], 0.0, 0.0004, steps=0)
    return moved(painted(shape, slot), centre_m)


def prism(outline: np.ndarray, low_m: float, high_m: float, slots: tuple[int, int, int] = (0, 0, 0)) -> Shape:
    """Return a counter-clockwise outline (k, 2) extruded from low to high; slots of side, top and bottom."""
    rings = np.stack([np.column_stack([outline, np.full(len(outline), z)]) for z in (low_m, high_m)])
    return _rings(rings, (slots[1], slots[2]), [slots[0]])


def lathe(
    profile: Sequence[tuple[float, float]], segments: int = 24, slots: Sequence[int] | None = None
) -> Shape:
    """Return a profile of (radius, z) pairs turned about z, from bottom to top; one slot per profile step."""
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    rings = np.stack([np.column_stack([circle * max(r, 1e-5), np.full(segments, z)]) for r, z in profile])
    side = list(slots) if slots is not None else [0] * (len(profile) - 1)
    return _rings(rings, (side[-1], side[0]), side)


def tube(path_m: np.ndarray, radius_m: float | np.ndarray, segments: int = 8, slot: int = 0) -> Shape:
    """Return a round tube along a path (k, 3), its radius constant or per point (k,)."""
    path = np.asarray(path_m, float)
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-12
    radii = np.broadcast_to(radius_m, len(path))
    up = np.array([0, 0, 1.0]) if abs(tangents[0, 2]) < 0.9 else np.array([1.0, 0, 0])
    rings = []
    for point, tangent, radius in zip(path, tangents, radii, strict=True):
        right = np.cross(tangent, up)
        right /= np.linalg.norm(right) + 1e-12
        up = np.cross(right, tangent)
        angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)[:, None]
        rings.append(point + radius * (np.cos(angles) * right + np.sin(angles) * up))
    return painted(_rings(np.stack(rings), (0, 0), [0] * (len(path) - 1)), slot)


def grid(points: np.ndarray, slot: int = 0, wrap: bool = False) -> Shape:
    """Return a smooth surface over a grid of points (m, n, 3), closed along n if it wraps; UVs span 0–1."""
    m, n = points.shape[:2]
    columns = n if wrap else n - 1
    faces, uvs = [], []
    for i in range(m - 1):
        for j in range(columns):
            k = (j + 1) % n
            faces.append((i * n + j, i * n + k, (i + 1) * n + k, (i + 1) * n + j))
            u, v = np.array([j, j + 1]) / columns, np.array([i, i + 1]) / (m - 1)
            uvs.append(np.array([[u[0], v[0]], [u[1], v[0]], [u[1], v[1]], [u[0], v[1]]]))
    return Shape(points.reshape(-1, 3).astype(float), faces, [slot] * len(faces), uvs, [True] * len(faces))


def pebble(size_m: Sequence[float], squareness: tuple[float, float] = (0.5, 0.5), slot: int = 0) -> Shape:
    """Return a superellipsoid of full size (x, y, z): squareness (around z, over z) 1 is round, 0 a box."""
    over = np.linspace(-np.pi / 2, np.pi / 2, 13)
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def power(values: np.ndarray, exponent: float) -> np.ndarray:
        return np.sign(values) * np.abs(values) ** exponent

    ring = power(np.cos(over), squareness[1])[:, None]
    x = ring * power(np.cos(around), squareness[0])[None]
    y = ring * power(np.sin(around), squareness[0])[None]
    z = np.repeat(power(np.sin(over), squareness[1])[:, None], len(around), axis=1)
    return grid(np.stack([x, y, z], 2) * np.asarray(size_m) / 2, slot, wrap=True)


def sheet(width_m: float, height_m: float, curl_m: float, along_rad: float, cells: int = 8) -> Shape:
    """Return a leaf of paper that lifts by up to curl_m at two ends; front up, lowest at z = 0."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, cells) * width_m, np.linspace(-0.5, 0.5, cells) * height_m)
    reach = (x * np.cos(along_rad) + y * np.sin(along_rad)) / (max(width_m, height_m) / 2)
    z = curl_m * np.clip(np.abs(reach) - 0.2, 0, None) ** 2
    return grid(np.stack([x, y, z - z.min() + 0.0002], 2), FRONT)


def build(shape: Shape, name: str, materials: Sequence[bpy.types.Material]) -> bpy.types.Object:
    """Make the Blender object of a shape in the scene; slots beyond the list take the last one."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(shape.vertices.tolist(), [], shape.faces)
    slots = np.minimum(shape.slots, len(materials) - 1).astype(np.int32)
    mesh.polygons.foreach_set("material_index", slots)
    mesh.polygons.foreach_set("use_smooth", shape.smooth)
    layer = mesh.uv_layers.new(name="uv")
    layer.data.foreach_set("uv", np.concatenate(shape.uvs).astype(np.float32).ravel())
    for material in materials:
        mesh.materials.append(material)
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    return made
