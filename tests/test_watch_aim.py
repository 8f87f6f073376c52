"""The watch while somebody lines the camera up: when it opens for that, and what nobody judges."""

import random

import numpy as np
import pytest

from edge.aim import AIM_S, ASK_S, End, Granted, Idle
from edge.aim_holder import BLOCK_MIN_PX, COLS_MAX, ROWS_MAX, AimHolder, coarse
from edge.capture.frame import Frame
from edge.capture.standin import Fault, StandInCamera
from edge.clock import SteppedClock
from edge.device.indicator import StandinIndicator
from edge.policy.gate import Aim, Signal
from edge.policy.judge import Ended
from edge.shutter import Shutter
from edge.uplink.messages import Capture
from edge.vision.detector import View
from edge.vision.letterbox import Letterbox
from edge.vision.scene import SceneState, look
from edge.vision.types import Blind
from edge.watch import Watch
from tests.test_watch import MONDAY, Rig, desk, policy

RARE = '{"mode": "spot", "mean_interval_s": 3600, "burst_s": 10}'
SHORT_SHIFT = '"start": "00:00", "end": "12:00"'


class Steady(SteppedClock):
    """Never sleeps for longer than a second: whoever looks on says a word each second."""

    def sleep(self, seconds):
        super().sleep(min(seconds, 1.0))


