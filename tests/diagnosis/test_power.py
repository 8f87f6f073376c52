"""Supply and heat, on trees as a Raspberry Pi's kernel shows them."""

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.power import CHECKS
from tests.diagnosis.machine import THROTTLED, Machine, assert_found

TABLE = {check.name: check for check in CHECKS}


def heat(milli):
    return lambda machine: machine.file("sys/class/thermal/thermal_zone0/temp", str(milli))


def firmware(bits):
    return lambda machine: machine.file(THROTTLED, f"{bits:x}")


def supply(alarm):
    def make(machine):
        machine.file("sys/class/hwmon/hwmon1/name", "rpi_volt")
        machine.file("sys/class/hwmon/hwmon1/in0_lcrit_alarm", str(alarm))

    return make


def remembered(bits):
    """The kernel forgets what was; the running unit does not."""

    def make(machine):
        machine.file(THROTTLED, "0")
        machine.facts = {"power.throttled": bits}

    return make


FAULTS = {
    ("power.temperature", "too-hot"): ("warn", heat(80_500)),
    ("power.temperature", "overheated"): ("fail", heat(85_000)),
    ("power.throttled", "throttled"): ("warn", firmware(0x40004)),
    ("power.throttled", "was-throttled"): ("warn", remembered(0x20000)),
    ("power.under-voltage", "under-voltage"): ("fail", supply(1)),
    ("power.under-voltage", "was-under-voltage"): ("warn", remembered(0x10000)),
}
PROVEN = frozenset(FAULTS)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(tmp_path, name, code):
    status, break_it = FAULTS[name, code]
    machine = Machine(tmp_path)
    break_it(machine)
    assert_found(machine.look(TABLE[name]), TABLE[name], code, status)


def test_every_hint_is_proven():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN


def test_a_sound_pi_passes(tmp_path):
    machine = Machine(tmp_path)
    for make in (heat(54_300), firmware(0), supply(0)):
        make(machine)
    machine.facts = {"power.throttled": 0}
    found = {check.name: machine.look(check) for check in CHECKS}
    assert {result.status for result in found.values()} == {Status.PASS}
    assert found["power.temperature"].value == "54 °C"
    assert found["power.temperature"].limit == "under 80 °C"


def test_just_below_the_limits_nothing_is_wrong(tmp_path):
    machine = Machine(tmp_path)
    heat(79_999)(machine)
    assert machine.look(TABLE["power.temperature"]).status is Status.PASS


@pytest.mark.parametrize(
    ("bits", "meaning"),
    [
        (0x2, "frequency capped (the processor may not run at its full speed)"),
        (0x4, "throttled (the processor is slowed down)"),
        (0x8, "soft temperature limit (the processor is near the limit of its temperature)"),
    ],
)
def test_each_bit_is_told_with_its_meaning_now_and_since_boot(tmp_path, bits, meaning):
    machine = Machine(tmp_path)
    firmware(bits)(machine)
    assert machine.look(TABLE["power.throttled"]).value == f"now: {meaning}"
    firmware(bits << 16)(machine)
    assert machine.look(TABLE["power.throttled"]).value == f"since boot: {meaning}"


def test_the_supply_s_bits_are_the_business_of_its_own_check(tmp_path):
    machine = Machine(tmp_path)
    firmware(0x10001)(machine)
    assert machine.look(TABLE["power.throttled"]).status is Status.PASS
    assert machine.look(TABLE["power.under-voltage"]).code == "under-voltage"


def test_a_supply_that_is_well_by_its_alarm_and_was_not_by_the_bits(tmp_path):
    machine = Machine(tmp_path)
    supply(0)(machine)
    firmware(0x10000)(machine)
    assert machine.look(TABLE["power.under-voltage"]).code == "was-under-voltage"


def test_another_machine_skips_and_says_why(tmp_path):
    machine = Machine(tmp_path)
    for check in CHECKS:
        result = machine.look(check)
        assert result.status is Status.SKIP
        assert "this machine" in result.value


def test_without_a_running_unit_nobody_claims_to_know_of_before(tmp_path):
    machine = Machine(tmp_path)
    firmware(0)(machine)
    machine.facts = None
    assert "now" in machine.look(TABLE["power.throttled"]).value
