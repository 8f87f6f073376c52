"""The same network in channels that computers like: halves of 64, 128 and 256, shuffled in blocks.

ShuffleNet's halves have 58, 116 and 232 channels, and its shuffle moves single bytes: a seventh of the whole
time of a quantized model. What a shuffle is for is the *sets* that the halves after it get; the order within
a half is free, as the weights that read it can be put in any order. A channel that waits is halved away after
one unit, two, three …, so the blocks that a shuffle may move at once are as long as the waiting leaves them:
the last shuffle of a stage moves half a half, the one before a quarter. Each convolution writes its channels
in the order in which the new shuffles give the very sets of the old ones. The spare channels start as noise
that nothing reads, and training may use them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deskmodel.graph import Floats, Graph, Layer

WIDE = {58: 64, 116: 128, 232: 256}
_Slot = tuple[str, int]
"""A channel of a convolution's output: the layer's name, and the place."""

_SPARE = -1


def widen(graph: Graph, seed: int = 0) -> Graph:
    """Return the widened graph: the same function, but for rounding."""
    wide = _wide_layers(graph)
    order = _orders(graph, wide)
    return _Rewriter(graph, wide, order, np.random.default_rng(seed)).run()


def _wide_layers(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers with their new numbers of channels, without the shuffles that no half follows."""
    halved = [layer.inputs[0] for layer in graph.layers if layer.kind == "halves"]
    names: dict[str, str] = {}
    channels: dict[str, int] = {"in0": 3}
    layers: list[Layer] = []
    for old in graph.layers:
        layer = replace(old, inputs=tuple(names.get(name, name) for name in old.inputs))
        if layer.kind == "shuffle" and layer.outputs[0] not in halved:
            names[layer.outputs[0]] = layer.inputs[0]
            continue
        size = channels[layer.inputs[0]]
        if layer.kind == "conv":
            size = size if layer.groups > 1 else WIDE.get(layer.channels, layer.channels)
            layer = replace(layer, channels=size, groups=size if layer.groups > 1 else 1)
        elif layer.kind == "concat":
            size = sum(channels[name] for name in layer.inputs)
        elif layer.kind == "halves":
            size //= 2
        channels |= dict.fromkeys(layer.outputs, size)
        layers.append(layer)
    return _blocked(layers, channels)


def _blocked(layers: list[Layer], channels: Mapping[str, int]) -> tuple[Layer, ...]:
    """Give each shuffle its block: half of a half, halved for each shuffle of its stage that is to come."""
    to_come: dict[int, int] = defaultdict(int)
    blocks: dict[str, int] = {}
    for layer in reversed(layers):
        if layer.kind == "shuffle":
            size = channels[layer.outputs[0]]
            blocks[layer.name] = size // 4 >> to_come[size]
            to_come[size] += 1
    return tuple(replace(layer, block=blocks.get(layer.name, 1)) for layer in layers)


def _orders(graph: Graph, wide: tuple[Layer, ...]) -> Mapping[str, npt.NDArray[np.intp]]:
    """Return for each dense convolution which old channel each new one is, or _SPARE.

    A channel goes to a place that the new shuffles bring to the same half as the old ones brought it.
    """
    old_fate, new_fate = _fates(graph.layers), _fates(wide)
    sizes = {layer.name: layer.channels for layer in graph.layers if layer.kind == "conv"}
    orders = {}
    for layer in wide:
        if layer.kind == "conv" and layer.groups == 1:
            order = np.full(layer.channels, _SPARE)
            free = defaultdict(list)
            for place in range(layer.channels):
                free[new_fate.get((layer.name, place))].append(place)
            for channel in range(sizes[layer.name]):
                order[free[old_fate.get((layer.name, channel))].pop(0)] = channel
            orders[layer.name] = order
    return orders


def _fates(layers: Iterable[Layer]) -> Mapping[_Slot, str]:
    """Return which halving sends a channel to the branch that is worked on; some are sent by none."""
    where: dict[str, list[_Slot]] = {"in0": [("in0", i) for i in range(3)]}
    fates: dict[_Slot, str] = {}
    for layer in layers:
        values = _routed(layer, [where[name] for name in layer.inputs])
        if layer.kind == "halves":
            fates |= dict.fromkeys(values[1], layer.name)
        where |= dict(zip(layer.outputs, values, strict=True))
    return fates


