"""Units in which nothing is wrong, whatever they do: `deskwatch diagnose` has no line that fails."""

import contextlib
import datetime as dt
import json
import subprocess
import sys

import pytest

from edge.control.client import NoUnitHere, ask
from edge.control.protocol import Status, StatusAnswer, TakeBreak
from tests.broker import Mosquitto, until
from tests.daemon import COMMAND, Daemon

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HOLD = "import sys; from pathlib import Path; from edge.uplink.lockfile import LockFile; "
HOLD += "LockFile.hold(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"


def facts(daemon: Daemon) -> dict:
    """Return what it says of itself; nothing, where it does not yet."""
    with contextlib.suppress(NoUnitHere, TimeoutError):
        answer = ask(daemon.state, Status(), 20.0)
        assert isinstance(answer, StatusAnswer)
        return dict(answer.facts)
    return {}


def diagnosed(daemon: Daemon) -> list[dict]:
    words = [COMMAND, "diagnose", "--json", "--config", daemon.config]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["results"]


def becomes(daemon: Daemon, state: str) -> None:
    until(
        lambda: (told := facts(daemon)) and told["link.connected"] and told["capture.state"] == state,
        f"it to be {state}",
        60,
    )


def between_checks(daemon: Daemon) -> None:
    daemon.policy["watch"] = {"mode": "spot", "mean_interval_s": 20_000, "burst_s": 5}
    daemon.start()
    becomes(daemon, "between-checks")


def off_shift(daemon: Daemon) -> None:
    in_two_days = DAYS[(dt.datetime.now(dt.UTC).weekday() + 2) % 7]
    daemon.policy["shifts"] = [{"days": [in_two_days], "start": "00:00", "end": "24:00"}]
    daemon.start()
    becomes(daemon, "off-shift")


def on_a_break(daemon: Daemon) -> None:
    a_still_image(daemon)
    ask(daemon.state, TakeBreak("lunch"), 20.0)
    becomes(daemon, "break")


def just_started(daemon: Daemon) -> None:
    daemon.start()
    until(lambda: facts(daemon), "it to answer", 60)


def a_still_image(daemon: Daemon) -> None:
    """Not one pixel of it ever changes: a photo says so of itself, and is no camera that hangs."""
    daemon.start()
    becomes(daemon, "watching")
    until(lambda: (told := facts(daemon)) and told["watch.inferences"], "it to look", 60)


UNITS = (between_checks, off_shift, on_a_break, just_started, a_still_image)


@pytest.mark.parametrize("bring_up", UNITS, ids=[each.__name__ for each in UNITS])
def test_nothing_is_called_broken_that_is_not(daemon: Daemon, mosquitto: Mosquitto, bring_up):
    mosquitto.start()
    bring_up(daemon)
    assert [one for one in diagnosed(daemon) if one["status"] == "fail"] == []


def test_a_stranger_that_holds_the_state_folder_is_the_first_that_fails(daemon: Daemon, mosquitto: Mosquitto):
    mosquitto.start()
    daemon.watching()
    assert daemon.stop() == 0
    words = [sys.executable, "-c", HOLD, daemon.state / "spool.db.lock"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        stranger.stdout.readline()
        failing = [one for one in diagnosed(daemon) if one["status"] == "fail"]
    assert (failing[0]["name"], failing[0]["code"]) == ("spool.integrity", "held"), failing
    assert str(stranger.pid) in failing[0]["value"]
