"""Where things stand on the desk: oriented footprints that do not overlap, unless the lower one is flat."""

from __future__ import annotations

from dataclasses import dataclass, field

import bpy
import numpy as np

from scenes.things import Thing, stand


@dataclass(frozen=True, slots=True)
class Footprint:
    """A convex outline (4, 2) in metres, the height of its top, and whether others may lie on it."""

    outline: np.ndarray
    top_m: float
    flat: bool


@dataclass(slots=True)
class Layout:
    """The desk's surface: its size and level in metres, and what lies on it so far."""

    size_m: tuple[float, float]
    level_m: float
    taken: list[Footprint] = field(default_factory=list)

    def block(self, x0_m: float, y0_m: float, x1_m: float, y1_m: float) -> None:
        """Keep a rectangle free."""
        self.taken.append(
            Footprint(
                np.array([[x0_m, y0_m], [x1_m, y0_m], [x1_m, y1_m], [x0_m, y1_m]]), self.level_m, flat=False
            )
        )

    def base(self, outline: np.ndarray, allowed: bool = True) -> float | None:
        """Return the height on which an outline would stand, None where something upright is."""
        if (np.abs(outline) > np.array(self.size_m) / 2 + 0.01).any():
            return None
        level = self.level_m
        for other in self.taken:
            if _overlap(outline, other.outline):
                if not (other.flat and allowed):
                    return None
                level = max(level, other.top_m)
        return level

    def add(self, thing: Thing, x_m: float, y_m: float, yaw_rad: float, over: bool = True) -> bool:
        """Stand a thing there if it fits; over: it may lie on flat things."""
        outline = footprint(thing, x_m, y_m, yaw_rad)
        level = self.base(outline, over)
        if level is None:
            return False
        top = stand(thing, x_m, y_m, level, yaw_rad)
        self.taken.append(Footprint(outline, top, thing.flat and top - level < 0.06))
        return True

    def scatter(
        self,
        rng: np.random.Generator,
        thing: Thing,
        centre: tuple[float, float],
        spread_m: float,
        yaw: float | None = None,
    ) -> bool:
        """Stand a thing somewhere about a centre; remove it and say False if nowhere is free."""
        for _ in range(14):
            x, y = rng.normal(centre, spread_m)
            if self.add(
                thing,
                float(x),
                float(y),
                float(rng.uniform(-np.pi, np.pi)) if yaw is None else yaw + float(rng.normal(0, 0.25)),
            ):
                return True
        discard(thing)
        return False


def discard(thing: Thing) -> None:
    """Remove a thing's objects from the scene."""
    for o in (*thing.objects, *thing.extras):
        bpy.data.objects.remove(o)


def footprint(thing: Thing, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
    """Return the outline (4, 2) of a thing's bounds, stood there."""
    low, high = thing.bounds()
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + (x_m, y_m)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two convex outlines overlap (separating axes)."""
    for outline in (a, b):
        edges = np.roll(outline, -1, 0) - outline
        normals = np.stack([edges[:, 1], -edges[:, 0]], 1)
        pa, pb = a @ normals.T, b @ normals.T
        if ((pa.max(0) <= pb.min(0)) | (pb.max(0) <= pa.min(0))).any():
            return False
    return True
