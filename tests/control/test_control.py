"""The control socket: what is asked is done and answered, and no client harms the unit or the next client."""

import contextlib
import json
import logging
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.control import server as server_module
from edge.control.client import ControlCut, ControlDenied, ControlSilent, NoUnitHere, ask
from edge.control.listening import ControlTaken, listen
from edge.control.protocol import (
    MAX_LINE_BYTES,
    AcceptNotice,
    BeginRepair,
    Done,
    EndRepair,
    NotUnderstood,
    Refused,
    Resume,
    Status,
    StatusAnswer,
    TakeBreak,
    WithdrawNotice,
    line_of,
    read_answer,
    read_request,
)
from edge.control.server import CONNECTIONS_MAX, ControlServer
from edge.errors import EdgeError
from tests.broker import until

LONG_S = 60.0
FDS = Path("/proc/self/fd")


def descriptors():
    return len(list(FDS.iterdir()))


class Unit:
    """A handler that keeps what it was asked, and answers as it is told to."""

    def __init__(self):
        self.asked = []
        self.answer = lambda request: Done()

    def __call__(self, request):
        self.asked.append(request)
        return self.answer(request)


@pytest.fixture
def unit():
    return Unit()


@pytest.fixture
def served(tmp_path, unit):
    with ControlServer(tmp_path / "state", unit) as served:
        yield served


@pytest.fixture
def folder(tmp_path, served):
    return tmp_path / "state"


