"""Being told to stop: by a service manager, by Ctrl-C, or to start over."""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

_log = logging.getLogger(__name__)


class Stop(Event):
    """Ends what is being done; `end` ends it for good.

    `end` takes no lock: a signal's handler that sets an event, while its own thread is within the same
    event's `wait` or `clear`, would wait for itself.
    """

    STEP_S = 0.2

    def __init__(self) -> None:
        super().__init__()
        self._final = False

    def end(self) -> None:
        """End it for good."""
        self._final = True

    @property
    def final(self) -> bool:
        """Whether it is for good."""
        return self._final

    def is_set(self) -> bool:
        """Return whether to stop."""
        return self._final or super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until told to stop, at most `timeout` seconds; an `end` is seen within STEP_S."""
        until_s = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left_s := until_s - time.monotonic()) > 0:
            super().wait(min(left_s, self.STEP_S))
        return self.is_set()

    def start_over(self) -> bool:
        """Take the stop back, and return True, unless this is to end for good."""
        self.clear()
        return not self._final


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Give a stop that SIGTERM and SIGINT end: who is told to stop closes what is open."""
    stop = Stop()

    def tell(number: int, _frame: FrameType | None) -> None:
        _log.info("told to stop by %s", signal.Signals(number).name)
        stop.end()

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
