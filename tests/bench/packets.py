"""IP packets of one TCP port on the loopback interface, counted as the kernel sends them."""

import select
import socket
import struct
import threading
from typing import Self

_ALL = 3  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING: loopback shows every packet a second time, as it arrives


class Packets:
    """Counts, in a thread, from `with` to its end. Needs root, or CAP_NET_RAW: raises PermissionError."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        self._socket.bind(("lo", 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self.packets = self.ip_bytes = self.payload_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _count(self) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([self._socket], [], [], 0.1)
            if not ready:
                continue
            packet, address = self._socket.recvfrom(70_000)
            if address[2] == _OUTGOING and packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
                self._add(packet)

    def _add(self, packet: bytes) -> None:
        head_bytes = (packet[0] & 0x0F) * 4
        length_bytes, (source, target) = (
            struct.unpack_from("!H", packet, 2)[0],
            struct.unpack_from("!HH", packet, head_bytes),
        )
        if self._port not in (source, target):
            return
        tcp_bytes = (packet[head_bytes + 12] >> 4) * 4
        self.packets += 1
        self.ip_bytes += length_bytes
        self.payload_bytes += length_bytes - head_bytes - tcp_bytes
