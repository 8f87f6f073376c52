"""Facts of an older or a newer unit, which lack keys or mean other things: no check breaks on them."""

import datetime as dt
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.check_report import lines_of
from edge.clock import SystemClock
from edge.diagnosis.check import Patient, Result, Status
from edge.diagnosis.runner import run_check
from edge.diagnosis.table import table
from edge.status import command
from edge.status.rows import Known
from edge.support.tables import FACTS, FACTS_LEFT_OUT
from edge.uplink.messages import Capture
from tests.diagnosis.patients import patient

NAMES = sorted({*FACTS, *FACTS_LEFT_OUT})
WORDS = st.sampled_from([*map(str, Capture), "covered", "covered,dark", "previous", "trial", "rolled-back"])
VALUES = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 1 << 70).map(float), WORDS
) | st.text(max_size=300)
ODD = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=len(NAMES))
SLOW = ("model.", "disk.", "memory.", "network.", "sockets.", "power.temp")
"""They ask the machine and not the facts, or take long for it."""


@pytest.fixture(scope="module")
def unit() -> Patient:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        yield patient(Path(folder), offline=True, root=root)


@pytest.mark.parametrize("inside", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(facts=ODD)
def test_no_check_breaks_on_facts_that_it_does_not_expect(unit, inside, facts):
    odd = _with(unit, facts, inside=inside)
    results = [run_check(check, odd) for check in table() if not check.name.startswith(SLOW)]
    for result in results:
        assert result.code not in {"could-not-run", "too-slow"}, (result, facts)
        assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
    assert all(line.isprintable() for line in lines_of(results, 60, colour=False))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(facts=ODD)
def test_the_screen_is_drawn_of_whatever_a_unit_says(unit, facts):
    known = Known(_with(unit, facts), [], "", dt.datetime.now(dt.UTC))
    assert all(line.isprintable() for line in command.lines_of(known, 60, colour=False))


def test_a_unit_that_says_nothing_passes_nothing_that_it_has_to_say(unit):
    by_name = {check.name: run_check(check, _with(unit, {})) for check in table()}
    for name in ("broker.auth", "broker.publish", "spool.depth", "camera.frozen", "errors.recent"):
        assert by_name[name].status is not Status.PASS, by_name[name]


def _with(unit: Patient, facts: dict, *, inside: bool = False) -> Patient:
    return Patient(
        SystemClock(),
        unit.config_path,
        unit.config,
        facts=facts,
        offline=True,
        inside=inside,
        root=unit.root,
    )
