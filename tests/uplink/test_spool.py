"""What was put is there, whatever happens to the process, the disk or the bound."""

import contextlib
import ctypes
import datetime as dt
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink import gaps
from edge.uplink.messages import Lost
from edge.uplink.records import (
    Kind,
    LostRange,
    MessageTooLarge,
    OpenInfraction,
    Outgoing,
    Record,
    Serial,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    SpoolUnwritable,
)
from edge.uplink.spool import ROW_BYTES, Spool
from tests.uplink.conftest import NOW, event_message, jpeg, put_event, thumb_message

DAY = dt.timedelta(days=1)
libc = ctypes.CDLL(None, use_errno=True)


def with_picture(spool: Spool, expires_at: dt.datetime = NOW + DAY) -> int:
    return spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, expires_at))))


def sized(kind: Kind, size_bytes: int) -> Outgoing:
    """A message that counts for exactly `size_bytes`."""
    return Outgoing(kind, "t", jpeg(1, size_bytes - ROW_BYTES - 1), "x", "e")


def waiting(spool: Spool) -> list[tuple[int, Kind]]:
    return [(s.seq, s.message.kind) for s in spool.pending(1000, alive_at=NOW)]


def noted(spool: Spool) -> list[LostRange]:
    with spool._file.reading() as db:
        return [lost for _, lost in gaps.noted(db, 100)]


def opened(name: str) -> OpenInfraction:
    return OpenInfraction(name, "phone", "object", NOW - DAY, NOW)


def test_the_event_comes_first_and_both_know_their_seq(spool):
    assert [with_picture(spool), with_picture(spool)] == [1, 2]
    got = spool.pending(10, alive_at=NOW)
    assert [(s.seq, s.message) for s in got] == [
        (serial.seq, message)
        for serial in (Serial(spool.epoch, 1), Serial(spool.epoch, 2))
        for message in (event_message(serial), thumb_message(serial, NOW + DAY))
    ]
    assert {s.epoch for s in got} == {spool.epoch}
    assert [s.position for s in spool.pending(2, after=got[1].position, alive_at=NOW)] == [
        got[2].position,
        got[3].position,
    ]


