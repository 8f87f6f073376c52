"""The way to the broker, layer by layer, beside whatever connection the unit has: up to TLS, and no MQTT."""

import socket
import ssl
import time

from edge.device.name_server import Address
from edge.device.name_server import resolve as ask_name_server
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.tls import Tls

RESOLVE_S, DIAL_S, SHAKE_S = 8.0, 5.0, 6.0
DIAL_ALL_S = 10.0
"""For all addresses of a name."""
HEAR_S = 1.0
"""So long a broker over TLS 1.3 has for its word on our certificate; most are done in a few milliseconds."""
_GLANCE_S = 0.1

Addresses = list[Address]


def resolve(host: str, port: int) -> Addresses:
    """Ask the name server. Raises OSError, UnicodeError, TimeoutError."""
    return ask_name_server(host, port, socket.SOCK_STREAM, RESOLVE_S)


def dial(addresses: Addresses) -> socket.socket:
    """Connect to the first address that answers. Raises OSError: that of the last one that was tried."""
    last: OSError = OSError("no address")
    until_s = time.monotonic() + DIAL_ALL_S
    for family, address in addresses:
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            break
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(min(DIAL_S, left_s))
        try:
            plain.connect(address)
        except OSError as error:
            plain.close()
            last = error
        else:
            return plain
    raise last


def shake_hands(addresses: Addresses, link: BrokerConfig, tls: Tls) -> str:
    """Connect, do the TLS handshake, hear what the broker says of it, hang up; return the version.

    Raises OSError, TlsUnusable.
    """
    context = tls.context()
    with dial(addresses) as plain:
        plain.settimeout(SHAKE_S)
        with context.wrap_socket(plain, server_hostname=link.host) as secured:
            if secured.version() == "TLSv1.3":
                _hear(secured)
            return secured.version() or "TLS"


def _hear(secured: ssl.SSLSocket) -> None:
    """Wait for an alert. A broker that sends a ticket instead has looked at our certificate, and takes it."""
    secured.settimeout(_GLANCE_S)
    until_s = time.monotonic() + HEAR_S
    while time.monotonic() < until_s:
        session = secured.session
        if session is not None and session.has_ticket:
            return
        try:
            if not secured.recv(1):
                return
        except TimeoutError:
            continue
