"""What is read out of the broker's log, and how it is carried on."""

from tests.fleet.storm import Phase, per_second, returned, table

LOG = """1700000000: mosquitto version 2.0.11 running
1700000001: New client connected from 127.0.0.1:5 as watcher (p5, c1, k60).
1700000001: New client connected from 127.0.0.1:1 as unit-0 (p5, c0, k30).
1700000003: New client connected from 127.0.0.1:2 as unit-1 (p5, c0, k30).
1700000003: New client connected from 127.0.0.1:3 as unit-2 (p5, c0, k30).
1700000009: New client connected from 127.0.0.1:4 as unit-1 (p5, c0, k30).
"""


def test_units_are_counted_by_the_second_and_nobody_else_is():
    assert per_second(LOG) == {1700000001: 1, 1700000003: 2, 1700000009: 1}


def test_a_phase_has_a_peak_and_a_length():
    one = returned(per_second(LOG), Phase("start", 1700000000, 1700000005))
    assert (one.connections, one.peak_per_s, one.dense_per_s, one.seconds) == (3, 2, 0.3, 3)
    assert returned(per_second(LOG), Phase("later", 1700000020, 1700000030)).connections == 0


def test_the_table_carries_the_peak_on():
    one = returned(per_second(LOG), Phase("start", 1700000000, 1700000005))
    assert table([one], 3).splitlines()[1].split() == ["start", "3", "2", "0.3", "3", "1,000", "100,000"]
