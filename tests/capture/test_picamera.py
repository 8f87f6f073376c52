"""PiCamera on a picamera2 that pads, starves, dies and hangs as the real one does."""

import datetime as dt
import threading
import time

import cv2
import numpy as np
import pytest

from edge.capture import picamera
from edge.capture.frame import CameraAbsent, CameraBusy, CameraLost, CameraStalled
from edge.capture.picamera import PiCamera
from edge.capture.standin import Fault, noise, plain
from edge.capture.standin_picamera2 import StandInPicamera2
from edge.clock import SteppedClock

START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)


def quadrants(number: int) -> np.ndarray:
    """Red, green, blue and white, so that a swapped channel, plane or side shows."""
    picture = np.zeros((960, 1280, 3), np.uint8)
    picture[:480, :640] = (200, 0, 0)
    picture[:480, 640:] = (0, 200, 0)
    picture[480:, :640] = (0, 0, 200)
    picture[480:, 640:] = (200, 200, 200)
    return picture


def make(scene=quadrants, *, pi5=False, **options) -> tuple[PiCamera, StandInPicamera2, SteppedClock]:
    clock = SteppedClock(START, 100.0)
    align = options.pop("align_bytes", 64)
    driver = StandInPicamera2(clock, scene, pi5=pi5, align_bytes=align)
    return PiCamera(clock, driver=driver, boottime_s=driver.boottime_s, **options), driver, clock


