"""Taking an advisory lock that another process may hold for a moment."""

import fcntl
import time

AGAIN_S = 0.01


def take_lock(descriptor: int, within_s: float) -> None:
    """Take it for this process alone. Raises BlockingIOError where another holds it for longer, OSError."""
    until_s = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(AGAIN_S)
        else:
            return
