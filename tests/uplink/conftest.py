"""A real broker, a real spool, and what is put through them."""

import contextlib
import datetime as dt
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import pytest

from edge.backoff import Backoff
from edge.clock import SystemClock
from edge.uplink.carry import Uplink
from edge.uplink.link import BrokerConfig
from edge.uplink.messages import Capture, Model, OpenedData, OpenedEvent, Rule, State, encode
from edge.uplink.records import Kind, Outgoing, Record, Serial
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, timestamp
from tests.broker import Mosquitto

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, 89_999, tzinfo=dt.UTC)
MODEL = Model(name="ssd", sha256="ab" * 32)
TOPICS = Topics("acme", "unit-1")
EPOCH = "e" * 32


class Relay:
    """A wire between unit and broker that counts packets, and can be cut or hold acknowledgements back."""

    PUBLISH, PUBACK = 3, 4

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.open = True
        self.hold_acks = threading.Event()
        self.hold_acks.set()  # set: acknowledgements pass
        self.unacked = self.most_unacked = self.published = self.largest_publish_bytes = 0
        self._lock = threading.Lock()
        self._wires: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                unit, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self.to_port)) if self.open else None
            except ConnectionRefusedError:
                broker = None
            except OSError:
                return
            if broker is None:
                unit.close()
                continue
            with self._lock:
                self._wires += [unit, broker]
                self.unacked = 0
            for source, sink in ((unit, broker), (broker, unit)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), source.makefile("rb") as stream:
            while True:
                packet = self._packet(stream)
                kind = packet[0] >> 4
                if kind == self.PUBACK:
                    self.hold_acks.wait(10)
                with self._lock:
                    self.unacked += {self.PUBLISH: 1, self.PUBACK: -1}.get(kind, 0)
                    if kind == self.PUBLISH:
                        self.published += 1
                        self.largest_publish_bytes = max(self.largest_publish_bytes, len(packet))
                    self.most_unacked = max(self.most_unacked, self.unacked)
                sink.sendall(packet)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _packet(stream: BinaryIO) -> bytes:
        """One MQTT control packet: a type, a length of 7 bits a byte, and that many bytes."""
        head, length, shift = stream.read(1), 0, 0
        while True:
            byte = stream.read(1)
            if not byte:
                raise EOFError
            head += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return head + stream.read(length)

    def cut(self) -> None:
        """Break every connection, and take no new one until `open` is set again."""
        self.open = False
        with self._lock:
            for end in self._wires:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hold_acks.set()
        self.cut()
        for end in self._wires:
            end.close()


class Scripted:
    """A host that answers every caller with the same bytes, an answer a message, and then says no more."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                self._peers.append(peer)
                with contextlib.suppress(OSError):
                    for answer in self._answers:
                        peer.recv(4096)
                        peer.sendall(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
        for peer in self._peers:
            peer.close()

    def config(self, **more: object) -> BrokerConfig:
        return BrokerConfig("127.0.0.1", self.port, "unit-1", **{"connect_timeout_s": 0.5, **more})


@pytest.fixture
def relay(mosquitto: Mosquitto) -> Iterator[Relay]:
    relay = Relay(mosquitto.port)
    yield relay
    relay.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool.open(tmp_path / "state" / "spool.db") as spool:
        yield spool


def birth(**changes: object) -> State:
    fields: dict[str, object] = {
        "online": True,
        "boot_id": "boot-1",
        "firmware": "0.1.0",
        "model": MODEL,
        "policy_version": 7,
        "capture": Capture.WATCHING,
        "at": timestamp(NOW),
    }
    return State(**{**fields, **changes})


def event(seq: int, **changes: object) -> OpenedEvent:
    data: dict[str, object] = {
        "unit": "unit-1",
        "tenant": "acme",
        "epoch": EPOCH,
        "seq": seq,
        "monotonic_s": 12.5,
        "boot_id": "boot-1",
        "clock": ClockQuality.SYNCHRONISED,
        "policy_version": 7,
        "model": MODEL,
        "rule": Rule(id="phone", kind="object"),
        "since_at": timestamp(NOW - dt.timedelta(seconds=2)),
        "hold_s": 2.0,
        "labels": ("cell phone",),
        "score": 0.71,
        "boxes": ((0.1, 0.2, 0.3, 0.4),),
    }
    return OpenedEvent(
        id=f"e{seq}",
        source=TOPICS.source,
        subject="phone",
        time=timestamp(NOW),
        data=OpenedData(**{**data, **changes}),
    )


def jpeg(seq: int, size_bytes: int = 40_000) -> bytes:
    """Bytes that are as large and as dense as a picture, and differ by `seq`."""
    return hashlib.shake_256(str(seq).encode()).digest(size_bytes)


def event_message(serial: Serial) -> Outgoing:
    made = encode(event(serial.seq, epoch=serial.epoch))
    return Outgoing(Kind.EVENT, TOPICS.event, made, "application/cloudevents+json", f"e{serial.seq}")


def thumb_message(
    serial: Serial, expires_at: dt.datetime | None = None, size_bytes: int = 40_000
) -> Outgoing:
    made = jpeg(serial.seq, size_bytes)
    topic = TOPICS.thumb(f"e{serial.seq}")
    return Outgoing(Kind.THUMBNAIL, topic, made, "image/jpeg", f"e{serial.seq}", expires_at)


def put_event(spool: Spool) -> int:
    return spool.put(lambda serial: Record((event_message(serial),)))


def quick_uplink(spool: Spool, config: BrokerConfig, **more: object) -> Uplink:
    """An uplink that tries again within a fifth of a second."""
    fields: dict[str, object] = {"clock": SystemClock(), "backoff": Backoff(0.05, 0.2), "chance": lambda: 1.0}
    return Uplink(spool, config, TOPICS, birth(), **{**fields, **more})


def empty(spool: Spool) -> bool:
    depth = spool.depth()
    return depth.events == depth.thumbnails == 0
