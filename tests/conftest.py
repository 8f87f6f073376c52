"""What every test may ask for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.broker import PROGRAM, Mosquitto
from tests.clip import frames, still
from tests.daemon import Daemon

SHARED = Path(os.environ.get("DESKWATCH_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, photos and clips beside the checkout."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the shared folder, and {SHARED} is missing")
        pytest.skip(f"no shared folder at {SHARED}: clone it beside the project, or set DESKWATCH_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def phone_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of somebody at a desk with a phone in the hand, from the project's own clip."""
    # A frame in which the hand is steady: a still has to pass the rule's `enter` by itself.
    return still("phone in use", tmp_path_factory.mktemp("photos") / "phone.png", share=0.55)


@pytest.fixture(scope="session")
def people_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of two people at a desk, from the project's own clip."""
    return still("second person stands behind", tmp_path_factory.mktemp("photos") / "people.png")


@pytest.fixture(scope="session")
def cut_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the clip, in a container that can be read from the front, cut in half."""
    path = tmp_path_factory.mktemp("clips") / "cut.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    for frame in frames(40):
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes the shared folder says so, and none can forget to."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs mosquitto")
        pytest.skip("no mosquitto here: apt install mosquitto")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.stop(signal.SIGKILL)


@pytest.fixture
def daemon(tmp_path: Path, phone_photo: Path, mosquitto: Mosquitto) -> Iterator[Daemon]:
    """A unit that sees a phone, to be started."""
    folder = tmp_path / "unit"
    folder.mkdir()
    daemon = Daemon(folder, phone_photo, mosquitto)
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()