@contextlib.contextmanager
def connected(folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(LONG_S)
        raw.connect(str(folder / "control.sock"))
        yield raw


def let_in(raw, folder):
    """Connect, unless the backlog is full for the moment."""
    try:
        raw.connect(str(folder / "control.sock"))
    except BlockingIOError:
        return False
    return True


def heard(raw):
    """Return all that comes until the other end closes, whichever way."""
    said = b""
    try:
        while came := raw.recv(65_536):
            said += came
    except ConnectionResetError:
        pass
    return said


def raising(error):
    def answer(_request):
        raise error

    return answer


EVERY = [
    Status(),
    TakeBreak(),
    TakeBreak("water"),
    Resume(),
    AcceptNotice("1"),
    WithdrawNotice(),
    BeginRepair("a new lens"),
    EndRepair(),
]


@pytest.mark.parametrize("request_", EVERY)
@pytest.mark.parametrize(
    "answer",
    [
        Done(),
        Done("on", ends_at="2026-03-04T05:06:07.089Z", lasted_s=1.5),
        Refused("no ünit\nhere"),
        StatusAnswer({"a": "b", "c": 1.5, "d": None}),
    ],
)
def test_what_is_asked_arrives_and_the_answer_comes_back(folder, unit, request_, answer):
    unit.answer = lambda _: answer
    assert ask(folder, request_, LONG_S) == answer
    assert unit.asked == [request_]


def test_only_the_units_own_user_may_ask(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    mode = (folder / "control.sock").lstat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_group_may_ask_too_where_one_is_named(tmp_path, unit):
    import grp

    mine = grp.getgrgid(os.getgid()).gr_name
    before = os.umask(0o077)  # which would take the group's rights away again
    try:
        with ControlServer(tmp_path, unit, group=mine):
            assert stat.S_IMODE((tmp_path / "control.sock").lstat().st_mode) == 0o660
            assert (tmp_path / "control.sock").lstat().st_gid == os.getgid()
    finally:
        os.umask(before)


def test_a_group_that_is_none_is_told_and_does_not_end_the_unit(tmp_path, unit, caplog):
    with ControlServer(tmp_path, unit, group="nobody-is-in-it") as served:
        assert "wanted a group of this system, got 'nobody-is-in-it'" in served.trouble
    assert "nobody-is-in-it" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_path_longer_than_a_sockets_address_works(tmp_path, unit):
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    with ControlServer(folder, unit):
        assert ask(folder, Status(), LONG_S) == Done()
    assert list(folder.iterdir()) == []


def test_the_socket_is_gone_after_a_clean_end(tmp_path, unit):
    before = threading.active_count(), descriptors()
    for _ in range(3):  # starting over is a second life in one process
        with ControlServer(tmp_path, unit):
            assert ask(tmp_path, Status(), LONG_S) == Done()
        assert list(tmp_path.iterdir()) == []
    assert (threading.active_count(), descriptors()) == before
    with pytest.raises(NoUnitHere, match="no unit runs here"):
        ask(tmp_path, Status(), LONG_S)


def test_the_socket_of_a_killed_unit_is_replaced(tmp_path, unit):
    listen(tmp_path).socket.close()  # the name stays, as after a SIGKILL
    assert (tmp_path / "control.sock").exists()
    with pytest.raises(NoUnitHere):
        ask(tmp_path, Status(), LONG_S)
    with ControlServer(tmp_path, unit) as served:
        assert served.trouble is None
        assert ask(tmp_path, Status(), LONG_S) == Done()


def test_the_socket_of_a_living_unit_is_not_taken(folder, unit):
    inode = (folder / "control.sock").lstat().st_ino
    with pytest.raises(ControlTaken, match=r"control\.sock: wanted it free"), ControlServer(folder, unit):
        pass
    assert (folder / "control.sock").lstat().st_ino == inode
    assert ask(folder, Status(), LONG_S) == Done()


def test_a_living_unit_whose_backlog_is_full_is_one_too(tmp_path, unit):
    sleeping = listen(tmp_path)
    clients = []
    try:
        while True:
            clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            clients[-1].settimeout(0)
            clients[-1].connect(str(tmp_path / "control.sock"))
    except BlockingIOError:
        pass
    with pytest.raises(ControlTaken):
        listen(tmp_path)
    with pytest.raises(ControlSilent):
        ask(tmp_path, Status(), 0.2)
    for client in clients:
        client.close()
    sleeping.close()


def test_another_file_of_that_name_gives_way(tmp_path, unit):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    (tmp_path / "control.sock").symlink_to(elsewhere)
    with ControlServer(tmp_path, unit):
        assert ask(tmp_path, Status(), LONG_S) == Done()
    assert elsewhere.read_text() == "kept"


def test_a_folder_of_that_name_is_told_and_waited_for(tmp_path, unit, monkeypatch):
    monkeypatch.setattr(server_module, "MIND_EVERY_S", 0.05)
    (tmp_path / "control.sock").mkdir()
    with ControlServer(tmp_path, unit) as served:
        assert "Is a directory" in served.trouble
        (tmp_path / "control.sock").rmdir()
        until(lambda: served.trouble is None, "the socket", LONG_S)
        assert ask(tmp_path, Status(), LONG_S) == Done()


def test_a_folder_that_is_deleted_under_the_unit_comes_back(folder, served, monkeypatch):
    monkeypatch.setattr(server_module, "MIND_EVERY_S", 0.05)
    (folder / "control.sock").unlink()
    folder.rmdir()
    until((folder / "control.sock").exists, "the socket", LONG_S)
    assert ask(folder, Status(), LONG_S) == Done()
    # Not even its parent is there: nothing to be done, and nothing crashes.
    parent, away = folder.parent, folder.parent.with_name("away")
    parent.rename(away)
    until(lambda: served.trouble is not None, "word of it", LONG_S)
    assert "No such file or directory" in served.trouble
    away.rename(parent)
    until(lambda: served.trouble is None, "the socket", LONG_S)
    assert ask(folder, Status(), LONG_S) == Done()


def test_a_socket_that_another_unit_has_put_there_is_left(folder, unit, served, monkeypatch):
    monkeypatch.setattr(server_module, "MIND_EVERY_S", 0.05)
    (folder / "control.sock").unlink()
    others = None
    while others is None:
        try:
            others = listen(folder)
        except ControlTaken:
            (folder / "control.sock").unlink()
    until(lambda: served.trouble is not None, "word of it", LONG_S)
    assert "wanted it free" in served.trouble
    assert others.there
    others.close()
    until(lambda: served.trouble is None, "its own socket again", LONG_S)


# What a client may do wrong.


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"\xff\xfe\x00\n",
        b"{}\n",
        b'"status"\n',
        b'{"kind":"reboot"}\n',
        b'{"kind":"status","extra":1}\n',
        b'{"kind":"take-break","reason":5}\n',
        b'{"kind":"begin-repair","reason":""}\n',
        b"[" * 50_000 + b"\n",
        b'{"kind":"take-break","reason":"' + b"x" * 257 + b'"}\n',
    ],
)
def test_garbage_is_refused_and_nothing_is_done(folder, unit, line):
    with connected(folder) as raw:
        raw.sendall(line)
        answer = read_answer(heard(raw))
    assert isinstance(answer, Refused)
    assert answer.problem.startswith("request of ")
    assert unit.asked == []
    assert ask(folder, Status(), LONG_S) == Done()


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_request_or_refused(data):
    try:
        request = read_request(data)
    except NotUnderstood:
        return
    assert type(request) in {type(each) for each in EVERY}


