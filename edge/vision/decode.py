"""From a model's outputs to detections in 0–1 of its input. `grid` maps are read in edge/vision/grid.py."""

import math
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal, Protocol

from edge.vision.card import UNUSED, Card, ModelDtypeWrong, ModelLabelsWrong, ModelShapeWrong, SsdLayout
from edge.vision.grid import GridDecoder
from edge.vision.interpreter import Array, Tensor
from edge.vision.types import Box, Detection

_Role = Literal["boxes", "classes", "scores", "count"]
_ROLES: tuple[_Role, ...] = ("boxes", "classes", "scores", "count")  # the op's order


class Decoder(Protocol):
    """Reads one invocation's outputs."""

    def __call__(self, outputs: Sequence[Array]) -> tuple[Detection, ...]:
        """Return detections at or above their label's threshold, best first, boxes in 0–1 of the input."""
        ...


def make_decoder(
    card: Card, outputs: tuple[Tensor, ...], inner_shapes: frozenset[tuple[int, ...]]
) -> Decoder:
    """Return the decoder of a card's layout.

    Raises ModelShapeWrong, ModelDtypeWrong or ModelLabelsWrong where the outputs are not what the card says.
    """
    if isinstance(card.layout, SsdLayout):
        return SsdDecoder(card, card.layout, outputs, inner_shapes)
    return GridDecoder(card, card.layout, outputs)


class SsdDecoder:
    """Reads the four outputs of TFLite_Detection_PostProcess.

    boxes float32 (1, n, 4) as y0 x0 y1 x1 in 0–1 of the input; classes float32 (1, n), background not
    counted; scores float32 (1, n); count float32 (1,): how many of the n are real.
    """

    def __init__(
        self,
        card: Card,
        layout: SsdLayout,
        outputs: tuple[Tensor, ...],
        inner_shapes: frozenset[tuple[int, ...]],
    ) -> None:
        if wrong := [tensor for tensor in outputs if tensor.dtype != "float32"]:
            raise ModelDtypeWrong(
                f"{card.file}: output {wrong[0].name}: wanted float32, got {wrong[0].dtype}"
            )
        named = dict(layout.outputs) or _by_convention(card, outputs)
        self._boxes, self._classes, self._scores, self._count = _indexes(card, outputs, named)
        _check_class_count(card, layout, outputs[self._boxes], inner_shapes)
        self._offset = layout.class_offset
        self._labels = card.labels
        # An unused id never reaches its threshold.
        self._thresholds = [
            math.inf if label == UNUSED else card.threshold_of(label) for label in card.labels
        ]
        self._least = min(self._thresholds)

    def __call__(self, outputs: Sequence[Array]) -> tuple[Detection, ...]:
        """Return the detections of one invocation. See `Decoder`."""
        scores = outputs[self._scores][0].tolist()
        count = int(outputs[self._count].item())
        picked = [i for i, score in enumerate(scores[:count]) if score >= self._least]
        if not picked:
            return ()
        boxes, classes = outputs[self._boxes][0].tolist(), outputs[self._classes][0].tolist()
        found = []
        for i in picked:
            label = int(classes[i]) + self._offset
            if not 0 <= label < len(self._labels):
                raise ModelLabelsWrong(
                    f"wanted a class below {len(self._labels)}, as the card has labels, got {label}"
                )
            if scores[i] >= self._thresholds[label]:
                y0, x0, y1, x1 = [0.0 if side < 0.0 else min(side, 1.0) for side in boxes[i]]
                if x0 < x1 and y0 < y1:
                    found.append(Detection(self._labels[label], min(scores[i], 1.0), Box(x0, y0, x1, y1)))
        found.sort(key=_score, reverse=True)
        return tuple(found)


_score = attrgetter("score")


def _by_convention(card: Card, outputs: tuple[Tensor, ...]) -> dict[_Role, str]:
    """Tell the four outputs apart.

    Shapes tell boxes and count; scores and classes share one. Converters number the names in the op's order
    (boxes, classes, scores, count: no number, `:1`, `:2`, `:3`, or `:31` to `:34`) or in its reverse (`:3` to
    `:0`). A model of neither kind names them in the card.
    """
    if len(outputs) != 4:
        raise ModelShapeWrong(f"{card.file}: wanted the 4 outputs of ssd-postprocess, got {len(outputs)}")
    order = sorted(outputs, key=lambda tensor: _number(tensor.name))
    if len(order[0].shape) != 3:
        order.reverse()
    return dict(zip(_ROLES, [tensor.name for tensor in order], strict=True))


def _number(name: str) -> int:
    match = re.search(r":(\d+)$", name)
    return int(match[1]) if match else -1


def _indexes(card: Card, outputs: tuple[Tensor, ...], named: dict[_Role, str]) -> tuple[int, int, int, int]:
    """Return the indexes of boxes, classes, scores and count, their shapes checked."""
    names = [tensor.name for tensor in outputs]
    if absent := sorted(set(named.values()) - set(names)):
        raise ModelShapeWrong(f"{card.file}: layout.outputs: wanted names of {names}, got {absent}")
    boxes, classes, scores, count = [
        names.index(named[key]) for key in ("boxes", "classes", "scores", "count")
    ]
    shape = outputs[boxes].shape
    n = shape[1] if len(shape) == 3 else 0
    for index, wanted in ((boxes, (1, n, 4)), (classes, (1, n)), (scores, (1, n)), (count, (1,))):
        if outputs[index].shape != wanted:
            got = {tensor.name: tensor.shape for tensor in outputs}
            raise ModelShapeWrong(f"{card.file}: wanted outputs (1, n, 4), (1, n), (1, n), (1,), got {got}")
    return boxes, classes, scores, count


def _check_class_count(
    card: Card, layout: SsdLayout, boxes: Tensor, inner_shapes: frozenset[tuple[int, ...]]
) -> None:
    """Check the number of labels against the op's own inputs: boxes (1, anchors, 4), classes (1, anchors, c).

    c may count the background or not. A graph that shows no such pair is taken at the card's word.
    """
    maps = {
        shape for shape in inner_shapes if len(shape) == 3 and shape[0] == 1 and shape[1] > boxes.shape[1]
    }
    anchors = {shape[1] for shape in maps if shape[2] == 4}
    counts = {shape[2] for shape in maps if shape[1] in anchors and shape[2] != 4}
    ids = len(card.labels) - layout.class_offset
    if len(counts) == 1 and (c := counts.pop()) not in (ids, ids + 1):
        raise ModelLabelsWrong(f"{card.file}: wanted labels for its {c - 1} classes, got {ids} in the card")