@pytest.mark.parametrize("pi5", [False, True])
@pytest.mark.parametrize(
    ("detect_px", "evidence_px", "align_bytes"),
    [
        ((640, 480), (1280, 960), 64),
        ((704, 528), (1408, 1056), 256),  # 704 becomes 768
        ((322, 242), (644, 484), 64),
        ((322, 242), (644, 484), 100),  # no power of two, and for RGB no whole number of pixels
    ],
)
def test_padding_is_cropped_and_colours_and_sides_are_right(pi5, detect_px, evidence_px, align_bytes):
    camera, _, _ = make(pi5=pi5, detect_px=detect_px, evidence_px=evidence_px, align_bytes=align_bytes)
    camera.open()
    with camera.frame(1.0) as frame:
        for picture, (width, height) in ((frame.pixels, detect_px), (frame.evidence(), evidence_px)):
            assert picture.shape == (height, width, 3)
            wanted = cv2.resize(quadrants(0), (width, height), interpolation=cv2.INTER_AREA)
            edge = np.zeros((height, width), bool)
            edge[height // 2 - 3 : height // 2 + 3] = edge[:, width // 2 - 3 : width // 2 + 3] = True
            assert np.abs(picture.astype(int) - wanted)[~edge].max() <= 6


def test_array_metadata_and_evidence_are_of_one_exposure():
    camera, driver, clock = make(lambda number: np.full((960, 1280, 3), 20 + 10 * number, np.uint8))
    camera.open()
    for number in range(5):
        with camera.frame(1.0) as frame:
            assert frame.pixels.mean() == pytest.approx(20 + 10 * number, abs=2)
            assert frame.evidence().mean() == 20 + 10 * number
            assert frame.captured_s == pytest.approx(clock.now_s() - driver.lag_s)
            assert (clock.now_at() - frame.captured_at).total_seconds() == pytest.approx(
                driver.lag_s, abs=1e-5
            )


def test_the_large_stream_is_touched_only_for_evidence_and_pixels_are_one_buffer():
    camera, driver, _ = make()
    camera.open()
    buffers = set()
    for _ in range(20):
        with camera.frame(1.0) as frame:
            buffers.add(frame.pixels.__array_interface__["data"][0])
    assert len(buffers) == 1
    assert "map main" not in driver.record
    with camera.frame(1.0) as frame:
        frame.evidence()
    assert list(driver.record).count("map main") == 1


def test_evidence_is_a_copy_that_ends_with_its_frame_and_is_refused_after_it():
    camera, _, _ = make(plain((220, 20, 30)))
    camera.open()
    with camera.frame(1.0) as frame:
        evidence = frame.evidence()
        assert tuple(evidence[0, 0]) == (220, 20, 30)
    assert not evidence.any()  # no view of the camera's buffer, which it has scribbled over
    with pytest.raises(RuntimeError, match="inside the `with`"):
        frame.evidence()


def test_every_request_is_released_and_a_held_one_does_not_starve_the_next():
    camera, driver, _ = make()
    camera.open()
    with camera.frame(1.0), camera.frame(1.0), camera.frame(1.0):
        assert driver.held == 3
    assert driver.held == 0
    held = []
    for _ in range(4):  # the stand-in has as many buffers as were asked for, and truly starves
        context = camera.frame(1.0)
        context.__enter__()
        held.append(context)
    with pytest.raises(CameraStalled), camera.frame(1.0):
        pass
    for context in held:
        context.__exit__(None, None, None)
    with camera.frame(1.0):
        pass
    assert driver.held == 0


def test_a_stall_flushes_the_jobs_and_holds_nothing():
    camera, driver, clock = make()
    camera.open()
    driver.fail(Fault.STALLED)
    started_s = clock.now_s()
    with pytest.raises(CameraStalled, match=r"wanted a frame in 2 s"), camera.frame(2.0):
        pass
    assert 2.0 <= clock.now_s() - started_s <= 2.1
    assert "flush" in driver.record
    assert driver.held == 0


def test_a_frame_that_races_the_flush_is_given_and_not_lost():
    camera, driver, _ = make()
    driver.flush_races = True
    camera.open()
    with camera.frame(0.05) as frame:  # the period is 0.1 s
        assert frame.pixels.shape == (480, 640, 3)
    assert list(driver.record).count("request") == list(driver.record).count("release") == 1


def test_a_timeout_of_zero_is_a_stall_and_not_a_job():
    camera, driver, _ = make()
    camera.open()
    with pytest.raises(CameraStalled), camera.frame(0.0):
        pass
    assert driver.held == 0


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault.NOT_INSTALLED, CameraAbsent, "apt install python3-picamera2.*scripts/venv"),
        (Fault.ABSENT, CameraAbsent, "no such camera: check the cable"),
        (Fault.BUSY, CameraBusy, "Device or resource busy"),
    ],
)
def test_refusals_of_the_camera_stack_are_told_apart(fault, error, words):
    camera, driver, _ = make()
    driver.fail(fault)
    with pytest.raises(error, match=words):
        camera.open()
    driver.mend()
    camera.open()


def test_without_picamera2_the_real_driver_says_how_to_install_it():
    if picamera.importlib.util.find_spec("picamera2") is not None:
        pytest.skip("picamera2 is installed")
    with pytest.raises(CameraAbsent, match="picamera2 cannot be imported: No module named 'picamera2'"):
        PiCamera(SteppedClock(START)).open()


def test_a_camera_that_dies_is_lost_and_comes_back():
    camera, driver, _ = make()
    camera.open()
    driver.fail(Fault.LOST, at_frame=2)
    for _ in range(2):
        with camera.frame(1.0):
            pass
    with pytest.raises(CameraLost, match="frontend has timed out"), camera.frame(1.0):
        pass
    camera.close()
    assert driver.holder is None
    driver.mend()
    camera.open()
    with camera.frame(1.0):
        pass


def test_a_camera_that_cannot_stop_is_freed_all_the_same():
    camera, driver, _ = make()
    camera.open()
    driver.fail(Fault.CANNOT_STOP)
    camera.close()
    assert list(driver.record)[-2:] == ["stop failed", "close"]
    assert driver.holder is None


