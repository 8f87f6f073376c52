"""A damaged file is no crash loop: what reads is kept, the rest is accounted for."""

import contextlib
import datetime as dt
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge.uplink.aside import KEPT
from edge.uplink.messages import Lost, decode_event
from edge.uplink.records import (
    Kind,
    LostRange,
    Record,
    Salvage,
    SpoolCorrupt,
    Spooled,
    SpoolError,
    SpoolFull,
)
from edge.uplink.spool import Spool
from tests.uplink.conftest import NOW, event_message, put_event
from tests.uplink.test_gaps import gap_record
from tests.uplink.test_spool import DAY, fill, integrity, noted, opened, small_disk, waiting, with_picture

__all__ = ["small_disk"]  # a fixture
PAGE_BYTES = 4096
FIRST, LAST = 6, 60
"""Seqs that wait in `held`; those before were delivered."""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: nothing here is about the disk's speed."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def held(folder: Path) -> list[Spooled]:
    """Make a spool with all there is in it, and return what waits."""
    with Spool.open(folder / "spool.db") as spool:
        for seq in range(1, LAST + 1):
            if seq % 9 == 0:
                with_picture(spool)
            else:
                spool.put(lambda s: Record((event_message(s),), opens=opened(f"open {s.seq}")))
        spool.acknowledge(spool.epoch, FIRST - 1)
        spool.note("break", "until noon")
        spool.remember("a", NOW + DAY, NOW)
        spool.set_aside(spool.pending(1, alive_at=NOW)[0].position, "0x87")
        spool.retry_dead_letters()
        return spool.pending(1000, alive_at=NOW)


def drained(spool: Spool) -> list[Spooled]:
    got = spool.pending(1000, alive_at=NOW)
    spool.release([s.position for s in got])
    return got


@pytest.mark.parametrize(
    "junk", [b"this is no database, " * 100, bytes(5000), b"SQLite format 3\0" + bytes(90)]
)
def test_a_file_that_is_no_database(tmp_path, junk, caplog):
    path = tmp_path / "spool.db"
    path.write_bytes(junk)
    with Spool.open(path) as spool:
        aside = tmp_path / "spool.db.corrupt-1"
        assert spool.salvaged == Salvage(0, None, aside)
        assert aside.read_bytes() == junk
        assert put_event(spool) == 1
        assert noted(spool) == []  # nothing is known to have been there
    with Spool.open(path) as spool:
        assert spool.salvaged is None
    assert "the spool is damaged" in caplog.text


def test_a_file_of_which_nothing_reads_is_told_by_its_mark(tmp_path):
    path = tmp_path / "spool.db"
    held(tmp_path)
    with Spool.open(path) as spool:
        epoch, session = spool.epoch, spool.session
    path.write_bytes(os.urandom(path.stat().st_size))
    with Spool.open(path) as spool:
        assert spool.epoch != epoch
        assert spool.session == session + 1
        assert noted(spool) == [
            LostRange("event", epoch, 1, LAST, None, Lost.CORRUPT),
            LostRange("thumbnail", epoch, 1, LAST, None, Lost.CORRUPT),
        ]
        assert spool.write_gaps(gap_record) == 2
        assert [s.seq for s in drained(spool)] == [1, 2]


