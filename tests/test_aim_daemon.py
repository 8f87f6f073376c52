"""`deskwatch aim` as a technician types it: the real command on a terminal, the real daemon on mock pins."""

import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from edge.aim_desk import AGREED, ASKED, ENDED
from edge.capture.footage import read_image
from edge.control.client import ask
from edge.control.protocol import AimAsk, AimEnd, AimLook, Refused, Status, TakeBreak
from edge.worklog.entries import Here
from edge.worklog.reading import read
from tests.aim_unit import PINS
from tests.broker import collect, subscribed, until
from tests.daemon import COMMAND

SPOT = {"mode": "spot", "mean_interval_s": 28800, "burst_s": 10}


class Unit:
    """A unit that waits between two spot checks, hours apart; its button is pressed from here."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.config, self.state = daemon.config, daemon.state
        self.under = ()
        """What stands before the command, to trace it."""
        daemon.policy["watch"] = SPOT
        daemon.config.write_text(f"{daemon.config.read_text()}\n{PINS}")

    def start(self):
        self.daemon.accept_notice()
        (self.daemon.folder / "policy.json").write_text(json.dumps(self.daemon.policy))
        with self.daemon.log.open("a") as log:
            self.daemon.process = subprocess.Popen(
                [*self.under, sys.executable, "-m", "tests.aim_unit", self.config],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
            )
        waits = lambda: "between-checks" in self.daemon.said() or self.daemon.process.poll() is not None  # noqa: E731
        until(waits, "the unit to wait for its check", 30)
        assert self.daemon.process.poll() is None, self.daemon.said()
        return self

    def does(self, what):
        self.daemon.process.stdin.write(f"{what}\n")
        self.daemon.process.stdin.flush()

    def agree(self):
        self.does("agree")

    def capture(self):
        return ask(self.state, Status()).facts["capture.state"]

    def becomes(self, capture):
        until(lambda: self.capture() == capture, f"the unit to be {capture}", 20)

    def noted(self):
        notes = [entry.note for entry in read(self.state / "log") if hasattr(entry, "note")]
        ours = [note for note in notes if isinstance(note, Here) and note.what in (ASKED, AGREED, ENDED)]
        return [(note.what, note.text) for note in ours]

    def granted(self):
        """Ask over the socket, as the command does, and agree; return the token."""
        token = ask(self.state, AimAsk()).token
        look = lambda: ask(self.state, AimLook(token))  # noqa: E731
        deadline_s = time.monotonic() + 60.0
        self.agree()
        while (answer := look()).picture is None:
            assert answer.phase != "ended", answer
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        return token


class Terminal:
    """`deskwatch aim` on a terminal of 80 by 24."""

    def __init__(self, config, **environ):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm-256color", "COLORTERM": "", "NO_COLOR": "", **environ})
            os.execv(COMMAND, [str(COMMAND), "aim", "--config", str(config)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._came = bytearray()

    @property
    def heard(self):
        return self._came.decode("utf-8", "replace")

    def hears(self, wanted, within_s=30.0):
        deadline_s = time.monotonic() + within_s
        while wanted not in self.heard:
            assert time.monotonic() < deadline_s, self.heard[-500:]
            if not self.more(0.2):
                break
        assert wanted in self.heard, self.heard[-500:]

    def more(self, wait_s):
        if not select.select([self.fd], [], [], wait_s)[0]:
            return True
        try:
            came = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        self._came += came
        return bool(came)

    def screens(self):
        """What was drawn, a screen each, as lines without colours."""
        drawn = self.heard.partition("\x1b[?1049l")[0].replace("\x1b[?25h", "")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-GI-Zm-z]", "", drawn).replace("\r", "")
        return [screen.split("\n") for screen in plain.split("\x1b[H")[1:]]

    def end(self):
        while self.more(10.0):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def unit(daemon, mosquitto):
    mosquitto.start()
    unit = Unit(daemon)
    try:
        yield unit.start()
    finally:
        daemon.process.stdin.close()


def test_a_technician_sees_the_desk_in_the_terminal_once_the_worker_pressed(unit, phone_photo):
    terminal = Terminal(unit.config)
    terminal.hears("Press its button")
    assert unit.capture() == "between-checks"
    unit.agree()
    terminal.hears("brightness")
    unit.becomes("aiming")
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0
    shown = [lines for lines in terminal.screens() if any("▀" in line for line in lines)]
    assert len(shown[0]) <= 24
    pictured = [line for line in shown[0] if "▀" in line]
    height, width = read_image(phone_photo).shape[:2]
    assert {(len(pictured), len(line)) for line in pictured} == {(18, round(36 * width / height))}
    assert len(set(re.findall(r"\x1b\[38;5;(\d+)", terminal.heard))) > 8  # there is something to be seen
    assert [line for line in shown[0] if len(line) > 80] == []
    assert "\x1b[?1049l" in terminal.heard  # nothing stays among the lines one can scroll back to
    after = terminal.heard.rpartition("\x1b[?1049l")[2]
    assert "▀" not in after
    assert "It is over" in after
    unit.becomes("between-checks")
    assert [what for what, _ in unit.noted()] == [ASKED, AGREED, ENDED]
    assert unit.noted()[-1][1] == "the technician is done"


def test_ctrl_c_before_the_press_consents_to_nothing(unit):
    terminal = Terminal(unit.config)
    terminal.hears("Press its button")
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 1
    assert "was not lined up" in terminal.heard
    assert [what for what, _ in unit.noted()] == [ASKED, ENDED]
    unit.does("press")  # the light asks no more: it is for a break
    unit.becomes("break")


def test_a_command_that_is_killed_ends_it(unit):
    terminal = Terminal(unit.config)
    terminal.hears("Press its button")
    unit.agree()
    terminal.hears("brightness")
    os.kill(terminal.pid, signal.SIGKILL)
    unit.becomes("between-checks")
    assert terminal.end() == -signal.SIGKILL
    until(lambda: unit.noted()[-1] == (ENDED, "the technician's command is gone"), "the log to say so", 20)


def test_a_break_ends_it_and_the_terminal_says_why(unit):
    terminal = Terminal(unit.config, NO_COLOR="1")
    terminal.hears("Press its button")
    unit.agree()
    terminal.hears("brightness")
    unit.does("press")
    assert terminal.end() == 0
    assert "a break was taken" in terminal.heard
    assert "▀" not in terminal.heard
    assert "38;5" not in terminal.heard
    unit.becomes("break")
    done = subprocess.run(
        [COMMAND, "aim", "--config", unit.config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the worker's break to be over" in done.stderr


def test_no_picture_goes_where_there_is_no_terminal(unit):
    command = [COMMAND, "aim", "--config", unit.config]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        unit.agree()
        said = ""
        while "brightness" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        said += process.stdout.read()
    assert process.returncode == 0
    assert "it is never written to a file" in said
    assert "\x1b" not in said
    assert "▀" not in said
    assert "%" not in said


def test_a_second_technician_is_refused_and_a_token_is_needed(unit):
    token = unit.granted()
    second = subprocess.run(
        [COMMAND, "aim", "--config", unit.config], capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert "one aim at a time" in second.stderr
    assert isinstance(ask(unit.state, AimLook("x" * 22)), Refused)
    ask(unit.state, AimEnd(token))
    after = ask(unit.state, AimLook(token))
    assert (after.phase, after.picture) == ("ended", None)
    assert isinstance(
        ask(unit.state, AimAsk()), Refused
    )  # a minute has to pass, and then a new press is needed


def test_nothing_of_it_leaves_the_unit_or_touches_its_disk(unit, mosquitto):
    with subscribed(mosquitto, "#") as listener:
        token = unit.granted()
        for _ in range(10):
            answer = ask(unit.state, AimLook(token))
            time.sleep(0.1)
        grid, cols = answer.picture.grid, answer.picture.cols
        files = [path for path in unit.daemon.folder.rglob("*") if path.is_file()]
        ask(unit.state, AimEnd(token))
        unit.becomes("between-checks")
        states = lambda got: any(b'"aiming"' in one.payload for one in got)  # noqa: E731
        said = [one.payload for one in collect(listener, states)]
    rows = [grid[at : at + cols] for at in range(0, len(grid), cols)]
    needles = [row[4:] for row in rows if len(set(row)) > 8] + [base64.b64encode(grid)[400:480]]
    assert len(needles) > 10
    files += [path for path in unit.daemon.folder.rglob("*") if path.is_file()]
    written = [path.read_bytes() for path in set(files) if path.exists()]
    assert len(written) > 4
    assert not [needle for needle in needles for data in (*said, *written) if needle in data]


def test_a_light_that_fails_ends_it(unit):
    token = unit.granted()
    unit.does("short")
    until(lambda: ask(unit.state, AimLook(token)).phase == "ended", "the aim to end", 20)
    unit.becomes("between-checks")
    assert unit.noted()[-1] == (ENDED, "the camera may not be open any more")
    assert isinstance(ask(unit.state, AimAsk()), Refused)


def test_a_break_that_is_typed_ends_it_at_once(unit):
    token = unit.granted()
    ask(unit.state, TakeBreak())
    answer = ask(unit.state, AimLook(token))
    assert (answer.phase, answer.text, answer.picture) == ("ended", "a break was taken", None)
