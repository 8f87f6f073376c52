"""What the log asks of the disk: files that are there when a call returns, and pictures that are gone."""

import errno
import os
import stat
from pathlib import Path

from edge.locking import take_lock
from edge.worklog.errors import LogInUse

MODE = 0o600
_NOTE_S = 3.0
_ZEROS = bytes(65_536)


def sync_folder(folder: Path) -> None:
    """Wait until names made, changed or deleted in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def write_whole(path: Path, data: bytes) -> None:
    """Make a file of our own and wait for the disk; its name is not waited for."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, MODE)
    try:
        write_at(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Return what is in a regular file: a pipe in its place would be waited for. Raises OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return file.read()


def wipe(path: Path) -> None:
    """Overwrite a file with zeros, wait for the disk, then empty it. One that is gone is left so."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes == 0:
            return
        for offset in range(0, size_bytes, len(_ZEROS)):
            write_at(descriptor, _ZEROS[: size_bytes - offset], offset)
        os.fsync(descriptor)
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def hold(path: Path) -> int:
    """Take an advisory lock, which the kernel gives back when its holder dies.

    A diagnosis of a unit that does not run notes in the log what it does: a unit that starts waits for that.
    Return the descriptor that holds it. The file is never deleted: two processes could then hold "the" lock.
    Raises LogInUse, OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        take_lock(descriptor, _NOTE_S)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LogInUse(
            f"{path}: wanted to be the only process that writes this log, another one is"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
