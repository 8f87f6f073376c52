"""`deskwatch log`: what the worker types, against a log that the unit's own code wrote."""

import datetime as dt
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge.uplink.messages import Capture
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from tests.worklog_story import RETAIN, Unit, at, closed, opened, picture, policy_note, state, thumb

COMMAND = Path(sys.executable).parent / "deskwatch"


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


@pytest.fixture
def written(unit: Unit) -> Unit:
    """A unit with a log of a day, one picture in it."""
    unit.now_at = at(7)
    with unit.open() as log:
        tell(unit, log)
    return unit


def tell(unit: Unit, log: WorkerLog) -> None:
    # Pictures are shown until they expire: by the real clock, which the command reads.
    jpeg = picture()
    unit.write(log, at(7), policy_note(), state(Capture.WATCHING, at(7)))
    unit.write(log, at(9), opened("one", at(9), jpeg=jpeg))
    ref = log.keep_picture("one", jpeg, unit.now_at + RETAIN)
    unit.write(log, at(9, 1), thumb("one", jpeg, ref), closed("one", at(9, 1)))
    unit.write(log, at(10), Here("notice accepted", "by button"))


def run(unit: Unit, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "log", "--config", unit.config, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, **(env or {})},
    )


def stored(unit: Unit) -> list[bytes]:
    files = sorted(unit.log_folder.glob("segment-*.jsonl"))
    return [line for file in files for line in file.read_bytes().splitlines()]


def change_one_byte(unit: Unit, where: bytes) -> Path:
    for file in sorted(unit.log_folder.glob("segment-*.jsonl")):
        data = file.read_bytes()
        if where in data:
            place = data.index(where)
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            return file
    raise AssertionError(where)


def test_the_log_is_told_line_by_line_and_ends_with_its_head(written):
    done = run(written)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        lines[0] == "The log that unit cam-1 keeps for you. What was sent went to acme, through the server"
        " broker.example.com. Times are those of UTC."
    )
    assert lines[2] == "The rules now:"
    assert "  Reports      cell phone, when seen for 2 s; nobody at the desk, for 30 s (no picture)" in lines
    assert lines[lines.index("Tuesday, 24 November 2026") - 1] == ""
    assert any(re.fullmatch(r"  09:00:00 +\d+  seen   Cell phone seen; .*", line) for line in lines)
    assert any(line.endswith("here   Notice accepted; at the button") for line in lines)
    assert lines[-2].startswith("This log is complete and unchanged since 24 November 2026.")
    assert hashlib.sha256(stored(written)[-1]).hexdigest() in lines[-1]
    assert "\033" not in done.stdout


def test_json_is_what_is_stored_byte_for_byte(written):
    done = run(written, "--json")
    assert done.returncode == 0
    assert done.stdout.encode().splitlines() == stored(written)


def test_one_changed_byte_is_found_and_named_everywhere(written, tmp_path):
    assert run(written, "--verify").returncode == 0
    file = change_one_byte(written, b"by button")
    number = len(stored(written))
    for arguments in (["--verify"], [], ["--html", str(tmp_path / "page.html")], ["--head", "0" * 64]):
        done = run(written, *arguments)
        assert done.returncode == 1
        assert "This log was changed or damaged." in done.stdout
        assert f"Found: Entry {number} is not as it was written." in done.stdout
        assert done.stdout.count(f"{file.name}, entry {number}:") == 1
        assert "keeps it closed until somebody there has looked" in done.stdout
    assert f"{file.name}, entry {number}:" in (tmp_path / "page.html").read_text()
    done = run(written, "--json")
    assert done.returncode == 1
    assert f"{file.name}, entry {number}:" in done.stderr


def test_the_finding_stands_at_the_top_and_the_changed_entry_in_its_place(written):
    change_one_byte(written, b'"kind":"policy-took"')
    done = run(written)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("This log was changed or damaged. Found: Entry 2 is not as it was written.")
    assert any(re.fullmatch(r" +2  log    Entry 2 was changed: it cannot be read", line) for line in lines)
    assert "The rules: which rules are in force is not written in this log" in done.stdout


