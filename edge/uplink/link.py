"""One connection to an MQTT broker, and the only importer of paho.

paho is driven from the caller's own thread (its "external loop"), one client for one connection, and its
callbacks only enqueue. So nothing of paho's survives a connection: no backlog that doubles what the spool
sends again, no network thread that dies unseen, no reconnecting behind the caller's back.
"""

import math
import queue
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.uplink.signals import (
    Acked,
    Arrived,
    BrokerUnreachable,
    Connected,
    Dialled,
    LinkLost,
    Lost,
    Publication,
    Received,
    Signal,
    Subscribed,
    Wake,
    ended,
    refused,
    unreachable,
)
from edge.uplink.tls import Tls, TlsUnusable

_UNLIMITED = 65535  # Receive Maximum where the broker names none: MQTT 5, section 3.2.2.3.3
MAXIMUM_PACKET_BYTES = 256 * 1024
"""The largest packet that we take: far more than an event, a state or a picture needs."""


class _PacketTooLarge(Exception):
    """The other end announced a packet that our memory is not for. Not an OSError: paho swallows those."""


class _Client(paho.Client):
    """Never reads a packet larger than `MAXIMUM_PACKET_BYTES`, where paho would buffer up to 256 MB."""

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for all that is left of a packet; of one that is too large it asks for all of it first.
        if bufsize > MAXIMUM_PACKET_BYTES:
            raise _PacketTooLarge(f"a packet of {bufsize} bytes, wanted at most {MAXIMUM_PACKET_BYTES}")
        return super()._sock_recv(bufsize)


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Where the broker is, and as whom to come."""

    host: str
    port: int
    client_id: str
    """The unit's id: the broker cuts off a client whose id comes a second time."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    keepalive_s: int = 30
    """A broker that is silent for twice as long is given up."""
    connect_timeout_s: float = 10.0
    """From the name's resolution to the broker's CONNACK."""
    protocol: Literal["5", "3.1.1"] = "5"

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("broker.host: wanted a name or an address, got nothing")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"broker.port: wanted 1 to 65535, got {self.port}")
        if not 5 <= self.keepalive_s <= 65535:
            raise ValueError(f"broker.keepalive_s: wanted 5 to 65535, got {self.keepalive_s}")
        if self.protocol not in ("5", "3.1.1"):
            raise ValueError(f'broker.protocol: wanted "5" or "3.1.1", got {self.protocol!r}')
        if self.password is not None and self.username is None:
            raise ValueError("broker.username: wanted one beside broker.password, got none")

    @property
    def address(self) -> str:
        """`host:port`, for people."""
        return f"{self.host}:{self.port}"


