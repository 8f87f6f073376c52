"""One process at a time: an advisory lock that the kernel gives back when its holder dies."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge.errors import EdgeError
from edge.locking import take_lock

_LOOK_S = 0.5


class LockHeld(EdgeError):
    """Another process holds the lock: stop it."""


@dataclass(slots=True)
class LockFile:
    """A held lock. Its file is never deleted: two processes could then hold "the" lock."""

    path: Path
    _descriptor: int

    @classmethod
    def hold(cls, path: Path) -> Self:
        """Take the lock, waiting for nobody but those who only look (`is_held`).

        Raises LockHeld, and OSError where the file cannot be made.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            take_lock(descriptor, _LOOK_S)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockHeld(f"{path} is held by process {holder or 'unknown'}") from error
        except BaseException:
            os.close(descriptor)
            raise
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds all the same, only the holder's name is missing
        return cls(path, descriptor)

    def release(self) -> None:
        """Let go; releasing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def holder_of(path: Path) -> int | None:
    """Return the number of the process that holds the lock; None where that cannot be told.

    The kernel knows, also of one that did not write its number into the file; the file counts where the
    kernel names it otherwise, as on layered file systems.
    """
    try:
        found = path.stat()
        kernels = Path("/proc/locks").read_text("ascii", "replace")
        written = path.read_bytes()[:32].decode("ascii", "replace").strip()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in kernels.splitlines():
        words = line.split()  # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted and words[4].isdecimal():
            return int(words[4]) or None
    return int(written) if written.isascii() and written.isdecimal() else None


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock. Raises OSError where that cannot be seen."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would be waited for
    except FileNotFoundError:
        return False
    try:
        # Shared, and given back at once: two that look do not take each other for a unit.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
