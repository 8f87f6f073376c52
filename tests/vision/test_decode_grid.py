"""The grid layout: known boxes in every coding, quantized against dequantized, NMS against brute force."""

import math
import time

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.vision.card import (
    Card,
    GridLayout,
    InputSpec,
    ModelDtypeWrong,
    ModelLabelsWrong,
    ModelShapeWrong,
    Provenance,
    Term,
    Threshold,
    load_card,
)
from edge.vision.decode import make_decoder
from edge.vision.grid import MAX_CANDIDATES, nms
from edge.vision.interpreter import Tensor
from edge.vision.model_file import find_card
from edge.vision.types import Box

WIDTH, HEIGHT = 128, 64
STRIDES = (8, 32)
CELLS = [(s, row, col) for s in STRIDES for row in range(HEIGHT // s) for col in range(WIDTH // s)]
LABELS = ("person", "???", "cup")


def card(coding="ltrb", bins=1, threshold=0.5, layout=None, labels=LABELS, **grid) -> Card:
    real = load_card(find_card("ssd-mobilenet-v1-coco"))
    grid = {
        "strides": STRIDES,
        "boxes": Term(tensors=("boxes",)),
        "classes": Term(tensors=("classes",)),
        "nms_iou": 0.5,
        **grid,
    }
    return msgspec.structs.replace(
        real,
        labels=labels,
        input=InputSpec(width_px=WIDTH, height_px=HEIGHT, dtype="uint8"),
        layout=GridLayout(coding=coding, bins=bins, **grid),
        threshold=threshold if isinstance(threshold, Threshold) else Threshold(default=threshold),
        provenance=Provenance(trained_on="nothing", notices="none"),
        golden=None,
    )


def encode(coding: str, origin: float, bins: int, stride: int, row: int, col: int, box: tuple) -> np.ndarray:
    """Write a box in input pixels as a cell's box terms: the decoder's definition, turned round."""
    x, y = (col + origin) * stride, (row + origin) * stride
    x0, y0, x1, y1 = box
    if coding == "xywh-exp":
        centre = [((x0 + x1) / 2 - x) / stride, ((y0 + y1) / 2 - y) / stride]
        return np.array([*centre, math.log((x1 - x0) / stride), math.log((y1 - y0) / stride)])
    distances = np.array([x - x0, y - y0, x1 - x, y1 - y]) / stride
    if coding == "ltrb":
        return distances
    logits = np.full((4, bins), -60.0)  # all weight on the two bins around the distance
    for side, distance in enumerate(distances):
        low = int(distance)
        logits[side, low] = math.log(1 - (distance - low) + 1e-12)
        logits[side, low + 1] = math.log(distance - low + 1e-12)
    return logits.ravel()


@pytest.mark.parametrize(("coding", "bins"), [("ltrb", 1), ("ltrb-dfl", 8), ("xywh-exp", 1)])
@pytest.mark.parametrize("origin", [0.0, 0.5])
@pytest.mark.parametrize(("stride", "row", "col"), [(8, 3, 6), (32, 1, 2)])
def test_a_known_box_comes_out_of_every_coding(coding, bins, origin, stride, row, col):
    box = (30.0, 10.0, 90.0, 55.0)
    with_card = card(coding, bins, origin=origin)
    at = CELLS.index((stride, row, col))
    boxes = np.zeros((1, len(CELLS), 4 * bins), np.float32)
    boxes[0, at] = encode(coding, origin, bins, stride, row, col, box)
    classes = np.zeros((1, len(CELLS), 3), np.float32)
    classes[0, at, 2] = 0.75
    tensors = (Tensor("classes", classes.shape, "float32"), Tensor("boxes", boxes.shape, "float32"))
    (found,) = make_decoder(with_card, tensors, frozenset())([classes, boxes])
    assert (found.label, found.score) == ("cup", 0.75)
    wanted = (30 / WIDTH, 10 / HEIGHT, 90 / WIDTH, 55 / HEIGHT)
    assert (found.box.x0, found.box.y0, found.box.x1, found.box.y1) == pytest.approx(wanted, abs=1e-5)


def test_one_tensor_with_all_terms_reads_the_same_as_three():
    """YOLOX's order: four box terms, objectness, classes."""
    random = np.random.default_rng(1)
    whole = random.normal(0, 1, (1, len(CELLS), 8)).astype(np.float32)
    terms = {
        "boxes": Term(tensors=("out",)),
        "objectness": Term(tensors=("out",), first=4, activation="sigmoid"),
        "classes": Term(tensors=("out",), first=5, activation="sigmoid"),
    }
    apart = {
        "boxes": Term(tensors=("boxes",)),
        "objectness": Term(tensors=("objects",), activation="sigmoid"),
        "classes": Term(tensors=("classes",), activation="sigmoid"),
    }
    one = make_decoder(card("xywh-exp", **terms), (Tensor("out", whole.shape, "float32"),), frozenset())
    names = {"boxes": whole[:, :, :4], "objects": whole[:, :, 4:5], "classes": whole[:, :, 5:]}
    tensors = tuple(Tensor(name, array.shape, "float32") for name, array in names.items())
    three = make_decoder(card("xywh-exp", **apart), tensors, frozenset())
    found = one([whole])
    assert len(found) > 5
    assert found == three(list(names.values()))


def test_a_tensor_for_each_stride_reads_the_same_as_one_for_all():
    random = np.random.default_rng(2)
    boxes = random.uniform(0, 3, (1, len(CELLS), 4)).astype(np.float32)
    classes = random.uniform(0, 0.7, (1, len(CELLS), 3)).astype(np.float32)
    tensors = (Tensor("boxes", boxes.shape, "float32"), Tensor("classes", classes.shape, "float32"))
    wanted = make_decoder(card(), tensors, frozenset())([boxes, classes])
    assert len(wanted) > 5
    fine = HEIGHT // 8 * WIDTH // 8
    maps = {
        "b8": boxes[:, :fine].reshape(1, HEIGHT // 8, WIDTH // 8, 4),
        "c32": classes[:, fine:].reshape(1, HEIGHT // 32, WIDTH // 32, 3),
        "c8": classes[:, :fine].reshape(1, HEIGHT // 8, WIDTH // 8, 3),
        "b32": boxes[:, fine:].reshape(1, HEIGHT // 32, WIDTH // 32, 4),
    }
    with_card = card(boxes=Term(tensors=("b8", "b32")), classes=Term(tensors=("c8", "c32")))
    tensors = tuple(Tensor(name, array.shape, "float32") for name, array in maps.items())
    assert make_decoder(with_card, tensors, frozenset())(list(maps.values())) == wanted


@given(
    st.integers(0, 10_000),
    st.sampled_from(["int8", "uint8"]),
    st.floats(0.002, 0.1),
    st.integers(0, 255),
    st.sampled_from(["none", "sigmoid"]),
    st.booleans(),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
)
@settings(deadline=None, max_examples=150)
def test_quantized_thresholding_equals_dequantizing_everything(
    seed, dtype, scale, zero, activation, with_objects, default, cup
):
    random = np.random.default_rng(seed)
    low = np.iinfo(dtype).min
    zero_point = zero + low
    cells = 40  # as many as one stride of 16 has: all fit below the candidate bound
    width, height = 160, 64

    def some(channels, spread):
        centre = random.integers(0, 256)
        values = np.clip(random.normal(centre, spread, (1, cells, channels)), 0, 255).astype(int) + low
        return values.astype(dtype)

    classes, objects = some(3, 60), some(1, 60)
    boxes = random.integers(1, 100, (1, cells, 4)).astype(np.int8)
    terms = {"classes": Term(tensors=("classes",), activation=activation)}
    tensors = [
        Tensor("classes", classes.shape, dtype, scale, zero_point),
        Tensor("boxes", boxes.shape, "int8", 0.01, 0),
    ]
    arrays = [classes, boxes]
    if with_objects:
        terms["objectness"] = Term(tensors=("objects",), activation="sigmoid")
        tensors.append(Tensor("objects", objects.shape, dtype, scale * 2, zero_point))
        arrays.append(objects)
    threshold = Threshold(default=default, labels={"cup": cup})
    with_card = card(threshold=threshold, strides=(16,), nms_iou=1.0, max_detections=256, origin=0.5, **terms)
    with_card = msgspec.structs.replace(
        with_card, input=InputSpec(width_px=width, height_px=height, dtype="uint8")
    )
    found = make_decoder(with_card, tuple(tensors), frozenset())(arrays)

    def meaning(array, step, how):
        values = (array[0].astype(np.float32) - zero_point) * np.float32(step)
        return 1 / (1 + np.exp(-values)) if how == "sigmoid" else np.clip(values, 0, 1)

    scores = meaning(classes, scale, activation)
    if with_objects:
        scores = scores * meaning(objects, scale * 2, "sigmoid")
    least = np.array([default, np.inf, cup], np.float32)
    # A hair's breadth from the threshold the two roundings may differ.
    assume((np.abs(scores - least)[:, ::2] > 1e-6).all())
    wanted = []
    for cell, label in zip(*np.nonzero(scores >= least), strict=True):
        wanted.append((LABELS[label], pytest.approx(float(scores[cell, label]), abs=1e-6)))
    got = sorted(((d.label, d.score) for d in found), key=lambda pair: pair)
    assert got == sorted(wanted, key=lambda pair: (pair[0], pair[1].expected))


def brute_force(boxes, labels, scores, iou, limit):
    """The textbook: take the best, drop what overlaps it, again."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while left and len(kept) < limit:
        best = left.pop(0)
        if Box(*boxes[best]).area <= 0.0:
            continue
        kept.append(best)
        left = [i for i in left if labels[i] != labels[best] or Box(*boxes[i]).iou(Box(*boxes[best])) <= iou]
    return kept


@given(
    st.integers(0, 100_000), st.integers(0, 80), st.integers(1, 4), st.floats(0.05, 1.0), st.integers(1, 100)
)
@settings(deadline=None, max_examples=150)
def test_nms_equals_brute_force(seed, n, classes, iou, limit):
    random = np.random.default_rng(seed)
    # Corners on a coarse lattice: doubled, nested, touching and empty boxes all come up.
    corners = np.sort(random.integers(0, 9, (n, 2, 2)), axis=1) / 8
    boxes = corners.reshape(n, 4).astype(np.float32)
    labels = random.integers(0, classes, n)
    scores = random.permutation(n).astype(np.float32) / max(n, 1)
    iou = float(np.float32(iou) + np.float32(1e-3) * np.float32(0.37))  # off the lattice's own ratios
    assert nms(boxes, labels, scores, iou, limit) == brute_force(boxes.tolist(), labels, scores, iou, limit)


def test_labels_do_not_suppress_each_other():
    box = np.array([[0.1, 0.1, 0.5, 0.5]] * 3, np.float32)
    kept = nms(box, np.array([0, 1, 0]), np.array([0.5, 0.9, 0.7], np.float32), 0.5, 10)
    assert kept == [1, 2]


def test_a_map_that_cries_everywhere_is_bounded_in_number_and_time():
    boxes = np.random.default_rng(3).uniform(0, 0.4, (1, len(CELLS), 4)).astype(np.float32)
    classes = np.random.default_rng(4).uniform(0.9, 1, (1, len(CELLS), 3)).astype(np.float32)
    tensors = (Tensor("boxes", boxes.shape, "float32"), Tensor("classes", classes.shape, "float32"))
    decoder = make_decoder(card(max_detections=20), tensors, frozenset())
    start = time.perf_counter()
    found = decoder([boxes, classes])
    assert time.perf_counter() - start < 0.5
    assert len(found) == 20
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    assert len(CELLS) * 2 > 256 == MAX_CANDIDATES
    best = max(classes[0, :, 0].max(), classes[0, :, 2].max())
    assert found[0].score == pytest.approx(float(best))


def test_values_beyond_all_sense_give_no_invalid_box():
    boxes = np.full((1, len(CELLS), 4), 3e38, np.float32)
    boxes[0, ::3] = np.nan
    boxes[0, 1::3] = -np.inf
    classes = np.full((1, len(CELLS), 3), np.nan, np.float32)
    classes[0, ::2, 0] = 40.0
    classes[0, 1::2, 2] = -3e38
    tensors = (Tensor("boxes", boxes.shape, "float32"), Tensor("classes", classes.shape, "float32"))
    for coding in ("ltrb", "xywh-exp"):
        for activation in ("none", "sigmoid"):
            with_card = card(coding, classes=Term(tensors=("classes",), activation=activation))
            for found in make_decoder(with_card, tensors, frozenset())([boxes, classes]):
                assert found.score == 1.0


GOOD = {
    "boxes": Tensor("boxes", (1, len(CELLS), 4), "float32"),
    "classes": Tensor("classes", (1, len(CELLS), 3), "int8", 0.1),
}


@pytest.mark.parametrize(
    ("tensor", "error", "says"),
    [
        (
            Tensor("boxes", (1, 143, 4), "float32"),
            ModelShapeWrong,
            r"wanted 136 cells, got shape \(1, 143, 4\)",
        ),
        (Tensor("boxes", (136, 4), "float32"), ModelShapeWrong, r"wanted 136 cells, got shape \(136, 4\)"),
        (Tensor("boxes", (1, 136, 32), "float32"), ModelShapeWrong, "boxes: wanted 4 channels, got 32"),
        (Tensor("boxes", (1, 136, 4), "int32"), ModelDtypeWrong, "wanted float32, or int8 .*, got int32"),
        (Tensor("classes", (1, 136, 3), "int8"), ModelDtypeWrong, "with a scale, got int8 of scale 0.0"),
        (
            Tensor("classes", (1, 136, 80), "int8", 0.1),
            ModelLabelsWrong,
            "classes: wanted 3 channels, got 80",
        ),
        (Tensor("classes", (1, 136, 2), "int8", 0.1), ModelLabelsWrong, "classes: wanted 3 channels, got 2"),
    ],
)
def test_outputs_that_do_not_fit_the_card_are_an_error(tensor, error, says):
    make_decoder(card(), tuple(GOOD.values()), frozenset())
    with pytest.raises(error, match=says):
        make_decoder(card(), tuple({**GOOD, tensor.name: tensor}.values()), frozenset())


def test_an_absent_output_is_an_error_that_lists_those_there_are():
    with pytest.raises(ModelShapeWrong, match=r"wanted an output boxes, got \['classes'\]"):
        make_decoder(card(), (GOOD["classes"],), frozenset())
