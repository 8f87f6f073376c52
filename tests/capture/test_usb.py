"""UsbCamera on a V4L2 that queues, dies and hangs, and the real driver on nodes that are no camera."""

import errno
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture import usb
from edge.capture.frame import CameraAbsent, CameraBusy, CameraLost, CameraStalled
from edge.capture.standin import Fault
from edge.capture.standin_v4l2 import StandInV4l2
from edge.capture.usb import Settings, UsbCamera, V4l2Driver, open_error
from edge.clock import SystemClock

DEVICE = Path("/dev/video0")


def numbered(number: int) -> np.ndarray:
    return np.full((48, 64, 3), (number % 256, number // 256, 7), np.uint8)


def number_of(pixels: np.ndarray) -> int:
    return int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])


def until(condition, seconds: float = 5.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        threading.Event().wait(0.002)


@pytest.fixture
def driver():
    driver = StandInV4l2(numbered)
    yield driver
    driver.mend()


@pytest.fixture
def camera(driver):
    camera = UsbCamera(DEVICE, SystemClock(), driver=driver)
    yield camera
    driver.mend()
    camera.close()


def test_a_slow_consumer_gets_a_new_frame_and_not_a_queued_one(camera, driver):
    camera.open()
    with camera.frame(5.0):
        pass
    taken = driver.number
    until(lambda: driver.number > taken + 20)  # the consumer is busy for twenty frames
    asked_s = time.monotonic()
    with camera.frame(5.0) as frame:
        assert number_of(frame.pixels) > taken + 18
        assert frame.captured_s > asked_s - 2 / driver.fps


def test_only_the_frames_asked_for_are_decoded(camera, driver):
    camera.open()
    for _ in range(3):
        with camera.frame(5.0):
            taken = driver.number
        until(lambda taken=taken: driver.number > taken + 10)
    assert driver.decoded == 3
    assert driver.number > 30


def test_a_picture_damaged_on_the_cable_is_passed_over(camera, driver):
    camera.open()
    driver.damaged = 3
    with camera.frame(5.0) as frame:
        assert frame.pixels[0, 0, 2] == 7
    assert driver.damaged == 0


def test_captured_at_and_captured_s_are_the_drivers_moment(camera, driver):
    camera.open()
    with camera.frame(5.0) as frame:
        clock = SystemClock()
        age_s = clock.now_s() - frame.captured_s
        assert 0.0 <= age_s < 1.0
        assert (clock.now_at() - frame.captured_at).total_seconds() == pytest.approx(age_s, abs=0.05)


def test_what_is_asked_of_the_camera_and_in_which_order(driver):
    camera = UsbCamera(DEVICE, SystemClock(), settings=Settings(640, 480, 15), driver=driver)
    camera.open()
    camera.close()
    assert list(driver.asked.items()) == [
        (cv2.CAP_PROP_FOURCC, float(int.from_bytes(b"MJPG", "little"))),
        (cv2.CAP_PROP_FRAME_WIDTH, 640.0),
        (cv2.CAP_PROP_FRAME_HEIGHT, 480.0),
        (cv2.CAP_PROP_FPS, 15.0),
        (cv2.CAP_PROP_BUFFERSIZE, 2.0),
    ]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="64 to 4096 px"):
        Settings(width_px=10_000)


def test_a_camera_unplugged_is_lost_until_it_is_closed_and_comes_back(camera, driver):
    camera.open()
    driver.fail(Fault.LOST)
    for _ in range(3):
        with pytest.raises(CameraLost, match="stopped giving frames"), camera.frame(5.0):
            pass
    assert driver.holders == 0  # freed at once, without waiting for close
    driver.mend()
    with pytest.raises(CameraLost), camera.frame(0.1):
        pass
    camera.close()
    camera.open()
    with camera.frame(5.0):
        pass


