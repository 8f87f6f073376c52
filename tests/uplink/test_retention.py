"""No picture stays on the unit beyond twenty days, whatever became of it and of the clock.

The clock jumps; spool, files and broker are real. Gone means: in no file of the unit's folder, logs included.
"""

import datetime as dt
import hashlib
import os
import random
import shutil
import sqlite3
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.clock import SteppedClock, SystemClock
from edge.clock_keeper import ClockKeeper
from edge.evidence.thumbnail import Jpeg
from edge.policy.judge import Answer, Finding, Opened
from edge.uplink.clock_fix import UNKNOWN_BOOT
from edge.uplink.event_records import Origin
from edge.uplink.ledger import Ledger
from edge.uplink.messages import decode_event
from edge.uplink.records import Kind, SpoolFull
from edge.uplink.report import Reporter
from edge.uplink.spool import Spool
from edge.uplink.upkeep import UNDATED_S, Upkeep
from edge.worklog.log import WorkerLog
from tests.broker import collect, subscribed, until
from tests.uplink.conftest import MODEL, TOPICS, quick_uplink
from tests.uplink.test_gaps import gap_record
from tests.uplink.test_report import PHONE, POLICY

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
STAY = 20 * DAY
JPEG = Jpeg(b"\xff\xd8" + hashlib.shake_256(b"a kitchen").digest(20_000) + b"\xff\xd9", 320, 240)


class Box:
    """A unit's machine: a state folder, clocks that can be put, and boots. No camera, no network."""

    def __init__(self, folder, now_at=NOW, boot="boot-1", *, synchronised=True):
        self.folder = folder
        self.boot, self.synchronised = boot, synchronised
        self.clock = Wall(now_at)
        self.spool = None

    def start(self):
        """Start the unit's process."""
        self.spool = Spool.open(self.folder / "spool.db", max_age_s=60 * 86_400.0)
        origin = Origin(TOPICS, self.boot, MODEL)
        told = lambda: self.synchronised  # noqa: E731
        self.log = WorkerLog.open(self.folder / "log", now_at=self.clock.now_at, now_s=self.clock.now_s)
        self.keeper = ClockKeeper(self.clock, self.spool, origin, told, self.log.keep_until)
        ledger = Ledger(self.spool, keeps=False)
        self.upkeep = Upkeep(self.spool, ledger, self.clock, told, gap_record, self.boot)
        chance = random.Random(self.clock.now_s())
        self.reporter = Reporter(
            origin, self.spool.put, chance, told, self.clock, self.spool.skip, self.log.keep_picture
        )
        return self

    def stop(self):
        self.spool.close()
        self.log.close()

    def off(self, off_for, boot, *, clock_stands=False, synchronised=True):
        """No power for a while, then another boot; without a battery the clock goes on where it stood."""
        self.stop()
        at = self.clock.now_at() + (dt.timedelta() if clock_stands else off_for)
        self.clock, self.boot, self.synchronised = Wall(at, 10.0), boot, synchronised
        return self.start()

    def snap(self):
        """A picture is taken."""
        verdict = Opened(PHONE, 10.0, 12.0, Finding(Answer.YES))
        self.reporter.opened(verdict, JPEG, POLICY, self.clock.now_at())

    def turn(self):
        """A turn of the uplink's thread, after the minute in which it deletes."""
        self.clock.sleep(61.0)
        self.keeper.turn()
        self.upkeep.turn()
        self.log.expire(synchronised=self.synchronised)

    def pass_(self, time):
        self.clock.sleep(time.total_seconds())
        self.turn()

    @property
    def waiting(self):
        return self.spool.last_picture() > 0

    @property
    def readable(self):
        """Whether a part of the picture is in any file, those of the worker's log too."""
        return self.found(self.folder.rglob("*"))

    @property
    def copied(self):
        """Whether the worker's log has it, and nothing else."""
        files = set(self.folder.rglob("*"))
        copies = set((self.folder / "log").rglob("*"))
        return self.found(copies) and not self.found(files - copies)

    @staticmethod
    def found(paths):
        needle = JPEG.data[9_000:9_040]
        return any(needle in path.read_bytes() for path in paths if path.is_file())


class Wall(SteppedClock):
    """One whose wall time can be put."""

    def __init__(self, now_at, now_s=100.0):
        super().__init__(now_at, now_s)
        self.ahead = dt.timedelta()

    def now_at(self):
        return super().now_at() + self.ahead


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path / "state").start()
    yield box
    box.stop()


def gone(box):
    return not box.waiting and not box.readable


