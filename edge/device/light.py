"""A light that is played in the background and looked at, over any lamp."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.device.flashes import PATTERNS, Pattern, Playing, identifying, spelling
from edge.errors import EdgeError
from edge.policy.gate import ASKING, LIT, Signal

_log = logging.getLogger(__name__)

RETRY_S = 10.0
"""A pin that could not be taken, or was lost, is tried again so long after."""
SETTLE_LOOKS = 6
SETTLE_PAUSE_S = 0.005
"""After a change, a level that is not yet the wanted one is looked at again so often, with such pauses."""
_END_S = 2.0
_AT_ONCE = frozenset({Signal.WATCHING, Signal.BREAK, Signal.BREAK_ENDS, *ASKING})
"""Signals that end what `identify` and `spell` began: the camera is about to open, or whoever pressed the
button wants to know that they are on a break, and when it is about to end; or a press is about to agree."""
_NEVER_HIDDEN = frozenset({Signal.BREAK_ENDS, *ASKING})
"""Signals that nobody hides from afar."""


class PinLost(EdgeError):
    """A pin could not be taken, set or read: check its number in unit.toml, its wiring, the group gpio."""


class Lamp(Protocol):
    """What lights. Each method may raise PinLost, and nothing else."""

    def take(self) -> None:
        """Take the pins; dark. What was taken before it raised is for `release`."""
        ...

    def put(self, lit: bool) -> None:
        """Set the level."""
        ...

    def fault(self, lit: bool) -> str | None:
        """Look at the levels, and return what is wrong with them, if they should be those of `lit`."""
        ...

    def release(self) -> None:
        """Give the pins back; dark. Without pins: do nothing."""
        ...


def _wait(changed: threading.Condition, for_s: float | None) -> None:
    changed.wait(for_s)


class Light:
    """An Indicator over a lamp.

    One lock for all: no step of the background can come between a change and the look that follows it.

    While the camera looks, `identify` and `spell` are shown in negative: the light stays lit and goes dark
    for a quarter of a second at most, and `trouble` looks for the level of that very moment. Should the
    thread be late, `trouble` itself takes the step that is due.

    A level that was found wrong is remembered until the same level is found right: a light that cannot be lit
    is not forgotten in the dark steps of `Signal.FAULT`. Every step is looked at before it ends, so blinking
    finds out by itself that the wiring was mended.
    """

    fitted = True

    def __init__(
        self,
        lamp: Lamp,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], None] = _wait,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the lamp; where that fails, it is `trouble`. `wait` and `pause` are for tests."""
        self._lamp = lamp
        self._now_s = now_s
        self._wait = wait
        self._pause = pause
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._signal = Signal.OFF
        self._playing = Playing.begin(PATTERNS[Signal.OFF], now_s())
        self._overlaid = False
        self._lit = False
        self._settled = False
        self._wrong: dict[bool, str] = {}
        self._lost: str | None = "not taken yet"
        self._retry_at_s = -math.inf
        self._closed = False
        with self._changed:
            self._retake()

    def show(self, signal: Signal) -> None:
        """Show a signal from now on."""
        with self._changed:
            if self._closed or signal is self._signal:
                return
            self._signal = signal
            if signal in _AT_ONCE or not self._overlaid:
                self._begin_signal()
            self._retake()
            self._put()
            self._rouse()

    def trouble(self) -> str | None:
        """Return why it cannot be relied on now."""
        with self._changed:
            if self._closed:
                return "the light was given back"
            self._retake()
            self._catch_up()
            self._look(1 if self._settled else SETTLE_LOOKS)
            return self._lost or self._wrong.get(True) or self._wrong.get(False)

    def identify(self, for_s: float) -> None:
        """Blink fast in the background, then show the signal of then."""
        if for_s > 0 and self._signal not in _NEVER_HIDDEN:
            self._overlay(identifying(for_s))

    def spell(self, code: Sequence[int]) -> None:
        """Show digits as counted flashes, then the signal of then. Other digits are logged, and not shown."""
        try:
            self._overlay(spelling(code))
        except ValueError as error:
            _log.error("the light shows no code: %s", error)

    def close(self) -> None:
        """Put it out and give the pins back."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            if self._lost is None:
                self._put_out()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_END_S)

    def _put_out(self) -> None:
        try:
            try:
                self._lamp.put(lit=False)
            finally:
                self._lamp.release()
        except PinLost as error:
            _log.warning("the light may still be on: %s", error)

    def _overlay(self, pattern: Pattern) -> None:
        with self._changed:
            if self._closed:
                return
            self._overlaid = True
            self._playing = Playing.begin(pattern, self._now_s())
            self._put()
            self._rouse()

    def _begin_signal(self) -> None:
        self._overlaid = False
        self._playing = Playing.begin(PATTERNS[self._signal], self._now_s())

    def _rouse(self) -> None:
        """Have the thread see what changed; there is one from the first blink on."""
        self._changed.notify_all()
        if self._thread is None and math.isfinite(self._playing.until_s):
            self._thread = threading.Thread(target=self._play, name="indicator", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads: whoever calls `trouble` takes the steps
                self._thread = None
                _log.error("the light blinks unevenly: %s", error)

    def _play(self) -> None:
        with self._changed:
            while not self._closed:
                self._catch_up()
                left_s = self._playing.until_s - self._now_s()
                self._wait(self._changed, max(0.0, left_s) if math.isfinite(left_s) else None)

    def _catch_up(self) -> None:
        """Take the step that is due, if one is."""
        now_s = self._now_s()
        if now_s < self._playing.until_s:
            return
        self._look(1)
        following = self._playing.after(now_s)
        if following is None:
            self._begin_signal()
        else:
            self._playing = following
        self._put()

    def _put(self) -> None:
        negative = self._overlaid and self._signal in LIT
        lit = self._playing.lit is not negative
        if self._lost is not None or lit is self._lit:
            return
        try:
            self._lamp.put(lit)
        except PinLost as error:
            self._lose(error)
        else:
            self._lit = lit
            self._settled = False

    def _look(self, times: int) -> None:
        """See whether the levels are those that were set."""
        if self._lost is not None:
            return
        try:
            wrong = self._lamp.fault(self._lit)
            for _ in range(times - 1):
                if wrong is None:
                    break
                self._pause(SETTLE_PAUSE_S)
                wrong = self._lamp.fault(self._lit)
        except PinLost as error:
            self._lose(error)
            return
        self._settled = True
        if wrong is None:
            self._wrong.pop(self._lit, None)
        else:
            self._wrong[self._lit] = wrong

    def _retake(self) -> None:
        """Take a lamp that is not ours, at most once in `RETRY_S`."""
        if self._lost is None or self._now_s() < self._retry_at_s:
            return
        try:
            self._lamp.take()
        except PinLost as error:
            self._lose(error)
            return
        self._lost = None
        self._lit = self._settled = False
        self._put()

    def _lose(self, error: PinLost) -> None:
        self._lost = str(error)
        self._retry_at_s = self._now_s() + RETRY_S
        self._lit = False
        try:
            self._lamp.release()
        except PinLost as second:
            _log.warning("a lost pin could not be given back: %s", second)
