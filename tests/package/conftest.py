"""A Debian of its own, and two versions of the package: asked for with DESKWATCH_PACKAGE=1.

The Debian is made by debootstrap from the mirror that this machine's apt uses, once, and kept as a tar in
$DESKWATCH_CACHE (~/.cache/deskwatch). Nothing of the package's own installation takes the network.
Without root or a mirror they are skipped, and say so. Where CI is set, all else that is missing fails.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import __version__
from tests.package.box import Box

HERE = Path(__file__).parents[2]
NEXT = f"{__version__}.1"
RELEASES = {11: ("12", "bookworm"), 13: ("13", "trixie")}
"""Debian's number and name, by the minor version of its Python: bytecode is made by the Python that tests."""
SOURCE = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "edge",
    "models",
    "systemd",
    "scripts",
    "docs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ask = "takes three minutes and a Debian mirror: DESKWATCH_PACKAGE=1 scripts/test tests/package"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))
            if not os.environ.get("DESKWATCH_PACKAGE"):
                item.add_marker(pytest.mark.skip(reason=ask))


def need() -> None:
    """Skip where nobody could make one; where CI is set and it only lacks a program, fail."""
    if os.geteuid() != 0:
        pytest.skip("PACKAGE NOT TESTED: to boot a Debian takes root")
    if sys.version_info.minor not in RELEASES:
        pytest.skip(
            f"PACKAGE NOT TESTED: wanted Python 3.11 or 3.13, as a Debian has, got 3.{sys.version_info.minor}"
        )
    path = f"{os.environ['PATH']}:/usr/sbin"
    for program in ("debootstrap", "systemd-nspawn", "dpkg-deb", "openssl"):
        if shutil.which(program, path=path) is None:
            missing(f"no {program} here: apt install debootstrap systemd-container dpkg openssl")


def missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs it: {why}")
    pytest.skip(f"PACKAGE NOT TESTED: {why}")


def asked(*words: str) -> str:
    """Return what a command of apt's says, or nothing where it is not here."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def mirror(suite: str) -> str | None:
    """Return where this machine's apt has that Debian from; None: debootstrap knows itself."""
    listed = asked(
        "apt-get", "indextargets", "--format=$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"
    )
    for line in listed.splitlines():
        words = line.split()
        if words[1:] == [suite, "main"] and words[0].startswith(("http://", "https://")):
            return words[0]
    return None


def way_out() -> dict[str, str]:
    """Return the environment with apt's proxy in it, which debootstrap does not read."""
    told = {
        f"{kind}_proxy": asked("apt-config", "dump", "--format=%v", f"Acquire::{kind}::Proxy").strip()
        for kind in ("http", "https")
    }
    return {**{name: value for name, value in told.items() if value}, **os.environ}


@contextlib.contextmanager
def alone(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder that all processes of this run of the tests share, to one of them at a time."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-package"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of a small Debian, as a unit's is before the package: systemd, udev, and Python."""
    need()
    suite = RELEASES[sys.version_info.minor][1]
    cache = Path(os.environ.get("DESKWATCH_CACHE", Path.home() / ".cache" / "deskwatch"))
    cache.mkdir(parents=True, exist_ok=True)
    tar = cache / f"{suite}.tar"
    with alone(tmp_path_factory):
        if not tar.exists():
            root = tmp_path_factory.mktemp("debootstrap") / "root"
            make_debian(suite, root)
            part = tar.with_suffix(f".{os.getpid()}.part")
            subprocess.run(["tar", "-C", root, "--one-file-system", "-cf", part, "."], check=True)
            part.replace(tar)
            shutil.rmtree(root)
    return tar


def make_debian(suite: str, root: Path) -> None:
    """Run debootstrap. A mirror's silence skips; what fails once it has answered fails in CI."""
    words = [
        "debootstrap",
        "--variant=minbase",
        "--include=systemd,systemd-sysv,udev,dbus,python3",
        suite,
        root,
    ]
    where = mirror(suite)
    done = subprocess.run(
        [*words, *([where] if where else [])], capture_output=True, text=True, env=way_out(), check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-500:]
        if "Retrieving Packages" in done.stdout or "Validating" in done.stdout:
            missing(f"a Debian mirror answers, and debootstrap fails: {said}")
        pytest.skip(f"PACKAGE NOT TESTED: no Debian mirror answers: {said}")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it is now: whoever goes on editing it changes no package between two builds."""
    with alone(tmp_path_factory) as shared:
        folder = shared / "source"
        if folder.exists():
            return folder
        folder.mkdir()
        for name in SOURCE:
            if (HERE / name).is_dir():
                shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(HERE / name, folder / name)
        return folder


def build(source: Path, out: Path, *more: str | Path, env: dict[str, str] | None = None) -> Path:
    """Build a package: where `more` says nothing else, for this processor and this Python's Debian."""
    words = [source / "scripts" / "build-deb", "--out", out, "--quick"]
    if "--debian" not in more:
        words += ["--debian", RELEASES[sys.version_info.minor][0]]
        env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([*words, *more], capture_output=True, text=True, env=env, check=False)
    if "set PYTHON to one" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def packages(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """This version, and one that comes after it with the same wheels."""
    need()
    with alone(tmp_path_factory) as shared:
        out = shared / "packages"
        if not out.exists():
            part = shared / "building"
            shutil.rmtree(part, ignore_errors=True)
            this = build(source, part)
            build(source, part, "--version", NEXT, "--wheels", this.with_suffix(".wheels"))
            part.rename(out)
    debian = RELEASES[sys.version_info.minor][0]
    [this] = out.glob(f"deskwatch_{__version__}+deb{debian}_*.deb")
    [following] = out.glob(f"deskwatch_{NEXT}+deb{debian}_*.deb")
    return this, following


@pytest.fixture(scope="session")
def boxes(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Box]]:
    """One booted Debian, which the tests hand on; who fails leaves none behind for the next."""
    kept: dict[str, Box] = {}
    yield kept
    for box in kept.values():
        throw_away(box)


@pytest.fixture
def box(debian: Path, boxes: dict[str, Box], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    """A Debian that the package was never in, or was purged from: that this is the same, a test shows."""
    if "clean" not in boxes:
        root = tmp_path / "root"
        root.mkdir()
        subprocess.run(["tar", "-C", root, "-xf", debian], check=True)
        boxes["clean"] = Box(root)
        boxes["clean"].boot()
    box = boxes.pop("clean")
    failed = request.session.testsfailed
    yield box
    if request.session.testsfailed == failed and as_before(box):
        boxes["clean"] = box
    else:
        throw_away(box)


def as_before(box: Box) -> bool:
    box.dpkg("--purge", "deskwatch", check=False)
    box.run(
        "rm",
        "-rf",
        "/boot/firmware",
        "/etc/NetworkManager",
        "/srv/photo.png",
        "/root/unit.pem",
        "/root/ca.pem",
        "/root/unit.csr",
    )
    box.run("systemctl", "reset-failed")
    return not [name for name in box.files() if "deskwatch" in name]


def throw_away(box: Box) -> None:
    box.stop()
    shutil.rmtree(box.root, ignore_errors=True)
