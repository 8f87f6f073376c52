"""The shutter on a stand-in camera and light: in which order they go, and what closes the camera."""

import datetime as dt
import random

import pytest

from edge.breaks import Breaks
from edge.capture.frame import CameraAbsent, CameraStalled
from edge.capture.standin import Fault, StandInCamera, plain
from edge.clock import SteppedClock
from edge.device.indicator import StandinIndicator
from edge.policy.gate import Signal
from edge.policy.judge import Ended
from edge.policy.schedule import Off
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.command_messages import CommandError
from edge.uplink.messages import Capture
from edge.uplink.wire import Problem
from edge.vision.standin import ColourDetector
from edge.watch import Watch
from tests.test_watch import LABELS, MONDAY, Rig, Told, desk, policy


class Light(StandinIndicator):
    """Writes into the camera's record, so that the order of the two can be read."""

    def __init__(self, record):
        super().__init__()
        self._record = record
        self.dies_lit = False

    def show(self, signal):
        if signal is not self.signal:
            self._record.append(f"light {signal}")
        super().show(signal)

    def trouble(self):
        return "it stays dark" if self.dies_lit and self.signal is Signal.WATCHING else super().trouble()


class Scene:
    """A shutter whose conditions a test sets."""

    def __init__(self):
        self.camera = StandInCamera(SteppedClock(MONDAY), plain((1, 2, 3), (64, 64)))
        self.light = Light(self.camera.record)
        self.accepted, self.repair = True, None
        self.shutter = Shutter(
            self.camera, indicator=self.light, accepted=lambda: self.accepted, repair=lambda: self.repair
        )

    def record(self):
        taken = list(self.camera.record)
        self.camera.record.clear()
        return taken


def test_the_light_is_on_before_the_first_frame_and_off_after_the_last():
    scene = Scene()
    assert scene.shutter.turn(None) is None
    with scene.shutter.frame(1.0):
        pass
    assert scene.shutter.turn(Off.OFF_SHIFT) is Off.OFF_SHIFT
    assert scene.record() == ["light watching", "open", "frame 0", "close", "light off"]


def test_the_light_goes_out_also_when_the_watch_ends():
    scene = Scene()
    scene.shutter.turn(None)
    scene.shutter.close()
    assert scene.record() == ["light watching", "open", "close", "light off"]
    assert not scene.shutter.is_open


@pytest.mark.parametrize(
    ("forbid", "off", "light"),
    [
        (lambda scene: setattr(scene, "accepted", False), Off.NOTICE, "notice"),
        (lambda scene: setattr(scene, "repair", "open"), Off.REPAIR, "fault"),
        (lambda scene: setattr(scene.light, "failure", "a short"), Off.LED, "fault"),
    ],
)
def test_what_forbids_the_camera_closes_it_and_gives_no_frame(forbid, off, light):
    scene = Scene()
    scene.shutter.turn(None)
    assert not scene.shutter.called_off()
    forbid(scene)
    assert scene.shutter.called_off()  # before the next turn, for the frame that is on its way
    assert scene.shutter.turn(None) is off
    assert scene.record() == ["light watching", "open", "close", f"light {light}"]
    with pytest.raises(CameraStalled, match="the gate keeps closed"):
        scene.shutter.frame(1.0)


def test_in_safe_mode_the_camera_never_opens_whatever_else_there_is():
    camera = StandInCamera(SteppedClock(MONDAY), plain((1, 2, 3), (64, 64)))
    shutter = Shutter(camera, safe=True)
    for scheduled in (None, Off.OFF_SHIFT, None):
        assert shutter.turn(scheduled) is Off.SAFE
    shutter.fail()
    assert shutter.turn(None) is Off.SAFE
    assert shutter.turn(Off.BREAK, 600.0) is Off.BREAK
    assert "open" not in camera.record
    assert shutter.called_off()


