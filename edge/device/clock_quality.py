"""Whether the wall clock can be believed, as the kernel knows it, and by how much it was put right."""

import ctypes
import datetime as dt
from dataclasses import dataclass

_TIMEX_BYTES = 512
"""More than `struct timex` of any Linux ABI (208 on 64 bits)."""
_TIME_ERROR = 5


def clock_is_synchronised() -> bool:
    """Ask adjtimex(2), which chrony and systemd-timesyncd both keep informed. False where it cannot tell."""
    query = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read, change nothing
    try:
        state = ctypes.CDLL(None).adjtimex(query)
    except (OSError, AttributeError):
        return False
    return bool(0 <= state < _TIME_ERROR)


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
