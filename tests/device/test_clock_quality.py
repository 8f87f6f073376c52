"""The kernel's word on the clock, against another reader of it."""

import datetime as dt
import platform
import shutil
import subprocess

import pytest

from edge.device.clock_quality import clock_is_synchronised, read_clock, set_by

ADJTIMEX = {"x86_64": 159, "aarch64": 171}
STATUS_OFFSET_BYTES = 40
STA_UNSYNC = 0x40


@pytest.mark.skipif(
    platform.machine() not in ADJTIMEX or shutil.which("perl") is None,
    reason="needs perl and a 64-bit Linux whose adjtimex number is known",
)
def test_it_agrees_with_the_kernel_s_status_flag():
    call = f'$b = "\\0" x 512; syscall({ADJTIMEX[platform.machine()]}, $b); '
    call += f'print unpack("x{STATUS_OFFSET_BYTES} l", $b)'
    said = subprocess.run(["perl", "-e", call], capture_output=True, text=True, check=True).stdout
    assert clock_is_synchronised() == (not int(said) & STA_UNSYNC)


def test_a_clock_that_becomes_synchronised_says_by_how_much_it_was_set():
    boot = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    wrong = read_clock(boot, 100.0, synchronised=False)
    right = read_clock(boot + dt.timedelta(days=3, seconds=20), 120.0, synchronised=True)
    assert set_by(wrong, right) == pytest.approx(3 * 86_400)
    assert set_by(right, right) is None  # it was right before
    assert set_by(wrong, wrong) is None
    assert set_by(right, wrong) is None  # it was lost, not set


def test_where_the_kernel_may_not_be_asked_the_mark_of_timesyncd_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("edge.device.clock_quality.read_kernel_clock", lambda: None)
    assert not clock_is_synchronised(tmp_path)
    mark = tmp_path / "systemd/timesync/synchronized"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert clock_is_synchronised(tmp_path)
