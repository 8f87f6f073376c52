"""One picture out of Blender: an empty scene to build in, and a render with its index map."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # read when OpenCV is loaded

import bpy
import cv2
import numpy as np


def start(samples: int, threads: int) -> None:
    """Set Blender up once: Cycles on the CPU, few bounces, denoised, no colour management of its own."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.use_persistent_data = False
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", samples, False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 2
    cycles.use_light_tree = False  # few lamps: the tree costs more than it saves
    cycles.transmission_bounces, cycles.transparent_max_bounces = 4, 4
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect, cycles.blur_glossy = 4.0, 1.0
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"
    scene.view_settings.view_transform = "Raw"
    bpy.context.view_layer.use_pass_object_index = True


def clear() -> None:
    """Remove everything a scene is made of; pictures kept by their fake user stay."""
    for collection in (bpy.data.objects, bpy.data.meshes, bpy.data.lights, bpy.data.cameras, bpy.data.worlds):
        bpy.data.batch_remove(list(collection))
    bpy.data.orphans_purge(do_local_ids=True, do_linked_ids=False, do_recursive=True)


def _outputs(folder: Path) -> None:
    """Wire the compositor to write the picture and the index map as two EXR files."""
    scene = bpy.context.scene
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers = tree.nodes.new("CompositorNodeRLayers")
    files = tree.nodes.new("CompositorNodeOutputFile")
    files.base_path = str(folder)
    files.format.file_format, files.format.color_depth, files.format.exr_codec = "OPEN_EXR", "32", "NONE"
    files.file_slots.clear()
    for name, output in (("colour", "Image"), ("index", "IndexOB")):
        files.file_slots.new(name)
        tree.links.new(layers.outputs[output], files.inputs[name])


def shoot(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Render the scene; return linear RGB float32 (h, w, 3) and the object indices int32 (h, w)."""
    scene = bpy.context.scene
    scene.cycles.seed = seed % 2**31
    if not scene.use_nodes:
        _outputs(folder)
    scene.frame_set(1)
    bpy.ops.render.render()
    colour = _read(folder / "colour0001.exr")[..., ::-1]
    index = _read(folder / "index0001.exr")
    if index.ndim == 3:
        index = index[..., 0]
    return np.ascontiguousarray(colour[..., :3]), np.rint(index).astype(np.int32)


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(f"the render left no readable EXR at {path}")
    return picture[..., :3] if picture.ndim == 3 else picture
