"""One connection to an MQTT broker, and the only importer of paho.

paho is driven from the caller's own thread (its "external loop"), one client for one connection, and its
callbacks only enqueue. So nothing of paho's survives a connection: no backlog that doubles what the spool
sends again, no network thread that dies unseen, no reconnecting behind the caller's back.
"""

import datetime as dt
import math
import queue
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.uplink.broker_config import BrokerConfig
from edge.uplink.causes import ended, refused, unreachable, unwelcome
from edge.uplink.packed import PackedProperties
from edge.uplink.signals import (
    Acked,
    Arrived,
    BrokerRefused,
    BrokerUnreachable,
    Cause,
    Connected,
    Dialled,
    LinkLost,
    Lost,
    Publication,
    Received,
    Signal,
    Subscribed,
    Wake,
)
from edge.uplink.tls import TlsUnusable, WallClock

__all__ = ["MAXIMUM_PACKET_BYTES", "BrokerConfig", "Connection"]

RECEIVE_MAXIMUM = 32
"""So many messages may come to us unacknowledged (MQTT 5 only)."""
_UNSPECIFIED_ERROR, _PACKET_TOO_LARGE = 0x80, 0x95
_UNLIMITED = 65535  # Receive Maximum where the broker names none: MQTT 5, section 3.2.2.3.3
MAXIMUM_PACKET_BYTES = 256 * 1024
"""The largest packet that we take: far more than an event, a state or a picture needs."""


MAXIMUM_BACKLOG = 4096
"""So many packets of ours may wait for a broker that does not read them."""


class _PacketTooLarge(Exception):
    """The other end announced a packet that our memory is not for. Not an OSError: paho swallows those."""


class _NotAsked(Exception):
    """The other end sends what nobody asked for, or more than it takes: it is out to fill our memory."""


class _Client(paho.Client):
    """Never reads a packet larger than `MAXIMUM_PACKET_BYTES`, where paho would buffer up to 256 MB."""

    tls_error: ssl.SSLError | None = None
    """What paho swallows: the broker's word on our certificate comes after the handshake (TLS 1.3)."""
    too_large: int | None = None
    """The last message that was refused for its size."""
    send_failed = False
    """The other end takes nothing any more; what it said before is still to be read."""
    garbled = False
    """What came last was not MQTT."""
    _read_out = False

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for all that is left of a packet; of one that is too large it asks for all of it first.
        if bufsize > MAXIMUM_PACKET_BYTES:
            raise _PacketTooLarge(f"a packet of {bufsize} bytes, wanted at most {MAXIMUM_PACKET_BYTES}")
        try:
            return super()._sock_recv(bufsize)
        except BlockingIOError:
            self._read_out = self.send_failed
            raise
        except ssl.SSLError as error:
            self.tls_error = error
            raise

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError as error:
            # paho would close here, and leave unread what came before the end: acknowledgements, the reason,
            # the broker's word on our certificate. So not before all of that was read.
            if self._read_out:
                raise
            self.send_failed = True
            raise BlockingIOError from error

    def _handle_publish(self) -> MQTTErrorCode:
        # paho would keep each of them, 65,535 at most, until the broker releases it.
        if self._in_packet["command"] & 0b110 == 0b100:
            raise _NotAsked("a message at QoS 2, wanted 1 at most, as was subscribed to")
        return super()._handle_publish()

    def read_all(self) -> None:
        """Read what came, and note whether it was MQTT. Raises _NotAsked for more than is good for us."""
        self.garbled = self.loop_read() is MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.check_backlog()

    def check_backlog(self) -> None:
        """Raise where the other end asks for answers, and reads none: paho keeps all of them."""
        if (waiting := len(self._out_packet)) > MAXIMUM_BACKLOG:
            raise _NotAsked(f"packets and reads none: {waiting} answers wait for it")

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        # mosquitto answers what is over its message_size_limit with a code that a PUBACK cannot have, over
        # which paho ends the connection; so it reads another, and `too_large` the packet identifier.
        packet = self._in_packet["packet"]
        if cmd == "PUBACK" and len(packet) > 2 and packet[2] == _PACKET_TOO_LARGE:
            packet[2] = _UNSPECIFIED_ERROR
            self.too_large = int.from_bytes(packet[:2], "big")
        return super()._handle_pubackcomp(cmd)