def set_aside(unit: Unit, where: bytes) -> Path:
    """Change the log, and have the unit begin a new one in its place, as it does; return the old one."""
    change_one_byte(unit, where)
    unit.now_at = at(12)
    with unit.open() as log:
        reason = f"the worker's log was changed: {log.damage}"[:256]
        log.start_anew(reason)
        unit.write(log, at(12), Here("repair begun", reason), Here("camera", f"repair: {reason}"))
    return unit.log_folder.with_name("log.damaged-1")


def test_a_log_begun_anew_is_not_called_good_and_the_old_one_is_told(written, tmp_path):
    old = set_aside(written, b"by button")
    page = tmp_path / "page.html"
    for arguments in (["--verify"], [], ["--html", str(page)]):
        done = run(written, *arguments)
        assert done.returncode == 1
        assert "This log was begun anew on 24 November 2026: the one before it was changed." in done.stdout
        assert f"lies in {old}" in done.stdout
        assert "complete and unchanged" not in done.stdout
        assert done.stdout.count("wanted the checksum") == 1
    told = run(written).stdout
    assert "The rules now, as log.damaged-1 says, which was changed:" in told
    before, after = told.split("From the log that is written now:")
    assert "From log.damaged-1, which was changed: what it says cannot be relied on." in before
    assert "Cell phone seen" in before
    assert "was changed: it cannot be read" in before
    assert "This log begins anew" in after
    shown = page.read_text()
    assert 'class="verdict warn"' in shown
    assert str(old) in shown
    assert "Cell phone seen" in shown
    assert "What the camera did for " in shown
    assert "The camera was not open" not in shown


def test_json_of_a_log_begun_anew_is_that_log_and_names_the_other(written):
    old = set_aside(written, b"by button")
    done = run(written, "--json")
    assert done.returncode == 1
    assert done.stdout.encode().splitlines() == stored(written)
    assert str(old) in done.stderr


def test_a_fingerprint_of_a_log_that_was_set_aside_is_found_there(written):
    heads = [hashlib.sha256(line).hexdigest() for line in stored(written)]
    old = set_aside(written, b"by button")
    done = run(written, "--head", heads[1])
    assert done.returncode == 1
    assert f"That is the fingerprint of entry 2 of a log that was changed: {old}." in done.stdout
    shutil.rmtree(old)
    done = run(written, "--head", heads[-2])
    assert "That is the last fingerprint that fits of the log before this one" in done.stdout
    assert "does not lie beside this one any more" in done.stdout
    assert done.returncode == 1


def test_pictures_of_a_log_that_was_set_aside_are_shown_where_kept(unit, tmp_path):
    jpeg, now_at = picture(), dt.datetime.now(dt.UTC)
    unit.now_at = now_at
    with unit.open() as log:
        ref = log.keep_picture("one", jpeg, now_at + RETAIN)
        unit.write(log, now_at, opened("one", now_at, jpeg=jpeg), thumb("one", jpeg, ref), Here("by button"))
    set_aside(unit, b"by button")
    assert run(unit, "--html", str(tmp_path / "page.html")).returncode == 1
    assert "data:image/jpeg;base64," in (tmp_path / "page.html").read_text()


def test_a_head_noted_before_is_found_in_the_chain_and_not_in_another(written):
    heads = [hashlib.sha256(line).hexdigest() for line in stored(written)]
    for head in (heads[1], heads[-1][:16], heads[1][:20].upper()):
        done = run(written, "--head", head)
        assert done.returncode == 0
        assert "all that is left up to there is as it was then" in done.stdout
    assert run(written, "--head", *re.findall("....", heads[2][:16])).returncode == 0
    done = run(written, "--head", "f" * 64)
    assert done.returncode == 1
    assert "Not in this log" in done.stdout


def test_a_log_written_anew_does_not_have_the_head_of_the_old_one(written, tmp_path):
    head = hashlib.sha256(stored(written)[-1]).hexdigest()
    other = tmp_path / "other"
    other.mkdir()
    forged = Unit(other, at(7))
    with forged.open() as log:
        tell(forged, log)
        forged.write(log, at(11), Here("nothing else happened"))
    forged_head = hashlib.sha256(stored(forged)[-2]).hexdigest()
    assert forged_head == head  # the same words at the same times: the same chain
    change = tmp_path / "changed"
    change.mkdir()
    changed = Unit(change, at(7))
    with changed.open() as log:
        changed.write(log, at(7, 0, 1), Here("nothing was seen"))
        tell(changed, log)
    assert run(changed, "--verify").returncode == 0
    assert run(changed, "--head", head).returncode == 1


