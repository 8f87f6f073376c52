"""Units of one's own: their messages, and one that answers over a real link as it is told."""

import contextlib
import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Iterator

from edge.uplink import messages
from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.messages import (
    Capture,
    GapData,
    GapEvent,
    Model,
    OpenedData,
    OpenedEvent,
    Rule,
    State,
    ThumbnailRef,
    encode,
)
from edge.uplink.signals import Arrived, Lost, Publication, Received, Wake
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, ClockQuality, timestamp

EPOCH = "e" * 32
NOW = dt.datetime(2026, 3, 4, 5, 6, 7, 89_999, tzinfo=dt.UTC)
MODEL = Model(name="ssd", sha256="ab" * 32)


def opened(
    seq: int,
    *,
    unit: str = "unit-1",
    tenant: str = "acme",
    epoch: str = EPOCH,
    with_picture: bool = False,
    expires_at: dt.datetime | None = None,
    clock: str = "synchronised",
    time: dt.datetime = NOW,
) -> Received:
    topics = Topics(tenant, unit)
    event_id = f"{unit}-{epoch[:2]}-{seq}"
    thumbnail = None
    if with_picture:
        pixels = pixels_of(seq)
        thumbnail = ThumbnailRef(
            topic=topics.thumb(event_id),
            media_type="image/jpeg",
            bytes=len(pixels),
            sha256=hashlib.sha256(pixels).hexdigest(),
            expires_at=timestamp(expires_at or NOW + dt.timedelta(days=3650)),
        )
    event = OpenedEvent(
        id=event_id,
        source=topics.source,
        subject="phone",
        time=timestamp(time),
        data=OpenedData(
            unit=unit,
            tenant=tenant,
            epoch=epoch,
            seq=seq,
            boot_id="boot-1",
            clock=ClockQuality(clock),
            monotonic_s=float(seq),
            policy_version=7,
            model=MODEL,
            rule=Rule(id="phone", kind="object"),
            since_at=timestamp(time),
            hold_s=2.0,
            labels=("cell phone",),
            score=0.71,
            boxes=((0.1, 0.2, 0.3, 0.4),),
            thumbnail=thumbnail,
        ),
    )
    return _received(topics.event, encode(event))


def pixels_of(seq: int, size_bytes: int = 4_000) -> bytes:
    """Bytes that are as dense as a picture, and differ by `seq`."""
    return b"\xff\xd8" + hashlib.shake_256(str(seq).encode()).digest(size_bytes)


def picture(seq: int, *, unit: str = "unit-1", epoch: str = EPOCH, expiry_s: int | None = None) -> Received:
    topic = Topics("acme", unit).thumb(f"{unit}-{epoch[:2]}-{seq}")
    return Received(
        topic, 1, retain=False, payload=pixels_of(seq), content_type="image/jpeg", expiry_s=expiry_s
    )


def gap(
    seq: int,
    from_seq: int,
    to_seq: int,
    *,
    what: str = "event",
    unit: str = "unit-1",
    epoch: str = EPOCH,
    lost_epoch: str = EPOCH,
) -> Received:
    topics = Topics("acme", unit)
    event = GapEvent(
        id=f"{unit}-{epoch[:2]}-{seq}",
        source=topics.source,
        subject="gap",
        time=timestamp(NOW),
        data=GapData(
            unit=unit,
            tenant="acme",
            epoch=epoch,
            seq=seq,
            boot_id="boot-1",
            clock=ClockQuality.SYNCHRONISED,
            monotonic_s=float(seq),
            what=what,
            lost_epoch=lost_epoch,
            from_seq=from_seq,
            to_seq=to_seq,
            count=None,
            reason=messages.Lost.SPOOL_FULL,
        ),
    )
    return _received(topics.event, encode(event))


def _received(topic: str, payload: bytes) -> Received:
    return Received(topic, 1, retain=False, payload=payload)


def state(online: bool = True, session: int = 1, connection: int = 1, **changes: object) -> State:
    fields: dict[str, object] = {
        "boot_id": "boot-1",
        "firmware": "0.1.0",
        "model": MODEL,
        "policy_version": 7,
        "capture": Capture.WATCHING if online else Capture.UNKNOWN,
        "at": timestamp(NOW),
        **changes,
    }
    return State(online=online, session=session, connection=connection, **fields)


def publication(message: Received, *, retain: bool = False) -> Publication:
    content_type = message.content_type or JSON
    return Publication(message.topic, message.payload, content_type, retain, message.expiry_s)


class FakeUnit(threading.Thread):
    """A unit on a real link: it says that it is there, and gives each message that comes to `answer`.

    What that returns is published; nothing is retained but states and reports.
    """

    def __init__(
        self,
        config: BrokerConfig,
        topics: Topics,
        answer: Callable[[Received], list[Publication]],
        birth: State | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.topics = topics
        self.received: list[Received] = []
        self.failure: BaseException | None = None
        self._birth = birth or state()
        self._answer = answer
        self._wake = Wake()
        self._stopping = threading.Event()
        self.up = threading.Event()
        self._connection = Connection(config, self._wake)
        self._say: list[Publication] = []

    def say(self, publication: Publication) -> None:
        self._say.append(publication)
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self.join(10)
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        try:
            self._run(self._connection)
        except BaseException as error:  # noqa: BLE001
            self.failure = error
        finally:
            self.up.set()
            self._connection.disconnect()

    def _run(self, connection: Connection) -> None:
        connection.dial()
        connection.wait_until_up(self._stopping.is_set)
        for topic_filter in (self.topics.desired, self.topics.command("+"), self.topics.ack):
            connection.subscribe(topic_filter)
        connection.publish(Publication(self.topics.state, encode(self._birth), JSON, retain=True))
        connection.step(0.0)
        self.up.set()
        while not self._stopping.is_set():
            while self._say:
                connection.publish(self._say.pop(0))
            connection.step(1.0)
            for signal in connection.signals():
                if isinstance(signal, Arrived):
                    self.received.append(signal.message)
                    for said in self._answer(signal.message):
                        connection.publish(said)
                elif isinstance(signal, Lost):
                    raise signal.error


@contextlib.contextmanager
def unit(
    config: BrokerConfig,
    answer: Callable[[Received], list[Publication]] = lambda _message: [],
    birth: State | None = None,
) -> Iterator[FakeUnit]:
    fake = FakeUnit(config, Topics("acme", config.client_id), answer, birth)
    fake.start()
    try:
        assert fake.up.wait(10)
        yield fake
    finally:
        fake.stop()
