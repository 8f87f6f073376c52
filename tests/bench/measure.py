"""The uplink beside a bare paho loop; and what a put, an event and an idle day cost."""

import datetime as dt
import hashlib
import random
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.clock import SystemClock
from edge.diary import WorkersDiary
from edge.evidence.sealing import parcel
from edge.facts import Facts
from edge.health import health_of
from edge.policy.document import ObjectRule
from edge.policy.judge import Answer, Finding, Opened
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.carry import Uplink
from edge.uplink.delivery import WINDOW
from edge.uplink.event_records import Origin, Stamp, opened_record
from edge.uplink.health_post import HEALTH_EVERY_S
from edge.uplink.messages import EVENT_CONTENT_TYPE, Capture, Model, State
from edge.uplink.records import OpenInfraction, Record, Serial
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, timestamp
from edge.worklog.log import WorkerLog
from tests.bench.packets import Packets

TOPICS = Topics("bench", "unit-1")
FACTS: Facts = {
    "unit.session": 12,
    "unit.up_s": 86412.5,
    "unit.restarts": 0,
    "watch.frames": 169004,
    "watch.inferences": 16902,
    "watch.skipped": 3,
    "watch.camera_faults": 0,
    "watch.inference_p50_s": 0.1172,
    "watch.inference_p95_s": 0.1413,
    "watch.inference_p99_s": 0.1884,
    "power.temperature_c": 58.4,
    "power.throttled": 0,
    "power.under_voltage": 0.0,
    "memory.available_bytes": 201326592,
    "disk.free_bytes": 21474836480,
    "clock.max_error_s": 0.031512,
    "clock.synchronised": 1.0,
    "spool.events": 0,
    "spool.thumbnails": 0,
    "spool.used_bytes": 131072,
    "spool.dead_letters": 0,
}
HEALTH_MIN_BYTES = 400
"""Less was not such a message."""
MODEL = Model(name="none", sha256="0" * 64)
ORIGIN = Origin(TOPICS, "bench", MODEL)
RULE = ObjectRule(id="phone", labels=("cell phone",))
SPOOL_BYTES = 256 << 20
PICTURE_BYTES = 40_000
_LIMIT_S = 300.0


def event(serial: Serial, picture_bytes: int = 0) -> Record:
    """Return an opened infraction, as a unit writes it."""
    now_at = dt.datetime.now(dt.UTC)
    stamp = Stamp(str(uuid.uuid4()), now_at, time.monotonic(), ClockQuality.SYNCHRONISED, 1)
    opens = OpenInfraction(stamp.event_id, "phone", "object", now_at, now_at)
    jpeg = None
    if picture_bytes:
        picture = hashlib.shake_128(stamp.event_id.encode()).digest(picture_bytes)
        jpeg = parcel(picture, None, ORIGIN.topics.unit, stamp.event_id)
    verdict = Opened(RULE, 0.0, 2.0, Finding(Answer.YES))
    record = opened_record(ORIGIN, stamp, opens, verdict, jpeg, dt.timedelta(days=20), serial)
    return Record(record.messages)  # ten thousand open infractions are nobody's


def birth() -> State:
    """Return the state that a unit begins with."""
    return State(
        online=True,
        boot_id="bench",
        firmware="bench",
        model=MODEL,
        policy_version=1,
        capture=Capture.WATCHING,
        at=timestamp(dt.datetime.now(dt.UTC)),
    )


@contextmanager
def _uplink(
    folder: Path, spool: Spool, config: BrokerConfig, health_every_s: float | None = None
) -> Iterator[Uplink]:
    """Run the real one, worker's log and all, but one that does not wait before it connects."""
    clock = SystemClock()
    with WorkerLog.open(folder / "log", now_at=clock.now_at) as log:
        diary, state = WorkersDiary(log, TOPICS, clock.now_at), birth()
        with Uplink(
            spool,
            config,
            TOPICS,
            state,
            clock=clock,
            chance=lambda: 0.0,
            diary=diary,
            health=None if health_every_s is None else lambda: health_of(FACTS, state, clock.now_at()),
            health_every_s=health_every_s or HEALTH_EVERY_S,
        ) as uplink:
            yield uplink


