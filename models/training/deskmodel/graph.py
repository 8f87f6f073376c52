"""The network as data: layers read from ncnn's files, which PyTorch trains and TensorFlow exports."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from deskmodel.labels import COCO_80, LABELS, OF_COCO

Floats = npt.NDArray[np.float32]

STRIDES = (8, 16, 32, 64)
BINS = 8
"""Box distances are the mean of a softmax over so many bins, in strides."""

# NanoDet's own normalisation, in the order blue, green, red.
_MEAN_BGR = (103.53, 116.28, 123.675)
_STD_BGR = (57.375, 57.12, 58.395)

_LEAK = 0.1

_FP16_TAG = 0x01306B47


class NcnnFileWrong(ValueError):
    """Not the network that was expected: take the files that README.md names."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation. Convolution weights are (out, in / groups, kernel, kernel), as in PyTorch."""

    kind: Literal["conv", "maxpool", "halves", "concat", "shuffle", "upsample", "add"]
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stride: int = 1
    kernel: int = 1
    groups: int = 1
    channels: int = 0
    slope: float = 1.0
    """What it gives below 0 is multiplied by this: 1 is no rectifier, 0.1 a leaky one."""
    block: int = 1
    """Neighbouring channels that a shuffle keeps together."""

    @property
    def leaky(self) -> bool:
        """Return whether a rectifier follows."""
        return self.slope < 1.0


@dataclass(frozen=True, slots=True)
class Graph:
    """Layers in the order in which they run; `in0` goes in."""

    layers: tuple[Layer, ...]
    weights: Mapping[str, Floats]
    biases: Mapping[str, Floats]
    classes: tuple[str, ...]
    """The class maps, one for each of STRIDES: logits (n, labels, rows, cols)."""
    boxes: tuple[str, ...]
    """The box maps likewise: logits (n, 4 · BINS, rows, cols), left, top, right and bottom."""


def read_ncnn(stem: Path) -> Graph:
    """Read NanoDet-Plus-m as ncnn has it, with COCO's 80 classes, over RGB pixels in 0–1.

    `stem` is the path of its two files without `.param` and `.bin`. Raises NcnnFileWrong.
    """
    param, weights = (stem.with_name(f"{stem.name}{ending}") for ending in (".param", ".bin"))
    for path in (param, weights):
        if not path.is_file():
            raise NcnnFileWrong(f"{path}: wanted one of NanoDet-Plus-m's two files, got no such file")
    lines = param.read_text(encoding="ascii").split("\n")
    if lines[0].strip() != "7767517":
        raise NcnnFileWrong(f"{param}: wanted ncnn's magic 7767517 in line 1, got {lines[0]!r}")
    parsed = [_Parsed.of(line) for line in lines[2:] if line.strip()]
    blobs = _Blobs(weights)
    same: dict[str, str] = {}
    layers: list[Layer] = []
    kernels: dict[str, Floats] = {}
    biases: dict[str, Floats] = {}
    heads: list[str] = []
    for one in parsed:
        inputs = tuple(same.get(name, name) for name in one.inputs)
        if one.kind == "Split":
            same |= dict.fromkeys(one.outputs, inputs[0])
        elif one.kind == "Reshape":
            heads.append(inputs[0])  # the heads are flattened, the finest stride first
        elif one.kind in ("Convolution", "ConvolutionDepthWise"):
            layer = _convolution(one, inputs)
            shape = (
                layer.channels,
                one.attrs[6] // layer.channels // layer.kernel**2,
                layer.kernel,
                layer.kernel,
            )
            kernels[layer.name] = blobs.weights(one.attrs[6]).reshape(shape)
            biases[layer.name] = blobs.floats(layer.channels)
            layers.append(layer)
        elif one.kind != "Input" and (one.kind, len(one.inputs)) != ("Concat", 4):
            layers.append(_plain(one, inputs))
    blobs.finished()
    graph = Graph(tuple(layers), kernels, biases, tuple(heads), ())
    return _pool_first(_pixels_in_rgb(_split_heads(graph)))


def desk(coco: Graph) -> Graph:
    """Return the graph with our labels: a label starts as the first of COCO's classes that it stands for."""
    weights, biases = dict(coco.weights), dict(coco.biases)
    layers = []
    sources = [
        next(COCO_80.index(name) for name in COCO_80 if OF_COCO.get(name) == label) for label in LABELS
    ]
    for layer in coco.layers:
        if layer.outputs[0] in coco.classes:
            weights[layer.name] = weights[layer.name][sources]
            biases[layer.name] = biases[layer.name][sources]
            layers.append(replace(layer, channels=len(LABELS)))
        else:
            layers.append(layer)
    return replace(coco, layers=tuple(layers), weights=weights, biases=biases)


def quantization_groups(graph: Graph) -> dict[str, str]:
    """Return for each tensor the one whose range it shares: what is joined or cut must have one scale.

    `name:raw` is what a layer's rectifier takes, which is an operation of its own.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for layer in graph.layers:
        for name in (*layer.inputs, *layer.outputs):
            root(name)
        if layer.kind not in ("conv", "add"):
            first, *others = (*layer.inputs, *((raw(layer),) if layer.leaky else layer.outputs))
            for other in others:
                parent[root(other)] = root(first)
        elif layer.leaky:
            root(raw(layer))
    return {name: root(name) for name in parent}


def raw(layer: Layer) -> str:
    """Return the name of what a layer's rectifier takes."""
    return f"{layer.outputs[0]}:raw"


