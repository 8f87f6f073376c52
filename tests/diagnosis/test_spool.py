"""A real spool, as a unit that died has left it: filled, old, refused, damaged, from the future."""

import contextlib
import datetime as dt
import fcntl
import os
import sqlite3
import subprocess
import sys

import pytest

from edge.control.client import ControlDenied, ControlSilent, NoUnitHere
from edge.diagnosis.check import Status
from edge.diagnosis.runner import run_check
from edge.diagnosis.spool import CHECKS
from edge.diagnosis.worker import CHECKS as OF_WORKER
from edge.uplink.lockfile import LockFile, holder_of
from edge.uplink.records import Record
from edge.uplink.spool import Spool
from tests.diagnosis.machine import ROOT, At, assert_found
from tests.diagnosis.patients import patient
from tests.uplink.conftest import NOW, event_message, put_event, thumb_message

TABLE = {check.name: check for check in CHECKS}
INTEGRITY, DEPTH, OLDEST, DEAD, GAPS = TABLE
REPAIR = next(check for check in OF_WORKER if check.name == "worker.repair")
MEBIBYTE = 1 << 20


class Bench:
    def __init__(self, folder, stack):
        self.stack = stack
        self.folder, self.path = folder, folder / "state" / "spool.db"
        self.more = {"clock": At(NOW + dt.timedelta(hours=1))}
        with self.opened() as spool:
            for _ in range(3):
                put_event(spool)

    def opened(self):
        return Spool.open(self.path, max_bytes=MEBIBYTE)

    def look(self, name):
        return run_check(TABLE[name], patient(self.folder, spool={"max_bytes": MEBIBYTE}, **self.more))


def overwritten(bench):
    """What a card does that fails: pages of something else."""
    with bench.opened() as spool:
        fill(0.5)(bench, spool)
    size = bench.path.stat().st_size
    with bench.path.open("r+b") as file:
        for at in range(8192, size, 16_384):
            file.seek(at)
            file.write(os.urandom(4096))


def a_bit(bench):
    """One that SQLite does not see, for it is in the text of a message."""
    data = bench.path.read_bytes()
    at = data.index(b"cell phone")
    with bench.path.open("r+b") as file:
        file.seek(at)
        file.write(b"c")
        file.seek(at)
        file.write(b"z")


def fill(share):
    def make(bench, spool=None):
        if spool is None:
            with bench.opened() as opened:
                return make(bench, opened)
        while spool.depth().used_bytes < share * MEBIBYTE:
            spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, size_bytes=4000))))
        return None

    return make


