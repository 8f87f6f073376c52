"""The watch loop on a stepped clock: what it captures, when it does not, and what it makes of it."""

import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import random
import threading
from dataclasses import dataclass, field
from threading import Event

import msgspec
import numpy as np
import pytest

from edge.breaks import Breaks
from edge.capture.frame import CameraLost
from edge.capture.standin import Fault, StandInCamera
from edge.clock import SteppedClock, SystemClock
from edge.policy.document import Policy, parse_policy
from edge.policy.judge import Closed, Ended, Opened
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.activity import Beats
from edge.uplink.command_messages import Activity, encode_activity
from edge.uplink.messages import Capture
from edge.uplink.signals import Received
from edge.uplink.topics import Topics
from edge.uplink.wire import timestamp
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.vision.standin import ColourDetector
from edge.watch import Watch
from edge.watching import Evidence

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
        self.breaks = Breaks(self.clock, lambda: self.policy.breaks.max_s, self.break_changed)
        self.requests = Requests(self.breaks, self.clock)
        self.beats = Beats(self.clock, lambda: True)
        self.watch = self.make(seed)

    def make(self, seed=1):
        return Watch(
            Shutter(self.camera),
            self.detector,
            lambda: self.policy,
            self.told,
            self.clock,
            random.Random(seed),
            beats=self.beats,
            requests=self.requests,
        )

    def break_changed(self, change, now):
        self.told.log.append(
            (self.clock.now_s(), "break", "started" if change.end is None else "ended", change)
        )

    def at(self, *plan):
        """Do each (seconds, what) of the plan once its time has come, in the loop's own turns."""
        plan, stop_when = list(plan), self.told.stop_when

        def step():
            while plan and self.clock.now_s() >= plan[0][0]:
                plan.pop(0)[1]()
            return stop_when is not None and stop_when()

        self.told.stop_when = step
        return self

    def beat(self):
        at = timestamp(self.clock.now_at())
        topic = Topics("acme", "cam-1").activity
        self.beats.take(Received(topic, 1, retain=False, payload=encode_activity(Activity(at=at))))

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
    watch = Watch(Shutter(rig.camera), rig.detector, lambda: short, rig.told, rig.clock, random.Random(1))
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
    rig.watch = Watch(
        Shutter(rig.camera), detector, lambda: rig.policy, rig.told, rig.clock, random.Random(1)
    )
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


SPOT = '{"mode": "spot", "mean_interval_s": 600, "burst_s": 10}'
PHONE = '{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 2, "release_s": 3}'
IDLE = '{"id": "idle", "kind": "activity", "quiet_s": 60, "release_s": 2}'


def test_on_a_break_the_camera_is_closed_until_it_ends():
    rig = Rig(lambda n: desk(number=n), until_s=120)
    rig.at((10.0, lambda: rig.requests.start_break("lunch")), (70.0, lambda: rig.requests.end_break("")))
    rig.run()
    assert rig.told.captures == [Capture.WATCHING, Capture.BREAK, Capture.WATCHING, Capture.STOPPED]
    assert [entry[3] for entry in rig.told.of("capture")] == ["", "lunch", "", ""]
    # The loop looks at its watch at least once a minute; nobody wakes it here but the clock.
    assert [entry for entry in rig.camera.record if not entry.startswith("frame")] == [
        "open",
        "close",
        "open",
        "close",
    ]
    assert [entry[2] for entry in rig.told.of("break")] == ["started", "ended"]
    # Ten frames a second: 10 s before, 50 s behind.
    assert rig.watch.counts.frames == pytest.approx(600, abs=10)


def test_a_break_ends_by_itself_after_the_policys_time():
    rig = Rig(lambda n: desk(number=n), policy(more='"breaks": {"max_s": 300},'), until_s=400)
    rig.at((10.0, lambda: rig.requests.start_break(""))).run()
    ((_, _, _, started), (ended_s, _, _, ended)) = rig.told.of("break")
    assert started.on.started_s == pytest.approx(10.0, abs=0.11)
    assert ended_s - started.on.started_s == pytest.approx(300.0, abs=0.01)
    assert ended.end.by == "time"
    assert rig.told.captures[-2:] == [Capture.WATCHING, Capture.STOPPED]


