"""The core of the uplink against brokers that have nothing in common, over both versions of MQTT."""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from edge.operator.ingest import Ingester, filters
from edge.operator.station import Station
from edge.operator.store import Store
from edge.uplink.inbox import Inbox
from edge.uplink.link import BrokerConfig
from edge.uplink.listener import listen
from edge.uplink.messages import Capture, ThumbnailRef, decode_event, decode_state, encode
from edge.uplink.patience import Patience
from edge.uplink.records import Record, Serial
from edge.uplink.signals import Publication, Received
from edge.uplink.wire import JSON, timestamp
from tests.broker import PROGRAM, Mosquitto, collect, free_port, until
from tests.uplink.conftest import (
    TOPICS,
    empty,
    event,
    event_message,
    jpeg,
    put_event,
    quick_uplink,
    thumb_message,
)

AMQTT = """
import asyncio, sys
from amqtt.broker import Broker
async def main():
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}}
    await Broker({"listeners": listeners, "plugins": anonymous}).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""
SOON = Patience(retry_s=1.0, resend_s=3.0, nudge_s=0.5)


class Broker(Protocol):
    """A broker of one's own, always on the same port."""

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def config(self, client_id: str, **more: object) -> BrokerConfig: ...


class MosquittoBroker:
    def __init__(self, folder: Path, protocol: str) -> None:
        self._folder, self._protocol = folder, protocol
        self._mosquitto = Mosquitto(folder)

    def start(self) -> None:
        self._mosquitto.start()

    def kill(self) -> None:
        self._mosquitto.stop(signal.SIGKILL)

    def config(self, client_id: str, **more: object) -> BrokerConfig:
        return self._mosquitto.config(client_id, protocol=self._protocol, **more)


class AmqttBroker:
    """In a process of its own, so that it can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "amqtt.log").open("ab") as log:
            command = [sys.executable, "-c", AMQTT, str(self._port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens, "amqtt to listen", 30.0)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def config(self, client_id: str, **more: object) -> BrokerConfig:
        return BrokerConfig("127.0.0.1", self._port, client_id, protocol="3.1.1", **more)

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "amqtt.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


@pytest.fixture(params=["amqtt over 3.1.1", "mosquitto over 3.1.1", "mosquitto over 5"])
def broker(request, tmp_path) -> Iterator[Broker]:
    name, _, protocol = request.param.partition(" over ")
    folder = tmp_path / name
    folder.mkdir()
    if name == "amqtt":
        if importlib.util.find_spec("amqtt") is None:
            pytest.skip("no amqtt here: pip install amqtt")
        made: Broker = AmqttBroker(folder)
    elif PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs mosquitto")
        pytest.skip("no mosquitto here: apt install mosquitto")
    else:
        made = MosquittoBroker(folder, protocol)
    made.start()
    yield made
    made.kill()


@contextlib.contextmanager
def ingesting(broker: Broker, path: Path) -> Iterator[None]:
    """The reference ingester, in a thread."""
    stop, failed = threading.Event(), []

    def run() -> None:
        try:
            config = broker.config("ingester", session_expiry_s=3600)
            station = Station(config, filters(TOPICS.tenant, None), manual_ack=True)
            with Store.open(path, TOPICS.tenant) as store, station:
                # A broker that is away is what some of these tests are about.
                ingester = Ingester(TOPICS.tenant, station, store, lambda _why: None)
                while not stop.is_set():
                    ingester.turn(stop)
        except Exception as error:  # noqa: BLE001  it fails the test, from another thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not failed


def stored(path: Path) -> list[int]:
    """The numbers in an ingester's store, in order of their arrival."""
    with Store.open(path, TOPICS.tenant) as store:
        rows = store._db.execute("SELECT payload FROM events ORDER BY position").fetchall()
    return [decode_event(payload).data.seq for (payload,) in rows]


def pictures(path: Path) -> int:
    with Store.open(path, TOPICS.tenant) as store:
        return store._db.execute("SELECT COUNT(*) FROM pictures").fetchone()[0]


def announced(serial: Serial) -> Record:
    """An event that announces its picture, and the picture."""
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    picture = thumb_message(serial, expires_at)
    reference = ThumbnailRef(
        topic=picture.topic,
        media_type=picture.content_type,
        bytes=len(picture.payload),
        sha256=hashlib.sha256(picture.payload).hexdigest(),
        expires_at=timestamp(expires_at),
    )
    told = event_message(serial)
    payload = encode(event(serial.seq, epoch=serial.epoch, thumbnail=reference))
    return Record((dataclasses.replace(told, payload=payload), picture))


