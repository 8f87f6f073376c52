"""TLS to the broker: which files, and what is wrong with them, by their names in unit.toml."""

import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.uplink.signals import Cause, LinkError

WRITTEN_AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
"""This was written then: a clock that shows an earlier time is wrong."""


class TlsUnusable(LinkError):
    """A certificate or key cannot be used: put the file that the message names right, or its line."""

    cause = Cause.FILES


class _Socket(ssl.SSLSocket):
    """Closes itself when its handshake fails: paho forgets it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


@dataclass(frozen=True, slots=True)
class WallClock:
    """The unit's clock, by which certificates are judged, and whether it can be believed."""

    now_at: Callable[[], dt.datetime]
    synchronised: Callable[[], bool]

    def doubt(self) -> str | None:
        """Say what is wrong with the clock; None where nothing is known against it."""
        now_at = self.now_at()
        reads = now_at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        if now_at < WRITTEN_AT:
            return (
                f"the unit's clock is wrong, and that is the likely cause: it reads {reads}, which is before"
                " this firmware was made: let the unit reach its time server, or set the clock"
            )
        if not self.synchronised():
            return (
                f"the unit's clock is not synchronised, which is the likely cause: it reads {reads}: compare"
                " it with yours, and let the unit reach its time server"
            )
        return None

    def good(self) -> str:
        """Say that it is not the clock, and what it reads."""
        return f"the unit's clock is synchronised and reads {self.now_at():%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. Without a CA the system's authorities count; certificate and key are the unit's own.

    TLS 1.2 at least; the broker's certificate must be for the name or address that was dialled.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_pem: str | None = None
    """The CA's certificate itself; it takes the place of `ca_file`."""

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises TlsUnusable."""
        self._check_readable()
        try:
            file = None if self.ca_pem is not None else self.ca_file
            context = ssl.create_default_context(cafile=file, cadata=self.ca_pem)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            where = f"broker.ca_file: wanted certificates in PEM, got {self.ca_file}"
            if self.ca_pem is not None:
                where = f"broker.ca_pem: wanted certificates in PEM, got {len(self.ca_pem)} characters"
            raise TlsUnusable(f"{where}: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _Socket
        if self.certificate_file is not None:
            self._load_own(context, self.certificate_file)
        return context

    def _check_readable(self) -> None:
        for name in ("ca_file", "certificate_file", "key_file"):
            path: Path | None = getattr(self, name)
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as error:
                raise TlsUnusable(
                    f"broker.{name}: wanted a readable file, got {path}: {error.strerror}"
                ) from error

    def _load_own(self, context: ssl.SSLContext, certificate_file: Path) -> None:
        try:
            # A passphrase, so that nobody is asked for one at a terminal that a unit does not have.
            context.load_cert_chain(certificate_file, self.key_file, password="")
        except OSError as error:
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise TlsUnusable(
                    f"broker.key_file: wanted the key of the certificate in {certificate_file}, got another"
                    f" key in {self.key_file}: put the two files that were issued together there"
                ) from error
            raise TlsUnusable(
                "broker.certificate_file and broker.key_file: wanted a certificate in PEM and its own key"
                f" without a passphrase, got {certificate_file} and {self.key_file}: {error}"
            ) from error


_NOT_YET_VALID, _EXPIRED = 9, 10
_DATES = {_NOT_YET_VALID: Cause.BROKER_NOT_YET_VALID, _EXPIRED: Cause.BROKER_EXPIRED}
_OTHER_NAME = frozenset({62, 64})
"""X509_V_ERR_* of OpenSSL's x509_vfy.h."""

_TOO_OLD = "the broker has no TLS 1.2 or newer: it needs an update, this unit takes nothing older"
_TOO_OLD_CAUSES = frozenset({"PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL"})
_ALERTS: dict[str, str] = {
    "CERTIFICATE_REQUIRED": "the broker wants a certificate of the unit: {own}",
    "HANDSHAKE_FAILURE": "the broker wants a certificate of the unit, or no cipher is common to both: {own}",
    "UNKNOWN_CA": "the broker does not know the authority that signed the unit's certificate: {own}",
    "CERTIFICATE_EXPIRED": "the broker finds the unit's certificate expired: {own}, and have it renewed",
    "CERTIFICATE_REVOKED": "the unit's certificate was revoked: {own}, and have a new one issued",
    "BAD_CERTIFICATE": "the broker does not take the unit's certificate: {own}, and from when on it is valid",
    "CERTIFICATE_UNKNOWN": "the broker does not take the unit's certificate: {own}",
    "UNSUPPORTED_CERTIFICATE": "the broker does not take the unit's certificate: {own}, and its usage",
    "ACCESS_DENIED": "the broker does not take the unit's certificate: {own}",
    "DECRYPT_ERROR": "the unit's key does not fit its certificate: {own} and broker.key_file",
    "PROTOCOL_VERSION": _TOO_OLD,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "WRONG_VERSION_NUMBER": "that port speaks no TLS: check broker.port, and broker.tls",
}
"""By the end of OpenSSL's name for it: most are alerts that the broker sent."""


def tls_cause(error: ssl.SSLError, tls: Tls, clock: WallClock) -> str:
    """Say what is wrong between the two ends, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error, tls, clock)
    reason = error.reason or ""
    for name, hint in _ALERTS.items():
        if reason.endswith(name):
            own = f"check broker.certificate_file, {tls.certificate_file or 'which is not set'}"
            return f"{hint.format(own=own)} ({reason})"
    return f"no TLS session: {error}: is it a TLS port, and are the unit's certificate and key right?"


def _distrust(error: ssl.SSLCertVerificationError, tls: Tls, clock: WallClock) -> str:
    code, message = error.verify_code, error.verify_message
    if code in (_EXPIRED, _NOT_YET_VALID):
        state = "has expired" if code == _EXPIRED else "is not valid yet"
        renew = "have the broker's certificate, or that of its CA, renewed"
        doubt = clock.doubt()
        return f"the broker's certificate {state}: {doubt or f'{renew}; {clock.good()}'}"
    if code in _OTHER_NAME:
        return f"its certificate is for another host: check broker.host, or have one issued for it: {message}"
    ca = "broker.ca_pem" if tls.ca_pem else f"broker.ca_file, {tls.ca_file}" if tls.ca_file else None
    check = f"check {ca}" if ca else "check broker.ca_file, which is not set: the system's authorities count"
    return f"its certificate is not trusted: {check}: it must be the CA that signed it: {message}"


def cause_of_tls(error: ssl.SSLError, tls: Tls) -> Cause | None:
    """Return the same for programs."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code in _OTHER_NAME:
            return Cause.BROKER_OTHER_NAME
        return _DATES.get(code, Cause.BROKER_UNKNOWN_CA)
    reason = error.reason or ""
    name = next((name for name in _ALERTS if reason.endswith(name)), None)
    if name is None:
        return None
    if name in _TOO_OLD_CAUSES:
        return Cause.TLS_TOO_OLD
    if name == "WRONG_VERSION_NUMBER":
        return Cause.NO_TLS
    return Cause.CERTIFICATE_WANTED if tls.certificate_file is None else Cause.CERTIFICATE_REFUSED
