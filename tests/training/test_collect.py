"""Photo sets of made-up clones: what is kept of them, and where it goes."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deskmodel import collect as command
from deskmodel.collect import MAX_SIDE_PX, collect, main, read_boxes
from deskmodel.data import DataError
from deskmodel.labels import LABELS
from deskmodel.photosets import PHOTO_SETS, PhotoSet, unused_files

SET = PhotoSet(
    name="shelf",
    repository="someone/things",
    commit="0" * 40,
    folder="sets/shelf one",
    licence="CC BY 4.0",
    licence_file="README.txt",
    classes=("cup", "case", "blunder"),
    labels={"cup": "drink"},
    distractors={"case": "earbud case"},
    wrong=("blunder",),
    known=("drink",),
)
CUP = "0 0.5 0.5 0.2 0.4"
CASE = "1 0.25 0.75 0.1 0.1"
CUP_BOX = (LABELS.index("drink"), 0.4, 0.3, 0.6, 0.7)


def picture(seed: int, *, width: int = 64, height: int = 48, black: float = 0.0) -> bytes:
    """A smooth picture of its own, black from the left edge on."""
    cells = np.random.default_rng(seed).integers(60, 255, (4, 5, 3), dtype=np.uint8)
    pixels = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels[:, : round(black * width)] = 0
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def put(clones: Path, name: str, content: bytes, *lines: str, photo_set: PhotoSet = SET) -> None:
    """Add an image, part/name, and its labels to a clone; the licence too."""
    folder = clones / photo_set.clone / photo_set.folder
    part, file = name.split("/")
    image, label = folder / part / "images" / file, folder / part / "labels" / f"{Path(file).stem}.txt"
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(content)
    label.write_text("".join(f"{line}\n" for line in lines))
    (folder / photo_set.licence_file).write_text("License: CC BY 4.0\n")


def git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    assert program
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    line = [program, "-C", str(folder), *identity, *arguments]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def names(pictures: list) -> list[str]:
    return [Path(picture.image).name for picture in pictures]


def test_a_photo_says_what_it_knows(tmp_path: Path) -> None:
    put(tmp_path, "train/a_jpg.rf.12.jpg", picture(1), CUP, "", CASE)
    (one,) = collect(tmp_path, tmp_path / "out", SET)
    assert one.id == "shelf/a_jpg.jpg"
    assert one.image == str(tmp_path / "out" / "shelf" / "images" / "a_jpg.jpg")
    assert Path(one.image).read_bytes() == picture(1)
    assert (one.source, one.split) == ("shelf", "train")
    assert one.licence == "CC BY 4.0 (someone/things, sets/shelf one/README.txt)"
    assert (one.width_px, one.height_px) == (64, 48)
    assert one.known == ["drink"]
    assert one.ignore == [label for label in LABELS if label != "drink"]
    assert one.boxes == [CUP_BOX]
    assert one.distractors == [("earbud case", 0.2, 0.7, 0.3, 0.8)]


def test_without_known_labels_each_photo_knows_those_it_has(tmp_path: Path) -> None:
    photo_set = replace(SET, known=None)
    put(tmp_path, "train/a.jpg", picture(1), CUP)
    put(tmp_path, "train/b.jpg", picture(2), CASE)
    first, second = collect(tmp_path, tmp_path / "out", photo_set)
    assert (first.known, second.known) == (["drink"], [])
    assert second.ignore == list(LABELS)


def test_a_large_photo_is_made_smaller(tmp_path: Path) -> None:
    put(tmp_path, "train/a.jpg", picture(1, width=2000, height=1000), CUP)
    (one,) = collect(tmp_path, tmp_path / "out", SET)
    assert (one.width_px, one.height_px) == (MAX_SIDE_PX, MAX_SIDE_PX // 2)
    assert cv2.imread(one.image).shape == (MAX_SIDE_PX // 2, MAX_SIDE_PX, 3)
    assert one.boxes == [CUP_BOX]


@pytest.mark.parametrize(("version", "box"), [("first", 0.4), ("least black", 0.1)])
def test_one_version_of_a_photo_is_kept(tmp_path: Path, version: str, box: float) -> None:
    put(tmp_path, "test/a.rf.1.jpg", picture(1, black=0.3), CUP)
    put(tmp_path, "train/a.rf.0.jpg", picture(1, black=0.1), "0 0.2 0.5 0.2 0.4")
    (one,) = collect(tmp_path, tmp_path / "out", replace(SET, version=version))
    assert one.boxes[0][1] == box


def test_what_is_left_out(tmp_path: Path) -> None:
    photo_set = replace(SET, version="least black", max_boxes=2, max_black=0.2, max_photos=2)
    put(tmp_path, "train/a.jpg", picture(1), CUP, CUP, CASE)
    put(tmp_path, "train/b.jpg", picture(2, black=0.3), CUP)
    put(tmp_path, "train/c.jpg", picture(3), CUP, "2 0.5 0.5 0.1 0.1")
    put(tmp_path, "train/d.jpg", picture(4))
    put(tmp_path, "train/e.jpg", picture(5), CUP)
    for file in ("f", "g", "h"):
        put(tmp_path, f"train/{file}.jpg", picture(6), CUP, CUP)
    assert names(collect(tmp_path, tmp_path / "out", photo_set, {"e.jpg"})) == ["f.jpg.jpg", "g.jpg.jpg"]


def test_a_bare_clone_is_read_at_the_commit(tmp_path: Path) -> None:
    plain, bare = tmp_path / "plain", tmp_path / "bare"
    put(plain, "train/ä b.rf.1.jpg", picture(1), CUP)
    from_folder = collect(plain, tmp_path / "a", SET)
    work = plain / SET.clone
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "first")
    photo_set = replace(SET, commit=git(work, "rev-parse", "HEAD"))
    put(plain, "train/later.jpg", picture(2), CUP)
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "second")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare / SET.clone))
    for clones, out in ((bare, tmp_path / "b"), (plain, tmp_path / "c")):
        pictures = collect(clones, out, photo_set)
        assert names(pictures) == names(from_folder)
        assert Path(pictures[0].image).read_bytes() == picture(1)
        assert pictures[0].boxes == from_folder[0].boxes
    with pytest.raises(DataError, match=f"wanted sets/shelf one of commit {SET.commit}.*git fetch"):
        collect(bare, tmp_path / "d", SET)


def test_all_or_whole_runs_are_held_out_and_their_neighbours_left_out(tmp_path: Path) -> None:
    for number in range(60):
        put(tmp_path, f"train/{number}.jpg", picture(number), CUP)
    pictures = collect(tmp_path, tmp_path / "a", replace(SET, held="held-shelf", run=10))
    sides = {int(Path(one.image).name.partition(".")[0]): one.split for one in pictures}
    held = [*range(20, 30), *range(50, 60)]
    assert sorted(number for number, side in sides.items() if side == "held-shelf") == held
    trained = [number for number, side in sides.items() if side == "train"]
    assert sorted(trained) == [*range(17), *range(33, 47)]
    pictures = collect(tmp_path, tmp_path / "b", replace(SET, held="held-shelf"))
    assert {one.split for one in pictures} == {"held-shelf"}


def test_a_photo_without_a_number_in_a_numbered_set_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "train/desk.jpg", picture(1), CUP)
    with pytest.raises(DataError, match=r"number, got desk\.jpg"):
        collect(tmp_path, tmp_path / "a", replace(SET, held="held-shelf", run=10))


def test_a_missing_clone_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(SET, name="other", repository="someone/else")
    monkeypatch.setattr(command, "PHOTO_SETS", (SET, other))
    put(tmp_path / "clones", "train/a.jpg", picture(1), CUP)
    line = ["--clones", str(tmp_path / "clones"), "--out", str(tmp_path / "out")]
    assert main(line) == 1
    said = capsys.readouterr().err
    assert "wanted a clone of github.com/someone/else, got none" in said
    assert "--skip other" in said
    assert not (tmp_path / "out").exists()
    assert main([*line, "--skip", "other"]) == 0
    assert "| train | shelf | 1 | 0 | 0 | 0 | 1 |" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").glob("*.jsonl")] == ["shelf.jsonl"]


def test_another_licence_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "train/a.jpg", picture(1), CUP)
    (tmp_path / SET.clone / SET.folder / SET.licence_file).write_text("License: Private\n")
    with pytest.raises(DataError, match=r"wanted the licence CC BY 4\.0, got 'License: Private'"):
        collect(tmp_path, tmp_path / "out", SET)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0.5 0.5 0.2 0.4", "wanted a class of 0–2, got 3"),
        ("0 0.5 0.5 0.2", "wanted class, centre x, centre y, width and height"),
        ("0 0.5 0.5 0.2 1.4", "wanted 0 <= x0 < x1 <= 1"),
        ("0 0.5 half 0.2 0.4", "half"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^labels/a.txt:2: .*{message}"):
        read_boxes(f"{CUP}\n{line}\n".encode(), "labels/a.txt", SET.classes)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    put(tmp_path, "train/a.jpg", b"", CUP)
    with pytest.raises(DataError, match=r"train/images/a\.jpg: wanted a picture, got 0 bytes"):
        collect(tmp_path, tmp_path / "out", SET)


def test_the_table() -> None:
    known = [photo_set.name for photo_set in PHOTO_SETS]
    assert len(set(known)) == len(known)
    assert set(unused_files()) <= set(known)
    with pytest.raises(ValueError, match="wanted a meaning for each of"):
        replace(SET, wrong=())