def test_birth_events_and_pictures_in_order_and_an_explicit_offline(broker, spool):
    with listen(broker.config("ear"), "deskwatch/#") as ear:
        with quick_uplink(spool, broker.config("unit-1")):
            for _ in range(30):
                spool.put(lambda serial: Record((event_message(serial), thumb_message(serial))))
            got = collect(ear, lambda messages: len(messages) >= 61)
            until(lambda: empty(spool), "an empty spool")
        got += collect(ear, len)
    assert [m.topic for m in got][1:-1] == [
        t for n in range(1, 31) for t in (TOPICS.event, TOPICS.thumb(f"e{n}"))
    ]
    assert all(m.payload == jpeg(n) for n, m in enumerate(got[2:-1:2], 1))
    first, last = decode_state(got[0].payload), decode_state(got[-1].payload)
    assert (first.online, last.online, last.capture) == (True, False, Capture.STOPPED)
    with listen(broker.config("late"), TOPICS.state) as late:
        retained = collect(late, len)
    # amqtt 0.12 may send a retained message twice
    assert all(message.retain and decode_state(message.payload) == last for message in retained)


UNIT = """
import sys, time
from pathlib import Path
from edge.uplink.link import BrokerConfig
from edge.uplink.spool import Spool
from tests.uplink.conftest import quick_uplink
config = BrokerConfig("127.0.0.1", int(sys.argv[2]), "unit-1", protocol=sys.argv[3])
with Spool.open(Path(sys.argv[1])) as spool, quick_uplink(spool, config):
    time.sleep(60)
"""


def test_a_unit_that_is_killed_leaves_its_will(broker, tmp_path):
    config = broker.config("unit-1")
    command = [sys.executable, "-c", UNIT, str(tmp_path / "spool.db"), str(config.port), config.protocol]
    root = str(Path(__file__).parents[2])
    with listen(broker.config("ear"), TOPICS.state) as ear:
        unit = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root})
        try:
            (born,) = collect(ear, len, 30.0)
        finally:
            unit.kill()
            unit.wait()
        (will,) = collect(ear, len, 30.0)
    assert decode_state(born.payload).online
    assert not decode_state(will.payload).online
    assert decode_state(will.payload).capture is Capture.UNKNOWN


def test_the_ingesters_word_releases(broker, spool, tmp_path):
    kept = tmp_path / "kept.db"
    with quick_uplink(spool, broker.config("unit-1"), release="ack", patience=SOON) as uplink:
        for _ in range(20):
            spool.put(announced)
        until(lambda: uplink.status().delivered >= 40, "the broker to take all")
        assert spool.depth().events == 20  # the broker's word alone releases nothing
        with ingesting(broker, kept):
            until(lambda: empty(spool), "the ingester's word", 30.0)
            until(lambda: uplink.status().ingester_seq == 20, "the number that the ingester has all up to")
    assert sorted(stored(kept)) == list(range(1, 21))
    assert pictures(kept) == 20


def test_a_broker_that_is_killed_loses_nothing(broker, spool, tmp_path):
    kept = tmp_path / "kept.db"
    with (
        ingesting(broker, kept),
        quick_uplink(spool, broker.config("unit-1"), release="ack", patience=SOON),
    ):
        for _ in range(3):
            for _ in range(30):
                put_event(spool)
            broker.kill()
            for _ in range(30):
                put_event(spool)
            broker.start()
        until(lambda: empty(spool), "everything to be acknowledged", 60.0)
    assert sorted(stored(kept)) == list(range(1, 181))


def test_commands_come_also_those_sent_while_the_unit_was_away(broker, spool, tmp_path):
    came: list[Received] = []
    inbox = Inbox({TOPICS.command("+"): came.append})
    command = Publication(TOPICS.command("diagnose"), json.dumps({"n": 1}).encode(), JSON)
    with listen(broker.config("operator"), "nothing") as operator:
        with quick_uplink(spool, broker.config("unit-1"), inbox=inbox) as uplink:
            until(lambda: uplink.status().connected, "a connection")
            put_event(spool)
            until(lambda: empty(spool), "what follows the subscription")
            operator.publish(command)
            operator.receive(0.1)
            until(lambda: len(came) == 1, "a command")
        if isinstance(broker, AmqttBroker):
            return  # amqtt 0.12 forgets the session of who leaves, whatever was agreed
        operator.publish(Publication(command.topic, b'{"n": 2}', JSON))
        operator.receive(0.5)
        operator.receive(0.5)
    with quick_uplink(spool, broker.config("unit-1"), inbox=inbox):
        until(lambda: len(came) == 2, "the command that was sent while the unit was away")
    assert [json.loads(message.payload)["n"] for message in came] == [1, 2]
    assert not any(message.retain for message in came)
