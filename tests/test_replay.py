"""The whole watch on real footage, as `deskwatch replay` runs it."""

import datetime as dt
import json

import cv2
import numpy as np
import pytest

from edge import offline
from edge.capture.frame import EndOfFootage, FootageError
from edge.policy.document import PolicyError, parse_policy
from edge.uplink.messages import BreakEndedEvent, BreakStartedEvent, ClosedEvent, OpenedEvent
from edge.uplink.records import Kind
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from tests.clip import CLIP

MONDAY = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
PHONE = {"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 2}
BOTTLE = {"id": "bottle", "kind": "object", "labels": ["bottle"], "hold_s": 2}
EXTRA = {"id": "extra-person", "kind": "people", "max": 1, "hold_s": 1.5}
BREAKS = (BreakStartedEvent, BreakEndedEvent)
ABSENT = {"id": "absent", "kind": "people", "min": 1, "hold_s": 6, "release_s": 1}


def policy(*rules, **more):
    document = {
        "schema": "policy/1",
        "version": 1,
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2036-01-01T00:00:00Z",
        "timezone": "UTC",
        "shifts": [
            {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}
        ],
        "watch": {"mode": "continuous"},
        "rules": list(rules),
    }
    return parse_policy(json.dumps({**document, **more}).encode())


@pytest.fixture(scope="module")
def desk():
    return Detector.load(find_card(DEFAULT_CARD), threads=2)


@pytest.fixture(scope="module")
def ssd(shared):
    return Detector.load(find_card("ssd-mobilenet-v1-coco"), [shared / "models"], threads=2)


@pytest.fixture
def replay(desk):
    """The watch with the project's own model."""
    return replay_with(desk)


@pytest.fixture
def replay_ssd(ssd):
    """The watch with a model that knows bottles, and people in clips other than ours."""
    return replay_with(ssd)


def replay_with(detector):
    def run(source, *rules, **more):
        records = []
        document = more.pop("document", None) or policy(*rules)
        done = offline.replay(source, detector, document, MONDAY, records.append, seed=1, **more)
        return done, records, [offline.event_of(record) for record in records]

    return run


def seconds(event):
    return (dt.datetime.fromisoformat(event.time) - MONDAY).total_seconds()


def test_two_people_are_one_too_many_once(shared, replay_ssd):
    done, records, events = replay_ssd(
        shared / "clips" / "head-pose-face-detection-female-and-male.gif", EXTRA
    )
    opened, closed = events
    assert isinstance(opened, OpenedEvent)
    assert isinstance(closed, ClosedEvent)
    assert opened.subject == "extra-person"
    assert opened.data.people == 2
    assert opened.data.boxes == ()
    assert closed.data.opened_id == opened.id
    assert done.counts.frames == 56
    # A people rule's picture has no sharp pixel: eight blocks wide at most, four high.
    picture = next(m for m in records[0].messages if m.kind is Kind.THUMBNAIL)
    assert finest_detail(picture.payload) <= 8 * 4


def finest_detail(jpeg):
    """How many areas of one colour, JPEG's own noise aside, a picture has."""
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    flat = (np.abs(cv2.Laplacian(cv2.medianBlur(grey, 5), cv2.CV_16S)) < 3).astype(np.uint8)
    count, _ = cv2.connectedComponents(cv2.erode(flat, np.ones((5, 5), np.uint8)))
    return count - 1


@pytest.mark.parametrize("clip", ["head-pose-face-detection-female.gif", "book.mkv", "eat.mkv"])
def test_one_person_is_not_one_too_many(shared, replay_ssd, clip):
    done, _, events = replay_ssd(shared / "clips" / clip, EXTRA)
    assert events == []
    assert done.counts.frames > 20


def test_bottles_are_sharp_in_a_mosaic(shared, replay_ssd):
    _, records, events = replay_ssd(shared / "clips" / "bottle-detection.mp4", BOTTLE)
    opened = events[0]
    assert [type(event) for event in events] == [OpenedEvent, ClosedEvent]
    assert opened.data.labels == ("bottle",)
    assert seconds(opened) == pytest.approx(2.0, abs=0.1)
    picture = next(m for m in records[0].messages if m.kind is Kind.THUMBNAIL)
    assert picture.event_id == opened.id
    assert opened.data.thumbnail.bytes == len(picture.payload) <= 40_000
    image = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    assert max(height, width) <= 480
    detail = np.abs(cv2.Laplacian(image, cv2.CV_32F))
    inside = np.zeros(image.shape, bool)
    # Three bottles fill the frame's width, so the thumbnail shows the whole frame.
    for x0, y0, x1, y1 in opened.data.boxes:
        inside[int(y0 * height) : round(y1 * height), int(x0 * width) : round(x1 * width)] = True
    assert np.percentile(detail[inside], 90) > 8 * max(1.0, np.percentile(detail[~inside], 90))


def test_a_phone_held_for_five_seconds_opens_once_at_its_hold(phone_photo, replay):
    _, _, events = replay(phone_photo, PHONE)
    opened, closed = events
    # In the spool within one frame of its hold.
    assert 2.0 <= seconds(opened) <= 2.0 + 0.1 + 1e-3
    assert 0.55 <= opened.data.score <= 1.0
    assert closed.data.duration_s == pytest.approx(4.9, abs=0.15)


@pytest.mark.parametrize("hold_s", [0.5, 3.0, 4.5])
def test_the_hold_is_the_policy_s(phone_photo, replay, hold_s):
    _, _, events = replay(phone_photo, {**PHONE, "hold_s": hold_s})
    assert hold_s <= seconds(events[0]) <= hold_s + 0.1 + 1e-3


def test_an_empty_chair_opens_after_its_hold_and_closes_when_a_person_comes(shared, replay_ssd, tmp_path):
    """Bottles on a table, then a person before the same camera."""
    source = tmp_path / "frames"
    source.mkdir()
    empty = frames_of(shared / "clips" / "bottle-detection.mp4", 80)
    person = frames_of(shared / "clips" / "head-pose-face-detection-female-and-male.gif", 40)
    for number, bgr in enumerate([*empty, *person]):
        cv2.imwrite(str(source / f"{number:04}.jpg"), bgr)
    _, _, events = replay_ssd(source, ABSENT)
    opened, closed = events
    assert opened.subject == "absent"
    assert opened.data.people == 0
    assert seconds(opened) == pytest.approx(6.0, abs=0.15)
    assert closed.data.reason == "ended"
    assert seconds(closed) == pytest.approx(9.0, abs=0.6)


def frames_of(clip, count):
    capture = cv2.VideoCapture(str(clip))
    frames = [capture.read()[1] for _ in range(count)]
    capture.release()
    return frames


def test_bottles_alone_are_an_empty_chair_until_a_hand_stays(shared, replay_ssd):
    # A hand that reaches in at 5.8 s, and is gone before the release is full, ends nothing.
    opened, closed = replay_ssd(shared / "clips" / "bottle-detection.mp4", {**ABSENT, "hold_s": 4})[2][:2]
    assert (opened.subject, closed.subject) == ("absent", "absent")
    assert seconds(opened) == pytest.approx(4.0, abs=0.1)
    assert closed.data.reason == "ended"
    assert 5.8 < closed.data.duration_s < 13.0


def test_a_photo_may_be_shown_for_minutes_without_being_taken_for_a_frozen_camera(phone_photo, replay):
    tamper = {"id": "blocked", "kind": "tamper", "hold_s": 5}
    _, _, events = replay(phone_photo, PHONE, tamper, hold_s=120.0)
    assert [event.subject for event in events] == ["phone", "phone"]


@pytest.mark.parametrize("name", ["phone.bin", "phone"])
def test_nor_is_one_whose_name_does_not_say_that_it_is_a_photo(phone_photo, replay, tmp_path, name):
    photo = tmp_path / name
    photo.write_bytes(phone_photo.read_bytes())
    _, _, events = replay(photo, {"id": "blocked", "kind": "tamper", "hold_s": 5}, hold_s=60.0)
    assert events == []


def test_footage_is_played_on_until_it_is_told_to_end(people_photo, replay):
    carried = []

    def count(frames):
        carried.append(frames)
        if frames == 130:
            raise EndOfFootage("130 frames")

    # 50 frames
    done, _, events = replay(people_photo, EXTRA, loop=None, before_frame=count)
    assert carried == list(range(131))
    assert done.counts.frames == 130
    assert isinstance(events[-1], ClosedEvent)


def test_a_corrupt_picture_in_a_folder_is_skipped_and_counted(phone_photo, replay, tmp_path, caplog):
    good = phone_photo.read_bytes()
    for number in range(40):
        (tmp_path / f"{number:02}.jpg").write_bytes(good)
    (tmp_path / "20.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (tmp_path / "21.jpg").write_bytes(b"")
    done, _, events = replay(tmp_path, PHONE)
    assert done.problems == (f"{tmp_path}: 2 images could not be read",)
    assert done.counts.frames == 38
    assert [event.subject for event in events] == ["phone", "phone"]
    assert "20.jpg" in caplog.text
    assert "21.jpg" in caplog.text


def test_a_truncated_video_is_played_as_far_as_it_goes_and_said_to_be_truncated(cut_clip, replay):
    done, _, _ = replay(cut_clip, PHONE)
    assert 10 < done.counts.frames < 40
    assert done.problems == (f"{cut_clip}: the video ended before its time: it is truncated",)


@pytest.mark.parametrize("name", ["absent.mp4", "text.mp4", "empty.gif", "text.jpg"])
def test_what_is_no_footage_is_named(replay, tmp_path, name):
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"" if "empty" in name else b"this is no footage")
    with pytest.raises(FootageError, match=name):
        replay(tmp_path / name, PHONE)


def test_a_rule_that_the_model_cannot_serve_is_refused_before_a_frame_is_read(replay, tmp_path):
    with pytest.raises(PolicyError, match="'bottle'"):
        replay(tmp_path / "absent.mp4", BOTTLE)
    with pytest.raises(PolicyError, match=r"got '\?\?\?'"):
        replay(tmp_path / "absent.mp4", {"id": "unused", "kind": "object", "labels": ["???"]})


def test_the_watch_starts_at_the_next_shift():
    night = policy(PHONE, shifts=[{"days": ["tue"], "start": "22:00", "end": "06:00"}])
    assert offline.start_of_watch(night, MONDAY) == dt.datetime(2026, 11, 24, 22, tzinfo=dt.UTC)
    inside = dt.datetime(2026, 11, 25, 3, tzinfo=dt.UTC)
    assert offline.start_of_watch(night, inside) == inside
    with pytest.raises(PolicyError):
        offline.start_of_watch(night, night.expires_at)
    long_before = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert offline.start_of_watch(policy(PHONE), long_before) == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_spot_checks_sample_a_clip_and_repeat_under_one_seed(shared, replay_ssd):
    spot = policy(BOTTLE, watch={"mode": "spot", "mean_interval_s": 30, "burst_s": 3})
    clip = shared / "clips" / "bottle-detection.mp4"
    first, _, events = replay_ssd(clip, document=spot)
    again, _, same = replay_ssd(clip, document=spot)
    assert first.counts.frames == again.counts.frames < 1189
    assert [event.id for event in events] == [event.id for event in same]


def breaks_of(events):
    return [(type(event), seconds(event)) for event in events if isinstance(event, BREAKS)]


def test_the_footage_runs_on_unseen_during_a_break(replay):
    breaks = [offline.PlannedBreak(20.0, 31.5), offline.PlannedBreak(3.0, 8.0)]
    done, _, events = replay(CLIP, ABSENT, breaks=breaks)
    at = [pytest.approx(at_s, abs=0.13) for at_s in (3.0, 8.0, 20.0, 31.5)]  # a frame is 0.125 s
    assert breaks_of(events) == list(zip(BREAKS * 2, at, strict=True))
    whole, _, _ = replay(CLIP, ABSENT)
    assert whole.counts.frames - done.counts.frames == pytest.approx((5.0 + 11.5) * 8, abs=4)


def test_breaks_that_overlap_follow_each_other(phone_photo, replay):
    breaks = [offline.PlannedBreak(1.0, 3.0), offline.PlannedBreak(2.0, 4.0), offline.PlannedBreak(2.5, 2.6)]
    _, _, events = replay(phone_photo, PHONE, hold_s=6.0, breaks=breaks)
    at = [pytest.approx(at_s, abs=0.25) for at_s in (1.0, 3.0, 3.1, 4.0)]
    assert breaks_of(events) == list(zip(BREAKS * 2, at, strict=True))


def test_a_break_until_after_the_end_of_the_footage_ends_the_replay(phone_photo, replay):
    done, _, events = replay(phone_photo, PHONE, hold_s=5.0, breaks=[offline.PlannedBreak(1.0, 600.0)])
    assert done.counts.frames == pytest.approx(10, abs=1)
    assert [kind for kind, _ in breaks_of(events)] == list(BREAKS)
