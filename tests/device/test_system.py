"""The machine's figures: on trees as kernels write them, and on trees that nobody would write."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.device.system import (
    MEANINGS,
    THROTTLED_FILE,
    Memory,
    System,
    Throttled,
    Wear,
    size_text,
    used_bytes,
)

FILES = (
    "proc/meminfo",
    "proc/net/wireless",
    "sys/class/thermal/thermal_zone0/temp",
    "sys/class/hwmon/hwmon0/name",
    "sys/class/hwmon/hwmon0/in0_lcrit_alarm",
    "sys/block/mmcblk0/device/life_time",
    "sys/block/mmcblk0/device/pre_eol_info",
    "sys/class/net/eth0/carrier",
    str(THROTTLED_FILE),
)


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_of_this_machine_it_tells_what_the_kernel_tells():
    found = System().memory()
    said = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert found.total_bytes == int(said["MemTotal"].split()[0]) * 1024
    disk = System().disk(Path("/tmp"))
    assert (
        0 < disk.free_bytes <= disk.total_bytes == os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize
    )


def test_the_hottest_sensor_counts_and_one_that_is_broken_does_not(tmp_path):
    for zone, milli in enumerate(("41000", "63100", "", "999999", "hot")):
        put(tmp_path, f"sys/class/thermal/thermal_zone{zone}/temp", f"{milli}\n")
    assert System(tmp_path).temperature_c() == 63.1


@pytest.mark.parametrize(
    ("text", "bits"), [("50005\n", 0x50005), ("0\n", 0), ("0x4\n", 4), ("f000f\n", 0xF000F)]
)
def test_the_firmware_s_bits(tmp_path, text, bits):
    put(tmp_path, str(THROTTLED_FILE), text)
    assert System(tmp_path).throttled() == Throttled(bits)


@pytest.mark.parametrize("text", ["", "-1\n", "fffffffff\n", "none\n"])
def test_what_is_no_number_is_no_bits(tmp_path, text):
    put(tmp_path, str(THROTTLED_FILE), text)
    assert System(tmp_path).throttled() is None


@given(st.integers(0, 0xF), st.integers(0, 0xF))
def test_bits_have_their_names_now_and_since_boot(now, before):
    found = Throttled(now | before << 16)
    names = [name for name, _ in MEANINGS]
    assert found.now == tuple(name for bit, name in enumerate(names) if now >> bit & 1)
    assert found.since_boot == tuple(name for bit, name in enumerate(names) if (now | before) >> bit & 1)


@given(st.lists(st.integers(0, 0xF000F).map(Throttled), max_size=8))
def test_what_was_once_stays_and_what_is_now_is_as_it_is(shown):
    past = Throttled(0)
    for one in shown:
        past = one.with_past(past)
        assert past.now == one.now
    assert set(past.since_boot) == {name for one in shown for name in one.since_boot}


def test_the_supply_s_alarm_goes_before_the_firmware_s_bit(tmp_path):
    put(tmp_path, str(THROTTLED_FILE), "1\n")
    assert System(tmp_path).under_voltage() is True
    put(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    put(tmp_path, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")
    put(tmp_path, "sys/class/hwmon/hwmon2/name", "rpi_volt\n")
    put(tmp_path, "sys/class/hwmon/hwmon2/in0_lcrit_alarm", "0\n")
    assert System(tmp_path).under_voltage() is False


def test_nothing_there_is_nothing_known(tmp_path):
    system = System(tmp_path)
    assert (system.temperature_c(), system.throttled(), system.under_voltage()) == (None, None, None)
    assert (system.memory(), system.wifi(), system.cable()) == (None, None, None)
    assert system.wear(tmp_path) is None


def test_a_card_s_worse_half_counts(tmp_path):
    put(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x05\n")
    put(tmp_path, "sys/block/mmcblk0/device/pre_eol_info", "0x01\n")
    put(tmp_path, "sys/block/mmcblk0boot0/device/life_time", "0x0b 0x0b\n")
    assert System(tmp_path).wear(tmp_path) == Wear("mmcblk0", 5, 1)


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(FILES), text=st.binary(max_size=80))
def test_whatever_stands_there_it_tells_something_in_bounds_or_nothing(tmp_path_factory, path, text):
    root = tmp_path_factory.mktemp("root")
    for each in FILES:
        put(root, each, text if each == path else b"rpi_volt\n" if each.endswith("name") else b"1\n")
    system = System(root)
    heat_c, memory, wifi = system.temperature_c(), system.memory(), system.wifi()
    assert heat_c is None or -55.0 <= heat_c <= 200.0
    assert memory is None or isinstance(memory, Memory)
    assert wifi is None or wifi.signal_dbm is None or -200 < wifi.signal_dbm < 0
    wear, bits = system.wear(root), system.throttled()
    assert wear is None or wear.used_tenths is None or 1 <= wear.used_tenths <= 11
    assert bits is None or 0 <= bits.bits < 1 << 32
    assert system.under_voltage() in (None, True, False)
    system.cable()


def test_sizes(tmp_path):
    said = [size_text(size) for size in (0, 1023, 1 << 10, 5 << 20, 3 << 30)]
    assert said == ["0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "3.0 GiB"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"x" * 10_000)
    assert 10_000 <= used_bytes(tmp_path) < 200_000
