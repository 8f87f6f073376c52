"""Policies that were signed, tried, refused and cut short by a real twin, in the folder that it leaves."""

import datetime as dt

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.policy import CHECKS
from edge.diagnosis.runner import run_check
from edge.facts import policy_facts
from tests.diagnosis.machine import At, assert_found
from tests.diagnosis.patients import patient
from tests.uplink.policies import KEY, NOW, Unit, document

TABLE = {check.name: check for check in CHECKS}
PHASE, VERSION = TABLE
LONG = "2036-01-01T00:00:00Z"


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.key = folder / "operator.pub"
        self.key.write_bytes(KEY.public.pem())
        self.more = {"twin": {"trusted_keys": (self.key,)}, "clock": At(NOW)}
        self.patient()  # makes the folders
        self.unit = Unit(folder / "state")
        self.unit.confirm(7, expires_at=LONG)

    def told(self):
        """Let the unit run, and say itself what it has."""
        self.more["facts"] = policy_facts(self.unit.twin.reported)

    def patient(self):
        return patient(self.folder, **self.more)

    def look(self, name):
        return run_check(TABLE[name], self.patient())


def on_trial(bench):
    assert bench.unit.offer(document(8, expires_at=LONG)) is None
    bench.told()


def cut_short(bench):
    assert bench.unit.offer(document(8, expires_at=LONG)) is None


def refused(bench):
    assert bench.unit.offer(document(3, expires_at=LONG)) == "older-version"
    bench.told()


def rolled_back(bench):
    on_trial(bench)
    bench.unit.wait(130)


def rolled_back_and_told(bench):
    rolled_back(bench)
    bench.told()


def key_gone(bench):
    bench.more["twin"] = {}


def key_gone_and_told(bench):
    bench.unit = Unit(bench.folder / "state", trusted={})
    bench.told()


def notes_damaged(bench):
    path = bench.folder / "state" / "twin" / "twin.json"
    path.write_bytes(path.read_bytes()[:-9])


def own_damaged(bench):
    bench.more["policy"] = b'{"schema": "policy/1"}'


def none_came(bench):
    for path in (bench.folder / "state" / "twin").iterdir():
        path.unlink()


def long_after(bench):
    bench.more["clock"] = At(dt.datetime(2037, 1, 1, tzinfo=dt.UTC))


def behind(bench):
    assert bench.unit.offer(document(8, expires_at=LONG)) is None
    bench.unit.wait(130)
    bench.told()


FAULTS = {
    (PHASE, "trial"): ("warn", on_trial),
    (PHASE, "cut-short"): ("warn", cut_short),
    (PHASE, "refused"): ("warn", refused),
    (PHASE, "rolled-back"): ("warn", rolled_back_and_told),
    (PHASE, "not-believed"): ("fail", key_gone),
    (PHASE, "notes-damaged"): ("warn", notes_damaged),
    (PHASE, "own-unusable"): ("fail", own_damaged),
    (VERSION, "expired"): ("fail", long_after),
    (VERSION, "behind"): ("warn", behind),
    (VERSION, "none-came"): ("warn", none_came),
    (VERSION, "key-unusable"): ("fail", lambda bench: bench.key.write_text("no key")),
    (VERSION, "own-unusable"): ("fail", own_damaged),
}
PROVEN = frozenset(FAULTS)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(bench, name, code):
    status, break_it = FAULTS[name, code]
    break_it(bench)
    folder = bench.folder / "state" / "twin"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert_found(bench.look(name), TABLE[name], code, status)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("break_it", "code"), [(rolled_back, "rolled-back"), (key_gone_and_told, "not-believed")]
)
def test_a_unit_that_runs_and_one_that_does_not_say_the_same(bench, break_it, code):
    break_it(bench)
    if break_it is rolled_back:
        bench.more.pop("facts", None)
    assert bench.look(PHASE).code == code


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("runs", [True, False])
def test_a_confirmed_one_passes(bench, name, runs):
    if runs:
        bench.told()
    result = bench.look(name)
    assert result.status is Status.PASS, result
    assert "version 7" in result.value


def test_a_unit_that_nobody_sends_policies_is_well(tmp_path):
    for check in CHECKS:
        assert run_check(check, patient(tmp_path, clock=At(NOW))).status is Status.PASS


def test_every_hint_is_proven_and_fits_its_line():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN
    assert all(len(hint) <= 256 for check in CHECKS for hint in check.hints.values())
