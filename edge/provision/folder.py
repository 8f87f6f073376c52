"""Files and links of the identity folder: written whole and to the disk, owned by the right user."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.erasing import sync_folder
from edge.errors import EdgeError

PART = ".part-"
"""How the name begins of what is not whole."""
_FOLDER_MODE = 0o750


class IdentityUnwritable(EdgeError):
    """The identity folder cannot be written: run this as root, with the disk mounted writable."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may read the key: the user that the unit runs as."""

    user: int
    group: int


def make_folder(folder: Path, owner: Owner | None) -> None:
    """Make a folder: root's, where root makes it: the unit may look in, and not exchange what is there."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(_FOLDER_MODE)
    if owner is not None:
        os.chown(folder, -1, owner.group)


def part_name() -> str:
    """Return a name for what is not whole yet, or not any more."""
    return f"{PART}{secrets.token_hex(4)}"


def new_part(folder: Path, owner: Owner | None) -> Path:
    """Make a folder in `folder` for what becomes whole there."""
    part = folder / part_name()
    make_folder(part, owner)
    return part


def write(path: Path, data: bytes, mode: int, owner: Owner | None) -> None:
    """Write a new file, with this mode whatever the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, owner.user, owner.group)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def part_of(path: Path) -> Path:
    """Return what `replace` calls a file until it is whole."""
    return path.with_name(f".{path.name}.part")


def replace(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    """Write a file anew, whole and to the disk, or leave what was there. A cut leaves one part at most."""
    part = part_of(path)
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)
    sync_folder(path.parent)


def turn(path: Path, target: str) -> None:
    """Make a link, or turn it in one step."""
    part = path.with_name(part_name())
    part.symlink_to(target)
    part.replace(path)
    sync_folder(path.parent)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say of an OSError which folder it was. Raises IdentityUnwritable."""
    try:
        yield
    except OSError as error:
        raise IdentityUnwritable(f"{folder}: wanted to write there, got: {error}") from error