def test_ten_megabytes_without_an_end_are_cut_off(folder, unit):
    sent = 0
    with connected(folder) as raw:
        try:
            while sent < 10_000_000:
                sent += raw.send(b"x" * 65_536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = heard(raw)
    assert sent < 2_000_000  # what the kernel buffers, and no more
    assert read_answer(answer) == Refused(f"wanted a line of at most {MAX_LINE_BYTES} bytes, got more")
    assert unit.asked == []
    assert ask(folder, Status(), LONG_S) == Done()


@pytest.mark.parametrize("part", [b"", b'{"kind":"take-bre', b'{"kind":"take-break"}'])
def test_a_line_that_is_cut_off_is_not_done(folder, unit, part):
    with connected(folder) as raw:
        raw.sendall(part)
        raw.shutdown(socket.SHUT_WR)
        assert heard(raw) == b""
    assert unit.asked == []


@pytest.mark.parametrize("part", [b"", b'{"kind":"take-break"'])
def test_a_client_that_hangs_is_let_go(tmp_path, unit, part):
    with ControlServer(tmp_path, unit, deadline_s=2.0), connected(tmp_path) as raw:
        raw.sendall(part)
        assert ask(tmp_path, Status(), LONG_S) == Done()  # meanwhile others are served
        assert heard(raw) == b""
    assert unit.asked == [Status()]


def test_a_client_that_does_not_read_its_answer_is_let_go(tmp_path, unit, monkeypatch):
    monkeypatch.setattr(server_module, "line_of", lambda _: b"x" * 4_000_000)  # more than the kernel buffers
    with ControlServer(tmp_path, unit, deadline_s=2.0) as served, connected(tmp_path) as raw:
        raw.sendall(line_of(Status()))
        until(lambda: unit.asked and not served._talks, "the end of the talk", LONG_S)
        monkeypatch.undo()
        assert ask(tmp_path, Resume(), LONG_S) == Done()


def test_many_that_hang_keep_nobody_out(tmp_path, unit):
    with ControlServer(tmp_path, unit, deadline_s=LONG_S) as served:
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3 * CONNECTIONS_MAX)]
        for each in idle:
            each.settimeout(LONG_S)
            until(lambda: let_in(each, tmp_path), "room in the backlog", LONG_S)  # noqa: B023  at once
        began_s = time.monotonic()
        assert ask(tmp_path, TakeBreak("water"), LONG_S) == Done()
        assert time.monotonic() - began_s < LONG_S / 2  # none of them had to reach its deadline first
        assert len(served._talks) <= CONNECTIONS_MAX
        for each in idle:
            each.close()


def test_a_client_that_leaves_early_is_still_obeyed(folder, unit):
    with connected(folder) as raw:
        raw.sendall(line_of(TakeBreak("water")))
    until(lambda: unit.asked, "the break", LONG_S)
    assert unit.asked == [TakeBreak("water")]
    assert ask(folder, Status(), LONG_S) == Done()


def test_a_line_in_pieces_is_a_line(folder, unit):
    with connected(folder) as raw:
        for each in line_of(TakeBreak("water")):
            raw.sendall(bytes([each]))
        assert read_answer(heard(raw)) == Done()
    assert unit.asked == [TakeBreak("water")]


def test_what_comes_behind_the_line_is_not_done(folder, unit):
    with connected(folder) as raw:
        raw.sendall(line_of(Status()) + line_of(TakeBreak()))
        assert read_answer(heard(raw)) == Done()
    assert unit.asked == [Status()]


# What a handler may do wrong.


