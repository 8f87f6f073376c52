"""Full disks, failed syncs, folders that go, processes that are killed: what append returned for is there."""

import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.worklog.entries import Began, Here
from edge.worklog.errors import LogDamaged, LogUnusable, LogUnwritable
from edge.worklog.log import WorkerLog
from edge.worklog.reading import verify
from tests.worklog.logs import DAY, NOW, Clock, entries, jpeg, opened, segments, sent, texts

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT = 1, 32


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip(f"no tmpfs may be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    assert libc.umount2(str(folder).encode(), 2) == 0


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def append_all(log: WorkerLog, texts_: list[str]) -> list[str]:
    """Append one by one until the disk takes no more; return what was taken."""
    taken = []
    for text in texts_:
        try:
            log.append([Here("said", text), Here("said", text + "'")])
        except LogUnwritable:
            break
        taken += [text, text + "'"]
    return taken


def test_on_a_full_disk_nothing_half_written_counts_and_later_it_goes_on(small_disk):
    folder = small_disk / "log"
    with opened(folder) as log:
        fill(small_disk)
        taken = append_all(log, [f"{n} {'x' * 700}" for n in range(50)])
        assert len(taken) < 100
        head = log.head
        with pytest.raises(LogUnwritable, match="No space left"):
            log.append([Here("said", "y" * 9000)])
        with pytest.raises(LogUnwritable, match="No space left"):
            log.keep_picture("a", jpeg(1, 20_000), NOW + DAY)
        assert (log.head, log.damage, log.picture_ref("a")) == (head, None, None)
        assert [path.name for path in (folder / "pictures").iterdir()] == []
        assert texts(folder) == taken
        assert verify(folder, now_at=NOW).problem is None
        assert not log.has_sent("event", sent("z").sha256)
        (small_disk / "ballast").unlink()
        log.append([Here("said", "on"), sent("z")])
        log.keep_picture("a", jpeg(1, 20_000), NOW + DAY)
    assert texts(folder) == [*taken, "on"]
    with opened(folder) as log:
        assert log.damage is None


def test_a_full_disk_when_a_segment_begins(small_disk):
    folder, clock = small_disk / "log", Clock()
    with opened(folder, clock) as log:
        log.append([Here("said", "a")])
        clock.at += DAY
        fill(small_disk)
        for _ in range(2):
            with pytest.raises(LogUnwritable, match="No space left"):
                log.append([Here("said", "b")])
        assert len(segments(folder)) == 1
        clock.at -= DAY  # what fits the old segment goes there
        (small_disk / "ballast").unlink()
        log.append([Here("said", "c")])
        clock.at += DAY
        log.append([Here("said", "d")])
        assert len(segments(folder)) == 2
    assert texts(folder) == ["a", "c", "d"]
    assert verify(folder, now_at=NOW).problem is None


def test_a_log_that_cannot_begin_begins_with_its_first_note(small_disk):
    folder = small_disk / "log"
    (folder / "pictures").mkdir(parents=True)
    folder.with_name("log.lock").touch()
    fill(small_disk)
    with opened(folder) as log:
        assert (log.damage, log.head.seq) == (None, 0)
        with pytest.raises(LogUnwritable, match="No space left"):
            log.append([Here("said", "a")])
        assert log.expire(synchronised=True) == 0
        (small_disk / "ballast").unlink()
        log.append([Here("said", "b")])
    assert [entry.note for entry in entries(folder)] == [Began("first"), Here("said", "b")]
    assert verify(folder, now_at=NOW).problem is None


def test_a_disk_that_is_read_only(small_disk):
    opened(small_disk / "log").close()
    assert libc.mount(None, str(small_disk).encode(), None, MS_REMOUNT | MS_RDONLY, None) == 0
    with pytest.raises(LogUnusable, match="Read-only"):
        opened(small_disk / "log")
    assert verify(small_disk / "log", now_at=NOW).problem is None
    assert libc.mount(None, str(small_disk).encode(), None, MS_REMOUNT, None) == 0
    with opened(small_disk / "log") as log:
        assert log.damage is None


LIMITED = """
import resource, sys
from pathlib import Path
from edge.worklog.errors import LogUnwritable
from edge.worklog.entries import Here
from tests.worklog.logs import opened
with opened(Path(sys.argv[1])) as log:
    size = sum(p.stat().st_size for p in Path(sys.argv[1]).glob("segment-*"))
    for more in range(40, 900, 60):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + more, resource.RLIM_INFINITY))
        try:
            log.append([Here("said", f"{more} {n}") for n in range(9)])
        except LogUnwritable as error:
            if "too large" not in str(error):
                raise
        else:
            raise SystemExit("it was to fail")
        assert log.head.seq == 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.append([Here("said", "on")])
"""


def run(code: str, folder: Path) -> "subprocess.Popen[str]":
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_write_that_ends_at_any_place_is_cut(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with run(LIMITED, tmp_path / "log") as process:
        assert process.wait(60) == 0
    assert texts(tmp_path / "log") == ["on"]
    assert verify(tmp_path / "log", now_at=NOW).problem is None


@pytest.mark.parametrize("new_segment", [False, True])
@pytest.mark.parametrize("failing", [{"fdatasync"}, {"fdatasync", "ftruncate", "unlink"}])
def test_a_sync_that_fails(tmp_path, monkeypatch, failing, new_segment):
    folder, clock = tmp_path / "log", Clock()

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(folder, clock) as log:
        log.append([sent("a"), Here("said", "a")])
        head = log.head
        clock.at += DAY * new_segment
        with monkeypatch.context() as patch:
            for name in failing:
                patch.setattr(os, name, fails)
            for _ in range(3):
                with pytest.raises(LogUnwritable, match="Input/output error"):
                    log.append([sent("b"), Here("said", "b")])
                assert (log.head, log.damage) == (head, None)
                assert not log.has_sent("event", sent("b").sha256)
        clock.at = NOW
        log.append([Here("said", "c")])
        assert texts(folder) == ["a", "c"]
        assert verify(folder, now_at=NOW).problem is None
    with opened(folder) as log:
        assert (log.damage, log.head.seq) == (None, 4)


def test_a_failed_sync_that_took_more_with_it_is_damage(tmp_path, monkeypatch):
    """The kernel may drop pages that it could not write, and read older ones back."""
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        (path,) = segments(folder)

        def loses(descriptor: int) -> None:
            os.pwrite(descriptor, b"?", path.stat().st_size - 1000)
            data = bytearray(path.read_bytes())
            data[300] ^= 1
            path.write_bytes(data)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", loses)
            with pytest.raises(LogUnwritable):
                log.append([Here("said", "b" * 2000)])
        with pytest.raises(LogDamaged, match=r"entry 2: wanted the hash .* after a write that failed"):
            log.append([Here("said", "c")])
        log.start_anew("a write failed")
        log.append([Here("said", "d")])
    assert texts(folder) == ["d"]


@pytest.mark.parametrize("what", ["folder", "segment"])
def test_what_is_deleted_under_the_unit_is_found_and_a_new_log_begins(tmp_path, what):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        head = log.head
        if what == "folder":
            shutil.rmtree(folder)
        else:
            segments(folder)[0].unlink()
        for _ in range(2):
            with pytest.raises(
                LogDamaged, match=r"segment-00000001.jsonl: wanted the newest file of the log"
            ):
                log.append([Here("said", "b")])
        log.expire(synchronised=True)
        assert (log.head, "wanted the newest" in (log.damage or "")) == (head, True)
        log.start_anew("it was deleted")
        assert log.damage is None
        log.append([Here("said", "c")])
        log.keep_picture("a", jpeg(1), NOW + DAY)
    assert [e.note for e in entries(folder)] == [Began("it was deleted", head.sha256), Here("said", "c")]
    assert verify(folder, now_at=NOW).problem is None


def test_a_file_that_was_put_in_the_place_of_another_is_found(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        (path,) = segments(folder)
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").rename(path)
        with pytest.raises(LogDamaged, match="wanted the file that the unit wrote, got another"):
            log.append([Here("said", "b")])
    assert texts(folder) == ["a"]


def test_a_folder_that_was_away_for_a_while(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        folder.rename(tmp_path / "away")
        with pytest.raises(LogDamaged):
            log.append([Here("said", "b")])
        (tmp_path / "away").rename(folder)
        log.append([Here("said", "c")])
        assert log.damage is None
    assert texts(folder) == ["a", "c"]


def test_who_writes_into_the_log_beside_the_unit_is_found(tmp_path):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "a")])
        with segments(folder)[0].open("ab") as file:
            file.write(b"x")
        with pytest.raises(LogDamaged, match=r"wanted .* bytes, got"):
            log.append([Here("said", "b")])


def test_an_old_file_that_is_taken_away_is_found_within_a_minute(tmp_path):
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        for _ in range(3):
            clock.at += DAY
            log.append([Here("said", "a")])
        segments(folder)[1].unlink()
        log.expire(synchronised=True)
        assert "segment-00000002.jsonl: wanted a file of the log, got nothing" in (log.damage or "")


APPENDING = """
import sys, itertools
from pathlib import Path
from edge.worklog.entries import Here
from tests.worklog.logs import DAY, NOW, jpeg, opened, sent
with opened(Path(sys.argv[1]), max_bytes=200_000) as log:
    assert log.damage is None, log.damage
    start = log.head.seq
    for n in itertools.count():
        ref = log.keep_picture(f"{start}-{n}", jpeg(n), NOW + DAY)
        log.append([Here("said", f"{start}-{n}"), sent(f"{start}-{n}", ref)])
        print(f"{start}-{n} {log.head.sha256}", flush=True)
"""


def test_killed_at_any_moment_all_that_was_returned_is_there(tmp_path):
    folder = tmp_path / "log"
    returned: list[str] = []
    last = ""
    for kill in range(6):
        with run(APPENDING, folder) as process:
            assert process.stdout is not None
            returned += [process.stdout.readline().strip() for _ in range(3 + 17 * kill)]
            process.send_signal(signal.SIGKILL)
            returned += [line for line in process.stdout.read().splitlines() if len(line.split()[-1]) == 64]
        last = returned[-1].split()[1]
        found = verify(folder, head=last, now_at=NOW)
        assert found.problem is None
        there = texts(folder)
        wanted = [line.split()[0] for line in returned]
        assert found.from_seq == 1
        missing = [text for text in wanted if text not in there]
        assert missing == []
    with opened(folder) as log:
        assert log.damage is None
