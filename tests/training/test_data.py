"""Labels, manifests, photo sets and the split: what is wrong is named, and nothing is on both sides."""

import json
import shutil

import cv2
import numpy as np
import pytest

from deskmodel.data import DataError, Picture, read_manifest, write_manifest
from deskmodel.labels import COCO_80, LABELS, OF_COCO, class_map, coco_90, desk_label
from deskmodel.prepare import COCO_HELD, check_apart, main, prepare, table
from deskmodel.rendered import read_rendered
from deskmodel.sources import read_cellphone, read_coco128, read_coco_people_desk
from deskmodel.split import dhash, duplicates, hold_out_groups, hold_out_strata, shoots
from edge.vision.card import load_card
from edge.vision.model_file import checkout


def picture(picture_id, boxes=(), image="/p.jpg"):
    return Picture(
        image=image,
        id=picture_id,
        source="test",
        licence="none",
        width_px=64,
        height_px=48,
        known=["person", "mouse"],
        ignore=["paper"],
        boxes=list(boxes),
    )


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = cv2.resize(np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8), (64, 48))
    assert cv2.imwrite(str(path), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    return path


def photo_set(folder, **labels):
    for seed, (stem, lines) in enumerate(labels.items()):
        photo(folder / "images" / f"{stem}.jpg", seed)
        path = folder / "labels" / f"{stem}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    return folder


def test_every_coco_name_that_is_ours_maps_to_a_label():
    assert len(set(COCO_80)) == 80
    assert set(OF_COCO) <= set(COCO_80)
    assert set(OF_COCO.values()) == set(LABELS)
    assert [desk_label(name) for name in ("wine glass", "book", "tv", "carrot", "paper")] == [
        "drink", "paper", "monitor", "food", "paper",
    ]  # fmt: skip
    assert desk_label("remote") is None


def test_the_names_agree_with_the_cards():
    models = checkout() / "models"
    assert load_card(models / "nanodet-plus-m-320-coco.toml").labels == COCO_80
    assert load_card(models / "ssd-mobilenet-v1-coco.toml").labels == coco_90()


def test_class_map_of_coco_and_of_our_own_labels():
    mapped = class_map(COCO_80)
    assert mapped[COCO_80.index("cup")] == LABELS.index("drink")
    assert mapped[COCO_80.index("chair")] == -1
    assert (mapped >= 0).sum() == len(OF_COCO)
    assert class_map(LABELS).tolist() == list(range(len(LABELS)))
    assert class_map(["???"]).tolist() == [-1]


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    pictures = [picture("a", [(0, 0.0, 0.25, 1.0, 0.5)]), picture("b")]
    write_manifest(tmp_path / "deep" / "train.jsonl", pictures)
    assert read_manifest(tmp_path / "deep" / "train.jsonl") == pictures
    line = json.loads((tmp_path / "deep" / "train.jsonl").read_text().splitlines()[0])
    assert list(line) == [
        "image", "id", "source", "licence", "width_px", "height_px", "known", "ignore", "boxes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": [[9, 0, 0, 1, 1]]}, "wanted a class of 0–8, got 9"),
        ({"boxes": [[0, 0.5, 0, 0.5, 1]]}, "wanted 0 <= x0 < x1"),
        ({"boxes": [[0, 0, 0, 1.002, 1]]}, "1.002"),
        ({"known": ["phone"]}, "phone"),
        ({"known": ["paper"]}, "in both"),
        ({"colour": "red"}, "colour"),
        ({"split": "test"}, "split"),
        ({"width_px": 0}, "width_px"),
    ],
)
def test_a_manifest_with_a_fault_names_file_and_line(tmp_path, change, said):
    path = tmp_path / "train.jsonl"
    write_manifest(path, [picture("a"), picture("b")])
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{json.dumps(json.loads(second) | change)}\n")
    with pytest.raises(DataError, match=said) as raised:
        read_manifest(path)
    assert f"{path}:2:" in str(raised.value)


def test_an_id_that_comes_twice_is_an_error(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [picture("a"), picture("a")])
    with pytest.raises(DataError, match=r"m\.jsonl:2: wanted each id once"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(DataError, match="a in train and held"):
        check_apart({"train": [picture("a")], "held": [picture("a")]})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("9 0.5 0.5 0.2 0.2", "wanted a class of 0–8, got 9"),
        ("-1 0.5 0.5 0.2 0.2", "got -1"),
        ("0 0.5 0.5 0.2", "wanted class, centre x"),
        ("0 0.5 0.5 0.2 x", "could not convert"),
        ("0 0.5 0.95 0.2 0.2", "wanted 0 <= x0"),
        ("0 0.5 0.5 0.2 0", "wanted 0 <= x0"),
        ("0 nan 0.5 0.2 0.2", "wanted 0 <= x0"),
    ],
)
def test_a_label_file_with_a_fault_names_file_and_line(tmp_path, line, said):
    folder = photo_set(tmp_path, **{"000000000001": f"0 0.5 0.5 1 1\n{line}\n"})
    with pytest.raises(DataError, match=said) as raised:
        read_coco_people_desk(folder)
    assert "000000000001.txt:2:" in str(raised.value)


