"""When the service manager is not told any more that all is well."""

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.standin import Fault
from edge.device.watchdog import (
    FRAME_LIMIT_S,
    INFERENCE_LIMIT_S,
    LOOKING,
    SPOOL_LIMIT_S,
    TURN_LIMIT_S,
    Progress,
    stalled,
)
from edge.uplink.messages import Capture
from tests.test_shutter import FORBIDS, Floor, put
from tests.test_watch import MONDAY, Rig, desk, policy

NOW_S = 10_000.0
HOUR = dt.timedelta(hours=1)
LIMITS_S = {
    "turn_s": TURN_LIMIT_S,
    "spool_s": SPOOL_LIMIT_S,
    "frame_s": FRAME_LIMIT_S,
    "inference_s": INFERENCE_LIMIT_S,
}
WORDS = {
    "turn_s": "the watch's loop",
    "spool_s": "the uplink's loop",
    "frame_s": "no frame",
    "inference_s": "the model",
}


def going(capture=Capture.WATCHING, **more):
    fine = Progress(capture, 0.0, NOW_S, 0.0, NOW_S, NOW_S, NOW_S)
    return dataclasses.replace(fine, **more)


@pytest.mark.parametrize("capture", list(Capture))
def test_all_that_goes_on_is_well_whatever_the_camera_does(capture):
    assert stalled(going(capture), NOW_S) is None


@pytest.mark.parametrize("name", LIMITS_S)
@pytest.mark.parametrize("capture", LOOKING)
def test_while_it_looks_each_has_to_go_on(capture, name):
    in_time = going(capture, **{name: NOW_S - LIMITS_S[name]})
    late = going(capture, **{name: NOW_S - LIMITS_S[name] - 1.0})
    assert stalled(in_time, NOW_S) is None
    assert stalled(late, NOW_S).startswith(WORDS[name])


@pytest.mark.parametrize("capture", [capture for capture in Capture if capture not in LOOKING])
def test_while_it_does_not_look_neither_frames_nor_inferences_are_missed_but_the_loops_are(capture):
    assert stalled(going(capture, frame_s=None, inference_s=None), NOW_S) is None
    assert stalled(going(capture, frame_s=1.0, inference_s=1.0), NOW_S) is None
    for name in ("turn_s", "spool_s"):
        assert stalled(going(capture, **{name: NOW_S - LIMITS_S[name] - 1.0}), NOW_S) is not None


def test_a_camera_that_opened_just_now_has_time_for_its_first_frame():
    opened = going(since_s=NOW_S - 5.0, frame_s=1.0, inference_s=None)
    assert stalled(opened, NOW_S) is None
    assert stalled(opened, NOW_S + FRAME_LIMIT_S) is not None


def test_a_rest_that_was_meant_is_no_hang_and_one_that_does_not_end_is():
    resting = going(Capture.OFF_SHIFT, turn_s=NOW_S - 100.0, rest_until_s=NOW_S)
    assert stalled(resting, NOW_S + TURN_LIMIT_S) is None
    later_s = NOW_S + TURN_LIMIT_S + 1.0
    assert stalled(dataclasses.replace(resting, spool_s=later_s), later_s) is not None


@given(
    st.sampled_from(Capture),
    *[st.floats(0, 2 * NOW_S) for _ in range(4)],
    st.none() | st.floats(0, 2 * NOW_S),
    st.none() | st.floats(0, 2 * NOW_S),
)
def test_what_stalled_stays_so_until_something_goes_on(capture, since, turn, rest, spool, frame, inference):
    made = Progress(capture, since, turn, rest, spool, frame, inference)
    if stalled(made, NOW_S) is not None:
        assert stalled(made, NOW_S + 1.0) is not None


# A watch that does what a watch does never looks as if it hung, over hours, and at no moment.


class Minded:
    """A clock whose watch is looked at before and after each wait, as the guard might at any time."""

    def __init__(self, rig):
        self.rig, self.seen = rig, set()
        self._sleep = rig.clock.sleep
        rig.clock.sleep = self.sleep

    def sleep(self, seconds):
        self.look()
        self._sleep(seconds)
        self.look()

    def look(self):
        now_s = self.rig.clock.now_s()
        made = self.rig.watch.progress(now_s)
        assert stalled(made, now_s) is None, made
        self.seen.add(made.capture)

    def run(self, until_s, *plan):
        self.rig.told.stop_when = lambda: self.rig.clock.now_s() >= until_s
        self.rig.at(*plan).run()
        return self.seen


def test_a_shift_that_comes_and_goes_never_starves_it():
    hour = policy(shift='"start": "13:00", "end": "13:02"')
    assert Minded(Rig(lambda n: desk(number=n), hour)).run(7200.0) == {Capture.OFF_SHIFT}  # at its waits
    assert Minded(Rig(lambda n: desk(number=n), hour, start_at=MONDAY + HOUR)).run(300.0)


def test_spot_checks_never_starve_it():
    spot = policy(watch='{"mode": "spot", "mean_interval_s": 300, "burst_s": 10}')
    rig = Rig(lambda n: desk(number=n), spot)
    assert Capture.BETWEEN_CHECKS in Minded(rig).run(7200.0)
    assert rig.watch.counts.inferences > 0


@pytest.mark.parametrize(("name", "bad", "good"), [(name, bad, good) for name, bad, good, *_ in FORBIDS])
def test_whatever_closes_the_camera_never_starves_it(name, bad, good):
    rig = Floor(lambda n: desk(number=n))
    minded = Minded(rig)
    back = (2000.0, lambda: put(rig, name, good))
    away = (2010.0, lambda: rig.requests.start_break("tea"))
    assert Capture.BREAK in minded.run(4000.0, (10.0, lambda: put(rig, name, bad)), back, away)


@pytest.mark.parametrize("fault", [Fault.ABSENT, Fault.STALLED, Fault.LOST])
def test_a_camera_that_fails_for_an_hour_is_told_as_that_and_is_no_hang(fault):
    rig = Rig(lambda n: desk(number=n))
    minded = Minded(rig)
    assert Capture.CAMERA_FAULT in minded.run(3600.0, (10.0, lambda: rig.camera.fail(fault)))


def test_a_policy_that_changes_never_starves_it():
    rig = Rig(lambda n: desk(number=n))
    minded = Minded(rig)
    assert minded.run(200.0, (100.0, lambda: setattr(rig, "policy", policy()))) is minded.seen
    assert stalled(rig.watch.progress(rig.clock.now_s()), rig.clock.now_s()) is None


def test_a_watch_that_hangs_in_its_camera_is_found():
    rig = Rig(lambda n: desk(number=n))
    late = []

    def hang(timeout_s):
        now_s = rig.clock.now_s()
        late.extend(stalled(rig.watch.progress(now_s + after_s), now_s + after_s) for after_s in (50.0, 70.0))
        raise ZeroDivisionError

    taken = rig.camera.frame
    rig.camera.frame = lambda timeout_s: taken(timeout_s) if rig.clock.now_s() < 5.0 else hang(timeout_s)
    with pytest.raises(ZeroDivisionError):
        rig.run()
    assert late[0] is None
    assert late[1].startswith(WORDS["turn_s"])