@pytest.mark.parametrize("jump_s", [-365 * 86400, 365 * 86400])
def test_a_wall_clock_that_jumps_neither_ends_nor_lengthens_a_break(jump_s):
    always = policy(more='"breaks": {"max_s": 300},')
    always = msgspec.structs.replace(
        always, issued_at=MONDAY.replace(year=2020), expires_at=MONDAY.replace(year=2040)
    )
    rig = Rig(lambda n: desk(number=n), always, until_s=400)
    now_at = rig.clock.now_at
    ahead_s = [0.0]
    rig.clock.now_at = lambda: now_at() + dt.timedelta(seconds=ahead_s[0])
    rig.at((10.0, lambda: rig.requests.start_break("")), (20.0, lambda: ahead_s.__setitem__(0, jump_s))).run()
    (_, (ended_s, _, _, ended)) = rig.told.of("break")
    assert ended_s == pytest.approx(310.0, abs=0.2)
    assert ended.end.lasted_s == pytest.approx(300.0)


@pytest.mark.parametrize("when", ["taken", "looked at"])
def test_a_frame_in_flight_when_the_break_starts_is_discarded(when):
    """The twentieth second's frame would confirm the phone."""
    rig = Rig(lambda n: desk(phone=True, number=n), policy(rules=PHONE), until_s=60)
    at_s = 2.0

    def now_or_never():
        if rig.clock.now_s() >= at_s - 0.05 and rig.breaks.begun == 0:
            rig.requests.start_break("")

    viewed = []
    view = rig.detector.view
    rig.detector.view = lambda *picture: (viewed.append(rig.clock.now_s()), view(*picture))[1]
    if when == "taken":
        scene = rig.camera._scene
        rig.camera._scene = lambda n: (now_or_never(), scene(n))[1]
    else:
        detect = rig.detector.detect
        rig.detector.detect = lambda view: (now_or_never(), detect(view))[1]
        rig.camera._scene = lambda n: np.roll(desk(phone=True, number=n), n, axis=0)  # the gate lets all by
    rig.run()
    assert rig.breaks.begun == 1
    assert rig.told.of("opened") == []
    assert rig.told.captures == [Capture.WATCHING, Capture.BREAK, Capture.STOPPED]
    last = next(index for index, entry in enumerate(rig.camera.record) if entry == "close")
    assert all(not entry.startswith("frame") for entry in list(rig.camera.record)[last:])
    assert rig.watch.counts.frames == 20
    # One that was only taken is not even looked at.
    assert len(viewed) == (20 if when == "taken" else 21)
    without = Rig(lambda n: desk(phone=True, number=n), policy(rules=PHONE), until_s=2.2).run()
    assert [entry[2] for entry in without.told.of("opened")] == ["phone"]


@pytest.mark.parametrize("what", ["break", "shift"])
def test_no_frame_is_taken_after_a_long_opening_of_the_camera_when_none_may_be_any_more(what):
    """Drivers take up to twenty seconds; what happens meanwhile counts before the first frame."""
    shift = policy(shift='"start": "00:00", "end": "12:01"')
    rig = Rig(lambda n: desk(number=n), shift, until_s=200)
    opening = rig.camera.open

    def open_slowly():
        opening()
        if what == "break":
            rig.requests.start_break("")
        else:
            rig.clock.advance_to(61.0)

    rig.camera.open = open_slowly
    rig.run()
    assert rig.camera.record.count("open") == 1
    assert rig.taken() == []
    assert rig.camera.record[-1] == "close"


def test_the_camera_is_closed_before_anything_that_may_wait_for_the_disk():
    rig = Rig(lambda n: desk(number=n), until_s=5)
    waited = []

    def slow(what, done):
        def do(*words):
            if rig.breaks.on is not None:
                waited.append((what, rig.camera.record[-1]))
            return done(*words)

        return do

    rig.told.turn = slow("outcome", rig.told.turn)
    rig.requests.turn = slow("requests", rig.requests.turn)
    rig.breaks.tell = slow("tell", rig.breaks.tell)
    scene = rig.camera._scene
    rig.camera._scene = lambda n: (n == 5 and rig.requests.start_break(""), scene(n))[1]
    rig.run()
    assert {what for what, _ in waited} == {"outcome", "requests", "tell"}
    assert {last for _, last in waited} == {"close"}


def test_a_break_that_begins_within_a_turn_opens_no_camera():
    rig = Rig(lambda n: desk(number=n), until_s=5)
    ask = rig.watch._ask_schedule

    def ask_and_break():
        when = ask()
        rig.requests.start_break("")
        return when

    rig.watch._ask_schedule = ask_and_break
    rig.run()
    assert list(rig.camera.record) == []


