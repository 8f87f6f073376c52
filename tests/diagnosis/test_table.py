"""The table as a whole: every fault that it knows is proven, hints can be acted on, and the page lists it."""

import importlib
import re

import pytest

from edge.clock import SystemClock
from edge.diagnosis import table as table_module
from edge.diagnosis.check import Patient, Status
from edge.diagnosis.runner import HINTS, run_check
from edge.diagnosis.table import AREAS, checks_of, table
from edge.vision.model_file import checkout

TABLE = table()
CODES = {(check.name, code) for check in TABLE for code in check.hints}
PROVERS = (
    "memory",
    "power",
    "disk",
    "clock",
    "wifi",
    "identity",
    "broker",
    "spool",
    "policy",
    "model",
    "worker",
    "camera",
    "service",
)
WANTED = {
    "config.readable",
    "service.running",
    "service.restarts",
    "service.watchdog",
    "sockets.listening",
    "errors.recent",
    "power.temperature",
    "power.throttled",
    "power.under-voltage",
    "memory.available",
    "disk.free",
    "disk.writable",
    "disk.latency",
    "disk.wear",
    "clock.plausible",
    "clock.synchronised",
    "clock.offset",
    "network.wifi",
    "identity.certificate",
    "identity.key",
    "identity.renewal",
    "broker.dns",
    "broker.tcp",
    "broker.tls",
    "broker.auth",
    "broker.publish",
    "spool.integrity",
    "spool.depth",
    "spool.oldest",
    "spool.dead-letters",
    "spool.gaps",
    "policy.phase",
    "policy.version",
    "model.hash",
    "model.golden",
    "model.latency",
    "light.works",
    "button.works",
    "worker.notice",
    "worker.repair",
    "worker.log",
    "camera.present",
    "camera.rate",
    "camera.frozen",
    "camera.black",
    "camera.exposure",
    "camera.covered",
    "camera.defocused",
    "camera.moved",
}


def test_every_area_can_be_imported():
    assert [check.name for check in TABLE if check.name.endswith(".import")] == []


def test_all_that_was_promised_is_checked_once():
    names = [check.name for check in TABLE]
    assert len(names) == len(set(names))
    assert set(names) >= WANTED


def test_causes_stand_before_effects():
    first = [check.name.partition(".")[0] for check in TABLE]
    order = list(dict.fromkeys(first))
    assert order[0] == "config"
    for cause, effect in (
        ("power", "disk"),
        ("disk", "spool"),
        ("clock", "identity"),
        ("identity", "broker"),
        ("network", "broker"),
        ("broker", "spool"),
        ("model", "service"),
        ("disk", "service"),
        ("service", "camera"),
    ):
        assert order.index(cause) < order.index(effect), (cause, effect)
    assert order[-1] == "errors"


def test_every_fault_that_the_table_knows_is_proven_to_be_found():
    proven = set()
    for name in PROVERS:
        proven |= importlib.import_module(f"tests.diagnosis.test_{name}").PROVEN
    assert proven >= CODES, sorted(CODES - proven)
    assert proven <= CODES, sorted(proven - CODES)


@pytest.mark.parametrize("check", TABLE, ids=lambda check: check.name)
def test_a_hint_is_a_sentence_or_two_of_plain_text(check):
    assert check.hints, check.name
    assert 0.0 < check.timeout_s <= 90.0
    for code, hint in check.hints.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)
        assert 10 <= len(hint) <= 256, (check.name, code, len(hint))
        assert hint.isprintable()
        first = hint.split()[0]
        assert hint[0].isupper() or "." in first or first == "deskwatch", hint
        assert len(re.findall(r"[.!?](?: |$)", hint)) <= 3, hint


@pytest.mark.parametrize("check", TABLE, ids=lambda check: check.name)
def test_the_page_lists_it_with_its_codes(check):
    """docs/diagnosis.md: a row for each check, in the order of the table."""
    page = (checkout() / "docs/diagnosis.md").read_text()
    rows = re.findall(r"^\| `([a-z.-]+)` \| .+ \| (.*) \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == [one.name for one in TABLE]
    assert re.findall(r"`([^`]+)`", dict(rows)[check.name]) == list(check.hints)


def test_the_page_tells_the_codes_of_the_runner():
    page = (checkout() / "docs/diagnosis.md").read_text()
    for code in HINTS:
        assert f"`{code}`" in page


def test_an_area_whose_library_is_broken_could_not_run_and_no_other_is_lost(monkeypatch, tmp_path):
    real = importlib.import_module

    def broken(name):
        if name == "edge.diagnosis.model":
            raise ImportError("libstdc++ is not there")
        return real(name)

    monkeypatch.setattr(table_module.importlib, "import_module", broken)
    (check,) = checks_of("model")
    assert check.name == "model.import"
    found = run_check(check, Patient(SystemClock(), tmp_path / "unit.toml"))
    assert (found.status, found.code) == (Status.SKIP, "could-not-run")
    assert "libstdc++" in found.value
    left = {one.name for one in table()}
    assert left == {one.name for one in TABLE if not one.name.startswith("model.")} | {"model.import"}


def test_the_areas_are_all_that_there_are():
    folder = checkout() / "edge/diagnosis"
    with_checks = {
        path.stem for path in folder.glob("*.py") if re.search(r"^CHECKS\b", path.read_text(), re.MULTILINE)
    }
    assert with_checks == set(AREAS)
