"""Ballast: room that is kept on the disk for the day on which it is full."""

import logging
import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 1 << 20
_SHARE = 4
"""A small disk keeps this part of itself at most."""
_PAGE_BYTES = 4096

_log = logging.getLogger(__name__)


class Reserve:
    """A file that is there to be deleted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def held(self) -> bool:
        """Whether it is there, and whole."""
        try:
            return self.path.stat().st_blocks * 512 >= self._wanted_bytes()
        except OSError:
            return False

    def make(self) -> bool:
        """Take the room if the disk has twice as much to spare; return whether it is held."""
        if self.held:
            return True
        try:
            wanted_bytes = self._wanted_bytes()
            room = os.statvfs(self.path.parent)
            if room.f_bavail * room.f_frsize < 2 * wanted_bytes:
                return False
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, wanted_bytes)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.debug("no reserve at %s: %s", self.path, error)
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            return False
        return True

    def give_up(self) -> bool:
        """Give the room back to the disk; return whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def _wanted_bytes(self) -> int:
        disk = os.statvfs(self.path.parent)
        share_bytes = disk.f_blocks * disk.f_frsize // _SHARE
        return min(RESERVE_BYTES, share_bytes) // _PAGE_BYTES * _PAGE_BYTES
