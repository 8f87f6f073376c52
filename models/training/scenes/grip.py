"""Fingers that close on a held thing: joint angles searched against the thing's signed distance.

A hand's own frame has its origin at the wrist and the axes (fingers, thumb side, out of the palm); metres.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from scenes.skeleton import Skeleton, hand_frame, turn, unit

FINGER_RADIUS_M = 0.0075
THUMB_RADIUS_M = 0.009
# Skin lies this far from the bones of the palm.
PALM_DEPTH_M = 0.014
# A slab on the fingers is turned so far from the palm, towards it at the fingertips.
TILT_RAD = 0.38


@dataclass(frozen=True)
class Held:
    """A thing placed in the hand's frame: a slab, or round about its y axis, of the full `size_m` (3,).

    `axes` (3, 3) has the thing's own x, y and z as columns; `centre_m` (3,).
    """

    size_m: np.ndarray
    round: bool
    centre_m: np.ndarray
    axes: np.ndarray

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return the signed distance (...,) m of points (..., 3), below 0 inside."""
        local = (points - self.centre_m) @ self.axes
        half = self.size_m / 2
        if self.round:
            across = np.hypot(local[..., 0], local[..., 2]) - (half[0] + half[2]) / 2
            flat = np.stack([across, np.abs(local[..., 1]) - half[1]], axis=-1)
        else:
            flat = np.abs(local) - half
        outside = np.linalg.norm(np.maximum(flat, 0), axis=-1)
        return outside + np.minimum(flat.max(axis=-1), 0)


def finger_joints(skeleton: Skeleton, side: str, number: int) -> np.ndarray:
    """Return a finger's three joints and its tip (4, 3) m in the hand's frame; finger 1 is the thumb."""
    wrist = skeleton.head(f"wrist.{side}")
    points = [skeleton.head(f"finger{number}-{joint}.{side}") for joint in (1, 2, 3)]
    points.append(skeleton.tail(f"finger{number}-3.{side}"))
    return (np.array(points) - wrist) @ hand_frame(skeleton, side)


