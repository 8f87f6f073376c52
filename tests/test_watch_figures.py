"""What the watch counts and measures beside its work: for health and diagnosis, and never a picture."""

import dataclasses

import numpy as np
import pytest

from edge.facts import camera_facts, watch_facts
from edge.policy.breaks import BreakBy
from tests.test_watch import MONDAY, Rig, desk, policy


def test_a_look_takes_as_long_as_pre_processing_and_model_together():
    rig = Rig(lambda n: desk(number=n, phone=n % 2 == 0), until_s=5.0)
    view, detect = rig.detector.view, rig.detector.detect

    def slow_view(pixels, masks=()):
        rig.clock.sleep(0.03)
        return view(pixels, masks)

    def slow_detect(seen):
        rig.clock.sleep(0.2)
        return detect(seen)

    rig.detector.view, rig.detector.detect = slow_view, slow_detect
    rig.run()
    took = rig.watch.counts.latencies.percentiles()
    assert took.count == rig.watch.counts.inferences > 5
    assert (took.p50_s, took.p99_s) == (pytest.approx(0.23), pytest.approx(0.23))


def test_what_is_told_of_runs_of_the_model_does_not_tell_whether_somebody_moves():
    """Told each minute, all its runs would be a meter of movement, which no rule asked for."""

    def told(scene):
        rig = Rig(scene, until_s=120.0).run()
        return rig.watch.counts.inferences, watch_facts(rig.watch.counts, 120.0)["watch.inferences"]

    still, still_told = told(lambda n: desk(number=n))
    moving, moving_told = told(lambda n: np.roll(desk(number=n), n % 40, axis=1))
    assert moving > 4 * still  # else this proves nothing
    assert moving_told == still_told == pytest.approx(120 / 5, abs=1)


def test_a_frame_is_looked_at_or_counted_as_skipped():
    """A break begins while the fourth frame is looked at: it is nobody's business any more."""
    rig = Rig(lambda n: desk(number=n), frames=10)
    view = rig.detector.view

    def view_and_break(pixels, masks=()):
        if rig.camera.record[-1] == "frame 3":
            rig.breaks.start("", BreakBy.BUTTON)
        return view(pixels, masks)

    rig.detector.view = view_and_break
    rig.run()
    counts = rig.watch.counts
    assert counts.skipped == 1
    assert counts.frames + counts.skipped == len(rig.taken())


def test_the_last_frame_of_a_shift_counts_as_skipped():
    night = policy(shift='"start": "14:00", "end": "14:01"')
    rig = Rig(lambda n: desk(number=n), night, until_s=3 * 3600).run()
    assert rig.watch.counts.frames + rig.watch.counts.skipped == len(rig.taken())


def test_the_figures_are_of_the_last_look_and_none_is_a_picture():
    rig = Rig(lambda n: desk(number=n), until_s=3.0).run()
    last = rig.watch.counts.last
    assert last.blind == frozenset()
    assert 80 < last.figures.grey < 140
    assert last.figures.brightness > last.figures.grey
    assert last.figures.white == 0.0
    assert last.figures.contrast > 5.0
    assert last.figures.sharpness > 0.1
    assert not any(isinstance(value, np.ndarray) for value in dataclasses.astuple(last.figures))
    facts = {**watch_facts(rig.watch.counts, 5.0), **camera_facts(rig.watch.counts, 5.0, is_open=False)}
    assert all(value is None or isinstance(value, str | int | float) for value in facts.values())
    assert facts["camera.blind"] == ""
    assert facts["camera.frame_age_s"] == pytest.approx(2.0, abs=0.2)
    assert facts["watch.rate_hz"] == pytest.approx(10.0, rel=0.1)


def test_before_the_first_look_nothing_is_made_up():
    never = policy(shift='"start": "01:00", "end": "01:01"')
    rig = Rig(lambda n: desk(number=n), never, start_at=MONDAY, until_s=60.0).run()
    told = camera_facts(rig.watch.counts, 60.0, is_open=False)
    assert {name: value for name, value in told.items() if value is not None} == {"camera.open": 0.0}
