"""The listening end of the control socket: taken from a unit that died, never from one that lives."""

import grp
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.control.address import SOCKET_NAME, short_path
from edge.errors import EdgeError

_FRESH_NAME = f"{SOCKET_NAME}.new"
_BACKLOG = 16
_FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
_HANDED_MAX = 8


class ControlTaken(EdgeError):
    """A unit runs with this state folder already: stop it (systemctl stop deskwatch), or choose another."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, and the name that it has."""

    socket: socket.socket
    path: Path
    inode: tuple[int, int] | None
    """None: the name is the service manager's to give and to take."""

    @property
    def there(self) -> bool:
        """Whether the name still leads here: folders get deleted."""
        if self.inode is None:
            return True
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.inode

    def close(self) -> None:
        """Take the name away, where it is still this one's, and close the socket."""
        if self.inode is not None and self.there:
            with suppress(OSError):
                self.path.unlink()
        self.socket.close()


def listen(folder: Path, group: str | None = None) -> Listening:
    """Listen at the control socket of `folder`; its members too may ask where a `group` is given.

    It gets its name when it listens and has its rights. Raises ControlTaken, and OSError for whatever else.
    One that the service manager listens at already is taken as it is.
    """
    if (handed := _handed_over(folder)) is not None:
        return handed
    gid = None if group is None else _gid(group)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with short_path(folder) as path, short_path(folder, _FRESH_NAME) as fresh:
        if _answers(path):
            raise ControlTaken(f"{folder / SOCKET_NAME}: wanted it free, got a unit that answers there")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # What it is bound with: there is no moment at which everybody may ask.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(fresh))
            if gid is not None:
                os.chown(fresh, -1, gid)
                fresh.chmod(0o660)
            listener.listen(_BACKLOG)
            listener.settimeout(0.0)
            made = fresh.lstat()
            fresh.rename(path)
        except BaseException:
            listener.close()
            with suppress(OSError):
                fresh.unlink()
            raise
    return Listening(listener, folder / SOCKET_NAME, (made.st_dev, made.st_ino))


def _handed_over(folder: Path, environ: Mapping[str, str] = os.environ) -> Listening | None:
    """Return the control socket of `folder` that this process was started with; see sd_listen_fds(3).

    The descriptor stays open, for the next time that the unit starts over.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()) or not environ.get("LISTEN_FDS", "").isdecimal():
        return None
    for number in range(_FIRST_FD, _FIRST_FD + min(int(environ["LISTEN_FDS"]), _HANDED_MAX)):
        with suppress(OSError):
            os.set_inheritable(number, False)  # noqa: FBT003  it has no name for it
            listener = socket.socket(fileno=os.dup(number))
            if listener.family is socket.AF_UNIX and listener.getsockname() == str(folder / SOCKET_NAME):
                listener.settimeout(0.0)
                return Listening(listener, folder / SOCKET_NAME, None)
            listener.close()
    return None


def _answers(path: Path) -> bool:
    """Return whether somebody listens at the socket, be it that they are slow to accept."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.0)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except BlockingIOError:  # its backlog is full
        return True
    return True


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise OSError(f"wanted a group of this system, got {group!r}") from error