def test_a_frame_of_a_break_that_is_over_already_is_discarded_too():
    rig = Rig(lambda n: desk(number=n), frames=30)
    scene = rig.camera._scene

    def blink(number):
        if number == 10:
            rig.requests.start_break("")
            rig.requests.end_break("")
        return scene(number)

    rig.camera._scene = blink
    rig.run()
    assert rig.watch.counts.frames == 29
    assert [entry[2] for entry in rig.told.of("break")] == ["started", "ended"]


@pytest.mark.parametrize("ends_in", ["the break", "the watch"])
def test_a_break_neither_closes_nor_opens_nor_lengthens_an_infraction(ends_in):
    """The phone lies there from the start; it is open at 2 s, and the break is from 20 to 320 s."""
    gone_s = 100.0 if ends_in == "the break" else 340.0
    rig = Rig(None, policy(rules=PHONE), until_s=400)
    rig.camera._scene = lambda n: desk(phone=rig.clock.now_s() < gone_s, number=n)
    rig.at((20.0, lambda: rig.requests.start_break("")), (320.0, lambda: rig.requests.end_break(""))).run()
    ((opened_s, _, rule, _),) = rig.told.of("opened")
    assert (rule, opened_s) == ("phone", pytest.approx(2.0, abs=0.2))
    ((closed_s, _, _, closed),) = rig.told.of("closed")
    assert closed_s > 320.0
    assert closed.reason is Ended.ENDED
    seen_s = 20.0 if ends_in == "the break" else 40.0
    assert closed.duration_s == pytest.approx(seen_s, abs=0.5)


def test_a_break_that_outlasts_the_shift_leaves_the_end_to_the_shift():
    short = policy(rules=PHONE, shift='"start": "12:00", "end": "12:02"')
    rig = Rig(lambda n: desk(phone=True, number=n), short, until_s=600)
    rig.at((20.0, lambda: rig.requests.start_break("")), (300.0, lambda: rig.requests.end_break(""))).run()
    ((closed_s, _, _, closed),) = rig.told.of("closed")
    assert closed_s >= 300.0
    assert (closed.reason, closed.duration_s) == (Ended.OFF_SHIFT, pytest.approx(20.0, abs=0.3))
    assert rig.told.captures == [Capture.WATCHING, Capture.BREAK, Capture.OFF_SHIFT, Capture.STOPPED]


def test_a_camera_that_fails_as_the_break_begins_closes_nothing():
    rig = Rig(lambda n: desk(phone=True, number=n), policy(rules=PHONE), until_s=200)

    @contextlib.contextmanager
    def dying(_timeout_s):
        rig.requests.start_break("")
        raise CameraLost("pulled out")
        yield

    def pull():
        rig.camera.frame = dying

    rig.at((20.0, pull)).run()
    assert rig.watch.counts.camera_faults == 0
    assert Capture.CAMERA_FAULT not in rig.told.captures
    assert [entry[3].reason for entry in rig.told.of("closed")] == [Ended.STOPPED]


def test_idle_opens_with_a_quiet_source_and_closes_at_the_next_beat():
    rig = Rig(lambda n: desk(number=n), policy(rules=IDLE), until_s=120)
    rig.at((5.0, rig.beat), (100.0, rig.beat)).run()
    ((opened_s, _, rule, jpeg),) = rig.told.of("opened")
    assert (rule, jpeg) == ("idle", None)
    assert opened_s == pytest.approx(65.0, abs=0.2)
    ((closed_s, _, _, closed),) = rig.told.of("closed")
    assert closed.reason is Ended.ENDED
    assert closed_s == pytest.approx(102.0, abs=0.3)  # behind the rule's release


def test_no_idle_with_no_source():
    rig = Rig(lambda n: desk(number=n), policy(rules=IDLE), until_s=100).run()
    assert rig.told.of("opened") == []


def test_no_idle_while_the_broker_is_out_of_reach():
    rig = Rig(lambda n: desk(number=n), policy(rules=IDLE), until_s=100)
    rig.at((5.0, rig.beat), (30.0, lambda: rig.beats.link(connected=False))).run()
    assert rig.told.of("opened") == []


