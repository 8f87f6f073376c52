"""Mock pins that can be shorted, wired to each other and broken, and a time that a test moves."""

import math
import threading
from collections.abc import Callable

from gpiozero.pins.mock import MockFactory, MockPin

from edge.device.light import Light


class WiredPin(MockPin):
    """A pin with what happens to pins."""

    held_at: bool | None = None
    """The level that a short holds it at."""
    follows: "WiredPin | None" = None
    """Whose light it senses."""
    late_reads: int = 0
    """So many reads pass before it has followed a change."""
    fails: Exception | None = None

    def _get_state(self) -> bool:
        if self.fails is not None:
            raise self.fails
        if self.held_at is not None:
            return self.held_at
        if self.follows is not None:
            late, self.late_reads = self.late_reads > 0, max(0, self.late_reads - 1)
            return self.follows.state is not late
        return super()._get_state()

    def _set_state(self, value: float) -> None:
        if self.fails is not None:
            raise self.fails
        super()._set_state(value)

    def _change_state(self, value: bool) -> bool:
        changed = super()._change_state(value)
        if changed and isinstance(self.factory, Pins):
            self.factory.history.append((self.factory.time.now_s(), bool(value)))
        return changed


class Time:
    """Time that stands still until `move` moves it: past every step of a light, one after the other."""

    def __init__(self) -> None:
        self.light: Light | None = None
        self._now_s = 100.0
        self._turn = 0
        self._turned = threading.Condition()
        self._due_s = math.inf

    def now_s(self) -> float:
        return self._now_s

    def jump(self, by_s: float) -> None:
        """Move without the light's thread seeing it."""
        self._now_s += by_s

    def wait(self, changed: threading.Condition, for_s: float | None) -> None:
        """Stand in for the light's wait: only a notification ends it. Its lock is held."""
        self._due_s = math.inf if for_s is None else self._now_s + for_s
        with self._turned:
            self._turn += 1
            self._turned.notify_all()
        changed.wait()

    def move(self, by_s: float) -> None:
        end_s = self._now_s + by_s
        while (due_s := self._caught_up()) <= end_s + 1e-6:
            self._now_s = max(self._now_s, due_s)
        self._now_s = end_s

    def _caught_up(self) -> float:
        """Wait until the light's thread has seen the present, and return when it wants to see the next."""
        if self.light is None or self.light._thread is None:
            return math.inf
        with self.light._changed:
            turn = self._turn
            self.light._changed.notify_all()
        with self._turned:
            assert self._turned.wait_for(lambda: self._turn > turn, 60.0), "the light's thread"
        with self.light._changed:
            return self._due_s


class Pins(MockFactory):
    """The header of a Pi, with the history of every pin on it."""

    def __init__(self, time: Time | None = None) -> None:
        super().__init__(pin_class=WiredPin)
        self.time = time or Time()
        self.history: list[tuple[float, bool]] = []
        self.refused: dict[int, Callable[[], Exception]] = {}
        self.taken = 0
        """How often somebody tried to take a pin."""

    def pin(self, name, pin_class=None, **kwargs):
        self.taken += 1
        if (make := self.refused.get(name)) is not None:
            raise make()
        return super().pin(name, pin_class, **kwargs)

    def wired(self, name: int) -> WiredPin:
        """Return a pin, without counting it as taken."""
        return super().pin(name)
