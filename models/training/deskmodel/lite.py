"""The graph as a TFLite file: float, or int8 from the ranges that training learned."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

from deskmodel.graph import Floats, Graph, Layer, quantization_groups, raw

Ranges = Mapping[str, tuple[float, float]]
"""The least and greatest value of each tensor, or group of tensors, in training."""

_Mark = Callable[[Any, str], Any]


def float_model(graph: Graph, size_px: tuple[int, int]) -> bytes:
    """Return the float model: pixels float32 (1, height, width, 3) in 0–1."""
    return _converter(graph, size_px, lambda tensor, _name: tensor, kernels=_as_they_are).convert()


def int8_model(graph: Graph, size_px: tuple[int, int], ranges: Ranges) -> bytes:
    """Return the int8 model: pixels uint8 (1, height, width, 3), each map int8 at a scale of its own."""
    groups = quantization_groups(graph)

    def mark(tensor: Any, name: str) -> Any:
        least, most = ranges[groups[name]]
        return tf.quantization.fake_quant_with_min_max_vars(tensor, least, most, num_bits=8)

    converter = _converter(graph, size_px, mark, kernels=_fake_quantized)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    return converter.convert()


def _as_they_are(kernel: Floats) -> Any:
    return tf.constant(kernel)


def _fake_quantized(kernel: Floats) -> Any:
    bound = np.maximum(np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0), 1e-6).astype(np.float32)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        tf.constant(kernel), -bound, bound, num_bits=8, narrow_range=True
    )


def _converter(graph: Graph, size_px: tuple[int, int], mark: _Mark, kernels: Callable[[Floats], Any]) -> Any:
    width, height = size_px

    @tf.function(input_signature=[tf.TensorSpec((1, height, width, 3), tf.float32, name="image")])
    def run(image: Any) -> dict[str, Any]:
        values = {"in0": mark(image, "in0")}
        for layer in graph.layers:
            _run(layer, values, graph, mark, kernels)
        return {name: values[name] for name in (*graph.classes, *graph.boxes)}

    module = tf.Module()
    module.run = run
    return tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], module)


def _run(
    layer: Layer,
    values: dict[str, Any],
    graph: Graph,
    mark: _Mark,
    kernels: Callable[[Floats], Any],
) -> None:
    first, *others = (values[name] for name in layer.inputs)
    if layer.kind == "halves":
        for name, half in zip(layer.outputs, tf.split(first, 2, axis=-1), strict=True):
            values[name] = mark(half, name)
        return
    (output,) = layer.outputs
    if layer.kind == "conv":
        result = _convolve(first, layer, graph, kernels)
    elif layer.kind == "maxpool":
        result = tf.nn.max_pool2d(first, 3, 2, "VALID")
    elif layer.kind == "concat":
        result = tf.concat([first, *others], axis=-1)
    elif layer.kind == "shuffle":
        rows, cols, channels = first.shape[1:]
        blocks = tf.reshape(first, (rows * cols, 2, channels // 2 // layer.block, layer.block))
        result = tf.reshape(tf.transpose(blocks, (0, 2, 1, 3)), (1, rows, cols, channels))
    elif layer.kind == "upsample":
        rows, cols = first.shape[1:3]
        result = tf.compat.v1.image.resize_bilinear(first, (2 * rows, 2 * cols), half_pixel_centers=True)
    else:
        result = first + others[0]
    if layer.leaky:
        result = tf.nn.leaky_relu(mark(result, raw(layer)), layer.slope)
    values[output] = mark(result, output)


def _convolve(x: Any, layer: Layer, graph: Graph, kernels: Callable[[Floats], Any]) -> Any:
    kernel = graph.weights[layer.name]
    padding = "SAME"
    if layer.inputs == ("in0",):
        x, padding = _pad(x, 3, 0), "VALID"  # for the pool after it too: see DeskNet
    elif layer.stride == 2 and any(side % 2 == 0 for side in x.shape[1:3]):
        # TensorFlow's SAME would pad an even side at its end only.
        x, padding = _pad(x, layer.kernel // 2, layer.kernel // 2), "VALID"
    if layer.groups == 1:
        result = tf.nn.conv2d(x, kernels(kernel.transpose(2, 3, 1, 0)), layer.stride, padding)
    else:
        strides = (1, layer.stride, layer.stride, 1)
        # (channels, 1, k, k) to (k, k, channels, 1)
        result = tf.nn.depthwise_conv2d(x, kernels(kernel.transpose(2, 3, 0, 1)), strides, padding)
    return tf.nn.bias_add(result, graph.biases[layer.name])


def _pad(x: Any, before: int, after: int) -> Any:
    return tf.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
