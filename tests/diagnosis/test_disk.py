"""The disk: real small ones, read-only ones, slow ones; the wear of a card as /sys shows it."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.disk import CHECKS
from tests.diagnosis.machine import Machine, assert_found

pytestmark = pytest.mark.timeout(200)
NOBODY = 65_534
TABLE = {check.name: check for check in CHECKS}


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    while os.path.ismount(machine.state):
        subprocess.run(["umount", str(machine.state)], check=True)


def card(life, spare="0x01", name="mmcblk0"):
    def make(machine):
        machine.file(f"sys/block/{name}/device/life_time", life)
        machine.file(f"sys/block/{name}/device/pre_eol_info", spare)

    return make


def full(machine):
    machine.mount("size=16m")
    (machine.state / "film").write_bytes(bytes(9 << 20))


def no_files(machine):
    machine.mount("size=1g,nr_inodes=40")


def brimful(machine):
    machine.mount("size=1m")
    with contextlib.suppress(OSError), (machine.state / "film").open("wb", buffering=0) as film:
        while film.write(bytes(4096)):
            pass


def read_only(machine):
    machine.mount("size=16m")
    subprocess.run(["mount", "-o", "remount,ro", str(machine.state)], check=True)


def left_by_another(machine):
    """As a copy of a log that was put back with sudo."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    (machine.state / "log").mkdir()
    (machine.state / "log" / "head").touch()
    os.chown(machine.state / "log" / "head", 65_534, 65_534)


FAULTS = {
    ("disk.free", "full"): ("fail", full),
    ("disk.free", "no-files"): ("fail", no_files),
    ("disk.free", "small"): ("warn", lambda machine: machine.mount("size=300m")),
    ("disk.writable", "missing"): ("fail", lambda machine: machine.state.rmdir()),
    ("disk.writable", "other-owner"): ("fail", left_by_another),
    ("disk.writable", "read-only"): ("fail", read_only),
    ("disk.writable", "no-room"): ("fail", brimful),
    ("disk.wear", "worn"): ("warn", card("0x03 0x09")),
    ("disk.wear", "worn-out"): ("fail", card("0x0b 0x01")),
}
KERNEL = {
    ("disk.writable", "broken"): ("fail", "fsync:error=EIO"),
    ("disk.latency", "slow"): ("warn", "fsync:delay_enter=600000"),
    ("disk.latency", "stalls"): ("fail", "fsync:delay_enter=2100000"),
}
"""What the kernel is made to do to each fsync of another process, which strace stops and lets go."""
OTHERS = {("disk.writable", "no-rights"): "fail"}
PROVEN = frozenset(FAULTS) | frozenset(KERNEL) | frozenset(OTHERS)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(machine, name, code):
    status, break_it = FAULTS[name, code]
    break_it(machine)
    before = sorted(machine.state.parent.rglob("*"))
    assert_found(machine.look(TABLE[name]), TABLE[name], code, status)
    assert sorted(machine.state.parent.rglob("*")) == before


@pytest.mark.parametrize(("name", "code"), KERNEL, ids=map("/".join, KERNEL))
def test_what_the_kernel_does_wrong_is_found(machine, name, code):
    status, inject = KERNEL[name, code]
    result = machine.look_under_strace(name, inject)
    assert_found(result, TABLE[name], code, status)
    assert list(machine.state.iterdir()) == []


@pytest.fixture
def open_machine():
    """Where other users may come by; root may write anywhere, so it is they who look."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Machine(Path(folder))


@pytest.mark.parametrize(("name", "code"), OTHERS, ids=map("/".join, OTHERS))
def test_a_folder_that_does_not_let_its_own_user_write_is_found(open_machine, name, code):
    os.chown(open_machine.state, NOBODY, NOBODY)
    open_machine.state.chmod(0o500)
    assert_found(open_machine.look_as(NOBODY, name), TABLE[name], code, OTHERS[name, code])


def test_whoever_may_not_write_there_blames_nobody(open_machine):
    result = open_machine.look_as(NOBODY, "disk.writable")
    assert result.status is Status.SKIP
    assert "sudo" in result.value


def test_every_hint_is_proven():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN


def test_a_sound_disk_passes_and_nothing_is_left_on_it(machine):
    card("0x01 0x02")(machine)
    machine.mount("size=1g")
    for check in CHECKS:
        assert machine.look(check).status is Status.PASS, check.name
    assert list(machine.state.iterdir()) == []


def test_a_file_system_without_nameless_files_is_written_all_the_same(machine, monkeypatch):
    from edge.diagnosis import disk

    tried = []

    def refusing(path, flags, *more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            tried.append(path)
            raise OSError(95, "Operation not supported")
        return opened(path, flags, *more)

    opened = os.open
    monkeypatch.setattr(disk.os, "open", refusing)
    assert machine.look(TABLE["disk.writable"]).status is Status.PASS
    assert tried == [machine.state]
    assert list(machine.state.iterdir()) == []


@pytest.mark.parametrize(("life", "spare", "said"), [
    ("0x01 0x01", "0x01", "up to 10 % of its life used"),
    ("0x09", "0x02", "up to 90 % of its life used, 80 % of its reserve used"),
    ("0x00 0x00", "0x03", "90 % of its reserve used"),
    ("0x00 0x00", "0x01", "its reserve is whole"),
])  # fmt: skip
def test_what_a_card_tells_is_put_in_words(machine, life, spare, said):
    card(life, spare)(machine)
    assert machine.look(TABLE["disk.wear"]).value == said


@pytest.mark.parametrize("life", ["", "0x00", "0xff 0x0c", "soon"])
def test_a_card_that_tells_nothing_is_skipped(machine, life):
    card(life, "0x00")(machine)
    assert machine.look(TABLE["disk.wear"]).status is Status.SKIP


def test_of_two_cards_it_takes_neither_where_it_cannot_tell(machine):
    card("0x0b")(machine)
    card("0x01", name="mmcblk1")(machine)
    assert machine.look(TABLE["disk.wear"]).status is Status.SKIP


def test_the_card_below_the_state_is_found_by_its_number(machine):
    number = machine.state.stat().st_dev
    card("0x0b", name="mmcblk1")(machine)
    card("0x01")(machine)
    partition = machine.root / "sys/block/mmcblk1/mmcblk1p2"
    partition.mkdir()
    link = machine.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(partition)
    assert machine.look(TABLE["disk.wear"]).code == "worn-out"


def test_without_settings_all_of_it_is_skipped(machine):
    for check in CHECKS:
        assert machine.look(check, config=None).status is Status.SKIP
