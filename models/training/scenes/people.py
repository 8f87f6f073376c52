"""People for the scene renderer: `add_person` builds a random person in a posture, with a thing in hand.

World: metres, z up, the desk top at 0.74, the webcam at the -y side. `bodydata` says where bodies come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector

from scenes.bodydata import Physique, load_body, shape_body
from scenes.fabric import cloth, hair_material, plain, vertex_coloured
from scenes.hair import HAIR_STYLES, glasses_pieces, hair_pieces
from scenes.looks import HAIR_TONES, eyes_piece, linear, skin_piece
from scenes.posture import Setting, held_transform
from scenes.postures import POSTURES
from scenes.skeleton import Posed, Skeleton, fit_skeleton, skin
from scenes.stance import pose_stance
from scenes.wardrobe import BODY_VERTICES, SHOE_TOP, Cut, Piece, base_regions, covered, garment, shoes

WEBCAM_M = np.array([0.0, -0.35, 1.1])
# Hands of `hand_only` lie this far before the person they belong to.
REACH_M = 0.5


@dataclass(frozen=True)
class Place:
    """Where a person is: the seat's or the feet's middle on the floor, the way they face (0 is -y), the seat.

    For the posture `hand_only`, x and y are the hand's place and `facing_rad` the way the arm reaches.
    """

    x_m: float
    y_m: float
    facing_rad: float
    seat_height_m: float


@dataclass(frozen=True)
class Character:
    """A dressed body at rest; `shaped` (V, 3) m is its bare base mesh; `materials` go by pieces' names.

    `skin_tone` is 0 for the lightest skin and 1 for the darkest.
    """

    shaped: np.ndarray
    skeleton: Skeleton
    pieces: tuple[Piece, ...]
    materials: dict[str, bpy.types.Material]
    skin_tone: float
    age_years: float


def draw_physique(rng: np.random.Generator, child: bool = False) -> Physique:
    """Draw a build: sex, age, weight, origins."""
    male = float(np.clip(rng.choice([0.0, 1.0]) + rng.normal(0, 0.08), 0, 1))
    age_years = rng.uniform(6, 15) if child else rng.uniform(18, 72)
    origins = rng.dirichlet([0.5, 0.5, 0.5])
    return Physique(
        male,
        age_years,
        rng.uniform(0.25, 0.8),
        float(np.clip(rng.normal(0.52, 0.2), 0.05, 0.98)),
        float(np.clip(rng.normal(0.5, 0.04), 0.4, 0.6)),
        tuple(origins),
        rng.uniform(0.2, 0.8),
    )


def make_character(rng: np.random.Generator, child: bool = False) -> Character:
    """Draw and dress a random person."""
    physique = draw_physique(rng, child)
    shaped = shape_body(physique)
    skeleton = fit_skeleton(load_body().rig, shaped)
    top, trousers, clothes = _dress(rng, shaped)
    hidden = covered(top) | covered(trousers) | (base_regions().leg > SHOE_TOP + 0.01)
    hidden[BODY_VERTICES:] = False
    grey = physique.age_years > 45 and rng.random() < 0.6
    hair_tone = linear(HAIR_TONES[rng.integers(7, 9)] if grey else HAIR_TONES[rng.integers(0, 7)])
    grows = physique.male > 0.5 and not child
    beard = rng.uniform(0.15, 0.9) if grows and rng.random() < 0.5 else 0.0
    hair = hair_pieces(rng, shaped, _hair_style(rng, grows))
    skin_tone = rng.random()
    pieces = [skin_piece(rng, shaped, hidden, skin_tone, hair_tone, beard), eyes_piece(rng, shaped)]
    glasses = glasses_pieces(rng, shaped) if rng.random() < 0.3 else []
    materials = {
        "skin": vertex_coloured("skin", rng.uniform(0.42, 0.6)),
        "eyes": vertex_coloured("eyes", 0.15),
        "hair": hair_material(rng, hair_tone),
        "glasses": plain(
            "glasses", linear(rng.uniform(0, 90, 3) if rng.random() < 0.7 else (190, 160, 110)), 0.25
        ),
        "top": cloth(rng, "top"),
        "trousers": cloth(rng, "trousers", dark=True),
        "shoes": plain(
            "shoes",
            linear(rng.choice([rng.uniform(5, 40), rng.uniform(180, 240)]) + rng.uniform(-5, 15, 3)),
            0.6,
        ),
    }
    every = (*pieces, *clothes, *hair, *glasses)
    return Character(shaped, skeleton, every, materials, skin_tone, physique.age_years)


def _hair_style(rng: np.random.Generator, male: bool) -> str:
    odds = (
        (0.14, 0.2, 0.28, 0.2, 0.08, 0.02, 0.03, 0.05)
        if male
        else (0.02, 0.03, 0.08, 0.12, 0.2, 0.35, 0.12, 0.08)
    )
    return str(rng.choice(HAIR_STYLES, p=odds))


def _dress(rng: np.random.Generator, shaped: np.ndarray) -> tuple[Cut, Cut, list[Piece]]:
    """Choose a top and trousers; return their cuts and meshes."""
    kind = rng.choice(["t-shirt", "sweater", "shirt", "tank"], p=[0.42, 0.33, 0.2, 0.05])
    arm = {
        "t-shirt": rng.uniform(0.28, 0.42),
        "sweater": 0.965,
        "shirt": rng.choice([0.6, 0.97]),
        "tank": 0.13,
    }[kind]
    neck = {"t-shirt": 0.585, "sweater": 0.60, "shirt": 0.605, "tank": 0.59}[kind] + rng.uniform(-0.02, 0.005)
    top = Cut(arm, 0.10, 0.035, neck, rng.uniform(0.3, 0.7))
    loose_m = {"t-shirt": 0.009, "sweater": 0.014, "shirt": 0.010, "tank": 0.006}[kind] * rng.uniform(
        0.8, 1.4
    )
    trousers = Cut(-1.0, rng.choice([1.0, 1.0, 0.55]), -9.0, 0.10, 0.0)
    pieces = [
        garment("top", shaped, top, loose_m, int(rng.integers(2, 6))),
        garment("trousers", shaped, trousers, rng.uniform(0.006, 0.016), 4),
        shoes(shaped),
    ]
    return top, trousers, pieces


def posed_points(character: Character, posed: Posed, world: np.ndarray) -> list[np.ndarray]:
    """Return each piece's points (n, 3) m in the world."""
    out = []
    for piece in character.pieces:
        points = skin(posed, piece.points, piece.bones, piece.weights)
        out.append(points @ world[:3, :3].T + world[:3, 3])
    return out