def test_a_picture_that_waits_is_gone_from_the_disk_after_twenty_days_and_not_before(box):
    box.snap()
    box.pass_(STAY - HOUR)
    assert box.waiting
    assert box.readable
    box.pass_(HOUR)
    assert gone(box)
    assert box.spool.lost().expired == 1
    assert box.spool.depth().events == 1  # the event itself stays


def test_a_dead_letter_with_a_picture_goes_as_well(box):
    box.snap()
    for each in box.spool.pending(9, alive_at=NOW):
        box.spool.set_aside(each.position, "not authorised")
    assert box.spool.depth().refused == 2
    box.pass_(STAY)
    assert gone(box)
    assert box.spool.depth().refused == 1


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_off_for_thirty_days_and_gone_before_anything_is_sent(box, mosquitto, how):
    box.snap()
    if how == "killed":  # the log was not moved into the file
        copy = box.folder.parent / "copy"
        shutil.copytree(box.folder, copy)
        box.folder, before = copy, box
        before.spool.close()
        box.spool = Spool.open(copy / "spool.db")
    box.stop()
    assert box.readable
    box.clock, box.boot = Wall(NOW + 30 * DAY), "boot-2"
    mosquitto.start()
    with Spool.open(box.folder / "spool.db") as spool, subscribed(mosquitto) as listener:
        box.spool = spool
        uplink = quick_uplink(spool, mosquitto.config(), clock=RealFrom(NOW + 30 * DAY))
        with uplink:
            until(lambda: uplink.status().delivered == 1, "the event")
            got = collect(listener, lambda got: any(one.topic.endswith("/event") for one in got))
        assert not [one.topic for one in got if "/thumb/" in one.topic]
        assert not box.waiting
        assert box.copied
    box.start()
    box.turn()
    assert gone(box)


class RealFrom(SystemClock):
    """Runs in real time, from another day."""

    def __init__(self, at):
        super().__init__(threading.Event())
        self._by = at - dt.datetime.now(dt.UTC)

    def now_at(self):
        return super().now_at() + self._by


def test_a_clock_that_stood_still_while_the_unit_was_off_is_not_believed(box):
    """A Pi has no battery: after a month it wakes up in the second in which it went to sleep."""
    box.snap()
    box.off(30 * DAY, "boot-2", clock_stands=True, synchronised=False)
    box.turn()
    assert box.waiting  # by that clock it is a minute old
    assert not box.upkeep.dated  # so nothing of the spool may leave
    box.clock.ahead, box.synchronised = 30 * DAY, True
    box.turn()
    assert box.upkeep.dated
    assert gone(box)


def test_where_no_clock_ever_says_how_old_it_is_it_goes_before_it_is_sent(box):
    box.snap()
    box.off(30 * DAY, "boot-2", clock_stands=True, synchronised=False)
    box.snap()
    box.pass_(dt.timedelta(seconds=UNDATED_S - 125))
    assert not box.upkeep.dated
    box.turn()
    box.turn()
    assert box.upkeep.dated
    pictures = [one for one in box.spool.pending(9, alive_at=NOW) if one.message.kind is Kind.THUMBNAIL]
    assert [one.seq for one in pictures] == [2]  # of this boot: its age is known
    assert box.spool.lost().expired == 1


@pytest.mark.parametrize("boot", ["boot-1", UNKNOWN_BOOT])
def test_a_process_that_starts_again_in_the_same_boot_need_not_wait(tmp_path, boot):
    box = Box(tmp_path / "state", boot=boot, synchronised=False).start()
    box.turn()
    assert box.upkeep.dated
    box.snap()
    box.stop()
    box.start()
    box.turn()
    assert box.upkeep.dated is (boot != UNKNOWN_BOOT)
    box.stop()


def test_nothing_leaves_before_the_age_of_old_pictures_is_known(box, mosquitto):
    box.snap()
    box.stop()
    known = threading.Event()
    mosquitto.start()
    with Spool.open(box.folder / "spool.db") as spool, subscribed(mosquitto) as listener:
        clock = RealFrom(NOW)
        uplink = quick_uplink(spool, mosquitto.config(), clock=clock, synchronised=known.is_set)
        with uplink:
            until(lambda: uplink.status().connected and uplink.status().last_puback_s, "the birth")
            came = collect(listener, bool)
            assert {one.topic.rpartition("/")[2] for one in came} == {"state"}
            known.set()
            came = collect(listener, lambda got: any("/thumb/" in one.topic for one in got))
    box.start()


