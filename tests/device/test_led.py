"""The indicator on gpiozero's own mock pins."""

import pytest

gpiozero = pytest.importorskip("gpiozero")
from gpiozero.pins.mock import MockFactory  # noqa: E402

from edge.device.led import GpioLed, LedUnusable  # noqa: E402
from tests.broker import until  # noqa: E402


@pytest.fixture
def pins():
    factory = MockFactory()
    yield factory
    factory.close()


def test_it_blinks_for_as_long_as_it_is_asked_to(pins):
    led = GpioLed(17, pins)
    pin = pins.pin(17)
    led.blink(0.6)
    until(lambda: len(pin.states) >= 7 and not pin.state, "three blinks")
    lit = [state.state for state in pin.states if state.state is not None]
    assert lit[-6:] == [True, False] * 3
    led.close()


def test_the_pin_is_given_back(pins):
    led = GpioLed(17, pins)
    led.blink(5)
    led.close()
    assert pins.pin(17).state == 0
    GpioLed(17, pins).close()


def test_a_pin_in_use_is_named(pins):
    led = GpioLed(17, pins)
    with pytest.raises(LedUnusable, match=r"led\.pin: wanted a free GPIO pin, got 17"):
        GpioLed(17, pins)
    led.close()
