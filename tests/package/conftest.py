"""A Debian of its own, and two versions of the package: asked for with DESKWATCH_PACKAGE=1.

The Debian is made by debootstrap from the mirror that this machine uses, once, and kept as a tar in
$DESKWATCH_CACHE (~/.cache/deskwatch). Nothing of the package's own installation takes the network.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import __version__
from tests.package.box import Box

HERE = Path(__file__).parents[2]
SUITE = "bookworm"
NEXT = f"{__version__}.1"
MIRROR = "http://deb.debian.org/debian"  # the client of this machine may lead it elsewhere


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ask = "takes three minutes and a Debian mirror: DESKWATCH_PACKAGE=1 scripts/test tests/package"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))
            if not os.environ.get("DESKWATCH_PACKAGE"):
                item.add_marker(pytest.mark.skip(reason=ask))


def need() -> None:
    """Skip where none can be made; where CI is set, fail."""
    why = ""
    if os.geteuid() != 0:
        why = "to boot a Debian takes root"
    for program in ("debootstrap", "systemd-nspawn", "dpkg-deb"):
        if not why and shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            why = f"no {program} here: apt install debootstrap systemd-container dpkg"
    if why and os.environ.get("CI"):
        pytest.fail(f"CI needs it: {why}")
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of a small Debian, as a unit's is before the package: systemd, udev, and Python."""
    need()
    cache = Path(os.environ.get("DESKWATCH_CACHE", Path.home() / ".cache" / "deskwatch"))
    cache.mkdir(parents=True, exist_ok=True)
    tar = cache / f"{SUITE}.tar"
    if not tar.exists():
        root = tmp_path_factory.mktemp("debootstrap") / "root"
        want = "systemd,systemd-sysv,udev,dbus,python3"
        words = ["debootstrap", "--variant=minbase", f"--include={want}", SUITE, root, MIRROR]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no Debian mirror answers: {(done.stdout + done.stderr)[-300:]}")
        part = tar.with_suffix(".part")
        subprocess.run(["tar", "-C", root, "--one-file-system", "-cf", part, "."], check=True)
        part.replace(tar)
        shutil.rmtree(root)
    return tar


def build(out: Path, *more: str | Path) -> Path:
    words = [HERE / "scripts" / "build-deb", "--debian", "12", "--out", out, "--quick", *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """This version, and one that comes after it with the same wheels."""
    need()
    out = tmp_path_factory.mktemp("packages")
    this = build(out)
    return this, build(out, "--version", NEXT, "--wheels", this.with_suffix(".wheels"))


@pytest.fixture
def box(debian: Path, tmp_path: Path) -> Iterator[Box]:
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-xf", debian], check=True)
    box = Box(root)
    box.boot()
    yield box
    box.stop()
    shutil.rmtree(root, ignore_errors=True)
