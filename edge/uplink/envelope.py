"""Signed documents: a JWS in compact serialization (RFC 7515), signed with Ed25519 (RFC 8037, RFC 9864).

The only importer of joserfc, which comes with the first key: a unit that trusts none never pays its 11 MB.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.uplink.twin_messages import RefusalCode

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey
    from joserfc.jws import JWSRegistry

MAX_ENVELOPE_BYTES = 128_000
ALGORITHM = "Ed25519"
"""RFC 9864; its forerunner, "EdDSA", left open which curve it was, and is deprecated there."""
TYPE = "deskwatch-policy+jws"

_MAX_KEY_BYTES = 4_096
_MAX_HEADER_CHARS = 512
# 64 bytes are 86 characters, and the last one has four bits that mean nothing: of its spellings, one.
_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{85}[AQgw])")


class EnvelopeError(EdgeError):
    """No trusted key signed this: sign the document anew, with a key that the unit trusts."""

    def __init__(self, code: RefusalCode, problem: str) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem


class KeyUnusable(EdgeError):
    """A key file cannot be used: put an Ed25519 key in PEM there, as `deskwatch operator keygen` makes it."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the protected header may hold. No `crit`, no `b64`, no key to be fetched or believed."""

    alg: Literal["Ed25519"]
    kid: str
    typ: Literal["deskwatch-policy+jws"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that is trusted to sign."""

    kid: str
    """Its thumbprint, RFC 7638."""
    _key: "OKPKey" = field(repr=False, compare=False)

    def pem(self) -> bytes:
        """Return it as SubjectPublicKeyInfo, for a unit's `trusted_keys`."""
        return self._key.as_pem(private=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: it never comes near a unit."""

    kid: str
    _key: "OKPKey" = field(repr=False, compare=False)

    def pem(self, passphrase: str | None = None) -> bytes:
        """Return it as PKCS #8, encrypted where there is a passphrase."""
        return self._key.as_pem(private=True, password=passphrase)

    @property
    def public(self) -> PublicKey:
        """The half that units trust."""
        return _public(self._key.as_pem(private=False))


@dataclass(frozen=True, slots=True)
class Signed:
    """A document whose signature is good."""

    document: bytes
    kid: str
    """The key that signed it."""


class Open(Protocol):
    """Opens an envelope with the keys that are trusted."""

    def __call__(self, envelope: bytes, /) -> Signed:
        """Return what is in it. Raises EnvelopeError."""
        ...


def new_signing_key() -> SigningKey:
    """Make a key from the system's randomness."""
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    key = OKPKey.generate_key("Ed25519", private=True)
    return SigningKey(key.thumbprint(), key)


def read_public_key(path: Path) -> PublicKey:
    """Return the key in a PEM file. Raises KeyUnusable."""
    pem = _read(path)
    if b"PRIVATE" in pem:
        raise KeyUnusable(f"{path}: wanted a public key, got a private one: it must not lie on a unit")
    try:
        return _public(pem)
    except ValueError as error:
        raise KeyUnusable(f"{path}: wanted an Ed25519 public key in PEM, got something else") from error


def read_signing_key(path: Path, passphrase: str | None = None) -> SigningKey:
    """Return the private key in a PEM file. Raises KeyUnusable."""
    pem = _read(path)
    if b"PRIVATE" not in pem:
        raise KeyUnusable(f"{path}: wanted a private key in PEM, got something else")
    try:
        key = _ed25519(pem, passphrase)
    except ValueError as error:
        wanted = "wanted an Ed25519 private key in PEM and, if it has one, its passphrase"
        got = "a key that opens sealed pictures" if "X25519" in str(error) else "something else"
        raise KeyUnusable(f"{path}: {wanted}, got {got}") from error
    return SigningKey(key.thumbprint(), key)


def trust(*keys: PublicKey) -> dict[str, PublicKey]:
    """Return the keys as `open_envelope` wants them."""
    return {key.kid: key for key in keys}


def seal(document: bytes, key: SigningKey) -> bytes:
    """Sign the exact bytes of a document. Raises EnvelopeError where it would be too large to be taken."""
    from joserfc.jws import serialize_compact  # noqa: PLC0415

    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    if (size_bytes := len(document) * 4 // 3 + 512) > MAX_ENVELOPE_BYTES:
        raise EnvelopeError(RefusalCode.TOO_LARGE, _too_large(size_bytes))
    return serialize_compact(header, document, key._key, registry=_registry()).encode()  # noqa: SLF001


def open_envelope(envelope: bytes, trusted: Mapping[str, PublicKey]) -> Signed:
    """Return the document that a trusted key signed. Raises EnvelopeError, whatever the bytes are."""
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise EnvelopeError(RefusalCode.TOO_LARGE, _too_large(len(envelope)))
    compact = _COMPACT.fullmatch(envelope)
    if compact is None or len(compact[1]) > _MAX_HEADER_CHARS:
        wanted = "wanted a JWS in compact serialization with an Ed25519 signature"
        raise EnvelopeError(RefusalCode.BAD_ENVELOPE, f"{wanted}, got {envelope[:40]!r}")
    kid = _header(compact[1]).kid
    if kid not in trusted:
        known = ", ".join(sorted(trusted)) or "none"
        problem = (
            f"wanted a signature by a key that this unit trusts ({known[:256]}), got one by {kid[:64]!r}"
        )
        raise EnvelopeError(RefusalCode.UNKNOWN_KEY, problem)
    return Signed(_verified(envelope, trusted[kid]), kid)


def _header(segment: bytes) -> _Header:
    from joserfc.util import urlsafe_b64decode  # noqa: PLC0415

    try:
        return msgspec.json.decode(urlsafe_b64decode(segment), type=_Header)
    except (ValueError, RecursionError) as error:  # a DecodeError and a binascii.Error are one
        wanted = f'wanted the protected header {{"alg": "{ALGORITHM}", "kid": ..., "typ": "{TYPE}"}}'
        raise EnvelopeError(RefusalCode.BAD_ENVELOPE, f"{wanted}, got: {str(error)[:256]}") from error


def _verified(envelope: bytes, key: PublicKey) -> bytes:
    from joserfc.errors import BadSignatureError, JoseError  # noqa: PLC0415
    from joserfc.jws import deserialize_compact  # noqa: PLC0415

    try:
        return deserialize_compact(envelope, key._key, registry=_registry()).payload  # noqa: SLF001
    except BadSignatureError as error:
        problem = f"the signature is not that of key {key.kid} over this document: wanted its exact bytes"
        raise EnvelopeError(RefusalCode.BAD_SIGNATURE, problem) from error
    except (JoseError, ValueError) as error:
        problem = f"wanted a JWS in compact serialization, got: {str(error)[:256]}"
        raise EnvelopeError(RefusalCode.BAD_ENVELOPE, problem) from error


@cache
def _registry() -> "JWSRegistry":
    from joserfc.jws import JWSRegistry  # noqa: PLC0415

    registry = JWSRegistry(algorithms=[ALGORITHM])
    registry.max_payload_length = MAX_ENVELOPE_BYTES
    return registry


def _public(pem: bytes) -> PublicKey:
    key = _ed25519(pem, None)
    return PublicKey(key.thumbprint(), key)


def _ed25519(pem: bytes, passphrase: str | None) -> "OKPKey":
    """Read a key. Raises ValueError for whatever is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    try:
        key = OKPKey.import_key(pem, password=passphrase)
    except (
        JoseError,
        TypeError,
        UnsupportedAlgorithm,
    ) as error:  # TypeError: a passphrase too many or too few
        raise ValueError(str(error)) from error
    if key.curve_name != "Ed25519":
        raise ValueError(f"wanted a key on Ed25519, got one on {key.curve_name}")
    return key


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, _MAX_KEY_BYTES)
    except OSError as error:
        raise KeyUnusable(f"{path}: wanted a readable key file, got: {error.strerror}") from error


def _too_large(size_bytes: int) -> str:
    return f"wanted an envelope of at most {MAX_ENVELOPE_BYTES} bytes, got {size_bytes}"
