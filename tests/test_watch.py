"""The watch loop on a stepped clock: what it captures, when it does not, and what it makes of it."""

import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import random
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import pytest

from edge.capture.standin import Fault, StandInCamera
from edge.clock import SteppedClock
from edge.policy.document import Policy, parse_policy
from edge.policy.judge import Closed, Ended, Opened
from edge.uplink.messages import Capture
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.vision.standin import ColourDetector
from edge.watch import Watch

RED, GREEN = (220, 20, 20), (20, 220, 20)
LABELS = {RED: "cell phone", GREEN: "person"}
MONDAY = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
RULES = (
    '{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 2, "release_s": 3},'
    '{"id": "absent", "kind": "people", "min": 1, "hold_s": 20},'
    '{"id": "camera-blocked", "kind": "tamper", "hold_s": 5}'
)
ABSENT_SOON = '{"id": "absent", "kind": "people", "min": 1, "hold_s": 5}'


def policy(
    rules=RULES, shift='"start": "00:00", "end": "24:00"', watch='{"mode": "continuous"}', more=""
) -> Policy:
    days = '["mon", "tue", "wed", "thu", "fri", "sat", "sun"]'
    return parse_policy(
        (
            '{"schema": "policy/1", "version": 3, "issued_at": "2026-01-01T00:00:00Z",'
            '"expires_at": "2027-01-01T00:00:00Z", "timezone": "UTC",'
            f'"shifts": [{{"days": {days}, {shift}}}],'
            f'"watch": {watch}, {more} "rules": [{rules}]}}'
        ).encode()
    )


def desk(*, person=True, phone=False, number=0):
    """A desk with texture and noise, as RGB pixels; the noise comes again after 16 frames."""
    return _desk(person, phone, number % 16)


