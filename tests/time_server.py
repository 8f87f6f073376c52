"""A time server of one's own on loopback, which may be wrong, rude or silent; and a real chronyd."""

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

_PACKET = struct.Struct("!BBbbII4sQQQQ")
_EPOCH_S = 2_208_988_800


def stamp(unix_s: float) -> int:
    """Return NTP's 64 bits of a time; they begin anew in 2036."""
    return int((unix_s + _EPOCH_S) * (1 << 32)) % (1 << 64)


class TimeServer:
    """Answers each query with `answer`; by default with the right time, `ahead_s` of it."""

    def __init__(self, ahead_s: float = 0.0, answer: Callable[[bytes, bytes], bytes] | None = None) -> None:
        self._ahead_s, self._answer = ahead_s, answer or (lambda _query, reply: reply)
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.bind(("127.0.0.1", 0))
        self.port: int = self._wire.getsockname()[1]
        self.asked = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._wire.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._wire.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                query, peer = self._wire.recvfrom(1024)
                came = stamp(time.time() + self._ahead_s)
                self.asked += 1
                transmit = _PACKET.unpack(query)[-1]
                now = stamp(time.time() + self._ahead_s)
                reply = _PACKET.pack(0x24, 2, 0, -20, 0, 0, b"GPS\0", came, transmit, came, now)
                self._wire.sendto(self._answer(query, reply), peer)


@contextlib.contextmanager
def chronyd(folder: Path) -> Iterator[int]:
    """Run a real chronyd that serves the clock of this machine, and changes nothing; its port."""
    program = shutil.which("chronyd") or shutil.which("chronyd", path="/usr/sbin")
    if program is None:
        pytest.skip("no chronyd here: apt install chrony")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "chrony.conf"
    config.write_text(
        f"port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 8\ncmdport 0\n"
        f"bindcmdaddress /\npidfile {folder}/chronyd.pid\n"
    )
    words = [program, "-d", "-x", "-U", "-u", "root", "-f", str(config)]
    with (folder / "chronyd.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
