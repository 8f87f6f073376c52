"""Freed memory is overwritten: glibc itself is asked, in a process of its own."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from edge.capture import wiping

CHECK = """
import ctypes, sys
from edge.capture import wiping
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "wiped":
    assert wiping.overwrite_what_is_freed()
guard = []
for size in (2_000, 40_000, 100_000):  # below 128 KiB, where free keeps the memory in this process
    at = libc.malloc(size)
    guard.append(libc.malloc(2_000))  # lest the chunk be given back with the heap's top
    ctypes.memset(at, 0xA7, size)
    libc.free(at)
    # But for the first 32 bytes, the list's own links.
    left = ctypes.string_at(at + 32, size - 32).count(0xA7)
    print(size, left)
wiping.release_memory()
"""


def left_of_freed_memory(how):
    done = subprocess.run(
        [sys.executable, "-c", CHECK, how], capture_output=True, text=True, timeout=60, check=True
    )
    return [int(line.split()[1]) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_what_is_freed_is_overwritten():
    assert left_of_freed_memory("wiped") == [0, 0, 0]
    assert min(left_of_freed_memory("left")) > 1_000


def test_without_glibc_only_our_own_pictures_are_wiped(monkeypatch):
    monkeypatch.setattr(wiping, "_glibc", lambda: None)
    assert wiping.overwrite_what_is_freed.__wrapped__() is False
    wiping.release_memory()
    picture = np.full((4, 4, 3), 9, np.uint8)
    wiping.blacken(None, picture)
    assert not picture.any()
