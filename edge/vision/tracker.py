"""Follow detections over frames under one id, and never take a miss for an absence.

A detector loses people who sit still. So a track that an inference misses is kept as "cannot tell"
(`seen=False`) for as long as the picture inside its box still looks as it did at its last hit. Who was last
seen on the way out of the frame's side is gone: that is no sitting still.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.vision.scene import Blocks, Scene, box_differs
from edge.vision.types import Box, Detection, Track

MATCH_IOU = 0.15
"""Low, as each label is matched on its own: a whole person and then the upper fifth of them is one track."""
DUPLICATE_IOU = 0.5
DUPLICATE_CONTAINED, DUPLICATE_AREA_RATIO = 0.8, 0.2
"""Two boxes of one label are one object at DUPLICATE_IOU, or when this much of the smaller lies in the larger
and its area is more than this ratio of the larger's. Of 1,427 overlapping pairs of people that SSD MobileNet
gives (score above 0.3, 547 photos), 643 were nested so, and two real people in one case of ten; of the 271
with a smaller ratio, someone in the background, in one of three (one of two above a score of 0.5)."""
SURE_SCORE, SURE_HITS = 0.5, 3
"""Held without a time bound only once it scored this at least once, or was hit this often: a flicker of the
detector must not blind a rule for hours."""
APPEARANCE_TAU_S = 30.0
"""While held, the remembered picture follows the present one this slowly: shade and posture drift, people
leave within a second."""

EDGE = 0.03
"""So near to the frame's left or right, in 0–1 of its width, a box ends at the edge."""
SETTLE_TAU_S = 0.5
OUTWARD_SHARE = 0.25
"""A box is on its way out when its inner side is this share of its width further out than where it lately
was, as followed with SETTLE_TAU_S. The last box of who walks out is mostly wall, which never changes: on a
clip of two who walk out within a second, two detectors last gave boxes of 0.14–0.18 of the frame's width that
had come 0.33–1.27 of their own width outwards, and both held them to the clip's end."""


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """Limits of the tracker; scores in 0–1."""

    birth_score: float = 0.3
    """A new track takes this much. Low: the rules have their own hysteresis."""
    keep_score: float = 0.2
    """An existing track is hit by this much."""
    miss_s: float = 1.0
    """How long a missed track is kept when its picture changed."""
    max_tracks: int = 32

    def __post_init__(self) -> None:
        if not 0.0 <= self.keep_score <= self.birth_score <= 1.0:
            raise ValueError(f"scores: wanted 0 <= keep_score <= birth_score <= 1, got {self}")
        if self.miss_s < 0.0 or self.max_tracks < 1:
            raise ValueError(f"bounds: wanted miss_s >= 0 and max_tracks >= 1, got {self}")


@dataclass(frozen=True, slots=True)
class Followed:
    """A track and what it takes to follow it."""

    track: Track
    appearance: Blocks
    """The picture's blocks at the last hit, followed slowly while held."""
    hits: int
    best_score: float
    settled_x: tuple[float, float]
    """Where the box's left and right lately were before the last hit, in 0–1 of the frame's width."""

    @property
    def sure(self) -> bool:
        """Whether it may be held for as long as its picture stays."""
        return self.best_score >= SURE_SCORE or self.hits >= SURE_HITS

    @property
    def going_out(self) -> bool:
        """Whether it was last seen at the left or right edge of the frame, moving outwards, or hardly at all.

        At few frames a second who walks out is a new track in each.
        """
        box, (left, right) = self.track.box, self.settled_x
        enough = OUTWARD_SHARE * (box.x1 - box.x0)
        new = self.hits < SURE_HITS
        return (box.x0 <= EDGE and (new or right - box.x1 > enough)) or (
            box.x1 >= 1.0 - EDGE and (new or box.x0 - left > enough)
        )


@dataclass(frozen=True, slots=True)
class TracksState:
    """What is followed, by id; ids start at 1 and are never given twice."""

    followed: tuple[Followed, ...] = ()
    next_id: int = 1
    now_s: float = float("-inf")


DEFAULT_SETTINGS = FollowSettings()


def follow(
    state: TracksState,
    detections: Sequence[Detection] | None,
    scene: Scene,
    now_s: float,
    settings: FollowSettings = DEFAULT_SETTINGS,
) -> tuple[TracksState, tuple[Track, ...]]:
    """Take one frame's detections, or None where no inference ran; return the tracks of this moment, by id.

    None with an unchanged scene: what the latest inference saw is there still, and counts as seen now. A
    track's score is the latest raw one, so that evidence shows the score of its own picture and no rule's
    `hold_s` is stretched by a smoother; the rules' enter/leave hysteresis is what steadies it.
    """
    elapsed_s = max(0.0, now_s - state.now_s) if state.followed else 0.0
    if detections is None:
        kept = [_unlooked(f, scene, now_s, elapsed_s, settings) for f in state.followed]
        return _ended(kept, state.next_id, now_s, settings)
    found = _distinct(d for d in detections if d.score >= settings.keep_score)
    hits = _match(state.followed, found)
    followed: list[Followed | None] = []
    for index, old in enumerate(state.followed):
        if index in hits:
            followed.append(_hit(old, found[hits[index]], scene, now_s))
        else:
            followed.append(_held(_missed(old), scene, now_s, elapsed_s, settings))
    taken, next_id = set(hits.values()), state.next_id
    for index, detection in enumerate(found):
        if index not in taken and detection.score >= settings.birth_score:
            followed.append(_born(detection, next_id, scene, now_s))
            next_id += 1
    return _ended(followed, next_id, now_s, settings)


