"""The log with what does not read in its place, and the logs that were set aside before it."""

from pathlib import Path

import pytest

from edge.worklog.entries import Entry, Here
from edge.worklog.reading import Unread, read_whole, set_aside
from tests.worklog_story import Unit, at


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    unit = Unit(tmp_path)
    with unit.open() as log:
        for hour in range(3):  # a file for each day
            unit.write(log, at(hour, days=hour), Here(f"first {hour}"), Here(f"second {hour}"))
    return unit


def told(unit: Unit) -> list[int | Unread]:
    return [line.seq if isinstance(line, Entry) else line for line in read_whole(unit.log_folder)]


def files(unit: Unit) -> list[Path]:
    return sorted(unit.log_folder.glob("segment-*.jsonl"))


def test_a_sound_log_is_its_entries(unit):
    assert told(unit) == [1, 2, 3, 4, 5, 6, 7]
    assert len(files(unit)) > 1


def test_a_changed_line_stands_in_its_place(unit):
    file = files(unit)[1]
    file.write_bytes(file.read_bytes().replace(b"first", b"worst"))
    (place,) = [index for index, line in enumerate(told(unit)) if isinstance(line, Unread)]
    assert told(unit)[place] == Unread(place + 1, place + 1, changed=True)
    assert len(told(unit)) == 7


def test_a_line_and_a_file_that_are_missing_are_told(unit):
    data = files(unit)[-1].read_bytes().splitlines(keepends=True)
    files(unit)[-1].write_bytes(b"".join(data[1:]))
    assert told(unit) == [1, 2, 3, 4, 5, Unread(6, 6, changed=False), 7]
    files(unit)[-2].unlink()
    assert Unread(4, 6, changed=False) in told(unit)


def test_what_is_being_written_is_not_called_changed(unit):
    with files(unit)[-1].open("ab") as file:
        file.write(b'{"seq":8,"at":"20')
    assert told(unit) == [1, 2, 3, 4, 5, 6, 7]


def test_logs_set_aside_are_listed_the_oldest_first(unit):
    assert set_aside(unit.log_folder) == []
    for number in (2, 10):
        unit.log_folder.with_name(f"log.damaged-{number}").mkdir()
    unit.log_folder.with_name("log.damaged-x").mkdir()
    assert [path.name for path in set_aside(unit.log_folder)] == ["log.damaged-2", "log.damaged-10"]
    assert set_aside(unit.folder / "absent" / "log") == []