@dataclass(frozen=True, slots=True)
class Puts:
    """What it takes to keep an event, on this disk."""

    events: int
    picture_bytes: int
    p50_ms: float
    p99_ms: float
    written_bytes: float
    """That the process caused the disk to be written, an event."""


def puts(folder: Path, count: int, picture_bytes: int) -> Puts:
    """Time `count` puts into a fresh spool."""
    taken_s: list[float] = []
    with Spool.open(folder / "puts" / "spool.db", max_bytes=SPOOL_BYTES) as spool:
        spool.put(event)
        before = written_bytes()
        for _ in range(count):
            began_s = time.perf_counter()
            spool.put(lambda serial: event(serial, picture_bytes))
            taken_s.append(time.perf_counter() - began_s)
        written = (written_bytes() - before) / count
    shutil.rmtree(folder / "puts")
    cuts = statistics.quantiles(taken_s, n=100)
    return Puts(count, picture_bytes, 1000 * statistics.median(taken_s), 1000 * cuts[98], written)


def written_bytes() -> int:
    """Return what this process has caused to be written to a disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def fill(folder: Path, events: int) -> list[bytes]:
    """Make a spool of so many waiting events in `folder`, and return their payloads."""
    payloads: list[bytes] = []

    def build(serial: Serial) -> Record:
        record = event(serial)
        payloads.append(record.messages[0].payload)
        return record

    with Spool.open(folder / "spool.db", max_bytes=SPOOL_BYTES) as spool:
        for _ in range(events):
            spool.put(build)
    return payloads


@dataclass(frozen=True, slots=True)
class Run:
    """One side, once."""

    per_s: float
    """Messages per second, from before the connection to the last acknowledgement."""
    cpu_us: float
    """Of this process, a message: what a busy machine does not blur."""
    written_bytes: float = 0.0
    """That the disk was given, a message."""


def drain(full: Path, scratch: Path, port: int, events: int) -> Run:
    """Let the uplink empty a copy of `full`."""
    shutil.copytree(full, scratch)
    with Spool.open(scratch / "spool.db", max_bytes=SPOOL_BYTES) as spool:
        config = BrokerConfig("127.0.0.1", port, "unit-1")
        before, began_s, cpu_s = written_bytes(), time.perf_counter(), time.process_time()
        with _uplink(scratch, spool, config) as uplink:
            _wait(lambda: uplink.status().delivered >= events and spool.depth().events == 0)
            taken_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        written = (written_bytes() - before) / events
    shutil.rmtree(scratch)
    return Run(events / taken_s, 1e6 * cpu_s / events, written)


def bare(payloads: list[bytes], port: int, *, properties: bool) -> Run:
    """Let a paho client send them that does nothing but keep the window full."""
    in_flight, acked = 0, 0

    def on_publish(*_: object) -> None:
        nonlocal in_flight, acked
        in_flight -= 1
        acked += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=paho.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    client.on_publish = on_publish
    began_s, cpu_s = time.perf_counter(), time.process_time()
    client.connect("127.0.0.1", port)
    while not client.is_connected():
        client.loop(1.0)
    sent = 0
    while acked < len(payloads):
        while in_flight < WINDOW and sent < len(payloads):
            told = _properties(sent) if properties else None
            client.publish(TOPICS.event, payloads[sent], 1, properties=told)
            sent += 1
            in_flight += 1
        if client.loop(1.0) is not paho.MQTT_ERR_SUCCESS:
            raise AssertionError("the bare client lost its broker")
    taken_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    client.disconnect()
    return Run(len(payloads) / taken_s, 1e6 * cpu_s / len(payloads))


def _properties(sent: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = EVENT_CONTENT_TYPE
    properties.UserProperty = [("event_id", str(uuid.UUID(int=sent))), ("seq", str(sent))]
    return properties


@dataclass(frozen=True, slots=True)
class Race:
    """Both sides in turn, on the same messages, against the same broker."""

    events: int
    uplink: tuple[Run, ...]
    bare: tuple[Run, ...]
    """Payloads alone."""
    bare_with_properties: tuple[Run, ...]
    """The very packets that the uplink sends."""

    @property
    def ratio(self) -> float:
        """Messages per second, median against median, payloads alone: the harder one."""
        return per_s(self.uplink) / per_s(self.bare)

    @property
    def ratio_with_properties(self) -> float:
        return per_s(self.uplink) / per_s(self.bare_with_properties)

    @property
    def cpu_ratio(self) -> float:
        """The least CPU that a message took the bare loop, over the least that it took the uplink."""
        return min(r.cpu_us for r in self.bare) / min(r.cpu_us for r in self.uplink)


def per_s(runs: tuple[Run, ...]) -> float:
    """Return the median."""
    return statistics.median(run.per_s for run in runs)


def race(folder: Path, port: int, events: int, rounds: int, say: Callable[[str], None]) -> Race:
    """Let both empty a backlog of `events`, `rounds` times each, in an order that chance gives."""
    say(f"filling a spool with {events} events")
    payloads = fill(folder / "full", events)
    sides: dict[str, Callable[[], Run]] = {
        "uplink": lambda: drain(folder / "full", folder / "drain", port, events),
        "bare": lambda: bare(payloads, port, properties=False),
        "bare_with_properties": lambda: bare(payloads, port, properties=True),
    }
    got: dict[str, list[Run]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            got[name].append(run := sides[name]())
            say(f"{name}: {run.per_s:.0f} messages/s, {run.cpu_us:.0f} µs of CPU each")
    return Race(events, **{name: tuple(runs) for name, runs in got.items()})


@dataclass(frozen=True, slots=True)
class Idle:
    """What a unit costs that says its health alone, with pings in between: measured at a quicker pace."""

    keepalive_s: int
    health_every_s: float
    healths: int
    ip_bytes_per_health: float
    """Both ways, with the pings of a minute, the headers of IP and TCP and the bare acknowledgements."""
    mqtt_bytes_per_health: float
    connect_ip_bytes: int
    """From the handshake to the birth's PUBACK, and the first health."""

    @property
    def ip_bytes_a_day(self) -> float:
        return 86_400 / self.health_every_s * self.ip_bytes_per_health

    @property
    def mqtt_bytes_a_day(self) -> float:
        return 86_400 / self.health_every_s * self.mqtt_bytes_per_health


