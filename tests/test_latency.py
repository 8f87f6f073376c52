"""How long looks take, and how often frames come."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.latency import LATENCIES_MAX, Latencies, Percentiles, Rate


def test_none_yet_is_none():
    assert Latencies().percentiles() is None
    assert Rate().hz() is None


def test_percentiles_are_those_of_the_newest():
    latencies = Latencies()
    for number in range(LATENCIES_MAX):
        latencies.add(9.0 + number)
    for number in range(1, LATENCIES_MAX + 1):
        latencies.add(number / 1000)
    assert latencies.percentiles() == Percentiles(0.300, 0.570, 0.594, LATENCIES_MAX)


@given(st.lists(st.floats(0.0, 60.0), min_size=1, max_size=700))
def test_at_least_so_many_took_no_longer(took):
    latencies = Latencies()
    for each in took:
        latencies.add(each)
    found, kept = latencies.percentiles(), took[-LATENCIES_MAX:]
    assert found.count == len(kept)
    assert found.p50_s <= found.p95_s <= found.p99_s
    for value, share in ((found.p50_s, 0.5), (found.p95_s, 0.95), (found.p99_s, 0.99)):
        assert value in kept
        assert sum(each <= value for each in kept) >= share * len(kept)
        assert sum(each < value for each in kept) < share * len(kept)


@pytest.mark.parametrize("hz", [0.5, 3.0, 10.0, 30.0])
def test_the_rate_is_that_of_the_last_ten_seconds(hz):
    rate = Rate()
    for number in range(1, int(60 * hz) + 1):
        rate.add(100.0 + number / hz)
    assert rate.hz() == pytest.approx(hz, rel=0.1 if hz < 1 else 0.02)


def test_the_rate_of_a_camera_that_is_open_falls_while_nothing_comes_and_one_that_closed_keeps_it():
    rate = Rate()
    for number in range(100):
        rate.add(number / 10)
    assert rate.hz() == pytest.approx(10.0)
    assert rate.hz(14.9) == pytest.approx(5.0, rel=0.05)
    assert rate.hz(30.0) == 0.0
    rate.restart()
    assert rate.hz(30.0) is None


def test_it_may_be_asked_while_another_thread_adds():
    latencies, stop = Latencies(), threading.Event()

    def add() -> None:
        while not stop.is_set():
            latencies.add(0.1)

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for _ in range(300):
            found = latencies.percentiles()
            assert found is None or found.p99_s == 0.1
    finally:
        stop.set()
        thread.join()
