"""A repair keeps the unit blocked until it is done: over restarts, and where a disk fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.notebook import TwoPlaces
from edge.repair import REASON_CHARS, UNREADABLE, Repair, RepairError, RepairNotKept
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_store import Disk


class Killed(BaseException):
    """The process ended here."""


class Disks(Disk):
    """A disk that is full for a while, or on which the process ends at a step."""

    def __init__(self, kill_at=None):
        self.full, self.steps, self._kill_at = False, 0, kill_at

    def _step(self):
        if self.full:
            raise OSError(28, "No space left on device")
        if self.steps == self._kill_at:
            raise Killed
        self.steps += 1

    def write(self, path, data):
        self._step()
        super().write(path, data)

    def replace(self, path, target):
        self._step()
        super().replace(path, target)

    def sync_folder(self, path):
        self._step()
        super().sync_folder(path)


class NoSpool:
    """A spool that can be neither read nor written, or cannot be written any more."""

    def __init__(self, *, readable=False):
        self._readable = readable

    def noted(self, name):
        if not self._readable:
            raise SpoolError("spool.db: wanted it whole, got damage")

    def note(self, name, value):
        raise SpoolError("spool.db: wanted it whole, got damage")


@pytest.fixture
def spool(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        yield spool


def repair(folder, spool, disk=None):
    return Repair(TwoPlaces(folder, spool, "repair", disk))


def test_at_first_there_is_none(tmp_path, spool):
    assert repair(tmp_path, spool).why is None
    with pytest.raises(RepairError, match="wanted a repair that is on, got none"):
        repair(tmp_path, spool).end()


def test_it_blocks_until_it_is_done_over_restarts(tmp_path, spool):
    one = repair(tmp_path, spool)
    one.begin("a new lens")
    assert one.why == "a new lens"
    two = repair(tmp_path, spool)
    assert two.why == "a new lens"
    two.end()
    assert two.why is None
    assert repair(tmp_path, spool).why is None


@pytest.mark.parametrize("lost", ["file", "spool"])
def test_one_of_its_two_places_is_enough(tmp_path, spool, lost):
    repair(tmp_path, spool).begin("a new lens")
    if lost == "file":
        (tmp_path / "repair.json").unlink()
    else:
        spool.note("repair", None)
    assert repair(tmp_path, spool).why == "a new lens"


def test_it_is_beside_a_break_and_not_in_its_place(tmp_path, spool):
    TwoPlaces(tmp_path, spool).write("a break")
    repair(tmp_path, spool).begin("a new lens")
    assert TwoPlaces(tmp_path, spool).read() == "a break"
    TwoPlaces(tmp_path, spool).write(None)
    assert repair(tmp_path, spool).why == "a new lens"


def test_a_further_reason_is_added_once(tmp_path, spool):
    one = repair(tmp_path, spool)
    one.begin("the worker's log was changed at entry 812")
    one.begin("a new lens")
    one.begin("the worker's log was changed at entry 812")
    one.begin("new")  # a part of another is a reason of its own
    assert one.why == "the worker's log was changed at entry 812; a new lens; new"
    assert repair(tmp_path, spool).why == one.why


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 1000, "no \udcff text", "two\nlines"])
def test_any_reason_blocks_and_stays_short(tmp_path, spool, reason):
    one = repair(tmp_path, spool)
    for _ in range(2):
        one.begin(reason)
        assert one.why
        assert len(one.why) <= REASON_CHARS
        assert repair(tmp_path, spool).why == one.why
    first = one.why
    one.begin("y" * 1000)
    assert one.why[:4] == first[:4]
    assert len(one.why) <= REASON_CHARS


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe", b"x\non", b"7", b"99999999999999999999\non", b"1\non" + b"x" * 100_000]
)
def test_a_file_that_cannot_be_read_blocks_until_it_is_done(tmp_path, spool, damage):
    (tmp_path / "repair.json").write_bytes(damage)
    one = repair(tmp_path, spool)
    assert one.why == UNREADABLE
    one.turn()
    assert one.why == UNREADABLE
    one.end()
    assert one.why is None
    assert repair(tmp_path, spool).why is None


def test_a_folder_in_the_place_of_the_file_blocks(tmp_path, spool):
    (tmp_path / "repair.json").mkdir()
    assert repair(tmp_path, spool).why == UNREADABLE


def test_a_note_in_the_spool_that_is_none_blocks(tmp_path, spool):
    spool.note("repair", "garbage")
    assert repair(tmp_path, spool).why == UNREADABLE


def test_a_spool_that_cannot_be_read_blocks_until_it_is_mended(tmp_path, spool):
    one = repair(tmp_path, NoSpool())
    assert one.why == UNREADABLE
    one.turn()
    assert one.why == UNREADABLE
    one._store._spool = spool  # as the uplink's thread mends it
    one.turn()
    assert one.why is None


def test_a_reason_takes_the_place_of_what_cannot_be_read(tmp_path, spool):
    (tmp_path / "repair.json").write_bytes(b"garbage")
    one = repair(tmp_path, spool)
    one.begin("a new lens")
    one.turn()
    assert one.why == "a new lens"
    assert repair(tmp_path, spool).why == "a new lens"


def test_a_full_disk_keeps_nobody_from_blocking_and_is_tried_again(tmp_path):
    disk = Disks()
    disk.full = True
    one = repair(tmp_path, NoSpool(readable=True), disk)
    with pytest.raises(RepairNotKept, match=r"blocked: .* would not outlast a restart: .*No space left"):
        one.begin("a new lens")
    one.turn()
    assert one.why == "a new lens"
    assert repair(tmp_path, NoSpool(readable=True)).why is None  # as it said
    disk.full = False
    one.turn()
    assert repair(tmp_path, NoSpool(readable=True)).why == "a new lens"
    one.turn()
    assert disk.steps == 3  # once is enough


def test_an_unreadable_note_does_not_undo_a_begin_that_is_not_kept(tmp_path):
    disk = Disks()
    disk.full = True
    one = repair(tmp_path, NoSpool(), disk)
    with pytest.raises(RepairNotKept):
        one.begin("a new lens")
    one._store._spool = NoSpool(readable=True)  # now it can be read: nothing there
    one.turn()
    assert one.why == "a new lens"


def test_an_end_that_cannot_be_noted_leaves_it_blocked(tmp_path):
    disk = Disks()
    one = repair(tmp_path, NoSpool(readable=True), disk)
    one.begin("a new lens")
    disk.full = True
    with pytest.raises(RepairNotKept, match="the camera stays closed"):
        one.end()
    assert one.why == "a new lens"
    assert repair(tmp_path, NoSpool(readable=True)).why == "a new lens"
    disk.full = False
    one.end()
    assert repair(tmp_path, NoSpool(readable=True)).why is None


def test_killed_amid_a_begin_it_is_on_once_it_returned(tmp_path):
    seen = []
    for step in range(4):
        folder = tmp_path / str(step)
        folder.mkdir()
        with Spool.open(folder / "spool.db") as spool:
            one = repair(folder, spool, Disks(kill_at=step))
            try:
                one.begin("a new lens")
            except Killed:
                seen.append(repair(folder, spool).why)
            else:
                assert repair(folder, spool).why == "a new lens"
    assert seen == [None, None, "a new lens"]


def test_killed_amid_an_end_it_is_on_or_off_and_never_unreadable(tmp_path):
    for step in range(3):
        folder = tmp_path / str(step)
        folder.mkdir()
        with Spool.open(folder / "spool.db") as spool:
            repair(folder, spool).begin("a new lens")
            with pytest.raises(Killed):
                repair(folder, spool, Disks(kill_at=step)).end()
            assert repair(folder, spool).why == ("a new lens" if step < 2 else None)


@given(st.binary(max_size=60))
def test_whatever_stands_in_the_file_it_is_read_or_it_blocks(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("repair")
    (folder / "repair.json").write_bytes(data)
    why = repair(folder, NoSpool(readable=True)).why
    number, newline, text = data.partition(b"\n")
    if newline and number.isdigit() and len(number) < 18:
        try:
            wanted = text.decode() or None
        except UnicodeDecodeError:
            wanted = UNREADABLE
        assert why == wanted
    else:
        assert why == UNREADABLE
