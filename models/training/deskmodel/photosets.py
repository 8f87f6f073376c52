"""The openly licensed photo sets that `collect` takes from public repositories: a table."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from deskmodel.data import DataError, read_text
from deskmodel.labels import LABELS

UNUSED = Path(__file__).with_name("photosets.toml")

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PhotoSet:
    """A folder of a repository: images/ and beside it labels/ in YOLO's form, at any depth."""

    name: str
    """Begins each picture's id, by which pictures are held out: never to be changed."""
    repository: str
    """owner/name on GitHub."""
    commit: str
    """Where a clone has its history, what is read of it; a plain folder is read as it is."""
    folder: str
    licence: str
    licence_file: str
    """Where it says so, in `folder`: read, and held to it."""
    classes: tuple[str, ...]
    """The set's own names, in the order of its class ids."""
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """From a class to our label."""
    distractors: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """From a class to the name of a thing that is none of our labels."""
    wrong: tuple[str, ...] = ()
    """Classes with boxes that are wrong: a photo with one of them is left out."""
    known: tuple[str, ...] | None = None
    """Labels of which every instance has a box; None: of each photo, those that have one in it."""
    version: Literal["first", "least black"] = "first"
    """Which version of a photo is kept, of several that were turned or cropped: the first by its path, or
    the one with the smallest share of black, as turning leaves in the corners."""
    max_boxes: int | None = None
    max_black: float | None = None
    """Share of black pixels that a photo must stay under, 0–1."""
    max_photos: int | None = None
    """The first so many by their paths are kept."""
    held: str = ""
    """The manifest that the held-out photos go to; the others go to train."""
    run: int = 0
    """Photos are numbered as they were shot, and one thing was often shot several times: of three runs of so
    many photos the last is held out, and its neighbours are left out. 0: all are held out."""

    def __post_init__(self) -> None:
        """Check that each class has one meaning. Raises ValueError."""
        meant = [*self.labels, *self.distractors, *self.wrong]
        if sorted(meant) != sorted(self.classes):
            raise ValueError(f"{self.name}: wanted a meaning for each of {list(self.classes)}, got {meant}")
        if unknown := sorted({*self.labels.values(), *(self.known or ())} - set(LABELS)):
            raise ValueError(f"{self.name}: wanted names of {list(LABELS)}, got {unknown}")
        if self.run and not self.held:
            raise ValueError(f"{self.name}: wanted the manifest of the runs that are held out, got none")

    @property
    def clone(self) -> str:
        """The name of the clone's folder."""
        return self.repository.replace("/", "+")

    @property
    def credit(self) -> str:
        """The licence, and whose photos they are."""
        return f"{self.licence} ({self.repository}, {self.folder}/{self.licence_file})"


PHOTO_SETS = (
    PhotoSet(
        name="desk-electronics",
        repository="utshobs/YOLO11-for-High-Accuracy-Real-Time-Detection-and-Classification-of-Diverse-E-Waste",
        commit="1ff263a4ab0344af7459a31ba23acb72519b41c2",
        folder="Dataset_1",
        licence="CC BY 4.0",
        licence_file="data.yaml",
        classes=("Phone", "keyboard", "laptop", "monitor", "mouse"),
        labels={
            "Phone": "cell phone",
            "keyboard": "keyboard",
            "laptop": "laptop",
            "monitor": "monitor",
            "mouse": "mouse",
        },
        held="held-desk",
        run=40,
    ),
    PhotoSet(
        # One man in one room holds things up to a webcam: the product's own view, and one shoot.
        name="webcam-held",
        repository="aitkherimed1228/Yolov10_project",
        commit="9b895c03691c7cd70d7005fbf48403476f22458f",
        folder="detection-2",
        licence="CC BY 4.0",
        licence_file="README.dataset.txt",
        classes=("airpods", "phone", "wallet"),
        labels={"phone": "cell phone"},
        distractors={"airpods": "earbud case", "wallet": "wallet"},
        known=tuple(label for label in LABELS if label != "person"),
        held="held-webcam",
    ),
    PhotoSet(
        name="earbud-cases",
        repository="asjadnazir/object_detection",
        commit="3b993fab83aa2945616615e7eeafb15191470d65",
        folder="airpods_case",
        licence="CC BY 4.0",
        licence_file="README.dataset.txt",
        classes=("airpod2", "airpod3"),
        distractors={"airpod2": "earbud case", "airpod3": "earbud case"},
        known=("cell phone",),
        version="least black",
    ),
    PhotoSet(
        name="drinks",
        repository="kmp1001/BNU-AI",
        commit="e840edc0c6b529c58ef76ddc16e549512a04cb21",
        folder="大三下学期/计算机视觉实践/平时作业与优秀范例/作业与个人实现/CV12/Files/Beverage3v3yolov11",
        licence="CC BY 4.0",
        licence_file="README.dataset.txt",
        classes=("bottle", "can"),
        labels={"bottle": "drink", "can": "drink"},
        known=("drink",),
        version="least black",
        max_boxes=4,  # of more, as on a shop's shelf, not each has its box
        max_black=0.02,
        max_photos=250,  # of 320, lest they outweigh the other labels
    ),
    PhotoSet(
        name="mouse-desks",
        repository="dhanush-raja-a/smart_ai_billing_prototype",
        commit="3f857f1ea15b07511d4ec08e7ab3f0981ddd06b5",
        folder="mouse",
        licence="CC BY 4.0",
        licence_file="README.dataset.txt",
        classes=("Computer-mouse", "mouse"),
        labels={"Computer-mouse": "mouse"},
        wrong=("mouse",),
        known=("mouse",),
    ),
)


def unused_files(path: Path = UNUSED) -> dict[str, frozenset[str]]:
    """Return the names of images that are left out, by set. Raises DataError."""
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: {error}") from error
    return {name: frozenset(files) for name, files in table.items()}
