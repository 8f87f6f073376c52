"""The graph as a PyTorch module, plain or with the rounding that int8 will bring."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from deskmodel.graph import BINS, STRIDES, Floats, Graph, Layer, quantization_groups, raw


class Maps(NamedTuple):
    """What the network says of n pictures: the cells of all strides, row by row, the finest stride first."""

    classes: Tensor
    """Logits (n, cells, labels)."""
    boxes: Tensor
    """Logits (n, cells, 4, BINS): left, top, right, bottom."""


class DeskNet(nn.Module):
    """Runs a graph. Convolutions have no batch normalisation: it is folded into them from the start."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.weights = nn.ParameterDict({name: _tensor(w) for name, w in graph.weights.items()})
        self.biases = nn.ParameterDict({name: _tensor(b) for name, b in graph.biases.items()})
        self.rounding: Rounding | None = None

    def forward(self, pixels: Tensor) -> Maps:
        """Take RGB in 0–1, (n, 3, height, width), sides that are multiples of 32."""
        values = self.run(pixels)
        classes = [values[name].flatten(2).transpose(1, 2) for name in self.graph.classes]
        boxes = [values[name].flatten(2).transpose(1, 2) for name in self.graph.boxes]
        flat = torch.cat(boxes, dim=1)
        return Maps(torch.cat(classes, dim=1), flat.reshape(*flat.shape[:2], 4, BINS))

    def run(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return every tensor of the graph by its name, each (n, channels, rows, cols)."""
        values = {"in0": self._rounded("in0", pixels)}
        for layer in self.graph.layers:
            if layer.kind == "halves":
                values |= dict(zip(layer.outputs, values[layer.inputs[0]].chunk(2, dim=1), strict=True))
            else:
                result = self._layer(layer, [values[name] for name in layer.inputs])
                if layer.leaky:
                    result = functional.leaky_relu(self._rounded(raw(layer), result), layer.slope)
                values[layer.outputs[0]] = self._rounded(layer.outputs[0], result)
        return values

    def exported(self) -> Graph:
        """Return the graph with the weights as they are now."""
        return Graph(
            self.graph.layers,
            {name: w.detach().numpy().copy() for name, w in self.weights.items()},
            {name: b.detach().numpy().copy() for name, b in self.biases.items()},
            self.graph.classes,
            self.graph.boxes,
        )

    def _layer(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        first = inputs[0]
        if layer.kind == "conv":
            return self._convolve(layer, first)
        if layer.kind == "maxpool":
            return functional.max_pool2d(first, 3, 2)
        if layer.kind == "concat":
            return torch.cat(inputs, dim=1)
        if layer.kind == "shuffle":
            n, channels, rows, cols = first.shape
            blocks = first.view(n, 2, channels // 2 // layer.block, layer.block, rows, cols)
            return blocks.transpose(1, 2).reshape(n, channels, rows, cols)
        if layer.kind == "upsample":
            return functional.interpolate(first, scale_factor=2, mode="bilinear", align_corners=False)
        return first + inputs[1]

    def _convolve(self, layer: Layer, x: Tensor) -> Tensor:
        weight = self.weights[layer.name]
        if self.rounding is not None:
            weight = self.rounding.weight(weight)
        pad = layer.kernel // 2
        if x is not None and layer.inputs == ("in0",):
            # The stem: what its convolution and its pool pad is padded once, before it, with black.
            x, pad = functional.pad(x, (3, 0, 3, 0)), 0
        return functional.conv2d(x, weight, self.biases[layer.name], layer.stride, pad, 1, layer.groups)

    def _rounded(self, name: str, values: Tensor) -> Tensor:
        return values if self.rounding is None else self.rounding.tensor(name, values)


class Rounding(nn.Module):
    """Rounds as int8 will: weights to 255 levels a channel, tensors to 256 levels of their range.

    Ranges follow the batches until `frozen`; gradients pass wherever a value was in range.
    """

    def __init__(self, graph: Graph, momentum: float = 0.98) -> None:
        super().__init__()
        self._groups = quantization_groups(graph)
        self._index = {group: i for i, group in enumerate(sorted(set(self._groups.values())))}
        count = len(self._index)
        self.register_buffer("least", torch.zeros(count))
        self.register_buffer("most", torch.zeros(count))
        self._momentum = momentum
        self.observing = False
        """Ranges take in all that they see, as for a calibration set, and nothing is rounded."""
        moves = [layer for layer in graph.layers if layer.kind in _MOVES]
        self._joined = {raw(layer) if layer.leaky else name for layer in moves for name in layer.outputs}
        self.frozen = False

    def weight(self, weight: Tensor) -> Tensor:
        """Round a convolution's weights, (out, in / groups, k, k)."""
        scale = weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-6) / 127.0
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)

    def tensor(self, name: str, values: Tensor) -> Tensor:
        """Round a tensor of the graph. One that only moves rounded values is left as it is."""
        if name in self._joined:
            return values
        at = self._index[self._groups[name]]
        if self.observing:
            self.least[at] = torch.minimum(self.least[at], values.detach().amin())
            self.most[at] = torch.maximum(self.most[at], values.detach().amax())
            return values
        if not self.frozen and self.training:
            self._follow(at, values.detach())
        least, most = float(self.least[at]), float(self.most[at])
        scale = max(most - least, 1e-6) / 255.0
        zero = round(-least / scale)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)

    def _follow(self, at: int, values: Tensor) -> None:
        # Zero has to be in range: it is what pads.
        least, most = values.amin().clamp_max(0.0), values.amax().clamp_min(0.0)
        if float(self.most[at]) == float(self.least[at]):
            self.least[at], self.most[at] = least, most
        # Several tensors share a range: it widens for each, and comes back slowly.
        self.least[at] += (least - self.least[at]) * self._pace(least < self.least[at])
        self.most[at] += (most - self.most[at]) * self._pace(most > self.most[at])

    def _pace(self, wider: Tensor) -> float:
        return 1.0 - self._momentum if bool(wider) else 0.1 * (1.0 - self._momentum)

    @property
    def learned(self) -> bool:
        """Return whether every group has a range."""
        return bool((self.most > self.least).all())

    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Return the range of each group of tensors."""
        return {group: (float(self.least[i]), float(self.most[i])) for group, i in self._index.items()}


_MOVES = ("halves", "concat", "shuffle", "maxpool")


def points(size_px: tuple[int, int]) -> Tensor:
    """Return every cell's reference point, (cells, 3): x and y in pixels, and the stride."""
    parts = []
    for stride in STRIDES:
        cols, rows = -(-size_px[0] // stride), -(-size_px[1] // stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
        parts.append(torch.stack([x * stride, y * stride, torch.full_like(x, stride)], dim=-1).reshape(-1, 3))
    return torch.cat(parts).float()


def distances(boxes: Tensor) -> Tensor:
    """Return the mean bin of each side, in strides: (..., 4, BINS) to (..., 4)."""
    return boxes.softmax(dim=-1) @ torch.arange(BINS, dtype=boxes.dtype)


def corners(boxes: Tensor, at: Tensor) -> Tensor:
    """Return x0 y0 x1 y1 in pixels, (n, cells, 4), of box logits (n, cells, 4, BINS) at points (cells, 3)."""
    reach = distances(boxes) * at[:, 2:]
    return torch.cat([at[:, :2] - reach[..., :2], at[:, :2] + reach[..., 2:]], dim=-1)


def _tensor(values: Floats) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.copy()))
