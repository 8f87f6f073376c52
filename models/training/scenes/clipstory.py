"""The clip's story: who moves how, and which shot every frame shows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from scenes.clipset import SEAT_M, Actor, Pose, Set, Shot
from scenes.posture import Posture, Setting, holding, with_arm
from scenes.skeleton import HandPlace, unit
from scenes.stance import Arm, Stance
from scenes.upright import stride, upright

FPS = 8
PUSHED_BACK = (0.1, 1.0, -0.35)
DRAWN_UP = (0.0, 0.60, 0.0)
SEATED_Y_M, AISLE_Y_M, BEHIND_Y_M = 0.56, 0.62, 1.45
DESK_HAND_M = 0.795  # the wrist's height above a keyboard
TYPING, HOLDING, STANDING, BESIDE_PAPER = 16, 8, 8, 10  # shots in each loop
RAISE, LAY, STEPS, SIT, REACH = 7, 7, 8, 9, 3  # shots in each movement
STRIDE_M = 1.3  # two steps
SHEETS_AT = (0.35, 0.17, 0.12)


@dataclass(frozen=True)
class Phase:
    """A part of the story: the names of its shots frame by frame, and how far the lens is covered (0-1)."""

    what: str
    shots: list[str]
    cover: tuple[float, ...] = ()


def _mix(a: object, b: object, t: float) -> object:
    """Interpolate two stances, arms, hand places, tuples, arrays, numbers; a missing part is the other's."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, (Stance, Arm, HandPlace)):
        return replace(a, **{f.name: _mix(getattr(a, f.name), getattr(b, f.name), t) for f in fields(a)})
    if isinstance(a, tuple):
        return tuple(_mix(x, y, t) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a or b
    return a + (b - a) * t


def _ease(count: int) -> np.ndarray:
    """Return (count,) shares of a movement, slow at both ends, its ends left out."""
    t = (np.arange(count) + 1) / (count + 1)
    return t * t * (3 - 2 * t)


def seated(turn: float, tap: float = 1.0) -> Stance:
    """Return the worker at the keyboard at a moment of the typing loop; `turn` is 0 to 1 once round."""
    angle = 2 * np.pi * turn
    arms = []
    for outward, shift in ((1.0, 0.0), (-1.0, 2.1)):
        beat = 2 * np.pi * (5 * turn) + shift
        wrist = np.array([
            outward * 0.115 + tap * 0.014 * np.sin(3 * angle + shift),
            -0.35 + tap * 0.010 * np.cos(2 * angle + shift),
            DESK_HAND_M + tap * 0.006 * np.sin(beat),
        ])  # fmt: skip
        curl = 0.35 + tap * 0.12 * np.sin(beat)
        fingers = np.array([-outward * 0.2, -1.0, -0.12])
        hand = HandPlace(wrist, fingers, np.array([-outward * 0.15, 0, -1.0]))
        arms.append(Arm(hand, np.array([outward * 0.35, 0.5, -0.8]), (curl, 0.5, 0.3)))
    return Stance(
        pelvis_m=np.array([0, 0.05, SEAT_M + 0.115]),
        hip_rad=(1.45, 1.42),
        knee_rad=(1.35, 1.4),
        left=arms[0],
        right=arms[1],
        spread_rad=0.12,
        lean_rad=0.12 + 0.012 * np.sin(angle),
        side_rad=0.015 * np.sin(angle + 1),
        yaw_rad=0.16 * np.sin(angle) + 0.05,
        nod_rad=0.22 + 0.07 * np.cos(2 * angle),
    )


def _hands_up(stance: Stance, rise_m: float) -> Stance:
    """Return a stance with both hands higher: on their way they pass over the edge of the desk."""
    arms = []
    for arm in (stance.left, stance.right):
        wrist = arm.hand.wrist_m + np.array([0, 0, rise_m])
        arms.append(replace(arm, hand=replace(arm.hand, wrist_m=wrist)))
    return replace(stance, left=arms[0], right=arms[1])


def _on_feet(setting: Setting, seed: int) -> Stance:
    return replace(upright(np.random.default_rng(seed), setting), yaw_rad=0.05, twist_rad=0.0, side_rad=0.0)


def walk(actor: Actor, start_m: float, end_m: float, y_m: float) -> list[Pose]:
    """Return STEPS poses of a walk along x from start to end (end left out), facing the way they go."""
    setting = actor.setting("R")
    stance, facing = _on_feet(setting, 1), np.pi / 2 * np.sign(end_m - start_m)
    poses = []
    for share in np.arange(STEPS) / STEPS:
        x_m = start_m + (end_m - start_m) * share
        phase = 2 * np.pi * abs(x_m - end_m) / STRIDE_M  # feet are together at the end
        poses.append(Pose(float(x_m), y_m, float(facing), Posture(stride(stance, -phase, setting))))
    return poses


def sit_down(actor: Actor) -> list[tuple[Pose, tuple[float, float, float]]]:
    """Return SIT poses from standing in the aisle, facing +x, to the seat, each with the chair's place."""
    setting = actor.setting("R")
    standing, sitting = stride(_on_feet(setting, 1), 0.0, setting), seated(0.0)
    out = []
    for t in _ease(SIT):
        turned, lowered = np.clip(t / 0.45, 0, 1), np.clip((t - 0.25) / 0.75, 0, 1)
        stance = _mix(standing, sitting, lowered)
        bow = 0.30 * np.sin(np.pi * lowered)  # a body bends forwards on its way down
        stance = _hands_up(replace(stance, lean_rad=stance.lean_rad + bow), 0.10 * np.sin(np.pi * lowered))
        y_m = AISLE_Y_M + (0.13 * np.sin(np.pi * lowered)) + (SEATED_Y_M - AISLE_Y_M) * lowered
        chair = _mix(PUSHED_BACK, DRAWN_UP, float(np.clip((t - 0.3) / 0.7, 0, 1)))
        out.append((Pose(0.0, float(y_m), float(np.pi / 2 * (1 - turned)), Posture(stance)), chair))
    return out


def use_phone(actor: Actor, size_m: np.ndarray, lifted: float, turn: float) -> Pose:
    """Return the worker with the phone in the right hand; lifted 0 is in the lap, 1 before the webcam."""
    setting = actor.setting("R", size_m)
    angle = 2 * np.pi * turn
    sway = 0.008 * np.array([np.sin(angle), np.cos(angle), np.sin(2 * angle)])
    lap = np.array([-0.24, -0.08, 0.56])
    over = np.array([-0.20, -0.22, 0.92])  # on its way the hand keeps clear of the desk's edge
    shown = np.array([-0.16, -0.44, 1.08]) + sway
    spot = (1 - lifted) ** 2 * lap + 2 * lifted * (1 - lifted) * over + lifted**2 * shown
    palm = unit(np.array([0.12 + 0.05 * np.sin(angle), 0.95, 0.32 + 0.04 * np.cos(angle)]))
    rise = unit(np.array([0, 0, 1.0]) - palm * palm[2])
    turned = 0.95
    fingers = np.cos(turned) * rise + np.sin(turned) * np.array([1.0, 0, 0])
    rng = np.random.default_rng(5)  # the same grip in every shot
    arm, held = holding(rng, setting, spot, fingers, palm, np.array([-0.6, 0.4, -1.0]), turned)
    base = seated(0.0, tap=0.3)
    look = lifted * np.array([-0.14 + 0.03 * np.sin(angle), 0.10])
    stance = replace(with_arm(base, "R", arm), yaw_rad=base.yaw_rad + look[0], nod_rad=base.nod_rad + look[1])
    return Pose(0.0, SEATED_Y_M, 0.0, Posture(stance, held, "R"))


def lay_sheets(share: float) -> tuple[Pose, tuple[float, float, float]]:
    """Return the worker, whose left hand draws the sheets in from the frame's edge, and the sheets' place."""
    x, y, yaw = SHEETS_AT
    place = (x + 0.34 * (1 - share), y, yaw)
    base = seated(0.0, tap=0.3)
    hand = HandPlace(
        np.array([place[0] - 0.13, place[1] + 0.06 - SEATED_Y_M, 0.785]),
        np.array([0.75, -0.65, -0.12]),
        np.array([0.0, 0, -1.0]),
    )
    out = float(np.clip(1.15 - share, 0, 1))
    stance = replace(
        base,
        left=Arm(hand, np.array([0.6, 0.5, -0.6]), (0.1, 0.2, 0.1)),
        side_rad=-0.18 * out,
        twist_rad=0.12 * out,
        yaw_rad=0.4 * out + 0.1,
        lean_rad=base.lean_rad + 0.12 * out,
        nod_rad=0.25,
    )
    return Pose(0.0, SEATED_Y_M, 0.0, Posture(stance)), place


def _reaches(stage: Set) -> dict[str, Shot]:
    """Return the short movements between the keyboard and the lap, the frame's edge or the sheets."""
    actor = stage.worker
    low, high = stage.phone.bounds()
    in_lap = use_phone(actor, high - low, 0.0, 0.0)
    at_edge, there = lay_sheets(0.0)[0], lay_sheets(1.0)[0]
    shots = {}
    ways = (("drop", in_lap, None, "R"), ("reach", at_edge, None, "L"), ("rest", there, SHEETS_AT, "L"))
    for name, end, sheets, side in ways:
        for i, share in enumerate(_ease(REACH)):
            stance = _mix(seated(0.0), end.posture.stance, float(share))
            up = _hands_up(stance, (0.12 if name == "drop" else 0.04) * np.sin(np.pi * share))
            stance = with_arm(stance, side, up.left if side == "L" else up.right)
            shots[f"{name}{i}"] = Shot(DRAWN_UP, replace(end, posture=Posture(stance)), sheets=sheets)
    return shots


def _visits(stage: Set, at_work: list[Pose]) -> dict[str, Shot]:
    """Return the shots with the second person, who comes from the right, looks on and leaves."""
    guest = stage.visitor
    upright_stance = _on_feet(guest.setting("R"), 3)
    looking_on = []
    for angle in 2 * np.pi * np.arange(STANDING) / STANDING:
        stance = replace(
            upright_stance, yaw_rad=0.2 * np.sin(angle) - 0.2, side_rad=0.02 * np.cos(angle), nod_rad=0.2
        )
        looking_on.append(Pose(0.6, BEHIND_Y_M, -0.25, Posture(stance)))
    came = {f"enter{i}": (i, pose) for i, pose in enumerate(walk(guest, 1.75, 0.6, BEHIND_Y_M))}
    stood = {f"stand{i}": (STEPS + 2 * i, pose) for i, pose in enumerate(looking_on)}
    left = {f"leave{i}": (STEPS + i, pose) for i, pose in enumerate(walk(guest, 0.6, 1.75, BEHIND_Y_M))}
    moments = came | stood | left
    return {name: Shot(DRAWN_UP, at_work[at % TYPING], pose) for name, (at, pose) in moments.items()}


def draw_shots(stage: Set) -> dict[str, Shot]:
    """Return every shot the clip needs, by name."""
    actor = stage.worker
    low, high = stage.phone.bounds()
    at_work = [Pose(0.0, SEATED_Y_M, 0.0, Posture(seated(i / TYPING))) for i in range(TYPING)]
    shots = {"empty": Shot(PUSHED_BACK), **_reaches(stage), **_visits(stage, at_work)}
    for name, start_m, end_m in (("come", -1.27, 0.0), ("go", 0.0, -1.27)):
        for i, pose in enumerate(walk(actor, start_m, end_m, AISLE_Y_M)):
            shots[f"{name}{i}"] = Shot(PUSHED_BACK, pose)
    for i, (pose, chair) in enumerate(sit_down(actor)):
        shots[f"sit{i}"] = Shot(chair, pose)
    for i, pose in enumerate(at_work):
        shots[f"type{i}"] = Shot(DRAWN_UP, pose)
    lifted = {f"raise{i}": (float(share), 0.0) for i, share in enumerate(_ease(RAISE))}
    in_use = {f"phone{i}": (1.0, i / HOLDING) for i in range(HOLDING)}
    for name, moment in (lifted | in_use).items():
        shots[name] = Shot(DRAWN_UP, use_phone(actor, high - low, *moment), has_phone=True)
    for i, share in enumerate(_ease(LAY)):
        pose, place = lay_sheets(float(share))
        shots[f"lay{i}"] = Shot(DRAWN_UP, pose, sheets=place)
    for i in range(BESIDE_PAPER):
        shots[f"paper{i}"] = Shot(DRAWN_UP, at_work[(i * TYPING) // BESIDE_PAPER], sheets=SHEETS_AT)
    return shots


def _run(name: str, count: int) -> list[str]:
    return [f"{name}{i}" for i in range(count)]


def _loop(name: str, count: int, seconds: float) -> list[str]:
    return [f"{name}{i % count}" for i in range(round(seconds * FPS))]


def tell() -> list[Phase]:
    """Return the story's phases in order, all at FPS frames a second."""
    come = _run("come", STEPS) + _run("sit", SIT)
    lift = _run("drop", REACH) + _run("raise", RAISE)
    lay = _run("reach", REACH) + _run("lay", LAY) + _run("rest", REACH)[::-1]
    closing = tuple(float(v) for v in np.linspace(0.15, 1.0, 7))
    dark_s = 8.25
    return [
        Phase("empty chair", ["empty"] * round(2.0 * FPS)),
        Phase("worker comes and sits down", come),
        Phase("works", _loop("type", TYPING, 3.0)),
        Phase("phone is brought up", lift),
        Phase("phone in use", _loop("phone", HOLDING, 5.0)),
        Phase("phone is put away", lift[::-1]),
        Phase("works", _loop("type", TYPING, 1.0)),
        Phase("second person comes", _run("enter", STEPS)),
        Phase("second person stands behind", _loop("stand", STANDING, 3.0)),
        Phase("second person leaves", _run("leave", STEPS)),
        Phase("works", _loop("type", TYPING, 1.0)),
        Phase("sheets are laid down", lay),
        Phase("sheets on the desk", _loop("paper", BESIDE_PAPER, 5.0)),
        Phase("sheets are taken away", lay[::-1]),
        Phase("works", _loop("type", TYPING, 1.0)),
        Phase("worker gets up and leaves", _run("sit", SIT)[::-1] + _run("go", STEPS)),
        Phase("empty chair", ["empty"] * round(13.25 * FPS)),
        Phase("worker comes back", come),
        Phase("works", _loop("type", TYPING, 1.0)),
        Phase("lens is being covered", _loop("type", TYPING, 7 / FPS), closing),
        Phase("lens is covered", _loop("type", 1, dark_s), (1.0,) * round(dark_s * FPS)),
    ]
