"""The tracker: one id for one object, and never a miss taken for an absence."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision.scene import SceneState, look
from edge.vision.tracker import (
    FollowSettings,
    TracksState,
    follow,
    same_object,
)
from edge.vision.types import Box, Detection, Track

PERSON = Box(0.3, 0.2, 0.7, 1.0)


def scene_of(picture, *, changed=False):
    """The scene of a picture, compared with itself or with nothing."""
    state, scene = look(SceneState(), picture, 0.0)
    return scene if changed else look(state, picture, 0.1)[1]


def room(person: bool = True, gain: float = 1.0) -> np.ndarray:
    picture = np.empty((225, 300, 3), np.float32)
    picture[:] = np.linspace(80, 170, 300)[None, :, None]
    picture[20:60, 10:70] = 40
    if person:
        picture[45:, 90:210] = 50
        picture[60:110, 125:175] = 190
    return np.clip(picture * gain, 0, 255).astype(np.uint8)


SITTING, EMPTY = scene_of(room()), scene_of(room(person=False))


def person(score: float = 0.8, box: Box = PERSON, label: str = "person") -> Detection:
    return Detection(label, score, box)


def moved(box: Box, by: float) -> Box:
    return Box(box.x0 + by, box.y0, box.x1 + by, box.y1)


class Watch:
    """Steps the tracker ten times a second and keeps its state."""

    def __init__(self, **limits) -> None:
        self.state, self.now_s, self.limits = TracksState(), 100.0, FollowSettings(**limits)

    def see(self, *detections: Detection, scene=SITTING, for_s: float = 0.1) -> tuple[Track, ...]:
        return self._step(detections, scene, for_s)

    def skip(self, scene=SITTING, for_s: float = 0.1) -> tuple[Track, ...]:
        return self._step(None, scene, for_s)

    def _step(self, detections, scene, for_s):
        for _ in range(round(for_s * 10)):
            self.now_s += 0.1
            self.state, tracks = follow(self.state, detections, scene, self.now_s, self.limits)
        return tracks


def test_a_moving_person_keeps_an_id_and_shows_the_latest_score_and_box():
    watch = Watch()
    for step in range(6):
        score, box = 0.5 + 0.05 * step, moved(PERSON, -0.3 + 0.1 * step)
        (track,) = watch.see(person(score, box))
        assert (track.track_id, track.score, track.box, track.seen) == (1, score, box, True)
    assert track.first_s == pytest.approx(100.1)
    assert track.last_s == pytest.approx(watch.now_s)


def test_a_birth_takes_more_score_than_going_on():
    watch = Watch()
    assert watch.see(person(0.25)) == ()
    assert watch.see(person(0.3))[0].seen
    assert watch.see(person(0.25))[0].seen
    assert not watch.see(person(0.15))[0].seen


def test_labels_are_followed_apart():
    watch = Watch()
    first = watch.see(person(), person(label="cell phone"))
    second = watch.see(person(label="cell phone"), person())
    assert {t.track_id: t.label for t in first} == {t.track_id: t.label for t in second}
    assert len(first) == 2


def test_crossing_people_are_matched_by_the_best_overlap_first():
    watch = Watch()
    left, right = Box(0.1, 0.2, 0.4, 0.9), Box(0.35, 0.2, 0.65, 0.9)
    watch.see(person(0.9, left), person(0.8, right))
    tracks = watch.see(person(0.9, moved(right, 0.02)), person(0.8, moved(left, 0.02)))
    assert [round(t.box.x0, 2) for t in tracks] == [0.12, 0.37]
    assert [t.track_id for t in tracks] == [1, 2]


def test_a_person_who_sits_still_is_never_lost_however_long_the_detector_misses():
    watch = Watch()
    watch.see(person(), for_s=1)
    (track,) = watch.see(scene=SITTING, for_s=600)
    assert (track.track_id, track.seen, track.score) == (1, False, 0.8)
    assert track.last_s == pytest.approx(watch.now_s)
    (track,) = watch.see(person())
    assert (track.track_id, track.seen) == (1, True)


def test_a_person_who_left_is_cannot_tell_for_miss_s_and_then_gone():
    watch = Watch(miss_s=1.0)
    watch.see(person(), for_s=1)
    (track,) = watch.see(scene=EMPTY, for_s=0.9)
    assert not track.seen
    assert track.last_s == pytest.approx(101.0)
    assert watch.see(scene=EMPTY, for_s=0.2) == ()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("fps", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("speed", [0.3, 0.5, 0.75])
def test_a_person_who_walks_out_of_the_frame_is_not_held_for_the_wall_that_stays(side, fps, speed):
    """A box begins well before the body: the last one, at the edge, holds the wall alone, which stays."""
    state, now_s = TracksState(), 100.0
    for step in range(6 * fps):
        now_s += 1.0 / fps
        x0 = min(1.0, 0.2 + speed * max(0.0, step / fps - 1.5))
        box = Box(x0, 0.1, min(1.0, x0 + 0.3), 0.9)
        if side == "left":
            box = Box(1.0 - box.x1, 0.1, 1.0 - box.x0, 0.9)
        there = x0 < 0.97
        picture = room(person=False)
        picture[30:, int(300 * min(1.0, x0 + 0.12)) : int(300 * min(1.0, x0 + 0.3))] = 50
        scene = scene_of(picture if side == "right" else picture[:, ::-1])
        state, tracks = follow(state, [person(box=box)] if there else [], scene, now_s, FollowSettings())
    assert not there
    for _ in range(3 * fps):
        now_s += 1.0 / fps
        state, tracks = follow(state, [], scene, now_s, FollowSettings())
    assert tracks == ()


@pytest.mark.parametrize(
    "boxes",
    [
        [Box(0.8, 0.1, 1.0, 0.9)] * 8,
        [Box(0.7 - 0.05 * step, 0.1, 1.0, 0.9) for step in range(8)],
        [Box(0.3 + 0.05 * step, 0.1, 0.5 + 0.05 * step, 0.9) for step in range(8)],
    ],
    ids=["rests at the edge", "comes in from it", "moves inside the frame"],
)
def test_who_does_not_walk_out_is_held_as_ever(boxes):
    watch = Watch()
    for box in boxes:
        watch.see(person(box=box))
    (track,) = watch.see(for_s=60.0)
    assert not track.seen


def test_a_person_held_for_long_and_then_gone_is_gone_miss_s_after():
    watch = Watch()
    watch.see(person(), for_s=1)
    watch.see(scene=SITTING, for_s=60)
    assert len(watch.see(scene=EMPTY, for_s=0.9)) == 1
    assert watch.see(scene=EMPTY, for_s=0.2) == ()


def test_dusk_over_a_person_sitting_still_is_not_their_leaving():
    watch = Watch()
    watch.see(person(), for_s=1)
    for gain in np.linspace(1.0, 0.3, 100):
        assert watch.see(scene=scene_of(room(gain=gain)))


def test_a_posture_that_drifts_over_minutes_is_followed():
    watch = Watch()
    watch.see(person(), for_s=1)
    for step in range(60):
        tracks = watch.see(scene=scene_of(np.roll(room(), step, axis=1)), for_s=5)
    assert len(tracks) == 1


def test_a_single_weak_flicker_is_not_held():
    watch = Watch()
    watch.see(person(0.35))
    assert watch.see(for_s=0.9)
    assert watch.see(for_s=0.3) == ()
    watch.see(person(0.35), for_s=0.3)
    assert watch.see(for_s=60)


def test_without_an_inference_what_was_seen_in_an_unchanged_scene_counts_as_seen_now():
    watch = Watch()
    watch.see(person(0.35))
    (track,) = watch.skip(for_s=5)
    assert track.seen
    assert track.last_s == pytest.approx(watch.now_s)


def test_without_an_inference_a_changed_scene_says_nothing_new():
    watch = Watch()
    watch.see(person())
    gone = scene_of(room(person=False), changed=True)
    (track,) = watch.skip(scene=gone, for_s=0.9)
    assert track.last_s == pytest.approx(100.1)
    assert watch.skip(scene=gone, for_s=0.3) == ()


def test_without_an_inference_a_missed_track_stays_missed():
    watch = Watch()
    watch.see(person())
    watch.see()
    (track,) = watch.skip(for_s=5)
    assert not track.seen


def test_a_camera_closed_for_hours_keeps_who_still_sits_there_and_drops_who_does_not():
    for scene, kept in [(SITTING, 1), (EMPTY, 0)]:
        watch = Watch()
        watch.see(person(), for_s=1)
        watch.now_s += 7200
        assert len(watch.see(scene=scene)) == kept


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Box(0.32, 0.2, 0.7, 1.0), True),  # nearly the same box
        (Box(0.35, 0.2, 0.65, 0.6), True),  # head and shoulders of the same person
        (Box(0.32, 0.25, 0.42, 0.5), False),  # someone small in the background, behind the shoulder
        (Box(0.6, 0.2, 1.0, 1.0), False),  # someone beside
    ],
)
def test_doubles_of_one_person_are_one_and_two_people_are_two(other, same):
    assert same_object(PERSON, other) is same_object(other, PERSON) is same
    assert len(Watch().see(person(0.8), person(0.6, other))) == (1 if same else 2)
    assert len(Watch().see(person(0.8), person(0.6, other, label="dog"))) == 2


def test_a_box_that_flips_between_the_whole_and_the_upper_body_keeps_its_id():
    watch = Watch()
    for step in range(20):
        tracks = watch.see(person(0.7, PERSON if step % 2 else Box(0.35, 0.2, 0.65, 0.6)))
        assert [t.track_id for t in tracks] == [1]


def test_a_missed_track_under_a_seen_one_is_not_a_second_person():
    watch = Watch()
    watch.see(person(0.9, Box(0.1, 0.2, 0.4, 1.0)), person(0.8, Box(0.4, 0.2, 0.8, 1.0)))
    tracks = watch.see(person(0.9, Box(0.1, 0.2, 0.78, 1.0)))
    assert [t.seen for t in tracks] == [True]


def test_the_least_certain_go_beyond_the_bound():
    watch = Watch(max_tracks=3)
    boxes = [Box(0.1 * i, 0.1, 0.1 * i + 0.08, 0.3) for i in range(6)]
    watch.see(*(person(0.9, b) for b in boxes[:3]))
    tracks = watch.see(*(person(0.4 + 0.1 * i, b) for i, b in enumerate(boxes[2:], start=2)))
    assert [t.score for t in tracks] == pytest.approx([0.9, 0.8, 0.7])
    assert [t.track_id for t in tracks] == [4, 5, 6]
    assert all(t.seen for t in tracks)


@pytest.mark.parametrize(
    "limits",
    [{"keep_score": 0.5}, {"birth_score": 1.2}, {"miss_s": -1.0}, {"max_tracks": 0}, {"keep_score": -0.1}],
)
def test_impossible_settings_are_refused(limits):
    with pytest.raises(ValueError, match="wanted"):
        FollowSettings(**limits)


unit = st.floats(0, 1, width=16)
boxes = st.builds(lambda a, b, c, d: Box(min(a, b), min(c, d), max(a, b), max(c, d)), unit, unit, unit, unit)
detected = st.lists(st.builds(Detection, st.sampled_from(["person", "cup"]), unit, boxes), max_size=6)
scenes = st.sampled_from([SITTING, EMPTY, scene_of(room(), changed=True), scene_of(room(gain=0.5))])
steps = st.lists(st.tuples(st.none() | detected, scenes, st.floats(0, 3, width=16)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_whatever_comes_ids_are_new_and_unique_and_time_and_number_are_bounded(steps, random):
    limits = FollowSettings(max_tracks=4)
    state = shuffled_state = TracksState()
    now_s, newest, alive, last_s = 5.0, 0, set(), {}
    for detections, scene, passed_s in steps:
        now_s += passed_s
        mixed = None if detections is None else random.sample(detections, len(detections))
        state, tracks = follow(state, detections, scene, now_s, limits)
        shuffled_state, same = follow(shuffled_state, mixed, scene, now_s, limits)
        assert same == tracks
        ids = [t.track_id for t in tracks]
        assert ids == sorted(set(ids))
        assert len(ids) <= limits.max_tracks
        born = set(ids) - alive
        assert all(i > newest for i in born)
        newest, alive = max([newest, *ids]), set(ids)
        for track in tracks:
            assert track.first_s <= track.last_s <= now_s
            assert track.last_s >= last_s.get(track.track_id, 0.0)
            last_s[track.track_id] = track.last_s
            if detections is not None and track.seen:
                assert Detection(track.label, track.score, track.box) in detections


@settings(max_examples=100, deadline=None)
@given(detected)
def test_the_same_detections_again_give_the_same_tracks(detections):
    state, first = follow(TracksState(), detections, SITTING, 1.0)
    _, second = follow(state, detections, SITTING, 2.0)
    assert [(t.track_id, t.score, t.box) for t in second] == [(t.track_id, t.score, t.box) for t in first]


@pytest.fixture(scope="module")
def ssd(shared: Path):
    """The shared SSD model on a squashed picture, straight from the interpreter."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model = litert.Interpreter(str(shared / "models" / "ssd_mobilenet_v1_coco_quant.tflite"), num_threads=2)
    model.allocate_tensors()
    labels = (shared / "models" / "coco_labels_90.txt").read_text().splitlines()
    outputs = [output["index"] for output in model.get_output_details()]

    def detect(picture: np.ndarray) -> list[Detection]:
        model.set_tensor(model.get_input_details()[0]["index"], cv2.resize(picture, (300, 300))[None])
        model.invoke()
        found, classes, scores, count = (model.get_tensor(output)[0] for output in outputs)
        return [
            Detection(
                labels[int(classes[i])],
                float(scores[i]),
                Box(*(float(v) for v in found[i].clip(0, 1)[[1, 0, 3, 2]])),
            )
            for i in range(int(count))
        ]

    return detect


