"""Materials of skin, hair and cloth."""

from __future__ import annotations

import bpy
import numpy as np

from scenes.looks import cloth_pattern, linear


def _principled(name: str) -> tuple[bpy.types.Material, bpy.types.Node]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    return material, material.node_tree.nodes["Principled BSDF"]


def plain(name: str, rgb: np.ndarray, roughness: float) -> bpy.types.Material:
    """Make a material of one linear RGB colour (3,)."""
    material, shader = _principled(name)
    shader.inputs["Base Color"].default_value = (*rgb, 1)
    shader.inputs["Roughness"].default_value = roughness
    return material


def vertex_coloured(name: str, roughness: float) -> bpy.types.Material:
    """Make a material that takes a mesh's own `tint` colours."""
    material, shader = _principled(name)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Specular IOR Level"].default_value = 0.3
    attribute = material.node_tree.nodes.new("ShaderNodeVertexColor")
    attribute.layer_name = "tint"
    material.node_tree.links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    return material


def _bump(
    material: bpy.types.Material, shader: bpy.types.Node, stretch: tuple, distance_m: float
) -> bpy.types.Node:
    """Add folds or strands: noise over the posed shape; returns the noise node."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    where, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    noise, bump = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeBump")
    mapping.inputs["Scale"].default_value = stretch
    noise.inputs["Scale"].default_value = 1.0
    noise.inputs["Detail"].default_value = 2.0
    bump.inputs["Distance"].default_value = distance_m
    links.new(where.outputs["Object"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], bump.inputs["Height"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    return noise


def hair_material(rng: np.random.Generator, rgb: np.ndarray) -> bpy.types.Material:
    """Make strands: light and dark noise stretched downwards, about a linear RGB colour (3,)."""
    material, shader = _principled("hair")
    shader.inputs["Roughness"].default_value = rng.uniform(0.35, 0.6)
    noise = _bump(material, shader, (260, 260, 30), 0.006)
    ramp = material.node_tree.nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.3, 0.75
    ramp.color_ramp.elements[0].color = (*(rgb * 0.35), 1)
    ramp.color_ramp.elements[1].color = (*np.clip(rgb * 1.25, 0, 1), 1)
    material.node_tree.links.new(noise.outputs["Fac"], ramp.inputs["Fac"])
    material.node_tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    return material


def cloth(rng: np.random.Generator, name: str, dark: bool = False) -> bpy.types.Material:
    """Make a cloth with folds: patterned, or of one dark colour."""
    material, shader = _principled(name)
    shader.inputs["Roughness"].default_value = rng.uniform(0.75, 0.95)
    if dark:
        shade = rng.uniform(10, 110) * np.array([1, 1, 1]) + np.array([0, 4, 18]) * rng.uniform(0, 2)
        shader.inputs["Base Color"].default_value = (*linear(np.clip(shade, 0, 255)), 1)
    else:
        pixels = cloth_pattern(rng)[::-1, :, ::-1] / 255
        size_px = pixels.shape[0]
        image = bpy.data.images.new(name, size_px, size_px)
        image.pixels.foreach_set(np.dstack([pixels, np.ones((size_px, size_px))]).astype(np.float32).ravel())
        texture = material.node_tree.nodes.new("ShaderNodeTexImage")
        texture.image = image
        material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    _bump(material, shader, (8, 8, 4), 0.03)
    return material
