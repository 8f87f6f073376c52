"""A person's posture as numbers that can be drawn at random or interpolated, and the skeleton posed by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scenes.grip import curled
from scenes.skeleton import HandPlace, Posed, Skeleton, pose_skeleton, reach_for, turn

SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03", "head")
RIGHT, FORWARD, UP = np.array([-1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])
RELAXED = (0.15, 0.25, 0.15)


@dataclass(frozen=True)
class Arm:
    """One arm: the hand's place in the person's frame, where the elbow points, and finger curls or rotations.

    `curl_rad` bends fingers 1 to 5 alike at their three joints; `fingers` overrides it with whole rotations.
    """

    hand: HandPlace
    elbow: np.ndarray
    curl_rad: tuple[float, float, float] = RELAXED
    fingers: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Stance:
    """A posture in the person's own frame: facing -y, metres, radians; legs as (left, right).

    `pelvis_m` (3,) is the root's place; `lean_rad` bends the back forwards, `side_rad` to the right,
    `twist_rad` turns the chest to the left; `yaw_rad` turns the head left and `nod_rad` bows it.
    """

    pelvis_m: np.ndarray
    hip_rad: tuple[float, float]
    knee_rad: tuple[float, float]
    left: Arm | None = None
    right: Arm | None = None
    spread_rad: float = 0.1
    lean_rad: float = 0.0
    side_rad: float = 0.0
    twist_rad: float = 0.0
    yaw_rad: float = 0.0
    nod_rad: float = 0.0
    tilt_rad: float = 0.0


def _trunk(stance: Stance) -> dict[str, np.ndarray]:
    """Return the local rotations of back, neck, head and legs."""
    bend = (
        turn(UP, stance.twist_rad / len(SPINE))
        @ turn(RIGHT, -stance.lean_rad / len(SPINE))
        @ turn(FORWARD, stance.side_rad / len(SPINE))
    )
    # A neck makes up for most of the back's lean, so that a leaning person still looks ahead.
    nod = stance.nod_rad - 0.7 * stance.lean_rad
    look = (
        turn(UP, stance.yaw_rad / len(NECK))
        @ turn(RIGHT, -nod / len(NECK))
        @ turn(FORWARD, (stance.tilt_rad - 0.5 * stance.side_rad) / len(NECK))
    )
    local = dict.fromkeys(SPINE, bend) | dict.fromkeys(NECK, look)
    for side, outward, hip, knee in (
        ("L", 1.0, stance.hip_rad[0], stance.knee_rad[0]),
        ("R", -1.0, stance.hip_rad[1], stance.knee_rad[1]),
    ):
        local[f"upperleg01.{side}"] = turn(UP, outward * stance.spread_rad) @ turn(RIGHT, hip)
        local[f"lowerleg01.{side}"] = turn(RIGHT, -knee)
    return local


def _rest_hang(skeleton: Skeleton, side: str, posed: Posed) -> Arm:
    """Return an arm that hangs at the side."""
    outward = 1.0 if side == "L" else -1.0
    shoulder = posed.carry(f"shoulder01.{side}", skeleton.head(f"upperarm01.{side}"))
    length = np.linalg.norm(skeleton.head(f"wrist.{side}") - skeleton.head(f"upperarm01.{side}"))
    wrist = shoulder + np.array([outward * 0.09, -0.03, -0.96 * length])
    palm = np.array([-outward, 0.25, 0.0])
    return Arm(HandPlace(wrist, np.array([0.0, -0.12, -1.0]), palm), np.array([outward * 0.3, 1.0, 0]))


def pose_stance(skeleton: Skeleton, stance: Stance) -> Posed:
    """Pose a skeleton; arms left out hang down."""
    local = _trunk(stance)
    # The leg bones are tilted at rest: the knees' axis is near enough to the body's own x axis.
    posed = pose_skeleton(skeleton, stance.pelvis_m, local, {})
    world: dict[str, np.ndarray] = {}
    for side, given in (("L", stance.left), ("R", stance.right)):
        arm = given or _rest_hang(skeleton, side, posed)
        local |= _shrug(skeleton, side, posed, arm)
        posed = pose_skeleton(skeleton, stance.pelvis_m, local, world)
        world |= reach_for(posed, side, arm.hand, arm.elbow)
        if arm.fingers:
            local |= dict(arm.fingers)
        else:
            curls = dict.fromkeys((2, 3, 4, 5), arm.curl_rad)
            local |= curled(skeleton, side, curls | {1: (0.0, 0.15, 0.1)})
    return pose_skeleton(skeleton, stance.pelvis_m, local, world)


def _shrug(skeleton: Skeleton, side: str, posed: Posed, arm: Arm) -> dict[str, np.ndarray]:
    """Lift and bring forward the collarbone of an arm that reaches up or ahead, as shoulders do."""
    outward = 1.0 if side == "L" else -1.0
    shoulder = posed.carry(f"shoulder01.{side}", skeleton.head(f"upperarm01.{side}"))
    reach = arm.hand.wrist_m - shoulder
    length = np.linalg.norm(skeleton.head(f"wrist.{side}") - skeleton.head(f"upperarm01.{side}"))
    lift = np.clip(reach[2] / length, -0.1, 1.0) * 0.45
    ahead = np.clip(-reach[1] / length - 0.5, 0, 0.6) * 0.6
    return {f"clavicle.{side}": turn(FORWARD, outward * lift) @ turn(UP, -outward * ahead)}
