"""What was appended is there, in order, tied to what stands before it, for as long as the bounds allow."""

import datetime as dt
import hashlib
import itertools
import json
import os
import threading
from pathlib import Path

import pytest

from edge.worklog import checking, writing
from edge.worklog.entries import Began, Command, Here, PolicyTook, Pruned
from edge.worklog.errors import LogInUse, LogUnusable, LogUnwritable
from edge.worklog.log import WorkerLog
from edge.worklog.reading import contains, read, verify
from edge.worklog.segments import note_head
from tests.worklog.logs import DAY, NOW, Clock, entries, opened, segments, sent, texts


def test_every_kind_of_note_comes_back_as_it_was(tmp_path):
    folder = tmp_path / "log"
    notes = [
        sent('{"a": "é\\n"}'),
        Command("diagnose", "{}"),
        PolicyTook(7, "ab", '{"version": 7}'),
        Here("notice accepted"),
    ]
    with opened(folder) as log:
        log.append(notes)
        head = log.head
    got = entries(folder)
    assert [entry.note for entry in got] == [Began("first"), *notes]
    assert [entry.seq for entry in got] == [1, 2, 3, 4, 5]
    assert {entry.at for entry in got} == {"2026-03-02T09:00:00.000Z"}
    found = verify(folder, now_at=NOW)
    assert (found.entries, found.from_seq, found.head, found.problem) == (5, 1, head, None)
    assert head.seq == 5


def test_a_line_is_json_and_names_the_hash_of_the_line_before(tmp_path):
    """Said again without the package: anybody can check the chain with sha256sum."""
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([sent("a"), sent("b")])
        log.append([sent("c")])
        head = log.head
    lines = segments(folder)[0].read_bytes().splitlines()
    before = ""
    for seq, line in enumerate(lines, 1):
        assert (json.loads(line)["seq"], json.loads(line)["prev"]) == (seq, before)
        before = hashlib.sha256(line).hexdigest()
    assert before == head.sha256
    assert json.loads((folder / "head").read_bytes()) == {"seq": 4, "sha256": before}