class Aimed(Rig):
    """A watch under a light, and a technician who asks again each turn as long as `there`."""

    def __init__(self, scene, document=None, *, until_s=60.0, start_at=MONDAY, **more):
        super().__init__(scene, document or policy(watch=RARE), until_s=until_s, start_at=start_at, **more)
        self.clock = self.told.clock = Steady(start_at)
        self.camera = StandInCamera(self.clock, scene)
        self.breaks._clock = self.requests._clock = self.beats._clock = self.clock
        self.requests.aim = AimHolder(self.clock)
        self.light = StandinIndicator()
        self.there, self.seen, self.ends = True, [], []
        self.accepted, self.repair = True, None
        self.watch = self.made()
        turn = self.told.turn

        def with_technician():
            turn()
            if self.there:
                self.requests.aim.hear("me")
            if self.requests.aim.agreed:
                self.requests.aim.grant()
            if (seen := self.requests.aim.sighting()) is not None:
                self.seen.append((self.clock.now_s(), seen))
            if (end := self.requests.aim.ended()) is not None:
                self.ends.append((self.clock.now_s(), end))

        self.told.turn = with_technician

    def made(self, seed=1):
        shutter = Shutter(
            self.camera,
            indicator=self.light,
            accepted=lambda: self.accepted,
            repair=lambda: self.repair,
            aim=self.requests.aim.phase,
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

    def ask(self):
        self.requests.aim.ask("me")

    def press(self):
        assert self.requests.aim.press()

    def aimed(self, *more, ask_s=5.0, press_s=8.0):
        """Ask and agree, and do what else the plan says."""
        return self.at((ask_s, self.ask), (press_s, self.press), *more).run()

    def opened_s(self):
        return [at_s for at_s, _, capture, _ in self.told.of("capture") if capture is Capture.AIMING]


def test_between_checks_the_camera_opens_for_an_aim_under_a_steady_light_and_no_rule_sees_a_frame():
    rig = Aimed(lambda n: desk(phone=True, number=n))
    looked = []
    rig.detector.detect = looked.append
    rig.aimed((30.0, lambda: rig.requests.aim.end(End.DONE)))
    assert rig.told.captures == [
        Capture.BETWEEN_CHECKS,
        Capture.AIMING,
        Capture.BETWEEN_CHECKS,
        Capture.STOPPED,
    ]
    assert 8.0 <= rig.opened_s()[0] <= 9.5
    assert len(rig.taken()) > 150
    assert rig.told.of("opened") == []
    assert looked == []  # a phone lay there all the time
    assert (rig.watch.counts.inferences, rig.watch.evidence.frame_s) == (0, None)
    assert rig.light.shown == [Signal.AIM_ASKS, Signal.WATCHING, Signal.OFF]
    assert rig.camera.record[-1] == "close"
    assert rig.camera.record.count("open") == 1
    assert max(at_s for at_s, _ in rig.seen) <= 30.1


def test_without_a_press_the_camera_stays_closed_and_the_light_stops_asking():
    rig = Aimed(lambda n: desk(number=n), until_s=200.0)
    rig.at((5.0, rig.ask)).run()
    assert rig.taken() == []
    assert "open" not in rig.camera.record
    assert rig.light.shown == [Signal.AIM_ASKS, Signal.OFF]
    ((at_s, end),) = rig.ends
    assert end is End.NOT_ANSWERED
    assert at_s == pytest.approx(5.0 + ASK_S, abs=1.1)


def test_it_closes_after_five_minutes_at_most():
    rig = Aimed(lambda n: desk(number=n), until_s=400.0).aimed()
    assert [end for _, end in rig.ends] == [End.TIME_UP]
    between = Capture.BETWEEN_CHECKS
    closed_s = [at_s for at_s, _, capture, _ in rig.told.of("capture") if capture is between][1]
    assert closed_s == pytest.approx(8.0 + AIM_S, abs=1.1)
    assert rig.camera.record[-1] == "close"


def test_it_closes_five_seconds_after_the_last_word_of_whoever_asked():
    rig = Aimed(lambda n: desk(number=n))
    rig.aimed((20.0, lambda: setattr(rig, "there", False)))
    ((at_s, end),) = rig.ends
    assert (end, at_s) == (End.SILENT, pytest.approx(25.0, abs=0.3))
    assert rig.told.captures[-2] is Capture.BETWEEN_CHECKS


FORBIDS = [
    (lambda rig: rig.requests.start_break("water"), Capture.BREAK, End.BREAK),
    (lambda rig: setattr(rig, "accepted", False), Capture.NOTICE, End.FORBIDDEN),
    (lambda rig: setattr(rig, "repair", "open"), Capture.REPAIR, End.FORBIDDEN),
]


@pytest.mark.parametrize("watch", [RARE, '{"mode": "continuous"}'])
@pytest.mark.parametrize(("forbid", "capture", "why"), FORBIDS)
def test_whatever_forbids_to_look_ends_it_at_once_and_it_does_not_come_back(forbid, capture, why, watch):
    rig = Aimed(lambda n: desk(number=n), policy(watch=watch), until_s=40.0)
    rig.aimed((20.0, lambda: forbid(rig)))
    assert [end for _, end in rig.ends] == [why]
    assert max(at_s for at_s, _ in rig.seen) <= 20.2
    (closed_s,) = [at_s for at_s, _, now, _ in rig.told.of("capture") if now is capture]
    assert closed_s <= 20.2
    assert rig.told.captures[-2:] == [capture, Capture.STOPPED]
    assert not rig.watch._shutter.is_open


def test_a_failing_light_ends_it():
    rig = Aimed(lambda n: desk(number=n), until_s=40.0)
    rig.aimed((20.0, lambda: setattr(rig.light, "failure", "a short")), (26.0, rig.light.close))
    assert [end for _, end in rig.ends] == [End.FORBIDDEN]
    assert max(at_s for at_s, _ in rig.seen) <= 20.2
    assert Capture.LED_FAULT in rig.told.captures


def test_off_shift_no_frame_is_taken_for_it_and_the_end_of_a_shift_ends_it():
    noon = MONDAY.replace(hour=11, minute=59, second=30)
    rig = Aimed(lambda n: desk(number=n), policy(shift=SHORT_SHIFT, watch=RARE), start_at=noon, until_s=60.0)
    rig.aimed()
    assert [(round(at_s), end) for at_s, end in rig.ends] == [(30, End.FORBIDDEN)]
    assert max(at_s for at_s, _ in rig.seen) <= 30.1
    over = Aimed(lambda n: desk(number=n), policy(shift=SHORT_SHIFT, watch=RARE), until_s=30.0)
    over.at((5.0, over.ask)).run()
    assert over.taken() == []
    assert Signal.AIM_ASKS not in over.light.shown
    assert [end for _, end in over.ends] == [End.FORBIDDEN]


def test_a_frame_that_was_under_way_when_it_ended_is_seen_by_nobody():
    taken = []

    def scene(number):
        if rig.opened_s() and rig.clock.now_s() >= 20.0 and not rig.ends:
            rig.requests.aim.end(End.DONE)  # while the camera gives this very frame
        return desk(number=number)

    rig = Aimed(scene, until_s=40.0)
    real = rig.detector.view
    rig.detector.view = lambda *args: taken.append(rig.clock.now_s()) or real(*args)
    rig.aimed()
    assert max(taken) <= 20.0


def test_where_it_would_be_watching_anyway_it_goes_on_watching_and_judging():
    rig = Aimed(lambda n: desk(phone=n >= 150, number=n), policy(), until_s=40.0).aimed()
    assert rig.told.captures == [Capture.WATCHING, Capture.STOPPED]
    ((opened_s, _, rule, _),) = rig.told.of("opened")
    assert rule == "phone"
    assert opened_s == pytest.approx(17.0, abs=0.3)
    assert rig.seen
    shown = [Signal.WATCHING, Signal.WATCHING_AIM_ASKS, Signal.WATCHING, Signal.OFF]
    assert rig.light.shown == shown
    assert rig.camera.record.count("open") == 1


def test_a_camera_that_is_moved_while_it_is_lined_up_is_no_infraction_and_is_learned_anew():
    moved = '{"id": "camera-blocked", "kind": "tamper", "hold_s": 5}'

    def scene(number):
        pixels = desk(person=False, number=number)
        return np.roll(pixels, 47, axis=(0, 1)) if number >= 500 else pixels

    def blind(*, aims):
        rig = Aimed(scene, policy(rules=moved), until_s=80.0)
        return (rig.aimed(ask_s=40.0, press_s=43.0) if aims else rig.run()).told

    without = blind(aims=False).of("opened")
    assert [entry[2] for entry in without] == ["camera-blocked"]  # else this proves nothing
    assert blind(aims=True).of("opened") == []


def test_a_check_that_comes_while_the_camera_is_lined_up_is_judged_and_the_aim_goes_on():
    often = '{"mode": "spot", "mean_interval_s": 30, "burst_s": 10}'
    rig = Aimed(lambda n: desk(phone=True, number=n), policy(watch=often), until_s=90.0, seed=3)
    rig.aimed(ask_s=1.0, press_s=3.0)
    captures = rig.told.captures
    checks = [i for i, now in enumerate(captures) if now is Capture.WATCHING]
    assert checks
    assert captures[checks[0] - 1] is Capture.AIMING
    assert captures[checks[0] + 1] is Capture.AIMING
    assert rig.told.of("opened")[0][2] == "phone"
    first_check_s = next(at_s for at_s, _, now, _ in rig.told.of("capture") if now is Capture.WATCHING)
    assert rig.told.of("opened")[0][0] >= first_check_s + 1.99  # nothing of the aim counts towards the hold
    assert rig.camera.record.count("open") == 1


def test_a_camera_that_fails_for_an_aim_alone_opens_no_infraction_and_is_tried_again():
    tamper = '{"id": "camera-blocked", "kind": "tamper", "hold_s": 1}'
    rig = Aimed(lambda n: desk(number=n), policy(rules=tamper, watch=RARE), until_s=60.0)
    rig.aimed((15.0, lambda: rig.camera.fail(Fault.LOST)), (25.0, rig.camera.mend))
    assert rig.told.of("opened") == []
    assert Capture.CAMERA_FAULT in rig.told.captures
    assert rig.told.captures[-2] is Capture.AIMING
    assert max(at_s for at_s, _ in rig.seen) > 40.0


def test_it_ends_with_the_unit_and_closes_what_was_open_as_ever():
    rig = Aimed(lambda n: desk(phone=True, number=n), policy(), until_s=20.0).aimed()
    assert [entry[3].reason for entry in rig.told.of("closed")] == [Ended.STOPPED]
    assert rig.requests.aim.ended() is End.STOPPED
    assert rig.requests.aim.phase() is Aim.NONE
    assert not rig.requests.aim._grid.any()


def test_with_it_the_last_picture_goes_and_the_detector_forgets():
    rig = Aimed(lambda n: desk(number=n))
    forgotten = []
    rig.detector.forget = lambda: forgotten.append(rig.clock.now_s())
    rig.aimed((30.0, lambda: rig.requests.aim.end(End.DONE)))
    assert not rig.requests.aim._grid.any()
    assert rig.requests.aim.sighting() is None
    assert [at_s for at_s in forgotten if at_s == pytest.approx(30.0, abs=0.3)]
    assert (rig.watch._lining_up._scene, rig.watch._lining_up.on) == (None, False)


# The grid itself.


def granted():
    clock = SteppedClock(MONDAY, 100.0)
    holder = AimHolder(clock)
    holder.ask("me")
    holder.shown(asks=True)
    clock.advance_to(102.0)
    assert holder.press()
    assert isinstance(holder.grant(), Granted)
    return clock, holder


def put(clock, holder, pixels, content=None):
    content = pixels if content is None else content
    _, scene = look(SceneState(), content, clock.now_s())
    holder.take(Frame(pixels, clock.now_s(), clock.now_at()), content, scene, frozenset({Blind.MOVED}))


@pytest.mark.parametrize(
    "size", [(480, 640), (1080, 1920), (300, 300), (320, 384), (64, 64), (640, 480), (37, 1000), (3, 5)]
)
def test_the_grid_is_never_finer_than_64_by_36_nor_a_block_smaller_than_four_pixels(size):
    rows, cols = coarse(np.zeros((*size, 3), np.uint8), size[1] / size[0]).shape
    assert (COLS_MAX, ROWS_MAX, BLOCK_MIN_PX) == (64, 36, 4)  # as docs/privacy.md promises
    assert rows <= 36
    assert cols <= 64
    assert rows <= max(1, size[0] // 4)
    assert cols <= max(1, size[1] // 4)


def test_the_grid_holds_means_alone():
    """Whatever a block shows inside, only its mean is told: swapped about, the grid is the same."""
    rng = np.random.default_rng(1)
    pixels = np.repeat(rng.integers(0, 255, (360, 640, 1), np.uint8), 3, axis=2)
    grid = coarse(pixels, 640 / 360)
    assert grid.shape == (36, 64)
    blocks = pixels.reshape(36, 10, 64, 10, 3).transpose(0, 2, 1, 3, 4).reshape(36 * 64, 100, 3)
    swapped = np.stack([rng.permutation(block) for block in blocks])
    again = swapped.reshape(36, 64, 10, 10, 3).transpose(0, 2, 1, 3, 4).reshape(360, 640, 3)
    assert not np.array_equal(again, pixels)
    assert np.array_equal(coarse(np.ascontiguousarray(again), 640 / 360), grid)


def test_a_frame_that_the_model_sees_squeezed_is_shown_in_its_own_shape():
    clock, holder = granted()
    put(clock, holder, np.full((480, 640, 3), 90, np.uint8), np.full((320, 384, 3), 90, np.uint8))
    seen = holder.sighting()
    assert (seen.cols, seen.rows, len(seen.grid)) == (48, 36, 48 * 36)
    assert (seen.brightness, seen.blind) == (90.0, {Blind.MOVED})


def test_nothing_is_kept_before_it_is_granted_or_after_and_nothing_old_is_shown():
    clock, holder = granted()
    grey = np.full((480, 640, 3), 90, np.uint8)
    put(clock, holder, grey)
    assert holder.sighting() is not None
    clock.advance_to(104.1)
    holder.hear("me")
    assert holder.sighting() is None  # two seconds old
    put(clock, holder, grey)
    assert holder.sighting() is not None
    holder.end(End.DONE)
    assert holder.sighting() is None
    assert not holder._grid.any()
    clock.advance_to(105.0)
    put(clock, holder, grey)
    assert not holder._grid.any()
    clock.advance_to(200.0)
    holder.ask("me")
    put(clock, holder, grey)
    assert not holder._grid.any()


def test_what_nobody_asks_for_any_more_is_blackened_without_a_word_from_anybody():
    clock, holder = granted()
    put(clock, holder, np.full((480, 640, 3), 90, np.uint8))
    clock.advance_to(108.0)
    assert holder.sighting() is None
    holder.turn()
    assert not holder._grid.any()
    assert isinstance(holder._state, Idle)


@pytest.mark.parametrize("watch", [RARE, '{"mode": "continuous"}'])
def test_what_a_mask_of_the_policy_hides_is_black(watch):
    masks = '"masks": [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]],'
    rig = Aimed(lambda n: np.full((240, 320, 3), 200, np.uint8), policy(watch=watch, more=masks))

    def view(pixels, masks=()):
        box = Letterbox((320, 240), (320, 240), masks=masks)
        return View(box.paint(pixels), box)

    rig.detector.view = view
    rig.aimed()
    grid = np.frombuffer(rig.seen[-1][1].grid, np.uint8).reshape(rig.seen[-1][1].rows, rig.seen[-1][1].cols)
    assert not grid[:, : grid.shape[1] // 2].any()
    assert (grid[:, grid.shape[1] // 2 + 1 :] == 200).all()
