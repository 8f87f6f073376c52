"""What a connection says of itself."""

import contextlib
import enum
import math
import os
import select
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, Self

from edge.errors import EdgeError


class Cause(enum.StrEnum):
    """Why there is no connection, for programs; in the order of the way there."""

    FILES = "files"
    """A certificate or key of the unit's own cannot be used."""
    NAME_UNKNOWN = "name-unknown"
    NO_NAME_SERVER = "no-name-server"
    NOTHING_LISTENS = "nothing-listens"
    NO_ROUTE = "no-route"
    FORBIDDEN = "forbidden"
    """A firewall on the unit."""
    NO_ANSWER = "no-answer"
    NO_TLS = "no-tls"
    TLS_TOO_OLD = "tls-too-old"
    BROKER_EXPIRED = "broker-expired"
    BROKER_NOT_YET_VALID = "broker-not-yet-valid"
    BROKER_OTHER_NAME = "broker-other-name"
    BROKER_UNKNOWN_CA = "broker-unknown-ca"
    CERTIFICATE_WANTED = "certificate-wanted"
    """The broker wants a certificate of the unit, and the unit has none."""
    CERTIFICATE_REFUSED = "certificate-refused"
    """The broker does not take the unit's certificate."""
    NO_WELCOME = "no-welcome"
    """It closed the connection without a word."""
    PROTOCOL = "protocol"
    CLIENT_ID = "client-id"
    PASSWORD = "password"  # noqa: S105  what is wrong, not what it is
    NOT_AUTHORISED = "not-authorised"
    BANNED = "banned"
    BUSY = "busy"
    MOVED = "moved"
    LACKING = "lacking"
    """The broker cannot do what the unit needs."""


class LinkError(EdgeError):
    """The broker cannot be used now: keep everything in the spool, wait, and connect again."""

    cause: Cause | None = None
    """What it was, where programs can tell."""

    def because(self, cause: Cause | None) -> Self:
        """Say what it was."""
        self.cause = cause
        return self


class BrokerUnreachable(LinkError, ConnectionError):
    """There is no way there: check what the message names, then the network and the broker."""


class BrokerRefused(LinkError):
    """The broker does not let this unit in: check its name, password or certificate, and the access list."""


class LinkLost(LinkError, ConnectionError):
    """The connection ended: connect again; what was not acknowledged is sent again."""


class BrokerBusy(BrokerRefused):
    """The broker has no room for this unit now: wait longer than for another failure, and connect again."""


class Dismissed(LinkLost):
    """The connection ended, and not for a message: connect again, as after LinkLost."""


class SentAway(Dismissed):
    """The broker ended it to have fewer connections: wait longer than for another loss, and connect again."""


class Stalled(Dismissed):
    """The broker takes messages and acknowledges none: drop the connection, and connect again."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message as it is handed to the broker."""

    topic: str
    payload: bytes
    content_type: str
    retain: bool = False
    expiry_s: int | None = None
    """Seconds for which the broker may keep it (MQTT 5 only)."""
    user: tuple[tuple[str, str], ...] = ()
    """User properties (MQTT 5 only)."""
    qos: Literal[0, 1] = 1


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came from the broker. Content type, expiry and user properties are MQTT 5 only."""

    topic: str
    qos: int
    retain: bool
    payload: bytes
    content_type: str | None = None
    expiry_s: int | None = None
    user: dict[str, str] = field(default_factory=dict)
    packet_id: int = field(default=0, compare=False, repr=False)
    """For `Connection.acknowledge`."""


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

    mid: int
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

    def wait(self, seconds: float) -> None:
        """Wait to be woken, at most `seconds`, and take the waking back."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        # Rounded up: a wait of less than a millisecond must not become a busy loop.
        if poll.poll(math.ceil(max(0.0, seconds) * 1000)):
            self.clear()

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
