"""The consumer that docs/backend.md prints: run as it stands, against a real mosquitto."""

import contextlib
import datetime as dt
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config import read_config
from edge.evidence.sealing import new_private_key, parcel, seal
from edge.policy.document import ObjectRule
from edge.policy.judge import Answer, Ended, Finding, Opened
from edge.uplink import event_records as records
from edge.uplink.command_messages import Ack, decode_ack, encode_ack
from edge.uplink.messages import Capture, Lost, Model, State, decode_event, encode
from edge.uplink.records import LostRange, OpenInfraction, Outgoing, Serial
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, ClockQuality, timestamp
from edge.vision.model_file import checkout
from edge.vision.types import Box, Track
from tests.broker import Mosquitto, collect, subscribed, until

PAGE = (checkout() / "docs/backend.md").read_text()
NOW = dt.datetime.now(dt.UTC)
TOPICS = Topics("acme", "cam-0042")
ORIGIN = records.Origin(TOPICS, "boot-1", Model(name="ssd", sha256="ab" * 32))
EPOCH, BEFORE = "e" * 32, "d" * 32
RULE = ObjectRule(id="phone", labels=("cell phone",))


def stamp(seq: int) -> records.Stamp:
    return records.Stamp(f"id-{seq}", NOW, 100.0 + seq, ClockQuality.SYNCHRONISED, 7)


def opened(seq: int, epoch: str = EPOCH) -> list[Outgoing]:
    """An event and its picture."""
    opens = OpenInfraction(f"id-{seq}", "phone", "object", NOW, NOW)
    seen = Track(1, "cell phone", 0.7, Box(0.1, 0.2, 0.3, 0.4), 0.0, 0.0, seen=True)
    verdict = Opened(RULE, 10.0, 12.0, Finding(Answer.YES, (seen,), frozenset()))
    jpeg = parcel(b"\xff\xd8" + bytes([seq]) * 100, None, "cam-1", f"id-{seq}")
    record = records.opened_record(
        ORIGIN, stamp(seq), opens, verdict, jpeg, dt.timedelta(days=20), Serial(epoch, seq)
    )
    return list(record.messages)


def closed(seq: int) -> Outgoing:
    opens = OpenInfraction("id-1", "phone", "object", NOW, NOW)
    return records.closed_record(ORIGIN, stamp(seq), opens, 2.0, Ended.ENDED, Serial(EPOCH, seq)).messages[0]


def gap(seq: int, what: str, first: int, last: int) -> Outgoing:
    lost = LostRange(what, EPOCH, first, last, None, Lost.SPOOL_FULL)
    return records.gap_record(ORIGIN, stamp(seq), lost, Serial(EPOCH, seq)).messages[0]


def state(session: int, connection: int, *, online: bool) -> Publication:
    said = State(
        online=online,
        session=session,
        connection=connection,
        boot_id="b",
        firmware="0.1.0",
        model=None,
        policy_version=7,
        capture=Capture.WATCHING,
        at=timestamp(NOW),
    )
    return Publication(TOPICS.state, encode(said), JSON)


SCRIPTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
"""keep.py and unseal.py."""


