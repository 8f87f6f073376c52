"""The model card and the model file: every way to be wrong has an error that names wanted, got and where."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from edge.vision.card import CardInvalid, CardMissing, CardRefused, ModelError, load_card
from edge.vision.model_file import (
    DEFAULT_CARD,
    ModelHashWrong,
    ModelMissing,
    ModelNotTflite,
    ModelTruncated,
    check_model,
    checkout,
    find_card,
    find_model,
    model_folders,
    shared_folder,
)

CARDS = sorted((checkout() / "models").glob("*.toml"))
MODEL = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 4

CARD = f"""
name = "toy"
file = "toy.tflite"
sha256 = "{hashlib.sha256(MODEL).hexdigest()}"
size_bytes = {len(MODEL)}
licence = "Apache-2.0"
labels = ["person", "???", "cell phone", "???"]
[input]
width_px = 64
height_px = 48
dtype = "uint8"
[layout]
kind = "ssd-postprocess"
[threshold]
default = 0.5
labels = {{"cell phone" = 0.25}}
[provenance]
trained_on = "nothing"
notices = "none"
[measured]
ap50 = 0.5
"""

GRID = """
[layout]
kind = "grid"
strides = [8, 16]
coding = "ltrb"
nms_iou = 0.5
boxes = {tensors = ["b"]}
classes = {tensors = ["c"], activation = "sigmoid"}
"""


def write(folder: Path, text: str = CARD, name: str = "toy") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_every_card_of_the_project_is_valid_and_found_by_its_name(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_card(path).name == path.stem
    assert find_card(path.stem) == path


def test_the_model_that_ships_lies_beside_its_card_and_is_the_one_that_it_describes():
    path = find_card(DEFAULT_CARD)
    card = load_card(path)
    check_model(card, path.with_name(card.file))
    assert card.size_bytes <= 2_500_000
    assert card.labels == (
        "person",
        "cell phone",
        "paper",
        "drink",
        "food",
        "laptop",
        "monitor",
        "keyboard",
        "mouse",
    )


OTHERS = [path for path in CARDS if path.stem != DEFAULT_CARD]


@pytest.mark.shared
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_other_card_describes_the_shared_model(path, shared):
    card = load_card(path)
    check_model(card, shared / "models" / card.file)


def test_the_ssd_card_has_the_labels_that_came_with_the_model(shared):
    lines = (shared / "models" / "coco_labels_90.txt").read_text(encoding="utf-8").splitlines()
    card = load_card(checkout() / "models" / "ssd-mobilenet-v1-coco.toml")
    assert list(card.labels) == lines


def test_thresholds_of_labels_go_before_the_default(tmp_path):
    card = load_card(write(tmp_path))
    assert card.threshold_of("cell phone") == 0.25
    assert card.threshold_of("person") == 0.5


def test_unused_classes_have_no_name(tmp_path):
    assert load_card(write(tmp_path)).named_labels == ("person", "cell phone")


def test_a_hash_ends_where_it_ends(tmp_path):
    sha256 = hashlib.sha256(MODEL).hexdigest()
    with pytest.raises(CardInvalid, match=r"\$\.sha256"):
        load_card(write(tmp_path, CARD.replace(f'"{sha256}"', f'"""{sha256}\n"""')))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('licence = "Apache-2.0"', 'licence = "MIT"\nlicense = "MIT"', "unknown field `license`"),
        ("width_px = 64", "width_px = 64\ncolour = 1", "unknown field `colour` - at `$.input`"),
        ("width_px = 64", 'width_px = "64"', "Expected `int`, got `str` - at `$.input.width_px`"),
        ("width_px = 64", "width_px = 0", "$.input.width_px"),
        ('dtype = "uint8"', 'dtype = "float16"', "$.input.dtype"),
        ('dtype = "uint8"', 'dtype = "int8"\nmean = [0.0, 0.0, 0.0]', "both `mean` and `std`"),
        (
            'dtype = "uint8"',
            'dtype = "int8"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 0.0, 1.0]',
            "std: wanted three values of",
        ),
        ("ssd-postprocess", "yolo", "$.layout"),
        ("default = 0.5", "default = 1.5", "$.threshold.default"),
        ("default = 0.5", "", "missing required field `default` - at `$.threshold`"),
        ('"cell phone" = 0.25', '"mug" = 0.25', "['mug']"),
        ('"???", "cell phone"', '"person", "cell phone"', "got ['person'] again"),
        ('["person", "???", "cell phone", "???"]', "[]", "$.labels"),
        ('sha256 = "', 'sha256 = "x', "$.sha256"),
        ('file = "toy.tflite"', 'file = "../toy.tflite"', "$.file"),
        ('name = "toy"', "name = ", "toy.toml"),
        *[
            ("width_px = 64", f"width_px = 64\nmean = [0, 0, {mean}]\nstd = [1, 1, {std}]", says)
            for mean, std, says in [
                ("nan", 1, "$.input.mean[2]"),
                ("inf", 1, "$.input.mean[2]"),
                (0, "nan", "$.input.std[2]"),
                (0, "inf", "$.input.std[2]"),
                (0, 0.0, "std: wanted"),
                (0, 1e-30, "std: wanted"),
            ]
        ],
        ("default = 0.5", "default = nan", "$.threshold.default"),
        ('{"cell phone" = 0.25}', '{"cell phone" = nan}', "$.threshold.labels"),
        *[
            ('"???"]', f'"{label}"]', "labels: wanted names that can be printed")
            for label in ("", " ", r"cup\n", r"\u0000", r"\u001b[2J")
        ],
        (' = "toy"', ' = """toy\n"""', "$.name"),
        ('file = "toy.tflite"', 'file = """toy.tflite\n"""', "$.file"),
        ('notices = "none"', 'notices = "none"\nurl = "file:///etc/passwd"', "$.provenance.url"),
        ('kind = "ssd-postprocess"', 'kind = "ssd-postprocess"\noutputs = {boxes = "a"}', "got ['boxes']"),
    ],
)
def test_a_wrong_card_is_an_error_with_file_and_key(tmp_path, old, new, says):
    assert old in CARD
    path = write(tmp_path, CARD.replace(old, new, 1))
    with pytest.raises(CardInvalid, match=re.escape(says)) as caught:
        load_card(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('coding = "ltrb"', 'coding = "ltrb-dfl"', "bins: wanted 2 or more"),
        ('coding = "ltrb"', 'coding = "ltrb"\nbins = 8', "bins: wanted 2 or more"),
        ('["b"]', '["b", "b2"]', "wanted 1 or 2 in each term, got [1, 2]"),
        ('["b"]}', '["b"], activation = "sigmoid"}', "boxes.activation"),
        ("[8, 16]", "[]", "$.layout.strides"),
        ("nms_iou = 0.5", "nms_iou = 0.5\nmax_detections = 100000", "$.layout.max_detections"),
    ],
)
def test_a_contradictory_grid_is_an_error(tmp_path, old, new, says):
    good = CARD.replace('[layout]\nkind = "ssd-postprocess"\n', GRID)
    load_card(write(tmp_path, good))
    with pytest.raises(CardInvalid, match=re.escape(says)):
        load_card(write(tmp_path, good.replace(old, new, 1)))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b"", b"# only a comment", b"\x00" * 10, b"a = " + b"[" * 100_000]
)
def test_a_card_that_is_no_toml_document_is_an_error(tmp_path, content):
    path = tmp_path / "toy.toml"
    path.write_bytes(content)
    with pytest.raises(CardInvalid, match=r"toy\.toml"):
        load_card(path)


def test_only_a_file_of_a_sane_size_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(CardMissing, match="neither a file nor a folder"):
            load_card(path)
    with pytest.raises(CardInvalid, match=r"toy\.toml: .* more than 256000 bytes"):
        load_card(write(tmp_path, CARD + "#" * 256_000))


@pytest.mark.parametrize(
    "label",
    [
        *["face", "Human Face", "face_mask", "faceId", "ＦＡＣＥ", "iris", "biometrics", "fingerprints"],
        *[
            "happy",
            "emotion-3",
            "emotional state",
            "male",
            "woman",
            "gender",
            "age 20-30",
            "child",
            "identity",
        ],
    ],
)
def test_a_card_that_tells_of_a_person_is_refused(tmp_path, label):
    path = write(tmp_path, CARD.replace('"???"]', f'"{label}"]'))
    with pytest.raises(CardRefused, match=re.escape(label)) as caught:
        load_card(path)
    assert str(path) in str(caught.value)


def test_a_missing_card_says_which_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CardMissing, match="ssd-mobilenet-v1-coco"):
        find_card("no-such-card")
    with pytest.raises(CardMissing, match="too long"):
        find_card("a" * 300)
    with pytest.raises(CardMissing, match=r"gone\.toml"):
        load_card(tmp_path / "gone.toml")
    with pytest.raises(CardMissing, match="directory"):
        load_card(tmp_path)


def test_a_path_goes_before_a_name(tmp_path):
    assert find_card(str(write(tmp_path))) == tmp_path / "toy.toml"


def test_the_model_is_looked_for_beside_the_card_then_in_the_environment_then_in_shared(tmp_path):
    beside, first, second = (tmp_path / name for name in ("beside", "first", "second"))
    for folder in (beside, first, second):
        folder.mkdir()
    path = write(beside)
    card = load_card(path)
    folders = model_folders(path, {"DESKWATCH_MODELS": f"{first}{os.pathsep}{os.pathsep}{second}"})
    assert folders == (beside, first, second, checkout().parent / "shared" / "models")
    assert model_folders(path, {}) == (beside, checkout().parent / "shared" / "models")
    assert model_folders(path, {"DESKWATCH_SHARED": str(second)}) == (beside, second / "models")
    assert shared_folder({"DESKWATCH_SHARED": ""}) == shared_folder({}) == checkout().parent / "shared"
    for folder in (second, first, beside):
        (folder / "toy.tflite").write_bytes(MODEL)
        assert find_model(card, folders) == folder / "toy.tflite"


def test_a_missing_model_says_where_it_looked_and_how_to_get_it(tmp_path):
    card = load_card(write(tmp_path))
    with pytest.raises(ModelMissing, match=r"copy the file there\Z") as caught:
        find_model(card, (tmp_path, tmp_path / "b"))
    assert f"{tmp_path}, {tmp_path / 'b'};" in str(caught.value)
    ssd = load_card(find_card("ssd-mobilenet-v1-coco"))
    with pytest.raises(ModelMissing, match=f"run: deskwatch model fetch {ssd.name}"):
        find_model(ssd, (tmp_path,))


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (MODEL[:500], ModelTruncated, f"wanted {len(MODEL)} bytes, got 500"),
        (MODEL + b"\0", ModelTruncated, f"got {len(MODEL) + 1}"),
        (MODEL[:-1] + b"\0", ModelHashWrong, f"wanted sha256 {hashlib.sha256(MODEL).hexdigest()}, got "),
        (b"<!DOCTYPE html><title>404</title>", ModelNotTflite, "b'<!DOCTYP'"),
        (b"version https://git-lfs.github.com/spec/v1\n", ModelNotTflite, "b'version '"),
        (b"", ModelNotTflite, "b''"),
    ],
)
def test_a_wrong_file_is_an_error_with_its_path(tmp_path, content, error, says):
    card = load_card(write(tmp_path))
    model = tmp_path / "toy.tflite"
    model.write_bytes(content)
    with pytest.raises(error, match=re.escape(says)) as caught:
        check_model(card, model)
    assert str(model) in str(caught.value)
    assert isinstance(caught.value, ModelError)


def test_a_right_file_passes_and_a_vanished_one_is_named(tmp_path):
    card = load_card(write(tmp_path))
    model = tmp_path / "toy.tflite"
    model.write_bytes(MODEL)
    check_model(card, model)
    model.unlink()
    with pytest.raises(ModelMissing, match="No such file"):
        check_model(card, model)
