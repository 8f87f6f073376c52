"""Write the manifests that training and evaluation read.

    python -m deskmodel.prepare --shared DIR --out DIR

What is held out is never trained on: COCO photos by their id, phone photos by the shoot they come from.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from deskmodel.data import DataError, Picture, read_manifest, write_manifest
from deskmodel.labels import LABELS
from deskmodel.rendered import read_rendered
from deskmodel.sources import read_cellphone, read_coco128, read_coco_people_desk
from deskmodel.split import duplicates, hold_out_groups, hold_out_strata, shoots

COCO_HELD = 256
"""Photos of val2017 that are held out: no pretrained network saw any of val2017."""
PHONES_HELD_SHARE = 0.2
RARE = ("cell phone", "keyboard", "mouse", "laptop")
"""Labels that the held-out photos hold in the same proportion as all of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        manifests = prepare(options.shared, options.rendered, options.extra, options.trained)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, pictures in manifests.items():
        write_manifest(options.out / f"{name}.jsonl", pictures)
    sys.stdout.write(table(manifests))
    return 0


def prepare(
    shared: Path, rendered: Sequence[Path] = (), extra: Sequence[Path] = (), trained: Sequence[Path] = ()
) -> dict[str, list[Picture]]:
    """Return the manifests by name: train, held, held-phones, and one for each profile of rendered scenes.

    Rendered scenes of the profile `train` are trained on, and all of the folders `trained`. Raises DataError.
    """
    more = [picture for path in extra for picture in _read_extra(path)]
    photos = shared / "photos"
    desk = read_coco_people_desk(photos / "coco-people-desk")
    other = read_coco128(photos / "coco128")
    phones = read_cellphone(photos / "cellphone")
    held = hold_out_strata([p for p in desk if "val2017" in p.source], COCO_HELD, RARE)
    groups = shoots(tqdm(phones, desc="phone photos", unit="photo", disable=None))
    held_phones = hold_out_groups(phones, groups, PHONES_HELD_SHARE)
    held_ids = {picture.id for picture in (*held, *held_phones)}
    doubled = duplicates(other, of=[*desk, *phones])
    manifests = {
        "train": [p for p in (*desk, *other, *phones) if p.id not in held_ids | doubled],
        "held": held,
        "held-phones": held_phones,
    }
    for folder in rendered:
        for picture in read_rendered(folder):
            manifests.setdefault(picture.profile, []).append(picture)
    manifests["train"] += [picture for folder in trained for picture in read_rendered(folder)]
    present = [picture for pictures in manifests.values() for picture in pictures]
    repeated = duplicates(more, of=present)
    for picture in more:
        if picture.id not in repeated:
            manifests.setdefault(picture.split, []).append(picture)
    check_apart(manifests)
    return manifests


def check_apart(manifests: dict[str, list[Picture]]) -> None:
    """Raise DataError where an id is in two manifests, or twice in one."""
    seen: dict[str, str] = {}
    for name, pictures in manifests.items():
        for picture in pictures:
            if picture.id in seen:
                raise DataError(
                    f"{picture.image}: wanted each id once, got {picture.id} in {seen[picture.id]} and {name}"
                )
            seen[picture.id] = name


def table(manifests: dict[str, list[Picture]]) -> str:
    """Return a Markdown table: pictures and boxes per label of each manifest and source."""
    lines = ["| split | source | pictures | " + " | ".join(LABELS) + " |", "| --- " * (len(LABELS) + 3) + "|"]
    for name, pictures in manifests.items():
        sources = sorted({picture.source for picture in pictures})
        lines += [_row(name, source, [p for p in pictures if p.source == source]) for source in sources]
        if len(sources) > 1:
            lines.append(_row(name, "all", pictures))
    return "\n".join(lines) + "\n"


def _row(name: str, source: str, pictures: Sequence[Picture]) -> str:
    boxes = Counter(row[0] for picture in pictures for row in picture.boxes)
    cells = [name, source, len(pictures), *(boxes[class_id] for class_id in range(len(LABELS)))]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _read_extra(path: Path) -> list[Picture]:
    """Return a manifest of more photos, each line saying its split."""
    pictures = read_manifest(path)
    for number, picture in enumerate(pictures, start=1):
        place = f"{path}: picture {number} ({picture.id})"
        if not picture.split:
            raise DataError(f"{place}: wanted a split, train, held or held-…, got none")
        if not Path(picture.image).is_file():
            raise DataError(f"{place}: wanted {picture.image}, got no such file")
    return pictures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deskmodel.prepare", description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder that holds photos/")
    parser.add_argument("--out", type=Path, required=True, help="where the manifests go")
    parser.add_argument("--rendered", type=Path, action="append", default=[], help="folder of scenes")
    parser.add_argument(
        "--trained", type=Path, action="append", default=[], help="likewise, of any profile, to be trained on"
    )
    parser.add_argument("--extra", type=Path, action="append", default=[], help="a manifest of more photos")
    return parser


if __name__ == "__main__":
    sys.exit(main())
