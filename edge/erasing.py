"""Files that must not be read again: overwritten where they lie, then removed.

A flash card moves its blocks: what it held before may stay in cells that no file names. Against who reads
those only an encrypted card helps; against who reads files, deleted ones too, this does.
"""

import fcntl
import os
import stat
import struct
from pathlib import Path

from edge.errors import EdgeError

_ZEROS = bytes(1 << 16)
_FITRIM = 0xC0185879
"""ioctl(2), linux/fs.h: start, length and least length of what is to be discarded, three 64-bit numbers."""


class NotErased(EdgeError):
    """Something could not be overwritten or removed: mount its disk writable, as root, and do it again."""


def erase_file(path: Path) -> None:
    """Overwrite a file and remove it; of a link the link alone goes. Nothing there: nothing done.

    Raises NotErased.
    """
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            _overwrite(path)
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotErased(f"{path}: wanted to overwrite and remove it, got: {error.strerror}") from error


def erase_tree(folder: Path) -> None:
    """Erase all that is in a folder, and the folder; no link is followed. Raises NotErased."""
    erase_within(folder)
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rmdir()
    except OSError as error:
        raise NotErased(f"{folder}: wanted to remove it, got: {error.strerror}") from error


def erase_within(folder: Path) -> None:
    """Erase all that is in a folder. Raises NotErased."""
    if folder.is_symlink() or not folder.is_dir():
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise NotErased(f"{folder}: wanted to read it, got: {error.strerror}") from error
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            erase_tree(entry)
        else:
            erase_file(entry)


def let_go(folder: Path) -> bool:
    """Have the disk forget what its free blocks held: files that were replaced before lie on there.

    Returns False where the disk or the file system takes no such order, or this is not root.
    """
    os.sync()  # what was removed just now is free once that is on the disk
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, 0))
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or removed in a folder outlive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        left = os.fstat(descriptor).st_size
        while left > 0:
            left -= file.write(_ZEROS[: min(left, len(_ZEROS))])
        os.fsync(descriptor)