def test_a_break_is_no_quiet():
    rig = Rig(lambda n: desk(number=n), policy(rules=IDLE), until_s=400)
    rig.at(
        (5.0, rig.beat),
        (25.0, lambda: rig.requests.start_break("")),
        (325.0, lambda: rig.requests.end_break("")),
    ).run()
    # Twenty seconds were quiet before it, so forty behind it are enough.
    ((opened_s, _, _, _),) = rig.told.of("opened")
    assert opened_s == pytest.approx(365.0, abs=0.3)


def test_the_night_is_no_quiet():
    day = policy(rules=IDLE, shift='"start": "12:00", "end": "12:01"')
    rig = Rig(lambda n: desk(number=n), day, until_s=86400 + 59)
    rig.at((30.0, rig.beat)).run()
    # Thirty quiet seconds this evening, and thirty tomorrow at noon.
    ((opened_s, _, _, _),) = rig.told.of("opened")
    assert opened_s == pytest.approx(86400 + 30.0, abs=0.3)


def look(rig, answers):
    return lambda: rig.requests.look_now(lambda what: answers.append((rig.clock.now_s(), what)))


def test_a_look_now_is_answered_by_the_next_frame_with_an_inference_of_its_own():
    answers = []
    rig = Rig(lambda n: desk(phone=True, number=n), until_s=60)
    rig.at((30.0, look(rig, answers))).run()
    ((at_s, result),) = answers
    assert at_s == pytest.approx(30.0, abs=0.21)
    assert [(seen.label, seen.count) for seen in result.seen] == [("cell phone", 1), ("person", 1)]
    assert (result.capture, result.blind) == ("watching", ())
    assert result.frame_at == timestamp(MONDAY + dt.timedelta(seconds=at_s))
    before = Rig(lambda n: desk(phone=True, number=n), until_s=60).run()
    assert rig.detector.invocations == before.detector.invocations + 1


def test_a_look_now_through_a_covered_lens_says_so():
    answers = []
    rig = Rig(lambda n: np.full((240, 320, 3), 12, np.uint8), until_s=60)
    rig.at((30.0, look(rig, answers))).run()
    ((_, result),) = answers
    assert (result.capture, result.seen) == ("blocked", ())
    assert result.blind


def test_a_look_now_between_checks_begins_one_and_finds_what_there_is():
    answers = []
    rig = Rig(lambda n: desk(phone=True, number=n), policy(rules=PHONE, watch=SPOT), until_s=90, seed=3)
    rig.at((10.0, look(rig, answers))).run()
    assert rig.told.captures[:3] == [Capture.BETWEEN_CHECKS, Capture.WATCHING, Capture.BETWEEN_CHECKS]
    ((at_s, result),) = answers
    began_s = rig.told.of("capture")[1][0]
    assert at_s == began_s
    assert [seen.label for seen in result.seen] == ["cell phone"]
    assert [entry[2] for entry in rig.told.of("opened")] == ["phone"]
    # It lasts as long as any check.
    assert rig.told.of("capture")[2][0] - began_s == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize("why", ["off-shift", "on-break", "expired"])
def test_no_look_is_taken_when_none_may_be(why):
    answers = []
    night = policy(shift='"start": "20:00", "end": "21:00"')
    start_at = dt.datetime(2027, 1, 1, 12, tzinfo=dt.UTC) if why == "expired" else MONDAY
    rig = Rig(lambda n: desk(number=n), night if why == "off-shift" else None, until_s=120, start_at=start_at)
    if why == "on-break":
        rig.requests.start_break("")
    rig.at((50.0, look(rig, answers))).run()
    ((_, problem),) = answers
    assert problem.code == ("on-break" if why == "on-break" else "off-shift")
    assert "open" not in rig.camera.record


def test_a_look_that_the_camera_cannot_take_is_given_up_after_ten_seconds():
    answers = []
    rig = Rig(lambda n: desk(number=n), until_s=60)
    rig.camera.fail(Fault.STALLED, at_frame=100)
    rig.at((20.0, look(rig, answers))).run()
    ((at_s, problem),) = answers
    assert problem.code == "no-frame"
    assert at_s >= 30.0


def test_a_look_that_is_asked_for_as_the_unit_stops_is_answered():
    answers = []
    rig = Rig(lambda n: desk(number=n))
    rig.told.stop.set()
    look(rig, answers)()
    rig.run()
    assert [what.code for _, what in answers] == ["failed"]


