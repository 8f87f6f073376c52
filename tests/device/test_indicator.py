"""What every indicator keeps, and how one on pins blinks, is read back, and fails."""

import builtins
import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gpiozero")
from gpiozero import DigitalOutputDevice

from edge.device.flashes import PATTERNS, identifying, spelling
from edge.device.gpio import GpioIndicator, GpioLamp
from edge.device.indicator import (
    Indicator,
    NoIndicator,
    StandinIndicator,
    identity_code,
)
from edge.device.light import RETRY_S, SETTLE_LOOKS, SETTLE_PAUSE_S, Light
from edge.policy.gate import LIT, Signal
from tests.broker import until
from tests.device.pins import Pins, Time

LED, SENSE = 17, 27


# --- every indicator


@dataclass
class Rig:
    indicator: Indicator
    shown: Callable[[], object] | None = None
    """What can be seen: a level, or a signal; None: nothing."""
    watching: object = None
    """What is to be seen while the camera looks."""
    fail: Callable[[], object] | None = None
    mend: Callable[[], object] | None = None


def gpio_rig() -> Rig:
    pins = Pins()
    pin = pins.wired(LED)
    return Rig(
        GpioIndicator(LED, factory=pins),
        lambda: pin.state,
        watching=True,
        fail=lambda: setattr(pin, "held_at", False),
        mend=lambda: setattr(pin, "held_at", None),
    )


def standin_rig() -> Rig:
    standin = StandinIndicator()
    return Rig(
        standin,
        lambda: standin.signal,
        Signal.WATCHING,
        lambda: setattr(standin, "failure", "broken"),
        lambda: setattr(standin, "failure", None),
    )


def pi_rig() -> Rig:
    pytest.importorskip("lgpio")
    if not Path("/dev/gpiochip0").exists():
        pytest.skip("no GPIO here")
    light = GpioIndicator(LED)
    return Rig(light, lambda: bool(light._lamp._led.value), watching=True)


@pytest.fixture(
    params=[gpio_rig, standin_rig, lambda: Rig(NoIndicator()), pytest.param(pi_rig, marks=pytest.mark.pi)],
    ids=["gpio", "stand-in", "none", "pi"],
)
def rig(request):
    rig = request.param()
    yield rig
    rig.indicator.close()


def test_it_is_fitted_where_something_can_be_seen_and_works_at_first(rig):
    assert rig.indicator.fitted is (rig.shown is not None)
    assert rig.indicator.trouble() is None


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_is_shown_and_is_no_trouble(rig, signal):
    rig.indicator.show(signal)
    assert rig.indicator.trouble() is None
    rig.indicator.show(signal)
    assert rig.indicator.trouble() is None


def test_it_is_lit_once_it_was_told_that_the_camera_looks(rig):
    for other in Signal:
        rig.indicator.show(other)
        rig.indicator.identify(60)
        rig.indicator.spell((6, 6))
        rig.indicator.show(Signal.WATCHING)
        if rig.shown is not None and other is not Signal.WATCHING:
            assert rig.shown() == rig.watching, other
        assert rig.indicator.trouble() is None


def test_a_failure_is_said_while_the_camera_looks_and_taken_back_when_it_is_mended(rig):
    if rig.fail is None:
        pytest.skip("cannot be broken")
    rig.indicator.show(Signal.WATCHING)
    assert rig.indicator.trouble() is None
    rig.fail()
    assert rig.indicator.trouble()
    rig.mend()
    assert rig.indicator.trouble() is None


def test_nothing_raises_whatever_it_is_told(rig):
    for for_s in (0, -1, math.nan, math.inf, 1e-9, 1e12):
        rig.indicator.identify(for_s)
    for code in ((), (0,), (7, 1), (1, 2, 3, 4), (1,) * 50):
        rig.indicator.spell(code)
    rig.indicator.close()
    rig.indicator.close()
    rig.indicator.show(Signal.WATCHING)
    rig.indicator.identify(1)
    rig.indicator.spell((1,))
    assert bool(rig.indicator.trouble()) is rig.indicator.fitted  # what was given back is not to be relied on


def test_closed_it_is_out_and_leaves_no_thread():
    for rig in (gpio_rig(), standin_rig()):
        rig.indicator.show(Signal.FAULT)
        rig.indicator.show(Signal.WATCHING)
        rig.indicator.close()
        assert rig.shown() in {False, Signal.OFF}
    assert not [thread for thread in threading.enumerate() if thread.name == "indicator"]


