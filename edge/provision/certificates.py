"""Keys, requests and certificates. The only importer of cryptography in this room.

ECDSA on P-256: mosquitto and OpenSSL would take Ed25519 too, but the certificate services of the large clouds
and many a company's CA do not sign it, and some brokers' TLS does not offer it.
"""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.errors import EdgeError

MAX_PEM_BYTES = 64_000
_RENEWAL_SHARE = 2 / 3
"""Of a certificate's life: so a third of it is left for the new one to come."""


class CertificateRefused(EdgeError):
    """The certificate was not taken, and what was in force stays so: issue one from this unit's request."""


class KeyDamaged(EdgeError):
    """A key file cannot be read: make a new key, `deskwatch provision --request --new-key`."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says."""

    pem: bytes
    """As it came: its issuers' certificates may follow it."""
    common_names: tuple[str, ...]
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    serial: int
    from_at: dt.datetime
    until_at: dt.datetime

    @property
    def renew_at(self) -> dt.datetime:
        """From when on a new one should be asked for."""
        return self.from_at + (self.until_at - self.from_at) * _RENEWAL_SHARE


def new_key() -> bytes:
    """Return a new private key, PKCS #8 in PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_for(key_pem: bytes, unit: str) -> bytes:
    """Return the signing request of a unit, PKCS #10 in PEM: CN, SAN, and that it is for a TLS client."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, unit)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(unit)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(_private(key_pem), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def names_of_request(pem: bytes) -> tuple[str, ...]:
    """Return the CNs in a request; none where it is none."""
    try:
        return _common_names(x509.load_pem_x509_csr(pem).subject)
    except ValueError:
        return ()


def public_of(key_pem: bytes) -> bytes:
    """Return a private key's other half, as `Certificate.public_key` has it. Raises KeyDamaged."""
    return _der(_private(key_pem).public_key())


def read_certificate(pem: bytes, where: str) -> Certificate:
    """Return what the first certificate in `pem` says. Raises CertificateRefused."""
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
        return Certificate(
            pem,
            _common_names(first.subject),
            _der(first.public_key()),
            first.serial_number,
            first.not_valid_before_utc,
            first.not_valid_after_utc,
        )
    except (ValueError, TypeError) as error:  # TypeError: a kind of key that it does not know
        raise CertificateRefused(f"{where}: wanted a certificate in PEM, got: {error}") from error


def are_certificates(pem: str) -> bool:
    """Tell whether a text is certificates in PEM, one or more."""
    try:
        return bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False


def is_public_key(pem: str) -> bool:
    """Tell whether a text is a public key in PEM."""
    try:
        serialization.load_pem_public_key(pem.encode())
    except ValueError:
        return False
    return True


def check_certificate(certificate: Certificate, unit: str, now_at: dt.datetime, where: str) -> None:
    """Raise CertificateRefused where it is for somebody else, or not for today."""
    if certificate.common_names != (unit,):
        got = ", ".join(map(repr, certificate.common_names)) or "none"
        raise CertificateRefused(f"{where}: wanted one for CN {unit!r}, got {got}")
    clock = f"the unit's clock reads {now_at:%Y-%m-%d %H:%M} UTC"
    if now_at < certificate.from_at:
        at = f"{certificate.from_at:%Y-%m-%d %H:%M} UTC"
        raise CertificateRefused(
            f"{where}: wanted one that is valid now, got one valid from {at} on; {clock}"
        )
    if now_at >= certificate.until_at:
        at = f"{certificate.until_at:%Y-%m-%d %H:%M} UTC"
        raise CertificateRefused(f"{where}: wanted one that is valid now, got one that expired {at}; {clock}")


def check_handshake(certificate: Path, key: Path, ca_pem: str, where: str) -> None:
    """Do, in memory, the TLS handshake that a broker with this CA would do with the pair.

    So it is OpenSSL that judges chain, purpose and signatures, as it will at the broker. Raises
    CertificateRefused.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # who the broker is is not asked here
    server.verify_mode = ssl.CERT_REQUIRED
    try:
        server.load_verify_locations(cadata=ca_pem)
        for context in (server, client):
            context.load_cert_chain(certificate, key, password="")
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(
            f"{where}: wanted one that a broker with this CA trusts for a client, got: {error.verify_message}"
        ) from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateRefused(f"{where}: wanted a pair for TLS and its CA in PEM, got: {error}") from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _flight in range(8):  # TLS 1.2 has four, 1.3 three
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not ends:
            return
    raise ValueError("a handshake without an end")


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise KeyDamaged("wanted a private key in PEM without a passphrase, got something else") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyDamaged(f"wanted an EC key, got {type(key).__name__}")
    return key


def _der(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise TypeError(f"{type(key).__name__} is not a public key")
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _common_names(name: x509.Name) -> tuple[str, ...]:
    return tuple(str(one.value) for one in name.get_attributes_for_oid(NameOID.COMMON_NAME))


def key_fits(certificate: Path, key: Path) -> bool:
    """Return whether a key, of whatever kind, is the certificate's. Raises KeyDamaged, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # A passphrase, so that nobody is asked for one.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return False
        raise KeyDamaged(f"{key}: wanted a private key in PEM without a passphrase, got: {error}") from error
    return True


def dates_of(pem: bytes, where: str) -> list[tuple[dt.datetime, dt.datetime]]:
    """Return from when until when each certificate in `pem` is valid. Raises CertificateRefused."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateRefused(f"{where}: wanted certificates in PEM, got: {error}") from error
    return [(one.not_valid_before_utc, one.not_valid_after_utc) for one in found]