def test_a_read_that_gives_up_by_itself_is_a_stall(camera, driver):
    driver.select_timeout_s = 1.1
    camera.open()
    driver.fail(Fault.STALLED)
    with pytest.raises(CameraStalled, match=r"no frame in 1\.\d s"), camera.frame(5.0):
        pass


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_reader_in_d_state_holds_up_nobody(driver, monkeypatch, exclusive):
    monkeypatch.setattr(usb, "_CLOSE_TIMEOUT_S", 0.05)
    driver.exclusive = exclusive
    camera = UsbCamera(DEVICE, SystemClock(), driver=driver)
    camera.open()
    with camera.frame(5.0):
        pass
    driver.fail(Fault.HANGS)
    started_s = time.monotonic()
    with pytest.raises(CameraStalled, match=r"wanted a frame in 0\.05 s"), camera.frame(0.05):
        pass
    assert not camera.held
    camera.close()
    assert time.monotonic() - started_s < 10.0
    assert driver.holders == 1  # what hangs still holds it
    assert camera.held
    if exclusive:
        with pytest.raises(CameraBusy):
            camera.open()
        driver.mend()
        until(lambda: driver.holders == 0)
    else:
        driver.trouble.fault = None  # another try finds a driver that answers, the first reader hangs on
    camera.open()
    with camera.frame(5.0):
        pass
    driver.mend()
    camera.close()
    until(lambda: driver.holders == 0)
    until(lambda: not camera.held)


def test_readers_that_hang_are_bounded(driver, monkeypatch):
    monkeypatch.setattr(usb, "_CLOSE_TIMEOUT_S", 0.01)
    driver.exclusive = False
    driver.fail(Fault.HANGS)
    camera = UsbCamera(DEVICE, SystemClock(), driver=driver)
    for _ in range(3):
        camera.open()
        camera.close()
    for _ in range(5):
        with pytest.raises(CameraBusy, match="3 calls hang in the driver: restart the process"):
            camera.open()
    driver.mend()
    until(lambda: driver.holders == 0)
    until(lambda: not any(thread.is_alive() for thread in camera._stuck._threads))
    camera.open()
    with camera.frame(5.0):
        pass
    camera.close()


class TestRealDriver:
    def test_nodes_that_are_no_camera_are_told_apart(self, tmp_path):
        (tmp_path / "file").write_text("no device")
        refusals = {
            Path("/dev/video-none"): "no such camera: check the cable",
            tmp_path / "file": "wanted a video device such as /dev/video0, got a file or folder",
            tmp_path: "got a file or folder",
            tmp_path / "file" / "below": "no such camera",
            Path("/dev/null"): "wanted a video device such as /dev/video0, got another kind of device",
        }
        for device, words in refusals.items():
            camera = UsbCamera(device, SystemClock())
            with pytest.raises(CameraAbsent, match=words) as refused:
                camera.open()
            assert str(device) in str(refused.value)
            camera.close()

    @pytest.mark.parametrize(
        ("number", "error", "words"),
        [
            (errno.EACCES, CameraAbsent, "not permitted: add the user to the group "),
            (errno.EBUSY, CameraBusy, "held by another program"),
            (errno.ENODEV, CameraAbsent, "no such camera"),
            (errno.ENOTTY, CameraAbsent, "another kind of device"),
            (errno.EIO, CameraAbsent, "cannot be opened: Input/output error"),
        ],
    )
    def test_refusals_of_the_kernel_are_told_apart(self, number, error, words):
        refusal = open_error(DEVICE, OSError(number, usb.os.strerror(number)))
        assert type(refusal) is error
        assert words in str(refusal)
        assert str(DEVICE) in str(refusal)

    def test_the_group_named_is_the_one_that_owns_the_node(self, tmp_path):
        node = tmp_path / "node"
        node.touch()
        group = usb.grp.getgrgid(node.stat().st_gid).gr_name
        assert f"to the group {group} " in str(open_error(node, PermissionError(errno.EACCES, "denied")))
        missing = open_error(tmp_path / "none", PermissionError(errno.EACCES, "denied"))
        assert "to the group video " in str(missing)

    def test_a_node_that_is_no_camera_is_not_held(self):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(10):
            assert V4l2Driver().refusal(Path("/dev/null")) is not None
        assert len(list(Path("/proc/self/fd").iterdir())) == before
