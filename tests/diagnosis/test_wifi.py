"""The radio, as /proc/net/wireless and /sys/class/net show it."""

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.wifi import CHECKS
from tests.diagnosis.machine import Machine, assert_found

(CHECK,) = CHECKS
HEAD = (
    "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
    " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
)


def radio(dbm, *, cable=None):
    def make(machine):
        machine.file("sys/class/net/wlan0/wireless/link", "0")
        line = f" wlan0: 0000   40.  {dbm}.  -256        0      0      0      0      0        0"
        machine.file("proc/net/wireless", HEAD + (line if dbm is not None else ""))
        if cable is not None:
            machine.file("sys/class/net/eth0/carrier", cable)
            machine.file("sys/class/net/eth0/device/uevent", "")

    return make


FAULTS = {
    ("network.wifi", "weak"): ("warn", radio(-71)),
    ("network.wifi", "too-weak"): ("fail", radio(-81)),
    ("network.wifi", "not-connected"): ("fail", radio(None, cable="0")),
}
PROVEN = frozenset(FAULTS)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(tmp_path, name, code):
    status, break_it = FAULTS[name, code]
    machine = Machine(tmp_path)
    break_it(machine)
    assert_found(machine.look(CHECK), CHECK, code, status)


def test_every_hint_is_proven():
    assert {(CHECK.name, code) for code in CHECK.hints} == PROVEN


def test_a_good_signal_passes_and_no_network_is_named(tmp_path):
    machine = Machine(tmp_path)
    radio(-55)(machine)
    result = machine.look(CHECK)
    assert (result.status, result.value, result.limit) == (Status.PASS, "-55 dBm", "at least -70 dBm")


def test_a_driver_s_no_signal_is_no_signal(tmp_path):
    machine = Machine(tmp_path)
    radio(-256)(machine)
    assert machine.look(CHECK).code == "not-connected"


@pytest.mark.parametrize("dbm", [None, -256])
def test_a_radio_that_is_not_used_beside_a_cable_is_no_fault(tmp_path, dbm):
    machine = Machine(tmp_path)
    radio(dbm, cable="1")(machine)
    result = machine.look(CHECK)
    assert (result.status, result.value) == (Status.SKIP, "no Wi-Fi: cable")


def test_without_a_radio_it_is_skipped(tmp_path):
    machine = Machine(tmp_path)
    assert machine.look(CHECK).value == "no Wi-Fi here"
    machine.file("sys/class/net/eth0/carrier", "1")
    machine.file("sys/class/net/eth0/device/uevent", "")
    assert machine.look(CHECK).value == "no Wi-Fi: cable"
