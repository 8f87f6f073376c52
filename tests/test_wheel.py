"""What an installed package brings with it, and what stays in the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hatchling.builders.wheel import WheelBuilder

from edge.clip import CLIP
from edge.vision.card import load_card
from edge.vision.model_file import DEFAULT_CARD, checkout

MODELS = PurePosixPath("share/deskwatch/models")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(checkout())).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel unpacked, as pip lays it out."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (data,) = folder.glob("deskwatch-*.data/data")
    data.rename(folder / "prefix")
    return folder


def test_it_holds_the_package_the_model_that_ships_and_every_card(installed):
    brought = {path.name for path in (installed / "prefix" / MODELS).iterdir()}
    cards = {path.name for path in (checkout() / "models").glob("*.toml")}
    assert brought == cards | {load_card(checkout() / "models" / f"{DEFAULT_CARD}.toml").file}
    for name in ("policy.json", "unit.toml", "page.css", "log.css", "notice.txt"):
        assert (installed / "edge" / "defaults" / name).is_file()


def test_it_holds_neither_the_training_pipeline_nor_the_clip_nor_the_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    assert {name.parts[0].partition("-")[0] for name in names} == {"edge", "deskwatch"}
    assert [name for name in names if "training" in name.parts or name.stem == CLIP.stem] == []


def installed_run(installed, *arguments):
    """Run the command of the unpacked wheel; only its dependencies come from the environment of the tests."""
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); sys.prefix = {str(installed / 'prefix')!r}\n"
        "from edge.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env={**os.environ, "DESKWATCH_SHARED": str(installed / "nowhere"), "DESKWATCH_MODELS": ""},
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_installed_it_finds_its_model_by_name(installed):
    done = installed_run(installed, "model", "check", DEFAULT_CARD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{installed / 'prefix' / MODELS / DEFAULT_CARD}.toml: good: ")


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_installed_the_demo_and_the_bench_say_where_the_clip_is(installed, tmp_path, command):
    done = installed_run(installed, command)
    assert done.returncode == 2
    assert "wanted the project's own clip" in done.stderr
    assert "checkout" in done.stderr
    if command == "demo":
        assert "Give footage with --source" in done.stderr
