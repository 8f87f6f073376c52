"""The daemon as it is shipped: a process on replayed footage against a real mosquitto."""

import contextlib
import datetime as dt
import inspect
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

from edge.capture import picamera
from edge.capture.replay import ReplayCamera
from edge.clock import SystemClock
from edge.evidence.sealing import new_private_key, open_sealed
from edge.policy.breaks import BreakBy, BreakChange, Now, OnBreak
from edge.policy.document import parse_policy
from edge.running import DRAIN_S, running
from edge.unit_settings import Settings
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.carry import Uplink
from edge.uplink.envelope import new_signing_key, seal, trust
from edge.uplink.inbox import Refusal
from edge.uplink.messages import ClosedEvent, GapEvent, OpenedEvent, decode_event, decode_state
from edge.uplink.signals import Received
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.watch import FRAME_TIMEOUT_S, frozen_after
from tests.broker import collect, free_port, rest, subscribed, until
from tests.clip import CLIP
from tests.daemon import COMMAND, RULES
from tests.uplink.conftest import Relay

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
LEFT = "2026-01-01T00:00:00+00:00"
AT_NOON = Now(NOON, 100.0, synchronised=True)
A_BREAK = BreakChange(OnBreak("b1", "water", BreakBy.COMMAND, NOON, 100.0, 1800.0, trusted=True))


@pytest.fixture
def gate(daemon, mosquitto):
    """Keeps the unit from the broker until `open` is set: nothing comes before the subscriber does."""
    relay = Relay(mosquitto.port)
    relay.open = False
    daemon.call(relay.port)
    yield relay
    relay.close()


def events_of(messages):
    return [decode_event(m.payload) for m in messages if m.topic.endswith("/event")]


def states_of(messages):
    return [decode_state(m.payload) for m in messages if m.topic.endswith("/state")]


def new_since(before, messages):
    """Leave out one that came again: a release that a kill overtook costs a repetition."""
    return [event for event in events_of(messages) if event.id != before.id]


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


def test_with_the_broker_away_the_watch_goes_on_and_all_arrives_later(daemon, mosquitto, gate):
    daemon.start()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        gate.open = True
        got = collect(listener, enough_events(1), timeout_s=40)
    (opened,) = events_of(got)
    assert opened.data.seq == 1
    assert "uplink: " in daemon.said()


def test_a_unit_that_is_killed_leaves_a_will_and_closes_at_its_next_start_what_was_open(daemon, mosquitto):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        daemon.start()
        first = collect(listener, enough_events(1), timeout_s=30)
        (opened,) = events_of(first)
        daemon.stop(signal.SIGKILL)
        will = collect(listener, lambda messages: any(not s.online for s in states_of(messages)))
        assert states_of(will)[-1].session == 1
        daemon.start()
        second = collect(listener, lambda messages: len(new_since(opened, messages)) >= 2, timeout_s=30)
    restarted, again = new_since(opened, second)[:2]
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


def settings_of(daemon, **more):
    local = json.dumps(daemon.policy).encode()
    nowhere = BrokerConfig("127.0.0.1", free_port(), "cam-1")
    daemon.accept_notice()
    return Settings(Topics("acme", "cam-1"), daemon.state, nowhere, (parse_policy(local), local), **more)


@pytest.fixture(scope="module")
def detector():
    return Detector.load(find_card(DEFAULT_CARD), threads=1)


def test_a_policy_on_trial_that_the_watch_crashes_under_is_blocked(daemon, detector, phone_photo):
    """Else it would come back with the next connection, and crash the unit for ever."""
    key = new_signing_key()
    envelope = seal(json.dumps({**daemon.policy, "version": 6}).encode(), key)
    settings = settings_of(daemon, trusted=trust(key.public))
    desired = Received(settings.topics.desired, 1, retain=True, payload=envelope)

    class Broken(ReplayCamera):
        def open(self):
            unit.twin.desired(desired)
            raise ZeroDivisionError("what only this policy brings out")

    with pytest.raises(ZeroDivisionError), running(settings, detector, SystemClock()) as unit:
        unit.watch(Broken(phone_photo, SystemClock(), pace="real"), 8.0, threading.Event())
    with running(settings, detector, SystemClock()) as unit:
        assert unit.twin.policy.version == 5
        with pytest.raises(Refusal) as refused:
            unit.twin.desired(desired)
    assert refused.value.code == "blocked"


