"""The last errors and warnings of this process, in memory: what a volatile log may not tell any more.

Two texts are kept of each. The template stands in our source as it is, and may leave the unit; what was
filled into it (paths, addresses, what a driver says) is for whoever sits at the unit.
"""

import datetime as dt
import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from edge.control.protocol import LoggedError
from edge.facts import Facts
from edge.story import printable
from edge.uplink.wire import timestamp

KEPT = 10
"""Of errors, and of warnings: neither pushes out the other."""
TEXT_CHARS = 256
_OURS = "edge"


class ErrorRing(logging.Handler):
    """Keeps the newest of both, and counts the errors. From any thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._guard = threading.Lock()
        self._errors: deque[tuple[int, LoggedError]] = deque(maxlen=KEPT)
        self._warnings: deque[tuple[int, LoggedError]] = deque(maxlen=KEPT)
        self._count = self._number = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it. Raises nothing: what cannot be formatted is kept without its text."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  a line of the log must never end whoever writes it
            text = "(cannot be formatted)"
        kept = LoggedError(
            at=timestamp(dt.datetime.fromtimestamp(record.created, dt.UTC)),
            level=record.levelname[:16],
            logger=_short(record.name),
            template=template_of(record),
            text=_short(text),
        )
        error = record.levelno >= logging.ERROR
        with self._guard:
            (self._errors if error else self._warnings).append((self._number, kept))
            self._number += 1
            self._count += error

    def logged(self) -> tuple[LoggedError, ...]:
        """Return the newest of both, the last one last."""
        with self._guard:
            both = (*self._errors, *self._warnings)
        return tuple(one for _, one in sorted(both, key=lambda numbered: numbered[0]))

    def facts(self) -> Facts:
        """Return how many errors there were since the start of the process, and the last one's template."""
        with self._guard:
            last = self._errors[-1][1] if self._errors else None
            count = self._count
        return {
            "errors.count": count,
            "errors.last": None if last is None else last.template,
            "errors.last_at": None if last is None else last.at,
        }


@contextmanager
def keeping_errors() -> Iterator[ErrorRing]:
    """Keep what this process logs, for the length of the `with`."""
    ring, root = ErrorRing(), logging.getLogger()
    root.addHandler(ring)
    try:
        yield ring
    finally:
        root.removeHandler(ring)


def template_of(record: logging.LogRecord) -> str:
    """Return what may leave the unit: the constant of our own code, and of a library only its name."""
    root = record.name.partition(".")[0]
    if root != _OURS:
        return f"(of the library {_short(root)})"
    return _short(record.msg) if isinstance(record.msg, str) else f"({type(record.msg).__name__})"


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= TEXT_CHARS else f"{line[: TEXT_CHARS - 1]}…"
