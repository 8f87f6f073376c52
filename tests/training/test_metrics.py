"""Metrics against cases worked by hand, and against the COCO API where it is installed."""

import math

import numpy as np
import pytest

from deskmodel.data import Picture
from deskmodel.labels import LABELS
from deskmodel.metrics import (
    Detections,
    Outcomes,
    at_threshold,
    average_precision,
    iou_matrix,
    match,
    outcomes,
    recall_at_precision,
    suppress,
)

PHONE = LABELS.index("cell phone")


def picture(boxes, number=1, known=("cell phone",), ignore=()):
    rows = [(PHONE, *box) for box in boxes]
    return Picture(
        image="/p.jpg",
        id=f"p{number}",
        source="test",
        licence="none",
        width_px=100,
        height_px=100,
        known=list(known),
        ignore=list(ignore),
        boxes=rows,
    )


def seen(*rows):
    """Take rows of score and corners."""
    array = np.array(rows, dtype=float).reshape(-1, 5)
    return Detections(array[:, 1:], np.full(len(array), PHONE), array[:, 0])


LEFT, RIGHT, BELOW = (0.1, 0.1, 0.3, 0.3), (0.6, 0.1, 0.8, 0.3), (0.1, 0.6, 0.3, 0.9)


def test_iou_of_half_overlapping_apart_and_empty_boxes():
    a = np.array([[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5]])
    b = np.array([[0.1, 0.0, 0.3, 0.2], [0.8, 0.8, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5]])
    assert iou_matrix(a, b) == pytest.approx(np.array([[1 / 3, 0, 0], [0, 0, 0]]))


def test_a_second_detection_of_one_box_is_false():
    found = outcomes([picture([LEFT])], [seen((0.9, *LEFT), (0.8, *LEFT))], "cell phone")
    assert found.hits.tolist() == [True, False]
    assert at_threshold(found, 0.5) == (0.5, 1.0, 1)
    assert at_threshold(found, 0.85) == (1.0, 1.0, 0)


def test_a_detection_takes_the_free_box_that_it_overlaps_most():
    truths = np.array([[0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 1.0, 1.0]])
    both = np.array([[0.0, 0.0, 1.0, 0.95], [0.0, 0.0, 1.0, 0.9]])
    assert match(truths, both).tolist() == [1, 0]


def test_iou_of_exactly_one_half_matches_and_less_does_not():
    truths = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert match(truths, np.array([[0.0, 0.0, 0.5, 1.0]])).tolist() == [0]
    assert match(truths, np.array([[0.0, 0.0, 0.49, 1.0]])).tolist() == [-1]


def test_average_precision_by_hand():
    # Best first: hit, false, hit; three boxes. Precision 1 up to recall 1/3 (recalls 0.00–0.33: 34 of them),
    # 2/3 up to recall 2/3 (0.34–0.66: 33), and 0 above.
    found = Outcomes(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), positives=3)
    assert average_precision(found) == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_average_precision_without_boxes_and_without_detections():
    nothing = np.zeros(0)
    assert math.isnan(average_precision(Outcomes(nothing, nothing.astype(bool), positives=0)))
    assert average_precision(Outcomes(nothing, nothing.astype(bool), positives=2)) == 0.0


def test_recall_at_precision_is_the_highest_and_never_splits_a_tie():
    hits = np.array([True, False, True, True, True, True, True, True, True, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.4])
    # Precision is 9/10 after the tenth, but the eleventh shares its score.
    assert recall_at_precision(Outcomes(scores, hits, positives=10), 0.9) == (0.1, 0.9)
    assert recall_at_precision(Outcomes(scores[:10], hits[:10], positives=10), 0.9) == (0.9, 0.4)
    assert recall_at_precision(Outcomes(scores[1:2], hits[1:2], positives=10), 0.9) == (0.0, math.inf)
    assert math.isnan(recall_at_precision(Outcomes(scores, hits, positives=0), 0.9)[0])


def test_pictures_in_which_the_label_is_not_known_are_left_out():
    pictures = [picture([LEFT]), picture([], 2, known=(), ignore=("cell phone",))]
    told = [seen((0.5, *LEFT)), seen((0.9, *RIGHT))]
    assert outcomes(pictures, told, "cell phone").hits.tolist() == [True]
    assert outcomes(pictures, told, "cell phone", unlabelled_too=True).hits.tolist() == [False, True]
    assert outcomes(pictures, told, "person").positives == 0


