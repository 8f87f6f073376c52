"""Raw anchor-free maps to detections: threshold as quantized, dequantize what is left, suppress doubles."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.vision.card import (
    UNUSED,
    Card,
    GridLayout,
    ModelDtypeWrong,
    ModelLabelsWrong,
    ModelShapeWrong,
    Term,
)
from edge.vision.interpreter import Array, Tensor
from edge.vision.types import Box, Detection

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

MAX_CANDIDATES = 256
"""Cells that go into non-maximum suppression, the best of them all: the bound of its time."""


class Channels:
    """Some channels of one output, which it can compare and dequantize.

    Of an 8-bit tensor each value has one meaning of 256, kept in a table: dequantizing is one look-up.
    """

    def __init__(self, tensor: Tensor, index: int, columns: slice, activation: str, *, score: bool) -> None:
        """Take a score's `activation`; a score is kept in 0–1, a box term is not."""
        self._index = index
        self._channels = tensor.shape[-1]
        self._columns = columns
        self._sigmoid = activation == "sigmoid"
        self._score = score
        self._dtype = np.dtype(tensor.dtype)
        self._table: Floats | None = None
        if self._dtype.itemsize == 1:
            self._lowest = int(np.iinfo(self._dtype).min)
            steps = np.arange(self._lowest, self._lowest + 256) - tensor.zero_point
            self._table = self._active(steps.astype(np.float32) * np.float32(tensor.scale))

    def raw(self, outputs: Sequence[Array]) -> Array:
        """Return the channels as the model gave them: (cells, channels) of the tensor's dtype, a view."""
        return outputs[self._index].reshape(-1, self._channels)[:, self._columns]

    def values(self, raw: Array) -> Floats:
        """Return what raw values mean: dequantized and activated, the same shape."""
        if self._table is None:
            return self._active(raw)
        return self._table[raw.astype(np.intp) - self._lowest]

    def raw_least(self, least: Floats) -> Array:
        """Return the raw values below which none means `least` or more, in the tensor's dtype.

        A raw value at or above it may still mean less: ask `values`.
        """
        if self._table is not None:
            place = np.searchsorted(self._table, least)  # the table rises, as a scale is above 0
            return (np.minimum(place, 255) + self._lowest).astype(self._dtype)
        if self._sigmoid:
            bounded = np.clip(least.astype(np.float64), 1e-9, 1.0 - 1e-9)
            return (np.log(bounded / (1.0 - bounded)) - 1e-3).astype(np.float32)
        return least

    def _active(self, values: Floats) -> Floats:
        if not self._sigmoid:
            return np.clip(values, np.float32(0.0), np.float32(1.0)) if self._score else values
        # exp of more than 80 overflows float32's square; there the sigmoid is 0 to the last bit that matters.
        return np.float32(1.0) / (np.float32(1.0) + np.exp(-np.maximum(values, np.float32(-80.0))))


class _Map:
    """The cells of all strides, or of one stride, and where their terms are."""

    def __init__(
        self,
        boxes: Channels,
        classes: Channels,
        objectness: Channels | None,
        points: Floats,
        thresholds: Floats,
    ) -> None:
        self.boxes, self.points = boxes, points
        self._classes, self._objectness = classes, objectness
        self._thresholds = thresholds
        # One number for all labels compares about three times as fast as a row of them.
        row = classes.raw_least(thresholds)
        self._raw_least = row[0] if bool((row == row[0]).all()) else row
        if objectness is not None:
            self._raw_least_object = objectness.raw_least(thresholds.min(keepdims=True))[0]

    def candidates(self, outputs: Sequence[Array]) -> tuple[Ints, Ints, Floats]:
        """Return cell, label and score, (n,) each, of all that reach their label's threshold."""
        classes = self._classes.raw(outputs)
        if self._objectness is None:
            cells, labels = divmod(np.flatnonzero(classes >= self._raw_least), classes.shape[1])
            scores = self._classes.values(classes[cells, labels])
        else:
            # A class score is at most 1, so a cell whose objectness is too low is out whatever its class.
            objectness = self._objectness.raw(outputs)[:, 0]
            alive = np.flatnonzero(objectness >= self._raw_least_object)
            rows = classes[alive]
            at, labels = divmod(np.flatnonzero(rows >= self._raw_least), classes.shape[1])
            cells = alive[at]
            scores = self._classes.values(rows[at, labels]) * self._objectness.values(objectness[cells])
        kept = np.flatnonzero(scores >= self._thresholds[labels])
        if len(kept) > MAX_CANDIDATES:
            kept = kept[np.argpartition(-scores[kept], MAX_CANDIDATES)[:MAX_CANDIDATES]]
        return cells[kept], labels[kept], scores[kept]