def _routed(layer: Layer, inputs: list[list[_Slot]]) -> list[list[_Slot]]:
    """Return what channels a layer's outputs carry."""
    first = inputs[0]
    if layer.kind == "conv":
        # A branch ends in a dense convolution: what a depthwise one gives is never routed by a shuffle.
        return [[(layer.name, i) for i in range(layer.channels)]]
    if layer.kind == "concat":
        return [[slot for part in inputs for slot in part]]
    if layer.kind == "halves":
        half = len(first) // 2
        return [first[:half], first[half:]]
    if layer.kind == "shuffle":
        order = np.arange(len(first)).reshape(2, -1, layer.block).transpose(1, 0, 2).ravel()
        return [[first[i] for i in order]]
    return [first]


class _Rewriter:
    """Carries weights over, following each old channel to its new place."""

    def __init__(
        self,
        graph: Graph,
        wide: tuple[Layer, ...],
        orders: Mapping[str, npt.NDArray[np.intp]],
        rng: np.random.Generator,
    ) -> None:
        self._graph, self._wide, self._orders, self._rng = graph, wide, orders, rng
        self._old = {layer.name: layer for layer in graph.layers}
        self._wanted = self._old_routes()

    def run(self) -> Graph:
        weights: dict[str, Floats] = {}
        biases: dict[str, Floats] = {}
        where: dict[str, list[_Slot]] = {"in0": [("in0", i) for i in range(3)]}
        for layer in self._wide:
            inputs = [where[name] for name in layer.inputs]
            if layer.kind == "conv":
                weights[layer.name], biases[layer.name], carried = self._convolution(layer, inputs[0])
                where[layer.outputs[0]] = carried
            else:
                where |= dict(zip(layer.outputs, _routed(layer, inputs), strict=True))
        return replace(self._graph, layers=self._wide, weights=weights, biases=biases)

    def _convolution(self, layer: Layer, inputs: list[_Slot]) -> tuple[Floats, Floats, list[_Slot]]:
        kernel, bias = self._graph.weights[layer.name], self._graph.biases[layer.name]
        wanted = self._wanted[layer.name]
        places = {slot: i for i, slot in enumerate(wanted)}
        sources = np.array([places.get(slot, _SPARE) for slot in inputs])
        if layer.groups > 1:
            new = self._spread(kernel, sources, self._noise((layer.channels, *kernel.shape[1:])))
            carried = [(layer.name, int(i)) for i in sources]
            return new, self._spread(bias, sources, np.zeros(layer.channels, np.float32)), carried
        if int((sources != _SPARE).sum()) != len(wanted):
            missed = len(wanted) - int((sources != _SPARE).sum())
            raise AssertionError(f"{layer.name}: {missed} of {len(wanted)} channels went astray")
        order = self._orders[layer.name]
        aligned = np.zeros((len(kernel), len(inputs), *kernel.shape[2:]), np.float32)
        aligned[:, sources != _SPARE] = kernel[:, sources[sources != _SPARE]]
        new = self._spread(aligned, order, self._noise((layer.channels, *aligned.shape[1:])))
        carried = [(layer.name, int(i)) for i in order]
        return new, self._spread(bias, order, np.zeros(layer.channels, np.float32)), carried

    def _old_routes(self) -> Mapping[str, list[_Slot]]:
        """Return the channels that each convolution read, in order."""
        where: dict[str, list[_Slot]] = {"in0": [("in0", i) for i in range(3)]}
        read = {}
        for layer in self._graph.layers:
            inputs = [where[name] for name in layer.inputs]
            if layer.kind == "conv":
                read[layer.name] = inputs[0]
            where |= dict(zip(layer.outputs, _routed(layer, inputs), strict=True))
        return read

    def _noise(self, shape: tuple[int, ...]) -> Floats:
        fan_in = int(np.prod(shape[1:]))
        return (self._rng.standard_normal(shape) * (1.0 / fan_in) ** 0.5).astype(np.float32)

    @staticmethod
    def _spread(values: Floats, order: npt.NDArray[np.intp], spare: Floats) -> Floats:
        """Return `values[order]`, with `spare`'s rows where the order says _SPARE."""
        taken = order != _SPARE
        spare[taken] = values[order[taken]]
        return spare
