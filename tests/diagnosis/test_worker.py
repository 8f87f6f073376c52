"""The worker's side: each thing that can be wrong with it, by a real fault."""

import datetime as dt
import os
import shutil
from dataclasses import replace

import pytest
from gpiozero import Device

from edge.config import BrokerTable, ButtonTable, Config, LedTable, PathsTable, UnitTable
from edge.diagnosis.check import Patient, Status
from edge.diagnosis.runner import run_check
from edge.diagnosis.worker import CHECKS
from edge.notebook import TwoPlaces
from edge.notice import Notice
from edge.policy.breaks import BreakBy
from edge.repair import Repair
from edge.uplink.lockfile import LockFile
from edge.uplink.messages import Alarm, AlarmCode
from edge.uplink.spool import Spool
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from tests.device.pins import Pins
from tests.test_watch import MONDAY

CHECK = {check.name: check for check in CHECKS}
FAULTS = {
    ("light.works", "not-fitted"): "wiring",
    ("light.works", "broken"): "resistor",
    ("button.works", "not-fitted"): "deskwatch break",
    ("button.works", "broken"): "button.pin",
    ("worker.notice", "not-accepted"): "notice --accept",
    ("worker.repair", "in-repair"): "repair --done",
    ("worker.repair", "log-was-changed"): "deskwatch log",
    ("worker.log", "missing"): "restart",
    ("worker.log", "read-only"): "dmesg",
    ("worker.log", "unwritable"): "disk.writable",
    ("worker.log", "damaged"): "SD card",
}
PROVEN = frozenset(FAULTS)
WARNS = {"not-fitted", "not-accepted", "in-repair"}


@pytest.fixture
def pins(monkeypatch):
    factory = Pins()
    monkeypatch.setattr(Device, "pin_factory", factory)
    yield factory
    factory.reset()


@pytest.fixture
def patient(tmp_path, pins):
    """A whole unit that does not run: all its parts fitted, the notice accepted, a log that is whole."""
    state = tmp_path / "state"
    state.mkdir()
    Notice(state).accept(Notice(state).version, BreakBy.LOCAL, MONDAY)
    with Spool.open(state / "spool.db"), worker_log(state) as log:
        log.append([Here("notice accepted"), Here("repair done")])
    config = Config(
        unit=UnitTable(tenant="acme", id="cam-1"),
        broker=BrokerTable(host="127.0.0.1", port=1883),
        paths=PathsTable(state=state, policy=tmp_path / "policy.json"),
        led=LedTable(pin=17),
        button=ButtonTable(pin=27),
    )
    from edge.clock import SystemClock

    return Patient(SystemClock(), tmp_path / "unit.toml", config)


def worker_log(state) -> WorkerLog:
    return WorkerLog.open(state / "log", now_at=lambda: dt.datetime.now(dt.UTC))


def change(state) -> None:
    segment = max(
        (path for path in (state / "log").iterdir() if path.is_file()), key=lambda path: path.stat().st_size
    )
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)


def block(state, reason: str) -> None:
    with Spool.open(state / "spool.db") as spool:
        Repair(TwoPlaces(state, spool, "repair")).begin(reason)


def without(patient: Patient, **tables) -> Patient:
    kept = patient.config
    config = Config(
        unit=kept.unit,
        broker=kept.broker,
        paths=kept.paths,
        led=tables.get("led", kept.led),
        button=tables.get("button", kept.button),
    )
    return replace(patient, config=config)


def injected(name, code, patient, pins, monkeypatch) -> Patient:  # noqa: C901  a case for each fault
    state = patient.config.paths.state
    match name, code:
        case "light.works", "not-fitted":
            return without(patient, led=LedTable())
        case "light.works", "broken":
            pins.refused[17] = lambda: OSError("pin 17 is taken")
        case "button.works", "not-fitted":
            return without(patient, button=ButtonTable())
        case "button.works", "broken":
            pins.refused[27] = lambda: OSError("pin 27 is taken")
        case _, "not-accepted":
            Notice(state).withdraw()
        case _, "in-repair":
            block(state, "a new lens")
        case _, "log-was-changed":
            block(state, "the worker's log was changed: entry 3")
        case _, "missing":
            for path in (state / "log").iterdir():
                path.unlink() if path.is_file() else path.rmdir()
            (state / "log").rmdir()
            return replace(patient, facts={"log.entries": 3.0})
        case _, "read-only":
            real = os.statvfs

            def mounted(path):
                found = real(path)
                return os.statvfs_result([*found[:8], found.f_flag | os.ST_RDONLY, found.f_namemax])

            monkeypatch.setattr(os, "statvfs", mounted)
        case _, "unwritable":  # what a unit says of it: tests/test_diary.py
            alarm = Alarm(code=AlarmCode.LOG_UNWRITABLE, detail="Operation not permitted")
            return replace(patient, facts={"log.entries": 3.0}, alarms=(alarm,))
        case _, "damaged":
            change(state)
    return patient


