"""Postures on one's feet: standing about, and walking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scenes.posture import Posture, Setting, holding, phone_at_ear, with_arm
from scenes.skeleton import HandPlace, unit
from scenes.stance import UP, Arm, Stance, pose_stance


def upright(rng: np.random.Generator, setting: Setting) -> Stance:
    """Return a random way to stand, arms down."""
    skeleton = setting.skeleton
    height = skeleton.head("root")[2] - setting.rest[:13380, 2].min()
    return Stance(
        pelvis_m=np.array([0, 0, height]),
        hip_rad=(0.0, 0.0),
        knee_rad=(0.0, 0.0),
        spread_rad=0.0,
        lean_rad=rng.normal(0.03, 0.05),
        side_rad=rng.normal(0, 0.05),
        twist_rad=rng.normal(0, 0.1),
        yaw_rad=rng.normal(0, 0.4),
        nod_rad=rng.normal(0.05, 0.12),
    )


def standing(rng: np.random.Generator, setting: Setting) -> Posture:
    """Stand, arms down, one hand at the hip, or with a thing in hand."""
    stance = upright(rng, setting)
    chest = setting.skeleton.head("spine02")[2] - setting.skeleton.head("root")[2] + stance.pelvis_m[2]
    if setting.size_m is not None:
        if rng.random() < 0.3 and not setting.is_round:
            return phone_at_ear(rng, setting, stance)
        inward = np.array([-setting.outward, 0, 0])
        spot = np.array([setting.outward * rng.uniform(0.0, 0.2), -0.32, chest + rng.uniform(-0.05, 0.15)])
        palm, fingers = unit(np.array([0, 0.8, 0.6])), unit(inward + UP * 0.6)
        arm, held = holding(
            rng, setting, spot, fingers, palm, np.array([setting.outward * 0.5, 0.5, -1]), 1.0
        )
        stance = replace(with_arm(stance, setting.side, arm), nod_rad=0.3)
        return Posture(stance, held, setting.side)
    if rng.random() < 0.3:
        hip = np.array([setting.outward * 0.17, -0.02, stance.pelvis_m[2] + 0.06])
        fingers = np.array([-setting.outward * 0.5, -0.6, -0.6])
        arm = Arm(
            HandPlace(
                hip + np.array([setting.outward * 0.05, 0.03, 0.03]),
                fingers,
                np.array([-setting.outward, 0.3, 0.2]),
            ),
            np.array([setting.outward, 0.6, 0]),
        )
        stance = with_arm(stance, setting.side, arm)
    return Posture(stance, None, setting.side)


def walking(rng: np.random.Generator, setting: Setting) -> Posture:
    """Stride, at a random moment of it."""
    return Posture(stride(upright(rng, setting), rng.uniform(0, 2 * np.pi), setting), None, setting.side)


def stride(stance: Stance, phase_rad: float, setting: Setting) -> Stance:
    """Return an upright stance turned into a step at a phase of the gait; 2 pi is two steps."""
    swing = np.sin(phase_rad)
    knees = [0.12 + 0.75 * max(np.cos(phase_rad + shift), 0) ** 1.5 for shift in (0.0, np.pi)]
    hips = (0.1 + 0.42 * swing, 0.1 - 0.42 * swing)
    arms = []
    upright = pose_stance(setting.skeleton, stance)
    for side, outward, sign in (("L", 1.0, -1.0), ("R", -1.0, 1.0)):
        shoulder = upright.carry(f"shoulder01.{side}", setting.skeleton.head(f"upperarm01.{side}"))
        reach = np.linalg.norm(
            setting.skeleton.head(f"wrist.{side}") - setting.skeleton.head(f"upperarm01.{side}")
        )
        angle = 0.1 + sign * swing * 0.4
        down = np.array([outward * 0.12, -np.sin(angle), -np.cos(angle)])
        place = HandPlace(
            shoulder + unit(down) * reach * 0.94,
            unit(down + np.array([0, -0.2, 0])),
            np.array([-outward, 0.2, 0]),
        )
        arms.append(Arm(place, np.array([outward * 0.3, 1.0, 0])))
    drop = np.array([0, 0, -0.03 * abs(swing)])
    return replace(
        stance,
        pelvis_m=stance.pelvis_m + drop,
        hip_rad=hips,
        knee_rad=(knees[0], knees[1]),
        left=arms[0],
        right=arms[1],
    )
