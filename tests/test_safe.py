"""Safe mode: nothing is looked at, what waits leaves, and the unit answers."""

import json
import os
import subprocess
from contextlib import suppress

import pytest

from edge.breaks import Breaks
from edge.capture.frame import CameraAbsent
from edge.clock import SteppedClock
from edge.config import ConfigError, read_config
from edge.control.client import NoUnitHere, ask
from edge.control.protocol import Status as AskStatus
from edge.control.protocol import TakeBreak
from edge.device.indicator import StandinIndicator
from edge.device.watchdog import stalled
from edge.last_settings import KEPT, keep, read_or_last
from edge.notice import Notice
from edge.policy.gate import Signal
from edge.requests import Requests
from edge.safe import NoCamera, SafeWatch, why_failed
from edge.shutter import Shutter
from edge.uplink.command_messages import CommandError
from edge.uplink.messages import Capture, ClosedEvent, OpenedEvent
from edge.uplink.wire import Problem
from tests.broker import collect, subscribed, until
from tests.daemon import COMMAND, Daemon
from tests.test_unit import events_of, states_of
from tests.test_watch import MONDAY, Told

WHY = "deskwatch.service watchdog killed ABRT"


class Rig:
    def __init__(self, until_s=10.0):
        self.clock = SteppedClock(MONDAY)
        self.told = Told(self.clock)
        self.told.stop_when = lambda: self.clock.now_s() >= until_s
        self.light = StandinIndicator()
        self.requests = Requests(Breaks(self.clock, lambda: 1800.0, lambda change, now: None), self.clock)
        shutter = Shutter(NoCamera(), indicator=self.light, safe=True)
        self.watch = SafeWatch(shutter, self.told, self.clock, self.requests, WHY)

    def run(self):
        self.watch.run(self.told.stop)
        return self


def test_it_says_so_and_why_and_shows_it():
    rig = Rig()
    lights = []
    rig.light.show = lights.append
    rig.run()
    assert [entry[2:] for entry in rig.told.of("capture")] == [
        (Capture.SAFE_MODE, WHY),
        (Capture.STOPPED, ""),
    ]
    assert set(lights[:-1]) == {Signal.FAULT}
    assert lights[-1] is Signal.OFF
    assert rig.told.turns >= 10  # what could not be spooled is tried again


def test_a_break_is_one_also_now():
    rig = Rig(until_s=3600.0)
    rig.requests.start_break("water")
    rig.run()
    assert rig.told.captures == [Capture.BREAK, Capture.SAFE_MODE, Capture.STOPPED]


def test_a_look_is_refused():
    rig, answers = Rig(), []
    rig.requests.look_now(answers.append)
    rig.run()
    (answer,) = answers
    assert isinstance(answer, Problem)
    assert answer.code == CommandError.NOT_ALLOWED


def test_it_is_no_hang_and_one_that_hangs_is():
    rig = Rig().run()
    now_s = rig.clock.now_s()
    assert stalled(rig.watch.progress(now_s), now_s) is None
    assert stalled(rig.watch.progress(now_s + 100.0), now_s + 100.0) is not None


def test_there_is_no_camera():
    with pytest.raises(CameraAbsent):
        NoCamera().open()
    with pytest.raises(CameraAbsent):
        NoCamera().frame(1.0)


def test_the_service_manager_says_why():
    environ = {
        "MONITOR_UNIT": "deskwatch.service",
        "MONITOR_SERVICE_RESULT": "watchdog",
        "MONITOR_EXIT_CODE": "killed",
        "MONITOR_EXIT_STATUS": "ABRT",
    }
    assert why_failed(environ) == WHY
    assert why_failed({}) == ""
    assert why_failed({"MONITOR_UNIT": "a\nb" + "c" * 1000}) == "ab" + "c" * 198


class SafeDaemon(Daemon):
    """`deskwatch run --safe`."""

    def start_safe(self):
        with self.log.open("a") as log:
            command = [COMMAND, "run", "--safe", "--config", self.config]
            environ = {**os.environ, "STATE_DIRECTORY": str(self.state)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)


