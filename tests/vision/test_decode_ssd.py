"""The ssd-postprocess layout, on outputs written by hand; on real ones in test_detector.py."""

import itertools

import msgspec
import numpy as np
import pytest

from edge.vision.card import (
    Card,
    ModelDtypeWrong,
    ModelLabelsWrong,
    ModelShapeWrong,
    Provenance,
    SsdLayout,
    Threshold,
    load_card,
)
from edge.vision.decode import make_decoder
from edge.vision.interpreter import Tensor
from edge.vision.model_file import find_card
from edge.vision.types import Box, Detection

BOXES, CLASSES, SCORES, COUNT = range(4)
SHAPES = ((1, 5, 4), (1, 5), (1, 5), (1,))
NAMES = tuple(f"TFLite_Detection_PostProcess{suffix}" for suffix in ("", ":1", ":2", ":3"))
GRAPH = frozenset(
    {(1, 1917, 4), (1, 1917, 5), (1917, 4), (1, 5, 4), (1, 5)}
)  # four classes and the background


def card(**changes) -> Card:
    real = load_card(find_card("ssd-mobilenet-v1-coco"))
    return msgspec.structs.replace(
        real,
        **{
            "labels": ("person", "???", "cell phone", "cup"),
            "threshold": Threshold(default=0.5, labels={"cell phone": 0.25}),
            "provenance": Provenance(trained_on="nothing", notices="none"),
            "golden": None,
            **changes,
        },
    )


def tensors(names=NAMES, shapes=SHAPES, dtype="float32") -> tuple[Tensor, ...]:
    return tuple(Tensor(name, shape, dtype) for name, shape in zip(names, shapes, strict=True))


def outputs(*rows, count=None) -> tuple[np.ndarray, ...]:
    """Rows of (class, score, (x0, y0, x1, y1)), filled up to five with what must not be looked at."""
    boxes, classes, scores = np.full((1, 5, 4), 0.5), np.full((1, 5), 99.0), np.full((1, 5), 0.99)
    for i, (label, score, (x0, y0, x1, y1)) in enumerate(rows):
        boxes[0, i], classes[0, i], scores[0, i] = (y0, x0, y1, x1), label, score
    found = (boxes, classes, scores, np.array([len(rows) if count is None else count]))
    return tuple(array.astype(np.float32) for array in found)


def decode(*rows, count=None, with_card=None):
    return make_decoder(with_card or card(), tensors(), GRAPH)(outputs(*rows, count=count))


SOMEWHERE = (0.25, 0.125, 0.75, 0.5)


def test_a_detection_has_its_label_score_and_box_the_right_way_round():
    assert decode((2, 0.75, SOMEWHERE)) == (Detection("cell phone", 0.75, Box(*SOMEWHERE)),)


def test_only_as_many_as_the_count_says_are_real():
    rows = [(0, 0.9, SOMEWHERE), (3, 0.8, SOMEWHERE), (0, 0.7, SOMEWHERE)]
    assert [found.score for found in decode(*rows, count=2)] == pytest.approx([0.9, 0.8])
    assert decode(*rows, count=0) == ()


def test_each_label_has_its_own_threshold_and_unused_ids_none():
    rows = [
        (1, 1.0, SOMEWHERE),
        (0, 0.5, SOMEWHERE),
        (0, 0.498, SOMEWHERE),
        (2, 0.25, SOMEWHERE),
        (2, 0.248, SOMEWHERE),
    ]
    assert [(found.label, found.score) for found in decode(*rows)] == [("person", 0.5), ("cell phone", 0.25)]


def test_boxes_are_clipped_and_empty_or_inverted_ones_dropped():
    rows = [
        (0, 0.9, (-0.25, -1e-7, 1.5, 1.0000001)),
        (0, 0.8, (0.5, 0.5, 0.5, 0.9)),
        (0, 0.7, (0.9, 0.1, 0.2, 0.5)),
        (0, 0.6, (1.1, 0.1, 1.2, 0.5)),
        (0, 0.6, (float("nan"), 0.1, 0.2, 0.5)),
    ]
    assert decode(*rows) == (Detection("person", pytest.approx(0.9), Box(0, 0, 1, 1)),)