@functools.cache
def _desk(person, phone, seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:240, 0:320]
    grey = 90 + 60 * ((rows // 20 + columns // 20) % 2)
    pixels = np.repeat(grey[:, :, None], 3, axis=2) + rng.normal(0, 2, (240, 320, 3))
    if person:
        pixels[60:240, 100:200] = GREEN
    if phone:
        pixels[180:220, 220:250] = RED
    return np.clip(pixels, 0, 255).astype(np.uint8)


@dataclass
class Told:
    """What the watch told, with the clock's time of each."""

    clock: SteppedClock
    log: list = field(default_factory=list)
    turns: int = 0
    stop_when: object = None
    stop: Event = field(default_factory=Event)

    def opened(self, verdict: Opened, jpeg, policy, now_at):
        self.log.append((self.clock.now_s(), "opened", verdict.rule.id, jpeg))

    def closed(self, verdict: Closed, policy, now_at):
        self.log.append((self.clock.now_s(), "closed", verdict.rule.id, verdict))

    def capture(self, capture, reason):
        self.log.append((self.clock.now_s(), "capture", capture, reason))

    def turn(self):
        self.turns += 1
        if self.stop_when is not None and self.stop_when():
            self.stop.set()

    def of(self, what):
        return [entry for entry in self.log if entry[1] == what]

    @property
    def captures(self):
        return [entry[2] for entry in self.of("capture")]


class Rig:
    """A watch on a stand-in camera."""

    def __init__(self, scene, document=None, *, frames=None, start_at=MONDAY, until_s=None, seed=1):
        self.clock = SteppedClock(start_at)
        self.camera = StandInCamera(self.clock, scene, frames=frames)
        self.detector = ColourDetector(LABELS)
        self.told = Told(self.clock)
        self.policy = document or policy()
        if until_s is not None:
            self.told.stop_when = lambda: self.clock.now_s() >= until_s
        self.watch = Watch(
            self.camera, self.detector, lambda: self.policy, self.told, self.clock, random.Random(seed)
        )

    def run(self):
        self.watch.run(self.told.stop)
        return self

    def taken(self):
        """Times of all frames that were taken, from the camera's own record."""
        return [
            entry for entry in self.camera.record if entry.startswith("frame ") and "refused" not in entry
        ]


def test_a_phone_is_carried_from_the_camera_to_the_spool_once_with_its_picture():
    rig = Rig(lambda n: desk(phone=20 <= n < 80, number=n), frames=150).run()
    ((opened_s, _, rule, jpeg),) = rig.told.of("opened")
    assert rule == "phone"
    # Seen first in frame 20; the hold is two seconds; one frame is a tenth.
    assert opened_s == pytest.approx(4.0, abs=0.11)
    assert jpeg is not None
    ((closed_s, _, _, closed),) = rig.told.of("closed")
    assert closed.reason is Ended.ENDED
    assert closed.duration_s == pytest.approx(6.0, abs=0.2)
    assert closed_s > opened_s
    assert rig.told.captures == [Capture.WATCHING, Capture.STOPPED]
    assert rig.camera.record[-1] == "close"


def test_off_shift_no_frame_is_taken_and_the_camera_stays_closed():
    night = policy(shift='"start": "14:00", "end": "14:01"')
    rig = Rig(lambda n: desk(number=n), night, until_s=3 * 3600).run()
    opens = [entry for entry in rig.camera.record if entry == "open"]
    assert len(opens) == 1
    # One minute of ten frames a second, from 14:00 on; the end itself is off shift.
    assert 590 <= rig.watch.counts.frames <= 600
    assert rig.told.captures == [Capture.OFF_SHIFT, Capture.WATCHING, Capture.OFF_SHIFT, Capture.STOPPED]
    assert rig.told.of("capture")[1][0] == pytest.approx(7200, abs=0.2)
    assert rig.told.of("capture")[2][0] == pytest.approx(7260, abs=0.2)


def test_no_frame_at_or_past_the_end_of_a_shift_is_looked_at():
    """The camera gives a frame every 3.7 s, so that one falls due just after the end."""
    short = policy(shift='"start": "12:00", "end": "12:01"')
    rig = Rig(lambda n: desk(number=n), short, until_s=300)
    rig.camera = StandInCamera(rig.clock, lambda n: desk(number=n), fps=1 / 3.7)
    watch = Watch(rig.camera, rig.detector, lambda: short, rig.told, rig.clock, random.Random(1))
    seen = []
    watch.carry = lambda frame: seen.append(frame.captured_s)
    watch.run(rig.told.stop)
    assert len(seen) == 17
    assert max(seen) < 60.0
    assert watch.counts.camera_faults == 0
    assert rig.camera.record[-1] == "close"


def test_an_infraction_that_ends_in_a_short_check_is_closed_in_it():
    """A release of 5 s does not fit into looks of 3 s: the look goes on until it is decided."""
    spot = policy(watch='{"mode": "spot", "mean_interval_s": 60, "burst_s": 3}')

    class Leaving(Rig):
        def scene(self, number):
            return desk(phone=self.clock.now_s() < 600, number=number)

    rig = Leaving(lambda n: None, spot, until_s=3600)
    rig.camera._scene = rig.scene
    rig.run()
    assert [entry[2] for entry in rig.told.of("opened")] == ["phone"]
    ((closed_s, _, _, closed),) = rig.told.of("closed")
    assert closed.reason is Ended.ENDED
    assert 600 < closed_s < 1200


def test_a_frame_that_comes_late_tells_nothing():
    rig = Rig(lambda n: desk(person=n < 20, number=n), policy(rules=ABSENT_SOON), frames=200)
    whole = rig.camera.frame

    @contextlib.contextmanager
    def late(timeout_s):
        with whole(timeout_s) as frame:
            yield dataclasses.replace(frame, captured_s=frame.captured_s - 2.5)

    rig.camera.frame = late
    assert rig.run().told.of("opened") == []
    fresh = Rig(lambda n: desk(person=n < 20, number=n), policy(rules=ABSENT_SOON), frames=200).run()
    assert [entry[2] for entry in fresh.told.of("opened")] == ["absent"]


def test_a_camera_whose_view_is_masked_whole_reports_no_empty_chair():
    everything = '"masks": [[[0, 0], [1, 0], [1, 1], [0, 1]]],'
    rig = Rig(lambda n: desk(person=False, number=n), policy(rules=ABSENT_SOON, more=everything), frames=200)
    assert rig.run().told.of("opened") == []
    assert ("blocked", "masked") in [entry[2:] for entry in rig.told.of("capture")]


def test_the_end_of_the_shift_closes_what_is_open():
    short = policy(shift='"start": "12:00", "end": "12:01"')
    rig = Rig(lambda n: desk(phone=True, number=n), short, until_s=300).run()
    ((_, _, _, closed),) = rig.told.of("closed")
    assert closed.reason is Ended.OFF_SHIFT
    assert closed.duration_s == pytest.approx(60, abs=0.3)


def test_an_expired_policy_takes_no_frame():
    rig = Rig(lambda n: desk(number=n), start_at=dt.datetime(2027, 1, 1, tzinfo=dt.UTC), until_s=600).run()
    assert rig.watch.counts.frames == 0
    assert "open" not in rig.camera.record


def test_spot_checks_open_the_camera_in_short_bursts_only():
    spot = policy(watch='{"mode": "spot", "mean_interval_s": 120, "burst_s": 10}')
    rig = Rig(lambda n: desk(number=n), spot, until_s=1800, seed=4).run()
    changes = [(at_s, what) for at_s, _, what, _ in rig.told.of("capture")]
    bursts = [
        (after_s - at_s)
        for (at_s, what), (after_s, _) in itertools.pairwise(changes)
        if what is Capture.WATCHING
    ]
    assert len(bursts) >= 5
    assert max(bursts) <= 10.2
    assert rig.watch.counts.frames <= len(bursts) * 101
    assert [e for e in rig.camera.record if e == "close"]


def test_a_spot_check_that_finds_an_empty_chair_looks_on_to_the_verdict():
    spot = policy(watch='{"mode": "spot", "mean_interval_s": 60, "burst_s": 5}')
    rig = Rig(lambda n: desk(person=False, number=n), spot, until_s=900).run()
    assert [entry[2] for entry in rig.told.of("opened")] == ["absent"]
    # It stays open over the checks, and closes when the watch stops.
    ((_, _, _, closed),) = rig.told.of("closed")
    assert closed.reason is Ended.STOPPED


@pytest.mark.parametrize("fault", [Fault.STALLED, Fault.LOST, Fault.BUSY, Fault.ABSENT])
def test_a_camera_that_fails_is_closed_and_opened_again(fault):
    rig = Rig(lambda n: desk(phone=n < 60, number=n), until_s=60)
    if fault in (Fault.BUSY, Fault.ABSENT):
        rig.camera.fail(fault, refusals=3)
    else:
        rig.camera.fail(fault, at_frame=40, refusals=3)
    rig.run()
    assert rig.watch.counts.camera_faults == 3
    assert Capture.CAMERA_FAULT in rig.told.captures
    assert rig.told.captures[-2:] == [Capture.WATCHING, Capture.STOPPED]
    assert rig.watch.counts.frames > 300
    # The phone is reported once; an outage of a few seconds neither closes it nor opens it again.
    assert [entry[2] for entry in rig.told.of("opened")] == ["phone"]


def test_a_camera_that_never_comes_back_does_not_report_an_empty_chair():
    rig = Rig(lambda n: desk(person=n < 30, number=n), until_s=1200)
    rig.camera.fail(Fault.LOST, at_frame=30)
    rig.run()
    assert rig.told.of("opened") == []
    # Backoff: some dozens of tries in twenty minutes, not thousands.
    assert 20 < rig.watch.counts.camera_faults < 400


def test_a_covered_lens_is_reported_and_hides_nothing_else():
    def scene(number):
        return desk(number=number) if number < 50 else np.full((240, 320, 3), 12, np.uint8)

    rig = Rig(scene, frames=400).run()
    assert [entry[2] for entry in rig.told.of("opened")] == ["camera-blocked"]
    assert Capture.BLOCKED in rig.told.captures


def test_a_masked_area_is_neither_seen_nor_shown():
    mask = '"masks": [[[0.65, 0.7], [0.85, 0.7], [0.85, 0.95], [0.65, 0.95]]],'
    hidden = Rig(lambda n: desk(phone=True, number=n), policy(more=mask), frames=100).run()
    assert hidden.told.of("opened") == []
    shown = Rig(lambda n: desk(phone=True, number=n), frames=100).run()
    assert [entry[2] for entry in shown.told.of("opened")] == ["phone"]


def test_a_new_policy_takes_effect_between_two_frames_and_closes_what_the_old_one_opened():
    rig = Rig(lambda n: desk(phone=True, number=n), frames=100)
    newer = policy(rules='{"id": "phone-2", "kind": "object", "labels": ["cell phone"], "hold_s": 1}')

    def change():
        if rig.clock.now_s() >= 5.0:
            rig.policy = newer
        return False

    rig.told.stop_when = change
    rig.run()
    assert [entry[2] for entry in rig.told.of("opened")] == ["phone", "phone-2"]
    assert [entry[3].reason for entry in rig.told.of("closed")] == [Ended.POLICY_CHANGED, Ended.STOPPED]


def test_a_static_scene_costs_few_inferences_and_a_held_object_still_opens():
    still = Rig(lambda n: desk(phone=True, number=n), frames=600).run()
    assert [entry[2] for entry in still.told.of("opened")] == ["phone"]
    assert still.detector.invocations <= 60

    def moving(number):
        return np.roll(desk(number=number), 7 * number, axis=1)

    moved = Rig(moving, frames=200).run()
    assert moved.detector.invocations == 200


@pytest.mark.parametrize("how", ["the end", "a fault", "a pause"])
def test_no_picture_outlives_the_camera(how):
    """With the real detector: neither its buffers nor the interpreter's input keep what the camera saw."""
    detector = Detector.load(find_card(DEFAULT_CARD), threads=1)
    rules = '{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 60}'
    watch = (
        '{"mode": "spot", "mean_interval_s": 30, "burst_s": 3}'
        if how == "a pause"
        else '{"mode": "continuous"}'
    )
    rig = Rig(lambda n: desk(number=n), policy(rules, watch=watch), frames=15 if how == "the end" else None)
    rig.watch = Watch(rig.camera, detector, lambda: rig.policy, rig.told, rig.clock, random.Random(1))
    if how == "a fault":
        rig.camera.fail(Fault.LOST, at_frame=5)
    closes = []
    close = rig.camera.close

    def closed():
        close()
        if rig.watch.counts.frames:
            closes.append(rig.clock.now_s())
            rig.told.stop_when = lambda: len(closes) > 1

    rig.camera.close = closed
    forgotten = []
    forget = detector.forget
    detector.forget = lambda: (forget(), forgotten.append(pictures_in(detector)))
    rig.run()
    assert closes
    assert forgotten
    assert all(most == 0 for most in forgotten)
    memory = rig.watch._memory
    assert memory.scene is None
    assert memory.tamper.last is None
    assert memory.album == {}


def pictures_in(detector):
    """The brightest value in any buffer that a picture went through."""
    letterbox, interpreter = detector._letterbox, detector.interpreter
    fed = interpreter._tflite.get_tensor(interpreter._input_index)
    return max(letterbox._picture.max(), fed.max(), *(half.max() for half in letterbox._halves), 0)


def test_a_watch_that_is_told_to_stop_stops_within_a_turn():
    rig = Rig(lambda n: desk(number=n))
    rig.told.stop.set()
    rig.run()
    assert rig.watch.counts.frames == 0
    assert rig.told.captures == [Capture.STOPPED]
