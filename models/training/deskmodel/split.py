"""What is held out: by hashes of ids, so that a picture's side never depends on what else there is.

Phone photos are near copies of one another, as frames of one video or turned and mirrored versions of one
photo. A whole shoot goes to one side.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deskmodel.data import Picture, load_rgb

MAX_HAMMING = 10
"""dHash bits, of 64, in which two versions of one photo may differ."""
MAX_COLOUR = 25.0
"""Mean difference of such versions' thumbnails, in levels: dHash alone takes any two upright phones on a
plain ground for one photo."""
MAX_BACKGROUND = 14.0
"""In levels, the difference that the calmest 45 % of two thumbnails stay under in frames of one shoot."""
_CALM_PERCENT = 45
_MIN_TELLING = 100
"""Cells of a thumbnail, of 256, that must be neither black nor white: product photos share those."""
_SIDE_PX = 16

_NUMBERED = re.compile(r"\d{1,3}jpg|DataclusterLabsPhoneData")
"""Names that photos of several sets share by chance."""
# Shoots that these measures split, as contact sheets show: an arm before a dim wall, two phones
# under coloured light, a bare-shouldered man (some frames turned or mirrored), and a pale woman in
# overexposed frames.
_SHOOTS = (
    ("webcam of one host", re.compile(r".*11ed94f30242")),
    ("dim wall", re.compile(r"1[234]\d\djpg")),
    ("coloured lamp", re.compile(r"phone(16[4-9]|17[0-8])jpg")),
    ("bare shoulders", re.compile(r"phone(76|13[689]|14\d|15\d|16[0-3])jpg")),
)
_SHOOT_FILES = frozenset(
    {
        "train_0153_14jpg", "train_0156_15jpg", "train_0162_16jpg", "train_0164_17jpg", "valid_0055_13jpg",
        "test_0004_10jpg", "test_0029_8jpg", "train_0302_9jpg",
    }
)  # fmt: skip


def rank(picture_id: str) -> bytes:
    """Return what pictures are drawn by: as good as chance, and always the same."""
    return hashlib.sha256(f"deskwatch split 1 {picture_id}".encode()).digest()


def hold_out_strata(pictures: Sequence[Picture], count: int, rare: Sequence[str]) -> list[Picture]:
    """Return `count` of the pictures, with the `rare` labels in proportion.

    A stratum is the pictures with the same rare labels in them; each gives its share, by largest remainder.
    """
    strata: dict[tuple[bool, ...], list[Picture]] = defaultdict(list)
    for picture in pictures:
        present = picture.labels_present()
        strata[tuple(label in present for label in rare)].append(picture)
    exact = {key: count * len(members) / len(pictures) for key, members in strata.items()}
    quota = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (quota[key] - exact[key], key))
    for key in by_remainder[: count - sum(quota.values())]:
        quota[key] += 1
    held = {
        picture.id
        for key, members in strata.items()
        for picture in sorted(members, key=lambda picture: rank(picture.id))[: quota[key]]
    }
    return [picture for picture in pictures if picture.id in held]


def hold_out_groups(pictures: Sequence[Picture], groups: Sequence[int], share: float) -> list[Picture]:
    """Return about `share` of the pictures in whole groups; groups (n,) numbers each picture's group.

    Groups are drawn in the order of their ranks; one that would go past the share is passed over.
    """
    members: dict[int, list[Picture]] = defaultdict(list)
    for picture, group in zip(pictures, groups, strict=True):
        members[group].append(picture)
    wanted = round(share * len(pictures))
    held: set[str] = set()
    for group in sorted(members.values(), key=lambda group: min(rank(picture.id) for picture in group)):
        if len(held) + len(group) <= wanted:
            held |= {picture.id for picture in group}
    return [picture for picture in pictures if picture.id in held]


def duplicates(pictures: Sequence[Picture], of: Sequence[Picture]) -> set[str]:
    """Return the ids of pictures that `of` has too, by id or by the bytes of the file."""
    ids = {picture.id for picture in of}
    contents = {_content(picture) for picture in of}
    return {picture.id for picture in pictures if picture.id in ids or _content(picture) in contents}


def shoots(pictures: Iterable[Picture]) -> list[int]:
    """Return each picture's shoot, (n,): pictures with one number may be near copies."""
    names, thumbnails, hashes, mirrored = [], [], [], []
    for picture in pictures:
        rgb = load_rgb(picture.image)
        names.append(Path(picture.image).stem)
        hashes.append(dhash(rgb))
        mirrored.append(dhash(rgb[:, ::-1]))
        thumbnails.append(cv2.resize(rgb, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA))
    joined = _Groups(len(names))
    for members in _named_alike(names):
        for other in members[1:]:
            joined.join(members[0], other)
    for i, j in _seen_alike(np.array(hashes), np.array(mirrored), np.array(thumbnails, np.float32)):
        joined.join(i, j)
    return [joined.find(i) for i in range(len(names))]