def idle(folder: Path, port: int, healths: int = 4, keepalive_s: int = 5) -> Idle:
    """Connect, wait, and count the packets; needs root. Health comes every two keepalives, as of a unit."""
    config = BrokerConfig("127.0.0.1", port, "idle", keepalive_s=keepalive_s)
    real = BrokerConfig("127.0.0.1", port, "idle").keepalive_s
    every_s = keepalive_s * HEALTH_EVERY_S / real
    with (
        Spool.open(folder / "idle" / "spool.db") as spool,
        Packets(port) as connecting,
        _uplink(folder / "idle", spool, config, every_s) as uplink,
    ):
        _wait(lambda: uplink.status().connected)
        time.sleep(2.0)  # the birth, its acknowledgement, and the first health
        with Packets(port) as quiet:
            time.sleep(healths * every_s)
        connect_ip_bytes = connecting.ip_bytes - quiet.ip_bytes
    shutil.rmtree(folder / "idle")
    if quiet.payload_bytes < healths * HEALTH_MIN_BYTES:
        raise AssertionError(f"wanted {healths} messages on health, got {quiet.payload_bytes} bytes")
    each = (quiet.ip_bytes / healths, quiet.payload_bytes / healths)
    return Idle(real, HEALTH_EVERY_S, healths, *each, connect_ip_bytes)


def _wait(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not done in {_LIMIT_S:g} s")
        time.sleep(0.005)