def test_an_error_of_ours_is_the_refusal(folder, unit):
    unit.answer = raising(EdgeError("wanted a break that is on, got none"))
    assert ask(folder, Resume(), LONG_S) == Refused("wanted a break that is on, got none")


@pytest.mark.parametrize(
    "answer",
    [
        raising(ZeroDivisionError("a mistake of ours")),
        lambda _: object(),
    ],
)
def test_a_mistake_is_refused_and_logged_and_the_next_one_is_served(folder, unit, caplog, answer):
    unit.answer = answer
    assert isinstance(ask(folder, Resume(), LONG_S), Refused)
    unit.answer = lambda _: Done()
    assert ask(folder, Resume(), LONG_S) == Done()


def test_the_traceback_of_a_mistake_stands_in_the_log(folder, unit, caplog):
    unit.answer = raising(ZeroDivisionError("a mistake of ours"))
    assert "its log says why" in ask(folder, Resume(), LONG_S).problem
    assert "Resume failed" in caplog.text
    assert "ZeroDivisionError: a mistake of ours" in caplog.text


@pytest.mark.parametrize(
    "answer", [Done("x" * MAX_LINE_BYTES), Refused("\udcff"), StatusAnswer({"a": "\ud800"})]
)
def test_an_answer_that_cannot_be_said_is_a_refusal(folder, unit, answer):
    unit.answer = lambda _: answer
    assert "wanted" in ask(folder, Status(), LONG_S).problem


@pytest.mark.parametrize("problem", ["x" * 1_000_000, "\0" * 100_000, "a file called \udcff"])
def test_whatever_an_error_says_fits_a_line(folder, unit, problem):
    unit.answer = raising(EdgeError(problem))
    assert ask(folder, Status(), LONG_S).problem[:10] == problem[:10]


def test_a_slow_handler_costs_the_one_who_waits_behind_it_nothing(tmp_path, unit):
    go_on = threading.Event()

    def slow(request):
        assert isinstance(request, Resume) or go_on.wait(LONG_S)
        return Done()

    unit.answer = slow
    with ControlServer(tmp_path, unit, deadline_s=1.0), connected(tmp_path) as first:
        first.sendall(line_of(Status()))
        until(lambda: unit.asked, "the first", LONG_S)
        with connected(tmp_path) as second:
            second.sendall(line_of(Resume()))
            time.sleep(1.5)  # past the deadline of both
            go_on.set()
            assert read_answer(heard(first)) == Done()
            assert read_answer(heard(second)) == Done()


def test_the_end_does_not_wait_for_ever_for_a_handler_that_hangs(tmp_path, unit, monkeypatch, caplog):
    monkeypatch.setattr(server_module, "JOIN_S", 0.2)
    go_on = threading.Event()
    unit.answer = lambda _: go_on.wait(LONG_S) and Done()
    with ControlServer(tmp_path, unit) as served, connected(tmp_path) as raw:
        raw.sendall(line_of(Status()))
        until(lambda: unit.asked, "the request", LONG_S)
    assert "is left" in caplog.text
    assert list(tmp_path.iterdir()) == []
    go_on.set()
    served._thread.join(LONG_S)
    assert not served._thread.is_alive()


def test_a_unit_without_descriptors_left_serves_again_once_there_are(folder, unit, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(LONG_S)
        used = [int(each.name) for each in FDS.iterdir()]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + 1, hard))
        held = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            raw.connect(str(folder / "control.sock"))
            raw.sendall(line_of(Status()))
            until(lambda: "nobody is let in for now" in caplog.text, "the lack of descriptors", LONG_S)
            assert unit.asked == []
        finally:
            for each in held:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert read_answer(heard(raw)) == Done()
    assert caplog.text.count("nobody is let in") < 100  # it was no busy loop


def test_who_asked_stands_in_the_log_and_a_look_at_the_status_does_not(folder, unit, caplog):
    caplog.set_level(logging.INFO)
    ask(folder, Status(), LONG_S)
    assert "asks at the unit" not in caplog.text
    ask(folder, TakeBreak("water"), LONG_S)
    assert f"uid {os.getuid()} (process {os.getpid()}) asks at the unit: TakeBreak" in caplog.text
    assert "water" not in caplog.text


# What the asking end makes of it.


