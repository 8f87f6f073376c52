"""A broker, and keys that sign."""

import json
from pathlib import Path

import pytest

from edge.operator.signing import make_keys
from edge.uplink.envelope import SigningKey
from tests.broker import Mosquitto

DEFAULT_POLICY = Path(__file__).parents[2] / "edge" / "defaults" / "policy.json"


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Mosquitto:
    mosquitto.start()
    return mosquitto


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_keys(tmp_path / "op", None)


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """A policy of version 8."""
    path = tmp_path / "policy.json"
    document = json.loads(DEFAULT_POLICY.read_text()) | {"version": 8}
    path.write_text(json.dumps(document, indent=1))
    return path