def from_the_future(bench):
    with sqlite3.connect(bench.path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()


def of_another_program(bench):
    bench.path.unlink()
    with sqlite3.connect(bench.path) as db:
        db.execute("CREATE TABLE songs (name TEXT)")
    db.close()


def given_away(bench):
    if not ROOT:
        pytest.skip("needs root, to give a file away")
    os.chown(bench.path, 65_534, 65_534)


def held(bench):
    """By a process of its own, which answers nobody."""
    bench.more["trouble"] = NoUnitHere("no unit runs here")
    code = "import sys; from pathlib import Path; from edge.uplink.lockfile import LockFile; "
    code += "LockFile.hold(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, f"{bench.path}.lock"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    bench.stranger = bench.stack.enter_context(subprocess.Popen(words, **pipes))
    bench.stranger.stdout.readline()


def later(**by):
    return lambda bench: bench.more.update(clock=At(NOW + dt.timedelta(**by)))


def refused(bench):
    with bench.opened() as spool:
        [first] = spool.pending(1, alive_at=NOW)
        spool.set_aside(first.position, "0x87 Not authorized")


def skipped_numbers(bench):
    with bench.opened() as spool:
        spool.skip(3)


FAULTS = {
    (INTEGRITY, "damaged"): ("fail", overwritten),
    (INTEGRITY, "newer"): ("fail", from_the_future),
    (INTEGRITY, "denied"): ("fail", given_away),
    (INTEGRITY, "held"): ("fail", held),
    (INTEGRITY, "unusable"): ("fail", of_another_program),
    (DEPTH, "fills"): ("warn", fill(0.85)),
    (DEPTH, "full"): ("fail", fill(0.985)),
    (OLDEST, "waits"): ("warn", later(hours=7)),
    (OLDEST, "given-up-soon"): ("fail", later(days=50)),
    (DEAD, "refused"): ("warn", refused),
    (GAPS, "lost"): ("warn", skipped_numbers),
}
PROVEN = frozenset(FAULTS)


@pytest.fixture
def bench(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Bench(tmp_path, stack)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(bench, name, code):
    status, break_it = FAULTS[name, code]
    break_it(bench)
    before = {path.name: path.read_bytes() for path in bench.path.parent.iterdir()}
    assert_found(bench.look(name), TABLE[name], code, status)
    assert {path.name: path.read_bytes() for path in bench.path.parent.iterdir()} == before


def test_a_message_that_is_not_what_was_written_is_damage(bench):
    a_bit(bench)
    assert_found(bench.look(INTEGRITY), TABLE[INTEGRITY], "damaged", "fail")
    assert bench.look(DEPTH).value == "needs spool.integrity"


@pytest.mark.parametrize("name", TABLE)
def test_a_sound_one_passes(bench, name):
    assert bench.look(name).status is Status.PASS


def test_every_hint_is_proven_and_fits_its_line():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN
    assert all(len(hint) <= 256 for check in CHECKS for hint in check.hints.values())


def test_a_unit_that_uses_it_is_not_disturbed(bench):
    bench.more["trouble"] = ControlDenied("not yours to ask")
    with bench.opened() as spool:
        assert {bench.look(name).status for name in TABLE} == {Status.SKIP}
        put_event(spool)


def test_a_unit_that_runs_says_it_itself(bench):
    facts = {
        "spool.events": 2,
        "spool.thumbnails": 1,
        "spool.used_bytes": MEBIBYTE,
        "spool.oldest_s": 90_000.0,
    }
    bench.more["facts"] = {**facts, "spool.dead_letters": 4, "spool.lost_events": 1}
    said = {name: bench.look(name).code for name in TABLE}
    assert said == {INTEGRITY: "", DEPTH: "full", OLDEST: "waits", DEAD: "refused", GAPS: "lost"}
    bench.more["facts"] = {"spool.error": "spool.db: disk I/O error"}
    assert_found(bench.look(INTEGRITY), TABLE[INTEGRITY], "unusable", "fail")
    assert bench.look(GAPS).value == "needs spool.integrity"


@pytest.mark.parametrize("asked", [NoUnitHere("none"), ControlSilent("no answer in time")])
def test_a_stranger_that_holds_it_is_named(bench, asked):
    """Also where systemd listens in the unit's place, which then seems to be silent."""
    held(bench)
    bench.more["trouble"] = asked
    found = bench.look(INTEGRITY)
    assert (found.code, found.value) == (
        "held",
        f"process {bench.stranger.pid} has it, and no unit answers",
    )
    assert bench.look(DEPTH).status is Status.SKIP


def test_the_holder_is_who_holds_it_now_not_who_wrote_his_number_once(tmp_path):
    path = tmp_path / "lock"
    LockFile.hold(path).release()
    path.write_text("1\n")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder_of(path) in (os.getpid(), 1)  # 1: the kernel names this file by another device
    assert holder_of(tmp_path / "none") is None


def test_none_yet(tmp_path):
    assert run_check(TABLE[INTEGRITY], patient(tmp_path)).status is Status.SKIP


def test_a_file_with_nothing_in_it_is_none_yet(tmp_path):
    """Power failed between the making of the file and of its tables."""
    unit = patient(tmp_path)
    path = unit.config.paths.state / "spool.db"
    path.touch()
    for check in CHECKS:
        found = run_check(check, unit)
        assert (found.status, found.value[:17]) == (Status.SKIP, "there is none yet"), found
    assert run_check(REPAIR, unit).status is Status.PASS
    assert path.stat().st_size == 0
    with Spool.open(path) as spool:
        put_event(spool)
