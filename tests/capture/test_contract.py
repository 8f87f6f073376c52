"""What every camera keeps, the real ones and the stand-ins alike."""

import datetime as dt
import gc
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from edge.capture.frame import Camera, CameraError, CameraLost, CameraStalled
from edge.capture.standin import Fault
from edge.clock import SteppedClock

PATIENCE_S = 10.0


def check_frames(camera: Camera, count: int) -> list[float]:
    """Take frames, and check what every one of them has."""
    moments: list[tuple[float, dt.datetime]] = []
    for _ in range(count):
        with camera.frame(PATIENCE_S) as frame:
            assert frame.pixels.dtype == np.uint8
            assert frame.pixels.ndim == 3
            assert frame.pixels.shape[2] == 3
            assert frame.captured_at.utcoffset() == dt.timedelta(0)
            moments.append((frame.captured_s, frame.captured_at))
    for (before_s, before_at), (after_s, after_at) in itertools.pairwise(moments):
        assert after_s > before_s
        assert (after_at - before_at).total_seconds() == pytest.approx(after_s - before_s, abs=0.02)
    return [moment_s for moment_s, _ in moments]


def test_is_closed_when_made_and_open_twice_is_open_once(rig):
    assert rig.resources() == 0
    with pytest.raises(CameraLost, match="closed"), rig.camera.frame(PATIENCE_S):
        pass
    rig.camera.open()
    held = rig.resources()
    rig.camera.open()
    assert rig.resources() == held
    check_frames(rig.camera, 2)


def test_frames_are_rgb_with_rising_moments_on_its_clock(rig):
    before_s, before_at = rig.clock.now_s(), rig.clock.now_at()
    rig.camera.open()
    moments_s = check_frames(rig.camera, 8)
    assert before_s - 0.05 <= moments_s[0]
    assert moments_s[-1] <= rig.clock.now_s() + 1e-9
    with rig.camera.frame(PATIENCE_S) as frame:
        assert frame.captured_at >= before_at - dt.timedelta(seconds=0.05)


def test_red_is_red_in_pixels_and_in_evidence(rig):
    if rig.colour is None:
        pytest.skip("no telling what is before a real camera")
    rig.camera.open()
    with rig.camera.frame(PATIENCE_S) as frame:
        evidence = frame.evidence()
        for picture in (frame.pixels, evidence):
            np.testing.assert_allclose(picture.reshape(-1, 3).mean(axis=0), rig.colour, atol=6)
            assert picture.reshape(-1, 3).std(axis=0).max() < 3  # to the last column: no padding shows
        assert evidence.dtype == np.uint8
        assert evidence.shape[0] >= frame.pixels.shape[0]


def test_no_frame_in_time_is_a_stall_and_says_so_in_time(rig):
    if rig.colour is None:
        pytest.skip("a real camera does not stall on demand")
    rig.camera.open()
    check_frames(rig.camera, 2)
    rig.stall()
    started_s = rig.clock.now_s()
    with pytest.raises(CameraStalled) as stalled, rig.camera.frame(rig.stall_s):
        pass
    assert isinstance(stalled.value, TimeoutError)
    assert rig.clock.now_s() - started_s <= rig.stall_s + (0 if isinstance(rig.clock, SteppedClock) else 0.5)
    rig.mend()
    rig.camera.close()
    rig.camera.open()
    check_frames(rig.camera, 3)


def test_close_frees_the_device_and_may_be_repeated(rig):
    rig.camera.close()
    rig.camera.open()
    with rig.camera.frame(PATIENCE_S) as frame:
        last_s = frame.captured_s
    rig.camera.close()
    assert rig.resources() == 0
    rig.camera.close()
    with pytest.raises(CameraLost), rig.camera.frame(PATIENCE_S):
        pass
    rig.clock.sleep(0.05)
    rig.camera.open()
    assert check_frames(rig.camera, 3)[0] > last_s


def test_a_body_that_raises_leaks_nothing(rig):
    rig.camera.open()
    check_frames(rig.camera, 1)
    held = rig.resources()
    for _ in range(10):  # more often than there are buffers
        with pytest.raises(KeyError, match="body"), rig.camera.frame(PATIENCE_S):
            raise KeyError("body")
    assert rig.resources() == held
    check_frames(rig.camera, 2)
    rig.camera.close()
    assert rig.resources() == 0


def test_it_opens_again_after_every_fault(breakable_rig):
    rig = breakable_rig
    for fault in rig.faults:
        rig.camera.close()
        rig.fail(fault)
        raised = False
        try:
            rig.camera.open()
            with rig.camera.frame(PATIENCE_S if fault is Fault.CANNOT_STOP else rig.stall_s):
                pass
        except CameraError:
            raised = True
        assert raised == (fault is not Fault.CANNOT_STOP)
        rig.camera.close()
        assert rig.resources() == 0, fault
        rig.mend()
        rig.camera.open()
        check_frames(rig.camera, 3)


def test_real_clips_keep_it_too(clip_rig):
    clip_rig.camera.open()
    assert clip_rig.resources() >= 1
    moments_s = check_frames(clip_rig.camera, 60)
    assert moments_s[0] == 100.0
    clip_rig.camera.close()
    assert clip_rig.resources() == 0
    clip_rig.clock.sleep(0.5)
    clip_rig.camera.open()
    assert check_frames(clip_rig.camera, 3)[0] >= moments_s[-1] + 0.4


def test_many_openings_leave_no_descriptor_and_no_thread_behind(rig):
    if rig.colour is None:
        pytest.skip("too slow on a real camera")
    rig.camera.open()
    rig.camera.close()
    descriptors, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(30):
        rig.camera.open()
        check_frames(rig.camera, 1)
        rig.camera.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert threading.active_count() == threads


def test_a_frame_goes_black_when_its_with_ends(rig):
    rig.camera.open()
    with rig.camera.frame(PATIENCE_S) as frame:
        evidence = frame.evidence()
        assert frame.pixels.any()
        assert evidence.any()
    assert not frame.pixels.any()
    assert not evidence.any()
    with pytest.raises(KeyError), rig.camera.frame(PATIENCE_S) as frame:
        raise KeyError("body")
    assert not frame.pixels.any()


def test_no_buffer_holds_a_picture_once_the_camera_is_closed(rig):
    """By every array that this process can find: the ones of stand-ins of drivers too."""
    if rig.colour is None:
        pytest.skip("no telling what is before a real camera")
    red = np.array(rig.colour)

    def pictures() -> int:
        """Arrays that the collector knows, or that those or their like refer to, with red pixels."""
        found = 0
        seen = set()
        for each in gc.get_objects():
            for array in [each, *gc.get_referents(each)]:
                if isinstance(array, np.ndarray) and array.ndim == 3 and id(array) not in seen:
                    seen.add(id(array))
                    middle = array[array.shape[0] // 2, array.shape[1] // 2]
                    if middle.shape == (3,) and min(abs(middle[::way] - red).max() for way in (1, -1)) <= 6:
                        found += 1
        return found

    gc.collect()
    before = pictures()  # those of the scene that the stand-ins show
    rig.camera.open()
    for _ in range(3):
        with rig.camera.frame(PATIENCE_S) as frame:
            frame.evidence()
            assert pictures() > before
    rig.camera.close()
    assert pictures() == before
