"""An MQTT broker of one's own for as long as a `with` lasts: for the demo, on the loopback only."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.errors import EdgeError

_HOST = "127.0.0.1"
_START_S = 10.0
_STOP_S = 5.0
_PORT_TRIES = 5
_LEASH = 'exec 3<&0; (read -r _ <&3; kill 0) & exec "$0" -c "$1" 3<&- </dev/null'
"""Runs mosquitto as this very process, beside a shell that ends the process group when our end of the pipe
closes: however we die, it dies. In a session of its own, for a Ctrl-C in the terminal is the unit's to
answer, and the unit still has to say goodbye to the broker.
"""
_SBIN = "/usr/sbin:/usr/local/sbin"  # where Debian puts mosquitto, and where a user's PATH may not look


class NoBroker(EdgeError):
    """No broker can be started here: install mosquitto, or the extra `deskwatch[demo]`."""


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A running broker that lets anyone on this machine in."""

    host: str
    port: int
    protocol: Literal["5", "3.1.1"]
    """The newest that it speaks."""
    name: str
    """Product and version, to tell the user."""


@contextmanager
def local_broker() -> Iterator[LocalBroker]:
    """Run mosquitto where it is installed, else amqtt, on a free port. Raises NoBroker."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
    with _mosquitto(mosquitto) if mosquitto else _amqtt() as broker:
        yield broker


@contextmanager
def _mosquitto(program: str) -> Iterator[LocalBroker]:
    with tempfile.TemporaryDirectory(prefix="deskwatch-broker-") as folder:
        process, port = _start_mosquitto(program, Path(folder))
        try:
            yield LocalBroker(_HOST, port, "5", _version_of(program))
        finally:
            _end(process)


def _start_mosquitto(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Return the running process and its port."""
    config, output = folder / "mosquitto.conf", folder / "output"
    for _ in range(_PORT_TRIES):  # another program may take a free port before mosquitto does
        port = _free_port()
        config.write_text(
            f"listener {port} {_HOST}\nallow_anonymous true\npersistence false\nmax_queued_messages 10000\n"
        )
        with output.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603  a fixed command line
                ["/bin/sh", "-c", _LEASH, program, str(config)],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        try:
            if _answers(port, lambda: process.poll() is None):  # noqa: B023  used in this turn only
                return process, port
        except BaseException:
            _end(process)
            raise
        _end(process)
    said = output.read_text(errors="replace").strip()[-500:] or "and said nothing"
    raise NoBroker(f"{program} did not start: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the leash, and wait until it is gone."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _version_of(program: str) -> str:
    """Return `mosquitto 2.0.11`; the first line of its help is `mosquitto version 2.0.11`."""
    asked = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=_STOP_S, check=False)  # noqa: S603
    first = (asked.stdout or asked.stderr).partition("\n")[0]
    return first.replace(" version", "") if "mosquitto" in first else "mosquitto"


@contextmanager
def _amqtt() -> Iterator[LocalBroker]:
    try:
        from amqtt import __version__ as version  # noqa: PLC0415  an extra, and slow to import
    except ImportError as error:
        raise NoBroker(
            "no MQTT broker on this machine: install mosquitto (apt install mosquitto), or amqtt"
            " (pip install 'deskwatch[demo]')"
        ) from error
    port = _free_port()
    served = _Served(port)
    thread = threading.Thread(target=served.run, name="deskwatch-broker", daemon=True)
    thread.start()
    try:
        if not (served.settled.wait(_START_S) and served.stop is not None):
            raise NoBroker(f"amqtt {version} did not start on {_HOST}:{port}") from served.error
        yield LocalBroker(_HOST, port, "3.1.1", f"amqtt {version}")
    finally:
        if served.stop is not None:
            served.stop()
        thread.join(_STOP_S)


class _Served:
    """An amqtt broker in an event loop of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.settled = threading.Event()
        """It serves, or it failed."""
        self.stop: Callable[[], None] | None = None
        """Ends it, from any thread; None until it serves."""
        self.error: Exception | None = None

    def run(self) -> None:
        """Serve until `stop` is called."""
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  a third party's: it becomes the cause of a NoBroker
            self.error = error
        finally:
            self.settled.set()

    async def _serve(self) -> None:
        from amqtt.broker import Broker  # noqa: PLC0415  as above

        loop, stopping = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stopping.set)

        anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        listeners = {"default": {"type": "tcp", "bind": f"{_HOST}:{self._port}"}}
        broker = Broker({"listeners": listeners, "plugins": anonymous})
        await broker.start()
        self.stop = stop
        self.settled.set()
        try:
            await stopping.wait()
        finally:
            await broker.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, alive: Callable[[], bool]) -> bool:
    """Wait until something listens on the port, at most `_START_S`, and not past the life of what should."""
    deadline_s = time.monotonic() + _START_S
    while alive() and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1.0):
            return alive()
        time.sleep(0.02)
    return False
