"""The light and the button on the Pi's header. The only importer of gpiozero."""

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.device.light import RETRY_S, Light, PinLost
from edge.device.presses import STUCK_S, Presses

if TYPE_CHECKING:
    from gpiozero import DigitalInputDevice, InputDevice, OutputDevice
    from gpiozero.pins import Factory

_log = logging.getLogger(__name__)

BOUNCE_S = 0.05
_first_factory = threading.Lock()


@contextmanager
def _naming(key: str, pin: int) -> Iterator[None]:
    """Turn whatever gpiozero or its driver raises into PinLost; lgpio's own error is a bare Exception.

    The frames of what was raised are cleared: they hold a device that was half made, and as long as that
    lives, gpiozero takes its pin for taken.
    """
    try:
        yield
    except ImportError as error:
        raise PinLost(
            f"{key}: wanted gpiozero and lgpio, got: {error}: apt install python3-gpiozero python3-lgpio"
        ) from error
    except Exception as error:
        traceback.clear_frames(error.__traceback__)
        raise PinLost(
            f"{key}: wanted GPIO {pin}, got: {str(error) or type(error).__name__}; does another program have"
            " it, and is the user in the group gpio?"
        ) from error


def _kernel_pins() -> "Factory":
    """Return gpiozero's factory, lgpio's unless GPIOZERO_PIN_FACTORY names another.

    gpiozero itself would fall back to factories that write to registers: they do not ask the kernel, and
    would share a pin with another program.
    """
    from gpiozero import Device  # noqa: PLC0415  an extra, and slow to import

    with _first_factory:
        if Device.pin_factory is None and "GPIOZERO_PIN_FACTORY" not in os.environ:
            from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415

            Device.pin_factory = LGPIOFactory()
        Device.ensure_pin_factory()
        return Device.pin_factory


class GpioLamp:
    """An LED on a pin, and what senses its light on another: high while it is lit."""

    def __init__(
        self,
        pin: int,
        sense_pin: int | None = None,
        *,
        active_high: bool = True,
        factory: "Factory | None" = None,
    ) -> None:
        """Name the pins, in Broadcom numbers, and take none yet."""
        self._pin = pin
        self._sense_pin = sense_pin
        self._active_high = active_high
        self._factory = factory
        self._led: OutputDevice | None = None
        self._sense: InputDevice | None = None

    def take(self) -> None:
        """Take the pins; dark."""
        with _naming("led.pin", self._pin):
            from gpiozero import InputDevice, OutputDevice  # noqa: PLC0415  an extra, and slow to import

            factory = self._factory or _kernel_pins()
            self._led = OutputDevice(self._pin, active_high=self._active_high, pin_factory=factory)
        if self._sense_pin is not None:
            with _naming("led.sense_pin", self._sense_pin):
                self._sense = InputDevice(self._sense_pin, pull_up=False, pin_factory=factory)

    def put(self, lit: bool) -> None:
        """Set the level."""
        with _naming("led.pin", self._pin):
            if self._led is not None:
                self._led.value = lit

    def fault(self, lit: bool) -> str | None:
        """Look at the level of the pin itself, then at the sense pin."""
        with _naming("led.pin", self._pin):
            if self._led is None or bool(self._led.value) is not lit:
                level = "high" if lit is self._active_high else "low"
                return f"led.pin: wanted GPIO {self._pin} {level}, and it is not: look for a short"
        if self._sense_pin is None:
            return None
        with _naming("led.sense_pin", self._sense_pin):
            if self._sense is None or bool(self._sense.value) is not lit:
                what = "high while the LED is on" if lit else "low while the LED is off"
                return f"led.sense_pin: wanted GPIO {self._sense_pin} {what}, and it is not: see to its wires"
        return None

    def release(self) -> None:
        """Give the pins back; dark, as an input drives nothing."""
        led, sense, self._led, self._sense = self._led, self._sense, None, None
        try:
            if led is not None:
                with _naming("led.pin", self._pin):
                    led.close()
        finally:
            if sense is not None and self._sense_pin is not None:
                with _naming("led.sense_pin", self._sense_pin):
                    sense.close()


