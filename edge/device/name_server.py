"""Asking the name server within a deadline: the C library keeps none of ours, and can take half a minute."""

import socket
import threading

Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]


def resolve(host: str, port: int, kind: socket.SocketKind, timeout_s: float) -> list[Address]:
    """Return the addresses of a name. Raises OSError, UnicodeError; TimeoutError where no answer comes."""
    found: list[list[Address]] = []
    failed: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=kind)
        except (OSError, UnicodeError) as error:
            failed.append(error)
        else:
            found.append([(family, address) for family, _, _, _, address in answers])

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer in {timeout_s:g} s")
    return found[0]
