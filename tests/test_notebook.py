"""A break is kept as long as one of its two places is."""

import pytest

from edge.notebook import NotKept, NotReadable, TwoPlaces
from edge.uplink.spool import Spool
from edge.uplink.twin_store import Disk


class NoDisk(Disk):
    def write(self, path, data):
        raise OSError(28, "No space left on device")


@pytest.fixture
def spool(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        yield spool


def test_either_place_is_enough(tmp_path, spool):
    kept = TwoPlaces(tmp_path, spool)
    assert kept.read() is None
    kept.write("on")
    assert kept.read() == "on"
    spool.note("break", None)
    assert kept.read() == "on"
    kept.write("still on")
    (tmp_path / "break.json").unlink()
    assert kept.read() == "still on"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"x\non", b"99999999999999999999\non"])
def test_a_damaged_file_is_as_none(tmp_path, spool, damage):
    kept = TwoPlaces(tmp_path, spool)
    kept.write("on")
    (tmp_path / "break.json").write_bytes(damage)
    assert kept.read() == "on"


def test_a_place_that_missed_the_end_does_not_bring_the_break_back(tmp_path, spool):
    TwoPlaces(tmp_path, spool).write("on")
    TwoPlaces(tmp_path, spool, disk=NoDisk()).write(None)  # the file still says that it is on
    assert TwoPlaces(tmp_path, spool).read() is None


def test_where_neither_takes_it_that_is_told(tmp_path, spool):
    kept = TwoPlaces(tmp_path, spool, disk=NoDisk())
    spool.close()
    with pytest.raises(NotKept, match=r"break\.json: No space left on device; .*spool\.db"):
        kept.write("on")


def test_a_break_that_is_on_outlasts_an_upgrade(tmp_path, spool):
    """What the version before wrote, it wrote under these names."""
    (tmp_path / "break.json").write_bytes(b"3\non")
    assert TwoPlaces(tmp_path, spool).read() == "on"
    spool.note("break", "4\nstill on")
    assert TwoPlaces(tmp_path, spool).read() == "still on"


def test_each_name_has_places_of_its_own(tmp_path, spool):
    here, there = TwoPlaces(tmp_path, spool), TwoPlaces(tmp_path, spool, "repair")
    here.write("on")
    assert there.read() is None
    there.write("blocked")
    here.write(None)
    assert (here.read(), there.read()) == (None, "blocked")
    assert (tmp_path / "repair.json").read_bytes() == b"1\nblocked"
    assert spool.noted("repair") == "1\nblocked"


def test_both_are_read_where_neither_may_be_missing(tmp_path, spool):
    kept = TwoPlaces(tmp_path, spool)
    assert kept.read_both() is None
    kept.write("on")
    assert kept.read_both() == "on"
    spool.note("break", None)
    assert kept.read_both() == "on"
    spool.note("break", "garbage")
    with pytest.raises(NotReadable, match="spool: wanted the text 'break' behind its number"):
        kept.read_both()
    kept.write("on")
    (tmp_path / "break.json").write_bytes(b"\xff")
    assert kept.read() == "on"
    with pytest.raises(NotReadable, match=r"break\.json"):
        kept.read_both()


def test_a_place_that_cannot_be_read_for_a_while_does_not_bring_back_what_ended(tmp_path, spool):
    class Flaky(Disk):
        well = True

        def read(self, path, max_bytes):
            return super().read(path, max_bytes) if self.well else self.fail()

        def write(self, path, data):
            return super().write(path, data) if self.well else self.fail()

        def fail(self):
            raise OSError(5, "Input/output error")

    disk = Flaky()
    kept = TwoPlaces(tmp_path, spool, disk=disk)
    kept.write("on")
    spool.note("break", None)  # it lost its note, and the file alone knows the number
    assert kept.read() == "on"
    disk.well = False
    kept.write(None)
    disk.well = True
    assert TwoPlaces(tmp_path, spool).read() is None
