"""A break is kept as long as one of its two places is."""

import pytest

from edge.notebook import BREAK_FILE, BREAK_NOTE, NotKept, TwoPlaces
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
    spool.note(BREAK_NOTE, None)
    assert kept.read() == "on"
    kept.write("still on")
    (tmp_path / BREAK_FILE).unlink()
    assert kept.read() == "still on"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"x\non", b"99999999999999999999\non"])
def test_a_damaged_file_is_as_none(tmp_path, spool, damage):
    kept = TwoPlaces(tmp_path, spool)
    kept.write("on")
    (tmp_path / BREAK_FILE).write_bytes(damage)
    assert kept.read() == "on"


def test_a_place_that_missed_the_end_does_not_bring_the_break_back(tmp_path, spool):
    TwoPlaces(tmp_path, spool).write("on")
    TwoPlaces(tmp_path, spool, NoDisk()).write(None)  # the file still says that it is on
    assert TwoPlaces(tmp_path, spool).read() is None


def test_where_neither_takes_it_that_is_told(tmp_path, spool):
    kept = TwoPlaces(tmp_path, spool, NoDisk())
    spool.close()
    with pytest.raises(NotKept, match=r"break\.json: No space left on device; .*spool\.db"):
        kept.write("on")
