"""The watchdog's thread, over a real socket: it speaks while progress is made, and for nobody who hangs."""

import socket
import time

import pytest

from edge.device.notify import Notifier
from edge.device.watchdog import Progress
from edge.guard import BEGIN_LIMIT_S, guarding
from edge.uplink.messages import Capture
from tests.broker import until


@pytest.fixture
def manager(tmp_path):
    """A service manager's end, and what the unit's end is told of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening, Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"})


class Heard:
    def __init__(self, listening):
        self._listening, self.lines = listening, []

    def next(self):
        self.lines.extend(self._listening.recv(1000).decode().splitlines())
        return self.lines[-1]

    def pending(self):
        """Take in what has been said so far."""
        self._listening.settimeout(0)
        try:
            while True:
                self.next()
        except BlockingIOError:
            self._listening.settimeout(5)
        return self.lines


def test_it_is_ready_then_alive_while_there_is_progress_and_silent_while_there_is_none(manager, caplog):
    listening, notifier = manager
    heard, turns_s = Heard(listening), [time.monotonic()]

    def progress():
        now_s = time.monotonic()
        return Progress(Capture.OFF_SHIFT, 0.0, turns_s[0], 0.0, now_s)

    with guarding(notifier, progress, lambda: "off-shift"):
        until(lambda: heard.next() == "WATCHDOG=1", "a sign of life")
        assert heard.lines[:2] == ["READY=1", "STATUS=off-shift"]
        turns_s[0] -= 1000.0  # the watch hangs since long
        until(lambda: heard.next().startswith("STATUS=the watch's loop has not come round"), "the reason")
        heard.pending()
        heard.lines.clear()
        until(lambda: "no longer told" in caplog.text, "the log to say so")
        time.sleep(0.5)  # five times as long as it waits between two signs
        assert heard.pending() == []
        turns_s[0] = time.monotonic()  # it was a moment of a busy machine
        until(lambda: heard.next() == "WATCHDOG=1", "a sign of life again")
    heard.pending()
    heard.lines.clear()
    time.sleep(0.3)
    assert heard.pending() == []  # nobody speaks for a unit that is over
    assert caplog.text.count("no longer told") == 1


def test_a_watch_that_never_begins_is_not_waited_for_for_ever(manager, caplog):
    """The model that hangs in its first run, before there is a loop that could be seen to stand still."""
    listening, notifier = manager
    heard, now_s = Heard(listening), [1000.0]
    with guarding(notifier, lambda: None, lambda: "starting", lambda: now_s[0]):
        until(lambda: heard.next() == "WATCHDOG=1", "a sign of life at the begin")
        now_s[0] += BEGIN_LIMIT_S + 1.0
        until(lambda: heard.next().startswith("STATUS=the watch has not begun for 61 s"), "the reason")
        heard.pending()
        heard.lines.clear()
        time.sleep(0.5)
        assert heard.pending() == []
    assert "no longer told" in caplog.text


def test_a_question_that_hangs_is_silence_too(manager):
    listening, notifier = manager
    heard = Heard(listening)
    asked = []

    def progress():
        asked.append(time.monotonic())
        time.sleep(0.6 if len(asked) > 1 else 0)

    with guarding(notifier, progress, lambda: ""):
        until(lambda: len(asked) > 1, "the second question")
        assert heard.pending().count("WATCHDOG=1") <= 1


def test_without_a_service_manager_there_is_no_thread():
    def progress():
        raise AssertionError("nobody is to be asked")

    with guarding(Notifier({}), progress, progress):
        pass
