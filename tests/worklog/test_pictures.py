"""A picture is there until it expires, and not a minute longer, whatever the clock does."""

import datetime as dt
import threading
from pathlib import Path

import pytest

from edge.worklog.disk import write_whole
from edge.worklog.entries import PicturesGone
from edge.worklog.errors import LogUnwritable
from edge.worklog.log import WorkerLog
from edge.worklog.pictures import checked_id
from edge.worklog.reading import picture_bytes, read, verify
from tests.worklog.logs import DAY, NOW, Clock, jpeg, opened, sent

MINUTE = dt.timedelta(minutes=1)


def there(folder: Path, seed: int = 1) -> bool:
    """Whether the picture's bytes are anywhere in the state folder."""
    needle = jpeg(seed)[500:564]
    return any(needle in path.read_bytes() for path in folder.parent.rglob("*") if path.is_file())


def gone(folder: Path) -> list[PicturesGone]:
    return [entry.note for entry in read(folder) if isinstance(entry.note, PicturesGone)]


def kept(log: WorkerLog, event_id: str, days: float, seed: int = 1) -> None:
    log.append([sent(event_id, log.keep_picture(event_id, jpeg(seed), NOW + days * DAY))])


def test_a_picture_is_kept_and_named(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        ref = log.keep_picture("ev-1", jpeg(1), NOW + 3.5 * DAY)
        assert (ref.event_id, ref.bytes, ref.expires_at, ref.sealed_to) == (
            "ev-1",
            3000,
            "2026-03-05T21:00:00Z",
            "",
        )
        assert log.picture_ref("ev-1") == ref
        assert log.keep_picture("ev-1", jpeg(1), NOW + 9 * DAY) == ref  # again: as it was
        with pytest.raises(ValueError, match="ev-1: wanted the picture"):
            log.keep_picture("ev-1", jpeg(2), NOW + DAY)
        assert log.picture_ref("ev-2") is None
    assert picture_bytes(folder, ref, NOW) == jpeg(1)
    assert picture_bytes(folder, ref, NOW + 3.5 * DAY) is None
    assert verify(folder, now_at=NOW).pictures == 1
    with opened(folder) as log:
        assert log.picture_ref("ev-1") == ref


def test_it_is_wiped_on_time_by_a_fresh_process(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        kept(log, "a", 3)
        kept(log, "b", 5, 2)
    clock.at = NOW + 3 * DAY
    with opened(folder, clock) as log:
        assert log.expire(synchronised=True) == 1
        assert log.expire(synchronised=True) == 0
        assert log.picture_ref("a") is None
        assert (there(folder, 1), there(folder, 2)) == (False, True)
    assert gone(folder) == [PicturesGone("expired", ("a",))]
    assert [path.name.split(".")[0] for path in (folder / "pictures").iterdir()] == ["b"]
    assert verify(folder, now_at=clock.at).problem is None
    assert verify(folder, now_at=NOW).problem is None  # nor by a clock that was set back


def test_none_is_kept_longer_than_twenty_days(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        kept(log, "a", 365)
        clock.at = NOW + 20 * DAY - MINUTE
        assert log.expire(synchronised=True) == 0
        clock.at = NOW + 20 * DAY
        assert log.expire(synchronised=True) == 1
    assert not there(folder)


@pytest.mark.parametrize("ahead", [2, 15, 4000])
def test_a_clock_that_ran_ahead_keeps_none_longer_than_twenty_days_from_when_it_is_right(tmp_path, ahead):
    folder, clock = tmp_path / "log", Clock(NOW + ahead * DAY)
    with opened(folder, clock) as log:
        kept(log, "a", ahead + 20)
        clock.at = NOW + MINUTE
        assert log.expire(synchronised=True) == 0
        assert verify(folder, now_at=clock.at).problem is None
        ref = log.picture_ref("a")
        assert ref is not None
        assert picture_bytes(folder, ref, clock.at) == jpeg(1)
        sent_ref = next(e.note.picture for e in read(folder) if e.seq == 2)
        assert picture_bytes(folder, sent_ref, clock.at) == jpeg(1)  # by its first name too
        clock.at = NOW + 20 * DAY + MINUTE
        assert log.expire(synchronised=True) == 1
    assert not there(folder)
    assert verify(folder, now_at=clock.at).problem is None


@pytest.mark.parametrize("jump", [-9000, -30, -1, 1, 4])
def test_a_clock_that_jumps_never_makes_one_live_longer(tmp_path, jump):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        kept(log, "a", 5)
        for wrong in (False, True):  # whether the unit knows that its clock is wrong
            clock.at = NOW + jump * DAY
            log.expire(synchronised=wrong)
            assert log.damage is None
        clock.at = NOW + 5 * DAY
        log.expire(synchronised=True)
        assert not there(folder)
    with opened(folder, clock) as log:
        assert log.damage is None
    assert verify(folder, now_at=NOW).problem is None


def test_an_unset_clock_costs_no_picture_where_the_unit_knows(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        kept(log, "a", 5)
    clock.at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    with opened(folder, clock) as log:
        log.expire(synchronised=False)
        clock.at = NOW + DAY
        log.expire(synchronised=True)
    assert there(folder)


def test_a_clock_that_is_ahead_costs_a_picture_and_the_log_says_so(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        kept(log, "a", 5)
        clock.at = NOW + 500 * DAY
        assert log.expire(synchronised=False) == 1
        clock.at = NOW
    assert not there(folder)
    assert verify(folder, now_at=NOW).problem is None
    assert gone(folder) == [PicturesGone("expired", ("a",))]


def test_the_oldest_give_way_counted_and_noted(tmp_path):
    folder = tmp_path / "log"
    with opened(folder, pictures_max_bytes=10_000) as log:
        for number in range(5):
            kept(log, f"ev-{number}", 5, number)
            held = sum(path.stat().st_size for path in (folder / "pictures").iterdir())
            assert held <= 10_000
            assert verify(folder, now_at=NOW).problem is None
        assert log.pictures_dropped == 2
        with pytest.raises(LogUnwritable, match="wanted a picture of 10000 bytes, got 10001"):
            log.keep_picture("ev-9", jpeg(9, 10_001), NOW + DAY)
        log.expire(synchronised=True)
    assert gone(folder) == [PicturesGone("no-room", ("ev-0", "ev-1"))]
    assert [there(folder, number) for number in range(5)] == [False, False, True, True, True]
    assert len(list((folder / "pictures").iterdir())) == 3
    with opened(folder, pictures_max_bytes=10_000) as log:  # the order is known to a fresh process
        kept(log, "ev-5", 5, 5)
        assert log.damage is None
    assert [there(folder, number) for number in range(6)] == [False, False, False, True, True, True]


def test_killed_while_a_picture_is_deleted(tmp_path):
    """At each step of it the log is good, and a fresh process ends it."""
    folder = tmp_path / "log"
    with opened(folder) as log:
        kept(log, "a", 5)
    (whole,) = (folder / "pictures").iterdir()
    for content in (jpeg(1), bytes(3000), b""):
        whole.with_suffix(".no-room").write_bytes(content)
        whole.unlink(missing_ok=True)
        assert verify(folder, now_at=NOW).problem is None
        with opened(folder) as log:
            assert log.damage is None
            assert not there(folder)
    with opened(folder) as log:
        log.expire(synchronised=True)
    assert gone(folder) == [PicturesGone("no-room", ("a",))]
    assert not list((folder / "pictures").iterdir())


def test_one_that_was_half_written_goes(tmp_path):
    folder = tmp_path / "log"
    opened(folder).close()
    write_whole(folder / "pictures" / "a.1800000000.new", jpeg(1))
    with opened(folder) as log:
        assert (log.damage, log.picture_ref("a")) == (None, None)
    assert not list((folder / "pictures").iterdir())


@pytest.mark.parametrize("event_id", ["", "../a", "a/b", "a\0", "é", "a" * 129, "a\n"])
def test_an_id_that_is_no_name_is_refused(tmp_path, event_id):
    with opened(tmp_path / "log") as log, pytest.raises(ValueError, match="event_id: wanted 1 to 128"):
        log.keep_picture(event_id, b"jpeg", NOW + DAY)
    assert not list((tmp_path / "log" / "pictures").iterdir())


@pytest.mark.parametrize("event_id", [".", "..", "a.jpg", "a.1.jpg", "-", "a" * 128])
def test_odd_ids_are_told_apart(tmp_path, event_id):
    folder = tmp_path / "log"
    assert checked_id(event_id) == event_id
    with opened(folder) as log:
        log.append([sent("x", log.keep_picture(event_id, jpeg(1), NOW + DAY))])
        log.append([sent("y", log.keep_picture("a", jpeg(2), NOW + DAY))])
        ref = log.picture_ref(event_id)
    assert ref is not None
    assert picture_bytes(folder, ref, NOW) == jpeg(1)
    with opened(folder) as log:
        assert (log.damage, log.picture_ref(event_id)) == (None, ref)


def test_the_watch_does_not_wait_for_an_append(tmp_path):
    """The log's lock is held, as it is for a sync that the disk is slow with."""
    with opened(tmp_path / "log") as log:
        done = threading.Event()

        def keep() -> None:
            log.keep_picture("a", jpeg(1), NOW + DAY)
            assert log.picture_ref("a")
            assert not log.has_sent("event", "a")
            done.set()

        with log._lock:
            threading.Thread(target=keep, daemon=True).start()
            assert done.wait(30)


def test_pictures_kept_while_others_expire(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        stop = threading.Event()

        def expire() -> None:
            while not stop.is_set():
                log.expire(synchronised=False)

        thread = threading.Thread(target=expire)
        thread.start()
        for number in range(60):
            clock.at += dt.timedelta(hours=1)
            ref = log.keep_picture(f"ev-{number}", jpeg(number), clock.at + dt.timedelta(hours=5.5))
            log.append([sent(str(number), ref)])
        stop.set()
        thread.join(60)
        log.expire(synchronised=True)
        assert len(list((folder / "pictures").iterdir())) == 6
        found = verify(folder, now_at=clock.at)
        assert (found.problem, found.pictures) == (None, 6)
    assert sum(len(note.event_ids) for note in gone(folder)) == 54