def followed(path: Path, ssd, step: int, fps: float) -> list[tuple[Track, ...]]:
    """Walk the clip through gate, model and tracker, as the watch does."""
    clip, index, history = cv2.VideoCapture(str(path)), 0, []
    scene_state, tracks_state = SceneState(), TracksState()
    while True:
        ok, frame = clip.read()
        if not ok:
            return history
        if index % step == 0:
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            content = cv2.resize(rgb, (300, round(300 * rgb.shape[0] / rgb.shape[1])))
            now_s = index / fps
            scene_state, scene = look(scene_state, content, now_s)
            detections = ssd(rgb) if scene.infer else None
            tracks_state, tracks = follow(tracks_state, detections, scene, now_s)
            history.append(tracks)
        index += 1


def people(history: list[tuple[Track, ...]], above: float = 0.5) -> list[int]:
    return [sum(t.seen and t.label == "person" and t.score > above for t in tracks) for tracks in history]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "step", "fps"),
    [("head-pose-face-detection-female.gif", 1, 12.5), ("book.mkv", 3, 30.0), ("eat.mkv", 1, 30.0)],
)
def test_one_person_on_a_real_clip_is_one_track_under_one_id(shared, ssd, name, step, fps):
    history = followed(shared / "clips" / name, ssd, step, fps)
    assert set(people(history)) == {1}
    strong = [t.track_id for tracks in history for t in tracks if t.label == "person" and t.score > 0.5]
    assert len(set(strong)) == 1


@pytest.mark.shared
def test_two_people_on_a_real_clip_are_two_tracks_under_two_ids(shared, ssd):
    history = followed(shared / "clips" / "head-pose-face-detection-female-and-male.gif", ssd, 1, 12.5)
    counts = Counter(people(history))
    assert counts[2] >= 0.9 * len(history)
    assert max(counts) == 2
    strong = {t.track_id for tracks in history for t in tracks if t.label == "person" and t.score > 0.5}
    assert len(strong) == 2


@pytest.mark.shared
def test_a_real_person_whom_the_model_no_longer_finds_is_still_there(shared, ssd):
    """The model goes blind in the middle of a clip of someone gesturing."""
    calls = iter(range(10**6))
    history = followed(
        shared / "clips" / "eat.mkv", lambda rgb: ssd(rgb) if next(calls) < 10 else [], 1, 30.0
    )
    ids = {t.track_id for t in history[9] if t.label == "person" and t.score > 0.5}
    assert len(ids) == 1
    assert all(ids <= {t.track_id for t in tracks} for tracks in history[9:])
    assert not any(t.seen for t in history[-1])
