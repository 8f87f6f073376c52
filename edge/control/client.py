"""The asking end of the control socket: what `deskwatch break` and the others do."""

import socket
import time
from pathlib import Path

from edge.control.address import SOCKET_NAME, short_path
from edge.control.protocol import MAX_LINE_BYTES, Answer, NotUnderstood, Request, line_of, read_answer
from edge.errors import EdgeError

_AGAIN_S = 0.05


class NoUnitHere(EdgeError):
    """Nobody answers: see `systemctl status deskwatch`, and that --config names the unit's own unit.toml."""


class ControlDenied(EdgeError, PermissionError):
    """The unit is not yours to ask: run it with sudo, or as one of the group deskwatch."""


class ControlSilent(EdgeError, TimeoutError):
    """The unit has not answered in time: try again; if that is no better, `systemctl restart deskwatch`."""


class ControlCut(EdgeError):
    """The unit ended amid the answer: see `systemctl status deskwatch`, and ask again."""


def ask(folder: Path, request: Request, timeout_s: float = 5.0) -> Answer:
    """Return what the unit answers whose state folder this is.

    Raises NoUnitHere, ControlDenied, ControlSilent, ControlCut, and NotUnderstood for an answer of another
    version. After the latter three it may have been done.
    """
    line, path, until_s = line_of(request), folder / SOCKET_NAME, time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
            _connect(connected, folder, until_s)
            connected.settimeout(_left(until_s))
            connected.sendall(line)
            return read_answer(_line(connected, until_s))
    except TimeoutError as error:
        raise ControlSilent(f"{path}: wanted an answer within {timeout_s:g} s, got none") from error
    except PermissionError as error:
        raise ControlDenied(f"{path}: wanted to ask the unit, got: {error.strerror}") from error
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise NoUnitHere(f"{path}: no unit runs here") from error
    except OSError as error:
        raise ControlCut(f"{path}: wanted an answer, got: {error.strerror or error}") from error


def _connect(connected: socket.socket, folder: Path, until_s: float) -> None:
    with short_path(folder) as path:
        while True:
            connected.settimeout(_left(until_s))
            try:
                connected.connect(str(path))
            except BlockingIOError:  # its backlog is full
                time.sleep(_AGAIN_S)
            else:
                return


def _line(connected: socket.socket, until_s: float) -> bytes:
    heard = bytearray()
    while not heard.endswith(b"\n"):
        connected.settimeout(_left(until_s))
        came = connected.recv(MAX_LINE_BYTES)
        if not came:
            raise ConnectionResetError("an end without an answer")
        heard += came
        if len(heard) > MAX_LINE_BYTES:
            raise NotUnderstood(f"wanted an answer of at most {MAX_LINE_BYTES} bytes, got more")
    return bytes(heard)


def _left(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0.0:
        raise TimeoutError
    return left_s