class Connection:
    """From dialling to the end; not to be used again. All but `dial`'s own thread is the caller's thread."""

    def __init__(
        self,
        config: BrokerConfig,
        wake: Wake,
        will: Publication | None = None,
        *,
        manual_ack: bool = False,
        clock: WallClock | None = None,
    ) -> None:
        """Prepare a connection; with `manual_ack`, what arrives stays the broker's until `acknowledge`.

        `clock` is the one that certificates are judged by, for the words of an error.
        """
        self._config = config
        self._clock = clock or WallClock(lambda: dt.datetime.now(dt.UTC), lambda: True)
        self._manual_ack = manual_ack
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
        self,
        stopped: Callable[[], bool],
        now_s: Callable[[], float] = time.monotonic,
        turn_s: float = math.inf,
    ) -> Connected | None:
        """Wait for the broker's welcome; None when stopped first. `stopped` is asked every `turn_s`.

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
                ).because(Cause.NO_ANSWER)
            self.step(min(left_s, turn_s))
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
            read = decrypted or self._client.send_failed or bool(flags & ~select.POLLOUT)
            self._move(read=read, write=bool(flags & select.POLLOUT))
        return woken

    def _move(self, *, read: bool, write: bool) -> None:
        try:
            if read:
                self._client.read_all()
            if write:
                self._client.loop_write()
            self._client.loop_misc()  # pings, and notices a broker that does not answer them
        except (_PacketTooLarge, _NotAsked) as error:
            raise LinkLost(f"{self._config.address} sent {error}") from error
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
        """Send; return the packet identifier that its `Acked` will carry. At QoS 0 no broker answers."""
        properties: Any = PackedProperties.of(message) if self._v5 else None
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if info.rc is not paho.MQTT_ERR_SUCCESS:
            raise LinkLost(f"{self._config.address}: {paho.error_string(info.rc)}")
        return info.mid

    def packet_bytes(self, message: Publication) -> int:
        """Return the size of the PUBLISH packet, to hold against the broker's Maximum Packet Size."""
        properties_bytes = 0
        if self._v5:
            properties_bytes = len(PackedProperties.of(message).pack())
        identifier_bytes = 2 if message.qos else 0
        topic_bytes = 2 + len(message.topic.encode())
        remaining = topic_bytes + identifier_bytes + properties_bytes + len(message.payload)
        length_bytes = 1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)
        return 1 + length_bytes + remaining

    def acknowledge(self, message: Received) -> None:
        """Send the PUBACK of a message that arrived with `manual_ack`, in the order in which they arrived."""
        if message.qos == 1:
            self._client.ack(message.packet_id, 1)

    def subscribe(self, topic_filter: str, *, as_published: bool = True) -> int:
        """Ask for messages at QoS 1; return the packet identifier that its `Subscribed` will carry.

        Over MQTT 5 they keep the retain flag that they were published with. Without `as_published`, and over
        3.1.1, the flag is only on what the broker had before we asked.
        """
        if self._v5:
            options = SubscribeOptions(qos=1, retainAsPublished=as_published)
            result, mid = self._client.subscribe(topic_filter, options=options)
        else:
            result, mid = self._client.subscribe(topic_filter, qos=1)
        if result is not paho.MQTT_ERR_SUCCESS or mid is None:
            raise LinkLost(f"{self._config.address}: {paho.error_string(result)}")
        return mid

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

    def _make_client(self) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._config.client_id,
            clean_session=None if self._v5 else not self._config.session_expiry_s,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=self._manual_ack,
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
        client.on_publish = lambda _c, _u, mid, reason, _p: put(
            partial(Acked, mid, _TOO_LARGE if client.too_large == mid else _failure(reason))
        )
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: put(
            partial(Subscribed, mid, _failure(*reasons))
        )
        client.on_message = lambda _c, _u, message: put(partial(self._arrived, message))
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
                limits.ReceiveMaximum = RECEIVE_MAXIMUM
                if self._config.session_expiry_s:
                    limits.SessionExpiryInterval = self._config.session_expiry_s
                start = {"clean_start": not self._config.session_expiry_s, "properties": limits}
            self._client.connect(self._config.host, self._config.port, self._config.keepalive_s, **start)
        except TlsUnusable as error:
            outcome = partial(Lost, error)
        except (OSError, ValueError) as error:
            outcome = partial(Lost, self._unreachable(error))
        with self._handover:
            self._raw.put(outcome)
            self._handed_over = True
            if self._dropped:
                self._close_socket()
        self._wake.set()

    def _dialled_now(self) -> Signal:
        self._dialled = True
        return Dialled()

    def _unreachable(self, error: Exception) -> BrokerUnreachable:
        return unreachable(self._config.address, error, self._config.tls, self._clock)

    def _welcomed(self, reason: ReasonCode, properties: Properties) -> Signal:
        if reason.is_failure:
            return Lost(refused(self._config.address, self._config.protocol, reason.value, str(reason)))
        for what, name in (("QoS 1", "MaximumQoS"), ("retained messages", "RetainAvailable")):
            if getattr(properties, name, 1) == 0:
                return Lost(
                    BrokerRefused(
                        f"{self._config.address} takes no {what}: this unit needs a broker that does"
                    ).because(Cause.LACKING)
                )
        self._welcome_came = True
        return Connected(
            getattr(properties, "ReceiveMaximum", _UNLIMITED), getattr(properties, "MaximumPacketSize", None)
        )

    def _broken(self) -> Signal:
        return self._ended(False, 0, "")  # noqa: FBT003

    def _ended(self, by_broker: bool, code: int, name: str) -> Signal:
        address = self._config.address
        if self._welcome_came and self._client.garbled and not by_broker:
            return Lost(LinkLost(f"{address} sent what is not MQTT: is another program there?"))
        if self._welcome_came:
            return Lost(ended(address, self._config.client_id, code, by_broker=by_broker, name=name))
        if (error := self._client.tls_error) is not None:
            return Lost(self._unreachable(error))
        return Lost(unwelcome(address, self._config.tls))

    def _arrived(self, message: paho.MQTTMessage) -> Signal:
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            return Lost(LinkLost(f"{self._config.address} sent a topic that is not UTF-8: {error}"))
        properties = message.properties
        return Arrived(
            Received(
                topic,
                message.qos,
                message.retain,
                bytes(message.payload),
                getattr(properties, "ContentType", None),
                getattr(properties, "MessageExpiryInterval", None),
                dict(getattr(properties, "UserProperty", [])),
                message.mid,
            )
        )


_TOO_LARGE = f"0x{_PACKET_TOO_LARGE:02X} Packet too large"


def _failure(*reasons: ReasonCode) -> str | None:
    return next((f"0x{reason.value:02X} {reason}" for reason in reasons if reason.is_failure), None)
