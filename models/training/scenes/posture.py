"""What postures are made of: what they have to know, and how an arm comes to hold a thing.

Postures are made in the person's own frame: metres, facing -y, the floor at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scenes.bodydata import load_body, load_target
from scenes.grip import TILT_RAD, Held, close_fingers, hold
from scenes.skeleton import HandPlace, Posed, Skeleton, hand_frame, place_frame, turn, unit
from scenes.stance import Arm, Stance, pose_stance


@dataclass(frozen=True)
class Setting:
    """What a posture has to know: body, seat, the webcam (3,) m in the person's frame, the held thing.

    `side` is the busy hand, L or R; `size_m` (3,) is the held thing's full size or None; `rest` (V, 3) m the
    shaped body.
    """

    skeleton: Skeleton
    rest: np.ndarray
    seat_height_m: float
    webcam_m: np.ndarray
    side: str
    size_m: np.ndarray | None
    is_round: bool

    @property
    def outward(self) -> float:
        """Return the sign of x on the busy hand's side."""
        return 1.0 if self.side == "L" else -1.0

    def landmark(self, posed: Posed, vertices: np.ndarray) -> np.ndarray:
        """Return where the head carries the mean of some of its vertices, (3,) m."""
        return posed.carry("head", self.rest[vertices].mean(axis=0))


@dataclass(frozen=True)
class Posture:
    """A stance, and the held thing in a hand's frame if there is one."""

    stance: Stance
    held: Held | None = None
    side: str = "R"


def with_arm(stance: Stance, side: str, arm: Arm) -> Stance:
    """Return a stance with one arm replaced."""
    return replace(stance, left=arm) if side == "L" else replace(stance, right=arm)


def holding(
    rng: np.random.Generator,
    setting: Setting,
    centre_m: np.ndarray,
    fingers: np.ndarray,
    palm: np.ndarray,
    elbow: np.ndarray,
    angle_rad: float,
    side: str | None = None,
) -> tuple[Arm, Held | None]:
    """Return an arm whose hand has its thing at `centre_m` (3,), and the thing in the hand's frame."""
    side = side or setting.side
    skeleton = setting.skeleton
    if setting.size_m is not None and not setting.is_round:
        # A slab is tilted in the hand: the hand turns back by as much, so that the front faces along `palm`.
        fingers = unit(fingers - palm * (fingers @ palm) / (palm @ palm))
        cosine, sine = np.cos(TILT_RAD), np.sin(TILT_RAD)
        fingers, palm = cosine * fingers - sine * unit(palm), cosine * unit(palm) + sine * fingers
    columns = place_frame(skeleton, side, HandPlace(np.zeros(3), fingers, palm))
    if setting.size_m is None:
        return Arm(HandPlace(centre_m - columns @ [0.09, 0, 0.03], fingers, palm), elbow), None
    held, thumb = hold(rng, skeleton, side, setting.size_m, setting.is_round, angle_rad)
    place = HandPlace(centre_m - columns @ held.centre_m, fingers, palm)
    return Arm(place, elbow, fingers=close_fingers(skeleton, side, held, thumb)), held


def mouth_vertices() -> np.ndarray:
    """Return the vertices whose mean is the mouth's middle."""
    return np.unique(load_body().faces["helper-lower-teeth"])


def ear_vertices(side: str) -> np.ndarray:
    """Return the vertices of one ear."""
    indices, offsets = load_target(f"ears/{side.lower()}-ear-scale-incr")
    return indices[np.linalg.norm(offsets, axis=1) > 0.002]


def phone_at_ear(rng: np.random.Generator, setting: Setting, stance: Stance) -> Posture:
    """Return a stance turned into one with the thing held to the ear."""
    posed = pose_stance(setting.skeleton, stance)
    head = posed.rotations[setting.skeleton.rig.index["head"]]
    ear = setting.landmark(posed, ear_vertices(setting.side))
    outward = np.array([setting.outward, 0, 0])
    thick = 0.01 if setting.size_m is None else setting.size_m[2]
    lean = rng.uniform(0.35, 0.7)
    up = head @ np.array([0, np.sin(lean), np.cos(lean)])
    centre = ear + head @ (outward * (0.012 + thick / 2)) - up * rng.uniform(0.02, 0.05)
    palm = head @ (-outward + [0, 0.1, 0])
    angle = rng.uniform(0.1, 0.5)
    # Fingers run up the phone's back, tilted towards the back of the head.
    fingers = turn(palm, setting.outward * -angle) @ up
    elbow = np.array([setting.outward * 0.8, -0.5, -1.0])
    arm, held = holding(rng, setting, centre, fingers, palm, elbow, angle)
    return Posture(with_arm(stance, setting.side, arm), held, setting.side)


def held_transform(posed: Posed, posture: Posture) -> np.ndarray:
    """Return the held thing's (4, 4) place in the person's frame."""
    assert posture.held is not None
    skeleton, side = posed.skeleton, posture.side
    columns = posed.rotations[skeleton.rig.index[f"wrist.{side}"]] @ hand_frame(skeleton, side)
    out = np.eye(4)
    out[:3, :3] = columns @ posture.held.axes
    out[:3, 3] = (
        posed.carry(f"wrist.{side}", skeleton.head(f"wrist.{side}")) + columns @ posture.held.centre_m
    )
    return out