def test_a_stand_in_keeps_each_change_and_no_endless_list():
    standin = StandinIndicator()
    for signal in (Signal.BREAK, Signal.BREAK, Signal.WATCHING):
        standin.show(signal)
    standin.identify(5)
    standin.spell([1, 2])
    assert (standin.shown, standin.overlaid) == ([Signal.BREAK, Signal.WATCHING], [5, (1, 2)])
    for signal in [Signal.OFF, Signal.BREAK] * 2000:
        standin.show(signal)
    assert len(standin.shown) == 1000


def test_neighbours_have_codes_of_their_own():
    codes = [identity_code(f"cam-{number:04}") for number in range(200)]
    assert all(len(code) == 4 and set(code) <= set(range(1, 7)) for code in codes)
    assert len(set(codes)) > 170  # of 1296: chance has some meet
    assert codes[7] == identity_code("cam-0007")


# --- on pins


class Bench:
    """A light on mock pins, in a time that stands still."""

    def __init__(self, *, sense: bool = False, active_high: bool = True, begin: bool = True) -> None:
        self.time = Time()
        self.pins = Pins(self.time)
        self.pin, self.sense = self.pins.wired(LED), self.pins.wired(SENSE)
        if sense:
            self.sense.follows = self.pin
        self.lamp = GpioLamp(LED, SENSE if sense else None, active_high=active_high, factory=self.pins)
        self.paused_s = 0.0
        if begin:
            self.begin()

    def begin(self) -> Light:
        self.light = Light(self.lamp, now_s=self.time.now_s, wait=self.time.wait, pause=self._pause)
        self.time.light = self.light
        self.pins.history.clear()
        self.start_s = self.time.now_s()
        return self.light

    def _pause(self, for_s: float) -> None:
        self.paused_s += for_s

    def seen(self) -> list[tuple[float, bool]]:
        """Each change of the pin, with seconds since the beginning."""
        return [(round(at_s - self.start_s, 3), lit) for at_s, lit in self.pins.history]


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.light.close()


@pytest.fixture
def sensed():
    bench = Bench(sense=True)
    yield bench
    bench.light.close()


SEEN = {
    Signal.OFF: [],
    Signal.WATCHING: [(0, True)],
    Signal.BREAK: [(0, True), (1, False), (2, True), (3, False), (4, True), (5, False), (6, True)],
    Signal.BREAK_ENDS: [
        (start + at, lit)
        for start in (0, 2, 4)
        for at, lit in ((0, True), (0.15, False), (0.3, True), (0.45, False))
    ]
    + [(6, True)],
    Signal.NOTICE: [(0, True), (0.15, False), (3, True), (3.15, False), (6, True)],
    Signal.FAULT: [(round(0.2 * place, 3), place % 2 == 0) for place in range(31)],
    Signal.AIM_ASKS: [
        (start + round(0.2 * place, 3), place % 2 == 0) for start in (0, 3) for place in range(6)
    ]
    + [(6, True)],
    Signal.WATCHING_AIM_ASKS: [
        (start + round(0.2 * place, 3), place % 2 == 1) for start in (0, 3) for place in range(6)
    ]
    + [(6, False)],
}


@pytest.mark.parametrize("signal", Signal)
def test_what_six_seconds_of_each_signal_look_like(bench, signal):
    if signal in LIT:
        bench.light.show(Signal.WATCHING)  # as the gate does: it opens under a steady light
    if signal is not Signal.WATCHING:
        bench.pins.history.clear()
    bench.light.show(signal)
    bench.time.move(6.05)
    assert bench.seen() == SEEN[signal]


def test_a_light_that_asks_while_the_camera_looks_is_dark_for_a_quarter_of_a_second_at_most(bench):
    steps = PATTERNS[Signal.WATCHING_AIM_ASKS].steps
    dark_s = [step.for_s for step in steps if not step.lit]
    assert max(dark_s) <= 0.25
    assert sum(dark_s) <= 0.25 * sum(step.for_s for step in steps)
    bench.light.show(Signal.WATCHING)
    bench.light.show(Signal.WATCHING_AIM_ASKS)
    for _ in range(60):
        bench.time.move(0.1)
        assert bench.light.trouble() is None
    bench.pin.held_at = False
    bench.time.move(1.5)
    assert "GPIO 17" in bench.light.trouble()


