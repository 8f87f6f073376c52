"""A factory reset: what was planted in every store of a unit that ran is nowhere any more."""

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from edge import reset
from edge.cli import main
from edge.config import read_config
from edge.provision.pairs import Identity
from edge.state_folder import SPOOL_FILE
from tests.broker import until
from tests.daemon import Daemon
from tests.provision.cuts import at_every_step

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


def test_a_state_folder_that_is_a_link_to_another_disk_is_emptied_there(daemon, tmp_path):
    there = tmp_path / "data"
    there.mkdir()
    daemon.state.symlink_to(there)
    for name in (SPOOL_FILE, f"{SPOOL_FILE}.lock", "notice.json"):
        (there / name).write_bytes(CANARY)
    assert typed(daemon, "--yes") == 0
    assert list(there.iterdir()) == []


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


@contextmanager
def disk(image, mount, size_bytes=48 << 20):
    """A file system of its own; yields a function that unmounts it and returns all its bytes."""
    mount.mkdir(mode=0o700, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size_bytes)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], capture_output=True, check=False)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode:
        pytest.skip("no file system can be mounted here: it takes root and loop devices")

    def raw():
        subprocess.run(["umount", mount], check=True)
        return image.read_bytes()

    try:
        yield raw
    finally:
        subprocess.run(["umount", mount], check=False, capture_output=True)


def test_what_a_unit_replaced_and_deleted_while_it_ran_is_gone_from_the_raw_disk(daemon, tmp_path):
    """Files that were replaced whole lie on in blocks that no file has: breaks, policies, the spool's log."""
    with disk(tmp_path / "disk", daemon.state) as raw:
        (daemon.state / "lost+found").rmdir()
        daemon.watching()
        for number in range(3):
            for words in (["break", "--reason", f"{CANARY.decode()}-{number}"], ["resume"]):
                assert main([*words, "--config", str(daemon.config)]) == 0
        before = daemon.state / "replaced"
        for _ in range(20):
            before.with_suffix(".new").write_bytes(CANARY * 500)
            before.with_suffix(".new").replace(before)
        subprocess.run(["sync"], check=True)
        assert daemon.stop() == 0
        assert CANARY in (tmp_path / "disk").read_bytes()
        assert typed(daemon, "--yes") == 0
        assert CANARY not in raw()


def test_settings_that_cannot_be_read_any_more_leave_no_state_behind(daemon, monkeypatch, capsys):
    """The package's own places are known without unit.toml."""
    monkeypatch.setattr(reset, "_HOME", daemon.folder / "etc")
    monkeypatch.setattr(reset, "_STATE", daemon.state)
    daemon.config = daemon.folder / "etc" / "unit.toml"
    for text in ("tables that are [none", None):
        (daemon.folder / "etc").mkdir(exist_ok=True)
        daemon.state.mkdir(exist_ok=True)
        (daemon.state / "notice.json").write_bytes(CANARY)  # and it never had a spool
        if text is not None:
            daemon.config.write_text(text)
        assert typed(daemon, "--yes") == 0
        assert "Erased: state" in capsys.readouterr().out
        assert list(daemon.state.iterdir()) == []


def test_without_settings_elsewhere_it_does_not_say_that_state_is_gone(daemon, capsys):
    daemon.config = daemon.folder / "elsewhere.toml"
    assert typed(daemon, "--yes") == 0
    said = capsys.readouterr().out
    assert "No state" in said
    assert "Erased: state" not in said


def test_what_an_import_that_was_cut_off_and_the_unit_left_elsewhere_goes_too(daemon, tmp_path):
    daemon.state.mkdir()
    (daemon.state / SPOOL_FILE).write_bytes(CANARY)
    (daemon.folder / "wifi").mkdir()
    figures = tmp_path / "exporter" / "deskwatch.prom"
    figures.parent.mkdir()
    left = [
        figures,
        daemon.folder / "wifi" / ".deskwatch.nmconnection.part",
        daemon.folder / ".policy.json.part",
        daemon.folder / ".unit.toml.part",
    ]
    for file in left:
        file.write_bytes(CANARY)
    text = f'{daemon.config.read_text()}\n[health]\ntextfile = "{figures}"\n'
    daemon.config.write_text(text)
    assert typed(daemon, "--yes") == 0
    assert [file for file in left if file.exists()] == []
    assert figures.parent.is_dir()


def test_cut_off_at_any_step_it_can_be_done_again_to_its_end(daemon, tmp_path, monkeypatch):
    monkeypatch.setattr(reset, "let_go", lambda _folder: True)
    begin = tmp_path / "begin"
    daemon.state.mkdir()
    (daemon.state / SPOOL_FILE).write_bytes(b"x")
    (daemon.state / f"{SPOOL_FILE}.lock").touch()
    (daemon.state / "log").mkdir()
    (daemon.state / "log" / "1.log").write_bytes(b"x")
    planted(daemon)
    shutil.copytree(daemon.folder, begin, symlinks=True)

    def check():
        assert typed(daemon, "--yes") == 0
        assert found(daemon.folder) == 0
        assert not daemon.state.exists() or list(daemon.state.iterdir()) == []

    assert at_every_step(daemon.folder, begin, lambda: typed(daemon, "--yes"), check) > 20
