"""Lines for the journal carry their priority, each of them; those for a terminal or a file do not."""

import logging
import subprocess
import sys

import pytest

from edge.journal import JournalFormatter


@pytest.mark.parametrize(
    ("level", "mark"), [("CRITICAL", 3), ("ERROR", 3), ("WARNING", 4), ("INFO", 6), ("DEBUG", 7)]
)
def test_every_line_carries_the_priority(level, mark):
    error = ValueError("one\ntwo")
    info = (type(error), error, None)
    record = logging.LogRecord("edge", getattr(logging, level), "x", 1, "the %s\n", ("end",), info)
    lines = JournalFormatter("%(levelname)s: %(message)s").format(record).splitlines()
    assert lines[0] == f"<{mark}>{level}: the end"
    assert len(lines) == 3
    assert all(line.startswith(f"<{mark}>") for line in lines)


def test_an_empty_line_is_still_one():
    record = logging.LogRecord("edge", logging.ERROR, "x", 1, "", (), None)
    assert JournalFormatter("%(message)s").format(record) == "<3>"


def test_only_the_stream_that_the_journal_named_is_marked(tmp_path):
    code = (
        "import os, sys; from edge.journal import to_journal; found = os.fstat(2);"
        "print(to_journal({'JOURNAL_STREAM': f'{found.st_dev}:{found.st_ino}'}),"
        " to_journal({'JOURNAL_STREAM': '1:2'}), to_journal({}))"
    )
    with (tmp_path / "stderr").open("w") as stderr:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, check=True)
    assert done.stdout.decode().split() == ["True", "False", "False"]
