"""What leaves stands in the worker's log before it goes: the shipped unit, a real broker, a real disk."""

import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess

import msgspec
import pytest

from edge.control.client import ask
from edge.control.protocol import Done, EndRepair, Resume, TakeBreak
from edge.diary import WorkersDiary
from edge.evidence.sealing import new_private_key, open_sealed, parcel
from edge.uplink.diary import NotNoted
from edge.uplink.messages import AlarmCode, Capture, decode_state
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.worklog.entries import Command, PolicyTook, Sent
from edge.worklog.errors import LogUnwritable
from edge.worklog.log import WorkerLog
from edge.worklog.reading import picture_bytes, read, verify
from tests.broker import collect, rest, subscribed, until
from tests.test_remote import Operator

pytestmark = pytest.mark.timeout(300)
ROOT = "deskwatch/v1/acme/cam-1/"
NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def plain(payload):
    """A state without what only tells two connections apart."""
    return msgspec.structs.replace(decode_state(payload), session=0, connection=0, at="")


def sent(daemon):
    return [entry.note for entry in read(daemon.state / "log") if isinstance(entry.note, Sent)]


def policies(daemon):
    return [entry.note for entry in read(daemon.state / "log") if isinstance(entry.note, PolicyTook)]


def of_unit(messages):
    """What the unit published, below its root; the broker's own will of a unit that was killed left out."""
    ours = ("event", "state", "config/reported", "thumb/", "reply/")
    return [
        (message.topic.removeprefix(ROOT), message.payload)
        for message in messages
        if message.topic.removeprefix(ROOT).startswith(ours)
    ]


def unlogged(messages, notes):
    """What arrived and does not stand in the log."""
    known = {(note.topic, note.sha256) for note in notes}
    states = [plain(note.payload.encode()) for note in notes if note.topic == "state"]
    return [
        (topic, payload)
        for topic, payload in of_unit(messages)
        if (topic, hashlib.sha256(payload).hexdigest()) not in known
        and not (topic == "state" and plain(payload) in states)
    ]


@pytest.fixture
def operator(tmp_path, daemon, mosquitto):
    mosquitto.start()
    operator = Operator(tmp_path, mosquitto)
    text = daemon.config.read_text()
    daemon.config.write_text(
        f'{text}\n[twin]\ntrusted_keys = ["{tmp_path}/op.pub"]\nconfirm_timeout_s = 30\n'
    )
    return operator


def test_whatever_arrives_at_the_broker_stands_in_the_log(daemon, mosquitto, operator):
    with subscribed(mosquitto) as listener:
        daemon.watching()
        got = collect(listener, lambda got: any("/thumb/" in one.topic for one in got), 40)
        assert isinstance(ask(daemon.state, TakeBreak("water")), Done)
        for name in ("diagnose", "spot-check", "identify", "resume"):
            operator.command(name)
        assert isinstance(ask(daemon.state, Resume()), Done)  # the command came too early for that
        assert operator.push(daemon.policy | {"version": 6})[0] == 0
        assert daemon.stop() == 0
        daemon.watching()  # what it says again is not written twice
        assert daemon.stop() == 0
        got += rest(listener)
    notes = sent(daemon)
    topics = {note.topic.partition("/")[0] for note in notes}
    assert topics == {"event", "state", "health", "config", "thumb", "reply"}
    assert unlogged(got, notes) == []
    assert {note.topic for note in notes if note.topic.startswith("reply/")} == {
        "reply/diagnose",
        "reply/spot-check",
        "reply/identify",
        "reply/resume",
    }
    entries = list(read(daemon.state / "log"))
    assert [entry.note.name for entry in entries if isinstance(entry.note, Command)] == [
        "diagnose",
        "spot-check",
        "identify",
        "resume",
    ]
    policies = [entry.note for entry in entries if isinstance(entry.note, PolicyTook)]
    assert [took.version for took in policies] == [5, 6, 6]  # the last at the second start
    assert json.loads(policies[1].document)["rules"][0]["labels"] == ["cell phone"]
    assert verify(daemon.state / "log").problem is None
    # And the pictures, as they were sent.
    arrived = {topic: payload for topic, payload in of_unit(got) if topic.startswith("thumb/")}
    for note in notes:
        if note.picture is not None:
            assert picture_bytes(daemon.state / "log", note.picture) == arrived[note.topic]
    assert arrived


