"""Certificates of a CA of one's own, good and bad in each way that a unit meets."""

import os
import shutil

import pytest

from edge.diagnosis.check import Status
from edge.diagnosis.identity import CHECKS
from edge.diagnosis.runner import run_check
from edge.provision.pairs import Identity
from tests.certificates import Authority
from tests.diagnosis.machine import ROOT, assert_found
from tests.diagnosis.patients import UNIT, days_on, patient

TABLE = {check.name: check for check in CHECKS}
CERTIFICATE, KEY, RENEWAL, CA = (
    f"identity.{name}" for name in ("certificate", "key", "renewal", "authority")
)


class Bench:
    """A unit with a pair of its CA, before something is done to it."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.broker = {"host": "broker.example.com", "port": 8883}
        self.more = {}
        self.use(self.authority.issue(UNIT, until_days=90), self.authority)

    def use(self, pair, authority):
        pair.key.chmod(0o600)
        self.broker |= {
            "certificate_file": pair.certificate,
            "key_file": pair.key,
            "ca_file": authority.file,
        }
        self.pair = pair

    def patient(self):
        return patient(self.folder, broker=self.broker, **self.more)


def unencrypted(bench):
    bench.broker = {"host": "broker.example.com", "port": 1883}


def no_pair(bench):
    bench.broker = {"host": "broker.example.com", "port": 8883}


def awaited(bench):
    identity = Identity(bench.folder / "identity", UNIT)
    identity.await_first()
    identity.request()
    names = {"certificate_file": "unit.pem", "key_file": "unit.key"}
    bench.broker |= {key: identity.folder / name for key, name in names.items()}


def issued(**more):
    return lambda bench: bench.use(bench.authority.issue(more.pop("name", UNIT), **more), bench.authority)


def later(days):
    return lambda bench: bench.more.update(clock=days_on(days))


def garbage(which):
    return lambda bench: bench.broker[which].write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")


def gone(which):
    return lambda bench: bench.broker[which].unlink()


def denied(which):
    def make(bench):
        """The unit's own user may not enter the folder."""
        folder = bench.folder / "closed"
        folder.mkdir()
        path = folder / "file.pem"
        shutil.copy(bench.broker[which], path)
        path.chmod(0o600 if which == "key_file" else 0o644)
        bench.broker[which] = path
        folder.chmod(0o000)
        bench.as_user = 65_534

    return make


def other_key(bench):
    bench.broker["key_file"] = bench.authority.issue("other").key
    bench.broker["key_file"].chmod(0o600)


def other_owner(bench):
    if not ROOT:
        pytest.skip("needs root, to give a file away")
    os.chown(patient(bench.folder).config.paths.state, 65_534, 65_534)


def due(bench):
    later(70)(bench)


def requested(bench):
    due(bench)
    (bench.pair.certificate.parent / "unit.csr").write_text("waits")


def old_ca(bench):
    later(3660)(bench)


FAULTS = {
    (CERTIFICATE, "unencrypted"): ("warn", unencrypted),
    (CERTIFICATE, "none"): ("warn", no_pair),
    (CERTIFICATE, "awaited"): ("fail", awaited),
    (CERTIFICATE, "missing"): ("fail", gone("certificate_file")),
    (CERTIFICATE, "denied"): ("fail", denied("certificate_file")),
    (CERTIFICATE, "damaged"): ("fail", garbage("certificate_file")),
    (CERTIFICATE, "other-unit"): ("fail", issued(name="cam-2")),
    (CERTIFICATE, "expired"): ("fail", issued(from_days=-9, until_days=-1)),
    (CERTIFICATE, "not-yet-valid"): ("fail", issued(from_days=1, until_days=9)),
    (CERTIFICATE, "expires-soon"): ("warn", later(80)),
    (KEY, "missing"): ("fail", gone("key_file")),
    (KEY, "denied"): ("fail", denied("key_file")),
    (KEY, "damaged"): ("fail", garbage("key_file")),
    (KEY, "other-key"): ("fail", other_key),
    (KEY, "readable"): ("fail", lambda bench: bench.pair.key.chmod(0o644)),
    (KEY, "other-owner"): ("fail", other_owner),
    (RENEWAL, "due"): ("warn", due),
    (RENEWAL, "requested"): ("warn", requested),
    (RENEWAL, "previous-in-use"): (
        "warn",
        lambda bench: bench.more.update(facts={"link.identity": "previous"}),
    ),
    (CA, "missing"): ("fail", gone("ca_file")),
    (CA, "denied"): ("fail", denied("ca_file")),
    (CA, "damaged"): ("fail", garbage("ca_file")),
    (CA, "expired"): ("fail", old_ca),
}
PROVEN = frozenset(FAULTS)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.as_user = None
    yield bench
    closed = tmp_path / "closed"
    if closed.exists():
        closed.chmod(0o700)


def look(bench, name):
    """Look, as the user that the unit runs as where one was named: in a child, for root may read all."""
    if bench.as_user is None or not ROOT:
        return run_check(TABLE[name], bench.patient())
    for folder in [bench.folder, *bench.folder.parents]:
        if folder.owner() == "root" and folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    subject = bench.patient()
    os.chown(subject.config.paths.state, bench.as_user, bench.as_user)
    effective = os.geteuid()
    os.seteuid(bench.as_user)
    try:
        return run_check(TABLE[name], subject)
    finally:
        os.seteuid(effective)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(bench, name, code):
    status, break_it = FAULTS[name, code]
    break_it(bench)
    assert_found(look(bench, name), TABLE[name], code, status)


@pytest.mark.parametrize("name", TABLE)
def test_a_good_pair_passes(bench, name):
    assert run_check(TABLE[name], bench.patient()).status is Status.PASS


def test_every_hint_is_proven_and_fits_its_line():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN
    assert all(len(hint) <= 256 for check in CHECKS for hint in check.hints.values())


def test_a_unit_on_its_own_brokers_machine_needs_none(bench):
    bench.broker = {"host": "localhost", "port": 1883}
    assert {run_check(check, bench.patient()).status for check in CHECKS} == {Status.SKIP}


def test_one_of_a_week_is_not_always_about_to_expire(bench):
    issued(until_days=7)(bench)
    assert run_check(TABLE[CERTIFICATE], bench.patient()).status is Status.PASS


def test_what_a_technician_may_not_read_is_no_fault_of_the_unit(bench):
    if not ROOT:
        pytest.skip("needs root, to become another")
    denied("key_file")(bench)
    bench.as_user = None
    subject = bench.patient()
    effective = os.geteuid()
    os.seteuid(65_533)
    try:
        result = run_check(TABLE[KEY], subject)
    finally:
        os.seteuid(effective)
    assert result.status is Status.SKIP
    assert "sudo" in result.value
