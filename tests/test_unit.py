"""The daemon as it is shipped: a process on replayed footage against a real mosquitto."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.uplink.messages import ClosedEvent, OpenedEvent, decode_event, decode_state
from edge.uplink.spool import Spool
from tests.broker import Mosquitto, collect, subscribed, until

COMMAND = Path(sys.executable).parent / "deskwatch"
RULES = [
    {"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 1, "release_s": 1, "cooldown_s": 0},
]


class Daemon:
    """`deskwatch run` on a photo of a phone, again and again."""

    def __init__(self, folder: Path, shared: Path, broker: Mosquitto, *broker_lines: str) -> None:
        self.folder = folder
        self.broker = broker
        self.process: subprocess.Popen[str] | None = None
        self.log = folder / "log"
        self.state = folder / "state"
        policy = {
            "schema": "policy/1",
            "version": 5,
            "issued_at": "2026-01-01T00:00:00Z",
            "expires_at": "2036-01-01T00:00:00Z",
            "timezone": "UTC",
            "shifts": [
                {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}
            ],
            "watch": {"mode": "continuous"},
            "rules": RULES,
        }
        (folder / "policy.json").write_text(json.dumps(policy))
        lines = [
            '[unit]\ntenant = "acme"\nid = "cam-1"',
            f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false',
            *broker_lines,
            f'[camera]\nkind = "replay"\nsource = "{shared}/photos/phone-in-hand.jpg"',
            f'[paths]\nstate = "{self.state}"\npolicy = "{folder}/policy.json"',
        ]
        self.config = folder / "unit.toml"
        self.config.write_text("\n".join(lines))
        self.environment = {**os.environ, "DESKWATCH_MODELS": str(shared / "models")}

    def start(self) -> "Daemon":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run", "--config", self.config], env=self.environment, stdout=log, stderr=log
            )
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def daemon(tmp_path, shared, mosquitto):
    folder = tmp_path / "unit"
    folder.mkdir()
    daemon = Daemon(folder, shared, mosquitto)
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def events_of(messages):
    return [decode_event(m.payload) for m in messages if m.topic.endswith("/event")]


def states_of(messages):
    return [decode_state(m.payload) for m in messages if m.topic.endswith("/state")]


def enough_events(count):
    return lambda messages: len(events_of(messages)) >= count


def test_an_infraction_arrives_at_the_broker_once_with_its_picture_and_closes(daemon, mosquitto):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        daemon.start()
        got = collect(listener, enough_events(1), timeout_s=30)
        assert daemon.stop() == 0
        got += collect(listener, lambda messages: any(not s.online for s in states_of(messages)))
    opened, closed = events_of(got)
    assert isinstance(opened, OpenedEvent)
    assert isinstance(closed, ClosedEvent)
    assert (opened.subject, opened.data.policy_version, opened.data.seq, closed.data.seq) == (
        "phone",
        5,
        1,
        2,
    )
    assert closed.data.opened_id == opened.id
    assert closed.data.reason == "stopped"
    (thumb,) = [m for m in got if "/thumb/" in m.topic]
    assert thumb.topic == f"deskwatch/v1/acme/cam-1/thumb/{opened.id}"
    assert thumb.payload[:2] == b"\xff\xd8"
    # The picture never comes before its event; the birth comes first; the last word is offline.
    assert [m.topic for m in got].index(thumb.topic) > [m.topic.endswith("/event") for m in got].index(True)
    states = states_of(got)
    assert (states[0].online, states[0].session) == (True, 1)
    assert "watching" in [state.capture for state in states]
    assert (states[-1].online, states[-1].capture) == (False, "stopped")


def test_with_the_broker_away_the_watch_goes_on_and_all_arrives_later(daemon, mosquitto):
    daemon.start()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        got = collect(listener, enough_events(1), timeout_s=40)
    (opened,) = events_of(got)
    assert opened.data.seq == 1
    assert "cannot reach" in daemon.said() or "refused" in daemon.said()


def test_a_unit_that_is_killed_leaves_a_will_and_closes_at_its_next_start_what_was_open(daemon, mosquitto):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        daemon.start()
        first = collect(listener, enough_events(1), timeout_s=30)
        daemon.stop(signal.SIGKILL)
        will = collect(listener, lambda messages: any(not s.online for s in states_of(messages)))
        assert states_of(will)[-1].session == 1
        daemon.start()
        second = collect(listener, enough_events(2), timeout_s=30)
    (opened,) = events_of(first)
    restarted, again = events_of(second)[:2]
    assert isinstance(restarted, ClosedEvent)
    assert restarted.data.opened_id == opened.id
    assert restarted.data.reason == "restarted"
    assert [opened.data.seq, restarted.data.seq, again.data.seq] == [1, 2, 3]
    assert isinstance(again, OpenedEvent)
    assert states_of(second)[0].session == 2


def test_a_broker_that_refuses_is_named_and_the_events_wait(daemon, mosquitto):
    mosquitto.start(anonymous=False)
    daemon.start()
    until(lambda: "not authori" in daemon.said().lower(), "the refusal to be told", 30)
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    assert daemon.process.poll() is None
    assert daemon.stop() == 0
    with Spool.open(daemon.state / "spool.db") as spool:
        depth = spool.depth()
    assert (depth.events, depth.thumbnails) == (2, 1)


def test_two_daemons_on_one_spool_are_refused(daemon, mosquitto):
    mosquitto.start()
    daemon.start()
    until(lambda: "watching" in daemon.said(), "the watch to begin", 30)
    second = subprocess.run(
        [COMMAND, "run", "--config", daemon.config],
        env=daemon.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 2
    assert "spool" in second.stderr
    assert "what to do" in second.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a read-only file system")
def test_a_read_only_state_folder_is_an_error_that_names_it(daemon, mosquitto):
    daemon.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(daemon.state)], check=True)
    try:
        daemon.start()
        assert daemon.process.wait(30) == 2
        assert str(daemon.state) in daemon.said()
    finally:
        subprocess.run(["umount", str(daemon.state)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_on_a_full_disk_the_watch_goes_on_and_nothing_is_lost_when_space_returns(daemon, mosquitto):
    daemon.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(daemon.state)], check=True)
    try:
        with Spool.open(daemon.state / "spool.db"):
            pass
        ballast = daemon.state / "ballast"
        ballast.write_bytes(b"")
        daemon.start()
        until(
            lambda: "watching" in daemon.said() or daemon.process.poll() is not None, "the watch to begin", 30
        )
        with pytest.raises(OSError, match="space"):
            fill(ballast)
        until(lambda: "cannot take an event" in daemon.said(), "the full disk to be told", 30)
        assert daemon.process.poll() is None
        ballast.unlink()
        mosquitto.start()
        with subscribed(mosquitto) as listener:
            got = collect(listener, enough_events(1), timeout_s=40)
        assert events_of(got)[0].data.seq >= 1
        assert daemon.stop() == 0
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        subprocess.run(["umount", str(daemon.state)], check=True)