def test_a_sealed_picture_is_in_the_log_in_the_clear_as_the_reviewer_sees_it(daemon, mosquitto):
    key = new_private_key()
    daemon.policy["thumbnail"] = {"recipient": key.recipient.text}
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        daemon.watching()
        got = collect(listener, lambda got: any("/thumb/" in one.topic for one in got), 40)
        daemon.stop()
        got += rest(listener)
    (note, *_) = [note for note in sent(daemon) if note.picture is not None]
    assert note.picture.sealed_to == key.kid
    jpeg = picture_bytes(daemon.state / "log", note.picture)
    assert jpeg.startswith(b"\xff\xd8")
    arrived = dict(of_unit(got))[note.topic]
    assert jpeg not in arrived
    assert open_sealed(arrived, [key], "cam-1", note.topic.rpartition("/")[2]) == jpeg
    assert unlogged(got, sent(daemon)) == []


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


@pytest.fixture
def log_on_a_small_disk(daemon, tmp_path):
    """The worker's log, and it alone, lies on a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)], check=True)
    (disk / "log").mkdir(mode=0o700)
    daemon.accept_notice()
    (daemon.state / "log").symlink_to(disk / "log")
    yield disk
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()
    subprocess.run(["umount", str(disk)], check=True)


def test_nothing_leaves_while_the_log_cannot_be_written_but_that(daemon, mosquitto, log_on_a_small_disk):
    """On a full disk the unit says so, without a word of the worker's, and what it found waits."""
    ballast = log_on_a_small_disk / "ballast"

    def told(got):
        return [decode_state(one.payload) for one in got if one.topic.endswith("/state")]

    def alarmed(got):
        return any(bare(payload) for topic, payload in of_unit(got) if topic == "state")

    def bare(payload):
        state = decode_state(payload)
        return state.reason == "" and any(a.code == AlarmCode.LOG_UNWRITABLE for a in state.alarms)

    mosquitto.start()
    with subscribed(mosquitto) as listener:
        daemon.watching()
        got = collect(listener, lambda got: any("/thumb/" in one.topic for one in got), 40)
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        used_up = lambda got: alarmed(got) or len(told(got)) > 100  # noqa: E731
        seen = []
        while not used_up(seen):  # what is left of the file's last block is written first
            ask(daemon.state, TakeBreak("a private matter"))
            ask(daemon.state, Resume())
            seen += collect(listener, len, 30)
        assert unlogged(seen, sent(daemon)) == [
            (topic, payload) for topic, payload in of_unit(seen) if topic == "state" and bare(payload)
        ]
        before = sent(daemon)
        ask(daemon.state, TakeBreak("a very private matter"))
        got = collect(listener, lambda got: any(s.capture is Capture.BREAK for s in told(got)), 40)
        assert {topic for topic, _ in of_unit(got)} == {"state"}
        assert all(bare(payload) for _, payload in of_unit(got))
        assert sent(daemon) == before
        ballast.unlink()
        got = collect(listener, lambda got: any(one.topic.endswith("/event") for one in got), 40)
        assert daemon.stop() == 0
        got += rest(listener)
    assert unlogged(got, sent(daemon)) == []
    assert verify(daemon.state / "log").problem is None


@pytest.fixture
def worker_log(tmp_path):
    with WorkerLog.open(tmp_path / "log", now_at=lambda: NOON) as log:
        yield log


@pytest.fixture
def diary(worker_log):
    return WorkersDiary(worker_log, Topics("acme", "cam-1"), lambda: NOON)


JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


def thumb(data, media_type):
    return Publication(f"{ROOT}thumb/event-1", data, media_type, expiry_s=3600)


def test_a_sealed_picture_whose_copy_is_gone_stays_here(diary, worker_log):
    sealed = parcel(JPEG, new_private_key().recipient, "cam-1", "event-1")
    publication = thumb(sealed.data, sealed.media_type)
    assert "the worker's own copy of this picture is gone" in diary.lacks(publication)
    diary.keep("event-1", JPEG, NOON + dt.timedelta(days=1))
    assert diary.lacks(publication) is None
    diary.leaving([publication])
    (note,) = [entry.note for entry in read(worker_log._folder) if isinstance(entry.note, Sent)]
    assert note.picture.sealed_to == sealed.recipient
    assert note.sha256 == hashlib.sha256(sealed.data).hexdigest()
    assert note.picture.sha256 == hashlib.sha256(JPEG).hexdigest()


def test_of_an_open_picture_whose_copy_is_gone_a_copy_is_made_as_it_leaves(diary, worker_log):
    publication = thumb(JPEG, "image/jpeg")
    assert diary.lacks(publication) is None
    diary.leaving([publication])
    (note,) = [entry.note for entry in read(worker_log._folder) if isinstance(entry.note, Sent)]
    assert picture_bytes(worker_log._folder, note.picture, NOON) == JPEG
    assert note.picture.expires_at.startswith("2026-11-23T13:00:00")


