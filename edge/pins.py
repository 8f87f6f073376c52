"""From the settings to the light and the button."""

from collections.abc import Callable

from edge.config import Config
from edge.device.gpio import GpioButton, GpioIndicator
from edge.device.hardware import Hardware
from edge.device.indicator import Button, Indicator, NoIndicator


def make_hardware(config: Config) -> Hardware:
    """Return the light and the button that the settings name; a pin that cannot be taken is its `trouble`."""
    led, button = config.led, config.button
    indicator: Indicator = NoIndicator()
    if led.pin is not None:
        indicator = GpioIndicator(led.pin, sense_pin=led.sense_pin, active_high=led.active_high)
    pin = button.pin
    if pin is None:
        return Hardware(indicator)

    def make_button(on_press: Callable[[], None], on_hold: Callable[[], None]) -> Button:
        return GpioButton(
            pin, on_press=on_press, on_hold=on_hold, hold_s=button.hold_s, pull_up=button.pull_up
        )

    return Hardware(indicator, make_button)