@dataclass(frozen=True, slots=True)
class _Parsed:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[int, int]

    @classmethod
    def of(cls, line: str) -> "_Parsed":
        kind, name, inputs, outputs, *rest = line.split()
        cut = int(inputs)
        end = cut + int(outputs)
        attrs = {}
        for pair in rest[end:]:
            key, _, value = pair.partition("=")
            # Arrays have negative keys; the only ones here are the slope 0.1 and the two equal slices.
            attrs[int(key)] = int(float(value)) if int(key) >= 0 else 0
        return cls(kind, name, tuple(rest[:cut]), tuple(rest[cut:end]), attrs)


def _convolution(one: _Parsed, inputs: tuple[str, ...]) -> Layer:
    kernel, stride = one.attrs[1], one.attrs.get(3, 1)
    if one.attrs.get(4, 0) != kernel // 2 or one.attrs.get(9, 0) not in (0, 2):
        raise NcnnFileWrong(
            f"{one.name}: wanted centred padding and a leaky rectifier or none, got {one.attrs}"
        )
    return Layer(
        "conv",
        one.name,
        inputs,
        one.outputs,
        stride=stride,
        kernel=kernel,
        groups=one.attrs.get(7, 1),
        channels=one.attrs[0],
        slope=_LEAK if one.attrs.get(9, 0) == 2 else 1.0,
    )


def _plain(one: _Parsed, inputs: tuple[str, ...]) -> Layer:
    kinds: dict[str, Literal["maxpool", "halves", "concat", "shuffle", "upsample", "add"]] = {
        "Pooling": "maxpool",
        "Slice": "halves",
        "Concat": "concat",
        "ShuffleChannel": "shuffle",
        "Interp": "upsample",
        "BinaryOp": "add",
    }
    if one.kind not in kinds:
        raise NcnnFileWrong(f"{one.name}: wanted one of {sorted(kinds)} or a convolution, got {one.kind}")
    return Layer(kinds[one.kind], one.name, inputs, one.outputs)


class _Blobs:
    """The weight file, read in the order of the layers."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes, self._at = path, path.read_bytes(), 0

    def weights(self, count: int) -> Floats:
        """Read a tagged blob: half precision, or single."""
        tag = int.from_bytes(self._take(4), "little")
        if tag == _FP16_TAG:
            halves = np.frombuffer(self._take(-(-2 * count // 4) * 4), np.float16)[:count]
            return halves.astype(np.float32)
        if tag != 0:
            raise NcnnFileWrong(f"{self._path}: wanted a float blob at byte {self._at - 4}, got tag {tag:#x}")
        return self.floats(count)

    def floats(self, count: int) -> Floats:
        """Read an untagged blob."""
        return np.frombuffer(self._take(4 * count), np.float32).copy()

    def finished(self) -> None:
        if self._at != len(self._bytes):
            raise NcnnFileWrong(f"{self._path}: wanted {self._at} bytes, got {len(self._bytes)}")

    def _take(self, count: int) -> bytes:
        taken = self._bytes[self._at : self._at + count]
        if len(taken) != count:
            raise NcnnFileWrong(f"{self._path}: wanted {count} bytes at {self._at}, got {len(taken)}")
        self._at += count
        return taken


def _split_heads(graph: Graph) -> Graph:
    """Give classes and boxes a convolution of their own, and so a scale of their own once quantized."""
    weights, biases = dict(graph.weights), dict(graph.biases)
    layers, classes, boxes = [], {}, {}
    for layer in graph.layers:
        (output,) = layer.outputs if layer.outputs[0] in graph.classes else ("",)
        if not output:
            layers.append(layer)
            continue
        both, bias = weights.pop(layer.name), biases.pop(layer.name)
        cut = layer.channels - 4 * BINS
        for part, kernel, offset in (("classes", both[:cut], bias[:cut]), ("boxes", both[cut:], bias[cut:])):
            name = f"{part}_{STRIDES[graph.classes.index(output)]}"
            layers.append(replace(layer, name=name, outputs=(name,), channels=len(kernel)))
            weights[name], biases[name] = kernel, offset
            (classes if part == "classes" else boxes)[output] = name
    return Graph(
        tuple(layers),
        weights,
        biases,
        tuple(classes[name] for name in graph.classes),
        tuple(boxes[name] for name in graph.classes),
    )


def _pool_first(graph: Graph) -> Graph:
    """Move the stem's rectifier behind its pool: the greatest of rectified values is the rectified greatest.

    There it has a quarter of the values to do.
    """
    stem, pool, *others = graph.layers
    if pool.kind != "maxpool" or pool.inputs != stem.outputs:
        raise NcnnFileWrong(f"{pool.name}: wanted the pool of {stem.name}, got {pool.kind} of {pool.inputs}")
    layers = (replace(stem, slope=1.0), replace(pool, slope=stem.slope), *others)
    return replace(graph, layers=layers)


def _pixels_in_rgb(graph: Graph) -> Graph:
    """Fold the normalisation into the first convolution, which then takes RGB in 0–1.

    Its padding is black from then on, where it was the mean colour: training makes up for it.
    """
    first = graph.layers[0].name
    kernel = graph.weights[first]
    mean, std = np.array(_MEAN_BGR, np.float32), np.array(_STD_BGR, np.float32)
    scaled = kernel / std[None, :, None, None]
    bias = graph.biases[first] - (scaled * mean[None, :, None, None]).sum(axis=(1, 2, 3))
    in_rgb = np.ascontiguousarray(scaled[:, ::-1] * np.float32(255.0))
    return replace(graph, weights={**graph.weights, first: in_rgb}, biases={**graph.biases, first: bias})
