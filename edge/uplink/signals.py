"""What a connection says of itself, and in which words a technician hears why it ended."""

import contextlib
import os
import socket
import ssl
from dataclasses import dataclass, field
from threading import Lock

from edge.errors import EdgeError


class LinkError(EdgeError):
    """The broker cannot be used now: keep everything in the spool, wait, and connect again."""


class BrokerUnreachable(LinkError, ConnectionError):
    """Nobody answers there: check broker.host, broker.port, the network and the broker."""


class BrokerRefused(LinkError):
    """The broker does not let this unit in: check its name, password or certificate, and the access list."""


class LinkLost(LinkError, ConnectionError):
    """The connection ended: connect again; what was not acknowledged is sent again."""


class Dismissed(LinkLost):
    """The broker ended the connection, and not for a message: connect again, as after LinkLost."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message as it is handed to the broker, at QoS 1."""

    topic: str
    payload: bytes
    content_type: str
    retain: bool = False
    expiry_s: int | None = None
    """Seconds for which the broker may keep it (MQTT 5 only)."""
    user: tuple[tuple[str, str], ...] = ()
    """User properties (MQTT 5 only)."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came from the broker. The last three are MQTT 5 only."""

    topic: str
    qos: int
    retain: bool
    payload: bytes
    content_type: str | None = None
    expiry_s: int | None = None
    user: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialled:
    """The transport is there, CONNECT is sent."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker's welcome."""

    receive_maximum: int
    """How many QoS 1 messages may be unacknowledged at a time."""
    maximum_packet_bytes: int | None
    """The largest packet that the broker takes; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Acked:
    """The broker answered a publish."""

    mid: int
    failure: str | None
    """The reason code where the broker did not take it."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered a subscription."""

    failure: str | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message came."""

    message: Received


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection failed, was refused, or ended."""

    error: LinkError


Signal = Dialled | Connected | Acked | Subscribed | Arrived | Lost


class Wake:
    """Wakes a thread that waits in poll(2): an eventfd, set from any thread, also after it is closed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; -1 once closed."""
        return self._descriptor

    def set(self) -> None:
        """Wake the waiting thread, or the next wait."""
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Take back every `set` so far."""
        with self._lock, contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back; closing twice does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


_UNREACHABLE: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the name has no address: check broker.host and the unit's name server"),
    (ConnectionRefusedError, "nothing listens there: check broker.port, and that the broker runs"),
    (TimeoutError, "no answer in time: check the network and any firewall between"),
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted: check broker.ca_file and the unit's clock",
    ),
    (ssl.SSLError, "no TLS session: is it a TLS port, and are the unit's certificate and key right?"),
    (PermissionError, "a firewall on this unit forbids it"),
)

_REFUSED: dict[int, str] = {
    0x84: 'set broker.protocol to "{other}"',
    0x85: "the broker does not take this client id: check the unit's id",
    0x86: "check broker.username and broker.password_file",
    0x87: "the broker's access list does not let this unit in: check its user, certificate and the list",
    0x88: "the broker is not ready: it will be tried again",
    0x89: "the broker is busy: it will be tried again",
    0x8A: "the broker has banned this unit: ask who runs it",
    0x9F: "too many connect at once: it will be tried again",
}
"""By reason code of a CONNACK; MQTT 3.1.1's five return codes come as these too."""

_ENDED: dict[int, str] = {
    0x8B: "the broker is shutting down",
    0x8D: "no answer to a ping: check the network",
    0x8E: "another client came with the client id {client_id!r}: give every unit its own",
    0x95: "a packet was larger than the broker takes",
    0x98: "an administrator ended it",
}
"""By reason code of a DISCONNECT."""
_NO_PACKETS_FAULT = frozenset({0x8B, 0x8D, 0x8E, 0x98})


def unreachable(address: str, error: Exception) -> BrokerUnreachable:
    """Say why a broker could not be dialled."""
    hint = next((hint for kind, hint in _UNREACHABLE if isinstance(error, kind)), "check the network")
    return BrokerUnreachable(f"cannot reach {address}: {error}: {hint}")


def refused(address: str, protocol: str, code: int, name: str) -> BrokerRefused:
    """Say why a broker refused a connection."""
    hint = _REFUSED.get(code, "ask who runs the broker").format(other="3.1.1" if protocol == "5" else "5")
    return BrokerRefused(f"{address} refused the unit over MQTT {protocol}: {name} (0x{code:02X}): {hint}")


def ended(address: str, client_id: str, code: int, *, welcomed: bool, by_broker: bool, name: str) -> LinkLost:
    """Say why a connection ended."""
    if not welcomed:
        return LinkLost(
            f"{address} closed the connection without a welcome: is that an MQTT broker, does it want TLS,"
            " and does it speak the version of broker.protocol?"
        )
    hint = _ENDED.get(code, "").format(client_id=client_id)
    if by_broker:
        return (Dismissed if code in _NO_PACKETS_FAULT else LinkLost)(
            f"{address} ended the connection: {name} (0x{code:02X})" + (f": {hint}" if hint else "")
        )
    broke = f"the connection broke; if it does each time, another client may have the id {client_id!r}"
    return LinkLost(f"{address}: {hint or broke}")