def test_a_year_ahead_and_back_costs_pictures_and_keeps_none(box):
    box.snap()
    box.clock.ahead = 365 * DAY
    box.turn()
    assert gone(box)
    box.snap()  # now it says that it expires in a year and twenty days
    box.turn()
    assert box.waiting
    box.clock.ahead = dt.timedelta()
    box.turn()
    assert not box.waiting
    assert box.copied  # the worker's own is not dropped for that, but stays for twenty days from now
    box.pass_(STAY)
    assert gone(box)
    box.snap()
    box.pass_(STAY)
    assert gone(box)


def test_a_clock_that_steps_back_a_little_costs_no_picture_and_adds_no_day(box):
    box.snap()
    box.clock.ahead = -dt.timedelta(minutes=30)
    box.turn()
    assert box.waiting
    box.pass_(STAY)
    assert gone(box)


AHEAD = st.timedeltas(-3000 * DAY, 3000 * DAY)


@pytest.mark.parametrize("restart", [False, True], ids=["runs on", "starts again"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong_by=AHEAD, until_set=st.timedeltas(dt.timedelta(), 15 * DAY))
def test_a_picture_of_before_the_clock_was_set_expires_as_if_it_had_been_right(
    tmp_path_factory, restart, wrong_by, until_set
):
    """The clock says anything at all when it is taken; the monotonic one knows better, within a boot."""
    box = Box(tmp_path_factory.mktemp("box") / "state", synchronised=False).start()
    try:
        box.clock.ahead = wrong_by
        taken_at = NOW
        box.snap()
        box.clock.sleep(until_set.total_seconds())
        if restart:
            box.stop()
            box.clock.ahead, box.synchronised = dt.timedelta(), True
            box.start()
        else:
            box.keeper.turn()  # before anything is deleted by the wrong clock
        box.clock.ahead, box.synchronised = dt.timedelta(), True
        box.keeper.turn()
        box.upkeep.turn()
        (event, picture) = box.spool.pending(2, alive_at=NOW)
        assert event.message.event_id == picture.message.event_id
        assert abs(picture.message.expires_at - (taken_at + STAY)) < dt.timedelta(seconds=1)
        told = decode_event(event.message.payload).data.thumbnail.expires_at
        assert abs(dt.datetime.fromisoformat(told) - picture.message.expires_at) < dt.timedelta(seconds=1)
        box.pass_(STAY - until_set)
        assert gone(box)
    finally:
        box.stop()


@pytest.mark.parametrize("wrong_by", [-3000 * DAY, -5 * DAY, 5 * DAY, 3000 * DAY])
def test_a_picture_of_another_boot_with_a_wrong_clock_goes_when_the_clock_is_set(tmp_path, wrong_by):
    """How wrong it was, nobody knows: five days ahead, it would stay for twenty-five."""
    box = Box(tmp_path / "state", NOW + wrong_by, synchronised=False).start()
    box.snap()
    box.off(HOUR, "boot-2", clock_stands=True, synchronised=False)
    box.turn()
    box.clock.ahead, box.synchronised = -wrong_by, True
    box.turn()
    assert gone(box)
    assert box.spool.depth().events == 2  # the old one, and that the clock was set
    box.stop()


def test_a_picture_whose_event_has_left_goes_when_the_clock_is_set(box):
    """Its own boot is not written on it; the event, by which it could be dated, is not here any more."""
    box.stop()
    box.synchronised = False
    box.start()
    box.clock.ahead = 5 * DAY
    box.snap()
    event, _ = box.spool.pending(2, alive_at=NOW)
    box.spool.release([event.position])
    box.pass_(10 * DAY)
    assert box.waiting
    box.clock.ahead, box.synchronised = dt.timedelta(), True
    box.turn()
    assert not box.waiting
    assert box.copied  # the unit took it itself, so it knows how long ago
    box.pass_(10 * DAY - 5 * dt.timedelta(minutes=1))
    assert box.copied
    box.pass_(5 * dt.timedelta(minutes=1))
    assert gone(box)


def test_the_workers_copy_of_a_picture_stays_as_long_as_the_picture_when_the_clock_is_set(box):
    """A sealed one without a copy may never leave; and it would not be deleted in time."""
    box.stop()
    box.synchronised = False
    box.start()
    box.clock.ahead = -3000 * DAY
    box.snap()
    (event, _) = box.spool.pending(2, alive_at=NOW - 3000 * DAY)
    box.clock.ahead, box.synchronised = dt.timedelta(), True
    box.turn()
    assert box.waiting
    ref = box.log.picture_ref(event.message.event_id)
    assert abs(dt.datetime.fromisoformat(ref.expires_at) - (NOW + STAY)) < dt.timedelta(minutes=2)
    box.pass_(STAY)
    assert gone(box)


def test_the_workers_copy_that_another_process_kept_undated_goes_unless_its_event_dates_it(box):
    box.stop()
    box.synchronised = False
    box.start()
    box.clock.ahead = 5 * DAY
    box.snap()
    event, picture = box.spool.pending(2, alive_at=NOW)
    box.spool.release([event.position, picture.position])
    box.stop()
    box.start()
    box.turn()
    assert box.copied
    box.clock.ahead, box.synchronised = dt.timedelta(), True
    box.turn()
    assert gone(box)


def test_a_picture_that_gets_to_the_disk_after_the_clock_was_set_is_not_believed(box, monkeypatch):
    """It waited in memory for ten days; nobody asks for its time again. It would stay for twenty-five."""
    box.synchronised = False
    box.turn()
    with monkeypatch.context() as patch:
        patch.setattr(box.reporter, "_put", full_disk)
        box.clock.ahead = 5 * DAY
        box.snap()
        box.pass_(10 * DAY)
        box.clock.ahead, box.synchronised = dt.timedelta(), True
        box.turn()
    assert box.reporter.flush()
    box.turn()
    assert not box.waiting
    box.pass_(10 * DAY)
    assert gone(box)


# Files beside the spool.


def damage(box):
    """Break the first page of the tables; what reads of the rest is salvaged."""
    box.stop()
    path = box.folder / "spool.db"
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)


