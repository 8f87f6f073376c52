"""What the service manager is told: sd_notify(3), datagrams to the socket that it names.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

STATUS_CHARS = 200
_SEND_TIMEOUT_S = 1.0


class Notifier:
    """Tells the service manager how the unit is. Does nothing where nobody listens; never raises."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environ)
        """Within so many seconds `alive` is expected again and again; None: it is not."""
        self._failing = False

    @property
    def heard(self) -> bool:
        """Whether somebody wants to be told."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Tell that the start is over."""
        self._send("READY=1", *_status(status))

    def alive(self) -> None:
        """Tell that all goes on as it should."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Tell what `systemctl status` shows."""
        self._send(*_status(text))

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(_SEND_TIMEOUT_S)
                out.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._failing:
                log.warning("the service manager cannot be told anything: %s", error)
            self._failing = True
        else:
            self._failing = False


def _address(named: str) -> str | None:
    """Return the socket's address: a path, or a name in the abstract namespace; else None."""
    if named.startswith("@"):
        return f"\0{named[1:]}"
    return named if named.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return what systemd says of its watchdog, where that is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    named = environ.get("WATCHDOG_USEC", "")
    return int(named) / 1e6 if named.isascii() and named.isdigit() and int(named) > 0 else None


def _status(text: str) -> tuple[str, ...]:
    """Return the line, one and short: a line break would begin another assignment."""
    words = " ".join(text.split())[:STATUS_CHARS]
    return (f"STATUS={words}",) if words else ()
