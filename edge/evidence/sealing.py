"""Pictures sealed to a reviewer's public key: HPKE (RFC 9180), base mode, single shot, no additional data.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. A sealed picture is

    "DWS1" | 32 bytes: the key's thumbprint | 32 bytes: HPKE's enc | the ciphertext, and its tag of 16 bytes

and its `info` is "DWS1", then the unit's id and the event's, in UTF-8, each behind its length in two bytes,
big endian. So it opens for one key, one unit and one event, or not at all. It is not signed: who sent it is
for the broker to say, and for the hash in the event.

A sealed support bundle is built alike with "DWB1" in the place of "DWS1", and that alone is its `info`:
neither opens as the other.

cryptography is imported with the first picture: a unit whose policy names nobody never pays for it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.policy.recipient import KEY_BYTES, KID_BYTES, Recipient, base64url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

SEALED_MEDIA_TYPE = "application/vnd.deskwatch.sealed"
JPEG_MEDIA_TYPE = "image/jpeg"
MAGIC = b"DWS1"
BUNDLE_MAGIC = b"DWB1"
TAG_BYTES = 16
OVERHEAD_BYTES = len(MAGIC) + KID_BYTES + KEY_BYTES + TAG_BYTES
"""By which a sealed picture is larger than the picture, and a sealed bundle than the bundle."""

_MAX_KEY_FILE_BYTES = 4_096


class SealError(EdgeError):
    """A picture or a bundle cannot be sealed or opened: see which of its kinds it is."""


class CannotSeal(SealError):
    """It is not sealed, and must not leave: install cryptography as the wheel asks for it."""


class NotSealed(SealError):
    """These are not the bytes of a sealed picture: take them from the topic `thumb`, whole."""


class NotABundle(SealError):
    """These are not the bytes of a support bundle: take the file that `support-bundle` wrote, whole."""


class UnknownRecipient(SealError):
    """It is sealed to a key that is not here: give that one with --key too."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"sealed to key {kid}: wanted that private key, got none or others")
        self.kid = kid


class Spoilt(SealError):
    """Changed or cut on its way, or of another unit or event: fetch it anew; none of it can be used."""


class SealKeyUnusable(EdgeError):
    """A key file cannot be used: give an X25519 key in PEM, as `deskwatch operator keygen --seal` does."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Opens what was sealed to it. It never comes near a unit."""

    recipient: Recipient
    """The public half."""
    _key: "X25519PrivateKey" = field(repr=False, compare=False)

    @property
    def kid(self) -> str:
        """Its thumbprint."""
        return self.recipient.kid

    def pem(self, passphrase: str | None = None) -> bytes:
        """Return it as PKCS #8, encrypted where there is a passphrase."""
        from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415

        encryption = pem.BestAvailableEncryption(passphrase.encode()) if passphrase else pem.NoEncryption()
        return self._key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)

    def public_pem(self) -> bytes:
        """Return the public half as SubjectPublicKeyInfo."""
        from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415

        return self._key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A picture as it leaves the unit."""

    data: bytes
    media_type: str
    recipient: str | None = None
    """Id of the key that it is sealed to; none: it is not sealed."""

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()


def parcel(jpeg: bytes, recipient: Recipient | None, unit: str, event_id: str) -> Parcel:
    """Return a picture as it may leave: sealed, where there is a recipient. Raises CannotSeal."""
    if recipient is None:
        return Parcel(jpeg, JPEG_MEDIA_TYPE)
    return Parcel(seal(jpeg, recipient, unit, event_id), SEALED_MEDIA_TYPE, recipient.kid)


def seal(jpeg: bytes, recipient: Recipient, unit: str, event_id: str) -> bytes:
    """Return the picture, readable for `recipient` alone. Raises CannotSeal, whatever went wrong."""
    return MAGIC + _sealed(jpeg, recipient, _info(unit, event_id), f"{event_id}: wanted to seal a picture")


def seal_bundle(document: bytes, recipient: Recipient) -> bytes:
    """Return a support bundle, readable for `recipient` alone. Raises CannotSeal, whatever went wrong."""
    return BUNDLE_MAGIC + _sealed(document, recipient, BUNDLE_MAGIC, "wanted to seal a support bundle")


def open_sealed(data: bytes, keys: Sequence[PrivateKey], unit: str, event_id: str) -> bytes:
    """Return the picture. Raises NotSealed, UnknownRecipient, Spoilt, and nothing else."""
    return _opened(data, sealed_to(data), keys, _info(unit, event_id), f"event {event_id!r} of unit {unit!r}")


def open_bundle(data: bytes, keys: Sequence[PrivateKey]) -> bytes:
    """Return what is in a support bundle. Raises NotABundle, UnknownRecipient, Spoilt, and nothing else."""
    if not data.startswith(BUNDLE_MAGIC):
        raise NotABundle(f"wanted a support bundle, beginning with {BUNDLE_MAGIC!r}, got {data[:8]!r}")
    if len(data) < OVERHEAD_BYTES:
        raise NotABundle(f"wanted a support bundle of at least {OVERHEAD_BYTES} bytes, got {len(data)}")
    return _opened(data, _kid(data), keys, BUNDLE_MAGIC, "a support bundle")


def sealed_to(data: bytes) -> str:
    """Return the id of the key that a picture is sealed to. Raises NotSealed."""
    if not is_sealed(data):
        raise NotSealed(f"wanted a sealed picture, beginning with {MAGIC!r}, got {data[:8]!r}")
    if len(data) < OVERHEAD_BYTES:
        raise NotSealed(f"wanted a sealed picture of at least {OVERHEAD_BYTES} bytes, got {len(data)}")
    return _kid(data)


def is_sealed(data: bytes) -> bool:
    """Tell whether it begins as a sealed picture does."""
    return data.startswith(MAGIC)


def media_type_of(data: bytes) -> str:
    """Return what a picture is, where MQTT 3.1.1 had no property to say it."""
    return SEALED_MEDIA_TYPE if is_sealed(data) else JPEG_MEDIA_TYPE


def new_private_key() -> PrivateKey:
    """Make a key from the system's randomness."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

    return _private(X25519PrivateKey.generate())


