"""What every camera driver can do to us: hang for ever, and stamp its frames on another clock.

A thread is the only way out of a call that does not come back. It cannot be ended, so it is given up, and
counted. A call that hangs while it holds the interpreter's lock stops all threads: that is the watchdog's.
"""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from edge.capture.frame import CameraBusy, CameraStalled
from edge.clock import Clock

T = TypeVar("T")

_STUCK_MAX = 3
"""Threads that may hang in one camera's driver when it is opened; after that only a restart helps."""
_IDLE_STOP_S = 1.0
_AGE_MAX_S = 10.0
"""A frame older than this has a timestamp of another clock."""


def captured(clock: Clock, age_s: float) -> tuple[float, dt.datetime]:
    """Return the moment `age_s` ago, monotonic and as UTC; an age that cannot be is taken for none."""
    if not 0.0 <= age_s <= _AGE_MAX_S:
        age_s = 0.0
    return clock.now_s() - age_s, clock.now_at() - dt.timedelta(seconds=age_s)


class Stoppable(Protocol):
    """A thread that calls into a driver."""

    def is_alive(self) -> bool:
        """Return whether it still runs, or hangs."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """End it. Returns False if it hangs."""
        ...


class Stuck:
    """The threads that hang in the driver of one camera."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._threads: list[Stoppable] = []

    def admit(self) -> None:
        """Let the camera be opened once more. Raises CameraBusy while too many threads hang."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= _STUCK_MAX:
            raise CameraBusy(
                f"{self._camera}: {len(self._threads)} calls hang in the driver: restart the process"
            )

    @property
    def hold(self) -> bool:
        """Whether any still hangs, and may hold the device."""
        return any(thread.is_alive() for thread in self._threads)

    def retire(self, thread: Stoppable, timeout_s: float = _IDLE_STOP_S) -> bool:
        """End a thread that is no longer needed. Returns False if it hangs, and is counted."""
        stopped = thread.stop(timeout_s)
        if not stopped:
            self._threads.append(thread)
        return stopped


class Caller:
    """A thread that makes the calls of one opening of a camera, one after another."""

    def __init__(self, camera: str) -> None:
        self.hung = False
        """Whether a call did not come back in time; no further one is made."""
        self._camera = camera
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=f"calls of {camera}", daemon=True)
        self._thread.start()

    def call(
        self,
        function: Callable[[], T],
        timeout_s: float,
        what: str,
        late: Callable[[T], object] = lambda _result: None,
    ) -> T:
        """Return what `function` returns, or raise what it raises.

        Raises CameraStalled after `timeout_s`; `late` is then called, in the thread, with a result that
        comes after all, and frees what it holds.
        """
        if self.hung:
            raise CameraStalled(f"{self._camera}: wanted {what}, an earlier call still hangs in the driver")
        future: Future[T] = Future()
        self._calls.put((future, function))
        if not wait((future,), timeout_s).done:
            self.hung = True
            future.add_done_callback(lambda done: None if done.exception() else late(done.result()))
            raise CameraStalled(f"{self._camera}: wanted {what} in {timeout_s:g} s, the driver hangs")
        return future.result()

    def is_alive(self) -> bool:
        """Return whether the thread still runs, or hangs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """End the thread, as soon as its call comes back. Returns False if it hangs."""
        self._calls.put(None)
        self._thread.join(0.0 if self.hung else timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                future.set_exception(error)
            del call, future, function  # or the last frame would live until the next call