def test_scores_of_all_pictures_are_ranked_together():
    pictures = [picture([LEFT]), picture([RIGHT], 2)]
    found = outcomes(pictures, [seen((0.3, *LEFT)), seen((0.9, *BELOW), (0.6, *RIGHT))], "cell phone")
    assert found.scores.tolist() == [0.9, 0.6, 0.3]
    assert found.hits.tolist() == [False, True, True]


def test_other_sizes_are_neither_missed_nor_wrong():
    small, large = (0.0, 0.0, 0.05, 0.1), (0.4, 0.4, 0.9, 0.9)
    told = [seen((0.9, *large), (0.8, *small), (0.7, 0.1, 0.1, 0.15, 0.2), (0.6, 0.0, 0.5, 0.3, 0.9))]
    found = outcomes([picture([small, large])], told, "cell phone", size=(0.0, 0.01))
    assert found.positives == 1
    assert found.scores.tolist() == [0.8, 0.7]
    assert found.hits.tolist() == [True, False]


def test_suppress_keeps_the_best_of_a_class_and_other_classes():
    boxes = np.array([LEFT, LEFT, LEFT, RIGHT])
    kept = suppress(boxes, np.array([1, 1, 3, 1]), np.array([0.5, 0.9, 0.4, 0.6]), 0.5, 10)
    assert kept.tolist() == [1, 3, 2]
    assert suppress(boxes, np.array([1, 1, 3, 1]), np.array([0.5, 0.9, 0.4, 0.6]), 0.5, 2).tolist() == [1, 3]


@pytest.mark.parametrize("size", [(0.0, 1.0), (0.0, 0.02), (0.02, 0.05)])
def test_average_precision_agrees_with_the_coco_api(size):
    pytest.importorskip("pycocotools", reason="it comes with the training environment")
    rng = np.random.default_rng(7)
    pictures, told = [], []
    for number in range(1, 41):
        truths = _random_boxes(rng, rng.integers(0, 7))
        near = np.clip(truths[rng.random(len(truths)) < 0.8] + rng.normal(0, 0.01, 4), 0, 1)
        boxes = np.concatenate([near, _random_boxes(rng, rng.integers(0, 5)), near[:1]])
        pictures.append(picture([tuple(box) for box in truths], number))
        # Whole hundredths: many scores are equal.
        told.append(Detections(boxes, np.full(len(boxes), PHONE), rng.integers(1, 100, len(boxes)) / 100))
        assert (boxes[:, :2] < boxes[:, 2:]).all()
    ours = average_precision(outcomes(pictures, told, "cell phone", size))
    assert 0.2 < ours < 0.8
    assert ours == pytest.approx(_coco_ap50(pictures, told, size), abs=1e-9)


def _random_boxes(rng, n):
    corners = rng.random((n, 2)) * 0.7
    return np.concatenate([corners, corners + 0.05 + rng.random((n, 2)) * 0.25], axis=1)


def _coco_ap50(pictures, told, size):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        x0, y0, x1, y1 = (1000 * float(side) for side in box)
        return [x0, y0, x1 - x0, y1 - y0]

    truths = [(number, row[1:]) for number, p in enumerate(pictures, 1) for row in p.boxes]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(pictures) + 1)],
        "categories": [{"id": 1, "name": "cell phone"}],
        "annotations": [
            {
                "id": i,
                "image_id": number,
                "category_id": 1,
                "bbox": xywh(box),
                "area": xywh(box)[2] * xywh(box)[3],
                "iscrowd": 0,
            }
            for i, (number, box) in enumerate(truths, 1)
        ],
    }
    coco.createIndex()
    results = coco.loadRes(
        [
            {"image_id": number, "category_id": 1, "bbox": xywh(box), "score": float(score)}
            for number, one in enumerate(told, 1)
            for box, score in zip(one.boxes, one.scores, strict=True)
        ]
    )
    evaluation = COCOeval(coco, results, "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.areaRng = [[1e6 * size[0], 1e6 * size[1]]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, -1]
    return float(precision.mean())