def test_a_light_that_only_fails_when_it_is_lit_opens_no_camera():
    scene = Scene()
    scene.light.dies_lit = True
    for _ in range(3):
        assert scene.shutter.turn(None) is Off.LED
    assert scene.record() == ["light watching", "light fault"] * 3
    assert scene.shutter.why == "the light did not work when it was tried"
    scene.light.dies_lit = False
    assert scene.shutter.turn(None) is None
    assert scene.record() == ["light watching", "open"]


def test_a_camera_that_does_not_open_is_closed_and_tried_again_under_the_light():
    scene = Scene()
    scene.camera.fail(Fault.ABSENT)
    with pytest.raises(CameraAbsent):
        scene.shutter.turn(None)
    scene.shutter.fail()
    assert scene.record() == ["light watching", "open refused: absent", "light fault"]
    scene.camera.mend()
    assert scene.shutter.turn(None) is None
    assert scene.record() == ["light watching", "open"]


def test_a_break_blinks_and_says_when_it_is_about_to_end():
    scene = Scene()
    scene.shutter.turn(None)
    for left_s in (600.0, 31.0, 30.0, 1.0):
        assert scene.shutter.turn(Off.BREAK, left_s) is Off.BREAK
    assert scene.record() == ["light watching", "open", "close", "light break", "light break-ends"]


class Floor(Rig):
    """A watch whose light, notice and repair a test sets in mid-run."""

    def make(self, seed=1):
        self.light = Light(self.camera.record)
        self.accepted, self.repair = True, None
        shutter = Shutter(
            self.camera, indicator=self.light, accepted=lambda: self.accepted, repair=lambda: self.repair
        )
        return Watch(
            shutter,
            self.detector,
            lambda: self.policy,
            self.told,
            self.clock,
            random.Random(seed),
            beats=self.beats,
            requests=self.requests,
        )


FORBIDS = [
    ("accepted", False, True, Capture.NOTICE, ""),
    ("repair", "the box is open", None, Capture.REPAIR, "the box is open"),
    ("light.failure", "a short", None, Capture.LED_FAULT, "a short"),
]


def put(rig, name, value):
    owner, _, attribute = name.rpartition(".")
    setattr(rig.light if owner else rig, attribute, value)


@pytest.mark.parametrize(("name", "bad", "good", "capture", "reason"), FORBIDS)
def test_the_watch_stops_at_once_says_why_and_goes_on_afterwards(name, bad, good, capture, reason):
    rig = Floor(lambda n: desk(phone=True, number=n), until_s=60.0)
    rig.at((10.0, lambda: put(rig, name, bad)), (30.0, lambda: put(rig, name, good))).run()
    forbidden = [at_s for at_s, what, *_ in rig.told.log if what == "capture" and 10.0 < at_s < 30.0]
    assert [entry[2:] for entry in rig.told.of("capture") if 9.9 <= entry[0] < 30.0] == [(capture, reason)]
    assert forbidden
    assert forbidden[0] <= 10.1  # within a frame
    ended = [entry[3].reason for entry in rig.told.of("closed")]
    assert ended[0] is Ended.NOT_ALLOWED
    assert rig.told.captures[-2:] == [Capture.WATCHING, Capture.STOPPED]
    assert not rig.watch._shutter.is_open


@pytest.mark.parametrize(("name", "bad", "good", "capture", "reason"), FORBIDS)
def test_no_frame_is_taken_while_something_forbids(name, bad, good, capture, reason):
    rig = Floor(lambda n: desk(number=n), until_s=60.0)
    put(rig, name, bad)
    rig.run()
    assert rig.taken() == []
    assert "open" not in rig.camera.record
    assert rig.told.captures == [capture, Capture.STOPPED]
    assert rig.watch.counts.frames == 0


