"""Time as a value that is handed in, so that a day can be replayed in a second."""

import datetime as dt
import time
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds for durations, UTC for what people read, and a way to wait."""

    def now_s(self) -> float:
        """Return monotonic seconds; never steps back."""
        ...

    def now_at(self) -> dt.datetime:
        """Return the wall time, timezone-aware UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock's time, or less if the unit is woken or told to stop."""
        ...

    def wake(self) -> None:
        """End the wait that is on, or else the next one: something changed. From any thread."""
        ...


class SystemClock:
    """The real clock. `stop` and `wake` cut every wait short, so that a unit does at once what it is told.

    One thread may wait. It waits for the bell and looks at `stop` in between: nobody can wait for two events,
    and a signal's handler that sets an event on which its own thread waits can block for ever.
    """

    STOP_LAG_S = 0.2

    def __init__(self, stop: Event | None = None) -> None:
        self._stop = stop or Event()
        self._bell = Event()

    def now_s(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def now_at(self) -> dt.datetime:
        """Return the system's UTC time."""
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        """Wait; return at once when woken, and within STOP_LAG_S when `stop` is set."""
        end_s = time.monotonic() + seconds
        while not self._stop.is_set():
            left_s = end_s - time.monotonic()
            if left_s <= 0.0 or self._bell.wait(min(left_s, self.STOP_LAG_S)):
                break
        self._bell.clear()

    def wake(self) -> None:
        """End the wait."""
        self._bell.set()


class SteppedClock:
    """A clock that moves only when told: by `sleep`, or by a replayed frame's own timestamp."""

    def __init__(self, start_at: dt.datetime, start_s: float = 0.0) -> None:
        if start_at.tzinfo is None:
            raise ValueError(f"start_at: wanted a timezone-aware time, got {start_at!r}")
        self._start_at = start_at.astimezone(dt.UTC)
        self._start_s = start_s
        self._now_s = start_s
        self._woken = False

    def now_s(self) -> float:
        """Return the seconds stepped so far, from `start_s`."""
        return self._now_s

    def now_at(self) -> dt.datetime:
        """Return `start_at` plus the seconds stepped so far."""
        return self._start_at + dt.timedelta(seconds=self._now_s - self._start_s)

    def sleep(self, seconds: float) -> None:
        """Step forward by `seconds`; not at all once woken."""
        woken, self._woken = self._woken, False
        if not woken:
            self._now_s += max(0.0, seconds)

    def wake(self) -> None:
        """Let the next sleep take no time."""
        self._woken = True

    def advance_to(self, now_s: float) -> None:
        """Step forward to `now_s`; an earlier time leaves the clock where it is."""
        self._now_s = max(self._now_s, now_s)
