"""A body's joints, their rotations, two-bone arms that reach for a hand's place, and linear blend skinning.

Every bone's rotation is a (3, 3) matrix that turns its resting directions into posed ones, in the person's
own frame: metres, z up, the floor at z = 0, the person facing -y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scenes.bodydata import Rig

Rotations = Mapping[str, np.ndarray]


def unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector or rows of vectors scaled to length 1."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.maximum(length, 1e-9)


def turn(axis: np.ndarray, angle_rad: float) -> np.ndarray:
    """Return the (3, 3) rotation about an axis, right-handed."""
    x, y, z = unit(np.asarray(axis, dtype=float))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * (cross @ cross)


def frame(forward: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the (3, 3) frame whose first column is `forward` and whose second lies towards `side`."""
    first = unit(np.asarray(forward, dtype=float))
    second = unit(side - first * (side @ first))
    return np.stack([first, second, np.cross(first, second)], axis=1)


def twist_angle(rotation: np.ndarray, axis: np.ndarray) -> float:
    """Return how far a rotation turns about an axis, in (-pi, pi]."""
    vector = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    # Swing-twist: the quaternion's part along the axis; (1 + trace) is 4 w^2 and `vector` is 4 w (x, y, z).
    return float(2 * np.arctan2(vector @ axis, 1 + np.trace(rotation)))


@dataclass(frozen=True)
class Skeleton:
    """Resting joints of one body: `heads` and `tails` (bones, 3) m."""

    rig: Rig
    heads: np.ndarray
    tails: np.ndarray

    def head(self, name: str) -> np.ndarray:
        """Return where a bone begins, (3,) m at rest."""
        return self.heads[self.rig.index[name]]

    def tail(self, name: str) -> np.ndarray:
        """Return where a bone ends, (3,) m at rest."""
        return self.tails[self.rig.index[name]]


def fit_skeleton(rig: Rig, vertices: np.ndarray) -> Skeleton:
    """Find the joints of a shaped body (V, 3) m."""
    heads = np.stack([vertices[joint].mean(axis=0) for joint in rig.heads])
    tails = np.stack([vertices[joint].mean(axis=0) for joint in rig.tails])
    return Skeleton(rig, heads, tails)


@dataclass(frozen=True)
class Posed:
    """A posed skeleton: each bone carries a resting point p to `rotations` @ p + `shifts`."""

    skeleton: Skeleton
    rotations: np.ndarray
    shifts: np.ndarray

    def carry(self, name: str, point: np.ndarray) -> np.ndarray:
        """Return where a bone takes a resting point (3,) m."""
        bone = self.skeleton.rig.index[name]
        return self.rotations[bone] @ point + self.shifts[bone]


def pose_skeleton(skeleton: Skeleton, origin: np.ndarray, local: Rotations, world: Rotations) -> Posed:
    """Pose all bones with the root's head at `origin` (3,) m.

    `local` turns a bone against its parent about resting axes; `world` sets a bone's whole rotation.
    """
    rig = skeleton.rig
    rotations = np.empty((len(rig.names), 3, 3))
    shifts = np.empty((len(rig.names), 3))
    for bone, name in enumerate(rig.names):
        parent = rig.parents[bone]
        head = skeleton.heads[bone]
        base = np.eye(3) if parent < 0 else rotations[parent]
        place = origin if parent < 0 else rotations[parent] @ head + shifts[parent]
        rotation = base @ local[name] if name in local else base
        rotations[bone] = world.get(name, rotation)
        shifts[bone] = place - rotations[bone] @ head
    return Posed(skeleton, rotations, shifts)


