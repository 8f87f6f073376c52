"""What the service manager is told, over real sockets."""

import os
import socket

import pytest

from edge.device.notify import STATUS_CHARS, Notifier


@pytest.fixture(params=["path", "abstract"])
def ear(request, tmp_path):
    """A socket like a service manager's, and its name in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@deskwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1))
        listening.settimeout(5)
        yield listening, {"NOTIFY_SOCKET": name}


def test_it_says_what_sd_notify_says(ear):
    listening, environ = ear
    notifier = Notifier(environ)
    assert notifier.heard
    for say in (lambda: notifier.ready("watching"), notifier.alive, notifier.stopping):
        say()
    notifier.status("off shift")
    notifier.ready()
    said = [listening.recv(1000).decode() for _ in range(5)]
    assert said == ["READY=1\nSTATUS=watching", "WATCHDOG=1", "STOPPING=1", "STATUS=off shift", "READY=1"]


def test_a_status_is_one_short_line_and_no_assignment_of_its_own(ear):
    listening, environ = ear
    notifier = Notifier(environ)
    notifier.status("blocked\nWATCHDOG=trigger\r\nERRNO=5 " + "x" * 1000)
    (line,) = listening.recv(10_000).decode().splitlines()
    assert line.startswith("STATUS=blocked WATCHDOG=trigger ERRNO=5 xxx")
    assert len(line) == len("STATUS=") + STATUS_CHARS
    notifier.status(" \n ")
    notifier.alive()
    assert listening.recv(1000) == b"WATCHDOG=1"  # an empty one is none


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_somebody_who_listens_it_does_nothing(environ):
    notifier = Notifier(environ)
    assert not notifier.heard
    notifier.ready("watching")
    notifier.alive()


def test_one_who_went_away_is_said_once_and_harms_nothing(tmp_path, caplog):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    for _ in range(3):
        notifier.alive()
    assert [record.message for record in caplog.records] == [
        "the service manager cannot be told anything: [Errno 2] No such file or directory"
    ]


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whether_a_watchdog_waits(environ, watchdog_s):
    assert Notifier(environ).watchdog_s == watchdog_s
