"""What every test may ask for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import PROGRAM, Mosquitto

SHARED = Path(os.environ.get("DESKWATCH_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, photos and clips beside the checkout."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the shared folder, and {SHARED} is missing")
        pytest.skip(f"no shared folder at {SHARED}: clone it beside the project, or set DESKWATCH_SHARED")
    return SHARED


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
