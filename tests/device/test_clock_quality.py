"""The kernel's word on the clock, against another reader of it."""

import platform
import shutil
import subprocess

import pytest

from edge.device.clock_quality import clock_is_synchronised

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
