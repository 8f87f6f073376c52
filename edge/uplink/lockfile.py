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
