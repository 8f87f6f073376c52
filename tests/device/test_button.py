"""What counts as a press, what as a hold, and a button that fails."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

pytest.importorskip("gpiozero")

from edge.device.gpio import BOUNCE_S, GpioButton
from edge.device.indicator import Button, StandinButton
from edge.device.light import RETRY_S
from edge.device.presses import STUCK_S, Presses
from tests.broker import until
from tests.device.pins import Pins

BUTTON = 22
LONG_S = 30.0
"""So long that no test can be slow enough to hold the button by mistake."""
SHORT_S = 0.05
"""So short that a hold is soon there."""


@dataclass
class Told:
    """What the button told."""

    presses: int = 0
    holds: int = 0
    raised: list[Exception] = field(default_factory=list)

    def press(self) -> None:
        self.presses += 1
        if self.raised:
            raise self.raised.pop()

    def hold(self) -> None:
        self.holds += 1
        if self.raised:
            raise self.raised.pop()

    @property
    def counts(self) -> tuple[int, int]:
        return self.presses, self.holds


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def pins():
    return Pins()


@pytest.fixture
def make(pins, told):
    made = []

    def make_button(hold_s=LONG_S, **kwargs):
        kwargs = {"on_press": told.press, "on_hold": told.hold, "factory": pins} | kwargs
        button = GpioButton(BUTTON, hold_s=hold_s, **kwargs)
        made.append(button)
        return button

    yield make_button
    for button in made:
        button.close()


def press(pins):
    pins.wired(BUTTON).drive_low()
    pins.wired(BUTTON).drive_high()


# --- every button


@dataclass
class Rig:
    make: Callable[..., Button]
    press: Callable[[Button], object]


@pytest.fixture(params=["gpio", "stand-in"])
def rig(request, pins):
    if request.param == "stand-in":
        return Rig(StandinButton, lambda button: button.press())
    return Rig(
        lambda **told: GpioButton(BUTTON, hold_s=LONG_S, factory=pins, **told), lambda button: press(pins)
    )


def test_a_press_is_told_once_and_none_once_it_was_given_back(rig, told):
    button = rig.make(on_press=told.press, on_hold=told.hold)
    assert button.trouble() is None
    rig.press(button)
    rig.press(button)
    assert told.counts == (2, 0)
    button.close()
    button.close()
    rig.press(button)
    assert told.counts == (2, 0)
    assert "given back" in button.trouble()


def test_a_stand_in_is_held_and_fails_when_it_is_told_to(told):
    button = StandinButton(on_press=told.press, on_hold=told.hold)
    button.hold()
    assert told.counts == (0, 1)
    button.failure = "stuck"
    assert button.trouble() == "stuck"


# --- on a pin


def test_it_is_debounced_by_the_driver(make, pins):
    make()
    assert pins.wired(BUTTON).bounce == BOUNCE_S
    assert 0.01 <= BOUNCE_S <= 0.1


def test_it_tells_of_a_press_when_it_is_let_go(make, pins, told):
    make()
    pins.wired(BUTTON).drive_low()
    assert told.counts == (0, 0)
    pins.wired(BUTTON).drive_high()
    assert told.counts == (1, 0)


def test_held_it_tells_once_and_letting_go_does_nothing(make, pins, told):
    make(SHORT_S)
    pins.wired(BUTTON).drive_low()
    until(lambda: told.holds, "a hold")
    pins.wired(BUTTON).drive_high()
    pins.wired(BUTTON).drive_low()
    until(lambda: told.holds == 2, "a second hold")
    pins.wired(BUTTON).drive_high()
    assert told.counts == (0, 2)


def test_between_its_pin_and_the_supply(make, pins, told):
    make(pull_up=False)
    pins.wired(BUTTON).drive_high()
    pins.wired(BUTTON).drive_low()
    assert told.counts == (1, 0)


@pytest.mark.parametrize("hold_s", [LONG_S, SHORT_S])
def test_a_button_held_while_the_unit_starts_counts_from_the_next_press_on(make, pins, told, hold_s):
    pins.wired(BUTTON).held_at = False
    button = make(hold_s)
    pins.wired(BUTTON).held_at = None
    pins.wired(BUTTON)._state = False
    assert button.trouble() is None
    pins.wired(BUTTON).drive_high()
    assert told.counts == (0, 0)
    if hold_s == LONG_S:
        press(pins)
        assert told.counts == (1, 0)
    else:
        pins.wired(BUTTON).drive_low()
        until(lambda: told.holds, "a hold")
        assert told.counts == (0, 1)  # the one from before was none


@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), OSError(28, "No space left on device"), KeyError("x")]
)
def test_what_its_callbacks_raise_is_logged_and_the_button_works_on(make, pins, told, caplog, error):
    make()
    told.raised.append(error)
    press(pins)
    assert f"the button was pressed, and that failed: {type(error).__name__}: {error}" in caplog.text
    press(pins)
    assert told.counts == (2, 0)


def test_what_a_hold_raises_is_logged_and_the_next_one_comes(make, pins, told, caplog):
    make(SHORT_S)
    told.raised.append(RuntimeError("broken"))
    for count in (1, 2):
        pins.wired(BUTTON).drive_low()
        until(lambda count=count: told.holds == count, "a hold")
        pins.wired(BUTTON).drive_high()
    assert caplog.text.count("the button was held, and that failed: RuntimeError: broken") == 1


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_stuck_button_is_trouble_until_it_comes_loose(make, pins, from_the_start):
    if from_the_start:
        pins.wired(BUTTON).held_at = False
    button = make(now_s=pins.time.now_s)
    if not from_the_start:
        pins.wired(BUTTON).drive_low()
    pins.time.jump(STUCK_S)
    assert button.trouble() is None
    pins.time.jump(0.1)
    assert button.trouble() == "button.pin: wanted GPIO 22 let go, got it down for over 60 s: is it stuck?"
    pins.wired(BUTTON).held_at = True
    assert button.trouble() is None


class DriverError(Exception):
    """Like lgpio's: an Exception, and no more."""


