"""A small disk of one's own: to fill, to have the kernel make read-only, to cut the power of."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN of linux/fs: _IOR('X', 125, __u32)."""
_NOTHING_MORE = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk by now never will be."""


class NoDisk(Exception):
    """This machine gives us no disk of our own: run as root, where loop devices can be mounted."""


class Disk:
    """An ext4 file system in a file, mounted through a loop device."""

    def __init__(self, folder: Path, size_mb: int = 16) -> None:
        self._image, self.mount_point = folder / "disk.img", folder / "disk"
        self.mount_point.mkdir()
        self._filler = self.mount_point / "filler"
        if os.geteuid() != 0:
            raise NoDisk("wanted root, to mount a small disk")
        if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            raise NoDisk("wanted mkfs.ext4: apt install e2fsprogs")
        with self._image.open("wb") as image:
            image.truncate(size_mb << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        try:
            self.mount()
        except OSError as error:
            raise NoDisk(f"cannot mount a file system of one's own: {error}") from error

    def mount(self) -> None:
        """Mount it; its journal is replayed, as after a power cut."""
        # commit=60: the file system syncs nothing by itself before the spool asks.
        _run("mount", "-o", "loop,errors=remount-ro,commit=60", str(self._image), str(self.mount_point))

    def unmount(self) -> None:
        """Unmount it. Whoever has a file open on it must be gone."""
        _run("umount", str(self.mount_point))

    def fill(self) -> None:
        """Leave not one free block."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def break_down(self) -> None:
        """Have the kernel make it read-only under whoever has files open, as after an I/O error."""
        _run("mount", "-o", "remount,abort", str(self.mount_point))

    def cut_power(self) -> None:
        """Stop it as it is: what was written and not synced is gone; every further access fails."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NOTHING_MORE))
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Repair what the fault left, as a boot does. It must not be mounted."""
        subprocess.run(["fsck.ext4", "-p", str(self._image)], capture_output=True, check=False)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.mount_point)], capture_output=True, check=False)


def _run(*command: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PATH": path})
    if done.returncode:
        raise OSError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.decode().strip()}")