def test_a_driver_that_hangs_holds_up_nobody_for_long(monkeypatch):
    camera, driver, _ = make()
    camera.open()
    driver.fail(Fault.HANGS)
    monkeypatch.setattr(picamera, "_CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(picamera, "_OPEN_TIMEOUT_S", 0.05)
    started_s = time.monotonic()
    assert not camera.held
    camera.close()
    assert camera.held
    for _ in range(2):
        with pytest.raises(CameraStalled, match="the driver hangs"):
            camera.open()
    threads = threading.active_count()
    for _ in range(5):
        with pytest.raises(CameraBusy, match="3 calls hang in the driver: restart the process"):
            camera.open()
    assert threading.active_count() == threads  # bounded, however often it is tried
    assert time.monotonic() - started_s < 10.0
    driver.mend()
    monkeypatch.undo()
    deadline_s = time.monotonic() + 20.0
    while True:  # the late openings close again as soon as the driver lets go
        try:
            camera.open()
            break
        except (CameraBusy, CameraStalled):
            assert time.monotonic() < deadline_s
            threading.Event().wait(0.01)
    with camera.frame(1.0):
        pass
    camera.close()
    while camera.held:
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)


def test_a_camera_that_dies_before_its_evidence_is_taken_is_lost():
    camera, driver, _ = make()
    camera.open()
    with camera.frame(1.0) as frame:
        driver.fail(Fault.LOST)
        with pytest.raises(CameraLost, match="large stream cannot be read: failed to find buffer"):
            frame.evidence()
    assert driver.held == 0
    driver.mend()
    camera.close()
    camera.open()
    with camera.frame(1.0) as frame:
        assert frame.evidence().shape == (960, 1280, 3)


@pytest.mark.parametrize("call", ["cancel_all_and_flush", "get_metadata", "map lores", "map main", "release"])
def test_a_call_that_hangs_amid_the_frames_is_a_stall_and_frees_what_came_late(monkeypatch, call):
    monkeypatch.setattr(picamera, "_CALL_TIMEOUT_S", 0.05)
    camera, driver, _ = make()
    threads = threading.active_count()
    camera.open()
    with camera.frame(1.0):
        pass
    driver.hangs_in = frozenset({call})
    driver.fail(Fault.HANGS)
    started_s = time.monotonic()
    timeout_s = 0.05 if call == "cancel_all_and_flush" else 0.2  # the period is 0.1 s
    with (
        pytest.raises(CameraStalled, match=r"in 0\.\d+ s, the driver hangs"),
        camera.frame(timeout_s) as frame,
    ):
        frame.evidence()
    for _ in range(5):
        with pytest.raises(CameraStalled, match="an earlier call still hangs"), camera.frame(1.0):
            pass
    camera.close()  # by another thread
    assert driver.holder is None
    camera.open()
    camera.close()
    assert time.monotonic() - started_s < 2.0
    assert threading.active_count() == threads + 1
    driver.mend()
    deadline_s = time.monotonic() + 5.0
    while threading.active_count() > threads:
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.005)
    assert driver.held == 0
    camera.open()
    with camera.frame(1.0) as frame:
        assert frame.evidence().shape == (960, 1280, 3)
    camera.close()


def test_a_missing_or_foreign_timestamp_falls_back_to_the_clock():
    clock = SteppedClock(START, 100.0)
    driver = StandInPicamera2(clock, noise(1))
    camera = PiCamera(clock, driver=driver, boottime_s=lambda: clock.now_s() + 86_400.0)
    camera.open()
    moments = []
    for _ in range(3):
        with camera.frame(1.0) as frame:
            assert frame.captured_s == clock.now_s()
            moments.append(frame.captured_s)
    assert moments == sorted(set(moments))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detect_px": (641, 480)}, "detect_px: wanted even sides"),
        ({"evidence_px": (9000, 6750)}, "evidence_px: wanted even sides, 64 to 4608"),
        ({"detect_px": (1600, 1200)}, "at most evidence_px"),
        ({"detect_px": (640, 360)}, "the shape of evidence_px"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_sizes_that_cannot_be_are_refused_when_it_is_made(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)