def test_the_best_comes_first_and_nan_never():
    rows = [(0, 0.6, SOMEWHERE), (3, float("nan"), SOMEWHERE), (3, 0.9, SOMEWHERE)]
    assert [found.label for found in decode(*rows)] == ["cup", "person"]


def test_the_class_offset_is_added():
    with_card = card(
        layout=SsdLayout(class_offset=1), labels=("background", "person", "???", "cell phone", "cup")
    )
    assert decode((2, 0.9, SOMEWHERE), with_card=with_card)[0].label == "cell phone"


@pytest.mark.parametrize("names", [
    NAMES,
    ("PartitionedCall:31", "PartitionedCall:32", "PartitionedCall:33", "PartitionedCall:34"),
    ("PartitionedCall:3", "PartitionedCall:2", "PartitionedCall:1", "PartitionedCall:0"),
])  # fmt: skip
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_outputs_are_told_apart_in_any_order(names, order):
    shuffled = tuple(tensors(names)[i] for i in order)
    arrays = outputs((2, 0.75, SOMEWHERE))
    decoder = make_decoder(card(), shuffled, GRAPH)
    assert decoder([arrays[i] for i in order]) == (Detection("cell phone", 0.75, Box(*SOMEWHERE)),)


def test_a_card_may_name_the_outputs():
    names = ("c", "b", "d", "a")
    named = {"boxes": "b", "classes": "a", "scores": "d", "count": "c"}
    shuffled = tensors(names, (SHAPES[COUNT], SHAPES[BOXES], SHAPES[SCORES], SHAPES[CLASSES]))
    arrays = outputs((2, 0.75, SOMEWHERE))
    decoder = make_decoder(card(layout=SsdLayout(outputs=named)), shuffled, GRAPH)
    assert decoder([arrays[i] for i in (COUNT, BOXES, SCORES, CLASSES)])[0].label == "cell phone"
    with pytest.raises(ModelShapeWrong, match=r"layout\.outputs.*\['z'\]"):
        make_decoder(card(layout=SsdLayout(outputs={**named, "boxes": "z"})), shuffled, GRAPH)


@pytest.mark.parametrize("shapes", [
    ((1, 5, 5), (1, 5), (1, 5), (1,)),
    ((1, 5, 4), (1, 6), (1, 5), (1,)),
    ((2, 5, 4), (1, 5), (1, 5), (1,)),
    ((1, 5, 4), (1, 5), (1, 5), (1, 5)),
    ((1, 5), (1, 5), (1, 5), (1,)),
])  # fmt: skip
def test_wrong_shapes_are_an_error_that_lists_them(shapes):
    with pytest.raises(ModelShapeWrong, match=r"wanted outputs \(1, n, 4\).* got \{"):
        make_decoder(card(), tensors(shapes=shapes), GRAPH)


def test_another_number_of_outputs_or_another_type_is_an_error():
    with pytest.raises(ModelShapeWrong, match="wanted the 4 outputs of ssd-postprocess, got 2"):
        make_decoder(card(), tensors()[:2], GRAPH)
    with pytest.raises(ModelDtypeWrong, match="wanted float32, got uint8"):
        make_decoder(card(), tensors(dtype="uint8"), GRAPH)


@pytest.mark.parametrize("labels", [("person",), ("person", "???", "cup", "mug", "book", "clock")])
def test_a_wrong_number_of_labels_is_an_error_at_load(labels):
    with pytest.raises(
        ModelLabelsWrong, match=rf"wanted labels for its 4 classes, got {len(labels)} in the card"
    ):
        make_decoder(card(labels=labels, threshold=Threshold(default=0.5)), tensors(), GRAPH)


def test_a_class_without_a_label_is_an_error_where_the_graph_does_not_tell():
    decoder = make_decoder(card(), tensors(), frozenset())
    with pytest.raises(ModelLabelsWrong, match="wanted a class below 4, as the card has labels, got 4"):
        decoder(outputs((4, 0.9, SOMEWHERE)))
