"""The indicator's light, and the only importer of gpiozero."""

from typing import TYPE_CHECKING, Protocol

from edge.errors import EdgeError

if TYPE_CHECKING:
    from gpiozero.pins import Factory


class LedUnusable(EdgeError):
    """The indicator cannot be driven: check `led.pin` in unit.toml, its wiring, and the user's group gpio."""


class Led(Protocol):
    """A light that can blink."""

    def blink(self, for_s: float) -> None:
        """Blink fast for so long, in the background, then be as it was."""
        ...

    def close(self) -> None:
        """Put it out and give the pin back."""
        ...


class GpioLed:
    """An LED on a pin of the Pi's header, lit while the pin is high."""

    BLINK_S = 0.1

    def __init__(self, pin: int, factory: "Factory | None" = None) -> None:
        """Take the pin, in Broadcom numbers. Raises LedUnusable."""
        try:
            from gpiozero import LED  # noqa: PLC0415  an extra, and slow to import
            from gpiozero.exc import GPIOZeroError  # noqa: PLC0415
        except ImportError as error:
            raise LedUnusable(
                "wanted the package gpiozero, got none: apt install python3-gpiozero"
            ) from error
        try:
            self._led: LED = LED(pin, pin_factory=factory)
        except (GPIOZeroError, OSError, ValueError) as error:
            raise LedUnusable(f"led.pin: wanted a free GPIO pin, got {pin}: {error}") from error

    def blink(self, for_s: float) -> None:
        """Blink fast for so long, in the background; blinking again starts over."""
        times = max(1, round(for_s / (2 * self.BLINK_S)))
        self._led.blink(self.BLINK_S, self.BLINK_S, n=times, background=True)

    def close(self) -> None:
        """Put it out and give the pin back."""
        self._led.off()
        self._led.close()
