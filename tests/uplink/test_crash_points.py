"""Whatever write was the last to reach the disk, reopening gives a state that loses nothing acknowledged.

The spool's own code runs over a SQLite whose file layer writes down each write, truncation, deletion and
sync. Then the power is cut after each of them: the files are built as a disk may hold them, with the last
write torn, or with any of the writes lost that no sync had made durable. The spool is then opened by the
SQLite that it has in service.
"""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge.uplink import schema
from edge.uplink.mark import Mark, Reached
from edge.uplink.records import Kind, Record, Serial
from edge.uplink.reserve import Reserve
from edge.uplink.schema import ROW_BYTES
from edge.uplink.spool import Spool
from tests.uplink.conftest import NOW, event_message, put_event, thumb_message
from tests.uplink.test_gaps import gap_record
from tests.uplink.test_spool import DAY, noted, opened

SECTOR_BYTES = 512
DB, LOG = "spool.db", "spool.db-wal"


@dataclass(frozen=True, slots=True)
class Write:
    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Delete:
    file: str


@dataclass(frozen=True, slots=True)
class Sync:
    file: str


@dataclass(frozen=True, slots=True)
class Marked:
    reached: Reached


@dataclass(frozen=True, slots=True)
class Began:
    call: int


@dataclass(frozen=True, slots=True)
class Returned:
    """A call of the spool's came back, and what is true from then on."""

    call: int
    put: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    """Positions that were released."""
    held: dict[int, tuple[int, Kind, bytes]] = field(default_factory=dict)
    """All that waits, by position."""
    opens: frozenset[str] = frozenset()
    notes: str | None = None


class Recorder(apsw.VFS):
    """SQLite's file layer, with a memory."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        super().__init__("recorder", "unix")

    def xOpen(self, name: Any, flags: list[int]) -> "RecordedFile":  # noqa: N802
        return RecordedFile(self.log, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.log.append(Delete(Path(filename).name))


class RecordedFile(apsw.VFSFile):
    def __init__(self, log: list[Any], name: Any, flags: list[int]) -> None:
        path = name.filename() if hasattr(name, "filename") else name
        self.log, self.name = log, Path(path).name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self.log.append(Write(self.name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self.log.append(Truncate(self.name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self.log.append(Sync(self.name))


class Cursor:
    """As much of `sqlite3.Cursor` as the spool uses."""

    def __init__(self, cursor: Any, rowcount: int) -> None:
        self._cursor, self.rowcount = cursor, rowcount

    def fetchall(self) -> list[Any]:
        return list(self._cursor)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def close(self) -> None:
        self._cursor.close()


class Connection:
    """As much of `sqlite3.Connection` as the spool uses."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path), vfs="recorder")

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        cursor = self._db.execute(sql, tuple(parameters))
        return Cursor(cursor, self._db.changes())

    def executemany(self, sql: str, rows: Any) -> None:
        self._db.executemany(sql, rows)

    def executescript(self, sql: str) -> None:
        self._db.execute(sql).fetchall()

    def close(self) -> None:
        self._db.close()


def held(spool: Spool) -> dict[int, tuple[int, Kind, bytes]]:
    pending = spool.pending(1000, alive_at=NOW)
    return {s.position: (s.seq, s.message.kind, s.message.payload) for s in pending}


