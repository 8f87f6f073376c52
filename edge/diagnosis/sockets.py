"""Whether anything on this unit waits for others to connect: nobody has a reason to."""

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, warned

_TCP_LISTENS, _UDP_UNCONNECTED = "0A", "07"
ALLOWED = {("tcp", 22): "ssh", ("udp", 68): "DHCP", ("udp", 546): "DHCPv6", ("udp", 5353): "mDNS"}
"""What a technician logs in by, and how a unit gets and tells its address."""
_EPHEMERAL = (32_768, 60_999)
"""Where the kernel takes ports from for clients, unless it says otherwise: a UDP client is no server."""
_MINE = "deskwatch"


@dataclass(frozen=True, slots=True)
class Socket:
    """One that others can reach."""

    kind: str
    """`tcp` or `udp`."""
    port: int
    inode: int


def probe_listening(patient: Patient) -> Verdict:
    """Find sockets that are not of this machine alone, and not of those that every unit has."""
    proc = patient.root / "proc"
    found = sorted({one for one in reachable(proc) if not _fine(one, _ephemeral(proc))}, key=_order)
    wanted = "ssh at most"
    if not found:
        return passed("nobody can connect", wanted)
    owners = {} if patient.inside else _owners(proc, {one.inode for one in found})
    told = dict.fromkeys(f"{one.kind} {one.port}{_by(owners.get(one.inode))}" for one in found)
    mine = [one for one in found if owners.get(one.inode) == _MINE]
    return (failed if mine else warned)("unit-listens" if mine else "open-port", ", ".join(told), wanted)


def reachable(proc: Path) -> Iterator[Socket]:
    """Give the sockets that wait for somebody from another machine."""
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        kind = name.removesuffix("6")
        wanted = _TCP_LISTENS if kind == "tcp" else _UDP_UNCONNECTED
        for fields in map(str.split, lines):
            address, _, port = fields[1].partition(":")
            if fields[3] == wanted and not _address(address).is_loopback:
                yield Socket(kind, int(port, 16), int(fields[9]))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address as /proc/net has it: words of 32 bits in the order of the machine."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _fine(one: Socket, ephemeral: tuple[int, int]) -> bool:
    return (one.kind, one.port) in ALLOWED or (one.kind == "udp" and ephemeral[0] <= one.port <= ephemeral[1])


def _ephemeral(proc: Path) -> tuple[int, int]:
    try:
        low, high = map(int, (proc / "sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    except (OSError, ValueError):
        return _EPHEMERAL
    return low, high


def _owners(proc: Path, inodes: set[int]) -> dict[int, str]:
    """Return the names of the processes that have these sockets, as far as they are ours to see."""
    links, found = {f"socket:[{inode}]": inode for inode in inodes}, {}
    for process in proc.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                inode = links.get(str(descriptor.readlink()))
                if inode is not None:
                    found[inode] = (process / "comm").read_text(errors="replace").strip()
        except OSError:  # it ended, or is another user's
            continue
    return found


def _by(owner: str | None) -> str:
    return f" ({owner})" if owner else ""


def _order(one: Socket) -> tuple[str, int, int]:
    return one.kind, one.port, one.inode


CHECKS = (
    Check(
        "sockets.listening",
        probe_listening,
        {
            "open-port": "Others on the network can reach this port. See whose it is with: sudo ss -tulpn;"
            " and remove or disable that program.",
            "unit-listens": "deskwatch never listens: this is not our program, or it was changed."
            " Take the unit off the network and report it.",
        },
    ),
)
