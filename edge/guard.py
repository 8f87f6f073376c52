"""The watchdog's thread: tells the service manager that all goes on, while it does."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge.device.notify import Notifier
from edge.device.watchdog import Progress, stalled

log = logging.getLogger(__name__)

_EVERY_S = 5.0
"""How often it looks, at most: for the status, where the service manager has no watchdog."""
_SHARE = 4
"""How often it looks within the watchdog's time."""
BEGIN_LIMIT_S = 60.0
"""What comes before the watch's first turn is one run of the model."""


@contextmanager
def guarding(
    notifier: Notifier,
    progress: Callable[[], Progress | None],
    summary: Callable[[], str],
    now_s: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Say READY=1, then WATCHDOG=1 while `progress` is made in time, for the length of the `with`.

    A thread of its own, lest one that hangs speaks for itself. `summary` is the service's status line.
    """
    if not notifier.heard:
        yield
        return
    stop, began_s = threading.Event(), now_s()
    every_s = min(_EVERY_S, (notifier.watchdog_s or _EVERY_S) / _SHARE)

    def run() -> None:
        said, why = "", None
        while not stop.wait(every_s):
            made = progress()
            late = _not_begun(now_s() - began_s) if made is None else stalled(made, now_s())
            if late is None:
                notifier.alive()
            elif why is None:
                log.error("the watchdog is no longer told that all is well: %s", late)
            why = None if late is None else why or late  # as it began: it is told once
            text = why or summary()
            if text != said:
                said = text
                notifier.status(text)

    thread = threading.Thread(target=run, name="deskwatch-guard", daemon=True)
    notifier.ready(summary())
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _not_begun(waited_s: float) -> str | None:
    """Return that the watch has not begun in time; None: it has time left."""
    if waited_s <= BEGIN_LIMIT_S:
        return None
    return f"the watch has not begun for {waited_s:.0f} s, wanted within {BEGIN_LIMIT_S:.0f} s"