def record(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Do some of everything on a spool, and return all that happened, in order."""
    log: list[Any] = []
    recorder = Recorder(log)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda at, **_: Connection(at))
        patch.setattr(Mark, "write", lambda self, reached: log.append(Marked(reached)))
        calls = iter(range(1000))
        for rounds in range(2):
            call = next(calls)
            log.append(Began(call))
            with Spool.open(path, max_bytes=50_000, max_age_s=86_400.0) as spool:
                log.append(Returned(call, held=held(spool), notes=spool.noted("turn")))
                for work in script(spool, rounds):
                    call, before = next(calls), held(spool)
                    log.append(Began(call))
                    seq = work()
                    after = held(spool)
                    log.append(
                        Returned(
                            call,
                            put=(seq,) if seq else (),
                            gone=tuple(before.keys() - after.keys()),
                            held=after,
                            opens=frozenset(o.event_id for o in spool.open_infractions()),
                            notes=spool.noted("turn"),
                        )
                    )
    recorder.unregister()
    return log


def script(spool: Spool, rounds: int) -> Iterator[Callable[[], int | None]]:
    """Give what a unit does, call by call."""

    def put(picture_bytes: int = 0, opens: str | None = None, closes: str | None = None) -> int:
        def build(serial: Serial) -> Record:
            picture = thumb_message(serial, NOW + DAY, picture_bytes)
            messages = (event_message(serial), *((picture,) if picture_bytes else ()))
            return Record(messages, opened(opens) if opens else None, closes)

        return spool.put(build)

    def release(count: int) -> None:
        spool.release([s.position for s in spool.pending(count, alive_at=NOW)])

    yield lambda: put(opens=f"a{rounds}")
    yield lambda: put(9000, opens=f"b{rounds}")
    yield lambda: put(closes=f"a{rounds}")
    yield lambda: spool.note("turn", f"round {rounds}")
    yield lambda: release(2)
    for size in (0, 0, 9000, 0, 14_000, 0, 12_000, 0, 9000):  # beyond the bound: pictures give way
        yield lambda size=size: put(size)
    yield lambda: spool.set_aside(spool.pending(2, alive_at=NOW)[1].position, "0x87")
    yield lambda: release(3) if spool.write_gaps(gap_record) else None
    yield lambda: put(20_000)
    yield lambda: spool.retry_dead_letters() and None
    for _ in range(12):
        yield put
    yield lambda: spool.acknowledge(spool.epoch, 9) and None
    yield lambda: spool.expire(NOW + 2 * DAY) and None
    yield lambda: spool.skip(2)
    yield lambda: spool.write_gaps(gap_record) and None
    yield put


class Disk:
    """What may lie on a disk when the power goes."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.unsynced: list[Write | Truncate] = []
        self.reached: Reached | None = None

    def take(self, op: Any) -> None:
        if isinstance(op, Write | Truncate):
            self.unsynced.append(op)
        elif isinstance(op, Sync):
            self._settle(op.file)
        elif isinstance(op, Delete):
            self._settle(op.file)
            self.synced.pop(op.file, None)
        elif isinstance(op, Marked):
            self.reached = op.reached

    def whole(self) -> dict[str, bytearray]:
        """All writes have arrived."""
        return self._with(self.unsynced)

    def torn(self, chance: random.Random) -> dict[str, bytearray]:
        """Of the last write, some sectors have; the others are as they were."""
        *before, last = self.unsynced
        if not isinstance(last, Write):
            return self._with(before)
        sectors = range(0, len(last.data), SECTOR_BYTES)
        parts = [
            Write(last.file, last.offset + at, last.data[at : at + SECTOR_BYTES])
            for at in sectors
            if chance.random() < 0.5
        ]
        if chance.random() < 0.3:  # in the middle of a sector too
            parts.append(Write(last.file, last.offset, last.data[: chance.randrange(len(last.data))]))
        return self._with([*before, *parts])

    def shuffled(self, chance: random.Random) -> dict[str, bytearray]:
        """Of all that no sync has covered, some writes have arrived, as a disk with a cache has it."""
        return self._with([op for op in self.unsynced if chance.random() < 0.5])

    def _with(self, ops: list[Write | Truncate]) -> dict[str, bytearray]:
        files = {name: bytearray(content) for name, content in self.synced.items()}
        for op in ops:
            apply(files, op)
        return files

    def _settle(self, file: str) -> None:
        for op in self.unsynced:
            if op.file == file:
                apply(self.synced, op)
        self.synced.setdefault(file, bytearray())
        self.unsynced = [op for op in self.unsynced if op.file != file]


def apply(files: dict[str, bytearray], op: Write | Truncate) -> None:
    content = files.setdefault(op.file, bytearray())
    if isinstance(op, Truncate):
        del content[op.size :]
        return
    if len(content) < op.offset:
        content.extend(bytes(op.offset - len(content)))
    content[op.offset : op.offset + len(op.data)] = op.data


@dataclass(slots=True)
class Known:
    """What must be true whenever the power goes now."""

    last: Returned | None = None
    calling: int | None = None
    may_be_gone: set[int] = field(default_factory=set)
    """Positions that the call which has not returned takes away."""
    released: set[int] = field(default_factory=set)
    seq: int = 0
    position: int = 0

    def take(self, op: Any, later: dict[int, Returned]) -> None:
        if isinstance(op, Began):
            self.calling, self.may_be_gone = op.call, set(later[op.call].gone)
            self.released -= later[op.call].held.keys()  # what was set aside is tried again
        elif isinstance(op, Returned):
            self.last, self.calling, self.may_be_gone = op, None, set()
            self.released |= set(op.gone)
            self.seq = max(self.seq, *op.put, *(seq for seq, _, _ in op.held.values()), 0)
            self.position = max(self.position, *op.held, 0)


def check(folder: Path, files: dict[str, bytearray], disk: Disk, known: Known, where: str) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if disk.reached is not None:
        mark = Mark(folder / "spool.mark")
        mark.write(disk.reached)
        mark.close()
    with Spool.open(folder / DB, max_bytes=50_000) as spool:
        assert spool.salvaged is None, where
        if known.last is None:
            assert put_event(spool) == 1
            return
        got = held(spool)
        for position, message in known.last.held.items():
            assert got.get(position) == message or position in known.may_be_gone, (where, position)
        assert not got.keys() & known.released, where
        assert disk.reached is None or disk.reached.epoch == spool.epoch, where
        accounted = {seq for seq, kind, _ in got.values() if kind is not Kind.THUMBNAIL}
        for lost in noted(spool):
            accounted |= set(range(lost.from_seq, lost.to_seq + 1)) if lost.what == "event" else set()
        with spool._file.reading() as db:
            ((used_bytes,),) = db.execute("SELECT SUM(size_bytes) FROM outbound").fetchall()
            ((gaps,),) = db.execute("SELECT COUNT(*) FROM gap").fetchall()
            ((last_seq,),) = db.execute("SELECT last_seq FROM epoch").fetchall()
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], where
        assert spool.depth().used_bytes == (used_bytes or 0) + gaps * ROW_BYTES, where
        if known.calling is None:
            assert frozenset(o.event_id for o in spool.open_infractions()) >= known.last.opens, where
            assert spool.noted("turn") == known.last.notes, where
        assert last_seq >= known.seq, where
        new = put_event(spool)
        assert new > known.seq, where
        assert new > max((seq for seq, _, _ in got.values()), default=0), where
        at = max(spool.pending(1000, alive_at=NOW), key=lambda s: s.position).position
        assert at > known.position, where


