"""Asking a time server what time it is: one SNTP query (RFC 4330); and which servers this machine asks."""

import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.device.name_server import resolve
from edge.errors import EdgeError

NTP_PORT = 123
_EPOCH_S = 2_208_988_800
"""From 1900, where NTP's seconds begin, to 1970."""
_ERA_S = 1 << 32
_PACKET = struct.Struct("!BBbbII4sQQQQ")
_CLIENT, _SERVER, _VERSION = 3, 4, 4
_ALARM = 3
_MAX_STRATUM = 15
_CHRONY = re.compile(
    r"^\s*(?:server|pool|peer)\s+(\S+)(?:.*\sport\s+([0-9]+))?", re.MULTILINE | re.IGNORECASE
)
_TIMESYNCD = re.compile(r"^\s*(?:NTP|FallbackNTP)\s*=\s*(.*\S)", re.MULTILINE)
_MAX_BYTES = 65_536
_CLOCK_TICK_S = 1e-3


class NoTime(EdgeError):
    """No time server answered, or none that knows the time: check the network, and UDP port 123."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a time server is."""

    host: str
    port: int = NTP_PORT


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server's time says of this clock."""

    offset_s: float
    """What this clock lacks: negative where it is ahead."""
    delay_s: float
    """Of the way there and back: the offset is sure to half of it."""


def servers(root: Path = Path("/")) -> list[Server]:
    """Return the servers that chrony, else systemd-timesyncd, is set to ask; none where neither says."""
    found: list[Server] = []
    for path in _files(root, "etc/chrony", "chrony.conf", ("conf.d/*.conf", "sources.d/*.sources")):
        for host, port in _CHRONY.findall(_text(path)):
            found.append(Server(host, int(port) if port and int(port) < 65_536 else NTP_PORT))
    if found:
        return found
    for path in _files(root, "etc/systemd", "timesyncd.conf", ("timesyncd.conf.d/*.conf",)):
        for line in _TIMESYNCD.findall(_text(path)):
            found += [Server(host) for host in line.split()]
    return found


def ask(server: Server, now_unix_s: Callable[[], float], not_before_s: float, timeout_s: float) -> Answer:
    """Ask one server. `not_before_s`: it is later than that, which tells NTP's eras apart. Raises NoTime."""
    # Not our time, which is nobody's business: a number that nobody guesses, which a true answer repeats.
    cookie = int.from_bytes(os.urandom(8))
    query = _PACKET.pack(_VERSION << 3 | _CLIENT, 0, 0, 0, 0, 0, bytes(4), 0, 0, 0, cookie)
    try:
        family, address = resolve(server.host, server.port, socket.SOCK_DGRAM, timeout_s)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as wire:
            wire.settimeout(timeout_s)
            wire.connect(address)  # answers of nobody else
            sent_s = now_unix_s()
            wire.send(query)
            answer = wire.recv(1024)
            came_s = now_unix_s()
    except (OSError, UnicodeError) as error:
        raise NoTime(f"{server.host}: {error}") from error
    return read_answer(answer, cookie, sent_s, came_s, not_before_s)


def read_answer(answer: bytes, cookie: int, sent_s: float, came_s: float, not_before_s: float) -> Answer:
    """Return what an answer says. Raises NoTime for one to another query, or from who does not know."""
    if len(answer) < _PACKET.size:
        raise NoTime(f"wanted an answer of {_PACKET.size} bytes, got {len(answer)}")
    first, stratum, *_, originate, receive, transmit = _PACKET.unpack_from(answer)
    if first & 7 != _SERVER or originate != cookie:
        raise NoTime("wanted the answer to this query, got another")
    if first >> 6 == _ALARM or not 1 <= stratum <= _MAX_STRATUM or not transmit:
        raise NoTime("the server does not know the time itself")
    received_s, replied_s = _unix(receive, not_before_s), _unix(transmit, not_before_s)
    delay_s = (came_s - sent_s) - (replied_s - received_s)
    if delay_s < -_CLOCK_TICK_S:
        raise NoTime("wanted an answer that took its time, got one from before the question")
    return Answer(((received_s - sent_s) + (replied_s - came_s)) / 2.0, max(0.0, delay_s))


def _unix(stamp: int, not_before_s: float) -> float:
    unix_s = stamp / _ERA_S - _EPOCH_S
    return unix_s if unix_s >= not_before_s else unix_s + _ERA_S


def _files(root: Path, folder: str, name: str, patterns: tuple[str, ...]) -> Iterator[Path]:
    yield root / folder / name
    if name == "chrony.conf":
        yield root / "etc" / name
    for pattern in patterns:
        yield from sorted((root / folder).glob(pattern))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
