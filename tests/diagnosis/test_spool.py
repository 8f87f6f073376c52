"""A real spool, as a unit that died has left it: filled, old, refused, damaged, from the future."""

import datetime as dt
import os
import sqlite3

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.runner import run_check
from edge.diagnosis.spool import CHECKS
from edge.uplink.records import Record
from edge.uplink.spool import Spool
from tests.diagnosis.machine import ROOT, At, assert_found
from tests.diagnosis.patients import patient
from tests.uplink.conftest import NOW, event_message, put_event, thumb_message

TABLE = {check.name: check for check in CHECKS}
INTEGRITY, DEPTH, OLDEST, DEAD, GAPS = TABLE
MEBIBYTE = 1 << 20


class Bench:
    def __init__(self, folder):
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
    return Bench(tmp_path)


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


def test_none_yet(tmp_path):
    assert run_check(TABLE[INTEGRITY], patient(tmp_path)).status is Status.SKIP
