"""The clock: wrong ones, beside what the unit kept; the kernel's word; a time server's."""

import datetime as dt
import os

import pytest

from edge import running
from edge.diagnosis import clock
from edge.diagnosis.check import Status
from edge.diagnosis.clock import ABSURD_AT, CHECKS, RELEASED_AT
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from tests.diagnosis.machine import At, Machine, assert_found
from tests.time_server import TimeServer

pytestmark = pytest.mark.timeout(200)
TABLE = {check.name: check for check in CHECKS}
NOW = dt.datetime.now(dt.UTC)
SET = "adjtimex,clock_adjtime:retval=0"
"""What the kernel answers where a time server has set it: the clock of this machine may not be."""
FAR_OFF = f"{bytes(24).hex()}{(3_000_000).to_bytes(8, 'little').hex()}"
"""The beginning of a `struct timex`: modes, offset, freq, and a maxerror of three seconds in microseconds."""
UNSET = "adjtimex,clock_adjtime:retval=5"


def shows(at):
    def make(machine):
        machine.clock = At(at)

    return make


def kept_later(machine):
    """The worker's log has an entry of next year, and is written on under the wrong clock."""
    shown = [NOW + dt.timedelta(days=400)]
    with WorkerLog.open(machine.state / clock.LOG_FOLDER, now_at=lambda: shown[0]) as log:
        log.append([Here("camera", "off-shift")])
        shown[0] = NOW
        log.append([Here("camera", "watching")])


def server(ahead_s):
    def make(machine):
        machine.offline = False
        served = TimeServer(ahead_s)
        machine.file("etc/chrony/chrony.conf", f"server 127.0.0.1 iburst port {served.port}")
        return served

    return make


FAULTS = {
    ("clock.plausible", "before-firmware"): ("fail", shows(dt.datetime(2024, 3, 1, tzinfo=dt.UTC))),
    ("clock.plausible", "far-ahead"): ("fail", shows(dt.datetime(2106, 2, 7, tzinfo=dt.UTC))),
}
SERVERS = {
    ("clock.offset", "wrong"): ("fail", server(-61.0)),
    ("clock.offset", "off"): ("warn", server(3.0)),
}
KERNEL = {
    ("clock.plausible", "behind"): ("fail", UNSET, kept_later),
    ("clock.plausible", "kept-ahead"): ("warn", SET, kept_later),
    ("clock.synchronised", "unsynchronised"): ("warn", UNSET, lambda _machine: None),
    ("clock.offset", "uncertain"): ("warn", f"{SET}:poke_exit=@arg2={FAR_OFF}", lambda _machine: None),
}
PROVEN = frozenset(FAULTS) | frozenset(SERVERS) | frozenset(KERNEL)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(tmp_path, name, code):
    status, break_it = FAULTS[name, code]
    machine = Machine(tmp_path)
    break_it(machine)
    assert_found(machine.look(TABLE[name]), TABLE[name], code, status)


@pytest.mark.parametrize(("name", "code"), SERVERS, ids=map("/".join, SERVERS))
def test_what_a_time_server_tells_is_found(tmp_path, name, code):
    status, make = SERVERS[name, code]
    machine = Machine(tmp_path)
    with make(machine):
        assert_found(machine.look(TABLE[name]), TABLE[name], code, status)


@pytest.mark.parametrize(("name", "code"), KERNEL, ids=map("/".join, KERNEL))
def test_what_the_kernel_tells_is_found(tmp_path, name, code):
    status, inject, prepare = KERNEL[name, code]
    machine = Machine(tmp_path)
    prepare(machine)
    assert_found(machine.look_under_strace(name, inject), TABLE[name], code, status)


def test_every_hint_is_proven():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN


@pytest.mark.parametrize("name", TABLE)
def test_a_clock_that_is_set_passes(tmp_path, name):
    result = Machine(tmp_path).look_under_strace(name, SET)
    assert result.status is Status.PASS, result


def test_a_time_server_that_agrees_passes(tmp_path):
    machine = Machine(tmp_path)
    with server(0.0)(machine):
        result = machine.look(TABLE["clock.offset"])
    assert (result.status, result.limit) == (Status.PASS, "within 2 s")
    assert "the time server" in result.value


def test_offline_no_server_is_asked(tmp_path):
    machine = Machine(tmp_path)
    with server(-100.0)(machine) as served:
        machine.offline = True
        assert machine.look(TABLE["clock.offset"]).code != "wrong"
        assert served.asked == 0


def test_a_file_that_the_unit_kept_is_a_witness_too(tmp_path):
    machine = Machine(tmp_path)
    spool = machine.state / running.SPOOL_FILE
    spool.write_bytes(b"")
    ahead_s = NOW.timestamp() + 86_400
    os.utime(spool, (ahead_s, ahead_s))
    result = machine.look(TABLE["clock.plausible"])
    assert result.code in ("behind", "kept-ahead")
    assert "newest file" in result.limit


def test_and_so_is_the_policy(tmp_path):
    machine = Machine(tmp_path)
    issued_at = NOW + dt.timedelta(days=30)
    text = machine.policy.read_text()
    machine.policy = tmp_path / "policy.json"
    before = text[text.index('"issued_at"') :].split(",")[0]
    machine.policy.write_text(text.replace(before, f'"issued_at": "{issued_at:%Y-%m-%dT%H:%M:%SZ}"'))
    assert "issued_at" in machine.look(TABLE["clock.plausible"]).limit


def test_a_clock_that_was_put_back_a_little_is_no_fault(tmp_path):
    machine = Machine(tmp_path)
    (machine.state / "spool.db").write_bytes(b"")
    machine.clock = At(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=4))
    assert machine.look(TABLE["clock.plausible"]).status is Status.PASS


def test_without_settings_the_clock_itself_is_still_judged(tmp_path):
    machine = Machine(tmp_path)
    assert machine.look(TABLE["clock.plausible"], config=None).status is Status.PASS


def test_the_firmware_s_date_is_past():
    assert RELEASED_AT <= NOW < ABSURD_AT


def test_inside_the_sandbox_which_may_not_ask_the_kernel_the_mark_of_timesyncd_counts(tmp_path):
    machine = Machine(tmp_path)
    denied = "adjtimex,clock_adjtime:error=EPERM"
    assert machine.look_under_strace("clock.synchronised", denied).code == "unsynchronised"
    machine.file("run/systemd/timesync/synchronized", "")
    assert machine.look_under_strace("clock.synchronised", denied).status is Status.PASS