@pytest.mark.parametrize("head", ["xyz", "abc", "0" * 65, "0123 4567"])
def test_a_head_that_is_none_is_an_error(written, head):
    done = run(written, "--head", head)
    assert done.returncode == 2
    assert "wanted 16 to 64 of the characters 0-9 and a-f" in done.stderr


def test_the_page_is_written_whole_and_for_its_owner_alone(written, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    path.chmod(0o644)
    done = run(written, "--html", str(path))
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("<!doctype html>")
    assert "Cell phone seen" in path.read_text()
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []
    assert "written, for your eyes only" in done.stdout


def test_a_picture_that_is_kept_is_in_the_page(unit, tmp_path):
    jpeg, now_at = picture(), dt.datetime.now(dt.UTC)
    unit.now_at = now_at
    with unit.open() as log:
        ref = log.keep_picture("one", jpeg, now_at + RETAIN)
        unit.write(log, now_at, opened("one", now_at, jpeg=jpeg), thumb("one", jpeg, ref))
    assert run(unit, "--html", str(tmp_path / "page.html")).returncode == 0
    assert "data:image/jpeg;base64," in (tmp_path / "page.html").read_text()


def test_reading_changes_nothing(written):
    before = {path: path.read_bytes() for path in written.log_folder.rglob("*") if path.is_file()}
    for arguments in ([], ["--verify"], ["--json"], ["--html", str(written.folder / "p.html")]):
        run(written, *arguments)
    after = {path: path.read_bytes() for path in written.log_folder.rglob("*") if path.is_file()}
    assert after == before


def test_it_reads_while_the_unit_writes(unit):
    unit.now_at = at(7)
    with unit.open() as log:
        tell(unit, log)
        assert run(unit, "--verify").returncode == 0


def test_no_log_yet_and_no_unit_are_said_with_what_to_do(unit, tmp_path):
    done = run(unit)
    assert done.returncode == 2
    assert "start it (`deskwatch run`)" in done.stderr
    unit.config = tmp_path / "absent.toml"
    done = run(unit)
    assert done.returncode == 2
    assert "absent.toml: wanted the settings of a unit, got: " in done.stderr
    assert "name its unit.toml with --config" in done.stderr
    unit.config.write_text("[unit]\n")
    done = run(unit)
    assert done.returncode == 2
    assert "absent.toml" in done.stderr


def test_who_may_not_read_is_told_to_use_sudo():
    """In a process that gives root up, which may read everything, once it has imported what it needs."""
    script = (
        "import os, sys\nfrom edge.cli import main\nmain(sys.argv[1:])\n"
        "if os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\nsys.exit(main(sys.argv[1:]))\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        unit = Unit(folder)
        with unit.open() as log:
            unit.write(log, at(10), Here("notice accepted"))
        for closed_one, what in ((unit.log_folder, "to read the log"), (unit.config, "a readable TOML file")):
            usual = stat.S_IMODE(closed_one.stat().st_mode)
            closed_one.chmod(0)
            done = subprocess.run(
                [sys.executable, "-c", script, "log", "--config", unit.config],
                capture_output=True,
                text=True,
                check=False,
            )
            closed_one.chmod(usual if os.geteuid() else 0o755)
            assert done.returncode == 2
            assert f"wanted {what}, got: Permission denied" in done.stderr
            assert "sudo" in done.stderr


def test_under_sudo_the_page_belongs_to_who_asked_for_it(written, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    path = tmp_path / "page.html"
    assert run(written, "--html", str(path), env={"SUDO_UID": "65534", "SUDO_GID": "65534"}).returncode == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_page_that_cannot_be_written_is_an_error(written, tmp_path):
    done = run(written, "--html", str(tmp_path / "no" / "page.html"))
    assert done.returncode == 2
    assert "page.html: wanted to write it, got: " in done.stderr