def test_a_box_a_hair_outside_is_clipped(tmp_path):
    folder = photo_set(tmp_path, **{"000000000001": "0 0.5 0.5 1.0018 0.5"})
    assert read_coco_people_desk(folder)[0].boxes == [(0, 0.0, 0.25, 1.0, 0.75)]


def test_a_missing_image_a_missing_label_and_a_broken_image_are_errors(tmp_path):
    folder = photo_set(tmp_path, a="1 0.5 0.5 0.2 0.2", b="", c="")
    (folder / "images" / "c.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"c\.jpg: wanted a picture"):
        read_cellphone(folder)
    (folder / "images" / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"c\.txt: wanted its image c\.jpg"):
        read_cellphone(folder)
    (folder / "labels" / "c.txt").unlink()
    (folder / "labels" / "b.txt").unlink()
    with pytest.raises(DataError, match=r"b\.txt: wanted a text file"):
        read_cellphone(folder)


def test_what_each_set_knows(tmp_path):
    desk = read_coco_people_desk(
        photo_set(tmp_path / "desk", **{"000000000007": "2 0.5 0.5 1 1", "000000000008_val": ""})
    )
    assert [(p.id, p.source) for p in desk] == [
        ("coco:7", "coco-people-desk/val2017"),
        ("coco:8", "coco-people-desk/train2017"),
    ]
    assert desk[0].ignore == ["paper"]
    assert set(desk[0].known) == set(LABELS) - {"paper"}
    cup_and_chair = f"{COCO_80.index('cup')} 0.5 0.5 1 1\n{COCO_80.index('chair')} 0.5 0.5 1 1\n"
    coco = read_coco128(photo_set(tmp_path / "coco128", **{"000000000009": cup_and_chair}))
    assert [row[0] for row in coco[0].boxes] == [LABELS.index("drink")]
    phones = read_cellphone(photo_set(tmp_path / "cellphone", test_0001_a="1 0.5 0.5 1 1"))
    assert phones[0].known == ["cell phone"]
    assert set(phones[0].ignore) == set(LABELS) - {"cell phone"}


def scene(folder, number, **change):
    photo(folder / f"{number:06d}.jpg", number)
    document = {
        "seed": number,
        "profile": "test",
        "width_px": 64,
        "height_px": 48,
        "view": "desk",
        "held": None,
        "boxes": [{"label": "cell phone", "box": [0.1, 0.1, 0.2, 0.3], "visible": 0.9}],
        "distractors": [{"name": "wallet", "box": [0.5, 0.5, 0.7, 0.7]}],
    }
    path = folder / f"{number:06d}.json"
    path.write_text(json.dumps(document | change))
    return path


def test_rendered_scenes(tmp_path):
    scene(tmp_path, 0, held="wallet")
    (read,) = read_rendered(tmp_path)
    assert read.known == list(LABELS)
    assert read.boxes == [(1, 0.1, 0.1, 0.2, 0.3)]
    assert read.distractors == [("wallet", 0.5, 0.5, 0.7, 0.7)]
    assert (read.profile, read.view, read.in_hand) == ("test", "desk", "wallet")
    scene(tmp_path, 1, boxes=[{"label": "phone", "box": [0, 0, 1, 1], "visible": 1}])
    with pytest.raises(DataError, match=r"000001\.json: boxes: wanted a label"):
        read_rendered(tmp_path)
    scene(tmp_path, 1)
    (tmp_path / "000001.jpg").unlink()
    with pytest.raises(DataError, match=r"000001\.json: wanted its picture"):
        read_rendered(tmp_path)


def test_strata_keep_rare_labels_in_proportion():
    mouse = LABELS.index("mouse")
    pictures = [picture(f"p{i}", [(mouse, 0, 0, 1, 1)] if i % 10 == 0 else []) for i in range(200)]
    held = hold_out_strata(pictures, 50, ["mouse"])
    assert len(held) == 50
    assert sum("mouse" in p.labels_present() for p in held) == 5
    assert held == hold_out_strata(pictures, 50, ["mouse"])


def test_groups_are_held_out_whole():
    pictures = [picture(f"p{i}") for i in range(100)]
    groups = [i // 3 for i in range(100)]
    held = {p.id for p in hold_out_groups(pictures, groups, 0.2)}
    assert 17 <= len(held) <= 20
    for number in range(33):
        assert len(held & {f"p{3 * number + i}" for i in range(3)}) in (0, 3)


def test_duplicates_by_id_and_by_content(tmp_path):
    one, other = photo(tmp_path / "1.jpg", 1), photo(tmp_path / "2.jpg", 2)
    copy = shutil.copy(one, tmp_path / "3.jpg")
    present = [picture("a", image=str(one))]
    new = [picture("b", image=str(copy)), picture("a", image=str(other)), picture("c", image=str(other))]
    assert duplicates(new, of=present) == {"a", "b"}


def test_a_mirrored_copy_is_of_the_same_shoot(tmp_path):
    paths = [
        photo(tmp_path / f"train_000{i}_{name}jpg.jpg", i) for i, name in enumerate(("cat", "dog", "emu"))
    ]
    mirrored = tmp_path / "test_0009_foxjpg.jpg"
    cv2.imwrite(str(mirrored), cv2.imread(str(paths[0]))[:, ::-1])
    named = shutil.copy(paths[1], tmp_path / "train_0008_emujpg.jpg")
    numbers = shoots([picture(p.stem, image=str(p)) for p in (*paths, mirrored, named)])
    assert numbers[0] == numbers[3]
    assert numbers[1] == numbers[2] == numbers[4]
    assert numbers[0] != numbers[1]


def test_dhash_of_a_ramp():
    ramp = np.repeat(np.tile(np.arange(0, 180, 10, dtype=np.uint8), (16, 1))[:, :, None], 3, axis=2)
    assert dhash(ramp).all()
    assert not dhash(ramp[:, ::-1]).any()


@pytest.fixture(scope="module")
def shared_manifests(shared):
    return prepare(shared)


def test_shared_photos_no_id_on_both_sides(shared_manifests):
    ids = [picture.id for pictures in shared_manifests.values() for picture in pictures]
    assert len(ids) == len(set(ids))
    contents = [picture.image for pictures in shared_manifests.values() for picture in pictures]
    assert len(contents) == len(set(contents))
    assert len(shared_manifests["held"]) == COCO_HELD


def test_shared_photos_only_val2017_is_held_out(shared_manifests):
    assert {picture.source for picture in shared_manifests["held"]} == {"coco-people-desk/val2017"}
    assert {picture.source for picture in shared_manifests["held-phones"]} == {"cellphone"}


def test_shared_photos_rare_labels_are_in_proportion(shared_manifests):
    held = shared_manifests["held"]
    everything = [p for p in (*held, *shared_manifests["train"]) if p.source == "coco-people-desk/val2017"]
    for label in ("cell phone", "keyboard", "mouse", "laptop"):
        share = sum(label in p.labels_present() for p in held) / len(held)
        of_all = sum(label in p.labels_present() for p in everything) / len(everything)
        assert share == pytest.approx(of_all, abs=2 / len(held))


def test_shared_phone_shoots_are_on_one_side(shared_manifests):
    held = shared_manifests["held-phones"]
    trained = [p for p in shared_manifests["train"] if p.source == "cellphone"]
    assert 0.17 < len(held) / (len(held) + len(trained)) < 0.22
    both = [*held, *trained]
    numbers = shoots(both)
    assert not set(numbers[: len(held)]) & set(numbers[len(held) :])


def test_extra_photos_and_scenes_join(shared, tmp_path, capsys):
    path = scene(tmp_path / "scenes", 3)
    image = photo(tmp_path / "mine.jpg", 5)
    extra = picture("mine", [(0, 0, 0, 1, 1)], image=str(image))
    write_manifest(tmp_path / "extra.jsonl", [extra])
    line = json.loads((tmp_path / "extra.jsonl").read_text())
    arguments = [
        "--shared",
        str(shared),
        "--rendered",
        str(path.parent),
        "--extra",
        str(tmp_path / "extra.jsonl"),
    ]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "wanted a split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "extra.jsonl").write_text(json.dumps(line | {"split": "held"}))
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert [p.id for p in read_manifest(tmp_path / "out" / "held.jsonl")][-1] == "mine"
    assert len(read_manifest(tmp_path / "out" / "test.jsonl")) == 1
    assert "| test | rendered-test | 1 | 0 | 1 |" in capsys.readouterr().out


def test_the_table_counts_pictures_and_boxes():
    text = table(
        {"train": [picture("a", [(0, 0, 0, 1, 1), (8, 0, 0, 1, 1)]), picture("b", [(0, 0, 0, 1, 1)])]}
    )
    assert text.splitlines()[-1] == "| train | test | 2 | 2 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 1 |"