@pytest.mark.parametrize("signal", [Signal.AIM_ASKS, Signal.WATCHING_AIM_ASKS])
def test_nobody_hides_from_afar_that_somebody_asks_for_a_press(bench, signal):
    bench.light.identify(600)
    bench.time.move(0.5)
    bench.light.show(signal)
    bench.light.identify(600)
    bench.pins.history.clear()
    bench.start_s += 0.5
    bench.time.move(6.05)
    assert [change for change in bench.seen() if change[0] > 0] == SEEN[signal][1:]


def test_signals_can_be_told_apart_and_a_fault_blinks_below_three_times_a_second():
    assert len(set(PATTERNS.values())) == len(Signal)
    for signal, pattern in PATTERNS.items():
        period_s = sum(step.for_s for step in pattern.steps)
        flashes = sum(step.lit for step in pattern.steps)
        assert period_s >= flashes / 3, signal


def test_a_light_that_is_lit_by_a_low_pin():
    bench = Bench(active_high=False)
    assert bench.pin.state  # dark
    bench.light.show(Signal.WATCHING)
    assert not bench.pin.state
    assert bench.light.trouble() is None
    bench.pin.held_at = True
    assert "GPIO 17 low" in bench.light.trouble()
    bench.pin.held_at = None
    bench.light.close()
    assert bench.pin.state


def test_what_is_shown_does_not_begin_again(bench):
    bench.light.show(Signal.BREAK)
    for _ in range(4):
        bench.time.move(0.5)
        bench.light.show(Signal.BREAK)
    assert bench.seen() == [(0, True), (1, False), (2, True)]


def flashes(seen, mark=True):
    """How many flashes follow each other closely, in groups."""
    starts = [at_s for at_s, lit in seen if lit is mark]
    groups = [1] if starts else []
    for before, after in itertools.pairwise(starts):
        if after - before < 0.6:
            groups[-1] += 1
        else:
            groups.append(1)
    return groups


def test_a_code_can_be_counted_twice_and_then_it_is_as_it_was(bench):
    bench.light.show(Signal.NOTICE)
    bench.pins.history.clear()
    bench.light.spell((3, 1, 6, 2))
    bench.time.move(sum(step.for_s for step in spelling((3, 1, 6, 2)).steps) * 2 - 0.1)
    assert flashes(bench.seen()) == [3, 1, 6, 2, 3, 1, 6, 2]
    bench.pins.history.clear()
    bench.start_s = bench.time.now_s() + 0.1
    bench.time.move(6.2)
    assert bench.seen() == SEEN[Signal.NOTICE]


def test_a_code_while_the_camera_looks_is_counted_in_dark_flashes(bench):
    bench.light.show(Signal.WATCHING)
    bench.light.spell((2, 4))
    for _ in range(60):
        bench.time.move(0.25)
        assert bench.light.trouble() is None
    assert flashes(bench.seen(), mark=False) == [2, 4, 2, 4]
    assert bench.pin.state


@pytest.mark.parametrize("newest", [Signal.OFF, Signal.NOTICE, Signal.FAULT])
def test_after_an_overlay_comes_the_newest_signal(bench, newest):
    bench.light.show(Signal.BREAK)
    bench.light.identify(2)
    bench.time.move(0.5)
    bench.light.show(newest)
    bench.time.move(1.0)
    blinks = [lit for at_s, lit in bench.seen() if 0.5 < at_s < 1.5]
    assert len(blinks) >= 9  # it goes on
    bench.time.move(0.45)
    bench.pins.history.clear()
    bench.start_s += 2
    bench.time.move(6.1)
    assert [change for change in bench.seen() if change[0] > 0] == SEEN[newest][1:]


@pytest.mark.parametrize("signal", [Signal.BREAK, Signal.BREAK_ENDS])
def test_nobody_hides_from_afar_that_a_break_began_or_is_about_to_end(bench, signal):
    bench.light.show(Signal.NOTICE)
    bench.light.identify(600)
    bench.time.move(0.5)
    bench.light.show(signal)
    if signal is Signal.BREAK_ENDS:
        bench.light.identify(600)
    bench.pins.history.clear()
    bench.start_s += 0.5
    bench.time.move(6.1)
    assert [change for change in bench.seen() if change[0] > 0] == SEEN[signal][1:]


def test_the_camera_ends_an_overlay_and_leaving_it_shows_the_rest_in_positive(bench):
    bench.light.identify(60)
    bench.time.move(0.25)
    bench.light.show(Signal.WATCHING)
    assert bench.pin.state
    bench.pins.history.clear()
    bench.time.move(30)
    assert bench.seen() == []
    bench.light.spell((1,))
    bench.light.show(Signal.OFF)
    assert not bench.pin.state  # not lit in negative: nothing is watched
    bench.time.move(30)
    assert flashes(bench.seen()) == [1, 1]


