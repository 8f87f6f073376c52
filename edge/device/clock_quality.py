"""Whether the wall clock can be believed, as the kernel knows it, and by how much it was put right."""

import ctypes
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

TIMESYNCD_MARK = "systemd/timesync/synchronized"
_TIME_ERROR = 5
_STA_NANO = 0x2000
_MICRO, _NANO = 1e-6, 1e-9


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read; `rest` is more than any Linux ABI has beyond."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 448),
    )


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel knows of its clock; chrony and systemd-timesyncd both keep it informed."""

    synchronised: bool
    offset_s: float
    """What it is still being put right by."""
    max_error_s: float
    """It grows by half a millisecond a second, from each time that a time server answered."""


def read_kernel_clock() -> KernelClock | None:
    """Ask adjtimex(2). None where it does not answer."""
    query = _Timex()  # modes = 0: read, change nothing
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(query))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    offset_s = query.offset * (_NANO if query.status & _STA_NANO else _MICRO)
    return KernelClock(state < _TIME_ERROR, offset_s, query.maxerror * _MICRO)


def clock_is_synchronised(run: Path = Path("/run")) -> bool:
    """Return whether the clock was set since boot. False where nobody tells.

    adjtimex(2) knows, whatever program sets it. The service's sandbox forbids that, for the same call sets
    the clock; there the mark counts that systemd-timesyncd leaves below `run` once it has set it.
    """
    clock = read_kernel_clock()
    if clock is None:
        return (run / TIMESYNCD_MARK).exists()
    return clock.synchronised


@dataclass(frozen=True, slots=True)
class ClockState:
    """How the wall clock stood when it was last looked at."""

    offset_s: float
    """Wall seconds since 1970 less monotonic ones."""
    synchronised: bool


def read_clock(now_at: dt.datetime, now_s: float, *, synchronised: bool) -> ClockState:
    """Return the state of a clock that shows `now_at` at `now_s` monotonic seconds."""
    return ClockState(now_at.timestamp() - now_s, synchronised)


def set_by(before: ClockState, now: ClockState) -> float | None:
    """Return by how many seconds the clock was put forward when it became synchronised; else None."""
    if before.synchronised or not now.synchronised:
        return None
    return now.offset_s - before.offset_s