def same_object(one: Box, other: Box) -> bool:
    """Tell whether two boxes of one label are likely one object, seen twice."""
    shared = one.intersection(other)
    if shared <= 0.0:
        return False
    small, large = sorted((one.area, other.area))
    if shared >= DUPLICATE_IOU * (small + large - shared):
        return True
    return shared > DUPLICATE_CONTAINED * small and small > DUPLICATE_AREA_RATIO * large


def _distinct(detections: Iterable[Detection]) -> list[Detection]:
    """Drop empty boxes and the weaker of each double; best first, in an order that no permutation changes."""
    kept: list[Detection] = []
    for d in sorted(detections, key=lambda d: (-d.score, d.label, d.box.x0, d.box.y0, d.box.x1, d.box.y1)):
        if d.box.area > 0.0 and not any(k.label == d.label and same_object(k.box, d.box) for k in kept):
            kept.append(d)
    return kept


def _match(followed: Sequence[Followed], found: Sequence[Detection]) -> dict[int, int]:
    """Pair tracks with detections of their label, highest IoU first; return indices, track to detection."""
    pairs = [
        (-iou, t, d)
        for t, old in enumerate(followed)
        for d, new in enumerate(found)
        if old.track.label == new.label and (iou := old.track.box.iou(new.box)) >= MATCH_IOU
    ]
    hits: dict[int, int] = {}
    taken: set[int] = set()
    for _, t, d in sorted(pairs):
        if t not in hits and d not in taken:
            hits[t] = d
            taken.add(d)
    return hits


def _born(detection: Detection, track_id: int, scene: Scene, now_s: float) -> Followed:
    track = Track(track_id, detection.label, detection.score, detection.box, now_s, now_s, seen=True)
    return Followed(track, scene.blocks, 1, detection.score, (detection.box.x0, detection.box.x1))


def _hit(old: Followed, detection: Detection, scene: Scene, now_s: float) -> Followed:
    was, last_s = old.track, max(old.track.last_s, now_s)
    # Not `replace`, which takes three times as long, on every frame.
    track = Track(was.track_id, was.label, detection.score, detection.box, was.first_s, last_s, seen=True)
    # Of what was seen before this hit only: at a frame or two a second it has followed all the way.
    share = min(1.0, max(0.0, now_s - was.last_s) / SETTLE_TAU_S)
    left, right = old.settled_x
    settled_x = left + share * (was.box.x0 - left), right + share * (was.box.x1 - right)
    return Followed(track, scene.blocks, old.hits + 1, max(old.best_score, detection.score), settled_x)


def _missed(old: Followed) -> Followed:
    return replace(old, track=replace(old.track, seen=False)) if old.track.seen else old


def _unlooked(
    old: Followed, scene: Scene, now_s: float, elapsed_s: float, settings: FollowSettings
) -> Followed | None:
    """Carry a track over a frame without an inference."""
    if old.track.seen and not scene.changed:
        return replace(old, track=replace(old.track, last_s=max(old.track.last_s, now_s)))
    return _held(old, scene, now_s, elapsed_s, settings)


def _held(
    old: Followed, scene: Scene, now_s: float, elapsed_s: float, settings: FollowSettings
) -> Followed | None:
    """Keep a track that was not hit while its picture stays, and for `miss_s` after it changed; else None."""
    if old.sure and not old.going_out and not box_differs(old.appearance, scene, old.track.box):
        share = np.float32(min(1.0, elapsed_s / APPEARANCE_TAU_S))
        appearance = old.appearance + share * (scene.blocks - old.appearance)
        track = replace(old.track, last_s=max(old.track.last_s, now_s))
        return replace(old, track=track, appearance=appearance)
    return old if now_s - old.track.last_s <= settings.miss_s else None


def _ended(
    followed: Iterable[Followed | None], next_id: int, now_s: float, settings: FollowSettings
) -> tuple[TracksState, tuple[Track, ...]]:
    """Drop what ended, what doubles a seen track, and the least certain beyond `max_tracks`."""
    kept = [f for f in followed if f is not None]
    seen = [f.track for f in kept if f.track.seen]
    kept = [
        f
        for f in kept
        if f.track.seen or not any(s.label == f.track.label and same_object(s.box, f.track.box) for s in seen)
    ]
    if len(kept) > settings.max_tracks:
        kept.sort(key=lambda f: (not f.track.seen, -f.track.score, f.track.track_id))
        kept = sorted(kept[: settings.max_tracks], key=lambda f: f.track.track_id)
    return TracksState(tuple(kept), next_id, now_s), tuple(f.track for f in kept)