def test_what_reads_is_kept_with_its_books(tmp_path):
    path = tmp_path / "spool.db"
    before = held(tmp_path)
    spool = Spool.open(path)
    victim = before[len(before) // 2]
    spool._file.write(
        lambda db: db.execute(  # a byte of one message turns over
            "UPDATE outbound SET payload = zeroblob(700) WHERE position = ?", (victim.position,)
        )
    )
    with pytest.raises(SpoolCorrupt, match=r"spool\.db.*checksum"):
        spool.pending(1000, alive_at=NOW)
    epoch = spool.epoch
    spool.recover()
    assert spool.salvaged is not None
    assert (spool.salvaged.kept, spool.salvaged.lost) == (len(before) - 1, 1)
    assert spool.epoch != epoch
    kept = spool.pending(1000, alive_at=NOW)
    assert kept == [each for each in before if each.position != victim.position]
    assert spool.noted("break") == "until noon"
    assert not spool.remember("a", NOW + DAY, NOW)
    assert len(spool.open_infractions()) == LAST - LAST // 9
    assert LostRange("event", epoch, victim.seq, victim.seq, None, Lost.CORRUPT) in noted(spool)
    with pytest.raises(ValueError, match=f"at most {LAST}"):
        spool.acknowledge(epoch, LAST + 1)
    assert spool.acknowledge(epoch, LAST) == len(kept)
    assert put_event(spool) == 1
    assert spool.pending(9, alive_at=NOW)[0].position > before[-1].position
    salvaged = spool.salvaged
    spool.recover()  # sound: nothing to be done
    assert spool.salvaged is salvaged
    assert put_event(spool) == 2
    spool.close()
    assert integrity(path) == "ok"


UNREADABLE = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""What plain SQLite answers with; the last where a message of its own quotes the damage."""


def readable(path: Path) -> set[int]:
    """Return the positions that plain SQLite reads, row by row from either end, until it fails."""
    found: set[int] = set()
    for order in ("", " DESC"):
        db = sqlite3.connect(path)
        with suppress(*UNREADABLE):
            sql = "SELECT position, payload, topic FROM outbound NOT INDEXED ORDER BY position"
            for position, _, _ in db.execute(sql + order):
                found.add(position)
        with suppress(sqlite3.Error):
            db.close()
    return found


def sane(spool: Spool) -> list[Spooled]:
    """Do all that a unit does, recovering as it does, and return what was delivered."""
    recoveries = 0
    got: dict[int, Spooled] = {}

    def attend(call) -> None:
        nonlocal recoveries
        try:
            call()
        except SpoolCorrupt:
            recoveries += 1
            assert recoveries <= 2
            spool.recover()
            call()

    def drain() -> None:
        for each in spool.pending(1000, alive_at=NOW):
            got[each.position] = each

    attend(drain)
    attend(lambda: put_event(spool))
    attend(lambda: spool.expire(NOW + dt.timedelta(seconds=1), synchronised=True))
    attend(spool.depth)
    attend(spool.open_infractions)
    attend(lambda: spool.remember("b", NOW + DAY, NOW))
    attend(lambda: spool.write_gaps(gap_record))
    attend(drain)
    attend(lambda: spool.release(list(got)))
    attend(lambda: spool.acknowledge(spool.epoch, 0))
    return list(got.values())


@pytest.mark.parametrize("batch", range(8))
def test_garbage_over_any_pages_is_survived(memory, batch):
    original = {s.position: s for s in held(memory)}
    template = memory / "template"
    template.mkdir()
    for name in ("spool.db", "spool.mark"):
        (memory / name).rename(template / name)
    pages = (template / "spool.db").stat().st_size // PAGE_BYTES
    kept_some = 0
    for seed in range(batch * 20, batch * 20 + 20):
        chance = random.Random(seed)
        folder = memory / f"s{seed}"
        shutil.copytree(template, folder)
        path = folder / "spool.db"
        with path.open("r+b") as file:
            for page in chance.sample(range(pages), chance.choice((1, 1, 1, 2, 5, pages // 2))):
                start = chance.choice((0, 0, chance.randrange(PAGE_BYTES)))
                file.seek(page * PAGE_BYTES + start)
                size = min(PAGE_BYTES - start, chance.choice((4, 64, PAGE_BYTES)))
                file.write(chance.randbytes(size))
        copy = folder / "copy.db"
        shutil.copy(path, copy)
        could_read = readable(copy)
        with Spool.open(path) as spool:
            got = sane(spool)
            epochs = {s.epoch for s in original.values()}
            told = [lost for lost in noted(spool) if lost.epoch in epochs and lost.what == "event"]
            gaps = [s for s in got if s.message.kind is Kind.GAP]
            assert spool.depth().events <= 1 + len(told)
        kept = {s.position for s in got if s.position in original}
        kept_some += bool(kept) and len(kept) < len(original)
        for each in got:
            if each.position in original:
                assert each == original[each.position]
        sound = {at for at in could_read & original.keys() if intact(copy, original[at])}
        assert sound <= kept, (seed, sound - kept)
        accounted = {s.seq for s in got if s.position in original} | covered(gaps, told)
        assert accounted >= {s.seq for s in original.values() if s.message.kind is Kind.EVENT}, seed
        assert integrity(path) == "ok"
        with Spool.open(path) as spool:
            assert spool.salvaged is None
            put_event(spool)
        shutil.rmtree(folder)
    assert kept_some > 3


def intact(path: Path, spooled: Spooled) -> bool:
    """Return whether plain SQLite reads a message as it was written."""
    db = sqlite3.connect(path)
    rows: list[tuple[object, ...]] = []
    with suppress(*UNREADABLE):
        rows = db.execute(
            "SELECT payload, topic, seq, event_id, kind FROM outbound WHERE position = ?", (spooled.position,)
        ).fetchall()
    with suppress(sqlite3.Error):
        db.close()
    message = spooled.message
    return rows == [(message.payload, message.topic, spooled.seq, message.event_id, message.kind.value)]


def covered(gaps: list[Spooled], noted_: list[LostRange]) -> set[int]:
    """Return the numbers that gaps account for."""
    told = [decode_event(s.message.payload).data for s in gaps]
    ranges = [(g.from_seq, g.to_seq) for g in told if g.what == "event"]
    ranges += [(lost.from_seq, lost.to_seq) for lost in noted_]
    return {seq for low, high in ranges for seq in range(low, high + 1)}


def test_a_log_that_lost_its_end_uses_no_number_twice(tmp_path):
    """Of a damaged log SQLite silently takes what is before the damage: the mark knows how far it was."""
    path, copy = tmp_path / "a" / "spool.db", tmp_path / "b" / "spool.db"
    with Spool.open(path) as spool:
        epoch = spool.epoch
        for _ in range(5):
            put_event(spool)
        shutil.copytree(path.parent, copy.parent)
    log = copy.with_name("spool.db-wal")
    content = bytearray(log.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    log.write_bytes(content)
    with Spool.open(copy) as spool:
        seqs = [s.seq for s in spool.pending(9, alive_at=NOW)]
        assert len(seqs) < 5
        assert spool.epoch != epoch
        assert spool.salvaged == Salvage(len(seqs), 5 - len(seqs), None)
        assert LostRange("event", epoch, len(seqs) + 1, 5, None, Lost.CORRUPT) in noted(spool)
        assert put_event(spool) == 1
    with Spool.open(copy) as spool:
        assert spool.salvaged is None


@pytest.mark.parametrize("steps", range(9))
def test_a_salvage_that_a_power_cut_ends_is_done_again(tmp_path, monkeypatch, steps):
    """Killed after each move of a file in turn."""
    path = tmp_path / "spool.db"
    before = held(tmp_path)
    with path.open("r+b") as file:
        file.seek(-3 * PAGE_BYTES, 2)
        file.write(os.urandom(PAGE_BYTES))

    class PowerCut(BaseException):
        pass

    left = steps
    rename = Path.rename

    def cut(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise PowerCut
        left -= 1
        return rename(self, target)

    def damaged() -> Spool:
        spool = Spool.open(path)
        try:
            if spool.salvaged is None:
                spool._file._broken = True
                spool.recover()
        except BaseException:
            spool.close()
            raise
        return spool

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        with suppress(PowerCut):
            damaged().close()
    with Spool.open(path) as spool:
        got = sane(spool)
        kept = [s for s in got if s.position <= before[-1].position]
        assert len(kept) >= len(before) - 5
        assert all(each in before for each in kept)
    assert not path.with_name("spool.db.salvaging").exists()
    assert not path.with_name("spool.db.new").exists()


def test_few_damaged_files_are_kept_and_not_for_long(tmp_path):
    path = tmp_path / "spool.db"
    for turn in range(KEPT + 2):
        path.write_bytes(b"junk" * 1000 + bytes([turn]))
        Spool.open(path).close()
    kept = sorted(each.name for each in tmp_path.glob("*corrupt*"))
    assert kept == ["spool.db.corrupt-3", "spool.db.corrupt-4"]
    with Spool.open(path) as spool:
        now_at = dt.datetime.now(dt.UTC)
        spool.expire(now_at)
        assert len(list(tmp_path.glob("*corrupt*"))) == 2
        spool.expire(now_at + 2 * DAY)  # pictures may be in them
        assert not list(tmp_path.glob("*corrupt*"))


@pytest.mark.parametrize("what", ["file", "folder", "log", "replaced"])
def test_a_file_that_is_deleted_under_us_is_made_again_with_all_that_it_held(tmp_path, what):
    path = tmp_path / "state" / "spool.db"
    with Spool.open(path) as spool:
        for _ in range(3):
            with_picture(spool)
        before, epoch = spool.pending(99, alive_at=NOW), spool.epoch
        assert not spool.gone()
        if what == "folder":
            shutil.rmtree(path.parent)
        elif what == "log":
            path.with_name("spool.db-wal").unlink()
        else:
            path.unlink()
        if what == "replaced":
            path.write_bytes(b"junk")
        assert spool.gone()
        spool.recover()
        assert not spool.gone()
        assert spool.pending(99, alive_at=NOW) == before
        assert (spool.epoch, put_event(spool)) == (epoch, 4)
        assert noted(spool) == []
    with Spool.open(path) as spool:
        assert (spool.epoch, spool.session) == (epoch, 2)
        assert waiting(spool)[-1] == (4, "event")
    assert integrity(path) == "ok"


def test_a_file_that_was_deleted_between_two_starts_is_accounted_for(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        epoch = spool.epoch
        for _ in range(7):
            put_event(spool)
    path.unlink()
    with Spool.open(path) as spool:
        assert spool.session == 2
        assert spool.epoch != epoch
        assert LostRange("event", epoch, 1, 7, None, Lost.CORRUPT) in noted(spool)
    with Spool.open(path) as spool:
        assert len(noted(spool)) == 2


def test_on_a_full_disk_events_are_salvaged_before_pictures(small_disk):
    path = small_disk / "spool.db"
    with Spool.open(path) as spool:
        for _ in range(15):
            with_picture(spool)
    with path.open("r+b") as file:
        file.seek(0)
        head = file.read(PAGE_BYTES)
        file.seek(60)
        file.write(b"\xff" * 4)  # the version: nothing else is harmed
    assert head
    fill(small_disk)
    with Spool.open(path) as spool:
        events = [seq for seq, kind in waiting(spool) if kind == "event"]
        assert events == list(range(1, 16))
        assert spool.depth().thumbnails < 15
        assert LostRange("thumbnail", noted(spool)[-1].epoch, 1, 15, None, Lost.CORRUPT) in noted(spool)


def test_a_disk_with_no_room_for_a_salvage_says_so_and_keeps_all(small_disk):
    path = small_disk / "spool.db"
    with Spool.open(path) as spool:
        for _ in range(5):
            put_event(spool)
        spool._file._reserve.give_up()
    with path.open("r+b") as file:
        file.seek(60)
        file.write(b"\xff" * 4)
    fill(small_disk)
    for _ in range(2):
        with pytest.raises(SpoolFull):
            Spool.open(path)
    (small_disk / "ballast").unlink()
    with Spool.open(path) as spool:
        assert [seq for seq, _ in waiting(spool)] == [1, 2, 3, 4, 5]


def test_damage_that_is_met_while_the_bound_is_kept_at_the_start_is_no_crash_loop(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        spool.skip(1)
        for _ in range(20):
            put_event(spool)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE gap SET count = 'x', reason = 'spool-full'")
        db.commit()
    with Spool.open(path, max_bytes=9_000) as spool:
        assert spool.salvaged is not None
        assert not spool.damaged
        put_event(spool)


def test_damage_that_anybody_met_is_known_until_it_is_mended(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        put_event(spool)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE outbound SET payload = x'00'")
        db.commit()
    with Spool.open(path) as spool:
        assert not spool.damaged
        with pytest.raises(SpoolCorrupt):
            spool.pending(1, alive_at=NOW)
        assert spool.damaged
        spool.recover()
        assert not spool.damaged


def test_a_disk_that_fails_is_not_taken_for_damage(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        spool._file._db.close()
        with pytest.raises(SpoolError) as raised:
            put_event(spool)
        assert not isinstance(raised.value, SpoolCorrupt)