@pytest.fixture
def memory() -> Iterator[Path]:
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def cut_everywhere(folder: Path, log: list[Any]) -> int:
    """Cut the power after each write, and check what is there; return how often."""
    later = {op.call: op for op in log if isinstance(op, Returned)}
    chance = random.Random(1)
    disk, known, cuts = Disk(), Known(), 0
    for index, op in enumerate(log):
        disk.take(op)
        known.take(op, later)
        if isinstance(op, Marked | Began | Sync):  # the files may hold what they might before
            continue
        states = {"whole": disk.whole()}
        if disk.unsynced:
            how = chance.choice((disk.torn, disk.shuffled))
            states[how.__name__] = how(chance)
        for name, files in states.items():
            check(folder, files, disk, known, f"cut {index} after {type(op).__name__}, {name}")
            shutil.rmtree(folder)
            cuts += 1
    return cuts


@pytest.fixture
def no_reserve(monkeypatch) -> None:
    """It plays no part here, and takes time."""
    monkeypatch.setattr(Reserve, "make", lambda self: False)


def test_nothing_acknowledged_is_lost_whatever_write_was_the_last(memory, monkeypatch, no_reserve):
    log = record(memory / "recorded" / DB, monkeypatch)
    writes = [op for op in log if isinstance(op, Write)]
    # It would prove little without all that the spool does to its files.
    assert {op.file for op in writes} >= {DB, LOG}
    assert any(isinstance(op, Truncate) and op.file == LOG for op in log)
    assert len(writes) > 300
    assert cut_everywhere(memory / "cut", log) > 600


def test_a_spool_that_does_not_wait_for_the_disk_is_found_out(memory, monkeypatch, no_reserve):
    """The test above could fail: at the setting that SQLite's own manual calls safe enough, it does."""
    with monkeypatch.context() as patch:
        lax = tuple(each.replace("synchronous = FULL", "synchronous = NORMAL") for each in schema.PRAGMAS)
        assert lax != schema.PRAGMAS
        patch.setattr(schema, "PRAGMAS", lax)
        log = record(memory / "recorded" / DB, monkeypatch)
    with pytest.raises(AssertionError, match="cut"):
        cut_everywhere(memory / "cut", log)
