"""What `deskwatch run` does around a unit: it gives pins back, and starts over only where nothing is lost."""

import contextlib
import json
import types

import pytest
from gpiozero import Device, OutputDevice
from gpiozero.pins.mock import MockFactory

import edge.daemon
from edge.daemon import run_unit
from edge.errors import EdgeError
from edge.notebook import NotKept
from edge.stopping import Stop
from tests.daemon import RULES

SETTINGS = """
[unit]
tenant = "acme"
id = "cam-1"
[broker]
host = "127.0.0.1"
port = 1883
[camera]
kind = "replay"
source = "{folder}/photo.png"
[paths]
state = "{folder}/state"
policy = "{folder}/policy.json"
[led]
pin = 17
[button]
pin = 27
"""


@pytest.fixture
def pins(monkeypatch):
    factory = MockFactory()
    monkeypatch.setattr(Device, "pin_factory", factory)
    yield factory
    factory.reset()


@pytest.fixture
def settings(tmp_path):
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    policy = {
        "schema": "policy/1",
        "version": 5,
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2036-01-01T00:00:00Z",
        "timezone": "UTC",
        "shifts": [{"days": days, "start": "00:00", "end": "24:00"}],
        "watch": {"mode": "continuous"},
        "rules": RULES,
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    (tmp_path / "photo.png").touch()
    path = tmp_path / "unit.toml"
    path.write_text(SETTINGS.format(folder=tmp_path))
    return path


def test_a_unit_that_does_not_start_gives_its_pins_back(settings, tmp_path, pins):
    """Else the one that goes on as before would find its own light taken."""
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(EdgeError) as why:
        run_unit(settings, Stop())
    assert "state" in str(why.value)
    OutputDevice(17, pin_factory=pins).close()


def test_nobody_has_a_unit_start_over_that_would_forget_what_was_done_at_it(settings, pins, monkeypatch):
    stop, refusals = Stop(), []

    def not_kept():
        raise NotKept("wanted the break that is on kept")

    @contextlib.contextmanager
    def running(*_parts, reload, **_more):
        def watch(*_words):
            try:
                reload()
            except EdgeError as error:
                refusals.append((error, stop.is_set()))

        desk = types.SimpleNamespace(check_kept=not_kept)
        yield types.SimpleNamespace(desk=desk, watch=watch, progress=None, summary=None)

    monkeypatch.setattr(edge.daemon, "running", running)
    stop.start_over = lambda: False
    run_unit(settings, stop)
    ((error, stopped),) = refusals
    assert isinstance(error, NotKept)
    assert not stopped
