"""The widened network is the same function as the one that was found."""

import numpy as np
import pytest

from deskmodel.graph import Graph, Layer, quantization_groups
from deskmodel.widen import widen

HALF = 58
UNITS = 5


def convolution(name: str, source: str, *, channels: int = HALF, depthwise: bool = False) -> Layer:
    groups = channels if depthwise else 1
    kernel = 3 if depthwise else 1
    slope = 1.0 if depthwise else 0.1
    return Layer(
        "conv",
        name,
        (source,),
        (f"{name}:out",),
        kernel=kernel,
        groups=groups,
        channels=channels,
        slope=slope,
    )


def shufflenet(seed: int) -> Graph:
    """A stage of ShuffleNet: two branches, then units that work on one half each, then a reader of all."""
    layers = [convolution("left", "in0"), convolution("right", "in0")]
    layers += [
        Layer("concat", "cat0", ("left:out", "right:out"), ("c0",)),
        Layer("shuffle", "s0", ("c0",), ("t0",)),
    ]
    for i in range(UNITS):
        layers += [
            Layer("halves", f"h{i}", (f"t{i}",), (f"a{i}", f"b{i}")),
            convolution(f"in{i + 1}", f"b{i}"),
            convolution(f"deep{i}", f"in{i + 1}:out", depthwise=True),
            convolution(f"out{i}", f"deep{i}:out"),
            Layer("concat", f"cat{i + 1}", (f"a{i}", f"out{i}:out"), (f"c{i + 1}",)),
            Layer("shuffle", f"s{i + 1}", (f"c{i + 1}",), (f"t{i + 1}",)),
        ]
    layers.append(convolution("reader", f"t{UNITS}", channels=96))
    rng = np.random.default_rng(seed)
    weights, biases = {}, {}
    sizes = {"in0": 3, f"t{UNITS}": 2 * HALF}
    for layer in layers:
        if layer.kind == "conv":
            fan = 1 if layer.groups > 1 else sizes.get(layer.inputs[0], HALF)
            weights[layer.name] = rng.normal(
                0, 0.3, (layer.channels, fan, layer.kernel, layer.kernel)
            ).astype(np.float32)
            biases[layer.name] = rng.normal(0, 0.3, layer.channels).astype(np.float32)
    return Graph(tuple(layers), weights, biases, ("reader:out",), ())


def run(graph: Graph, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor, (channels, rows, cols)."""
    values = {"in0": pixels}
    for layer in graph.layers:
        first, *others = (values[name] for name in layer.inputs)
        if layer.kind == "halves":
            values |= dict(zip(layer.outputs, np.split(first, 2), strict=True))
            continue
        if layer.kind == "conv":
            result = convolved(first, layer, graph)
        elif layer.kind == "concat":
            result = np.concatenate([first, *others])
        else:
            blocks = first.reshape(2, -1, layer.block, *first.shape[1:])
            result = blocks.swapaxes(0, 1).reshape(first.shape)
        values[layer.outputs[0]] = result
    return values


def convolved(x: np.ndarray, layer: Layer, graph: Graph) -> np.ndarray:
    kernel, bias = graph.weights[layer.name], graph.biases[layer.name]
    rows, cols = x.shape[1:]
    if layer.groups == 1:
        result = np.einsum("oi,irc->orc", kernel[:, :, 0, 0], x)
    else:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        shifts = [(y, z) for y in range(3) for z in range(3)]
        result = sum(
            kernel[:, 0, y, z, None, None] * padded[:, y : y + rows, z : z + cols] for y, z in shifts
        )
    result = result + bias[:, None, None]
    return np.maximum(result, layer.slope * result)


@pytest.mark.parametrize("seed", range(3))
def test_widening_changes_nothing_that_is_read(seed: int) -> None:
    graph = shufflenet(seed)
    pixels = np.random.default_rng(seed).random((3, 5, 6)).astype(np.float32)
    before, after = run(graph, pixels), run(widen(graph), pixels)
    wanted = before["reader:out"]
    assert np.abs(wanted).max() > 1.0
    np.testing.assert_allclose(after["reader:out"], wanted, rtol=1e-3, atol=1e-3)


def test_halves_are_as_wide_as_computers_like() -> None:
    graph = widen(shufflenet(0))
    channels = {layer.name: layer.channels for layer in graph.layers if layer.kind == "conv"}
    assert channels.pop("reader") == 96
    assert set(channels.values()) == {64}


def test_the_last_shuffle_goes_and_the_others_move_ever_longer_blocks() -> None:
    graph = widen(shufflenet(0))
    assert [layer.block for layer in graph.layers if layer.kind == "shuffle"] == [2, 4, 8, 16, 32]


def test_what_is_joined_or_cut_shares_a_range_and_what_is_computed_has_its_own() -> None:
    groups = quantization_groups(widen(shufflenet(0)))
    assert groups["c1"] == groups["t1"] == groups["a1"] == groups["out0:out"]
    assert groups["in1:out"] != groups["b0"]
    assert groups["deep0:out"] != groups["in1:out"]