def skin(posed: Posed, points: np.ndarray, bones: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return resting points (n, 3) m carried by their bones (n, k) with weights (n, k)."""
    rotations = np.einsum("nk,nkij->nij", weights, posed.rotations[bones])
    shifts = np.einsum("nk,nki->ni", weights, posed.shifts[bones])
    return np.einsum("nij,nj->ni", rotations, points) + shifts


def hand_frame(skeleton: Skeleton, side: str) -> np.ndarray:
    """Return a resting hand's frame (3, 3): columns along the fingers, towards the thumb, out of the palm."""
    knuckles = [skeleton.head(f"finger{number}-1.{side}") for number in (2, 3, 4, 5)]
    along = np.mean(knuckles, axis=0) - skeleton.head(f"wrist.{side}")
    columns = frame(along, knuckles[0] - knuckles[3])
    # Resting fingers bend a little towards the palm, which tells the palm from the back of the hand.
    first = unit(skeleton.tail(f"finger3-1.{side}") - skeleton.head(f"finger3-1.{side}"))
    last = unit(skeleton.tail(f"finger3-3.{side}") - skeleton.head(f"finger3-3.{side}"))
    if columns[:, 2] @ (last - first) < 0:
        columns[:, 2] *= -1
    return columns


@dataclass(frozen=True)
class HandPlace:
    """Where a hand should be: `wrist_m` (3,), and directions (3,) along the fingers and out of the palm."""

    wrist_m: np.ndarray
    fingers: np.ndarray
    palm: np.ndarray


def place_frame(skeleton: Skeleton, side: str, place: HandPlace) -> np.ndarray:
    """Return the (3, 3) frame of a hand at a place, its columns as in `hand_frame`."""
    rest = hand_frame(skeleton, side)
    handed = np.sign(np.linalg.det(rest))
    along = unit(np.asarray(place.fingers, dtype=float))
    palm = unit(place.palm - along * (place.palm @ along))
    # Columns (along, thumb, palm) have the hand's own handedness: along x thumb = handed * palm.
    return np.stack([along, handed * np.cross(palm, along), palm], axis=1)


def _elbow(
    shoulder: np.ndarray, wrist: np.ndarray, upper_m: float, fore_m: float, pole: np.ndarray
) -> np.ndarray:
    """Return the elbow of a two-bone arm that bends towards `pole`."""
    reach = wrist - shoulder
    distance = np.linalg.norm(reach)
    along = reach / distance
    inset = (upper_m**2 - fore_m**2 + distance**2) / (2 * distance)
    height = np.sqrt(max(upper_m**2 - inset**2, 0))
    return shoulder + along * inset + unit(pole - along * (pole @ along)) * height


def reach_for(posed: Posed, side: str, place: HandPlace, pole: np.ndarray) -> dict[str, np.ndarray]:
    """Return whole rotations of one arm's bones that bring its hand to a place.

    Out of reach, the arm goes as far as it can. Of the elbow's swivels about `pole` the one that twists
    forearm and wrist least is taken.
    """
    skeleton = posed.skeleton
    joints = [skeleton.head(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist")]
    upper_rest, fore_rest = joints[1] - joints[0], joints[2] - joints[1]
    upper_m, fore_m = np.linalg.norm(upper_rest), np.linalg.norm(fore_rest)
    shoulder = posed.carry(f"shoulder01.{side}", joints[0])
    reach = place.wrist_m - shoulder
    distance = np.clip(np.linalg.norm(reach), abs(upper_m - fore_m) + 0.04, 0.985 * (upper_m + fore_m))
    wrist = shoulder + unit(reach) * distance
    hinge_rest = np.cross(upper_rest, fore_rest)
    hand = place_frame(skeleton, side, place) @ np.linalg.inv(hand_frame(skeleton, side))

    best, best_cost = None, np.inf
    for swivel in np.radians(np.arange(-50, 51, 10)):
        elbow = _elbow(shoulder, wrist, upper_m, fore_m, turn(unit(reach), swivel) @ pole)
        upper, fore = elbow - shoulder, wrist - elbow
        hinge = np.cross(upper, fore)
        upper_turn = frame(upper, hinge) @ frame(upper_rest, hinge_rest).T
        fore_turn = frame(fore, hinge) @ frame(fore_rest, hinge_rest).T
        relative = hand @ fore_turn.T
        twist = twist_angle(relative, unit(fore))
        bend = np.arccos(np.clip((np.trace(turn(unit(fore), -twist) @ relative) - 1) / 2, -1, 1))
        cost = 0.6 * swivel**2 + twist**2 + max(abs(twist) - 1.2, 0) ** 2 * 8 + bend**2
        if cost < best_cost:
            best_cost = cost
            axis = unit(fore)
            best = {
                f"upperarm01.{side}": upper_turn,
                f"upperarm02.{side}": upper_turn,
                f"lowerarm01.{side}": turn(axis, 0.3 * twist) @ fore_turn,
                f"lowerarm02.{side}": turn(axis, 0.75 * twist) @ fore_turn,
                f"wrist.{side}": hand,
            }
    assert best is not None
    return best