@pytest.mark.parametrize(("name", "code"), FAULTS, ids="/".join)
def test_a_fault_is_found_with_what_to_do(name, code, patient, pins, monkeypatch):
    result = run_check(CHECK[name], injected(name, code, patient, pins, monkeypatch))
    assert (result.status, result.code) == (Status.WARN if code in WARNS else Status.FAIL, code), result
    assert result.hint == CHECK[name].hints[code]
    assert FAULTS[name, code] in result.hint


def test_a_whole_unit_passes_and_nothing_of_it_changes(patient):
    state = patient.config.paths.state
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    results = [run_check(check, patient) for check in CHECKS]
    assert [each.status for each in results] == [Status.PASS] * len(CHECKS), results
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before


def test_the_light_is_tried_lit_and_dark_and_given_back(patient, pins):
    assert run_check(CHECK["light.works"], patient).status == Status.PASS
    states = [state for _, state in pins.wired(17).states] if hasattr(pins.wired(17), "states") else []
    assert True in [bool(each) for each in states]
    assert run_check(CHECK["light.works"], patient).status == Status.PASS  # the pin was free again


def test_a_light_that_cannot_be_lit_is_found_by_its_sense_pin(patient, pins):
    """The pin itself works; nothing senses that it is lit."""
    dead = without(patient, led=LedTable(pin=17, sense_pin=22))
    result = run_check(CHECK["light.works"], dead)
    assert (result.status, result.code) == (Status.FAIL, "broken"), result
    assert "sense_pin" in result.value


def test_a_running_units_facts_count_and_its_pins_are_left_alone(patient, pins):
    taken = pins.taken
    facts = {"led.fitted": 1.0, "led.trouble": "a short", "button.fitted": 1.0, "button.trouble": None}
    seen = replace(patient, facts={**facts, "notice.accepted_at": None, "repair.reason": None})
    codes = {check.name: run_check(check, seen).code for check in CHECKS}
    assert codes == {
        "light.works": "broken",
        "button.works": "",
        "worker.notice": "not-accepted",
        "worker.repair": "",
        "worker.log": "",
    }
    assert pins.taken == taken


def test_the_unit_itself_does_not_walk_its_log_beside_the_watch(patient):
    inside = replace(patient, facts={"log.entries": 3.0}, inside=True)
    assert run_check(CHECK["worker.log"], inside).status == Status.SKIP


def test_a_silent_units_pins_are_left_alone(patient, pins):
    taken, lock = pins.taken, LockFile.hold(patient.config.paths.state / "spool.db.lock")
    try:
        for name in ("light.works", "button.works"):
            assert run_check(CHECK[name], patient).status == Status.SKIP
    finally:
        lock.release()
    assert pins.taken == taken


def overwritten(state) -> None:
    (state / "spool.db").write_bytes(os.urandom(8192))


def test_a_spool_that_cannot_be_read_is_no_repair_unless_the_file_tells_one(patient):
    state = patient.config.paths.state
    overwritten(state)
    found = run_check(CHECK["worker.repair"], patient)
    assert (found.status, found.value[:14]) == (Status.SKIP, "cannot be told"), found


def test_a_repair_that_the_file_tells_is_on_whatever_became_of_the_spool(patient):
    state = patient.config.paths.state
    block(state, "a new lens")
    overwritten(state)
    assert run_check(CHECK["worker.repair"], patient).code == "in-repair"


def test_a_file_of_the_repair_that_is_no_note_is_a_repair_as_it_is_to_the_unit(patient):
    (patient.config.paths.state / "repair.json").write_text("{")
    assert run_check(CHECK["worker.repair"], patient).code == "in-repair"


@pytest.mark.parametrize("facts", [None, {"log.entries": 3.0}])
def test_a_file_in_the_place_of_the_log_is_damage(patient, facts):
    folder = patient.config.paths.state / "log"
    shutil.rmtree(folder)
    folder.write_text("")
    found = run_check(CHECK["worker.log"], replace(patient, facts=facts))
    assert (found.status, found.code) == (Status.FAIL, "damaged"), found


def test_the_reason_of_a_repair_stays_at_the_unit(patient):
    block(patient.config.paths.state, "a canary in the coal mine")
    assert "canary" not in repr(run_check(CHECK["worker.repair"], patient))
