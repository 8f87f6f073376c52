"""What the worker and a technician type at the unit, and what they are told."""

import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.cli import main
from edge.control.protocol import (
    AcceptNotice,
    BeginRepair,
    Done,
    EndRepair,
    Refused,
    Resume,
    Status,
    StatusAnswer,
    TakeBreak,
    WithdrawNotice,
)
from edge.control.server import ControlServer
from edge.notebook import TwoPlaces
from edge.notice import Notice, shipped
from edge.policy.breaks import BreakBy
from edge.repair import Repair
from edge.uplink.spool import Spool
from edge.uplink.wire import timestamp

COMMAND = Path(sys.executable).parent / "deskwatch"
FACTS = {"notice.version": "1", "notice.accepted_at": "2026-03-04T23:06:07.089Z"}


class Unit:
    """A unit's state folder, its settings, and what it answers."""

    def __init__(self, folder):
        self.state = folder / "state"
        self.config = folder / "unit.toml"
        self.config.write_text(
            '[unit]\ntenant = "acme"\nid = "cam-1"\n[broker]\nhost = "127.0.0.1"\n'
            f'[paths]\nstate = "{self.state}"\npolicy = "policy.json"\n'
        )
        self.asked = []
        self.answer = lambda request: Done()

    def __call__(self, request):
        self.asked.append(request)
        return self.answer(request)

    def run(self, *arguments):
        try:
            return main([*arguments, "--config", str(self.config)])
        except SystemExit as stop:
            return stop.code


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A unit that does not run, five hours behind UTC."""
    monkeypatch.setenv("TZ", "<-05>5")
    time.tzset()
    yield Unit(tmp_path)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def unit(stopped):
    with ControlServer(stopped.state, stopped):
        yield stopped


def said(capsys):
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def in_minutes(minutes):
    at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    return at, Done(ends_at=timestamp(at))


def test_a_break_starts_and_says_until_when(unit, capsys):
    at, answer = in_minutes(30)
    unit.answer = lambda _: answer
    assert unit.run("break", "--reason", "water") == 0
    assert unit.asked == [TakeBreak("water")]
    clock = at - dt.timedelta(hours=5)
    tomorrow = f"{clock:%A} " if clock.date() != (clock - dt.timedelta(minutes=30)).date() else ""
    until = f"until {tomorrow}{clock:%H:%M} (30 min at most)"
    told = f"On a break {until}: the camera is closed. End it with: deskwatch resume\n"
    assert said(capsys) == (told, "")


def test_the_end_of_a_long_break_names_its_day(unit, capsys):
    at, answer = in_minutes(23 * 60 + 59)
    unit.answer = lambda _: answer
    assert unit.run("break", "--reason", "water") == 0
    clock = at - dt.timedelta(hours=5)
    assert f"until {clock:%A %H:%M} (1439 min at most)" in said(capsys)[0]


def test_a_break_needs_no_reason_and_one_can_be_given(unit, capsys):
    assert unit.run("break") == 0
    assert unit.asked == [TakeBreak("")]
    assert said(capsys)[0] == (
        "On a break: the camera is closed. End it with: deskwatch resume\n"
        'A reason can be given: deskwatch break --reason "water"\n'
    )


def test_what_the_unit_adds_is_told(unit, capsys):
    unit.answer = lambda _: Done("You were on a break already.\x1b[2J")
    assert unit.run("break") == 0
    assert said(capsys)[0].splitlines()[1] == "You were on a break already.·[2J"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("  water \n and\ttea ", "water and tea"),
        ("\x1b[31mred\x00\u202e", "·[31mred··"),
        ("x" * 1000, "x" * 256),
        ("é" * 256, "é" * 256),
        ("no \udcff text", "no ? text"),
        (" \n ", ""),
    ],
)
def test_a_reason_is_one_short_line(unit, typed, sent):
    assert unit.run("break", "--reason", typed) == 0
    assert unit.asked == [TakeBreak(sent)]


@pytest.mark.parametrize(
    ("lasted_s", "words"),
    [(None, ""), (0.0, " It lasted 0 s."), (59.4, " It lasted 59 s."), (725.0, " It lasted 12 min.")],
)
def test_a_break_ends_and_says_how_long_it_was(unit, capsys, lasted_s, words):
    unit.answer = lambda _: Done(lasted_s=lasted_s)
    assert unit.run("resume") == 0
    assert unit.asked == [Resume()]
    assert said(capsys) == (f"The break is over.{words} In the shift, the camera opens again.\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["break"],
        ["resume"],
        ["notice", "--accept"],
        ["notice", "--withdraw"],
        ["repair", "--reason", "a new lens"],
        ["repair", "--done"],
    ],
)
def test_what_the_unit_refuses_is_told_with_exit_code_1(unit, capsys, arguments):
    unit.answer = lambda _: Refused("wanted a break that is on,\ngot none")
    assert unit.run(*arguments) == 1
    out, err = said(capsys)
    assert err == "deskwatch: wanted a break that is on,·got none\n"
    assert out == (f"{shipped().text}\n\nVersion 1 of the notice.\n" if "--accept" in arguments else "")


@pytest.mark.parametrize("arguments", [["break"], ["resume"], ["notice", "--accept"], ["repair", "--done"]])
def test_where_no_unit_runs_that_is_an_error_with_what_to_do(stopped, capsys, arguments):
    assert stopped.run(*arguments) == 2
    first, second = said(capsys)[1].splitlines()
    assert first.endswith("/state/control.sock: no unit runs here")
    assert second.startswith("  what to do: see `systemctl status deskwatch`")


def test_an_answer_to_another_question_is_an_error(unit, capsys):
    unit.answer = lambda _: StatusAnswer({})
    assert unit.run("break") == 2
    assert "wanted it done or refused, got StatusAnswer" in said(capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["repair"], "--reason --done is required"),
        (["repair", "--reason", "x", "--done"], "not allowed with"),
        (["repair", "--reason", " \n"], "wanted a few words, got"),
        (["notice", "--accept", "--withdraw"], "not allowed with"),
        (["break", "--reason"], "expected one argument"),
    ],
)
def test_wrong_usage_is_64_and_nothing_is_asked(unit, capsys, arguments, says):
    assert unit.run(*arguments) == 64
    assert says in said(capsys)[1]
    assert unit.asked == []


def test_the_notice_is_shown_where_no_unit_runs(stopped, capsys):
    assert stopped.run("notice") == 0
    out, err = said(capsys)
    assert out.startswith(shipped().text)
    assert "\nVersion 1 of the notice.\nWhether it is accepted is not known: " in out
    assert out.endswith("no unit runs here\n")
    assert err == ""


def test_the_notice_is_shown_where_there_are_not_even_settings(stopped, capsys):
    stopped.config.unlink()
    assert stopped.run("notice") == 0
    out, _ = said(capsys)
    assert out.startswith(shipped().text)
    assert "Whether it is accepted is not known: " in out
    assert "unit.toml: wanted a readable TOML file" in out


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            StatusAnswer(FACTS),
            "Accepted on 2026-03-04 at 18:06. To take that back: deskwatch notice --withdraw",
        ),
        (
            StatusAnswer({**FACTS, "notice.accepted_at": None}),
            "Not accepted: nothing is captured. To accept it: deskwatch notice --accept, or the button",
        ),
        (
            StatusAnswer({**FACTS, "notice.version": "2"}),
            "The unit runs with version 2, not this one: systemctl restart deskwatch",
        ),
        (StatusAnswer({}), "Whether it is accepted is not known: the unit does not say"),
        (Refused("busy"), "Whether it is accepted is not known: the unit does not say"),
        (StatusAnswer({**FACTS, "notice.accepted_at": "\x1bnow"}), "Accepted on ·now. To take"),
    ],
)
def test_the_notice_says_whether_it_is_accepted(unit, capsys, answer, says):
    unit.answer = lambda _: answer
    assert unit.run("notice") == 0
    assert unit.asked == [Status()]
    assert says in said(capsys)[0]


def test_a_repair_begins_and_ends(unit, capsys):
    assert unit.run("repair", "--reason", " a new\nlens ") == 0
    assert unit.run("repair", "--done") == 0
    assert unit.asked == [BeginRepair("a new lens"), EndRepair()]
    began, done = said(capsys)[0].splitlines()
    assert "the camera stays closed, over restarts" in began
    assert began.endswith("deskwatch repair --done")
    assert done.startswith("The repair is done")


def test_notice_and_repair_are_what_the_unit_goes_by(stopped, tmp_path, capsys):
    """With the parts that a unit has behind its socket."""
    stopped.state.mkdir()
    with Spool.open(stopped.state / "spool.db") as spool:
        notice, repair = Notice(stopped.state), Repair(TwoPlaces(stopped.state, spool, "repair"))

        def handle(request):
            match request:
                case AcceptNotice(version=version):
                    notice.accept(version, BreakBy.LOCAL, dt.datetime.now(dt.UTC))
                case WithdrawNotice():
                    notice.withdraw()
                case BeginRepair(reason=reason):
                    repair.begin(reason)
                case EndRepair():
                    repair.end()
                case _:
                    return StatusAnswer(notice.facts())
            return Done()

        stopped.answer = handle
        with ControlServer(stopped.state, stopped):
            assert stopped.run("notice") == 0
            assert "Not accepted" in said(capsys)[0]
            assert stopped.run("notice", "--accept") == 0
            assert "\nAccepted. " in said(capsys)[0]
            assert notice.accepted
            assert stopped.run("notice") == 0
            assert "\nAccepted on 20" in said(capsys)[0]
            assert stopped.run("notice", "--withdraw") == 0
            assert said(capsys)[0].startswith("Withdrawn: nothing is captured")
            assert not notice.accepted

            assert stopped.run("repair", "--done") == 1
            assert "wanted a repair that is on, got none" in said(capsys)[1]
            assert stopped.run("repair", "--reason", "a new lens") == 0
            assert repair.why == "a new lens"
            assert stopped.run("repair", "--done") == 0
            assert repair.why is None


def test_another_text_of_the_unit_is_not_accepted_by_this_one(unit, capsys, tmp_path):
    theirs = Notice(tmp_path, text="version: 2\nMore.\n")

    def handle(request):
        theirs.accept(request.version, BreakBy.LOCAL, dt.datetime.now(dt.UTC))

    unit.answer = handle
    assert unit.run("notice", "--accept") == 1
    assert "wanted version 2 of the notice accepted, got '1'" in said(capsys)[1]
    assert not theirs.accepted


def test_the_installed_command_does_it(unit):
    unit.answer = lambda _: in_minutes(30)[1]
    done = subprocess.run(
        [COMMAND, "break", "--reason", b"caf\xe9", "--config", unit.config],  # as a Latin-1 terminal has it
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("On a break until ")
    assert unit.asked == [TakeBreak("caf?")]


def test_the_settings_are_looked_for_where_a_unit_has_them(capsys):
    with pytest.raises(SystemExit):
        main(["break", "--help"])
    assert "/etc/deskwatch/unit.toml" in said(capsys)[0]


def test_the_notice_is_withdrawn_also_where_no_unit_runs(stopped, capsys):
    """The next one that starts here finds it so."""
    stopped.state.mkdir(exist_ok=True)
    notice = Notice(stopped.state)
    notice.accept(notice.version, BreakBy.LOCAL, dt.datetime.now(dt.UTC))
    assert stopped.run("notice", "--withdraw") == 0
    assert "Withdrawn: nothing is captured" in capsys.readouterr().out
    assert not Notice(stopped.state).accepted
