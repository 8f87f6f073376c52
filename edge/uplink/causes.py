"""In which words a technician hears why there is no connection."""

import errno
import socket
import ssl

from edge.uplink.signals import (
    BrokerBusy,
    BrokerRefused,
    BrokerUnreachable,
    Cause,
    Dismissed,
    LinkLost,
    SentAway,
)
from edge.uplink.tls import Tls, WallClock, cause_of_tls, tls_cause

_UNREACHABLE: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the name has no address: check broker.host and the unit's name server"),
    (ConnectionRefusedError, "nothing listens there: check broker.port, and that the broker runs"),
    (TimeoutError, "no answer in time: check the network and any firewall between"),
    (PermissionError, "a firewall on this unit forbids it"),
)

_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (UnicodeError, Cause.NAME_UNKNOWN),  # no name server could know such a name
    (ConnectionRefusedError, Cause.NOTHING_LISTENS),
    (TimeoutError, Cause.NO_ANSWER),
    (PermissionError, Cause.FORBIDDEN),
)

_REFUSED: dict[int, str] = {
    0x84: 'set broker.protocol to "{other}"',
    0x85: "the broker does not take this client id: check the unit's id",
    0x86: "check broker.username and broker.password_file",
    0x87: "check its user name and password, or its certificate; else the broker's access list does not let"
    " this unit in",
    0x88: "the broker is not ready: it will be tried again",
    0x89: "the broker is busy: it will be tried again",
    0x8A: "the broker has banned this unit: ask who runs it",
    0x9C: "the broker names another server, which this unit does not follow: set broker.host",
    0x9D: "the broker has moved, and this unit does not follow by itself: set broker.host",
    0x9F: "too many connect at once: it will be tried again",
}
"""By reason code of a CONNACK; MQTT 3.1.1's five return codes come as these too."""

_CODES: dict[int, Cause] = {
    0x84: Cause.PROTOCOL,
    0x85: Cause.CLIENT_ID,
    0x86: Cause.PASSWORD,
    0x87: Cause.NOT_AUTHORISED,
    0x88: Cause.BUSY,
    0x89: Cause.BUSY,
    0x8A: Cause.BANNED,
    0x9C: Cause.MOVED,
    0x9D: Cause.MOVED,
    0x9F: Cause.BUSY,
}
"""The same, for programs."""

_ENDED: dict[int, str] = {
    0x87: "its access list forbids what the unit sent: check the list",
    0x89: "the broker is busy",
    0x8B: "the broker is shutting down",
    0x8D: "no answer to a ping: check the network",
    0x8E: "another client came with the client id {client_id!r}: give every unit its own",
    0x95: "a packet was larger than the broker takes",
    0x98: "an administrator ended it",
    0x9C: "the broker names another server, which this unit does not follow: set broker.host",
    0x9D: "the broker has moved, and this unit does not follow by itself: set broker.host",
    0x9F: "too many connect at once",
}
"""By reason code of a DISCONNECT."""

_CROWDED = frozenset({0x88, 0x89, 0x8B, 0x8E, 0x96, 0x97, 0x9C, 0x9D, 0x9F})
"""Codes after which to wait longer. 0x8E too: two units of one id would throw each other out for ever."""
_NO_PACKETS_FAULT = _CROWDED | {0x8D, 0x98, 0xA0}


def unreachable(address: str, error: Exception, tls: Tls | None, clock: WallClock) -> BrokerUnreachable:
    """Say why a broker could not be dialled."""
    cause = cause_of(error, tls)
    if tls is not None and isinstance(error, ssl.SSLError):
        return BrokerUnreachable(f"cannot reach {address}: {tls_cause(error, tls, clock)}").because(cause)
    hint = next((hint for kind, hint in _UNREACHABLE if isinstance(error, kind)), "check the network")
    if tls is not None and isinstance(error, ConnectionResetError):
        hint = "perhaps that port speaks no TLS: check the port, and whether TLS is wanted there"
    why = getattr(error, "strerror", None) or error  # without its number
    return BrokerUnreachable(f"cannot reach {address}: {why}: {hint}").because(cause)


def cause_of(error: Exception, tls: Tls | None) -> Cause | None:
    """Return why a broker could not be dialled, for programs."""
    if isinstance(error, ssl.SSLError):
        return None if tls is None else cause_of_tls(error, tls)
    if isinstance(error, socket.gaierror):
        return Cause.NO_NAME_SERVER if error.errno == socket.EAI_AGAIN else Cause.NAME_UNKNOWN
    if isinstance(error, ConnectionResetError):
        return None if tls is None else Cause.NO_TLS
    if isinstance(error, OSError) and error.errno in _NO_WAY:
        return Cause.NO_ROUTE
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), None)


def refused(address: str, protocol: str, code: int, name: str) -> BrokerRefused:
    """Say why a broker refused a connection."""
    hint = _REFUSED.get(code, "ask who runs the broker").format(other="3.1.1" if protocol == "5" else "5")
    kind = BrokerBusy if code in _CROWDED else BrokerRefused
    says = f"{address} refused the unit over MQTT {protocol}: {name} (0x{code:02X}): {hint}"
    return kind(says).because(_CODES.get(code))


def ended(address: str, client_id: str, code: int, *, by_broker: bool, name: str) -> LinkLost:
    """Say why a connection that had its welcome ended."""
    hint = _ENDED.get(code, "").format(client_id=client_id)
    if by_broker:
        kind = SentAway if code in _CROWDED else Dismissed if code in _NO_PACKETS_FAULT else LinkLost
        says = f"{address} ended the connection: {name} (0x{code:02X})"
        return kind(f"{says}: {hint}" if hint else says)
    broke = f"the connection broke; if it does each time, another client may have the id {client_id!r}"
    return LinkLost(f"{address}: {hint or broke}")


def unwelcome(address: str, tls: Tls | None) -> LinkLost:
    """Say why a connection may have ended before the broker's welcome."""
    hint = "is that an MQTT broker, does it want TLS, and does it speak the version of broker.protocol?"
    if tls is not None:
        hint = (
            "is that an MQTT broker, does it speak the version of broker.protocol, and does it take the"
            f" unit's certificate ({tls.certificate_file or 'broker.certificate_file is not set'})?"
        )
    return LinkLost(f"{address} closed the connection without a welcome: {hint}").because(Cause.NO_WELCOME)