def place_matrix(place: Place, reach_m: float = 0.0) -> np.ndarray:
    """Return the person's frame (4, 4) in the world, `reach_m` behind the place."""
    cosine, sine = np.cos(place.facing_rad), np.sin(place.facing_rad)
    out = np.eye(4)
    out[:2, :2] = [[cosine, -sine], [sine, cosine]]
    out[:2, 3] = np.array([place.x_m, place.y_m]) + out[:2, :2] @ [0, reach_m]
    return out


def build_object(
    piece: Piece, points: np.ndarray, faces: np.ndarray, material: bpy.types.Material
) -> bpy.types.Object:
    """Make a smooth-shaded mesh object out of a piece with its points (n, 3) m in the world."""
    mesh = bpy.data.meshes.new(piece.name)
    mesh.vertices.add(len(points))
    mesh.vertices.foreach_set("co", points.astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 4, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), dtype=bool))
    if piece.uv.size:
        layer = mesh.uv_layers.new()
        layer.data.foreach_set(
            "uv", (piece.uv + np.array([0.5, 0]))[faces.ravel()].astype(np.float32).ravel()
        )
    if piece.colours.size:
        tint = mesh.color_attributes.new("tint", "FLOAT_COLOR", "POINT")
        rgba = np.concatenate([piece.colours, np.ones((len(points), 1))], axis=1)
        tint.data.foreach_set("color", rgba.astype(np.float32).ravel())
    mesh.materials.append(material)
    mesh.update(calc_edges=True)
    thing = bpy.data.objects.new(f"person {piece.name}", mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _arm_faces(piece: Piece, side: str) -> np.ndarray:
    """Return the faces of a piece that belong to one arm."""
    names = np.array(load_body().rig.names)
    arm = np.array(
        [
            name.endswith(f".{side}")
            and name.startswith(("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))
            for name in names
        ]
    )
    share = (arm[piece.bones] * piece.weights).sum(axis=1)
    return piece.faces[(share[piece.faces] > 0.5).all(axis=1)]


def _held_size(held: bpy.types.Object) -> tuple[np.ndarray, bool]:
    """Return a thing's full size (3,) m, its children included, and whether it is round about its y axis."""
    corners = []
    for thing in (held, *held.children_recursive):
        if thing.type == "MESH":
            local = held.matrix_world.inverted() @ thing.matrix_world
            corners += [local @ Vector(corner) for corner in thing.bound_box]
    if not corners:
        raise ValueError(f"wanted a held object with a mesh, got {held.name!r} of type {held.type}")
    points = np.array(corners)
    size = np.ptp(points, axis=0)
    is_round = size[2] > 0.045 and abs(size[0] - size[2]) < 0.45 * max(size[0], size[2]) and size[1] > 0.06
    return size, bool(is_round)


def add_person(
    rng: np.random.Generator, pose: str, place: Place, held: bpy.types.Object | None = None
) -> list[bpy.types.Object]:
    """Add a random person in a posture to the scene and return their objects; `held` is put into a hand."""
    if pose not in POSTURES:
        raise ValueError(f"wanted a pose of {sorted(POSTURES)}, got {pose!r}")
    child = pose in ("standing", "walking") and rng.random() < 0.12
    character = make_character(rng, child)
    return pose_person(rng, character, pose, place, held)


def pose_person(
    rng: np.random.Generator,
    character: Character,
    pose: str,
    place: Place,
    held: bpy.types.Object | None = None,
) -> list[bpy.types.Object]:
    """Build a character's objects in a random posture of that name."""
    reach_m = REACH_M if pose == "hand_only" else 0.0
    world = place_matrix(place, reach_m)
    bpy.context.view_layer.update()
    size_m, is_round = (None, False) if held is None else _held_size(held)
    setting = Setting(
        character.skeleton,
        character.shaped,
        place.seat_height_m,
        (WEBCAM_M - world[:3, 3]) @ world[:3, :3],
        str(rng.choice(["L", "R"])),
        size_m,
        is_round,
    )
    posture = POSTURES[pose](rng, setting)
    posed = pose_stance(character.skeleton, posture.stance)
    objects = []
    for piece, points in zip(character.pieces, posed_points(character, posed, world), strict=True):
        faces = _arm_faces(piece, posture.side) if pose == "hand_only" else piece.faces
        if len(faces):
            objects.append(build_object(piece, points, faces, character.materials[piece.name]))
    # For whoever counts how well different people are seen.
    objects[0]["skin_tone"], objects[0]["age_years"] = character.skin_tone, character.age_years
    objects[0]["hand"] = posture.side
    if held is not None and posture.held is not None:
        hold_object(held, world @ held_transform(posed, posture), objects[0])
    return objects


def hold_object(held: bpy.types.Object, place: np.ndarray, person: bpy.types.Object) -> None:
    """Put a thing (4, 4) m in the world, as a child of a person's mesh."""
    held.parent = person
    held.matrix_parent_inverse = Matrix.Identity(4)
    held.matrix_world = Matrix(place.tolist())