def test_a_pin_that_cannot_be_taken_is_trouble_and_tried_again_every_ten_seconds(make, pins, told):
    pins.refused[BUTTON] = lambda: DriverError("GPIO busy")
    button = make(now_s=pins.time.now_s)
    tried = pins.taken
    for _ in range(9):
        pins.time.jump(1)
        assert button.trouble().startswith("button.pin: wanted GPIO 22, got: GPIO busy")
    assert pins.taken == tried
    del pins.refused[BUTTON]
    pins.time.jump(RETRY_S - 9)
    assert button.trouble() is None
    press(pins)
    assert told.counts == (1, 0)


def test_a_pin_that_is_lost_is_given_back_and_taken_again(make, pins, told):
    button = make(now_s=pins.time.now_s)
    device = button._device
    pins.wired(BUTTON).fails = OSError(5, "Input/output error")
    assert "Input/output error" in button.trouble()
    pins.wired(BUTTON).fails = None
    assert device.closed
    pins.wired(BUTTON)._state = True
    pins.time.jump(RETRY_S)
    assert button.trouble() is None
    press(pins)
    assert told.counts == (1, 0)


def test_a_callback_may_ask_and_close_the_button(pins):
    seen = []

    def ask():
        seen.append(button.trouble())
        button.close()

    button = GpioButton(BUTTON, on_press=ask, on_hold=ask, hold_s=LONG_S, factory=pins)
    press(pins)
    assert seen == [None]
    button = GpioButton(BUTTON, on_press=ask, on_hold=ask, hold_s=SHORT_S, factory=pins)
    pins.wired(BUTTON).drive_low()
    until(lambda: len(seen) == 2, "the callback of a hold")
    assert seen == [None, None]
    button.close()


# --- on time


class Later:
    """What is to be done later, and whether it was called off."""

    def __init__(self):
        self.waiting = []

    def __call__(self, after_s, do):
        self.waiting.append((after_s, do))
        return lambda: self.waiting.remove((after_s, do)) if (after_s, do) in self.waiting else None

    def come(self):
        self.waiting.pop()[1]()


def test_a_press_calls_its_hold_off_and_a_hold_is_told_of_once(told):
    later = Later()
    presses = Presses(told.press, told.hold, 3.0, lambda: 0.0, later=later)
    presses.down()
    assert later.waiting[0][0] == 3.0
    presses.up()
    assert (told.counts, later.waiting) == ((1, 0), [])
    presses.down()
    later.come()
    presses.up()
    presses.up()
    assert told.counts == (1, 1)
    presses.down()
    presses.down()  # an edge was lost
    assert len(later.waiting) == 1
    presses.begin(down=False)
    assert later.waiting == []
    presses.up()
    assert told.counts == (1, 1)


def test_what_comes_late_is_neither_told_twice_nor_counted_for_the_next_press(told):
    now_s = [0.0]
    later = Later()
    presses = Presses(told.press, told.hold, 3.0, lambda: now_s[0], later=later)
    presses.down()
    late = later.waiting[0][1]
    now_s[0] = 3.0
    presses.up()  # nobody said in time that it was held
    assert told.counts == (0, 1)
    late()
    presses.down()
    late()
    assert told.counts == (0, 1)
    now_s[0] += 2.99
    presses.up()
    assert told.counts == (1, 1)


def test_it_says_how_long_a_press_was_down_when_it_tells_of_it(told):
    now_s, lasted = [10.0], []
    presses = Presses(lambda: lasted.append(presses.lasted_s), told.hold, 3.0, lambda: now_s[0])
    for down_s in (0.1, 2.9):
        presses.down()
        now_s[0] += down_s
        presses.up()
    assert lasted == pytest.approx([0.1, 2.9])


def test_without_another_thread_a_hold_is_told_of_when_it_is_let_go(told, caplog):
    def none_left(after_s, do):
        raise RuntimeError("can't start new thread")

    now_s = [0.0]
    presses = Presses(told.press, told.hold, 3.0, lambda: now_s[0], later=none_left)
    presses.down()
    now_s[0] = 5.0
    presses.up()
    assert told.counts == (0, 1)
    assert "can't start new thread" in caplog.text


def test_it_closes_at_once_though_it_is_down_and_tells_of_no_hold_after(pins, told):
    button = GpioButton(BUTTON, on_press=told.press, on_hold=told.hold, hold_s=LONG_S, factory=pins)
    pins.wired(BUTTON).drive_low()
    timer = button._presses._call_off.__self__
    assert timer.is_alive()
    button.close()
    timer.join(LONG_S / 2)
    assert not timer.is_alive()
    assert told.counts == (0, 0)


@pytest.mark.pi
def test_a_real_pin_can_be_taken_and_reads_as_let_go(caplog):
    pytest.importorskip("lgpio")
    if not os.path.exists("/dev/gpiochip0"):  # noqa: PTH110  no path of ours
        pytest.skip("no GPIO here")
    button = GpioButton(BUTTON, on_press=lambda: None, on_hold=lambda: None)
    with caplog.at_level(logging.WARNING):
        assert button.trouble() is None
        button.close()
    assert not caplog.text
