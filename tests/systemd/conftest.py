"""A booted container for the tests of the service; one for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.container import need_a_container
from tests.systemd.service import SAFE, UNIT, Service


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory, phone_photo: Path) -> Iterator[Service]:
    need_a_container()
    service = Service(tmp_path_factory.mktemp("container"), phone_photo)
    service.container.boot()
    yield service
    service.container.stop()


@pytest.fixture
def service(booted: Service, mosquitto) -> Iterator[Service]:
    """The service as it is after its package was installed, with the test's broker in its settings."""
    booted.fresh(mosquitto.port)
    yield booted
    booted.container.run("systemctl", "stop", UNIT, SAFE)
