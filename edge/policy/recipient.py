"""Whom pictures are sealed to: an X25519 public key that a policy names. Read here, used in `edge.evidence`.

The key stands in the policy itself: whoever signs it says who may look, and a new key is a new policy.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

PREFIX = "x25519:"
KEY_BYTES = KID_BYTES = 32
PATTERN = r"^x25519:[A-Za-z0-9_-]{43}\Z"
WANTED = f"{PREFIX} and 43 characters of base64url, the 32 bytes of a public key"

_FIELD = 2**255 - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
"""Points with which every secret key agrees on nothing but zeros. https://cr.yp.to/ecdh.html#validate"""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key, of whose spellings only one is taken, so that it has one id."""

    raw: bytes
    """32 bytes, u in little endian (RFC 7748)."""

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise ValueError(f"wanted {KEY_BYTES} bytes, got {len(self.raw)}")
        u = int.from_bytes(self.raw, "little")
        if u >= _FIELD:
            raise ValueError(f"wanted a number below 2^255 - 19, got {u:#x}")
        if u in _SMALL_ORDER:
            raise ValueError("wanted a public key, got a point of small order, which would seal to everybody")

    @classmethod
    def parse(cls, text: str) -> "Recipient":
        """Return the key in a text. Raises ValueError, which says what was wanted."""
        if re.match(PATTERN, text) is None:
            raise ValueError(f"wanted {WANTED}, got {text[:80]!r}")
        try:
            raw = base64.b64decode(text.removeprefix(PREFIX) + "=", altchars=b"-_", validate=True)
        except binascii.Error as error:
            raise ValueError(f"wanted {WANTED}, got {text!r}") from error
        recipient = cls(raw)
        if recipient.text != text:  # its last character has bits that mean nothing
            raise ValueError(f"wanted the spelling {recipient.text}, got {text}")
        return recipient

    @property
    def text(self) -> str:
        """As a policy names it."""
        return PREFIX + base64url(self.raw)

    @property
    def kid(self) -> str:
        """Its thumbprint, RFC 7638 (members as RFC 8037 has them)."""
        return base64url(self.kid_bytes)

    @property
    def kid_bytes(self) -> bytes:
        """The 32 bytes of the thumbprint."""
        members = f'{{"crv":"X25519","kty":"OKP","x":"{base64url(self.raw)}"}}'
        return hashlib.sha256(members.encode()).digest()


def base64url(data: bytes) -> str:
    """Return bytes as text, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
