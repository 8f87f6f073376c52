"""What a command writes: lines on standard output and standard error, pictures and pages in a folder."""

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from edge.errors import EdgeError


class OutputUnwritable(EdgeError):
    """A file or its folder cannot be written: make room, or choose another place."""


class StdoutUnwritable(EdgeError):
    """Standard output takes nothing more: make room where it leads, or send it elsewhere."""


def put(line: str) -> None:
    """Write a line to standard output at once.

    Raises StdoutUnwritable, or BrokenPipeError where the reader went away.
    """
    try:
        print(line, flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutUnwritable(f"standard output: wanted to write a line, got: {error.strerror}") from error


def complain(text: str) -> None:
    """Write a line to standard error, or nothing where that cannot be written: there is nobody to tell."""
    if sys.stderr is None:  # closed; `print` would take standard output instead
        return
    with suppress(OSError):
        print(f"deskwatch: {text}", file=sys.stderr, flush=True)  # noqa: T201


def coloured() -> bool:
    """Tell whether lines may carry colour: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def make_folder(path: Path) -> None:
    """Make a folder, and those above it. Raises OutputUnwritable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"{path}: wanted a folder for pictures, got: {error.strerror}") from error


def for_whom() -> tuple[int, int] | None:
    """Return user and group for whom sudo runs this: what is written is theirs, or they could not open it."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
        return int(user), int(group)
    return None


def check_place(path: Path) -> None:
    """Raise OutputUnwritable for what is no place of a file: root's rename would take a device from all."""
    try:
        found = path.stat().st_mode  # of what a link leads to: /dev/stdout is one
    except OSError:
        return
    if not stat.S_ISREG(found):
        what = "a folder" if stat.S_ISDIR(found) else "a device, a pipe or a socket"
        raise OutputUnwritable(f"{path}: wanted the name of a file, got {what}")


def write_file(path: Path, data: bytes, *, mode: int = 0o666, owner: tuple[int, int] | None = None) -> None:
    """Write a whole file, or leave what was there. `owner` is user and group. Raises OutputUnwritable."""
    check_place(path)
    part = path.parent / f".{secrets.token_hex(8)}.part"  # a path may have no name: that is told below
    try:
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                if owner is not None:
                    os.fchown(file.fileno(), *owner)
                file.write(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"{path}: wanted to write it, got: {error.strerror}") from error
