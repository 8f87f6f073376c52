"""Memory, by what the kernel says."""

from pathlib import Path

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.memory import CHECKS
from tests.diagnosis.machine import Machine, assert_found

(CHECK,) = CHECKS


def available(mib):
    return lambda machine: machine.file(
        "proc/meminfo", f"MemTotal:  440000 kB\nMemFree:  10000 kB\nMemAvailable:  {mib * 1024} kB"
    )


FAULTS = {
    ("memory.available", "low"): ("warn", available(63)),
    ("memory.available", "exhausted"): ("fail", available(23)),
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


def test_enough_passes(tmp_path):
    machine = Machine(tmp_path)
    available(64)(machine)
    result = machine.look(CHECK)
    assert (result.status, result.value) == (Status.PASS, "64.0 MiB of 429.7 MiB")


def test_a_kernel_that_does_not_tell_is_skipped(tmp_path):
    machine = Machine(tmp_path)
    machine.file("proc/meminfo", "MemTotal: 440000 kB\nMemAvailable: much")
    assert machine.look(CHECK).status is Status.SKIP


def test_of_this_very_machine_it_can_tell(tmp_path):
    assert Machine(tmp_path).look(CHECK, root=Path("/")).status is not Status.SKIP