def test_a_log_goes_on_where_it_ended_and_knows_what_was_sent(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([sent("a")])
        assert log.has_sent("event", sent("a").sha256)
        assert not log.has_sent("state", sent("a").sha256)
        head = log.head
    with opened(folder) as log:
        assert (log.damage, log.head) == (None, head)
        assert log.has_sent("event", sent("a").sha256)
        assert not log.has_sent("event", sent("b").sha256)
        log.append([])
        assert log.head == head
        log.append([sent("b")])
    assert verify(folder, head=head.sha256, now_at=NOW).problem is None
    assert [entry.seq for entry in read(folder)] == [1, 2, 3]


def test_what_was_sent_is_remembered_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MAX_SENT", 3)
    with opened(tmp_path / "log") as log:
        log.append([sent(str(number)) for number in range(5)])
        assert [log.has_sent("event", sent(str(n)).sha256) for n in range(5)] == [
            False,
            False,
            True,
            True,
            True,
        ]


def test_the_folder_and_its_files_are_private(tmp_path):
    folder = tmp_path / "state" / "log"
    with opened(folder) as log:
        log.append([sent("a")])
        log.keep_picture("e", b"jpeg", NOW + DAY)
        assert {each.stat().st_mode & 0o777 for each in (folder, folder / "pictures")} == {0o700}
        files = [each for each in folder.parent.rglob("*") if each.is_file()]
        assert len(files) == 4
        assert {each.stat().st_mode & 0o777 for each in files} == {0o600}


def test_one_process_writes(tmp_path):
    with opened(tmp_path / "log"), pytest.raises(LogInUse, match="another one is"):
        opened(tmp_path / "log")
    opened(tmp_path / "log").close()


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(LogUnusable, match="log"):
        opened(tmp_path / "log")
    (tmp_path / "log").unlink()
    opened(tmp_path / "log").close()  # the lock was given back


def test_a_closed_log_takes_nothing(tmp_path):
    log = opened(tmp_path / "log")
    log.close()
    log.close()
    with pytest.raises(LogUnwritable, match="closed"):
        log.append([Here("a")])
    with pytest.raises(LogUnwritable, match="closed"):
        log.start_anew("a")


def test_a_picture_without_a_time_is_refused_before_it_stands_in_the_log(tmp_path):
    with opened(tmp_path / "log") as log:
        ref = log.keep_picture("e", b"jpeg", NOW + DAY)
        with pytest.raises(ValueError, match="isoformat"):
            log.append([sent("a", type(ref)("e", ref.sha256, 4, "soon"))])
        assert log.head.seq == 1


def fill(log: WorkerLog, numbers: range) -> None:
    for number in numbers:
        log.append([Here("said", f"{number} {'x' * 400}")])


def test_old_segments_give_way_behind_a_note_that_names_them(tmp_path):
    folder = tmp_path / "log"
    with opened(folder, max_bytes=40_000) as log:
        for number in range(300):
            fill(log, range(number, number + 1))
            assert sum(each.stat().st_size for each in segments(folder)) <= 40_000
        assert log.damage is None
        head = log.head
    found = verify(folder, now_at=NOW)
    assert (found.problem, found.head) == (None, head)
    assert found.from_seq > 150
    assert found.entries == head.seq - found.from_seq + 1
    pruned = [entry.note for entry in read(folder) if isinstance(entry.note, Pruned)]
    assert pruned[-1].to_seq == found.from_seq - 1
    assert sum(pruned[-1].counts.values()) == pruned[-1].to_seq - pruned[-1].from_seq + 1
    kept = [int(text.split()[0]) for text in texts(folder)]
    assert kept == list(range(kept[0], 300))
    assert contains(folder, pruned[-1].last_sha256) == pruned[-1].to_seq
    with opened(folder, max_bytes=40_000) as log:
        assert (log.damage, log.head) == (None, head)


def test_a_segment_that_begins_is_waited_for_by_name_and_the_head_is_noted(tmp_path, monkeypatch):
    folder, clock = tmp_path / "log", Clock()
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    with opened(folder, clock) as log:
        monkeypatch.setattr(os, "fsync", fsync)
        log.append([Here("said", "a")])
        assert synced == []  # one fdatasync is all
        clock.at += DAY
        log.append([Here("said", "b")])
        assert synced == ["log", "head.new", "log"]
        assert json.loads((folder / "head").read_bytes())["seq"] == 3
        log.append([Here("said", "c")])
        log.expire(synchronised=False)
        assert json.loads((folder / "head").read_bytes())["seq"] == 4


def test_a_lower_bound_holds_from_the_next_minute_on(tmp_path):
    folder = tmp_path / "log"
    with opened(folder, max_bytes=80_000) as log:
        fill(log, range(150))
    assert sum(each.stat().st_size for each in segments(folder)) > 60_000
    with opened(folder, max_bytes=20_000) as log:
        log.expire(synchronised=False)
        assert 5_000 < sum(each.stat().st_size for each in segments(folder)) <= 20_500
        assert log.expire(synchronised=False) == 0
    assert verify(folder, now_at=NOW).problem is None


def test_a_reader_that_is_overtaken_by_pruning_looks_again(tmp_path, monkeypatch):
    folder = tmp_path / "log"
    real, overtaken = checking.listed, []
    with opened(folder, max_bytes=20_000) as log:
        fill(log, range(30))

        def listed(where):
            names = real(where)
            if not overtaken:
                overtaken.append(names)
                fill(log, range(100))
            return names

        monkeypatch.setattr(checking, "listed", listed)
        found = verify(folder, now_at=NOW)
        assert (found.problem, found.head) == (None, log.head)
        assert real(folder)[0] > overtaken[0][-1]


def test_counts_of_all_that_was_pruned_add_up(tmp_path):
    """Notes of pruning are pruned in their turn, so they are collected while the log is written."""
    folder = tmp_path / "log"
    seen: dict[int, Pruned] = {}
    with opened(folder, max_bytes=20_000) as log:
        for number in range(300):
            log.append([Here("said", str(number) + "x" * 300)])
            seen |= {e.note.to_seq: e.note for e in read(folder) if isinstance(e.note, Pruned)}
    here = sum(note.counts.get("here", 0) for note in seen.values())
    assert here + len(texts(folder)) == 300
    ranges = sorted((note.from_seq, note.to_seq) for note in seen.values())
    assert ranges[0][0] == 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_killed_between_the_note_and_the_deletion_is_good_and_put_right(tmp_path, deleted):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        for day in range(5):
            clock.at = NOW + day * DAY
            log.append([Here("said", str(day))])
        before = {path: path.read_bytes() for path in segments(folder)}
        assert len(before) == 5
        clock.at = NOW + 62.5 * DAY
        log.expire(synchronised=True)
        assert len(segments(folder)) == 3  # days 3 and 4, and the note
    for path in list(before)[deleted:3]:
        path.write_bytes(before[path])
    assert verify(folder, now_at=clock.at).problem is None
    with opened(folder, clock) as log:
        assert log.damage is None
        assert len(segments(folder)) == 3
        log.append([Here("said", "again")])
    assert verify(folder, now_at=clock.at).problem is None


def test_entries_go_by_a_clock_that_is_set_and_by_no_other(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock, max_age=30 * DAY) as log:
        log.append([Here("said", "old")])
        clock.at = NOW + 100 * DAY  # a clock that jumped
        log.expire(synchronised=False)
        assert texts(folder) == ["old"]
        log.expire(synchronised=True)
        assert texts(folder) == []
        (note,) = [entry.note for entry in read(folder)]
        assert (note.from_seq, note.to_seq, note.counts) == (1, 2, {"began": 1, "here": 1})
        log.append([Here("said", "new")])
    assert verify(folder, now_at=clock.at).problem is None


def test_pruned_all_the_time_the_log_verifies_all_the_time(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock, max_age=2 * DAY) as log:
        for day in range(30):
            clock.at = NOW + day * DAY
            log.append([Here("said", str(day))])
            log.expire(synchronised=True)
            assert verify(folder, now_at=clock.at).problem is None
    assert [int(text) for text in texts(folder)] == [27, 28, 29]


def test_a_batch_larger_than_a_segment_is_taken_whole(tmp_path):
    folder = tmp_path / "log"
    with opened(folder, max_bytes=16_000) as log:
        log.append([Here("said", "y" * 5000) for _ in range(3)])
        log.append([Here("said", "z")])
    assert verify(folder, now_at=NOW).problem is None
    assert len(texts(folder)) >= 1


def test_two_threads_append_and_a_third_verifies(tmp_path):
    folder = tmp_path / "log"
    done, problems = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            found = verify(folder, now_at=NOW)
            if found.problem:
                problems.append(found.problem)

    with opened(folder, max_bytes=60_000) as log:
        reader = threading.Thread(target=look)
        writers = [threading.Thread(target=fill, args=(log, range(200))) for _ in range(2)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join(60)
        done.set()
        reader.join(60)
        assert log.head.seq > 400
    assert problems == []
    assert verify(folder, now_at=NOW).problem is None


def test_a_head_that_was_written_down_is_found_again_or_missed(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        noted = log.head
        log.append([Here("said", "b")])
    assert contains(folder, noted.sha256) == noted.seq
    assert contains(folder, "0" * 64) is None
    assert "0000" in (verify(folder, head="0" * 64, now_at=NOW).problem or "")


def test_reading_where_there_is_no_log(tmp_path):
    assert list(read(tmp_path / "log")) == []
    found = verify(tmp_path / "log", now_at=NOW)
    assert (found.entries, found.from_seq) == (0, 1)
    assert "No such file" in (found.problem or "")


def test_a_log_that_never_began_is_sound(tmp_path):
    (tmp_path / "log").mkdir()
    assert verify(tmp_path / "log", now_at=NOW).problem is None
    note_head(tmp_path / "log", writing.NOTHING)  # killed right after
    with opened(tmp_path / "log") as log:
        assert (log.damage, log.head.seq) == (None, 1)
    assert isinstance(entries(tmp_path / "log")[0].note, Began)


def test_a_start_with_a_clock_that_stood_in_1970_takes_nothing_of_before_it(tmp_path):
    """A machine without a battery writes a few lines before its clock is set; they only seem old."""
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        log.append([Here("camera", "of today")])
    clock.at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    with opened(folder, clock) as log:
        log.append([Here("camera", "of a wrong clock")])
        clock.at = NOW + DAY
        log.append([Here("camera", "of tomorrow")])
        log.expire(synchronised=True)
    assert texts(folder) == ["of today", "of a wrong clock", "of tomorrow"]
    clock.at = NOW + 61 * DAY
    with opened(folder, clock) as log:
        log.append([Here("camera", "much later")])
        log.expire(synchronised=True)
    assert "of today" not in texts(folder)
    assert "much later" in texts(folder)
    assert verify(folder, now_at=clock.at).problem is None
