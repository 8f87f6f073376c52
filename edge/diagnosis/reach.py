"""The way to the broker, layer by layer, beside whatever connection the unit has: up to TLS, and no MQTT."""

import socket
import ssl
import threading
import time

from edge.uplink.broker_config import BrokerConfig
from edge.uplink.tls import Tls

RESOLVE_S, DIAL_S, SHAKE_S = 8.0, 5.0, 6.0
HEAR_S = 1.0
"""So long a broker over TLS 1.3 has for its word on our certificate; most are done in a few milliseconds."""
_GLANCE_S = 0.1

Addresses = list[tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]]


def resolve(host: str, port: int) -> Addresses:
    """Ask the name server. Raises OSError, UnicodeError; TimeoutError: name servers keep no deadline."""
    found: list[Addresses] = []
    failed: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failed.append(error)
        else:
            found.append([(family, address) for family, _, _, _, address in answers])

    thread = threading.Thread(target=ask, name="check-resolve", daemon=True)
    thread.start()
    thread.join(RESOLVE_S)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer in {RESOLVE_S:g} s")
    return found[0]


def dial(addresses: Addresses) -> socket.socket:
    """Connect to the first address that answers. Raises OSError: that of the last one."""
    last: OSError = OSError("no address")
    for family, address in addresses:
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(DIAL_S)
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
