"""Checks run one by one: none that hangs or breaks keeps the others from their turn."""

import threading
from pathlib import Path

import pytest

from edge.check_report import ALL_WELL, FAILS, INCOMPLETE, WARNS, exit_code
from edge.clock import SystemClock
from edge.diagnosis import runner
from edge.diagnosis.check import Check, Patient, Status, Verdict, failed, passed, skipped, warned
from edge.diagnosis.runner import COULD_NOT_RUN, TOO_SLOW, run, run_check
from edge.facts import TOLD_HERE, facts_afar

PATIENT = Patient(SystemClock(), Path("/nowhere/unit.toml"))
INSIDE = Patient(SystemClock(), Path("/nowhere/unit.toml"), facts={}, inside=True)


def check(name, probe, **hints):
    return Check(name, probe, hints, timeout_s=5.0)


def breaks(_patient):
    raise OSError(13, "Permission denied", "/home/alice/secret")


def test_what_a_probe_finds_gets_its_hint():
    found = run_check(
        check("a.b", lambda _: failed("hot", "81 °C", "under 80 °C"), hot="Give it air."), PATIENT
    )
    assert (found.name, found.status, found.code) == ("a.b", Status.FAIL, "hot")
    assert (found.value, found.limit, found.hint) == ("81 °C", "under 80 °C", "Give it air.")


@pytest.mark.parametrize("verdict", [passed("48 °C"), skipped("no sensor")])
def test_what_is_not_wrong_has_no_hint(verdict):
    found = run_check(check("a.b", lambda _: verdict, hot="Give it air."), PATIENT)
    assert (found.status, found.hint, found.code) == (verdict.status, "", "")


def test_a_probe_that_hangs_fails_in_its_time_and_is_not_started_twice():
    release, started = threading.Event(), []

    def hangs(_patient):
        started.append(1)
        release.wait(60)
        return passed("at last")

    slow = Check("a.slow", hangs, {}, timeout_s=0.05)
    try:
        results = run([slow, check("a.next", lambda _: passed("fine"))], PATIENT)
        assert [one.status for one in results] == [Status.FAIL, Status.PASS]
        assert (results[0].code, results[0].hint) == (TOO_SLOW, runner.HINTS[TOO_SLOW])
        assert results[0].limit == "within 0.05 s"
        assert run_check(slow, PATIENT).code == TOO_SLOW
        assert started == [1]
    finally:
        release.set()
    runner._hanging["a.slow"].join(30)
    assert run_check(Check("a.slow", hangs, {}, timeout_s=30.0), PATIENT).status is Status.PASS


@pytest.mark.parametrize("raised", [ZeroDivisionError("seven"), SystemExit(0), KeyboardInterrupt()])
def test_a_probe_that_breaks_could_not_run_and_the_rest_goes_on(raised):
    def broken(_patient):
        raise raised

    results = run([check("a.broken", broken), check("a.next", lambda _: passed("fine"))], PATIENT)
    assert [one.status for one in results] == [Status.SKIP, Status.PASS]
    assert results[0].code == COULD_NOT_RUN
    assert results[0].hint == runner.HINTS[COULD_NOT_RUN]
    assert type(raised).__name__ in results[0].value
    assert exit_code(results) == INCOMPLETE


def test_what_an_error_says_stays_at_the_unit():
    assert "/home/alice/secret" in run_check(check("a.b", breaks), PATIENT).value
    assert run_check(check("a.b", breaks), INSIDE).value == "could not run: PermissionError"


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("/home/alice/policy.json: not there", False),
        ("cannot read '/srv/x'", False),
        ("rules[0].id: wanted a word, got 'Alice'", False),
        ("81 °C, 3 of 10 frames/s, 50/50", True),
        ("/dev/video0 is not there", True),
        ("forgotten", True),
    ],
)
def test_no_path_and_nothing_that_an_error_quotes_leaves_the_unit(text, leaves):
    here = run_check(check("a.b", lambda _: failed("x", text, text), x="Do."), PATIENT)
    away = run_check(check("a.b", lambda _: failed("x", text, text), x="Do."), INSIDE)
    assert (here.value, here.limit) == (text, text)
    wanted = text if leaves else TOLD_HERE
    assert (away.value, away.limit, away.code, away.hint) == (wanted, wanted, "x", "Do.")


@pytest.mark.parametrize("state", ["break", "repair", "watching"])
def test_no_fact_that_leaves_has_a_path_or_a_text_that_somebody_wrote(state):
    said = {
        "capture.state": state,
        "capture.reason": "the dentist",
        "repair.reason": "the dentist" if state == "repair" else None,
        "spool.error": "/home/alice/spool.db: no room",
        "link.last_error": "wanted a broker, got alice.example",
        "camera.fault": "",
        "policy.error_path": "/rules/0/labels",
        "led.fitted": 1.0,
    }
    reason = "the dentist" if state == "watching" else TOLD_HERE
    assert facts_afar(said) == {
        **said,
        "capture.reason": reason,
        "repair.reason": TOLD_HERE if state == "repair" else None,
        "spool.error": TOLD_HERE,
        "link.last_error": TOLD_HERE,
    }


@pytest.mark.parametrize("found", [failed("unheard-of", "x"), None, "pass"])
def test_a_code_without_a_hint_and_a_verdict_that_is_none_could_not_run(found):
    assert run_check(check("a.b", lambda _: found), PATIENT).code == COULD_NOT_RUN


def test_texts_are_one_line_that_steers_no_terminal_and_fit_the_wire():
    value = "a\x1b[2J\nb\ud800" + "€" * 400
    found = run_check(check("a.b", lambda _: Verdict(Status.FAIL, value, code="x"), x="Do."), PATIENT)
    assert found.value.startswith("a·[2J b·€")
    assert len(found.value) == 256
    assert found.value.isprintable()


def test_only_what_fits_the_glob_runs_in_the_order_of_the_table():
    ran = []

    def noted(name):
        return check(name, lambda _: (ran.append(name), passed(""))[1])

    checks = [noted("b.one"), noted("a.two"), noted("b.three")]
    assert [one.name for one in run(checks, PATIENT, "b.*")] == ["b.one", "b.three"] == ran


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], ALL_WELL),
        ([passed("")], ALL_WELL),
        ([passed(""), skipped("")], ALL_WELL),
        ([passed(""), warned("x", "")], WARNS),
        ([warned("x", ""), failed("x", ""), passed("")], FAILS),
    ],
)
def test_the_exit_code_is_that_of_the_worst(verdicts, code):
    checks = [check(f"a.{n}", lambda _, v=v: v, x="Do.") for n, v in enumerate(verdicts)]
    assert exit_code(run(checks, PATIENT)) == code