def test_seq_and_position_are_never_used_again(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        put_event(spool)
        last = put_event(spool)
        position = spool.pending(10, alive_at=NOW)[-1].position
        spool.release([s.position for s in spool.pending(10, alive_at=NOW)])
        assert spool.depth().used_bytes == 0
    with Spool.open(path) as spool:
        assert put_event(spool) == last + 1
        assert spool.pending(10, alive_at=NOW)[0].position > position


def test_a_build_that_fails_leaves_nothing_and_uses_no_seq(spool):
    def build(serial: Serial) -> Record:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        spool.put(build)
    with pytest.raises(ValueError, match="at least one"):
        spool.put(lambda serial: Record(()))
    assert put_event(spool) == 1
    assert spool.depth().events == 1


def test_each_start_is_a_new_session(tmp_path):
    sessions = []
    for _ in range(3):
        with Spool.open(tmp_path / "spool.db") as spool:
            sessions.append(spool.session)
    assert sessions == [1, 2, 3]


def test_an_expired_picture_is_deleted_and_never_given(spool):
    with_picture(spool, NOW + DAY)
    assert [s.message.kind for s in spool.pending(9, alive_at=NOW + DAY)] == [Kind.EVENT]
    assert spool.expire(NOW + DAY - dt.timedelta(seconds=1)) == 0
    assert spool.expire(NOW + DAY) == 1
    assert (spool.depth().events, spool.depth().thumbnails, spool.lost().expired) == (1, 0, 1)


def test_pictures_give_way_before_events_oldest_first(tmp_path):
    size, notes = 10_000, 1024
    record = Record((sized(Kind.EVENT, size), sized(Kind.THUMBNAIL, size)))
    with Spool.open(tmp_path / "spool.db", max_bytes=4 * size + notes) as spool:
        for _ in range(2):
            spool.put(lambda serial: record)
        assert waiting(spool) == [(1, "event"), (1, "thumbnail"), (2, "event"), (2, "thumbnail")]
        spool.put(lambda serial: Record((sized(Kind.EVENT, size),)))
        assert waiting(spool) == [(1, "event"), (2, "event"), (2, "thumbnail"), (3, "event")]
        spool.put(lambda serial: record)  # its own picture goes last of the pictures, but before an event
        assert waiting(spool) == [(1, "event"), (2, "event"), (3, "event"), (4, "event")]
        spool.put(lambda serial: Record((sized(Kind.EVENT, size),)))
        assert waiting(spool) == [(2, "event"), (3, "event"), (4, "event"), (5, "event")]
        assert (spool.lost().events, spool.lost().thumbnails) == (1, 3)
        assert spool.depth().used_bytes == 4 * size + 2 * ROW_BYTES  # two notes of what is lost
    with Spool.open(tmp_path / "spool.db", max_bytes=2 * size + notes) as spool:  # the counts are durable
        assert waiting(spool) == [(4, "event"), (5, "event")]
        assert (spool.lost().events, spool.lost().thumbnails) == (3, 3)


def test_a_message_larger_than_the_bound_is_refused_whole(tmp_path):
    with Spool.open(tmp_path / "spool.db", max_bytes=20_000) as spool:
        put_event(spool)
        with pytest.raises(MessageTooLarge, match=r"at most 20000 bytes.*got 40"):
            with_picture(spool)
        assert waiting(spool) == [(1, "event")]
        assert spool.lost().events == 0
        assert put_event(spool) == 2


def test_what_is_set_aside_is_kept_out_of_the_way_and_gives_way_first(tmp_path):
    size = 10_000
    with Spool.open(tmp_path / "spool.db", max_bytes=3 * size + ROW_BYTES) as spool:
        for _ in range(3):
            spool.put(lambda serial: Record((sized(Kind.EVENT, size),)))
        second = spool.pending(9, alive_at=NOW)[1]
        spool.set_aside(second.position, "0x87 Not authorized")
        spool.set_aside(second.position, "again")
        assert waiting(spool) == [(1, "event"), (3, "event")]
        (refused,) = spool.refused()
        assert (refused.seq, refused.topic, refused.reason) == (2, "t", "0x87 Not authorized")
        assert (spool.lost().refused, spool.depth().refused, spool.depth().events) == (1, 1, 2)
        spool.put(lambda serial: Record((sized(Kind.EVENT, size),)))
        assert (spool.refused(), waiting(spool)) == ([], [(1, "event"), (3, "event"), (4, "event")])


def test_open_infractions_outlive_the_process_until_closed(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        spool.put(lambda serial: Record((event_message(serial),), opens=opened("a")))
        spool.put(lambda serial: Record((event_message(serial),), opens=opened("b")))
        with pytest.raises(RuntimeError):
            spool.put(lambda serial: (_ for _ in ()).throw(RuntimeError()))
        spool.put(lambda serial: Record((event_message(serial),), closes="a"))
    with Spool.open(tmp_path / "spool.db") as spool:
        assert spool.open_infractions() == [opened("b")]
        spool.put(lambda serial: Record((event_message(serial),), closes="b"))
        assert spool.open_infractions() == []


def test_a_put_calls_whoever_waits(spool):
    calls = []
    spool.notify(lambda: calls.append(spool.depth().events))
    put_event(spool)
    spool.notify(None)
    put_event(spool)
    assert calls == [1]


def test_put_and_release_from_two_threads(spool):
    seen: list[int] = []

    def drain() -> None:
        while len(seen) < 300:
            batch = spool.pending(16, alive_at=NOW)
            seen.extend(s.seq for s in batch)
            spool.release([s.position for s in batch])

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    for _ in range(300):
        put_event(spool)
    reader.join(20)
    assert seen == list(range(1, 301))
    assert spool.depth().used_bytes == 0


def test_the_folder_and_the_file_are_private(tmp_path):
    path = tmp_path / "a" / "state" / "spool.db"
    with Spool.open(path) as spool:
        put_event(spool)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}


def test_a_commit_waits_for_the_disk(spool):
    """No test can cut the power: the two settings that a commit outlives it by are looked at instead."""
    assert spool._file._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert spool._file._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def readable(path: Path, needle: bytes) -> bool:
    """Whether the bytes are in the spool's file, its log, or anything else beside it."""
    return any(needle in each.read_bytes() for each in path.parent.iterdir() if each.is_file())


NEEDLE = jpeg(1)[2000:2064]


def releasing(spool: Spool) -> None:
    spool.release([s.position for s in spool.pending(9, alive_at=NOW)])


def expiring(spool: Spool) -> None:
    assert spool.expire(NOW + DAY) == 1


def giving_way(spool: Spool) -> None:
    for _ in range(3):
        with_picture(spool)
    assert spool.lost().thumbnails
    spool.expire(NOW)  # as the uplink does every minute


@pytest.mark.parametrize("go", [releasing, expiring, giving_way])
def test_a_picture_that_is_gone_cannot_be_read_from_the_disk(tmp_path, go):
    path = tmp_path / "state" / "spool.db"
    with Spool.open(path, max_bytes=100_000) as spool:
        with_picture(spool)
        assert readable(path, NEEDLE)
        go(spool)
        assert not readable(path, NEEDLE)  # nor while the spool is open
    assert not readable(path, NEEDLE)


def test_what_a_killed_process_left_in_the_log_is_wiped_at_the_next_start(tmp_path):
    path, copy = tmp_path / "state" / "spool.db", tmp_path / "copy" / "spool.db"
    with Spool.open(path) as spool:
        with_picture(spool)
        gone = [s.position for s in spool.pending(9, alive_at=NOW)]
        spool._file.write(lambda db: spool._remove(db, gone))  # killed before the wiping
        shutil.copytree(path.parent, copy.parent)
    assert readable(copy, NEEDLE)
    with Spool.open(copy):
        assert not readable(copy, NEEDLE)


def test_events_alone_cost_no_wiping(spool, tmp_path):
    log = tmp_path / "state" / "spool.db-wal"
    put_event(spool)
    releasing(spool)
    assert log.stat().st_size > 0
    with_picture(spool)
    releasing(spool)
    assert log.stat().st_size == 0


def test_skipped_numbers_show_as_a_gap_and_count_as_lost(spool):
    put_event(spool)
    spool.skip(3)
    assert put_event(spool) == 5
    assert spool.lost().events == 3


def test_skipped_numbers_wake_whoever_tells_of_losses(spool):
    calls = []
    spool.notify(lambda: calls.append(1))
    spool.skip(0)
    assert calls == []
    spool.skip(2)
    assert calls == [1]


def test_two_daemons_on_one_spool_are_refused(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path), pytest.raises(SpoolLocked, match=f"spool.db is in use.*process {os.getpid()}"):
        Spool.open(path)
    Spool.open(path).close()


def test_who_is_late_does_nothing_to_a_spool_that_was_closed(tmp_path):
    """A thread that outlives the unit it was of finds the log gone, and must not take that for a loss."""
    path = tmp_path / "spool.db"
    with Spool.open(path) as late:
        put_event(late)
    assert not late.gone()
    with pytest.raises(SpoolError, match="closed"):
        late.recover()
    with Spool.open(path) as spool:
        assert not late.gone()
        with pytest.raises(SpoolError, match="closed"):
            late.recover()
        assert put_event(spool) == 2
        assert waiting(spool) == [(1, Kind.EVENT), (2, Kind.EVENT)]
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_closed_spool_says_so(tmp_path):
    spool = Spool.open(tmp_path / "spool.db")
    spool.close()
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        put_event(spool)


def test_the_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "spool.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(SpoolError, match="another program"):
        Spool.open(path)


def test_a_spool_of_another_version(tmp_path):
    path = tmp_path / "spool.db"
    Spool.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SpoolError, match="wanted version 2 of the spool, got 99"):
        Spool.open(path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(SpoolUnwritable, match="state"):
        Spool.open(tmp_path / "state" / "spool.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=2m") != 0:
        pytest.skip(f"no tmpfs may be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    assert libc.umount2(str(folder).encode(), 2) == 0


MS_RDONLY, MS_REMOUNT = 1, 32


def test_on_a_full_disk_pictures_give_way_and_no_event_is_lost(small_disk):
    path = small_disk / "spool.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(900_000))
    with Spool.open(path) as spool:
        reserve = path.with_suffix(".reserve")
        assert reserve.stat().st_blocks * 512 == 512 << 10  # a quarter of the disk
        seqs = [with_picture(spool) for _ in range(60)]
        assert not reserve.exists()
        assert [seq for seq, kind in waiting(spool) if kind == "event"] == seqs
        assert (spool.lost().events, spool.lost().thumbnails) == (0, 60 - spool.depth().thumbnails)
        assert 0 < spool.depth().thumbnails < 60
        (lost,) = noted(spool)
        assert (lost.what, lost.reason, lost.count) == ("thumbnail", Lost.DISK_FULL, spool.lost().thumbnails)
        ballast.unlink()
        with_picture(spool)
        assert reserve.exists()
        assert waiting(spool)[-1] == (61, "thumbnail")
    with Spool.open(path) as spool:
        assert [seq for seq, kind in waiting(spool) if kind == "event"] == [*seqs, 61]
    assert integrity(path) == "ok"


def test_a_disk_without_any_room_takes_nothing_loses_nothing_and_works_again(small_disk):
    path = small_disk / "spool.db"
    with Spool.open(path) as spool:
        fill(small_disk)
        seqs: list[int] = []
        with pytest.raises(SpoolFull, match=r"spool\.db.*free some space"):
            seqs.extend(put_event(spool) for _ in range(10_000))
        assert len(seqs) > 30  # what the reserve was for
        assert [seq for seq, _ in waiting(spool)] == seqs
        assert spool.lost().events == 0
        (small_disk / "ballast").unlink()
        spool.skip(2)  # the reporter gave up two
        assert put_event(spool) == seqs[-1] + 3
        assert noted(spool) == [
            LostRange("event", spool.epoch, seqs[-1] + 1, seqs[-1] + 2, 2, Lost.DISK_FULL)
        ]
    assert integrity(path) == "ok"


def fill(folder: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass
    assert shutil.disk_usage(folder).free == 0


def test_a_new_spool_needs_some_space(small_disk):
    fill(small_disk)
    with pytest.raises(SpoolFull, match="free some space"):
        Spool.open(small_disk / "state" / "spool.db")
    (small_disk / "ballast").unlink()
    with Spool.open(small_disk / "state" / "spool.db") as spool:
        assert put_event(spool) == 1


def test_a_disk_that_is_full_at_the_start_gives_what_it_holds(small_disk, caplog):
    path = small_disk / "spool.db"
    with Spool.open(path) as spool:
        with_picture(spool)
    path.with_suffix(".reserve").unlink()
    fill(small_disk)
    with Spool.open(path) as spool:
        assert spool.session == 2
        assert waiting(spool) == [(1, "event"), (1, "thumbnail")]
        with pytest.raises(SpoolFull):
            put_event(spool)
        with pytest.raises(SpoolFull):
            releasing(spool)
        (small_disk / "ballast").unlink()
        releasing(spool)  # with room again, the session is written too
        assert put_event(spool) == 2
    with Spool.open(path) as spool:
        assert spool.session == 3
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["session 2 cannot be written yet"]


def test_delivery_on_a_full_disk_uses_the_reserve(small_disk):
    with Spool.open(small_disk / "spool.db") as spool:
        with_picture(spool)
        fill(small_disk)
        releasing(spool)
        assert waiting(spool) == []


def test_a_read_only_folder(small_disk):
    path = small_disk / "state" / "spool.db"
    assert libc.mount(b"tmpfs", str(small_disk).encode(), b"tmpfs", MS_REMOUNT | MS_RDONLY, b"") == 0
    with pytest.raises(SpoolUnwritable, match=r"Read-only.*must be writable"):
        Spool.open(path)


def integrity(path: Path) -> str:
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        db.close()


PUTTER = """
import sys
from pathlib import Path
from edge.uplink.records import Kind, Outgoing, Record
from edge.uplink.spool import Spool
spool = Spool.open(Path(sys.argv[1]))
print("session", spool.session, flush=True)
while True:
    picture = Outgoing(Kind.THUMBNAIL, "t", bytes(40_000), "x", "e")
    seq = spool.put(lambda n: Record((Outgoing(Kind.EVENT, "t", b"%d" % n.seq, "x", "e"), picture)))
    print(seq, flush=True)
"""


def test_kill_9_in_the_middle_of_putting_loses_nothing_that_returned(tmp_path):
    path = tmp_path / "spool.db"
    last = 0
    for session in (1, 3, 5):  # this test's own look at the spool is a session too
        putter = subprocess.Popen([sys.executable, "-c", PUTTER, str(path)], stdout=subprocess.PIPE)
        assert putter.stdout.readline() == b"session %d\n" % session
        lines = [putter.stdout.readline() for _ in range(20 * session)]
        putter.send_signal(signal.SIGKILL)
        lines += putter.stdout.readlines()
        putter.stdout.close()
        putter.wait()
        returned = [int(line) for line in lines if line.endswith(b"\n")]
        assert returned == list(range(last + 1, last + 1 + len(returned)))
        last = returned[-1]
        with Spool.open(path) as spool:
            got = spool.pending(100_000, alive_at=NOW)
            events = [s.seq for s in got if s.message.kind is Kind.EVENT]
            assert events == list(range(1, len(events) + 1))  # none missing, none twice
            assert len(events) >= last  # one may have been kept and not yet said
            assert [s.seq for s in got if s.message.kind is Kind.THUMBNAIL] == events
            assert all(int(s.message.payload) == s.seq for s in got if s.message.kind is Kind.EVENT)
            last = events[-1]
        assert integrity(path) == "ok"