def test_the_same_message_again_is_one_entry_and_a_changed_one_another(diary, worker_log):
    event = Publication(f"{ROOT}event", b'{"id": "1"}', "application/json")
    diary.leaving([event])
    diary.leaving([event, event])
    diary.leaving([Publication(f"{ROOT}event", b'{"id": "1", "put": "right"}', "application/json")])
    assert len([entry for entry in read(worker_log._folder) if isinstance(entry.note, Sent)]) == 2


def test_a_log_that_takes_nothing_is_an_error_and_an_alarm(diary, worker_log):
    worker_log.close()
    with pytest.raises(NotNoted, match="closed"):
        diary.leaving([Publication(f"{ROOT}event", b"{}", "application/json")])
    (alarm,) = diary.alarms()
    assert (alarm.code, "closed" in alarm.detail) == ("log-unwritable", True)


def test_the_alarm_holds_until_the_log_takes_something_again(diary, worker_log, tmp_path):
    """What stands there already says nothing of how the log is now; nor does nothing at all."""
    known = Publication(f"{ROOT}event", b"{}", "application/json")
    diary.leaving([known])
    folder = tmp_path / "log"
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(NotNoted):
        diary.leaving([Publication(f"{ROOT}event", b'{"id": "2"}', "application/json")])
    diary.leaving([known])
    diary.leaving([])
    assert [alarm.code for alarm in diary.alarms()] == ["log-unwritable"]
    (tmp_path / "elsewhere").rename(folder)
    diary.leaving([Publication(f"{ROOT}event", b'{"id": "2"}', "application/json")])
    assert diary.alarms() == []


def test_a_log_that_was_deleted_while_the_unit_was_off_closes_the_camera(daemon):
    daemon.watching()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen")
    daemon.stop()
    shutil.rmtree(daemon.state / "log")
    daemon.start()
    until(lambda: "repair: the worker's log is gone" in daemon.said(), "the camera to stay closed")
    assert daemon.said().count("INFO: watching") == 1
    assert isinstance(ask(daemon.state, EndRepair()), Done)
    until(lambda: daemon.said().count("INFO: watching") == 2, "the watch to go on")
    daemon.stop()
    daemon.start()
    until(lambda: daemon.said().count("INFO: watching") == 3, "the watch to begin again")


def test_the_rules_in_force_are_in_the_log_of_each_start_and_of_one_that_begins_anew(daemon):
    for _ in range(2):
        daemon.watching()
        until(lambda: policies(daemon), "the rules to be noted")
        daemon.stop()
    assert [took.version for took in policies(daemon)] == [5, 5]
    (segment,) = (daemon.state / "log").glob("segment-*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"version":5', b'"version":6', 1))
    daemon.start()
    until(lambda: "repair: the worker's log was changed" in daemon.said(), "the change to be found")
    until(lambda: policies(daemon), "the rules to be noted in the new log")
    assert [took.version for took in policies(daemon)] == [5]


class Ticking:
    """Monotonic seconds that the test sets."""

    now_s = 0.0


def health_of(number):
    return Publication(f"{ROOT}health", json.dumps({"frames": number}).encode(), "application/json", qos=0)


def healths(worker_log):
    notes = [entry.note for entry in read(worker_log._folder) if isinstance(entry.note, Sent)]
    return [json.loads(note.payload)["frames"] for note in notes if note.topic == "health"]


def test_of_an_hour_of_health_the_first_is_noted_and_before_it_leaves(worker_log):
    diary = WorkersDiary(worker_log, Topics("acme", "cam-1"), lambda: NOON, lambda: Ticking.now_s)
    for minute in range(150):
        Ticking.now_s = 60.0 * minute
        diary.leaving([health_of(minute)])
        assert healths(worker_log)[-1] == minute // 60 * 60
    assert healths(worker_log) == [0, 60, 120]
    diary.leaving([Publication(f"{ROOT}event", b'{"id": "1"}', "application/json"), health_of(150)])
    assert len([entry for entry in read(worker_log._folder) if isinstance(entry.note, Sent)]) == 4


def test_a_log_that_fails_is_asked_for_each_health_whatever_the_hour_says(worker_log, monkeypatch):
    diary = WorkersDiary(worker_log, Topics("acme", "cam-1"), lambda: NOON, lambda: 0.0)
    diary.leaving([health_of(1)])

    def full(_notes):
        raise LogUnwritable("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(worker_log, "append", full)
        with pytest.raises(NotNoted):
            diary.leaving([Publication(f"{ROOT}event", b"{}", "application/json")])
        with pytest.raises(NotNoted):
            diary.leaving([health_of(2)])
    diary.leaving([health_of(3)])
    assert (healths(worker_log), diary.trouble) == ([1, 3], None)
