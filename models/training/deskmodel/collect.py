"""Take openly licensed photo sets from clones of public repositories.

    python -m deskmodel.collect --clones DIR --out DIR

DIR of the clones holds one folder for each repository, named owner+name: a checkout, a bare repository or a
plain folder of its files. A set is written as images and a manifest, for `prepare --extra`.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from deskmodel.clones import Files, opened
from deskmodel.data import DataError, Picture, clipped, write_atomically, write_manifest
from deskmodel.labels import LABELS
from deskmodel.photosets import PHOTO_SETS, PhotoSet, unused_files
from deskmodel.prepare import table

MAX_SIDE_PX = 1280
_JPEG_QUALITY = 92
_BLACK_BELOW = 3
"""Grey levels."""
_IMAGES = (".jpg", ".jpeg", ".png")

_APART = 3
"""Photos so near to a held-out one in their numbers are not trained on."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Photo:
    """A photo in a clone, one version of it, and its boxes by the set's own class names."""

    name: str
    """Path in the set's folder."""
    boxes: tuple[tuple[str, Corners], ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    splits: dict[str, list[Picture]] = defaultdict(list)
    try:
        unused = unused_files()
        wanted = [photo_set for photo_set in PHOTO_SETS if photo_set.name not in options.skip]
        for photo_set in wanted:
            check_clone(options.clones, photo_set)
        for photo_set in wanted:
            pictures = collect(options.clones, options.out, photo_set, unused.get(photo_set.name, ()))
            write_manifest(options.out / f"{photo_set.name}.jsonl", pictures)
            for picture in pictures:
                splits[picture.split].append(picture)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(table(splits))
    return 0


def check_clone(clones: Path, photo_set: PhotoSet) -> None:
    """Raise DataError where the clone of a set is missing."""
    clone = clones / photo_set.clone
    if not clone.is_dir():
        raise DataError(
            f"{clone}: wanted a clone of github.com/{photo_set.repository}, got none. "
            f"To do without: --skip {photo_set.name}"
        )


def collect(clones: Path, out: Path, photo_set: PhotoSet, unused: Collection[str] = ()) -> list[Picture]:
    """Write the images of a set to `out`; return its pictures with their splits. Raises DataError.

    unused: names of images to leave out.
    """
    with opened(clones / photo_set.clone, photo_set.commit, photo_set.folder) as files:
        _check_licence(files, photo_set)
        photos = chosen(files, photo_set, unused)
        bar = tqdm(photos, desc=f"{photo_set.name}, writing", unit="photo", disable=None)
        pictures = [_written(files, out, photo_set, photo) for photo in bar]
    return split(pictures, photo_set)


def chosen(files: Files, photo_set: PhotoSet, unused: Collection[str] = ()) -> list[Photo]:
    """Return a set's photos that are kept, in the order of their first versions' paths. Raises DataError."""
    versions: dict[str, list[str]] = defaultdict(list)
    for name in files.names():
        path = PurePosixPath(name)
        if path.parent.name == "images" and path.suffix.lower() in _IMAGES and path.name not in unused:
            versions[source_name(name)].append(name)
    if not versions:
        raise DataError(f"{photo_set.clone}/{photo_set.folder}: wanted images/*.jpg, got none")
    photos = []
    for names in tqdm(versions.values(), desc=f"{photo_set.name}, choosing", unit="photo", disable=None):
        photo = _kept(files, photo_set, names)
        if photo is not None:
            photos.append(photo)
        if len(photos) == photo_set.max_photos:
            break
    return photos


def split(pictures: Sequence[Picture], photo_set: PhotoSet) -> list[Picture]:
    """Return the pictures, each saying the manifest that it goes to; those between the two are left out.

    Raises DataError where a set that is held out by runs has a photo without a number.
    """
    if not photo_set.held:
        return [msgspec.structs.replace(picture, split="train") for picture in pictures]
    if not photo_set.run:
        return [msgspec.structs.replace(picture, split=photo_set.held) for picture in pictures]
    sided = []
    for picture in pictures:
        number = _number(picture)
        near = {_is_held(number + step, photo_set.run) for step in range(-_APART, _APART + 1)}
        if _is_held(number, photo_set.run):
            sided.append(msgspec.structs.replace(picture, split=photo_set.held))
        elif not any(near):
            sided.append(msgspec.structs.replace(picture, split="train"))
    return sided


def _is_held(number: int, run: int) -> bool:
    return number >= 0 and number // run % 3 == 2


def _number(picture: Picture) -> int:
    name = PurePosixPath(picture.image).name
    digits = name.partition(".")[0]
    if not digits.isdigit():
        raise DataError(f"{picture.image}: wanted a name that begins with the photo's number, got {name}")
    return int(digits)


def source_name(name: str) -> str:
    """Return the name that all versions of a photo share: what stands before `.rf.` and a hash, if any."""
    return PurePosixPath(name).name.split(".rf.")[0]


def black_share(grey: npt.NDArray[np.uint8]) -> float:
    """Return the share of black pixels of a picture (h, w), 0–1."""
    return float((grey < _BLACK_BELOW).mean())


def read_boxes(content: bytes, place: str, classes: Sequence[str]) -> tuple[tuple[str, Corners], ...]:
    """Return class names and corners of a label file: lines of class, centre x, centre y, width and height.

    Raises DataError, naming `place` and line.
    """
    boxes = []
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            class_id, x, y, width, height = _numbers(line)
            if not 0 <= class_id < len(classes):
                raise ValueError(f"wanted a class of 0–{len(classes) - 1}, got {class_id}")  # noqa: TRY301
            corners = clipped(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        except ValueError as error:
            raise DataError(f"{place}:{number}: {error}") from error
        boxes.append((classes[class_id], corners))
    return tuple(boxes)


def _numbers(line: str) -> tuple[int, float, float, float, float]:
    words = line.split()
    if len(words) != 5:
        raise ValueError(f"wanted class, centre x, centre y, width and height, got {line!r}")
    x, y, width, height = (float(word) for word in words[1:])
    return int(words[0]), x, y, width, height


def _kept(files: Files, photo_set: PhotoSet, versions: Sequence[str]) -> Photo | None:
    """Return the version of a photo that is kept, or None where the photo is left out."""
    name, black = versions[0], 0.0
    if photo_set.version == "least black":
        shares = [
            black_share(_pixels(files.read(version), version, cv2.IMREAD_GRAYSCALE)) for version in versions
        ]
        black = min(shares)
        name = versions[shares.index(black)]
    path = PurePosixPath(name)
    labels = str(path.parent.parent / "labels" / f"{path.stem}.txt")
    boxes = read_boxes(
        files.read(labels), f"{photo_set.clone}/{photo_set.folder}/{labels}", photo_set.classes
    )
    too_many = photo_set.max_boxes is not None and len(boxes) > photo_set.max_boxes
    too_black = photo_set.max_black is not None and black >= photo_set.max_black
    wrong = any(class_name in photo_set.wrong for class_name, _ in boxes)
    return None if not boxes or too_many or too_black or wrong else Photo(name, boxes)


def _written(files: Files, out: Path, photo_set: PhotoSet, photo: Photo) -> Picture:
    """Write a photo, at most MAX_SIDE_PX wide and high; return what is known of it."""
    content = files.read(photo.name)
    pixels = _pixels(content, photo.name, cv2.IMREAD_COLOR)
    scale = MAX_SIDE_PX / max(pixels.shape[:2])
    if scale < 1.0:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    name = f"{source_name(photo.name)}.jpg"
    path = (out / photo_set.name / "images" / name).resolve()
    write_atomically(path, content)
    rows = [(photo_set.labels.get(class_name), corners) for class_name, corners in photo.boxes]
    boxes = [(LABELS.index(label), *corners) for label, corners in rows if label is not None]
    known = photo_set.known
    if known is None:
        present = {label for label, _ in rows}
        known = tuple(label for label in LABELS if label in present)
    return Picture(
        image=str(path),
        id=f"{photo_set.name}/{name}",
        source=photo_set.name,
        licence=photo_set.credit,
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        known=list(known),
        ignore=[label for label in LABELS if label not in known],
        boxes=boxes,
        distractors=[
            (photo_set.distractors[class_name], *corners)
            for class_name, corners in photo.boxes
            if class_name in photo_set.distractors
        ],
    )


def _pixels(content: bytes, name: str, flags: int) -> npt.NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if pixels is None:
        raise DataError(f"{name}: wanted a picture, got {len(content)} bytes that OpenCV cannot read")
    return pixels  # type: ignore[return-value]


def _check_licence(files: Files, photo_set: PhotoSet) -> None:
    said = files.read(photo_set.licence_file).decode(errors="replace")
    if photo_set.licence not in said:
        place = f"{photo_set.clone}/{photo_set.folder}/{photo_set.licence_file}"
        raise DataError(f"{place}: wanted the licence {photo_set.licence}, got {said.strip()[:200]!r}")


def _parser() -> argparse.ArgumentParser:
    names = [photo_set.name for photo_set in PHOTO_SETS]
    parser = argparse.ArgumentParser(
        prog="python -m deskmodel.collect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clones", type=Path, required=True, help="the folder of owner+name")
    parser.add_argument("--out", type=Path, required=True, help="where images and manifests go")
    parser.add_argument(
        "--skip", action="append", default=[], choices=names, help="a set to leave out; may be given again"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
