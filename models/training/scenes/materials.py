"""Blender materials from a few numbers, and the light that surrounds a scene."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import bpy
import numpy as np

from scenes import textures

Colour = tuple[float, float, float]

LEATHER = (
    (0.02, 0.015, 0.012),
    (0.09, 0.04, 0.02),
    (0.2, 0.09, 0.04),
    (0.03, 0.03, 0.06),
    (0.25, 0.03, 0.03),
)
METAL = ((0.5, 0.5, 0.52), (0.2, 0.2, 0.22), (0.65, 0.55, 0.4), (0.08, 0.08, 0.09), (0.3, 0.35, 0.45))


@dataclass(frozen=True, slots=True)
class Look:
    """How a surface looks: linear colour, roughness and the like 0–1, glow in radiance, scales in 1/m."""

    colour: Colour = (0.5, 0.5, 0.5)
    roughness: float = 0.5
    metallic: float = 0.0
    transmission: float = 0.0
    coat: float = 0.0
    glow: float = 0.0
    sheen: float = 0.0
    image: bpy.types.Image | None = None
    mottle: Colour | None = None  # second colour of a noise pattern
    mottle_scale: float = 60.0
    bump: float = 0.0
    is_lamp: bool = False  # sampled as a light: dear, for screens in dim rooms only
    bump_scale: float = 400.0


def material(look: Look, name: str = "surface") -> bpy.types.Material:
    """Make a material of one principled shader."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    made.cycles.emission_sampling = "AUTO" if look.is_lamp else "NONE"
    tree = made.node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    put = shader.inputs
    put["Base Color"].default_value = (*look.colour, 1)
    put["Roughness"].default_value = look.roughness
    put["Metallic"].default_value = look.metallic
    put["Transmission Weight"].default_value = look.transmission
    put["Coat Weight"].default_value = look.coat
    put["Coat Roughness"].default_value = 0.05
    put["Sheen Weight"].default_value = look.sheen
    if look.glow:
        put["Emission Color"].default_value = (*look.colour, 1)
        put["Emission Strength"].default_value = look.glow
    if look.image is not None:
        picture = tree.nodes.new("ShaderNodeTexImage")
        picture.image = look.image
        target = "Emission Color" if look.glow else "Base Color"
        tree.links.new(picture.outputs["Color"], put[target])
        if look.glow:
            put["Base Color"].default_value = (0.005, 0.005, 0.005, 1)
    if look.mottle is not None or look.bump:
        _patterned(tree, shader, look)
    return made


def _patterned(tree: bpy.types.NodeTree, shader: bpy.types.Node, look: Look) -> None:
    """Wire noise patterns in object space into colour and normal."""
    where = tree.nodes.new("ShaderNodeTexCoord")
    for wanted, scale in ((look.mottle is not None, look.mottle_scale), (look.bump > 0, look.bump_scale)):
        if not wanted:
            continue
        noise = tree.nodes.new("ShaderNodeTexNoise")
        noise.inputs["Scale"].default_value = scale
        noise.inputs["Detail"].default_value = 2
        tree.links.new(where.outputs["Object"], noise.inputs["Vector"])
        if scale == look.mottle_scale and look.mottle is not None:
            ramp = tree.nodes.new("ShaderNodeValToRGB")
            ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.65
            ramp.color_ramp.elements[0].color = (*look.colour, 1)
            ramp.color_ramp.elements[1].color = (*look.mottle, 1)
            tree.links.new(noise.outputs["Fac"], ramp.inputs["Fac"])
            tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
        else:
            bump = tree.nodes.new("ShaderNodeBump")
            bump.inputs["Strength"].default_value = look.bump
            bump.inputs["Distance"].default_value = 0.001
            tree.links.new(noise.outputs["Fac"], bump.inputs["Height"])
            tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def plain(colour: Colour, roughness: float = 0.5, **more: float) -> bpy.types.Material:
    """Make an even surface."""
    return material(Look(colour, roughness, **more))


def pictured(image: bpy.types.Image, roughness: float = 0.6, **more: float) -> bpy.types.Material:
    """Make a surface that carries a picture over its UVs."""
    return material(Look(image=image, roughness=roughness, **more))


def screen(rng: np.random.Generator, kind: str, light: float) -> bpy.types.Material:
    """Make a lit screen of a kind (`screen`, `phone`) in a room of so much light (white paper's radiance)."""
    strength = float(rng.uniform(0.35, 1.3)) * max(light, 0.06) ** 0.5
    return material(
        Look(
            image=textures.image(rng, kind),
            glow=strength,
            roughness=float(rng.uniform(0.05, 0.35)),
            is_lamp=light < 0.2,
        )
    )


def dark_glass(rng: np.random.Generator) -> bpy.types.Material:
    """Make a switched-off display: near-black, glossy, a little dusty."""
    grey = float(rng.uniform(0.002, 0.02))
    return plain((grey, grey, grey * float(rng.uniform(1, 1.4))), float(rng.uniform(0.03, 0.22)))


def any_colour(rng: np.random.Generator, saturation: tuple[float, float] = (0.0, 0.9)) -> Colour:
    """Return a random linear colour; dark and light ones are as likely as the middle."""
    value = float(rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.15, 0.6), rng.uniform(0.6, 0.9)]))
    return colorsys.hsv_to_rgb(float(rng.random()), float(rng.uniform(*saturation)), value)


def neutral(rng: np.random.Generator, black: float = 0.5) -> Colour:
    """Return a device colour: black with the given chance, else white, silver or grey."""
    low, high = (
        (0.008, 0.04) if rng.random() < black else ((0.6, 0.85) if rng.random() < 0.6 else (0.15, 0.5))
    )
    grey = float(rng.uniform(low, high))
    return (grey, grey, grey * float(rng.uniform(0.95, 1.08)))


def leather(rng: np.random.Generator) -> bpy.types.Material:
    """Make grained leather."""
    tint = LEATHER[rng.integers(len(LEATHER))] if rng.random() < 0.8 else any_colour(rng)
    return material(
        Look(tint, float(rng.uniform(0.35, 0.7)), bump=float(rng.uniform(0.1, 0.5)), bump_scale=900)
    )


def metal(rng: np.random.Generator) -> bpy.types.Material:
    """Make brushed or anodized metal."""
    return plain(METAL[rng.integers(len(METAL))], float(rng.uniform(0.2, 0.5)), metallic=0.9)


def pick(rng: np.random.Generator, *choices: Colour) -> Colour:
    """Return one of the colours, slightly varied."""
    colour = np.array(choices[rng.integers(len(choices))]) * rng.uniform(0.85, 1.15, 3)
    return tuple(float(v) for v in np.clip(colour, 0, 1))


def surround(rng: np.random.Generator, light: float) -> None:
    """Light the scene from all sides with a blurred room, white paper reaching about `light` in radiance."""
    world = bpy.data.worlds.new("surround")
    bpy.context.scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    background = next(n for n in tree.nodes if n.type == "BACKGROUND")
    picture = tree.nodes.new("ShaderNodeTexEnvironment")
    picture.image = textures.surroundings(rng)
    turn = tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value[2] = float(rng.uniform(0, 2 * np.pi))
    where = tree.nodes.new("ShaderNodeTexCoord")
    tree.links.new(where.outputs["Generated"], turn.inputs["Vector"])
    tree.links.new(turn.outputs["Vector"], picture.inputs["Vector"])
    tree.links.new(picture.outputs["Color"], background.inputs["Color"])
    background.inputs["Strength"].default_value = light
    # Found by the rays that surfaces scatter: sampling the map as a light doubles the time.
    world.cycles.sampling_method = "NONE"