def read_private_key(path: Path, passphrase: str | None = None) -> PrivateKey:
    """Return the private key in a PEM file. Raises SealKeyUnusable."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        pem = read_bounded(path, _MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SealKeyUnusable(f"{path}: wanted a readable key file, got: {error.strerror}") from error
    try:
        key = load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: one passphrase too many
        wanted = "wanted an X25519 private key in PEM and, if it has one, its passphrase"
        raise SealKeyUnusable(f"{path}: {wanted}, got something else") from error
    if not isinstance(key, X25519PrivateKey):
        raise SealKeyUnusable(f"{path}: wanted an X25519 private key, got another kind: {type(key).__name__}")
    return _private(key)


def read_recipient(path: Path) -> Recipient:
    """Return the public key in a PEM file, of what is to be sealed to it. Raises SealKeyUnusable."""
    try:
        pem = read_bounded(path, _MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SealKeyUnusable(f"{path}: wanted a readable key file, got: {error.strerror}") from error
    return parse_recipient(pem, str(path))


def parse_recipient(pem: bytes, where: str) -> Recipient:
    """Return the public key in a PEM. Raises SealKeyUnusable, which says `where` it was."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    wanted = f"{where}: wanted an X25519 public key in PEM"
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SealKeyUnusable(f"{wanted}, got something else") from error
    if not isinstance(key, X25519PublicKey):
        raise SealKeyUnusable(f"{wanted}, got another kind: {type(key).__name__}")
    try:
        return Recipient(key.public_bytes_raw())
    except ValueError as error:  # a point that would seal to everybody
        raise SealKeyUnusable(f"{where}: {error}") from error


def _sealed(data: bytes, recipient: Recipient, info: bytes, wanted: str) -> bytes:
    """Return the key's thumbprint and what is sealed to it. Raises CannotSeal, whatever went wrong."""
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415

        key = X25519PublicKey.from_public_bytes(recipient.raw)
        sealed = _suite().encrypt(data, key, info)
    except Exception as error:  # what is open in its place is the one thing that must not be
        raise CannotSeal(f"{wanted} to key {recipient.kid}, got: {error!r}") from error
    return recipient.kid_bytes + sealed


def _opened(data: bytes, kid: str, keys: Sequence[PrivateKey], info: bytes, what: str) -> bytes:
    """Return what is behind magic and thumbprint. Raises UnknownRecipient, Spoilt."""
    key = next((key for key in keys if key.kid == kid), None)
    if key is None:
        raise UnknownRecipient(kid)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    try:
        return _suite().decrypt(data[len(MAGIC) + KID_BYTES :], key._key, info)  # noqa: SLF001
    except (InvalidTag, ValueError, OverflowError) as error:
        wanted = f"wanted what was sealed to key {kid} for {what}"
        raise Spoilt(f"{wanted}, got something else, or less, of {len(data)} bytes") from error


def _kid(data: bytes) -> str:
    return base64url(data[len(MAGIC) : len(MAGIC) + KID_BYTES])


def _private(key: "X25519PrivateKey") -> PrivateKey:
    return PrivateKey(Recipient(key.public_key().public_bytes_raw()), key)


@cache
def _suite() -> "Suite":
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite  # noqa: PLC0415

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _info(unit: str, event_id: str) -> bytes:
    return MAGIC + b"".join(len(one).to_bytes(2, "big") + one for one in (unit.encode(), event_id.encode()))