@pytest.mark.parametrize("broken", ["policy", "model", "camera", "settings"])
def test_whatever_is_broken_what_waits_arrives_and_no_camera_opens(tmp_path, phone_photo, mosquitto, broken):
    folder = tmp_path / "safe"
    folder.mkdir()
    daemon = SafeDaemon(folder, phone_photo, mosquitto)
    try:
        daemon.start()  # there is no broker
        seen = lambda: "opened phone" in daemon.said() or daemon.process.poll() is not None  # noqa: E731
        until(seen, "the phone to be seen", 90)
        assert daemon.process.poll() is None, daemon.said()
        assert daemon.stop() == 0
        text = daemon.config.read_text()
        if broken == "policy":
            (folder / "policy.json").write_text("{")
        elif broken == "model":
            daemon.config.write_text(text + '\n[model]\ncard = "no-such-model"\n')
        elif broken == "settings":
            daemon.config.write_text(f"{text}\n[model\n")
        else:
            daemon.config.write_text(text.replace(str(phone_photo), str(folder / "gone.png")))
        mosquitto.start()
        with subscribed(mosquitto) as listener:
            daemon.start_safe()
            came = collect(
                listener,
                lambda got: (
                    any(s.capture is Capture.SAFE_MODE for s in states_of(got))
                    and any(isinstance(e, ClosedEvent) for e in events_of(got))
                ),
                30,
            )
            assert daemon.stop() == 0
            last = collect(listener, lambda got: any(not s.online for s in states_of(got)), 30)
        assert [type(event) for event in events_of(came)] == [OpenedEvent, ClosedEvent]
        assert events_of(last) == []
        assert {s.capture for s in states_of(came)} <= {Capture.STARTING, Capture.SAFE_MODE}
        assert Notice(daemon.state).accepted  # that is not what keeps it closed
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def test_settings_stand_in_only_where_the_newest_are_no_good(tmp_path):
    path, state = tmp_path / "unit.toml", tmp_path / "state"
    state.mkdir()
    paths = f'[paths]\nstate = "{state}"\npolicy = "/etc/deskwatch/policy.json"'
    text = f'[unit]\ntenant = "acme"\nid = "cam-1"\n[broker]\nhost = "b.example"\n{paths}\n'
    path.write_text(text)
    first = read_config(path)
    named = {"STATE_DIRECTORY": str(state)}
    keep(path, first)
    assert (state / KEPT).stat().st_mode & 0o077 == 0
    path.write_text(text.replace("b.example", "c.example"))
    assert read_or_last(path, named).broker.host == "c.example"
    keep(path, first)  # somebody wrote there just now: nothing says that a unit starts with it
    assert read_config(state / KEPT) == first
    path.write_text("[unit\n")
    assert read_or_last(path, named) == first
    with pytest.raises(ConfigError, match="wanted TOML"):
        read_or_last(path, {})
    (state / KEPT).write_text("[unit\n")
    with pytest.raises(ConfigError, match=str(path)):
        read_or_last(path, named)
    assert {entry.name for entry in state.iterdir()} == {KEPT}


def test_safe_mode_is_told_on_a_break_too(tmp_path, phone_photo, mosquitto):
    folder = tmp_path / "safe"
    folder.mkdir()
    daemon = SafeDaemon(folder, phone_photo, mosquitto)
    daemon.accept_notice()
    (folder / "policy.json").write_text(json.dumps(daemon.policy))
    try:
        daemon.start_safe()

        def facts():
            with suppress(NoUnitHere, TimeoutError):
                return ask(daemon.state, AskStatus(), 20.0).facts
            return {}

        until(lambda: facts().get("capture.state") == "safe-mode", "safe mode", 30)
        ask(daemon.state, TakeBreak("lunch"), 20.0)
        until(lambda: facts().get("capture.state") == "break", "the break", 30)
        assert facts()["unit.safe"] == 1.0
        words = [COMMAND, "diagnose", "--json", "--only", "service.running", "--config", daemon.config]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert json.loads(done.stdout)["results"][0]["code"] == "safe-mode"
        assert subprocess.run([COMMAND, "status", "--config", daemon.config], check=False).returncode == 1
    finally:
        if daemon.process is not None:
            daemon.process.kill()
            daemon.process.wait()