@pytest.mark.parametrize(
    ("rule", "since"),
    [("phone", "2O26"), ("phone", "2036-01-01T00:00:00Z"), ("phone", "2026-01-01T00:00:00"), (b"\xff", LEFT)],
)
def test_damage_in_what_was_left_open_is_no_crash_loop(daemon, detector, rule, since):
    settings = settings_of(daemon)
    with running(settings, detector, SystemClock()) as unit:
        unit.reporter.break_changed(A_BREAK, AT_NOON)
    with contextlib.closing(sqlite3.connect(daemon.state / "spool.db")) as db:
        db.execute("INSERT INTO open_infraction VALUES ('x', ?, 'object', ?, ?)", (rule, since, LEFT))
        db.commit()
    for _ in range(2):
        with running(settings, detector, SystemClock()):
            pass
    with Spool.open(daemon.state / "spool.db") as spool:
        assert spool.open_infractions() == []
        assert spool.depth().events == 1


def test_two_daemons_on_one_spool_are_refused(daemon, mosquitto):
    mosquitto.start()
    daemon.watching()
    second = subprocess.run(
        [COMMAND, "run", "--config", daemon.config],
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
        assert daemon.start(accepted=False).process.wait(30) == 2
        assert str(daemon.state) in daemon.said()
    finally:
        subprocess.run(["umount", str(daemon.state)], check=True)


@pytest.fixture
def small_disk(daemon):
    """The daemon's state lies on a disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    daemon.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(daemon.state)], check=True)
    daemon.accept_notice()
    yield daemon.state
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()
    subprocess.run(["umount", str(daemon.state)], check=True)


def fill(folder: Path) -> Path:
    """Write until the disk is full; return what to delete to have room again."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(folder).free == 0
    return ballast


def make_spool_without_reserve(folder: Path) -> None:
    """Make a spool whose reserve was used up already."""
    with Spool.open(folder / "spool.db"):
        pass
    (folder / "spool.reserve").unlink()


def said_times(daemon, words, count):
    return lambda: daemon.said().count(words) >= count


def test_on_a_full_disk_the_watch_goes_on_and_nothing_is_lost_when_space_returns(
    daemon, mosquitto, small_disk, gate
):
    rules = [f"phone-{number}" for number in range(5)]
    daemon.policy["rules"] = [{**RULES[0], "id": rule} for rule in rules]
    make_spool_without_reserve(small_disk)
    ballast = fill(small_disk)
    daemon.start()
    until(said_times(daemon, "INFO: opened phone-", 5), "five infractions", 30)
    until(lambda: "cannot take events" in daemon.said(), "the full disk to be told")
    ballast.unlink()
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        gate.open = True
        got = collect(listener, enough_events(5), timeout_s=40)
        assert daemon.stop() == 0
        got += rest(listener)
    events = events_of(got)
    assert [event.data.seq for event in events] == list(range(1, 11))
    opened, closed = events[:5], events[5:]
    assert sorted(event.subject for event in opened) == rules
    assert {(e.id, e.subject) for e in opened} == {(e.data.opened_id, e.subject) for e in closed}
    assert {event.data.reason for event in closed} == {"stopped"}
    assert len([m for m in got if "/thumb/" in m.topic]) == 5
    assert daemon.said().count("cannot take events") == 1
    assert daemon.said().count("5 that waited are in it, 0 were lost") == 1


def test_events_that_the_spool_never_took_end_the_unit_in_an_error(daemon, small_disk):
    make_spool_without_reserve(small_disk)
    fill(small_disk)
    daemon.start()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    assert daemon.stop() == 2
    assert "spool.db: wanted room for all events, got none for 2" in daemon.said()
    assert "what to do: free space" in daemon.said()
    assert "2 events are lost" in daemon.said()


def test_a_unit_that_starts_on_a_full_disk_delivers_what_it_holds(daemon, mosquitto, small_disk, gate):
    daemon.watching()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    assert daemon.stop() == 0
    ballast = fill(small_disk)
    daemon.watching()
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        gate.open = True
        got = collect(listener, enough_events(2), timeout_s=40)
        until(said_times(daemon, "INFO: opened phone", 2), "the phone to be seen again", 30)
        ballast.unlink()
        got += collect(listener, enough_events(1), timeout_s=40)
        assert daemon.stop() == 0
        got += rest(listener)
    # Between them there may be word of a picture for which there was no room.
    assert [type(event) for event in events_of(got) if not isinstance(event, GapEvent)] == [
        OpenedEvent,
        ClosedEvent,
    ] * 2
    assert [event.data.seq for event in events_of(got)] == list(range(1, len(events_of(got)) + 1))
    assert {state.session for state in states_of(got)} == {2}
    with Spool.open(small_disk / "spool.db") as spool:
        assert (spool.session, spool.depth().events) == (3, 0)


def test_a_policy_for_another_unit_is_refused(daemon):
    daemon.policy["unit"] = "cam-2"
    assert daemon.start().process.wait(30) == 2
    assert "wanted \"*\" or this unit, 'cam-1', got 'cam-2' - at $.unit" in daemon.said()
    daemon.policy["unit"] = "cam-1"
    daemon.watching()


def test_a_unit_seals_its_pictures_where_the_policy_names_a_recipient(daemon, mosquitto, gate):
    key = new_private_key()
    daemon.policy["thumbnail"] = {"recipient": "key-1"}
    assert daemon.start().process.wait(30) == 2
    assert "$.thumbnail.recipient" in daemon.said()
    daemon.policy["thumbnail"] = {"recipient": key.recipient.text}
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        gate.open = True
        daemon.watching()
        got = collect(listener, lambda got: any("/thumb/" in one.topic for one in got), 40)
    pictures = [one for one in got if "/thumb/" in one.topic]
    for one in pictures:
        jpeg = open_sealed(one.payload, [key], "cam-1", one.topic.rpartition("/")[2])
        assert jpeg[:11] == b"\xff\xd8\xff\xe0\x00\x10JFIF\0"
        assert b"JFIF" not in one.payload


def test_only_a_still_image_is_never_taken_for_a_frozen_camera(phone_photo, tmp_path):
    photo, clip = phone_photo, CLIP
    assert frozen_after([photo]) == frozen_after([photo, photo]) == math.inf
    others = [[], [clip], [photo, clip], [photo.parent], [tmp_path / "missing.jpg"]]
    assert {frozen_after(sources) for sources in others} == {30.0}


SERVICE = Path(__file__).parents[1] / "systemd" / "deskwatch.service"


def test_systemd_waits_longer_than_the_worst_stop_takes():
    worst_s = (
        picamera._OPEN_TIMEOUT_S
        + FRAME_TIMEOUT_S
        + 3 * picamera._CALL_TIMEOUT_S
        + picamera._CLOSE_TIMEOUT_S
        + DRAIN_S
        + inspect.signature(Uplink.stop).parameters["timeout_s"].default
    )
    (given_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", SERVICE.read_text(), re.MULTILINE)
    assert worst_s < int(given_s) <= 90


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_takes_the_unit_file(tmp_path):
    service = tmp_path / SERVICE.name
    text, changed = re.subn(r"^ExecStart=.*$", "ExecStart=/bin/true", SERVICE.read_text(), flags=re.MULTILINE)
    assert changed == 1
    service.write_text(text)
    verify = ["systemd-analyze", "verify", str(service)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if SERVICE.name in line]) == (0, [])
