"""State folders that hold what they should not, and whoever looks at them: nothing hangs, nothing is left."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from edge.clock import SystemClock
from edge.diagnosis import runner
from edge.diagnosis.as_owner import as_owner
from edge.diagnosis.check import Check, Patient, Status, passed
from edge.diagnosis.reach import dial
from edge.diagnosis.runner import COULD_NOT_RUN, TOO_SLOW, run_check
from edge.diagnosis.table import table
from edge.examination import Examination
from edge.status import command
from edge.uplink.allowance import Allowance
from edge.uplink.commands import NotDone
from edge.uplink.lockfile import LockFile, is_held
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from tests.daemon import COMMAND
from tests.diagnosis.patients import patient

CHECKS = {check.name: check for check in table()}
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
NOBODY = 65_534


def look(name: str, unit: Patient):
    return run_check(CHECKS[name], unit)


def begun(unit: Patient) -> WorkerLog:
    folder = unit.config.paths.state / "log"
    return WorkerLog.open(folder, now_at=SystemClock().now_at)


@pytest.mark.parametrize("name", ["head", "segment-00000001.jsonl"])
def test_a_pipe_in_the_worker_s_log_is_waited_for_by_nobody(tmp_path, name):
    unit = patient(tmp_path, offline=True)
    with begun(unit) as log:
        log.append([Here("camera", "off-shift")])
    path = unit.config.paths.state / "log" / name
    path.unlink()
    os.mkfifo(path)
    assert look("worker.log", unit).code == "damaged"
    assert look("clock.plausible", unit).status is not Status.FAIL
    known = command._known(unit)
    assert list(command.last_lines(known, 80, 3))


def test_a_pipe_in_place_of_the_lock_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lock")
    assert not is_held(tmp_path / "lock")


def test_a_unit_that_starts_is_not_kept_out_by_those_who_only_look(tmp_path):
    path, enough = tmp_path / "lock", threading.Event()
    path.touch()

    def looking():
        while not enough.is_set():
            is_held(path)

    lookers = [threading.Thread(target=looking) for _ in range(3)]
    for each in lookers:
        each.start()
    try:
        for _ in range(2000):
            LockFile.hold(path).release()
    finally:
        enough.set()
        for each in lookers:
            each.join()


def test_a_unit_that_starts_waits_for_a_diagnosis_that_notes_something(tmp_path):
    unit = patient(tmp_path)
    noting = begun(unit)
    threading.Timer(0.5, noting.close).start()
    begun(unit).close()


@pytest.mark.parametrize("name", ["policy.phase", "policy.version", "broker.auth"])
@ROOT
def test_who_may_not_read_the_state_hears_so_and_of_no_fault(tmp_path, name):
    unit = patient(tmp_path, offline=True)
    (unit.config.paths.state / "twin").mkdir(mode=0o700)
    (unit.config.paths.state / "twin" / "twin.json").write_text("{}")
    for path in (*tmp_path.parents[:3], tmp_path):
        path.chmod(path.stat().st_mode | 0o055)
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writes, look(name, unit).status.value.encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        assert said.read() == "skip"
    os.waitpid(child, 0)


@ROOT
def test_what_root_writes_in_the_unit_s_place_is_the_unit_s_from_the_first_moment(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    for path in (*tmp_path.parents[:3], tmp_path):
        path.chmod(path.stat().st_mode | 0o055)
    with as_owner(folder), WorkerLog.open(folder / "log", now_at=SystemClock().now_at):
        # What kill -9 would leave: looked at amid it.
        made = [folder / "log", folder / "log.lock", *(folder / "log").iterdir()]
        assert {path.lstat().st_uid for path in made} == {NOBODY}
    (tmp_path / "after").touch()
    assert (tmp_path / "after").stat().st_uid == 0


def hangs(seconds):
    def probe(_patient):
        time.sleep(seconds)
        return passed("at last")

    return probe


def test_checks_that_hang_leave_the_others_a_moment_and_say_what_they_took(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "WHOLE_S", 0.2)
    monkeypatch.setattr(runner, "LATE_S", 0.1)
    monkeypatch.setattr(runner, "LONG_S", 0.15)
    checks = [
        Check("a.hangs", hangs(1.0), {}, 5.0),
        Check("a.hangs-too", hangs(1.0), {}, 5.0),
        Check("a.fine", lambda _: passed("fine"), {}, 5.0),
    ]
    unit = patient(tmp_path)
    found = runner.run(checks, unit)
    assert [(one.status.value, one.code) for one in found] == [
        ("fail", TOO_SLOW),
        ("skip", COULD_NOT_RUN),
        ("pass", ""),
    ]
    assert "--only a.hangs-too" in found[1].hint


def test_a_name_with_many_addresses_that_swallow_all_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr("edge.diagnosis.reach.DIAL_ALL_S", 0.6)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.settimeout(0.0)
            each.connect_ex(address)
        began_s = time.monotonic()
        with pytest.raises(OSError):
            dial([(socket.AF_INET, address)] * 8)
        assert time.monotonic() - began_s < 4.0
        for each in fillers:
            each.close()


def test_a_machine_without_room_for_a_thread_says_that_it_is_not_done(monkeypatch):
    examination = Examination(dict, lambda _facts: (), Allowance(1, 1.0, lambda: 0.0))

    def full(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(NotDone, match="can't start new thread") as raised:
        examination.begin(lambda _answer: None)
    assert raised.value.code == "failed"


def test_a_unit_that_hangs_is_said_to_in_its_time(daemon):
    daemon.watching()
    daemon.process.send_signal(signal.SIGSTOP)
    words = [str(COMMAND), "diagnose", "--offline", "--config", str(daemon.config)]
    began_s = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert done.stdout.startswith("FAIL: service.running: does not answer"), done.stdout
    assert time.monotonic() - began_s < 60.0
