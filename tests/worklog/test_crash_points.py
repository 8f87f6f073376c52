"""Killed before or after any call that changes the disk, a fresh process finds a sound log and goes on."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.worklog.entries import Began, Here
from edge.worklog.reading import verify
from tests.worklog.logs import DAY, NOW, Clock, entries, jpeg, opened, segments, sent, texts

CHANGING = (
    "pwrite",
    "fsync",
    "fdatasync",
    "ftruncate",
    "truncate",
    "unlink",
    "rename",
    "replace",
    "rmdir",
    "mkdir",
)
BOUNDS = {"max_bytes": 6000, "pictures_max_bytes": 7000}


def at_each_point(patch: pytest.MonkeyPatch, look: Callable[[], None]) -> list[str]:
    """Look before each call; return the calls."""
    points: list[str] = []
    looking = False

    def watched(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            nonlocal looking
            if not looking:
                looking = True
                try:
                    points.append(name)
                    look()
                finally:
                    looking = False
            return real(*args, **kwargs)

        return call

    for name in CHANGING:
        patch.setattr(os, name, watched(name))
    return points


def test_a_log_that_is_written_pruned_and_expired(tmp_path, monkeypatch):
    state, clock = tmp_path / "state", Clock()
    returned: list[str] = []

    def look() -> None:
        assert verify(state / "log", now_at=NOW).problem is None
        with tempfile.TemporaryDirectory(dir=tmp_path) as other:
            shutil.copytree(state, copy := Path(other) / "state")
            with opened(copy / "log", Clock(NOW), **BOUNDS) as log:
                assert log.damage is None
                log.append([Here("said", "after")])
                log.expire(synchronised=True)
            there = texts(copy / "log")
            assert there[-1] == "after"
            assert set(returned[returned.index(there[0]) :] if there[0] in returned else []) <= set(there)
            assert verify(copy / "log", now_at=NOW).problem is None

    with opened(state / "log", clock, **BOUNDS) as log, monkeypatch.context() as patch:
        points = at_each_point(patch, look)
        for number in range(12):
            ref = log.keep_picture(f"ev-{number}", jpeg(number), clock.at + 2 * DAY)
            text = f"{number} {'x' * 300}"
            log.append([Here("said", text), sent(str(number), ref)])
            returned.append(text)
        assert log.pictures_dropped == 10
        assert log.expire(synchronised=True) == 0
        clock.at = NOW + 2 * DAY
        assert log.expire(synchronised=True) == 2
        clock.at = NOW  # it was wrong
        log.append([Here("said", "last")])
        clock.at = NOW + 70 * DAY
        log.expire(synchronised=True)
    assert points.count("unlink") > 15
    assert points.count("ftruncate") == 12
    assert len(segments(state / "log")) == 1


def test_a_log_that_begins(tmp_path, monkeypatch):
    def look() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as other:
            if (tmp_path / "state").exists():
                shutil.copytree(tmp_path / "state", Path(other) / "state")
            with opened(Path(other) / "state" / "log") as log:
                assert log.damage is None
            (first,) = entries(Path(other) / "state" / "log")
            assert first.note == Began("first")

    with monkeypatch.context() as patch:
        points = at_each_point(patch, look)
        opened(tmp_path / "state" / "log").close()
    assert points.count("fdatasync") == 1
    assert points.count("replace") == 2


def test_a_new_log_in_the_place_of_a_damaged_one(tmp_path, monkeypatch):
    state = tmp_path / "state"
    seen: set[str] = set()

    def look() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as other:
            shutil.copytree(state, copy := Path(other) / "state")
            with opened(copy / "log") as log:
                seen.add("damaged" if log.damage else "sound")
                assert log.damage is None or log.damage.startswith("stray: ")
                log.start_anew("again")
                assert log.damage is None
            (first,) = entries(copy / "log")
            assert first.note == Began("again" if "sound" not in seen else "a stray file", before)
            assert list((copy).rglob("segment-00000001.jsonl")) != []

    with opened(state / "log") as log:
        log.append([sent("a", log.keep_picture("a", jpeg(1), NOW + DAY))])
    (state / "log" / "stray").write_text("")
    with opened(state / "log") as log, monkeypatch.context() as patch:
        before = log.head.sha256
        points = at_each_point(patch, look)
        log.start_anew("a stray file")
    assert points.count("rename") == 3
    assert seen == {"damaged", "sound"}


def test_what_is_wiped_is_zeros_before_it_is_let_go(tmp_path, monkeypatch):
    """A file that is emptied leaves its blocks to be found on the disk."""
    folder, clock = tmp_path / "log", Clock()
    let_go: list[bytes] = []
    real = os.ftruncate

    def look(descriptor: int, length: int) -> None:
        let_go.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())
        real(descriptor, length)

    with opened(folder, clock) as log, monkeypatch.context() as patch:
        log.keep_picture("a", jpeg(1, 200_001), NOW + DAY)
        clock.at = NOW + DAY
        patch.setattr(os, "ftruncate", look)
        assert log.expire(synchronised=False) == 1
    assert let_go[0] == bytes(200_001)