class GpioIndicator(Light):
    """An LED on a pin of the Pi's header; see `Light`."""

    def __init__(
        self,
        pin: int,
        *,
        sense_pin: int | None = None,
        active_high: bool = True,
        factory: "Factory | None" = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the pins, in Broadcom numbers; where that fails, it is `trouble`."""
        super().__init__(GpioLamp(pin, sense_pin, active_high=active_high, factory=factory), now_s=now_s)


class GpioButton:
    """A push button on a pin of the Pi's header.

    `on_press` when it is let go before `hold_s`; `on_hold` once when it is held for so long, and then nothing
    when it is let go. They run in threads of the driver and of `Presses`, and should be short; what they
    raise is logged. A button that is down when the pin is taken counts from the next press on.
    """

    def __init__(
        self,
        pin: int,
        *,
        on_press: Callable[[], None],
        on_hold: Callable[[], None],
        hold_s: float = 3.0,
        pull_up: bool = True,
        factory: "Factory | None" = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the pin, in Broadcom numbers; where that fails, it is `trouble`."""
        self._pin = pin
        self._presses = Presses(on_press, on_hold, hold_s, now_s)
        self._pull_up = pull_up
        self._factory = factory
        self._now_s = now_s
        # Not held while the device closes: a driver may wait for its thread, which may be asking `trouble`.
        self._lock = threading.Lock()
        self._device: DigitalInputDevice | None = None
        self._lost: str | None = "not taken yet"
        self._retry_at_s = 0.0
        self._closed = False
        self._stuck_text = (
            f"button.pin: wanted GPIO {pin} let go, got it down for over {STUCK_S:g} s: is it stuck?"
        )
        with self._lock:
            self._take()

    def trouble(self) -> str | None:
        """Return why it cannot be relied on now: no pin, or stuck."""
        with self._lock:
            if self._closed:
                return "the button was given back"
            if self._device is None and self._now_s() >= self._retry_at_s:
                self._take()
            device = self._device
            if device is None:
                return self._lost
            try:
                with _naming("button.pin", self._pin):
                    down = bool(device.value)
            except PinLost as error:
                lost = self._lose(error)
            else:
                return self._stuck_text if self._presses.stuck(down=down) else None
        self._give_back(device)
        return lost

    @property
    def lasted_s(self) -> float:
        """How long it was down, when `on_press` is told."""
        return self._presses.lasted_s

    def close(self) -> None:
        """Give the pin back."""
        with self._lock:
            self._closed = True
            self._presses.begin(down=False)
            device, self._device = self._device, None
        self._give_back(device)

    def _take(self) -> None:
        try:
            with _naming("button.pin", self._pin):
                # Not its Button: that polls ten times a second, and closes only when it was let go.
                from gpiozero import DigitalInputDevice  # noqa: PLC0415  an extra, and slow to import

                device = DigitalInputDevice(
                    self._pin,
                    pull_up=self._pull_up,
                    bounce_time=BOUNCE_S,
                    pin_factory=self._factory or _kernel_pins(),
                )
                self._presses.begin(down=bool(device.value))
                device.when_activated = self._presses.down
                device.when_deactivated = self._presses.up
        except PinLost as error:
            self._lose(error)
            return
        self._device, self._lost = device, None

    def _lose(self, error: PinLost) -> str:
        self._presses.begin(down=False)
        self._device, self._lost = None, str(error)
        self._retry_at_s = self._now_s() + RETRY_S
        return self._lost

    def _give_back(self, device: "DigitalInputDevice | None") -> None:
        if device is None:
            return
        try:
            with _naming("button.pin", self._pin):
                device.close()
        except PinLost as error:
            _log.warning("a pin could not be given back: %s", error)
