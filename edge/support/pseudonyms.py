"""Names that stand for others in a support bundle: the same for the same unit, and for nobody to turn back.

The key never leaves the state folder. `deskwatch reset --factory` erases it: later bundles have other names.
"""

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.worklog.disk import sync_folder, write_whole

KEY_FILE = "support.key"
KEY_BYTES = 32
_CHARS = 16
"""80 bits."""


class NoPseudonyms(EdgeError):
    """The key of the pseudonyms cannot be read or kept: free some space, or delete it if it is bad."""


class Pseudonyms:
    """Makes them, of one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"wanted a key of {KEY_BYTES} bytes, got {len(key)}")
        self._key = key

    @classmethod
    def of(cls, state: Path) -> "Pseudonyms":
        """Return those of the unit with this state folder; its key is made where there is none.

        Raises NoPseudonyms.
        """
        path = state / KEY_FILE
        try:
            key = _read(path) or _make(path)
        except OSError as error:
            raise NoPseudonyms(f"{path}: wanted a key there, got: {error.strerror}") from error
        if len(key) != KEY_BYTES:
            raise NoPseudonyms(f"{path}: wanted {KEY_BYTES} bytes, got {len(key)}")
        return cls(key)

    def name(self, kind: str, value: str) -> str:
        """Return what stands for a value of its kind: `host-k5zqmf2ruh3tqw7b`."""
        mac = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}-{base64.b32encode(mac).decode().lower()[:_CHARS]}"


def _read(path: Path) -> bytes | None:
    try:
        return read_bounded(path, KEY_BYTES)
    except FileNotFoundError:
        return None


def _make(path: Path) -> bytes:
    """Keep a new key, whole or not at all; of two that make one at once, the first one's counts."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_whole(part, secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return read_bounded(path, KEY_BYTES)
