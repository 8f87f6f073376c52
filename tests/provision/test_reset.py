"""A factory reset: what was planted in every store of a unit that ran is nowhere any more."""

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge import reset
from edge.cli import main
from edge.config import read_config
from edge.provision.pairs import Identity
from edge.running import SPOOL_FILE
from tests.broker import until
from tests.daemon import Daemon

CANARY = b"CANARY-8f3a1c-never-seen-again"
WIFI = '[wifi]\nssid = "home"\npassword = "CANARY-8f3a1c-never-seen-again"\n'


def typed(daemon, *more):
    at = [
        "--config",
        daemon.config,
        "--wifi",
        daemon.folder / "wifi",
        "--site",
        daemon.folder / "deskwatch.toml",
    ]
    return main(["reset", "--factory", *map(str, [*at, *more])])


def planted(daemon):
    """Put the canary into everything that a unit keeps; return how many places."""
    (daemon.folder / "wifi").mkdir(exist_ok=True)
    (daemon.folder / "deskwatch.toml").write_text(WIFI)
    words = ["provision", "--import", "--site", daemon.folder / "deskwatch.toml", "--config", daemon.config]
    assert main([*map(str, words), "--wifi", str(daemon.folder / "wifi")]) == 0
    (daemon.folder / "deskwatch.toml").write_text(f"# {CANARY.decode()}\n")  # and one that waits
    Identity(daemon.folder / "identity", "cam-1").request()
    for path in daemon.folder.rglob("*"):
        inside = path.is_file() and not path.is_symlink() and path.parent != daemon.folder
        if inside and path.parent.name not in ("mosquitto", "wifi"):
            with path.open("ab") as file:
                file.write(CANARY)
    for name in ("policy.json", "unit.toml"):
        with (daemon.folder / name).open("ab") as file:
            file.write(b"\n# " + CANARY if name == "unit.toml" else b"\n" + CANARY)
    (daemon.state / "some" / "deep").mkdir(parents=True)
    (daemon.state / "some" / "deep" / CANARY.decode()).write_bytes(CANARY)
    return found(daemon.folder)


def found(folder):
    """Count the files in which, or in whose name, the canary is: grep, in the raw folder."""
    done = subprocess.run(["grep", "-rl", CANARY, folder], capture_output=True, text=True, check=False)
    return len(done.stdout.split()) + sum(CANARY.decode() in path.name for path in folder.rglob("*"))


def test_it_calls_the_spool_as_the_unit_does():
    assert reset.SPOOL_FILE == SPOOL_FILE


def test_while_the_unit_runs_nothing_is_erased_and_then_everything(daemon, mosquitto, capsys):
    mosquitto.start()
    daemon.watching()
    until(lambda: (daemon.state / SPOOL_FILE).stat().st_size > 0, "a spool")
    assert typed(daemon, "--yes") == 2
    said = capsys.readouterr().err
    assert "got a running unit" in said
    assert "systemctl stop deskwatch" in said
    assert daemon.process.poll() is None
    assert daemon.stop() == 0
    photo = daemon.folder / "kept.png"  # beside unit.toml, and nothing of the unit's
    photo.write_bytes(b"kept")
    stores = {path.name for path in daemon.state.iterdir()}
    assert {SPOOL_FILE, "log"} <= stores
    assert planted(daemon) > len(stores)
    # Whoever has the disk in hand reads a file that was deleted, too: held open, it is.
    with ExitStack() as stack:
        paths = [path for path in daemon.folder.rglob("*") if path.is_file() and CANARY in path.read_bytes()]
        held = [stack.enter_context(path.open("rb")) for path in paths]
        assert len(held) > 5
        assert typed(daemon, "--yes") == 0
        for file in held:
            assert file.read().strip(b"\0") == b"", file.name
    assert found(daemon.folder) == 0
    assert list(daemon.state.iterdir()) == []
    assert not daemon.config.exists()
    assert not (daemon.folder / "identity").exists()
    assert not list((daemon.folder / "wifi").iterdir())
    assert photo.read_bytes() == b"kept"


def test_without_a_terminal_it_wants_yes(daemon, capsys):
    daemon.state.mkdir()
    (daemon.state / SPOOL_FILE).write_bytes(b"x")
    assert typed(daemon) == 2
    assert "wanted --yes" in capsys.readouterr().err
    assert (daemon.state / SPOOL_FILE).exists()


def test_a_folder_that_is_no_units_is_left(daemon, capsys):
    daemon.state.mkdir()
    (daemon.state / "thesis.txt").write_text("years")
    assert typed(daemon, "--yes") == 2
    assert "wanted a unit's state" in capsys.readouterr().err
    assert (daemon.state / "thesis.txt").read_text() == "years"
    assert daemon.config.exists()


def test_no_link_is_followed_and_what_lies_elsewhere_stays(daemon, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    daemon.state.mkdir()
    (daemon.state / SPOOL_FILE).write_bytes(b"x")
    (daemon.state / "folder").symlink_to(outside)
    (daemon.state / "file").symlink_to(outside / "file")
    text = daemon.config.read_text().replace("tls = false", f'tls = true\nca_file = "{outside}/file"')
    daemon.config.write_text(text)
    assert read_config(daemon.config).broker.ca_file == outside / "file"
    assert typed(daemon, "--yes") == 0
    assert (outside / "file").read_text() == "mine"
    assert list(daemon.state.iterdir()) == []


def test_on_the_raw_disk_nothing_is_left(daemon, tmp_path):
    """A file system of its own, unmounted, and every byte of it looked at."""
    image, mount = tmp_path / "disk", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], capture_output=True, check=False)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        pytest.skip("no file system can be mounted here: it takes root and loop devices")
    try:
        state = mount / "state"
        state.mkdir()
        (state / SPOOL_FILE).write_bytes(CANARY * 5000)
        (state / "picture").write_bytes(CANARY * 9)
        daemon.config.write_text(daemon.config.read_text().replace(str(daemon.state), str(state)))
        subprocess.run(["umount", mount], check=True)
        assert image.read_bytes().count(CANARY) > 5000
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
        assert typed(daemon, "--yes") == 0
    finally:
        subprocess.run(["umount", mount], check=True)
    assert CANARY not in image.read_bytes()


def test_it_can_be_done_again_and_where_nothing_is(daemon, tmp_path):
    assert shutil.which("grep")
    daemon.state.mkdir()
    (daemon.state / SPOOL_FILE).write_bytes(b"x")
    assert typed(daemon, "--yes") == 0
    assert typed(daemon, "--yes") == 0
    assert isinstance(daemon, Daemon)
    assert Path(daemon.folder).exists()
