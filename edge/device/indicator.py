"""The light that says whether the camera looks, and the button beside it."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.policy.gate import Signal

_CODE_DIGITS = 4
_SHOWN_MAX = 1000


class Indicator(Protocol):
    """A light that keeps the camera closed where it fails. No method raises, whatever the pins do."""

    @property
    def fitted(self) -> bool:
        """Whether the unit has one."""
        ...

    def show(self, signal: Signal) -> None:
        """Show a signal from now on. The one that is shown already changes nothing.

        `Signal.WATCHING` ends whatever `identify` and `spell` began: on return the light is lit. The signals
        of a break end it too: whoever takes one sees so at once; and so do those that ask for a press.
        """
        ...

    def trouble(self) -> str | None:
        """Return why it cannot be relied on now; None: it works, or there is none. Read back each time."""
        ...

    def identify(self, for_s: float) -> None:
        """Blink fast in the background for so long, then show the signal of then.

        Not while `Signal.BREAK_ENDS` is shown, or a signal that asks for a press.
        """
        ...

    def spell(self, code: Sequence[int]) -> None:
        """Show digits from 1 to 6 as counted flashes, twice, in the background, then the signal of then."""
        ...

    def close(self) -> None:
        """Put it out and give the pins back."""
        ...


class Button(Protocol):
    """The button of breaks. It tells of itself by what it was made with: `on_press` and `on_hold`."""

    @property
    def lasted_s(self) -> float:
        """How long it was down, when `on_press` is told: what was meant, was meant as it went down."""
        ...

    def trouble(self) -> str | None:
        """Return why it cannot be relied on now; None: it works, or there is none."""
        ...

    def close(self) -> None:
        """Give the pin back."""
        ...


class NoIndicator:
    """For a unit without a light."""

    fitted = False

    def show(self, signal: Signal) -> None:
        """Do nothing."""

    def trouble(self) -> str | None:
        """Return None: there is nothing to rely on."""
        return None

    def identify(self, for_s: float) -> None:
        """Do nothing."""

    def spell(self, code: Sequence[int]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class StandinIndicator:
    """A light without pins, for the demo and for tests."""

    fitted = True

    def __init__(self) -> None:
        self.shown: list[Signal] = []
        """Each change, the last of them at the end."""
        self.overlaid: list[float | tuple[int, ...]] = []
        """What `identify` and `spell` were given."""
        self.failure: str | None = None
        """What `trouble` answers."""
        self.closed = False

    def show(self, signal: Signal) -> None:
        """Note a change."""
        if not self.closed and signal is not self.signal:
            self.shown.append(signal)
            del self.shown[:-_SHOWN_MAX]

    @property
    def signal(self) -> Signal:
        """What is shown."""
        return self.shown[-1] if self.shown and not self.closed else Signal.OFF

    def trouble(self) -> str | None:
        """Return what was put into `failure`."""
        return "the light was given back" if self.closed else self.failure

    def identify(self, for_s: float) -> None:
        """Note it."""
        self._overlay(for_s)

    def spell(self, code: Sequence[int]) -> None:
        """Note it."""
        self._overlay(tuple(code))

    def close(self) -> None:
        """Be out."""
        self.closed = True

    def _overlay(self, what: float | tuple[int, ...]) -> None:
        if not self.closed:
            self.overlaid.append(what)
            del self.overlaid[:-_SHOWN_MAX]


class StandinButton:
    """A button without a pin: whoever holds it presses it."""

    def __init__(self, *, on_press: Callable[[], None], on_hold: Callable[[], None]) -> None:
        self._on_press = on_press
        self._on_hold = on_hold
        self.failure: str | None = None
        """What `trouble` answers."""
        self.closed = False
        self.lasted_s = 0.0
        """How long the next press is down."""

    def press(self) -> None:
        """Press and let go."""
        if not self.closed:
            self._on_press()

    def hold(self) -> None:
        """Press for long."""
        if not self.closed:
            self._on_hold()

    def trouble(self) -> str | None:
        """Return what was put into `failure`."""
        return "the button was given back" if self.closed else self.failure

    def close(self) -> None:
        """Be deaf."""
        self.closed = True


def identity_code(unit_id: str) -> tuple[int, ...]:
    """Return four digits from 1 to 6 that tell this unit from its neighbours: one of 1296, not a secret."""
    number = int.from_bytes(hashlib.sha256(unit_id.encode()).digest())
    return tuple(number // 6**place % 6 + 1 for place in range(_CODE_DIGITS))
