"""The reference ingester as a process of its own, against a real broker, killed where it hurts."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.cli import main
from edge.operator.station import Station
from edge.uplink.command_messages import Ack, decode_ack, encode_ack
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON
from tests.broker import subscribed
from tests.operator.fleet import EPOCH, gap, opened, picture, publication

DESKWATCH = Path(sys.executable).parent / "deskwatch"
ACKS = "deskwatch/v1/acme/+/ack"


class Ingesting:
    """`deskwatch operator ack`, to kill and to start again."""

    def __init__(self, broker, folder, *options):
        self.store = folder / "store" / "events.db"
        at = f"127.0.0.1:{broker.port}"
        where = ["--broker", at, "--no-tls", "--tenant", "acme", "--store", self.store]
        self._command = [DESKWATCH, "operator", "ack", *where, *options]
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = ""
        while "storing what comes" not in said:
            line = self._process.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        return said

    def says(self, words):
        """Read on until it says that."""
        while words not in (line := self._process.stdout.readline()):
            assert line, f"it ended before it said {words!r}"

    def kill(self):
        self._process.kill()
        self._process.communicate(timeout=10)
        self._process = None

    def stop(self):
        if self._process is None:
            return 0, ""
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=20)
        code, self._process = self._process.returncode, None
        return code, said

    def rows(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()


@pytest.fixture
def make(broker, tmp_path):
    """Makes ingesters on one store, and stops them at the end."""
    made = []

    def make(*options):
        made.append(Ingesting(broker, tmp_path, *options))
        return made[-1]

    yield make
    for ingesting in made:
        ingesting.stop()


@pytest.fixture
def ingesting(make):
    ingesting = make()
    ingesting.start()
    return ingesting


def acknowledged(station, seq, unit="unit-1", timeout_s=30.0):
    """Wait for an acknowledgement of just that; return all that came."""
    came = []
    deadline_s = time.monotonic() + timeout_s
    while not came or came[-1] != (unit, Ack(epoch=EPOCH, seq=seq)):
        assert time.monotonic() < deadline_s, came
        came += [(message.topic.split("/")[3], decode_ack(message.payload)) for message in station.turn(0.5)]
    return came


def put(station, *messages):
    for message in messages:
        station.publish(f"{message.topic} {message.payload[:300]!r}", publication(message))


def test_what_is_acknowledged_is_in_the_store(broker, ingesting):
    with Station(broker.config("pub"), [ACKS]) as station:
        put(station, opened(1, with_picture=True), opened(2), gap(5, 3, 4))
        acknowledged(station, 0)
        put(station, picture(1))
        acknowledged(station, 5)
        put(station, opened(1, unit="unit-2"), opened(2, unit="unit-2"), opened(2, unit="unit-2"))
        acknowledged(station, 2, "unit-2")
    code, said = ingesting.stop()
    assert code == 0
    assert "stored 5 events" in said
    assert "1 picture" in said
    assert ingesting.rows("SELECT unit, seq FROM events ORDER BY unit, seq") == [
        ("unit-1", 1),
        ("unit-1", 2),
        ("unit-1", 5),
        ("unit-2", 1),
        ("unit-2", 2),
    ]
    assert ingesting.rows("SELECT payload FROM pictures") == [(picture(1).payload,)]
    with subscribed(broker, ACKS) as listener:
        retained = {listener.receive(5).topic for _ in range(2)}
    assert retained == {Topics("acme", name).ack for name in ("unit-1", "unit-2")}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_killed_at_any_moment_it_acknowledged_only_what_it_has_and_gets_the_rest(broker, make, protocol):
    """Each message is published once: what the ingester had not stored, the broker must have kept."""
    chance = random.Random(7)
    ingesting = make("--protocol", protocol)
    ingesting.start()
    kills, chunk = 6, 40
    promised = 0
    with Station(broker.config("pub"), [ACKS]) as station:

        def hear(wait_s):
            nonlocal promised
            for message in station.turn(wait_s):
                seq = decode_ack(message.payload).seq
                promised = max(promised, seq)
                if seq:
                    stored = ingesting.rows(
                        "SELECT count(*), count(pictures.payload) FROM events LEFT JOIN pictures"
                        f" ON pictures.event_id = events.id WHERE seq <= {seq}"
                    )
                    assert stored == [(seq, seq)], f"acknowledged {seq}, and stored {stored}"

        for round_ in range(kills):
            for seq in range(round_ * chunk + 1, (round_ + 1) * chunk + 1):
                put(station, opened(seq, with_picture=True), picture(seq))
            end_s = time.monotonic() + chance.uniform(0.0, 0.15)
            while time.monotonic() < end_s:
                hear(0.005)
            ingesting.kill()
            ingesting.start()
        deadline_s = time.monotonic() + 60
        while promised < kills * chunk:
            hear(0.5)
            assert time.monotonic() < deadline_s, f"{promised} of {kills * chunk}"
    ingesting.stop()
    assert ingesting.rows("SELECT count(*), count(DISTINCT seq) FROM events") == [(kills * chunk,) * 2]
    assert ingesting.rows("SELECT count(*) FROM pictures") == [(kills * chunk,)]
    assert ingesting.rows("PRAGMA integrity_check") == [("ok",)]


def test_the_broker_keeps_what_cannot_be_stored(broker, ingesting, tmp_path):
    """The store is locked while an event comes, and the ingester is killed before it could write it."""
    with Station(broker.config("pub"), [ACKS]) as station:
        put(station, opened(1))
        acknowledged(station, 1)
        with contextlib.closing(sqlite3.connect(ingesting.store, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            put(station, opened(2))
            while not station.idle:
                assert station.turn(0.5) == []
            assert station.turn(1.0) == []
            ingesting.kill()
        ingesting.start()
        acknowledged(station, 2)


def test_a_store_that_cannot_be_written_for_a_while_costs_nothing(broker, ingesting):
    with Station(broker.config("pub"), [ACKS]) as station:
        put(station, opened(1))
        acknowledged(station, 1)
        with contextlib.closing(sqlite3.connect(ingesting.store, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            put(station, opened(2), opened(3))
            while not station.idle:
                assert station.turn(0.5) == []
            ingesting.says("the store: database is locked: nothing is acknowledged")
            assert station.turn(0.0) == []
        acknowledged(station, 3)
    code, said = ingesting.stop()
    assert code == 0
    assert "stored 3 events (0 came again)" in said


def test_after_the_broker_forgot_everything_every_unit_hears_again_how_far_it_is(broker, ingesting):
    with Station(broker.config("pub"), [ACKS]) as station:
        put(station, opened(1), opened(2))
        acknowledged(station, 2)
        broker.stop(signal.SIGKILL)
        broker.start()
        acknowledged(station, 2)
        put(station, opened(3))
        acknowledged(station, 3)


def test_a_new_store_begins_where_the_one_before_had_acknowledged(broker, make):
    topic = Topics("acme", "unit-1").ack
    ingesting = make()
    with Station(broker.config("pub"), [ACKS]) as station:
        station.publish("ack", Publication(topic, encode_ack(Ack(epoch=EPOCH, seq=40)), JSON, retain=True))
        acknowledged(station, 40)
        assert "a new store: what 1 unit acknowledged before is not in it" in ingesting.start()
        put(station, opened(41))
        acknowledged(station, 41)
    assert ingesting.stop()[0] == 0


def test_two_may_share_the_work_on_one_store(broker, make):
    members = [make("--share", "g", "--client-id", f"member-{n}") for n in (1, 2)]
    for member in members:
        member.start()
    with Station(broker.config("pub"), [ACKS]) as station:
        for seq in range(1, 61):
            put(station, opened(seq, with_picture=True), picture(seq))
        seen = set()
        deadline_s = time.monotonic() + 30
        while max(seen, default=0) < 60:
            assert time.monotonic() < deadline_s, seen
            seen |= {decode_ack(message.payload).seq for message in station.turn(0.5)}
    assert members[0].rows("SELECT count(*) FROM events") == [(60,)]
    said = [member.stop() for member in members]
    assert [code for code, _ in said] == [0, 0]
    assert all("stored 0 events" not in words for _, words in said), said


def test_what_is_wrong_is_told_before_anything_is_stored(broker, tmp_path, capsys):
    at = ["--broker", f"127.0.0.1:{broker.port}", "--no-tls", "--tenant", "acme"]
    store = tmp_path / "events.db"
    assert main(["operator", "ack", *at, "--store", str(store), "--share", "g"]) == 2
    assert "--share: wanted --client-id beside it" in capsys.readouterr().err
    shared = ["--share", "g/h", "--client-id", "x"]  # it would hear nothing, and say nothing of that
    assert main(["operator", "ack", *at, "--store", str(store), *shared]) == 2
    assert "--share: wanted printable characters without '/'" in capsys.readouterr().err
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["operator", "ack", *at, "--store", str(pipe)]) == 2
    assert f"{pipe}: " in capsys.readouterr().err
    store.write_bytes(b"no database" * 100)
    assert main(["operator", "ack", *at, "--store", str(store)]) == 2
    assert "not a database" in capsys.readouterr().err
    broker.stop()
    store.unlink()
    assert main(["operator", "ack", *at, "--store", str(store)]) == 2
    assert "nothing listens there" in capsys.readouterr().err
