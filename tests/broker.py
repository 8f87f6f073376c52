"""A real mosquitto of one's own, and a subscriber to it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.uplink.link import BrokerConfig
from edge.uplink.listener import Listener, listen
from edge.uplink.signals import Publication, Received

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait until `condition` holds; fail, naming `what`, when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A mosquitto of one's own, to start, stop, kill and freeze; always on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str, listener: str = "", anonymous: bool = True) -> None:
        config = self.folder / "mosquitto.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        access = [f"allow_anonymous {str(anonymous).lower()}"]
        head = [f"listener {self.port} 127.0.0.1", *listener.splitlines(), *user, *access]
        config.write_text("\n".join([*head, "max_queued_messages 100000", *lines, ""]))
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "-c", str(config)], stdout=log, stderr=log)
        until(self._listens, "mosquitto to listen")

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(10)
            self.process = None

    def said(self) -> str:
        return (self.folder / "mosquitto.log").read_text()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def config(self, client_id: str = "unit-1", **more: object) -> BrokerConfig:
        return BrokerConfig("127.0.0.1", self.port, client_id, **more)


@contextlib.contextmanager
def subscribed(mosquitto: Mosquitto, topic_filter: str = "deskwatch/#", **more: object) -> Iterator[Listener]:
    with listen(mosquitto.config(f"listener-{os.getpid()}", **more), topic_filter) as listener:
        yield listener


def collect(
    listener: Listener, enough: Callable[[list[Received]], bool], timeout_s: float = 60.0
) -> list[Received]:
    """Receive until `enough`, and all else that the broker has by then; see `rest`."""
    got: list[Received] = []
    deadline_s = time.monotonic() + timeout_s
    while not enough(got):
        assert time.monotonic() < deadline_s, f"only {len(got)} came: {[m.topic for m in got[-5:]]}"
        if (message := listener.receive(0.5)) is not None:
            got.append(message)
    return got + rest(listener)


def rest(listener: Listener) -> list[Received]:
    """Receive all that the broker has taken so far, and no more.

    A broker keeps the order: what does not come before a message of our own, published now, it did not have.
    Once the unit has said goodbye, nothing can come after.
    """
    last = f"last/{uuid.uuid4()}"
    listener.subscribe(last, 10.0)
    listener.publish(Publication(last, b"", "text/plain"))
    got: list[Received] = []
    while (message := listener.receive(15.0)) is not None:
        if message.topic == last:
            return got
        got.append(message)
    raise AssertionError(f"a message of our own did not come back within 15 s, after {len(got)} others")