@pytest.mark.parametrize("there", ["nothing", "a file", "no folder", "a file for a folder"])
def test_where_no_unit_runs_that_is_said(tmp_path, there):
    folder = tmp_path / "state"
    if there == "a file for a folder":
        folder.write_text("")
    elif there != "no folder":
        folder.mkdir()
    if there == "a file":
        (folder / "control.sock").write_text("")
    with pytest.raises(NoUnitHere, match=r"state/control\.sock: no unit runs here"):
        ask(folder, Status(), LONG_S)


def test_a_unit_of_somebody_else_is_denied(folder):
    if os.getuid() != 0:
        (folder / "control.sock").chmod(0)
        with pytest.raises(ControlDenied, match="Permission denied"):
            ask(folder, Status(), LONG_S)
        return
    folder.parent.chmod(0o711)
    child = os.fork()
    if child == 0:  # as another user, in a process of its own
        code = 1
        try:
            os.setgid(65_534)
            os.setuid(65_534)
            ask(folder, Status(), LONG_S)
        except ControlDenied:
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_unit_that_says_nothing_is_not_waited_for(tmp_path):
    silent = listen(tmp_path)
    with pytest.raises(ControlSilent, match=r"within 0\.2 s"):
        ask(tmp_path, Status(), 0.2)
    silent.close()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ControlCut),
        (b'{"kind":"do', ControlCut),
        (b"garbage\n", NotUnderstood),
        (b'{"kind":"unheard-of"}\n', NotUnderstood),
        (b"x" * (MAX_LINE_BYTES + 1), NotUnderstood),
    ],
)
def test_an_answer_that_is_none_is_told(tmp_path, said, error):
    other = listen(tmp_path)
    other.socket.settimeout(LONG_S)

    def answer():
        raw, _ = other.socket.accept()
        with raw:
            raw.recv(65_536)
            raw.sendall(said)

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(error):
        ask(tmp_path, Status(), LONG_S)
    thread.join(LONG_S)
    other.close()


def test_the_lines_are_json_of_one_line():
    for each in [*EVERY, Done("two\nlines"), Refused("\r\n"), StatusAnswer({"a\n": "b\n"})]:
        line = line_of(each)
        assert line.count(b"\n") == 1
        assert json.loads(line)["kind"]


def test_a_reason_that_is_no_text_is_not_sent(tmp_path):
    with pytest.raises(NotUnderstood, match="TakeBreak"):
        ask(tmp_path, TakeBreak("\udcff"), LONG_S)


HANDED = """
import os, socket, subprocess, sys
from pathlib import Path
folder, other = Path(sys.argv[1]), sys.argv[2]
ear = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
ear.bind(str(folder / "control.sock"))
ear.listen()
if (number := ear.detach()) != 3:
    os.dup2(number, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
from edge.control.client import ask
from edge.control.listening import listen
from edge.control.protocol import Done, Status
from edge.control.server import ControlServer
real, socket.socket.listen = socket.socket.listen, None  # as the service's sandbox has it
name = (folder / "control.sock").stat().st_ino
for _ in range(2):  # a unit that starts over takes it again
    with ControlServer(folder, lambda request: Done(text="yes")):
        print(ask(folder, Status()).text)
print(name == (folder / "control.sock").stat().st_ino, os.get_inheritable(3))
socket.socket.listen = real
with ControlServer(Path(other), lambda request: Done(text="elsewhere")):  # it is for another folder
    print(ask(Path(other), Status()).text)
"""


def test_a_socket_that_the_service_manager_listens_at_is_taken_as_it_is(tmp_path):
    folder, other = tmp_path / "state", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", HANDED, folder, other],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["yes", "yes", "True", "False", "elsewhere"], done.stderr
    assert (folder / "control.sock").is_socket()  # it is not the unit's to take away
    assert not (other / "control.sock").exists()


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "me"}])
def test_descriptors_that_are_meant_for_nobody_or_somebody_else_are_left_alone(
    tmp_path, monkeypatch, environ
):
    for name, value in {**environ, "LISTEN_PID": environ.get("LISTEN_PID", "1")}.items():
        monkeypatch.setenv(name, value.replace("me", str(os.getpid())))
    listening = listen(tmp_path)
    assert listening.inode is not None
    listening.close()
    assert not (tmp_path / "control.sock").exists()