class Keeper:
    """keep.py of the page, as a process."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        block, _ = SCRIPTS
        self._script, self.file, self._port = folder / "keep.py", folder / "kept.db", broker.port
        self._script.write_text(block)
        self._log = folder / "keep.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, self._script, "127.0.0.1", str(self._port), "acme", self.file]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def rows(self, sql: str) -> list[tuple]:
        """Ask its database; nothing, as long as there is none."""
        if self._process is not None:
            assert self._process.poll() is None, self._log.read_text()
        with (
            contextlib.closing(sqlite3.connect(self.file)) as db,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            return db.execute(sql).fetchall()
        return []

    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Mosquitto:
    mosquitto.start("log_type all")
    return mosquitto


@pytest.fixture
def keeper(broker: Mosquitto, tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(broker, tmp_path)
    keeper.start()
    log = broker.folder / "mosquitto.log"
    try:
        until(lambda: "Sending SUBACK to keep-acme" in log.read_text(), "it to listen", 60)
        yield keeper
    finally:
        keeper.kill()


def acks(messages) -> list[Ack]:
    return [decode_ack(message.payload) for message in messages if message.topic == TOPICS.ack]


def send(listener, *messages: Outgoing) -> None:
    for message in messages:
        listener.publish(Publication(message.topic, message.payload, message.content_type))


def test_it_keeps_each_event_once_in_order_and_says_how_far_it_is(broker, keeper):
    first, picture = opened(1)
    second, its_picture = opened(2)
    with subscribed(broker, TOPICS.ack) as listener:
        # Twice, out of order, a picture before its event; 3 never comes, nor does the picture of 2.
        send(listener, picture, closed(4), first, first, second)
        got = collect(listener, lambda got: Ack(epoch=EPOCH, seq=1) in acks(got), 30)
        assert acks(got)[-1].seq == 1  # 2 waits for its picture
        send(listener, gap(5, "event", 3, 3), gap(6, "thumbnail", 1, 2))
        got = collect(listener, lambda got: Ack(epoch=EPOCH, seq=6) in acks(got), 30)
        send(listener, its_picture)
        until(lambda: len(keeper.rows("SELECT * FROM picture")) == 2, "a picture that came after all", 30)
    (order,) = re.findall(r"^ +(SELECT unit, seq, body.*?\n)\n", PAGE, re.MULTILINE | re.DOTALL)
    rows = keeper.rows(order)
    assert [(unit, seq) for unit, seq, _ in rows] == [("cam-0042", seq) for seq in (1, 2, 4, 5, 6)]
    assert decode_event(rows[0][2].encode()).id == "id-1"
    assert keeper.rows("SELECT id, jpeg FROM picture ORDER BY id") == [
        ("id-1", picture.payload),
        ("id-2", its_picture.payload),
    ]
    assert keeper.rows("SELECT first, last, what FROM lost") == [(3, 3, "event"), (1, 2, "thumbnail")]


def test_what_comes_while_it_is_dead_is_kept_when_it_is_back(broker, keeper):
    with subscribed(broker, TOPICS.ack) as listener:
        send(listener, *opened(1))
        collect(listener, lambda got: Ack(epoch=EPOCH, seq=1) in acks(got), 30)
        keeper.kill()
        send(listener, *opened(2), closed(3))
        keeper.start()
        got = collect(listener, lambda got: Ack(epoch=EPOCH, seq=3) in acks(got), 60)
    assert acks(got)[0] == Ack(epoch=EPOCH, seq=1)  # it says again how far it was
    assert keeper.rows("SELECT seq FROM event ORDER BY seq") == [(1,), (2,), (3,)]


def test_it_goes_on_where_an_ingester_before_it_was(broker, tmp_path):
    with subscribed(broker, TOPICS.ack) as listener:
        listener.publish(Publication(TOPICS.ack, encode_ack(Ack(epoch=EPOCH, seq=41)), JSON, retain=True))
        collect(listener, lambda got: len(got) == 1)
        keeper = Keeper(broker, tmp_path)
        keeper.start()
        try:
            until(lambda: keeper.rows("SELECT seq FROM done") == [(41,)], "it to hear of 41", 60)
            send(listener, closed(42))
            collect(listener, lambda got: Ack(epoch=EPOCH, seq=42) in acks(got), 30)
        finally:
            keeper.kill()


def test_an_epoch_that_begins_anew_is_counted_anew(broker, keeper):
    with subscribed(broker, TOPICS.ack) as listener:
        send(listener, *opened(2, BEFORE), *opened(1))
        assert acks(collect(listener, lambda got: bool(acks(got)), 30)) == [Ack(epoch=EPOCH, seq=1)]


@pytest.mark.parametrize(
    ("said", "online"),
    [
        ([(3, 1, True), (3, 2, True), (3, 1, False)], 1),  # a late will
        ([(3, 1, True), (3, 2, True), (2, 9, False)], 1),
        ([(3, 1, True), (3, 1, False)], 0),
        ([(3, 9, True), (3, 9, False), (4, 1, True)], 1),
        ([(9, 9, True), (1, 1, True)], 1),  # a unit that was set up anew
    ],
)
def test_a_late_will_changes_nothing(broker, keeper, said, online):
    with subscribed(broker, "other") as listener:
        for session, connection, there in said:
            listener.publish(state(session, connection, online=there))
        send(listener, closed(1))
        until(lambda: keeper.rows("SELECT * FROM event"), "what came behind the states", 30)
    assert keeper.rows("SELECT online FROM state") == [(online,)]


def test_a_message_that_is_not_what_the_contract_says_does_not_stop_it(broker, keeper):
    wrong = [b"", b"\xff", b"[]", b"{}", b"7", b'{"data": null}', b"[" * 50_000]
    wrong.append(b'{"id": {}, "type": 1, "session": {}, "epoch": {}, "data": {"epoch": {}, "seq": {}}}')
    topics = (TOPICS.event, TOPICS.state, TOPICS.ack)
    with subscribed(broker, "other") as listener:
        for topic in topics:
            for payload in wrong:
                listener.publish(Publication(topic, payload, JSON))
        send(listener, closed(1))
        until(lambda: keeper.rows("SELECT * FROM event"), "what came behind them", 30)
    assert keeper.log().count("not what the contract says") == len(wrong) * len(topics)


def test_its_unit_toml_is_one(tmp_path):
    (block,) = re.findall(r"((?:^    [a-z]+ = \{.*\n)+)", PAGE, re.MULTILINE)
    path = tmp_path / "unit.toml"
    path.write_text(textwrap.dedent(block))
    config = read_config(path)
    assert (config.unit.id, config.uplink.release, config.broker.encrypted) == ("cam-0042", "ack", False)
    assert (checkout() / config.paths.policy).is_file()
    assert (checkout() / config.camera.source).is_file()


def test_its_second_script_opens_a_sealed_picture_and_no_other(tmp_path):
    key, jpeg = new_private_key(), bytes(range(256)) * 20
    script, private = tmp_path / "unseal.py", tmp_path / "review.key"
    script.write_text(SCRIPTS[1])
    private.write_bytes(key.pem())
    sealed = seal(jpeg, key.recipient, "cam-0042", "é1")

    def unsealed(event: str) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, script, private, "cam-0042", event]
        return subprocess.run(words, input=sealed, capture_output=True, check=False)

    assert unsealed("é1").stdout == jpeg
    other = unsealed("é2")
    assert other.returncode == 1
    assert b"InvalidTag" in other.stderr
