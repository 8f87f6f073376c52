"""The unit's end of the control socket: a thread that takes a line, has it done, and answers.

Whoever may connect runs as the unit's user, as root, or is of the group. Even so, nobody who sends nothing,
too much or nonsense keeps the next one waiting, and nothing that goes wrong here ends the unit.
"""

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.control.listening import ControlTaken, Listening, listen
from edge.control.protocol import (
    MAX_LINE_BYTES,
    AimLook,
    Answer,
    NotUnderstood,
    Refused,
    Request,
    Status,
    line_of,
    read_request,
)
from edge.errors import EdgeError

log = logging.getLogger(__name__)

DEADLINE_S = 5.0
"""From a connection to the last byte of its answer, what is done in between left out."""
CONNECTIONS_MAX = 8
MIND_EVERY_S = 1.0
"""So often it is looked at whether the socket still has its name."""
JOIN_S = 10.0
_PAUSE_S = 0.2
_PROBLEM_CHARS = 4096
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (man 7 unix)


@dataclass(eq=False, slots=True)
class _Talk:
    """A connection: what came, then what is left to be sent."""

    socket: socket.socket
    until_s: float
    heard: bytearray = field(default_factory=bytearray)
    left: bytes = b""


class ControlServer:
    """Answers at `folder/control.sock` for the length of the `with`; `handle` is called in its own thread.

    One request after the other. An EdgeError that `handle` raises is the answer Refused, and any other
    exception too, which is logged as well.
    """

    def __init__(
        self,
        folder: Path,
        handle: Callable[[Request], Answer],
        *,
        group: str | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._folder, self._handle, self._group, self._deadline_s = folder, handle, group, deadline_s
        self._listening: Listening | None = None
        self._mind_s = 0.0
        self._talks: list[_Talk] = []
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.trouble: str | None = None
        """Why nobody at the unit can ask it anything, for now."""

    def __enter__(self) -> Self:
        """Begin to answer. Raises ControlTaken where another unit does; what else is wrong is tried again."""
        self._selector.register(self._ear, selectors.EVENT_READ)
        try:
            self._open()
        except ControlTaken:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the socket away. What is being done has JOIN_S to end."""
        self._stop.set()
        self._bell.send(b"\0")
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            log.error("a request at the control socket is still being done after %g s, and is left", JOIN_S)
        self._close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception:  # the unit goes on, and so does its control socket
                if not self._stop.is_set():
                    log.exception("the control socket stumbled")
                self._stop.wait(_PAUSE_S)

    def _turn(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._mind_s:
            self._mind_s = now_s + MIND_EVERY_S
            self._mind()
        due_s = min([self._mind_s, *(talk.until_s for talk in self._talks)])
        ready = self._selector.select(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()  # before anything is done, which nobody else's deadline has to pay for
        for key, _ in ready:
            if isinstance(key.data, _Talk):
                self._go_on(key.data)
            elif key.fileobj is not self._ear:
                self._accept()
        for talk in [talk for talk in self._talks if talk.until_s <= now_s]:
            log.info("the control socket: wanted a line within %g s, got none", self._deadline_s)
            self._drop(talk)

    def _mind(self) -> None:
        """See that the socket has its name, or has one again."""
        if self._listening is not None and self._listening.there:
            return
        try:
            self._open()
        except ControlTaken as error:
            self._say(str(error))

    def _open(self) -> None:
        self._unlisten()
        try:
            self._listening = listen(self._folder, self._group)
        except OSError as error:
            self._say(f"{self._folder}: wanted a control socket there, got: {error.strerror or error}")
            return
        self._selector.register(self._listening.socket, selectors.EVENT_READ)
        self._say(None)

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble and trouble is not None:
            log.error("the commands at the unit do not work for now: %s", trouble)
        self.trouble = trouble

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            connected, _ = self._listening.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("the control socket: nobody is let in for now: %s", error)
            self._stop.wait(_PAUSE_S)  # too many open files: the same again at once would be a busy loop
            return
        connected.settimeout(0.0)
        if len(self._talks) >= CONNECTIONS_MAX:
            self._drop(self._talks[0])  # the oldest: who means to ask asks at once
        talk = _Talk(connected, time.monotonic() + self._deadline_s)
        self._talks.append(talk)
        self._selector.register(connected, selectors.EVENT_READ, talk)

    def _go_on(self, talk: _Talk) -> None:
        if talk.socket.fileno() < 0:  # dropped earlier in this turn
            return
        try:
            if not talk.left:
                self._hear(talk)
            if talk.left:
                self._send(talk)
        except BlockingIOError:
            return
        except OSError:  # it went away
            self._drop(talk)

    def _hear(self, talk: _Talk) -> None:
        """Take in what came. What ends without a newline was cut off, and is not done."""
        came = talk.socket.recv(MAX_LINE_BYTES - len(talk.heard))
        if not came:
            self._drop(talk)
            return
        talk.heard += came
        line, newline, _ = bytes(talk.heard).partition(b"\n")
        if newline:
            talk.left = self._answer(line, talk)
        elif len(talk.heard) >= MAX_LINE_BYTES:
            talk.left = line_of(Refused(f"wanted a line of at most {MAX_LINE_BYTES} bytes, got more"))
        if talk.left:
            talk.until_s = time.monotonic() + self._deadline_s
            self._selector.modify(talk.socket, selectors.EVENT_WRITE, talk)

    def _send(self, talk: _Talk) -> None:
        talk.left = talk.left[talk.socket.send(talk.left) :]
        if not talk.left:
            self._drop(talk)

    def _answer(self, line: bytes, talk: _Talk) -> bytes:
        try:
            request = read_request(line)
        except NotUnderstood as error:
            log.warning("the control socket: %s is not understood: %s", _who(talk.socket), error)
            return line_of(Refused(str(error)[:_PROBLEM_CHARS]))
        level = logging.DEBUG if isinstance(request, Status | AimLook) else logging.INFO
        log.log(level, "%s asks at the unit: %s", _who(talk.socket), type(request).__name__)
        try:
            return line_of(self._handle(request))
        except EdgeError as error:
            log.log(level, "refused: %s", error)
            return line_of(Refused(_sayable(str(error))))
        except Exception:  # whatever it is, whoever asked is told, and the next one is heard
            log.exception("%s failed", type(request).__name__)
            return line_of(Refused("the unit failed at this, and its log says why: journalctl -u deskwatch"))

    def _drop(self, talk: _Talk) -> None:
        self._talks.remove(talk)
        self._selector.unregister(talk.socket)
        talk.socket.close()

    def _unlisten(self) -> None:
        if self._listening is not None:
            self._selector.unregister(self._listening.socket)
            self._listening.close()
            self._listening = None

    def _close(self) -> None:
        for talk in list(self._talks):
            self._drop(talk)
        self._unlisten()
        self._selector.close()
        self._ear.close()
        self._bell.close()


def _who(connected: socket.socket) -> str:
    """Return who asks, for the log; the socket's mode has decided that they may."""
    told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(told)
    return f"uid {uid} (process {pid})"


def _sayable(problem: str) -> str:
    """Cut a problem to what fits a line; a file's name may be no text."""
    return problem.encode("utf-8", "backslashreplace").decode()[:_PROBLEM_CHARS]
