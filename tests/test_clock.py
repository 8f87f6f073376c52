"""Clocks that can be woken."""

import datetime as dt
import threading
import time

import pytest

from edge.clock import SteppedClock, SystemClock

FAR_S = 60.0


def sleeper(clock):
    slept = []

    def sleep():
        began_s = time.monotonic()
        clock.sleep(FAR_S)
        slept.append(time.monotonic() - began_s)

    thread = threading.Thread(target=sleep)
    thread.start()
    return thread, slept


@pytest.mark.parametrize("how", ["wake", "stop"])
def test_a_sleep_ends_when_woken_or_told_to_stop(how):
    stop = threading.Event()
    clock = SystemClock(stop)
    thread, slept = sleeper(clock)
    clock.wake() if how == "wake" else stop.set()
    thread.join(FAR_S / 2)
    assert slept
    assert slept[0] < FAR_S / 2


def test_a_wake_before_the_sleep_is_not_lost_and_counts_once():
    clock = SystemClock()
    clock.wake()
    clock.wake()
    began_s = time.monotonic()
    clock.sleep(FAR_S)
    assert time.monotonic() - began_s < FAR_S / 2
    began_s = time.monotonic()
    clock.sleep(0.3)  # longer than it looks for a stop
    assert time.monotonic() - began_s >= 0.3


def test_a_sleep_of_no_time_returns():
    SystemClock().sleep(-1.0)


def test_a_stepped_clock_stands_still_for_the_sleep_it_is_woken_from():
    clock = SteppedClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    clock.wake()
    clock.sleep(5.0)
    assert clock.now_s() == 0.0
    clock.sleep(5.0)
    assert clock.now_s() == 5.0
