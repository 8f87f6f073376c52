"""What counts as a press and what as a hold, for a button of any make."""

import logging
import threading
from collections.abc import Callable
from functools import partial

_log = logging.getLogger(__name__)

STUCK_S = 60.0


def _nothing() -> None:
    """Call off nothing."""


def _later(after_s: float, do: Callable[[], None]) -> Callable[[], None]:
    """Have something done in a thread of its own; return what calls it off."""
    timer = threading.Timer(after_s, do)
    timer.daemon = True
    timer.start()
    return timer.cancel


class Presses:
    """Told of a button's edges from any thread, it tells of each press or hold once.

    It tells in the thread that it was told in, of a hold in one of its own. What the two callbacks raise is
    logged: it must end neither the driver's thread nor the button.
    """

    def __init__(
        self,
        on_press: Callable[[], None],
        on_hold: Callable[[], None],
        hold_s: float,
        now_s: Callable[[], float],
        *,
        later: Callable[[float, Callable[[], None]], Callable[[], None]] = _later,
    ) -> None:
        self._on_press = on_press
        self._on_hold = on_hold
        self._hold_s = hold_s
        self._now_s = now_s
        self._later = later
        self._lock = threading.Lock()
        self._press = 0
        """The number of the last press."""
        self._pressed_s: float | None = None
        """Since when a press goes on that has not been told of."""
        self._down_s: float | None = None
        """Since when it is down."""
        self._call_off: Callable[[], None] = _nothing
        self.lasted_s = 0.0
        """How long the last press was down, as it is told of."""

    def begin(self, *, down: bool) -> None:
        """Begin anew. A button that is down already counts from the next press on."""
        with self._lock:
            self._call_off()
            self._pressed_s = None
            self._down_s = self._now_s() if down else None

    def down(self) -> None:
        """Say that it went down."""
        with self._lock:
            self._call_off()
            self._press += 1
            self._pressed_s = self._down_s = self._now_s()
            try:
                self._call_off = self._later(self._hold_s, partial(self._held, self._press))
            except RuntimeError as error:  # no more threads: `up` still tells a hold from a press
                _log.error("a hold is told of once the button is let go: %s", error)

    def up(self) -> None:
        """Say that it was let go."""
        with self._lock:
            self._call_off()
            pressed_s, self._pressed_s, self._down_s = self._pressed_s, None, None
            now_s = self._now_s()
        if pressed_s is None:
            return
        # The other thread may be late: what was down for so long is no press.
        self.lasted_s = now_s - pressed_s
        if self.lasted_s < self._hold_s:
            self._tell("pressed", self._on_press)
        else:
            self._tell("held", self._on_hold)

    def stuck(self, *, down: bool) -> bool:
        """Return whether the button, as it is now, has been down for longer than anybody presses."""
        with self._lock:
            now_s = self._now_s()
            if not down:
                self._down_s = None
            elif self._down_s is None:
                self._down_s = now_s
            return self._down_s is not None and now_s - self._down_s > STUCK_S

    def _held(self, press: int) -> None:
        with self._lock:
            if self._pressed_s is None or press != self._press:
                return
            self._pressed_s = None
        self._tell("held", self._on_hold)

    def _tell(self, what: str, told: Callable[[], None]) -> None:
        try:
            told()
        except Exception as error:  # noqa: BLE001  see the class
            _log.error("the button was %s, and that failed: %s: %s", what, type(error).__name__, error)
