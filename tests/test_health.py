"""What the unit knows of its machine, remembers of a boot, and tells: on trees of a Pi, and shipped."""

import pytest

from edge.clock import SteppedClock
from edge.device.clock_quality import clock_is_synchronised
from edge.device.system import System
from edge.health import HOT_C, POWER_HOLD_S, Vitals, health_of
from edge.uplink.messages import AlarmCode, Capture, decode_health
from edge.uplink.records import SpoolError
from edge.uplink.wire import ClockQuality
from edge.worklog.entries import Here, Sent
from edge.worklog.reading import read
from tests.broker import collect, rest, subscribed, until
from tests.diagnosis.machine import THROTTLED, Machine
from tests.uplink.conftest import NOW, birth

pytestmark = pytest.mark.timeout(300)


class Notes:
    """Notes that last, until the disk fails."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.fails = False
        self.written = 0

    def noted(self, name):
        if self.fails:
            raise SpoolError("no disk")
        return self.kept.get(name)

    def note(self, name, text):
        if self.fails:
            raise SpoolError("no disk")
        self.written += 1
        self.kept[name] = text


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def clock():
    return SteppedClock(NOW)


def vitals(machine, clock, notes=None, boot_id="boot-1"):
    return Vitals(System(machine.root), machine.state, clock, notes or Notes(), boot_id)


def look(found, clock, seconds=2.0):
    clock.sleep(seconds)
    found.turn()


def codes(found):
    return [alarm.code for alarm in found.alarms()]


def heat(machine, celsius):
    machine.file("sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}")


def firmware(machine, bits):
    machine.file(THROTTLED, f"{bits:x}")


def test_what_the_kernel_shows_for_two_seconds_is_remembered_for_the_boot(machine, clock):
    notes = Notes()
    firmware(machine, 0)
    found = vitals(machine, clock, notes)
    look(found, clock)
    assert found.facts()["power.throttled"] == 0
    firmware(machine, 0x50005)
    look(found, clock)
    assert found.facts()["power.throttled"] == 0x50005
    firmware(machine, 0)
    look(found, clock)
    assert found.facts()["power.throttled"] == 0x50000
    after_a_restart = vitals(machine, clock, notes)
    look(after_a_restart, clock)
    assert after_a_restart.facts()["power.throttled"] == 0x50000
    after_a_boot = vitals(machine, clock, notes, "boot-2")
    look(after_a_boot, clock)
    assert after_a_boot.facts()["power.throttled"] == 0


def test_only_what_is_new_is_written(machine, clock):
    notes = Notes()
    found = vitals(machine, clock, notes)
    for bits in (0x4, 0x40004, 0x40000, 0x4, 0x0):
        firmware(machine, bits)
        look(found, clock)
    assert notes.written == 2  # the start, and the one new bit


def test_a_disk_that_keeps_no_note_costs_only_the_memory(machine, clock):
    notes = Notes()
    notes.fails = True
    firmware(machine, 0x1)
    found = vitals(machine, clock, notes)
    look(found, clock)
    assert (found.restarts, found.facts()["power.throttled"]) == (0, 0x10001)


@pytest.mark.parametrize(
    "kept", ["", "boot-1", "boot-1 many", "boot-1 -5", "boot-1 zz", "boot-1 99999999999999"]
)
def test_a_note_that_does_not_read_is_none(machine, clock, kept):
    notes = Notes()
    notes.kept = {"starts": kept, "throttled": kept}
    assert vitals(machine, clock, notes).restarts == 0


def test_starts_are_counted_for_a_boot(machine, clock):
    notes = Notes()
    assert [vitals(machine, clock, notes).restarts for _ in range(3)] == [0, 1, 2]
    assert vitals(machine, clock, notes, "boot-2").restarts == 0


def test_heat_is_an_alarm_until_it_is_well_below(machine, clock):
    found, said = vitals(machine, clock), []
    for celsius in (79.9, HOT_C, 79.0, 75.0, 84.0, 74.9, 79.9):
        heat(machine, celsius)
        look(found, clock)
        said.append(bool(found.alarms()))
        assert codes(found) in ([], [AlarmCode.TOO_HOT])
    assert said == [False, True, True, True, True, False, False]


def test_an_alarm_keeps_its_words_while_it_lasts(machine, clock):
    found = vitals(machine, clock)
    details = set()
    for celsius in (81, 84, 79):
        heat(machine, celsius)
        look(found, clock)
        details |= {alarm.detail for alarm in found.alarms()}
    assert details == {"81 °C when it began: give it air"}


def test_a_weak_supply_is_an_alarm_for_ten_minutes(machine, clock):
    firmware(machine, 0x10001)
    found = vitals(machine, clock)
    look(found, clock)
    assert codes(found) == [AlarmCode.POWER]
    firmware(machine, 0x10000)
    look(found, clock, POWER_HOLD_S - 4)
    assert codes(found) == [AlarmCode.POWER]
    look(found, clock, 6)
    assert codes(found) == []


def test_another_machine_has_neither_alarms_nor_guesses(machine, clock):
    found = vitals(machine, clock)
    look(found, clock)
    facts = found.facts()
    assert found.alarms() == []
    assert [facts[f"power.{name}"] for name in ("temperature_c", "throttled", "under_voltage")] == [None] * 3
    assert facts["disk.free_bytes"] > 0


def test_facts_become_a_health():
    facts = {
        "unit.session": 3, "unit.up_s": 61.5, "unit.restarts": 2, "watch.frames": 9,
        "power.under_voltage": 1.0, "power.throttled": 0x50005, "spool.error": "damaged",
        "clock.synchronised": 1.0,
    }  # fmt: skip
    health = health_of(facts, birth(capture=Capture.BREAK), NOW)
    assert (health.session, health.restarts, health.frames, health.capture) == (3, 2, 9, Capture.BREAK)
    assert (health.under_voltage, health.throttled, health.clock) == (
        True,
        0x50005,
        ClockQuality.SYNCHRONISED,
    )
    assert (health.spool_events, health.dead_letters, health.temperature_c) == (None, None, None)


# The shipped unit.


def healths(messages):
    return [decode_health(one.payload) for one in messages if one.topic.endswith("/health")]


def test_the_unit_tells_its_health_and_the_worker_s_log_said_so_before(daemon, mosquitto):
    mosquitto.start()
    textfile = daemon.folder / "deskwatch.prom"
    daemon.config.write_text(f'{daemon.config.read_text()}\n[health]\ntextfile = "{textfile}"\n')
    with subscribed(mosquitto) as listener:
        daemon.watching()
        got = collect(listener, healths, 60)
        until(textfile.exists, "the text file")
        assert daemon.stop() == 0
        got += rest(listener)
    first = healths(got)[0]
    known = ClockQuality.SYNCHRONISED if clock_is_synchronised() else ClockQuality.UNSYNCHRONISED
    assert (first.session, first.restarts, first.clock) == (1, 0, known)
    assert first.disk_free_bytes > 0
    assert first.memory_available_bytes > 0
    notes = [entry.note for entry in read(daemon.state / "log")]
    told = [note.payload.encode() for note in notes if isinstance(note, Sent) and note.topic == "health"]
    assert told == [one.payload for one in got if one.topic.endswith("/health")][:1]
    assert any(isinstance(note, Here) and note.text == str(textfile) for note in notes)
    assert "deskwatch_up_seconds " in textfile.read_text()