def test_a_new_policy_of_spot_checks_begins_with_one_to_prove_itself():
    rig = Rig(lambda n: desk(number=n), until_s=60)
    spot = policy(watch='{"mode": "spot", "mean_interval_s": 20000, "burst_s": 10}')

    def change():
        rig.policy = spot

    rig.at((5.0, change)).run()
    evidence = rig.watch.evidence
    assert evidence.policy is spot
    assert 5.0 <= evidence.inference_s <= evidence.frame_s <= 15.2
    assert not evidence.off
    assert rig.camera.record.count("close") >= 2  # and then the camera is closed until the next check


def test_what_proves_a_policy_is_of_that_policy_alone():
    rig = Rig(lambda n: desk(number=n), until_s=20)
    first, second, third = rig.policy, policy(), policy(shift='"start": "20:00", "end": "21:00"')
    proofs = []

    def change(to):
        def step():
            proofs.append(rig.watch.evidence)
            rig.policy = to

        return step

    assert rig.watch.evidence == Evidence(first)
    rig.at((5.0, change(second)), (10.0, change(third))).run()
    proofs.append(rig.watch.evidence)
    assert [proof.policy is wanted for proof, wanted in zip(proofs, (first, second, third), strict=True)] == [
        True
    ] * 3
    for proof, since_s in zip(proofs[:2], (0.0, 5.0), strict=True):
        assert since_s <= proof.inference_s <= proof.frame_s
        assert not proof.off
    # Off shift no frame is taken: the model has looked at a black picture, once.
    assert (proofs[2].frame_s, proofs[2].off) == (None, True)
    assert 10.0 <= proofs[2].inference_s < 10.3


@pytest.mark.parametrize("off", ["off shift", "on a break"])
def test_a_policy_that_does_not_look_now_proves_itself_once_without_the_camera(off):
    night = policy(shift='"start": "20:00", "end": "21:00"')
    rig = Rig(lambda n: desk(number=n), night if off == "off shift" else None, until_s=600)
    if off == "on a break":
        rig.requests.start_break("")
    looked = []
    detect = rig.detector.detect
    rig.detector.detect = lambda view: (looked.append(view.content.max()), detect(view))[1]
    rig.run()
    assert looked == [0]
    assert "open" not in rig.camera.record
    assert rig.watch.evidence.off
    assert rig.watch.counts.inferences == 0


class Asleep:
    """A watch in a thread on the real clock, off shift: it sleeps for a minute at a time."""

    def __init__(self):
        self.stop, self.captures, self.changed = threading.Event(), [], threading.Condition()
        self.clock = SystemClock(self.stop)
        self.document = policy(shift=far_shift())
        self.breaks = Breaks(self.clock, lambda: 1800.0, lambda change, now: None)
        self.requests = Requests(self.breaks, self.clock)
        camera = StandInCamera(SteppedClock(MONDAY), lambda n: desk(number=n))
        detector = ColourDetector(LABELS)
        self.watch = Watch(
            Shutter(camera),
            detector,
            lambda: self.document,
            self,
            self.clock,
            random.Random(1),
            requests=self.requests,
        )
        self.thread = threading.Thread(target=self.watch.run, args=(self.stop,))

    def __enter__(self):
        self.thread.start()
        self.until(Capture.OFF_SHIFT)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def capture(self, capture, reason):
        with self.changed:
            self.captures.append(capture)
            self.changed.notify_all()

    def turn(self):
        pass

    def until(self, capture):
        with self.changed:
            assert self.changed.wait_for(lambda: self.captures[-1:] == [capture], 30), self.captures


def far_shift():
    """A shift that is hours away from now."""
    hour = (dt.datetime.now(dt.UTC).hour + 12) % 24
    return f'"start": "{hour:02d}:00", "end": "{hour:02d}:30"'


def test_a_watch_that_sleeps_wakes_for_a_break_its_end_and_a_look():
    """Each within 30 s, where the sleep is of 60."""
    with Asleep() as unit:
        unit.requests.start_break("lunch")
        unit.until(Capture.BREAK)
        unit.requests.end_break("")
        unit.until(Capture.OFF_SHIFT)
        answered, answers = threading.Event(), []
        unit.requests.look_now(lambda what: (answers.append(what), answered.set()))
        assert answered.wait(9)  # before it would be given up
        assert answers[0].code == "off-shift"
