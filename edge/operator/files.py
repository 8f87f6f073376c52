"""Files that hold what must not be lost or seen: new ones only, and small secrets."""

import os
from contextlib import suppress
from pathlib import Path

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.output import OutputUnwritable

_SECRET_MAX_BYTES = 4096


class SecretUnreadable(EdgeError):
    """A password or passphrase cannot be read: write it into that file, alone on its first line."""


class FileThere(EdgeError):
    """What is there is never written over: choose another name, or move that file away."""


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that is not there yet. Raises FileThere, OutputUnwritable."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise FileThere(f"{path}: wanted a new file, got one that is there") from error
    except OSError as error:
        raise OutputUnwritable(f"{path}: wanted to write it, got: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise OutputUnwritable(f"{path}: wanted to write it, got: {error.strerror}") from error


def key_files(out: Path) -> tuple[Path, Path]:
    """Return where the private and the public key go. Raises OutputUnwritable for no name at all."""
    if not out.name:
        raise OutputUnwritable(f"{out}: wanted a name for the keys, got a folder")
    return out.with_name(f"{out.name}.key"), out.with_name(f"{out.name}.pub")


def write_pair(out: Path, private_pem: bytes, public_pem: bytes) -> None:
    """Write both halves of a key, or neither: `out`.key (0600), `out`.pub.

    Raises FileThere, OutputUnwritable.
    """
    private, public = key_files(out)
    write_new(private, private_pem, mode=0o600)
    try:
        write_new(public, public_pem, mode=0o644)
    except EdgeError:
        private.unlink()
        raise


def read_secret(path: Path) -> str:
    """Return the first line of a file. Raises SecretUnreadable."""
    try:
        text = read_bounded(path, _SECRET_MAX_BYTES).decode()
    except OSError as error:
        raise SecretUnreadable(f"{path}: wanted a readable file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SecretUnreadable(f"{path}: wanted text in UTF-8, got something else") from error
    secret = text.partition("\n")[0].rstrip("\r")
    if not secret:
        raise SecretUnreadable(f"{path}: wanted a line with the secret, got none")
    return secret