def test_a_damaged_file_that_was_moved_aside_is_overwritten_and_deleted(box, monkeypatch):
    box.snap()
    damage(box)
    box.start()
    (aside,) = box.folder.glob("spool.db.corrupt-*")
    assert box.readable
    watched = os.open(aside, os.O_RDONLY)  # what becomes of the bytes themselves, once the name is gone
    try:
        box.clock.ahead = dt.datetime.now(dt.UTC) - box.clock.now_at()  # the file's own time is of today
        box.turn()
        assert aside.exists()
        box.clock.ahead += 2 * DAY
        box.turn()
        assert not aside.exists()
        assert JPEG.data[9_000:9_040] not in os.pread(watched, 1 << 20, 0)
    finally:
        os.close(watched)
    box.spool.drop_pictures(1 << 62)
    assert not box.readable


def test_a_salvage_that_never_succeeds_does_not_keep_pictures_either(box, monkeypatch):
    box.snap()
    box.clock.ahead = dt.datetime.now(dt.UTC) - box.clock.now_at()
    salvaging = box.folder / "spool.db.salvaging"

    def full(*_args, **_more):
        raise SpoolFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("edge.uplink.loading.connect", full)
        path = box.folder / "spool.db"
        path.unlink()  # what a damaged card does
        path.write_bytes(b"x" * 50_000 + JPEG.data)
        box.upkeep.turn()
        box.clock.sleep(2.0)
        box.upkeep.turn()
        assert not box.upkeep.usable
        assert salvaging.exists()
        assert box.readable
        box.clock.sleep(19 * 86_400.0)
        box.upkeep.turn()
        assert salvaging.exists()
        box.clock.sleep(2 * 86_400.0)
        box.upkeep.turn()
        assert not salvaging.exists()
    box.clock.sleep(11.0)
    box.upkeep.turn()
    assert box.upkeep.usable


def test_what_is_deleted_is_zeroed_in_the_file_also_in_pages_that_are_free(box):
    for _ in range(5):
        box.snap()
    box.pass_(STAY)
    assert gone(box)
    path = box.folder / "spool.db"
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as db:
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
    db.close()
    assert free >= 5  # so they are looked at above, and are not merely cut off


# Memory.


def test_a_picture_that_waits_in_memory_for_a_full_disk_goes_in_time(box, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(box.reporter, "_put", full_disk)
        box.snap()
        assert box.reporter.waiting == 1
        box.clock.sleep(STAY.total_seconds() + 1.0)
        box.reporter.turn(box.clock.now_s())
    assert not pictures_in(box.reporter)
    box.clock.sleep(2.0)
    box.reporter.turn(box.clock.now_s())
    (event,) = box.spool.pending(9, alive_at=NOW)
    assert decode_event(event.message.payload).data.thumbnail is None


def full_disk(_build):
    raise SpoolFull("the disk is full")


def pictures_in(root):
    """Whether the JPEG can be reached from an object, by whatever way Python's collector knows."""
    import gc

    seen, around = set(), [root]
    while around:
        one = around.pop()
        if id(one) in seen or isinstance(one, type) or type(one).__name__ == "module":
            continue
        seen.add(id(one))
        if isinstance(one, bytes) and JPEG.data[9_000:9_040] in one:
            return True
        if isinstance(one, dict) and "__builtins__" in one:
            continue
        around += gc.get_referents(one)
    return False