class GridDecoder:
    """Reads the outputs that a `GridLayout` describes. See edge.vision.decode.Decoder."""

    def __init__(self, card: Card, layout: GridLayout, outputs: tuple[Tensor, ...]) -> None:
        self._labels = card.labels
        self._layout = layout
        self._size_px = np.array([card.input.width_px, card.input.height_px] * 2, np.float32)
        thresholds = np.array(
            [np.inf if label == UNUSED else card.threshold_of(label) for label in card.labels], np.float32
        )
        size_px = (card.input.width_px, card.input.height_px)
        points = [_points(stride, size_px, layout.origin) for stride in layout.strides]
        if len(layout.boxes.tensors) == 1:
            points = [np.concatenate(points)]
        self._maps = []
        for i, cells in enumerate(points):
            boxes = _channels(card, layout, layout.boxes, i, len(cells), 4 * layout.bins, outputs)
            classes = _channels(card, layout, layout.classes, i, len(cells), len(card.labels), outputs)
            objectness = None
            if layout.objectness is not None:
                objectness = _channels(card, layout, layout.objectness, i, len(cells), 1, outputs)
            self._maps.append(_Map(boxes, classes, objectness, cells, thresholds))

    def __call__(self, outputs: Sequence[Array]) -> tuple[Detection, ...]:
        """Return the detections of one invocation, best first, boxes in 0–1 of the input."""
        found = []
        for part in self._maps:
            cells, labels, scores = part.candidates(outputs)
            if len(cells):
                terms = part.boxes.values(part.boxes.raw(outputs)[cells])
                found.append((self._boxes(terms, part.points[cells]), labels, scores))
        if not found:
            return ()
        boxes, labels, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = nms(boxes, labels, scores, self._layout.nms_iou, self._layout.max_detections)
        return tuple(
            Detection(self._labels[label], score, Box(*box))
            for label, score, box in zip(
                labels[kept].tolist(), scores[kept].tolist(), boxes[kept].tolist(), strict=True
            )
        )

    def _boxes(self, terms: Floats, points: Floats) -> Floats:
        """Turn box terms (n, 4 · bins) at points (n, 3: x, y, stride) into x0 y0 x1 y1, (n, 4) in 0–1."""
        # A model gone mad may say anything; what is no box then falls to the clip and to `nms`.
        with np.errstate(over="ignore", invalid="ignore"):
            corners = self._corners(terms, points)
        boxes: Floats = np.clip(corners / self._size_px, np.float32(0.0), np.float32(1.0))
        return boxes

    def _corners(self, terms: Floats, points: Floats) -> Floats:
        """Return x0 y0 x1 y1 in input pixels, (n, 4)."""
        centre, stride = points[:, :2], points[:, 2:]
        if self._layout.coding == "xywh-exp":
            centre = centre + terms[:, :2] * stride
            half = np.exp(np.minimum(terms[:, 2:], np.float32(16.0))) * stride * np.float32(0.5)
            return np.concatenate([centre - half, centre + half], axis=1)
        distances = terms if self._layout.bins == 1 else _expectation(terms.reshape(len(terms), 4, -1))
        distances = distances * stride
        corners: Floats = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1)
        return corners


def nms(boxes: Floats, labels: Ints, scores: Floats, iou: float, limit: int) -> list[int]:
    """Return the indexes of at most `limit` boxes, best first, no two of a label overlapping more than `iou`.

    boxes (n, 4) as x0 y0 x1 y1; labels (n,); scores (n,). Empty boxes are never kept. Greedy, on the best
    MAX_CANDIDATES.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    x0, y0, x1, y1 = boxes[order].T
    areas = np.maximum(x1 - x0, 0.0) * np.maximum(y1 - y0, 0.0)
    width = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    height = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    # shared / union > iou, without the division by an empty union
    covers = (shared > iou * (areas[:, None] + areas - shared)) & (labels[order][:, None] == labels[order])
    alive = areas > 0.0
    kept = []
    for i in range(len(order)):
        if alive[i]:
            kept.append(int(order[i]))
            if len(kept) == limit:
                break
            alive &= ~covers[i]
    return kept


def _expectation(logits: Floats) -> Floats:
    """Return the mean bin under a softmax over the last axis: (n, 4, bins) to (n, 4)."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    bins = np.arange(logits.shape[-1], dtype=np.float32)
    mean: Floats = (weights @ bins) / weights.sum(axis=-1)
    return mean


def _points(stride: int, size_px: tuple[int, int], origin: float) -> Floats:
    """Return a stride's reference points, row-major: (cells, 3) as x, y in input pixels and the stride."""
    cols, rows = -(-size_px[0] // stride), -(-size_px[1] // stride)
    y, x = np.mgrid[:rows, :cols].reshape(2, -1)
    points = [(x + origin) * stride, (y + origin) * stride, np.full(len(x), stride)]
    return np.stack(points, axis=1).astype(np.float32)


def _channels(
    card: Card,
    layout: GridLayout,
    term: Term,
    part: int,
    cells: int,
    wanted: int,
    outputs: tuple[Tensor, ...],
) -> Channels:
    """Return a term's channels in its `part`th tensor, checked against the model's outputs."""
    name = term.tensors[part]
    index = next((i for i, tensor in enumerate(outputs) if tensor.name == name), None)
    if index is None:
        raise ModelShapeWrong(
            f"{card.file}: wanted an output {name}, got {[tensor.name for tensor in outputs]}"
        )
    tensor = outputs[index]
    if tensor.dtype not in ("float32", "int8", "uint8") or (
        tensor.dtype != "float32" and tensor.scale <= 0.0
    ):
        got = f"{tensor.dtype} of scale {tensor.scale}"
        raise ModelDtypeWrong(
            f"{card.file}: output {name}: wanted float32, or int8 or uint8 with a scale, got {got}"
        )
    if len(tensor.shape) not in (3, 4) or tensor.shape[0] != 1 or int(np.prod(tensor.shape[:-1])) != cells:
        raise ModelShapeWrong(f"{card.file}: output {name}: wanted {cells} cells, got shape {tensor.shape}")
    others = [
        other.first for other in layout.terms if other.tensors[part] == name and other.first > term.first
    ]
    end = min([*others, tensor.shape[-1]])
    if end - term.first != wanted:
        error = ModelLabelsWrong if term is layout.classes else ModelShapeWrong
        got = f"{max(0, end - term.first)} (shape {tensor.shape}, first {term.first})"
        raise error(f"{card.file}: output {name}: wanted {wanted} channels, got {got}")
    is_score = term is not layout.boxes
    return Channels(tensor, index, slice(term.first, end), term.activation, score=is_score)