class Connection:
    """From dialling to the end; not to be used again. All but `dial`'s own thread is the caller's thread."""

    def __init__(self, config: BrokerConfig, wake: Wake, will: Publication | None = None) -> None:
        self._config = config
        self._wake = wake
        self._will = will
        self._v5 = config.protocol == "5"
        self._raw: queue.SimpleQueue[Callable[[], Signal]] = queue.SimpleQueue()
        self._handover = threading.Lock()
        self._dropped = False
        self._handed_over = False  # the dialler is done with the client
        self._welcome_came = False
        self._client = self._make_client()
        self._dialler = threading.Thread(target=self._dial, name="deskwatch-dial", daemon=True)
        self._dialled = False

    def dial(self) -> None:
        """Begin to connect, in a thread of its own: name servers keep no deadline."""
        self._dialler.start()

    @property
    def dialling(self) -> bool:
        """Whether that thread still waits, for a name server or a broker."""
        return self._dialler.is_alive()

    def wait_until_up(
        self, stopped: Callable[[], bool], now_s: Callable[[], float] = time.monotonic
    ) -> Connected | None:
        """Wait for the broker's welcome; None when stopped first.

        Raises BrokerUnreachable, BrokerRefused, LinkLost.
        """
        deadline_s = now_s() + self._config.connect_timeout_s
        while not stopped():
            for signal in self.signals():
                if isinstance(signal, Lost):
                    raise signal.error
                if isinstance(signal, Connected):
                    return signal
            left_s = deadline_s - now_s()
            if left_s <= 0:
                where = "no welcome" if self._dialled else "no answer"
                raise BrokerUnreachable(
                    f"{where} from {self._config.address} within {self._config.connect_timeout_s:g} s:"
                    " is that an MQTT broker, of the version in broker.protocol, and is no firewall between?"
                )
            self.step(left_s)
        return None

    def step(self, wait_s: float) -> bool:
        """Wait for the network or `wake`, at most `wait_s`, and move bytes; return whether it was `wake`."""
        sock = self._client.socket() if self._dialled else None
        # Decrypted bytes may wait where poll cannot see them.
        decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        # Rounded up: a wait of less than a millisecond must not become a busy loop.
        ready = dict(poll.poll(0 if decrypted else math.ceil(max(0.0, wait_s) * 1000)))
        woken = self._wake.fileno() in ready
        if woken:
            self._wake.clear()
        if sock is not None:
            flags = ready.get(sock.fileno(), 0)
            self._move(read=decrypted or bool(flags & ~select.POLLOUT), write=bool(flags & select.POLLOUT))
        return woken

    def _move(self, *, read: bool, write: bool) -> None:
        try:
            if read:
                self._client.loop_read()
            if write:
                self._client.loop_write()
            self._client.loop_misc()  # pings, and notices a broker that does not answer them
        except Exception as error:  # paho raises what it likes for what it cannot read
            raise LinkLost(f"{self._config.address} sent what cannot be read: {error!r}") from error
        if self._client.socket() is None:
            self._raw.put(self._broken)

    def signals(self) -> Iterator[Signal]:
        """Give what happened since the last call, in order."""
        while True:
            try:
                signal = self._raw.get_nowait()
            except queue.Empty:
                return
            yield signal()

    def publish(self, message: Publication) -> int:
        """Send at QoS 1; return the packet identifier that its `Acked` will carry."""
        properties = self._properties(message) if self._v5 else None
        info = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
        if info.rc is not paho.MQTT_ERR_SUCCESS:
            raise LinkLost(f"{self._config.address}: {paho.error_string(info.rc)}")
        return info.mid

    def packet_bytes(self, message: Publication) -> int:
        """Return the size of the PUBLISH packet, to hold against the broker's Maximum Packet Size."""
        properties_bytes = 0
        if self._v5:
            properties_bytes = len(self._properties(message).pack())  # type: ignore[no-untyped-call]
        remaining = 2 + len(message.topic.encode()) + 2 + properties_bytes + len(message.payload)
        length_bytes = 1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)
        return 1 + length_bytes + remaining

    def subscribe(self, topic_filter: str) -> None:
        """Ask for messages at QoS 1; `Subscribed` answers. Over MQTT 5 they keep the retain flag they had."""
        if self._v5:
            self._client.subscribe(topic_filter, options=SubscribeOptions(qos=1, retainAsPublished=True))
        else:
            self._client.subscribe(topic_filter, qos=1)

    def disconnect(self) -> None:
        """Say goodbye, so that the broker drops the will, and close."""
        if self._dialled:
            self._client.disconnect()
        self.drop()

    def drop(self) -> None:
        """Close without a goodbye: the broker publishes the will. Dropping twice does nothing."""
        with self._handover:
            self._dropped = True
            if self._handed_over:
                self._close_socket()

    def _close_socket(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _make_client(self) -> paho.Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._config.client_id,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._config.connect_timeout_s
        client.max_inflight_messages_set(0)  # the window is the caller's
        client.username_pw_set(self._config.username, self._config.password)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, 1, self._will.retain)
        put = self._raw.put
        client.on_connect = lambda _c, _u, _f, reason, properties: put(
            partial(self._welcomed, reason, properties)
        )
        client.on_disconnect = lambda _c, _u, flags, reason, _p: put(
            partial(self._ended, flags.is_disconnect_packet_from_server, reason.value, str(reason))
        )
        client.on_publish = lambda _c, _u, mid, reason, _p: put(partial(Acked, mid, _failure(reason)))
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: put(partial(Subscribed, _failure(*reasons)))
        client.on_message = lambda _c, _u, message: put(partial(_arrived, message))
        return client

    def _dial(self) -> None:
        outcome: Callable[[], Signal] = self._dialled_now
        try:
            if self._config.tls is not None:
                self._client.tls_set_context(self._config.tls.context())
            start: dict[str, Any] = {}
            if self._v5:
                limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                limits.MaximumPacketSize = MAXIMUM_PACKET_BYTES
                start = {"clean_start": True, "properties": limits}
            self._client.connect(self._config.host, self._config.port, self._config.keepalive_s, **start)
        except TlsUnusable as error:
            outcome = partial(Lost, error)
        except (OSError, ValueError) as error:
            outcome = partial(Lost, unreachable(self._config.address, error))
        with self._handover:
            self._raw.put(outcome)
            self._handed_over = True
            if self._dropped:
                self._close_socket()
        self._wake.set()

    def _properties(self, message: Publication) -> Properties:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = message.content_type
        if message.expiry_s is not None:
            properties.MessageExpiryInterval = message.expiry_s
        if message.user:
            properties.UserProperty = list(message.user)
        return properties

    def _dialled_now(self) -> Signal:
        self._dialled = True
        return Dialled()

    def _welcomed(self, reason: ReasonCode, properties: Properties) -> Signal:
        if reason.is_failure:
            return Lost(refused(self._config.address, self._config.protocol, reason.value, str(reason)))
        self._welcome_came = True
        return Connected(
            getattr(properties, "ReceiveMaximum", _UNLIMITED), getattr(properties, "MaximumPacketSize", None)
        )

    def _broken(self) -> Signal:
        return self._ended(False, 0, "")  # noqa: FBT003

    def _ended(self, by_broker: bool, code: int, name: str) -> Signal:
        address, client_id = self._config.address, self._config.client_id
        return Lost(
            ended(address, client_id, code, welcomed=self._welcome_came, by_broker=by_broker, name=name)
        )


def _failure(*reasons: ReasonCode) -> str | None:
    return next((f"0x{reason.value:02X} {reason}" for reason in reasons if reason.is_failure), None)


def _arrived(message: paho.MQTTMessage) -> Signal:
    properties = message.properties
    return Arrived(
        Received(
            message.topic,
            message.qos,
            message.retain,
            bytes(message.payload),
            getattr(properties, "ContentType", None),
            getattr(properties, "MessageExpiryInterval", None),
            dict(getattr(properties, "UserProperty", [])),
        )
    )
