"""Two hours of health over a real broker that comes and goes, into a real log on a disk that fills."""

import dataclasses
import datetime as dt
import json
import tracemalloc

import pytest

from edge.diary import WorkersDiary
from edge.uplink.messages import decode_health
from edge.worklog.entries import Sent
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read, verify
from tests.broker import rest, subscribed, until
from tests.uplink.conftest import NOW, TOPICS, quick_uplink
from tests.uplink.test_health import Measured
from tests.worklog.test_faults import append_all, fill, small_disk  # noqa: F401  a fixture

pytestmark = pytest.mark.timeout(300)
MINUTES = 121
YEAR = dt.timedelta(days=365)


class Hours:
    """Each health that is measured is a minute; the wall clock is set a year off now and then."""

    def __init__(self) -> None:
        self.measured = Measured()

    def measure(self):
        return self.measured()

    def now_s(self) -> float:
        return 60.0 * (self.measured.asked - 1)

    def now_at(self) -> dt.datetime:
        jumps = (YEAR, dt.timedelta(), -YEAR)
        return NOW + jumps[self.measured.asked // 20 % 3] + dt.timedelta(seconds=self.now_s())


def of_health(messages):
    return [decode_health(one.payload).frames for one in messages if one.topic == TOPICS.health]


def noted(folder):
    """The healths in the log."""
    notes = [entry.note for entry in read(folder) if isinstance(entry.note, Sent)]
    return [json.loads(note.payload)["frames"] for note in notes if note.topic == "health"]


def minutes(uplink, hours, count):
    """Let so many minutes pass; the uplink's thread would look only every 0.8 s."""

    def there():
        uplink._wake.set()
        return hours.measured.asked >= count

    until(there, f"minute {count}", 120)


def test_two_hours_of_health_leave_an_entry_an_hour_and_hold_no_more_memory(
    mosquitto, relay, spool, tmp_path
):
    mosquitto.start()
    hours, folder = Hours(), tmp_path / "log"
    config = dataclasses.replace(mosquitto.config(), port=relay.port)
    with (
        subscribed(mosquitto) as listener,
        WorkerLog.open(folder, now_at=hours.now_at, now_s=hours.now_s) as log,
    ):
        diary = WorkersDiary(log, TOPICS, hours.now_at, hours.now_s)
        with quick_uplink(spool, config, health=hours.measure, health_every_s=0.01, diary=diary) as uplink:
            minutes(uplink, hours, 30)
            tracemalloc.start()
            for count in range(40, MINUTES + 1, 9):
                before, _ = tracemalloc.get_traced_memory()
                minutes(uplink, hours, count)
                if count < 80:  # the wire is warm behind that
                    held = before
                connections = uplink.status().connections
                relay.cut()
                until(lambda: not uplink.status().connected, "the connection to be lost")
                relay.open = True
                until(lambda n=connections: uplink.status().connections > n, "another connection")
            minutes(uplink, hours, MINUTES)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        came = of_health(rest(listener))
    assert noted(folder)[:2] == [1, 61]
    assert noted(folder)[2:] in ([], [121])
    assert verify(folder).problem is None
    assert came == sorted(set(came))
    assert len(came) > MINUTES / 2
    assert after - held < 300_000


def test_on_a_full_disk_no_health_leaves_and_behind_that_it_leaves_with_its_note(
    mosquitto,
    spool,
    small_disk,  # noqa: F811
):
    mosquitto.start()
    hours, folder = Hours(), small_disk / "log"
    with subscribed(mosquitto) as listener, WorkerLog.open(folder, now_at=lambda: NOW) as log:
        fill(small_disk)
        append_all(log, [f"{number}" for number in range(1000)])  # the file's last page has room
        diary = WorkersDiary(log, TOPICS, lambda: NOW, hours.now_s)
        with quick_uplink(
            spool, mosquitto.config(), health=hours.measure, health_every_s=0.01, diary=diary
        ) as uplink:
            minutes(uplink, hours, 10)
            assert diary.trouble is not None
            silent = of_health(rest(listener))
            noted_then = noted(folder)
            (small_disk / "ballast").unlink()
            minutes(uplink, hours, hours.measured.asked + 5)
        came = of_health(rest(listener))
        assert (silent, noted_then) == ([], [])
        assert came
        assert noted(folder)[0] == came[0]
        assert diary.trouble is None
        assert verify(folder).problem is None
