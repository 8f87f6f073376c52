"""The camera that does as it is told."""

import datetime as dt

import numpy as np
import pytest

from edge.capture.frame import CameraAbsent, CameraBusy, CameraLost, CameraStalled, EndOfFootage
from edge.capture.standin import RECORD_MAX, Fault, StandInCamera, noise, plain
from edge.clock import SteppedClock

START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)


@pytest.fixture
def clock():
    return SteppedClock(START)


def take(camera: StandInCamera, count: int = 1) -> list[float]:
    moments = []
    for _ in range(count):
        with camera.frame(1.0) as frame:
            moments.append(frame.captured_s)
    return moments


def test_frames_come_at_its_rate_and_no_faster_for_a_slow_consumer(clock):
    camera = StandInCamera(clock, plain((1, 2, 3)), fps=10.0)
    camera.open()
    assert take(camera, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    clock.sleep(1.0)
    assert take(camera, 2) == pytest.approx([1.3, 1.4])


def test_it_dies_at_a_frame_and_comes_back_after_so_many_refusals(clock):
    camera = StandInCamera(clock, plain((1, 2, 3)))
    camera.fail(Fault.LOST, at_frame=2, refusals=1)
    camera.open()
    take(camera, 2)
    with pytest.raises(CameraLost, match="frame 2"):
        take(camera)
    camera.close()
    camera.open()
    take(camera)
    assert list(camera.record) == [
        "open", "frame 0", "frame 1", "frame refused: lost", "close", "open", "frame 2",
    ]  # fmt: skip


def test_absent_and_busy_refuse_to_open_until_mended(clock):
    camera = StandInCamera(clock, plain((1, 2, 3)))
    camera.fail(Fault.ABSENT, refusals=2)
    for _ in range(2):
        with pytest.raises(CameraAbsent):
            camera.open()
    camera.open()
    take(camera)
    camera.fail(Fault.BUSY)
    take(camera)  # who has it keeps it
    camera.close()
    with pytest.raises(CameraBusy):
        camera.open()
    camera.mend()
    camera.open()
    take(camera)


def test_a_stall_takes_the_whole_timeout_and_no_more(clock):
    camera = StandInCamera(clock, plain((1, 2, 3)))
    camera.open()
    camera.fail(Fault.STALLED)
    with pytest.raises(CameraStalled), camera.frame(2.5):
        pass
    assert clock.now_s() == 2.5


def test_scenes_are_the_same_each_time_and_evidence_is_of_the_same_frame(clock):
    camera = StandInCamera(clock, noise(7, (32, 24)), evidence=noise(8, (64, 48)), frames=2)
    camera.open()
    for number in range(2):
        with camera.frame(1.0) as frame:
            np.testing.assert_array_equal(frame.pixels, noise(7, (32, 24))(number))
            np.testing.assert_array_equal(frame.evidence(), noise(8, (64, 48))(number))
    with pytest.raises(EndOfFootage):
        take(camera)


def test_its_record_is_bounded(clock):
    camera = StandInCamera(clock, plain((1, 2, 3), (4, 4)))
    camera.open()
    take(camera, RECORD_MAX + 10)
    assert len(camera.record) == RECORD_MAX
    assert camera.record[-1] == f"frame {RECORD_MAX + 9}"
