import shutil
from pathlib import Path

import pytest

from edge.provision.pairs import Identity
from tests.provision.ca import OpensslCa


@pytest.fixture
def ca(tmp_path: Path) -> OpensslCa:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here: apt install openssl")
    return OpensslCa(tmp_path / "ca")


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path / "identity", "cam-1")