def _bends(axes: np.ndarray, angles_rad: np.ndarray) -> np.ndarray:
    """Return rotations (n, 3, 3) about one axis (3,) by angles (n,)."""
    x, y, z = unit(axes)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, cosine = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def _chain(joints: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    """Return points along fingers (n, 10, 3), given each joint's own rotations (n, 3, 3) from base to tip."""
    whole = np.eye(3)[None]
    start = np.repeat(joints[None, 0], turns[0].shape[0], axis=0)
    points = []
    for number, bend in enumerate(turns):
        whole = whole @ bend
        end = start + whole @ (joints[number + 1] - joints[number])
        steps = (0.35, 0.7, 1.0) if number < 2 else (0.35, 0.7, 0.95, 1.1)
        points += [start + (end - start) * step for step in steps]
        start = end
    return np.stack(points, axis=1)


def finger_axes(joints: np.ndarray) -> np.ndarray:
    """Return the axis (3,) about which one of fingers 2 to 5 curls towards the palm, in the hand's frame."""
    handed = np.array([0.0, 0.0, 1.0])
    along = unit(joints[1] - joints[0])
    return unit(np.cross(along, handed))


def curled(
    skeleton: Skeleton, side: str, curls_rad: dict[int, tuple[float, float, float]]
) -> dict[str, np.ndarray]:
    """Return local rotations of finger bones by the given curls of the three joints of each finger."""
    rest = hand_frame(skeleton, side)
    out = {}
    for number, angles in curls_rad.items():
        joints = finger_joints(skeleton, side, number)
        axis = thumb_axes(joints)[2] if number == 1 else finger_axes(joints)
        for joint, angle in zip((1, 2, 3), angles, strict=True):
            out[f"finger{number}-{joint}.{side}"] = _to_model(rest, turn(axis, angle))
    return out


def _to_model(rest: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Express a rotation given in the hand's frame in the resting body's axes."""
    return rest @ rotation @ np.linalg.inv(rest)


def thumb_axes(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thumb's axes: lift out of the palm, sweep across it, and flexion of its outer joints."""
    lift = np.array([1.0, 0.0, 0.0])
    sweep = np.array([0.0, 0.0, 1.0])
    along = unit(joints[2] - joints[1])
    flex = unit(np.cross(along, np.array([0.0, -1.0, 0.35])))
    return lift, sweep, flex


def close_fingers(
    skeleton: Skeleton, side: str, held: Held, thumb_target: np.ndarray
) -> dict[str, np.ndarray]:
    """Return local rotations of all finger bones that hold a thing.

    Fingers 2 to 5 curl until their pads touch; the thumb's pad goes to `thumb_target` (3,) m in the hand's
    frame, from outside the thing.
    """
    rest = hand_frame(skeleton, side)
    out: dict[str, np.ndarray] = {}
    first, second = np.meshgrid(np.radians(np.arange(-25, 91, 5)), np.radians(np.arange(-15, 106, 6)))
    first, second = first.ravel(), second.ravel()
    for number in (2, 3, 4, 5):
        joints = finger_joints(skeleton, side, number)
        axis = finger_axes(joints)
        bends = [_bends(axis, first), _bends(axis, second), _bends(axis, 0.6 * second)]
        gaps = held.distance(_chain(joints, bends)) - FINGER_RADIUS_M
        inside = np.maximum(-gaps, 0).sum(axis=1)
        touch = np.minimum(np.abs(gaps), 0.04).mean(axis=1) + 0.6 * np.abs(gaps[:, -2])
        best = np.argmin(40 * inside + touch + 0.002 * (first**2 + second**2))
        for joint, bend in zip((1, 2, 3), bends, strict=True):
            out[f"finger{number}-{joint}.{side}"] = _to_model(rest, bend[best])
    out.update(_close_thumb(skeleton, side, held, thumb_target, rest))
    return out


def _close_thumb(
    skeleton: Skeleton, side: str, held: Held, target: np.ndarray, rest: np.ndarray
) -> dict[str, np.ndarray]:
    joints = finger_joints(skeleton, side, 1)
    lift, sweep, flex = thumb_axes(joints)
    grid = np.radians(
        np.array(
            list(
                itertools.product(
                    np.arange(-20, 101, 10),
                    np.arange(-60, 31, 10),
                    np.arange(-15, 51, 13),
                    np.arange(-20, 71, 15),
                )
            )
        )
    )
    base = _bends(lift, grid[:, 0]) @ _bends(sweep, grid[:, 1])
    bends = [base, _bends(flex, grid[:, 2]), _bends(flex, grid[:, 3])]
    points = _chain(joints, bends)
    gaps = held.distance(points) - THUMB_RADIUS_M
    inside = np.maximum(-gaps, 0).sum(axis=1)
    if not held.round:
        # Any spot of the front that the pad can reach will do.
        local, half = (points[:, -2] - held.centre_m) @ held.axes, held.size_m / 2
        flat = np.clip(local[:, :2], -half[:2] + 0.006, half[:2] - 0.006)
        spot = np.concatenate([flat, np.full((len(flat), 1), half[2] + THUMB_RADIUS_M)], axis=1)
        target = held.centre_m + spot @ held.axes.T
    off = np.linalg.norm(points[:, -2] - target, axis=1)
    best = np.argmin(30 * inside + off + np.abs(gaps[:, -2]) + 0.002 * (grid**2).sum(axis=1))
    return {
        f"finger1-{joint}.{side}": _to_model(rest, bend[best])
        for joint, bend in zip((1, 2, 3), bends, strict=True)
    }


def hold(
    rng: np.random.Generator,
    skeleton: Skeleton,
    side: str,
    size_m: np.ndarray,
    is_round: bool,
    angle_rad: float,
) -> tuple[Held, np.ndarray]:
    """Place a thing of a full size (3,) m in a hand; return it and where the thumb goes, in the hand's frame.

    A slab lies with its back on the fingers, its long axis turned `angle_rad` from the fingers to the thumb;
    a round thing stands in the fist, its axis towards the thumb.
    """
    knuckles = np.mean([finger_joints(skeleton, side, number)[0] for number in (2, 3, 4, 5)], axis=0)
    handed = np.sign(np.linalg.det(hand_frame(skeleton, side)))
    half = size_m / 2
    if is_round:
        radius = (half[0] + half[2]) / 2
        up, front = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
        low = rng.uniform(-0.6, 0.2) * max(half[1] - 0.05, 0)
        centre = np.array([knuckles[0] + 0.004, knuckles[1] - low, knuckles[2] + PALM_DEPTH_M + radius])
        thumb = centre + (radius + THUMB_RADIUS_M) * unit(np.array([-0.75, 0, 0.65])) + [0, 0.02 + low, 0]
    else:
        # The fingers bend at their knuckles, and the thing lies on them, clear of the palm.
        along, front = (
            np.array([np.cos(TILT_RAD), 0, np.sin(TILT_RAD)]),
            np.array([-np.sin(TILT_RAD), 0, np.cos(TILT_RAD)]),
        )
        up = np.cos(angle_rad) * along + np.sin(angle_rad) * np.array([0, 1.0, 0])
        cosine, sine = abs(np.cos(angle_rad)), abs(np.sin(angle_rad))
        reach, span = cosine * half[1] + sine * half[0], sine * half[1] + cosine * half[0]
        ahead = 0.05 if reach < 0.04 else reach + rng.uniform(-0.006, 0.006)
        # A long thing is held by its lower part: it stands out on the thumb's side.
        aside = 0.008 + max(span - 0.045, 0) * rng.uniform(0.2, 0.8)
        centre = knuckles + along * ahead + np.array([0, aside, 0]) + front * (0.012 + half[2])
        thumb = np.zeros(3)
    axes = np.stack([handed * np.cross(up, front), up, front], axis=1)
    return Held(size_m, is_round, centre, axes), thumb