def dhash(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return a difference hash, (64,): which of 8×8 cells are darker than their right neighbour."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return (cells[:, 1:] > cells[:, :-1]).ravel()


class _Groups:
    """Disjoint sets of 0 … n-1."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        low, high = sorted((self.find(i), self.find(j)))
        self._parent[high] = low


def _named_alike(names: Sequence[str]) -> list[list[int]]:
    """Return groups of indexes whose names, `split_number_stem`, tell that they belong together."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        stem = name.split("_", 2)[-1]
        if not _NUMBERED.fullmatch(stem):
            groups[stem].append(i)
        for shoot, pattern in _SHOOTS:
            if pattern.fullmatch(stem):
                groups[shoot].append(i)
        if name in _SHOOT_FILES:
            groups["overexposed"].append(i)
    return list(groups.values())


def _seen_alike(
    hashes: npt.NDArray[np.bool_], mirrored: npt.NDArray[np.bool_], thumbnails: npt.NDArray[np.float32]
) -> list[tuple[int, int]]:
    """Return pairs that look like one photo or one shoot, mirrored or not.

    hashes, mirrored (n, 64); thumbnails (n, 16, 16, 3), levels.
    """
    bare = thumbnails.mean(axis=3)
    plain = np.stack([bare < 12.0, bare > 240.0])  # black bars and paper-white grounds
    pairs = []
    for i in range(len(hashes) - 1):
        later = slice(i + 1, None)
        for others, pictures, flat in (
            (hashes, thumbnails, plain),
            (mirrored, thumbnails[:, :, ::-1], plain[:, :, :, ::-1]),
        ):
            n = len(hashes) - i - 1
            apart = np.abs(pictures[later] - thumbnails[i]).mean(axis=3).reshape(n, -1)
            copies = ((hashes[i] != others[later]).sum(axis=1) <= MAX_HAMMING) & (
                apart.mean(axis=1) < MAX_COLOUR
            )
            telling = ~(flat[:, later] & plain[:, i, np.newaxis]).any(axis=0).reshape(n, -1)
            calm = _percentile_of(apart, telling, _CALM_PERCENT)
            shoot = (calm < MAX_BACKGROUND) & (telling.sum(axis=1) >= _MIN_TELLING)
            pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(copies | shoot)]
    return pairs


def _percentile_of(
    values: npt.NDArray[np.float32], counted: npt.NDArray[np.bool_], percent: int
) -> npt.NDArray[np.float32]:
    """Return each row's percentile of the values that count, (n, m) to (n,); infinite where none does."""
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    place = (counted.sum(axis=1) * percent) // 100
    return ordered[np.arange(len(ordered)), np.minimum(place, ordered.shape[1] - 1)]


def _content(picture: Picture) -> str:
    return hashlib.sha256(Path(picture.image).read_bytes()).hexdigest()
