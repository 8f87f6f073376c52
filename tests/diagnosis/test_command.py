"""`deskwatch diagnose` as a technician runs it, beside a real unit and without one; and `cmd/diagnose`."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading

import pytest

from edge.check_report import NARROW_BELOW, lines_of, summary
from edge.control.client import NoUnitHere, ask
from edge.control.protocol import Status as AskStatus
from edge.diagnosis.check import Result, Status
from edge.diagnosis.table import table
from edge.examination import AT_ONCE, Examination
from edge.uplink.allowance import Allowance
from edge.uplink.command_messages import DiagnoseResult
from edge.uplink.commands import NotDone
from edge.uplink.wire import Problem
from tests.broker import until
from tests.daemon import COMMAND

NAMES = [check.name for check in table()]


def diagnose(config, *more):
    words = [COMMAND, "diagnose", "--config", config, *more]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def on_terminal(columns, *words, **environ):
    """Run it on a terminal of so many columns; return its exit code and what the terminal got."""
    master, slave = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **environ}
    process = subprocess.Popen([COMMAND, *words], stdout=slave, stderr=subprocess.DEVNULL, env=env)
    os.close(slave)
    got = bytearray()
    while True:
        if not select.select([master], [], [], 120)[0]:
            process.kill()
            pytest.fail("nothing came for two minutes")
        try:
            data = os.read(master, 65_536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        got += data
    os.close(master)
    return process.wait(60), got.decode().replace("\r\n", "\n")


def result(name, status, value="x", code="", hint=""):
    return Result(name=name, status=Status(status), value=value, limit="", code=code, hint=hint)


def test_a_unit_that_runs_is_asked_and_every_check_has_its_line(daemon):
    daemon.watching()
    done = diagnose(daemon.config, "--json", "--offline")
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["results"]] == NAMES
    assert told["running"], told["silence"]
    assert told["exit_code"] == done.returncode
    by_name = {one["name"]: one for one in told["results"]}
    for name in ("config.readable", "service.running", "spool.integrity", "worker.notice", "errors.recent"):
        assert by_name[name]["status"] == "pass", by_name[name]
    assert by_name["light.works"]["code"] == "not-fitted"
    assert not [one for one in told["results"] if one["code"] == "could-not-run"]
    assert all(one["hint"] for one in told["results"] if one["status"] in {"warn", "fail"})


def test_a_unit_that_was_killed_is_looked_at_all_the_same(daemon):
    daemon.watching()
    daemon.stop(signal.SIGKILL)
    done = diagnose(daemon.config, "--offline")
    assert done.returncode == 2, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith("FAIL: service.running: does not run"), done.stdout
    assert "sudo systemctl start deskwatch" in " ".join(done.stdout.split())


def test_settings_that_cannot_be_used_stop_no_other_check_and_the_unit_is_still_asked(daemon):
    daemon.watching()
    daemon.config.write_text(daemon.config.read_text().replace("tls = false", 'tls = "no"'))
    done = diagnose(daemon.config, "--offline", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 2
    assert told["summary"].startswith("FAIL: config.readable: broker.tls"), told["summary"]
    by_name = {one["name"]: one["status"] for one in told["results"]}
    assert (by_name["service.running"], by_name["memory.available"]) == ("pass", "pass")


def test_a_unit_in_safe_mode_says_so_and_how_to_end_it(daemon):
    daemon.accept_notice()
    (daemon.folder / "policy.json").write_text(json.dumps(daemon.policy))
    with daemon.log.open("a") as log:
        daemon.process = subprocess.Popen(
            [COMMAND, "run", "--safe", "--config", daemon.config], stdout=log, stderr=log
        )
    until(lambda: _capture(daemon) == "safe-mode", "safe mode")
    done = diagnose(daemon.config, "--only", "service.running")
    assert done.returncode == 2
    assert "systemctl reset-failed deskwatch; sudo systemctl start deskwatch" in " ".join(done.stdout.split())


def _capture(daemon):
    try:
        return ask(daemon.state, AskStatus()).facts["capture.state"]
    except NoUnitHere:  # not yet
        return None


@pytest.mark.parametrize("glob", ["", "nothing.*", "CONFIG.*"])
def test_a_glob_that_fits_nothing_is_wrong_usage(tmp_path, glob):
    done = diagnose(tmp_path / "unit.toml", "--only", glob)
    assert (done.returncode, done.stdout) == (64, "")
    assert "config.*" in done.stderr


def test_only_what_was_asked_for_is_run(tmp_path):
    done = diagnose(tmp_path / "unit.toml", "--only", "config.*", "--json")
    assert done.returncode == 2
    assert [one["code"] for one in json.loads(done.stdout)["results"]] == ["missing"]


@pytest.mark.parametrize("columns", [40, 50, 80, 100])
def test_it_fits_the_terminal_and_what_to_do_stands_below_what_is_wrong(tmp_path, columns):
    words = ("diagnose", "--config", str(tmp_path / "unit.toml"), "--offline")
    code, got = on_terminal(columns, *words)
    lines = re.sub(r"\033\[[0-9;]*m", "", got).splitlines()
    assert code == 2, got
    assert max(map(len, lines)) <= columns, max(lines, key=len)
    assert "\033[1;31mFAIL" in got
    assert lines[0].startswith("FAIL: config.readable: there is none")
    at = next(n for n, line in enumerate(lines) if line.startswith("FAIL config.readable"))
    assert "→ Name the unit's settings" in "".join(lines[at + 1 : at + 4])
    assert lines[-2 if columns < 60 else -1] != ""
    plain = on_terminal(columns, *words, NO_COLOR="1")[1]
    assert "\033" not in plain


def test_a_long_table_ends_with_the_sentence_that_it_began_with(tmp_path):
    lines = diagnose(tmp_path / "unit.toml", "--offline").stdout.splitlines()
    sentence = lines[: lines.index("")]
    assert lines[-len(sentence) :] == sentence


def test_the_sentence_names_the_first_that_fails():
    results = [
        result("a.one", "pass"),
        result("a.two", "warn", "hot", "hot"),
        result("b.one", "fail", "expired 3 days ago", "expired"),
        result("b.two", "fail", "no", "no"),
        result("c.one", "skip", "could not run: OSError", "could-not-run"),
    ]
    told = "FAIL: b.one: expired 3 days ago. And 1 more fail, 1 warning, 1 could not run."
    assert summary(results) == told
    assert summary(results[:2]) == "WARN: a.two: hot."
    assert summary(results[4:]) == "COULD NOT RUN: c.one: OSError."
    assert summary(results[:1]) == "PASS: 1 check as wanted."


@pytest.mark.parametrize("width", [1, NARROW_BELOW - 1, NARROW_BELOW, 200])
def test_whatever_a_unit_says_is_one_table_that_steers_no_terminal(width):
    wild = "\x1b[2J\u202e" + "word " * 60
    found = [result(f"n{number}.x\x1b", "fail", wild, "c", wild) for number in range(3)]
    lines = list(lines_of(found, width, colour=False, sort=True))
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= max(30, min(width, 100))


class Unit:
    """What an examination asks, and how it answers."""

    def __init__(self):
        self.go, self.answers = threading.Event(), []
        self.examine = lambda _facts: ()
        self.now_s = 0.0
        allowance = Allowance(AT_ONCE, 300.0, lambda: self.now_s)
        self.examination = Examination(lambda: {"a.b": 1.0}, self._examine, allowance)

    def _examine(self, facts):
        return self.examine(facts)

    def begin(self):
        self.examination.begin(self.answers.append)

    def answered(self, count):
        until(lambda: len(self.answers) == count, "the answer")
        self.examination._thread.join(30)


def test_one_diagnosis_at_a_time_and_whoever_asks_does_not_wait():
    unit = Unit()

    def slow(_facts):
        unit.go.wait(60)
        return (result("a.b", "pass"),)

    unit.examine = slow
    unit.begin()
    with pytest.raises(NotDone, match="one diagnosis at a time") as raised:
        unit.begin()
    assert raised.value.code == "busy"
    assert unit.answers == []
    unit.go.set()
    unit.answered(1)
    assert unit.answers == [DiagnoseResult(facts={"a.b": 1.0}, checks=(result("a.b", "pass"),))]
    unit.begin()
    unit.answered(2)


def test_a_diagnosis_that_breaks_is_answered_and_the_next_one_runs():
    unit = Unit()

    def broken(_facts):
        raise ValueError("/home/alice")

    unit.examine = broken
    unit.begin()
    unit.answered(1)
    assert unit.answers == [Problem(code="failed", problem="the diagnosis broke: ValueError")]
    unit.examine = lambda _facts: ()
    unit.begin()
    unit.answered(2)


def test_nobody_fills_the_worker_s_log_with_diagnoses():
    unit = Unit()
    for count in range(AT_ONCE):
        unit.begin()
        unit.answered(count + 1)
    with pytest.raises(NotDone, match="wanted at most 10 diagnoses"):
        unit.begin()
    unit.now_s = 301.0
    unit.begin()
