"""What the report makes of detections; and that nothing is looked at twice."""

import math

import cv2
import msgspec
import numpy as np
import pytest

from deskmodel.adapters import CHECKOUT, CardModel, open_model
from deskmodel.data import DataError, Picture, load_rgb
from deskmodel.evaluate import look
from deskmodel.labels import LABELS
from deskmodel.metrics import Detections, average_precision
from deskmodel.plots import false_alarms, misses
from deskmodel.report import confusion, label_outcomes, measure, page

PHONE, PAPER = LABELS.index("cell phone"), LABELS.index("paper")
LEFT, RIGHT = (0.1, 0.1, 0.3, 0.3), (0.6, 0.1, 0.8, 0.3)


def picture(number, boxes=(), *, source="test", known=LABELS, ignore=(), distractors=()):
    return Picture(
        image=f"/{number}.jpg",
        id=f"p{number}",
        source=source,
        licence="none",
        width_px=100,
        height_px=100,
        known=list(known),
        ignore=list(ignore),
        boxes=list(boxes),
        distractors=list(distractors),
    )


def seen(*rows, class_id=PHONE):
    array = np.array(rows, dtype=float).reshape(-1, 5)
    return Detections(array[:, 1:], np.full(len(array), class_id), array[:, 0])


def test_confusion_counts_a_distractor_called_a_phone_once_and_a_real_phone_never():
    wallets = [("wallet", *LEFT), ("wallet", *RIGHT)]
    pictures = [
        picture(1, distractors=wallets),
        picture(2, [(PHONE, *LEFT)], distractors=[("case", *LEFT)]),
    ]
    told = [seen((0.9, *LEFT), (0.8, *LEFT), (0.3, *RIGHT)), seen((0.9, *LEFT))]
    counted = confusion(pictures, told, threshold=0.5)
    assert counted["wallet"] == {"seen": 2, "called a phone": 1, "share": 0.5}
    assert counted["case"]["called a phone"] == 0
    assert counted["all"]["seen"] == 3
    assert confusion([picture(1)], [seen()], 0.5) == {}


def test_a_label_that_one_source_labels_in_part_counts_there_alone():
    others = [label for label in LABELS if label != "paper"]
    pictures = [
        picture(1, [(PAPER, *LEFT)], source="coco", known=others, ignore=["paper"]),
        picture(2, source="coco", known=others, ignore=["paper"]),
        picture(3, source="phones", known=["cell phone"], ignore=["paper"]),
    ]
    told = [seen((0.5, *LEFT), class_id=PAPER), *[seen((0.9, *RIGHT), class_id=PAPER)] * 2]
    found = label_outcomes(pictures, told, "paper")
    assert found.hits.tolist() == [False, True]
    assert average_precision(found) == 0.5
    assert label_outcomes(pictures[2:], told[2:], "paper") is None


def test_misses_are_the_largest_first_and_false_alarms_the_surest():
    large = (0.4, 0.4, 0.9, 0.9)
    pictures = [picture(1, [(PHONE, *LEFT), (PHONE, *large)]), picture(2, known=["person"])]
    told = [seen((0.4, *LEFT), (0.6, *RIGHT)), seen((0.9, *RIGHT))]
    assert [miss.score for miss in misses(pictures, told, "cell phone", 0.5)] == [0.0, 0.4]
    assert [alarm.score for alarm in false_alarms(pictures, told, "cell phone", 0.5)] == [0.6]


def test_the_page_and_its_json():
    pictures = [picture(1, [(PHONE, *LEFT)], distractors=[("wallet", *RIGHT)])]
    told = [seen((0.9, *LEFT), (0.8, *RIGHT))]
    thresholds = dict.fromkeys(LABELS, 0.5)
    numbers = measure(pictures, told, thresholds) | {"confusion": confusion(pictures, told, 0.5)}
    results = {
        "floor": 0.01,
        "sets": {"scenes": {"pictures": 1, "partly labelled": []}},
        "models": {"toy": {"thresholds": thresholds, "limits": "none", "sets": {"scenes": numbers}}},
        "timings": [],
    }
    text = page(results)
    assert "| toy | – | 1.00 | – |" in text
    assert "1.00 / 0.50 / 1 / 1.00" in text
    assert "| wallet | 1 | 1.00 |" in text
    assert math.isnan(numbers["labels"]["person"]["AP50"])
    assert msgspec.json.decode(msgspec.json.encode(results))["models"]["toy"]["limits"] == "none"


class Counting:
    name, key, limits = "counting", "1", ""

    def __init__(self):
        self.looks = 0

    def threshold_of(self, label):
        return 0.5

    def detect(self, rgb, floor):
        self.looks += 1
        return seen((0.5, *LEFT)) if self.looks == 1 else seen()


def test_what_was_seen_is_kept_until_model_or_pictures_change(tmp_path):
    files = {n: tmp_path / f"{n}.png" for n in (1, 2, 3)}
    for file in files.values():
        cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))

    def held(*numbers):
        return {"held": [msgspec.structs.replace(picture(n), image=str(files[n])) for n in numbers]}

    model, cache = Counting(), tmp_path / "cache"
    first = look(model, held(1, 2), cache)["held"]
    again = look(model, held(1, 2), cache)["held"]
    assert model.looks == 2
    assert [len(one.scores) for one in first] == [len(one.scores) for one in again] == [1, 0]
    assert again[0].boxes == pytest.approx(np.array([LEFT]))
    look(model, held(1, 3), cache)
    model.key = "2"
    look(model, held(1, 2), cache)
    assert model.looks == 6
    cv2.imwrite(str(files[2]), np.ones((8, 8, 3), np.uint8))  # another picture under the same name
    look(model, held(1, 2), cache)
    assert model.looks == 8


def test_an_unknown_kind_of_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"net\.h5: wanted a model"):
        open_model(tmp_path / "net.h5")


def test_a_card_tells_our_labels_alone(shared):
    model = open_model(CHECKOUT / "models" / "ssd-mobilenet-v1-coco.toml")
    assert isinstance(model, CardModel)
    assert model.threshold_of("drink") == 0.3
    told = model.detect(load_rgb(shared / "photos" / "phone-in-hand.jpg"), 0.01)
    assert told.boxes.shape == (len(told.scores), 4)
    assert (np.diff(told.scores) <= 0).all()
    assert (
        len(told.scores)
        > len(model.detect(load_rgb(shared / "photos" / "phone-in-hand.jpg"), 0.65).scores)
        > 0
    )
    assert told.scores[told.class_ids == PHONE].max() == pytest.approx(0.69, abs=0.03)