def test_a_late_thread_leaves_the_light_dark_no_longer_than_until_it_is_looked_at(bench):
    bench.light.show(Signal.WATCHING)
    bench.light.identify(60)
    bench.time.move(0.15)
    assert not bench.pin.state
    bench.time.jump(0.3)
    assert bench.light.trouble() is None
    assert bench.pin.state


STEPS = st.one_of(
    st.tuples(st.just("show"), st.sampled_from(list(Signal))),
    st.tuples(st.just("identify"), st.sampled_from([0.1, 0.9, 3.0])),
    st.tuples(st.just("spell"), st.lists(st.integers(1, 6), min_size=1, max_size=2)),
    st.tuples(st.just("move"), st.sampled_from([0.01, 0.05, 0.1, 0.19, 0.3, 1.1, 5.0])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_while_the_camera_looks_it_is_never_dark_for_half_a_second(steps):
    bench = Bench(sense=True)
    signal = Signal.OFF
    dark_since_s = math.inf
    for what, value in steps:
        if what == "show":
            if value is Signal.WATCHING is not signal:
                bench.light.show(value)
                assert bench.pin.state
            signal = value
        before = len(bench.pins.history)
        (bench.time.move if what == "move" else getattr(bench.light, what))(value)
        assert bench.light.trouble() is None
        for at_s, lit in bench.pins.history[before:]:
            if lit and signal in LIT:
                assert at_s - dark_since_s < 0.5
            dark_since_s = math.inf if lit else at_s
        if signal is not Signal.WATCHING:
            dark_since_s = math.inf
        elif not bench.pin.state:
            assert bench.time.now_s() - dark_since_s < 0.5
    bench.time.move(60)
    bench.pins.history.clear()
    bench.time.move(12)
    assert len(bench.pins.history) == pytest.approx(len(SEEN[signal][1:]) * 2, abs=2)
    bench.light.close()


# --- read back


def test_a_short_to_ground_is_found_while_it_should_be_lit(bench):
    bench.light.show(Signal.WATCHING)
    bench.pin.held_at = False
    assert bench.light.trouble() == "led.pin: wanted GPIO 17 high, and it is not: look for a short"


def test_a_light_that_is_stuck_on_is_found_while_nothing_is_watched(bench):
    bench.pin.held_at = True
    assert bench.light.trouble() == "led.pin: wanted GPIO 17 low, and it is not: look for a short"
    bench.pin.held_at = None
    assert bench.light.trouble() is None


def test_a_broken_wire_is_found_by_the_sense_pin(sensed):
    sensed.light.show(Signal.WATCHING)
    assert sensed.light.trouble() is None
    sensed.sense.held_at = False
    wanted = "led.sense_pin: wanted GPIO 27 high while the LED is on, and it is not"
    assert sensed.light.trouble().startswith(wanted)
    sensed.light.show(Signal.OFF)
    sensed.sense.held_at = True  # and light from elsewhere, or a LED that is lit past its pin
    assert "low while the LED is off" in sensed.light._lamp.fault(lit=False)


def test_a_fault_of_the_lit_light_is_remembered_in_the_dark_and_gone_once_it_was_seen_lit(sensed):
    sensed.light.show(Signal.WATCHING)
    sensed.sense.held_at = False
    assert sensed.light.trouble()
    sensed.light.show(Signal.FAULT)
    for _ in range(20):
        sensed.time.move(0.1)
        assert sensed.light.trouble()
    sensed.light.show(Signal.OFF)
    sensed.time.move(3600)
    assert sensed.light.trouble()
    sensed.light.show(Signal.FAULT)
    sensed.time.move(0.3)
    sensed.sense.held_at = None  # mended
    sensed.time.move(0.5)  # found by the blinking itself
    sensed.light.show(Signal.OFF)
    assert sensed.light.trouble() is None


def test_a_sense_pin_is_given_a_moment_to_follow_and_no_more(sensed):
    sensed.light.show(Signal.WATCHING)
    sensed.sense.late_reads = SETTLE_LOOKS - 1
    assert sensed.light.trouble() is None
    assert sensed.paused_s == pytest.approx((SETTLE_LOOKS - 1) * SETTLE_PAUSE_S)
    sensed.sense.late_reads = 1  # no change came before
    assert sensed.light.trouble()
    sensed.light.show(Signal.OFF)
    sensed.sense.late_reads = SETTLE_LOOKS
    assert sensed.light.trouble()
    assert SETTLE_LOOKS * SETTLE_PAUSE_S <= 0.05


# --- pins that cannot be had


class DriverError(Exception):
    """Like lgpio's: an Exception, and no more."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: DriverError("GPIO busy"),
        lambda: PermissionError(13, "Permission denied"),
        KeyError,
        MemoryError,
    ],
)
@pytest.mark.parametrize(("pin", "key"), [(LED, "led.pin"), (SENSE, "led.sense_pin")])
def test_a_pin_that_cannot_be_taken_is_trouble_and_tried_again_every_ten_seconds(make, pin, key):
    bench = Bench(sense=True, begin=False)
    bench.pins.refused[pin] = make
    light = bench.begin()
    text = light.trouble()
    assert text.startswith(f"{key}: wanted GPIO {pin}, got: {make()!s}")
    tried = bench.pins.taken
    for _ in range(9):
        bench.time.move(1)
        light.show(Signal.WATCHING)
        light.show(Signal.FAULT)
        assert light.trouble() == text
    assert bench.pins.taken == tried
    bench.time.move(RETRY_S - 9)
    assert light.trouble() == text
    assert bench.pins.taken > tried
    del bench.pins.refused[pin]
    light.show(Signal.WATCHING)
    bench.time.move(RETRY_S)
    assert light.trouble() is None
    assert bench.pin.state
    light.close()


def test_a_pin_that_is_lost_while_it_blinks_ends_neither_the_thread_nor_the_light(bench):
    bench.light.show(Signal.FAULT)
    bench.time.move(1)
    bench.pin.fails = DriverError("gone")
    bench.time.move(1)
    assert bench.light.trouble().startswith("led.pin: wanted GPIO 17, got: gone")
    bench.pin.fails = None
    bench.time.move(RETRY_S)
    assert bench.light.trouble() is None
    bench.pins.history.clear()
    bench.time.move(2.1)
    assert len(bench.seen()) in (10, 11)
    bench.light.show(Signal.WATCHING)
    bench.pin.fails = OSError(5, "Input/output error")
    assert "Input/output error" in bench.light.trouble()
    bench.light.show(Signal.BREAK)
    bench.light.close()


def test_a_pin_in_use_is_named_and_both_pins_are_given_back():
    bench = Bench(sense=True, begin=False)
    other = DigitalOutputDevice(SENSE, pin_factory=bench.pins)
    assert (
        bench.begin().trouble().startswith("led.sense_pin: wanted GPIO 27, got: pin GPIO27 is already in use")
    )
    DigitalOutputDevice(LED, pin_factory=bench.pins).close()  # it was not kept
    other.close()
    bench.time.move(RETRY_S)
    assert bench.light.trouble() is None
    bench.light.close()
    for pin in (LED, SENSE):
        DigitalOutputDevice(pin, pin_factory=bench.pins).close()


@pytest.mark.parametrize("absent", ["gpiozero", "gpiozero.pins.lgpio"])
def test_where_a_package_is_missing_it_says_which(monkeypatch, absent):
    there = builtins.__import__

    def without(name, *args, **kwargs):
        if name == absent:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return there(name, *args, **kwargs)

    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setattr("gpiozero.Device.pin_factory", None)
    monkeypatch.setattr(builtins, "__import__", without)
    light = GpioIndicator(LED)
    assert "apt install python3-gpiozero python3-lgpio" in light.trouble()
    assert absent in light.trouble()
    light.show(Signal.WATCHING)
    light.close()


def test_gpiozero_s_own_setting_names_another_factory(monkeypatch):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setattr("gpiozero.Device.pin_factory", None)
    light = GpioIndicator(LED)
    light.show(Signal.WATCHING)
    assert light.trouble() is None
    light.close()


# --- in real time


def test_it_blinks_in_the_background_by_the_real_clock():
    pins = Pins()
    light = GpioIndicator(LED, factory=pins)
    pin = pins.wired(LED)
    light.identify(0.6)
    rounds = identifying(0.6).rounds
    until(lambda: len(pin.states) >= 2 * rounds + 1 and not pin.state, "three blinks")
    assert [state.state for state in pin.states][-2 * rounds :] == [True, False] * rounds
    light.show(Signal.FAULT)
    until(lambda: len(pin.states) >= 2 * rounds + 8, "a fault's blinking")
    light.close()
    assert not pin.state