def test_a_frame_that_was_under_way_when_the_gate_closed_is_looked_at_by_nobody():
    seen = []
    rig = Floor(lambda n: desk(phone=True, number=n), until_s=20.0)
    real = rig.detector.detect
    rig.detector.detect = lambda view: seen.append(rig.clock.now_s()) or real(view)

    def scene(number):
        if number == 50:
            rig.accepted = False  # while the camera gives this very frame
        return desk(phone=True, number=number)

    rig.camera._scene = scene
    rig.run()
    assert rig.taken()[-1] == "frame 50"
    assert rig.watch.counts.frames == 50
    assert max(seen) < 5.0


@pytest.mark.parametrize(("name", "bad", "good", "capture", "reason"), FORBIDS)
def test_a_look_that_is_asked_for_is_refused_while_something_forbids(name, bad, good, capture, reason):
    rig = Floor(
        lambda n: desk(number=n),
        policy(watch='{"mode": "spot", "mean_interval_s": 3600, "burst_s": 10}'),
        until_s=9.0,
    )
    answers = []
    put(rig, name, bad)
    rig.at((5.0, lambda: rig.requests.look_now(answers.append))).run()
    (answer,) = answers
    assert isinstance(answer, Problem)
    assert answer.code == CommandError.NOT_ALLOWED
    assert rig.taken() == []


def test_the_light_announces_the_end_of_a_break_thirty_seconds_before():
    rig = Floor(lambda n: desk(number=n), policy(more='"breaks": {"max_s": 300},'), until_s=400.0)
    shown = []
    rig.light.show = lambda signal: shown.append((round(rig.clock.now_s(), 1), signal))
    rig.at((50.0, lambda: rig.requests.start_break("water"))).run()
    changes = [
        (at_s, signal)
        for (at_s, signal), (_, before) in zip(shown[1:], shown, strict=False)
        if signal is not before
    ]
    (on, ends, again) = [
        next(at_s for at_s, signal in changes if signal is wanted and at_s >= 50.0)
        for wanted in (Signal.BREAK, Signal.BREAK_ENDS, Signal.WATCHING)
    ]
    assert (on, again) == (pytest.approx(50.0, abs=0.2), pytest.approx(350.0, abs=0.2))
    assert again - ends == pytest.approx(30.0, abs=0.2)


def test_a_watch_that_was_forbidden_while_an_infraction_was_on_hold_starts_from_nothing():
    """What was seen before the notice was withdrawn is not carried over."""
    rig = Floor(lambda n: desk(phone=True, number=n), until_s=12.0)
    rig.at(
        (1.5, lambda: setattr(rig, "accepted", False)), (6.0, lambda: setattr(rig, "accepted", True))
    ).run()
    ((opened_s, *_),) = rig.told.of("opened")
    assert opened_s >= 6.0 + 2.0


def test_it_stands_alone_where_footage_is_replayed():
    clock = SteppedClock(MONDAY)
    camera = StandInCamera(clock, lambda n: desk(number=n), frames=5)
    told = Told(clock)
    breaks = Breaks(clock, lambda: 1800.0, lambda change, now: None)
    watch = Watch(
        Shutter(camera),
        ColourDetector(LABELS),
        policy,
        told,
        clock,
        random.Random(1),
        requests=Requests(breaks, clock),
    )
    watch.run(told.stop)
    assert watch.counts.frames > 0
    assert clock.now_at() >= MONDAY + dt.timedelta(seconds=0.4)


def test_the_light_stays_on_while_a_driver_that_hangs_may_hold_the_camera():
    """Closed for us is not closed for it; the light says what is sure, and goes off once that lets go."""
    scene = Scene()
    scene.shutter.turn(None)
    scene.camera.held = True
    assert scene.shutter.turn(Off.BREAK, 600.0) is Off.BREAK
    assert scene.shutter.held
    assert scene.record() == ["light watching", "open", "close"]
    scene.camera.held = False
    assert scene.shutter.turn(Off.BREAK, 590.0) is Off.BREAK
    assert not scene.shutter.held
    assert scene.record() == ["light break"]
