"""Random postures by name: who types, reads, holds a thing up to the webcam, stands about, and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from scenes.posture import Posture, Setting, holding, mouth_vertices, phone_at_ear, with_arm
from scenes.skeleton import HandPlace, place_frame, unit
from scenes.stance import UP, Arm, Stance, pose_stance
from scenes.upright import standing, walking

DESK_TOP_M = 0.74


def sitting(rng: np.random.Generator, setting: Setting) -> Stance:
    """Return a random way to sit, both hands on the desk."""
    hip = rng.normal(1.45, 0.06, 2)
    stance = Stance(
        pelvis_m=np.array([0, 0.05, setting.seat_height_m + 0.115]),
        hip_rad=(hip[0], hip[1]),
        knee_rad=tuple(hip + rng.normal(-0.1, 0.15, 2)),
        spread_rad=rng.uniform(0.0, 0.25),
        lean_rad=rng.normal(0.12, 0.1),
        side_rad=rng.normal(0, 0.06),
        twist_rad=rng.normal(0, 0.08),
        yaw_rad=rng.normal(0, 0.25),
        nod_rad=rng.normal(0.1, 0.12),
        tilt_rad=rng.normal(0, 0.08),
    )
    return replace(stance, left=_on_desk(rng, 1.0), right=_on_desk(rng, -1.0))


def _on_desk(rng: np.random.Generator, outward: float) -> Arm:
    """Return an arm whose hand rests on the desk or its keyboard."""
    spot = np.array([outward * rng.uniform(0.07, 0.16), -rng.uniform(0.27, 0.40), DESK_TOP_M + 0.05])
    fingers = np.array([-outward * rng.uniform(0.05, 0.45), -1.0, -0.12])
    curl = (rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.4))
    return Arm(
        HandPlace(spot, fingers, np.array([-outward * 0.15, 0, -1.0])),
        np.array([outward * rng.uniform(0.15, 0.5), 0.5, -0.8]),
        curl,
    )


def typing(rng: np.random.Generator, setting: Setting) -> Posture:
    """Hands on the keyboard, now and then one at the mouse or at the face."""
    stance = sitting(rng, setting)
    chance = rng.random()
    if chance < 0.25:
        arm = stance.left if setting.side == "L" else stance.right
        assert arm is not None
        spot = arm.hand.wrist_m + np.array(
            [setting.outward * rng.uniform(0.08, 0.2), rng.uniform(-0.08, 0.05), 0]
        )
        arm = replace(arm, hand=replace(arm.hand, wrist_m=spot), curl_rad=(0.25, 0.3, 0.2))
        stance = with_arm(stance, setting.side, arm)
    elif chance < 0.40:
        stance = _hand_at_face(rng, setting, stance)
    return Posture(stance, None, setting.side)


def _hand_at_face(rng: np.random.Generator, setting: Setting, stance: Stance) -> Stance:
    """Put the busy hand to chin, cheek or mouth; it hides part of the face."""
    stance = replace(stance, lean_rad=stance.lean_rad + 0.2, tilt_rad=-setting.outward * rng.uniform(0, 0.2))
    posed = pose_stance(setting.skeleton, stance)
    mouth = setting.landmark(posed, mouth_vertices())
    palm = unit(np.array([-setting.outward * rng.uniform(0.3, 1.0), 1.0, 0.2]))
    fingers = np.array([-setting.outward * rng.uniform(0, 0.7), 0.2, 1.0])
    spot = mouth + np.array([setting.outward * rng.uniform(0.02, 0.06), -0.03, rng.uniform(-0.05, 0.02)])
    columns = place_frame(setting.skeleton, setting.side, HandPlace(spot, fingers, palm))
    wrist = spot - columns @ [0.09, 0, 0.03]
    arm = Arm(HandPlace(wrist, fingers, palm), np.array([setting.outward * 0.6, -0.2, -1.0]), (0.5, 0.7, 0.4))
    return with_arm(stance, setting.side, arm)


def hold_up(rng: np.random.Generator, setting: Setting) -> Posture:
    """Lift the held thing towards the webcam, thumb in front and fingers behind, mostly."""
    stance = replace(sitting(rng, setting), yaw_rad=rng.normal(0, 0.12))
    eye = setting.webcam_m
    aim = np.array([setting.outward * rng.uniform(-0.05, 0.28), eye[1] + rng.uniform(0.3, 0.6), 0])
    aim[0] += 0.3 * eye[0]
    aim[2] = eye[2] + rng.uniform(-0.16, 0.10)
    posed = pose_stance(setting.skeleton, stance)
    shoulder = posed.carry(f"shoulder01.{setting.side}", setting.skeleton.head(f"upperarm01.{setting.side}"))
    far = np.linalg.norm(aim - shoulder)
    # A person leans in before an arm is stretched to its end.
    stance = replace(stance, lean_rad=stance.lean_rad + np.clip((far - 0.6) * 1.2, 0, 0.45))
    aim = shoulder + unit(aim - shoulder) * min(far, 0.72)
    towards = unit(eye - aim)
    turned = rng.uniform(0, 1.7)
    if rng.random() < 0.2:
        towards, turned = -towards, rng.uniform(0.7, 1.5)
    inward = np.array([-setting.outward, 0, 0])
    fingers = np.cos(turned) * UP + np.sin(turned) * inward
    palm = unit(towards + rng.normal(0, 0.14, 3))
    angle = turned + rng.normal(0, 0.18) - (np.pi / 2 if rng.random() < 0.1 else 0)
    if setting.is_round:
        fingers, palm = unit(inward * 0.8 + [0, -0.6, 0]), unit(inward * 0.6 + [0, 0.8, 0])
    elbow = np.array([setting.outward * 0.5, 0.2, -1.0])
    arm, held = holding(rng, setting, aim, fingers, palm, elbow, angle)
    return Posture(with_arm(stance, setting.side, arm), held, setting.side)


def at_ear(rng: np.random.Generator, setting: Setting) -> Posture:
    """Hold a phone to the ear."""
    stance = replace(sitting(rng, setting), tilt_rad=-setting.outward * rng.uniform(-0.2, 0.1))
    return phone_at_ear(rng, setting, stance)


def drinking(rng: np.random.Generator, setting: Setting) -> Posture:
    """Bring a cup, glass or bottle to the mouth."""
    stance = replace(sitting(rng, setting), nod_rad=rng.uniform(-0.35, 0.0), lean_rad=0.05)
    posed = pose_stance(setting.skeleton, stance)
    mouth = setting.landmark(posed, mouth_vertices()) + np.array([0, -0.012, 0])
    size = np.array([0.08, 0.1, 0.08]) if setting.size_m is None else setting.size_m
    tilt = rng.uniform(0.3, 1.1)
    up = np.array([0, np.sin(tilt), np.cos(tilt)])
    away = np.array([0, -np.cos(tilt), np.sin(tilt)])
    centre = mouth - up * size[1] / 2 + away * (size[2] / 2 if size[0] > 0.05 else 0)
    inward = np.array([-setting.outward, 0, 0])
    palm = unit(inward * 0.85 - away * 0.5)
    fingers = unit(inward * 0.5 + away * 0.85)
    elbow = np.array([setting.outward * 0.9, -0.2, -0.7])
    arm, held = holding(rng, setting, centre, fingers, palm, elbow, np.pi / 2)
    return Posture(with_arm(stance, setting.side, arm), held, setting.side)


def eating(rng: np.random.Generator, setting: Setting) -> Posture:
    """Bring food to the mouth."""
    stance = replace(sitting(rng, setting), lean_rad=rng.uniform(0.1, 0.4), nod_rad=rng.uniform(0.0, 0.2))
    posed = pose_stance(setting.skeleton, stance)
    mouth = setting.landmark(posed, mouth_vertices())
    inward = np.array([-setting.outward, 0, 0])
    fingers = unit(inward * 0.5 + [0, 0.45, 0.75])
    palm = unit(inward * 0.75 + [0, 0.4, -0.35])
    reach = 0.02 if setting.size_m is None else min(setting.size_m[1] / 2, 0.06)
    centre = mouth + np.array([0, -reach - rng.uniform(0.01, 0.12), -rng.uniform(0, 0.08)])
    elbow = np.array([setting.outward * 0.8, -0.1, -1.0])
    arm, held = holding(rng, setting, centre, fingers, palm, elbow, rng.uniform(0, 0.5))
    return Posture(with_arm(stance, setting.side, arm), held, setting.side)


def reading(rng: np.random.Generator, setting: Setting) -> Posture:
    """Look at a phone in one hand, at a sheet or book in both, or down at the desk."""
    stance = replace(sitting(rng, setting), nod_rad=rng.uniform(0.3, 0.6), yaw_rad=rng.normal(0, 0.15))
    if setting.size_m is None:
        return Posture(stance, None, setting.side)
    spot = np.array(
        [
            setting.outward * rng.uniform(-0.02, 0.12),
            -rng.uniform(0.28, 0.40),
            DESK_TOP_M + rng.uniform(0.16, 0.32),
        ]
    )
    palm = unit(np.array([rng.normal(0, 0.1), 0.8, rng.uniform(0.4, 0.9)]))
    inward = np.array([-setting.outward, 0, 0])
    both = setting.size_m[0] > 0.12
    turned = np.pi / 2 if both else rng.uniform(0.5, 1.3)
    rise = unit(UP - palm * palm[2])
    fingers = np.cos(turned) * rise + np.sin(turned) * inward
    elbow = np.array([setting.outward * 0.6, 0.4, -1.0])
    if both:
        spot[0] = rng.normal(0, 0.03)
    arm, held = holding(rng, setting, spot, fingers, palm, elbow, turned)
    stance = with_arm(stance, setting.side, arm)
    if both:
        other = "R" if setting.side == "L" else "L"
        arm, _ = holding(
            rng, setting, spot, -np.sin(turned) * inward, palm, elbow * [-1, 1, 1], turned, other
        )
        stance = with_arm(stance, other, arm)
    return Posture(stance, held, setting.side)


def leaning_back(rng: np.random.Generator, setting: Setting) -> Posture:
    """Lean back with the hands in the lap."""
    stance = sitting(rng, setting)
    lap = setting.seat_height_m + 0.20
    arms = []
    for outward in (1.0, -1.0):
        spot = np.array([outward * rng.uniform(0.08, 0.2), -rng.uniform(0.12, 0.25), lap])
        fingers = np.array([-outward * rng.uniform(0.2, 0.9), -1.0, -0.2])
        arms.append(Arm(HandPlace(spot, fingers, np.array([0, 0, -1.0])), np.array([outward, 0.8, -0.3])))
    lean = -rng.uniform(0.15, 0.4)
    return Posture(replace(stance, lean_rad=lean, left=arms[0], right=arms[1]), None, setting.side)


def hand_only(rng: np.random.Generator, setting: Setting) -> Posture:
    """Reach over the desk: the hand comes to rest 0.5 m before the person's origin."""
    stance = replace(sitting(rng, setting), lean_rad=0.35)
    spot = np.array([0.0, -0.5, DESK_TOP_M])
    elbow = np.array([setting.outward * 0.6, 0.4, 0.4])
    if setting.size_m is None:
        curl = (rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.5))
        place = HandPlace(
            spot + np.array([0, 0.09, rng.uniform(0.045, 0.09)]),
            np.array([rng.normal(0, 0.2), -1, -0.15]),
            np.array([rng.normal(0, 0.2), 0, -1]),
        )
        return Posture(with_arm(stance, setting.side, Arm(place, elbow, curl)), None, setting.side)
    spot[2] += rng.uniform(0.07, 0.22)
    inward = np.array([-setting.outward, 0, 0])
    fingers = unit(np.array([0, -1, rng.uniform(-0.2, 0.4)]) + inward * rng.uniform(0, 0.8))
    palm = unit(inward * rng.uniform(0.2, 0.9) + UP) if not setting.is_round else inward
    arm, held = holding(rng, setting, spot, fingers, palm, elbow * [1, 1, -1], rng.uniform(0, 1.4))
    return Posture(with_arm(stance, setting.side, arm), held, setting.side)


POSTURES: Mapping[str, Callable[[np.random.Generator, Setting], Posture]] = {
    "typing": typing,
    "reading": reading,
    "hold_up": hold_up,
    "at_ear": at_ear,
    "drinking": drinking,
    "eating": eating,
    "standing": standing,
    "leaning_back": leaning_back,
    "walking": walking,
    "hand_only": hand_only,
}
