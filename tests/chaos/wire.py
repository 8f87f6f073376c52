"""The wire between unit and broker: it can be cut at the worst moments, and go dead without a word."""

import contextlib
import enum
import socket
import threading
from typing import BinaryIO

PUBLISH, PUBACK = 3, 4


class Trap(enum.Enum):
    """Where the next connection that gets so far is cut, once."""

    BEFORE_PUBACK = "the broker has the message, and the unit never hears of it"
    MID_PUBLISH = "half of a message is on its way"


class Wire:
    """A TCP proxy in threads of its own. Every connection is a pair of sockets with a thread for each way."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._trap: Trap | None = None
        self._flows = threading.Event()
        self._flows.set()
        self.sprung = 0
        """How many traps cut a connection."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set_trap(self, trap: Trap) -> None:
        """Cut the connection when the next packet of that kind passes."""
        with self._lock:
            self._trap = trap

    def stall(self) -> None:
        """Let nothing through from now on; both ends see an open connection, and new ones hang too."""
        self._flows.clear()

    def heal(self) -> None:
        """Let everything through, and take the trap away."""
        with self._lock:
            self._trap = None
        self._flows.set()

    def cut(self) -> None:
        """End every connection."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it all."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._flows.set()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                unit, _ = self._server.accept()
                threading.Thread(target=self._join, args=(unit,), daemon=True).start()

    def _join(self, unit: socket.socket) -> None:
        """Connect through, and pump until either end is gone."""
        self._flows.wait()
        try:
            broker = socket.create_connection(("127.0.0.1", self._to_port), timeout=5)
        except OSError:
            unit.close()
            return
        broker.settimeout(None)
        with self._lock:
            self._ends |= {unit, broker}
        back = threading.Thread(target=self._pump, args=(broker, unit), daemon=True)
        back.start()
        self._pump(unit, broker)
        back.join()
        with self._lock:
            self._ends -= {unit, broker}
        unit.close()
        broker.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), source.makefile("rb") as stream:
            while True:
                packet = read_packet(stream)
                self._flows.wait()
                if not self._springs(packet, sink):
                    sink.sendall(packet)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _springs(self, packet: bytes, sink: socket.socket) -> bool:
        """Whether the trap is for this packet: then it does not get through whole."""
        kind = packet[0] >> 4
        with self._lock:
            trap = self._trap
            hit = (trap is Trap.BEFORE_PUBACK and kind == PUBACK) or (
                trap is Trap.MID_PUBLISH and kind == PUBLISH
            )
            if not hit:
                return False
            self._trap = None
            self.sprung += 1
        if trap is Trap.MID_PUBLISH:
            sink.sendall(packet[: len(packet) // 2])
        self.cut()
        return True


def read_packet(stream: BinaryIO) -> bytes:
    """Read one MQTT control packet: a type, a length of 7 bits a byte, and that many bytes."""
    head, length, shift = stream.read(1), 0, 0
    while True:
        byte = stream.read(1)
        if not byte:
            raise EOFError
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return head + body
