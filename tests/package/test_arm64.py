"""The package for a Pi, built on a machine that is none."""

import subprocess
from pathlib import Path

import pytest

from tests.package.conftest import build

EM_AARCH64 = 183


def machines(folder: Path) -> dict[int, list[str]]:
    """Return the names of all ELF files, by the processor that they are for."""
    found: dict[int, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                head = file.read(20)
            if head[:4] == b"\x7fELF":
                found.setdefault(int.from_bytes(head[18:20], "little"), []).append(path.name)
    return found


@pytest.mark.parametrize("debian", ["12", "13"])
def test_it_is_built_for_a_pi_on_a_machine_that_is_none(source, tmp_path, debian):
    package = build(source, tmp_path, "--debian", debian, "--arch", "arm64")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "x"], check=True)
    found = machines(tmp_path / "x")
    assert set(found) == {EM_AARCH64}, found
    assert any("litert" in name.lower() for name in found[EM_AARCH64])
