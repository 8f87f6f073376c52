"""What every test may ask for."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("DESKWATCH_SHARED", Path(__file__).parents[2] / "shared"))


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
