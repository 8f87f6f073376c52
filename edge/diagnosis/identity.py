"""Whether the unit can show who it is: its certificate, its key, and whom it believes."""

import datetime as dt
import ipaddress
import os
import stat
from pathlib import Path

from edge.border import read_bounded
from edge.config import BrokerTable
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.provision.certificates import (
    MAX_PEM_BYTES,
    Certificate,
    CertificateRefused,
    KeyDamaged,
    dates_of,
    key_fits,
)
from edge.provision.pairs import AWAITED, REQUEST
from edge.provision.standing import certificate_at

SOON = dt.timedelta(days=14)
_NO_CONFIG = "unit.toml cannot be used: see config.readable"
_OTHERS = 0o077


def probe_certificate(patient: Patient) -> Verdict:
    """Look whether the certificate is there, this unit's, and valid today."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    table, unit = patient.config.broker, patient.config.unit.id
    if not table.encrypted:
        if _is_loopback(table.host):
            return skipped("the broker is on this machine: no TLS, no certificate")
        return warned("unencrypted", "no TLS to the broker", "TLS")
    if table.certificate_file is None:
        if table.username is not None:
            return skipped("no certificate: the unit comes with a user name")
        return warned("none", "neither certificate nor user name", "one of them")
    path = table.certificate_file
    try:
        certificate = certificate_at(path)
    except CertificateRefused:
        return failed("damaged", "not a certificate in PEM", "a certificate")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (path.parent / AWAITED).exists():
            return failed("awaited", "none yet", "a certificate")
        return _unreadable(patient, error)
    if certificate.common_names != (unit,):
        return failed("other-unit", f"for {', '.join(certificate.common_names) or 'nobody'}", f"for {unit}")
    return _dated(certificate, patient.clock.now_at())


def _dated(certificate: Certificate, now_at: dt.datetime) -> Verdict:
    until = f"valid until {certificate.until_at:%Y-%m-%d %H:%M} UTC"
    clock = f"the clock reads {now_at:%Y-%m-%d %H:%M} UTC"
    if now_at >= certificate.until_at:
        return failed("expired", f"expired {certificate.until_at:%Y-%m-%d %H:%M} UTC; {clock}", "valid today")
    if now_at < certificate.from_at:
        from_at = f"valid from {certificate.from_at:%Y-%m-%d %H:%M} UTC on"
        return failed("not-yet-valid", f"{from_at}; {clock}", "valid today")
    # One that lives for a week only is not always about to expire.
    soon = min(SOON, certificate.until_at - certificate.renew_at)
    if certificate.until_at - now_at < soon:
        return warned("expires-soon", until, f"more than {soon.days} days left")
    return passed(until)


def probe_key(patient: Patient) -> Verdict:
    """Look whether the key is the certificate's, and nobody else's to read."""
    pair = _pair(patient)
    if isinstance(pair, Verdict):
        return pair
    certificate, key = pair
    try:
        status = key.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS:
            return failed("readable", f"mode {mode:04o}", "mode 0600")
        owner = _owner(patient)
        if os.geteuid() == 0 and owner is not None and status.st_uid not in (owner, 0):
            return failed("other-owner", f"owned by user {status.st_uid}", f"owned by user {owner}")
        if os.geteuid() == 0 and owner not in (None, 0) and status.st_uid == 0:
            return failed("other-owner", "owned by root", f"owned by user {owner}")
        if not key_fits(certificate, key):
            return failed("other-key", "not the key of the certificate", "the certificate's own")
    except KeyDamaged:
        return failed("damaged", "not a private key in PEM", "a private key")
    except OSError as error:
        return _unreadable(patient, error)
    return passed(f"fits the certificate, mode {mode:04o}")


def probe_renewal(patient: Patient) -> Verdict:
    """Look whether two thirds of the certificate's life are over, and whether the newest one is in use."""
    pair = _pair(patient)
    if isinstance(pair, Verdict):
        return pair
    path = pair[0]
    if patient.facts is not None and patient.facts.get("link.identity") == "previous":
        return warned("previous-in-use", "the unit comes with the certificate before", "with the newest")
    try:
        certificate = certificate_at(path)
    except (CertificateRefused, OSError):
        return skipped("needs identity.certificate")
    due = f"renewal is due from {certificate.renew_at:%Y-%m-%d} on"
    if patient.clock.now_at() < certificate.renew_at:
        return passed(due)
    in_time = f"renewed from {certificate.renew_at:%Y-%m-%d} on"
    if (path.parent / REQUEST).exists():
        return warned("requested", "a request waits for its certificate", in_time)
    return warned("due", "two thirds of its life are over", in_time)


def probe_authority(patient: Patient) -> Verdict:
    """Look whether the CA by which the broker is believed can be read, and is valid."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    table = patient.config.broker
    if not table.encrypted:
        return skipped("no TLS to the broker")
    if table.ca_file is None:
        return passed("the system's authorities")
    try:
        dates = dates_of(read_bounded(table.ca_file, MAX_PEM_BYTES * 8), "broker.ca_file")
    except CertificateRefused:
        return failed("damaged", "not certificates in PEM", "the CA's certificate")
    except OSError as error:
        return _unreadable(patient, error)
    now_at = patient.clock.now_at()
    valid = [until_at for from_at, until_at in dates if from_at <= now_at < until_at]
    if not valid:
        return failed("expired", f"none of {len(dates)} is valid today", "one that is valid today")
    return passed(f"valid until {max(valid):%Y-%m-%d}")


def _pair(patient: Patient) -> tuple[Path, Path] | Verdict:
    if patient.config is None:
        return skipped(_NO_CONFIG)
    table: BrokerTable = patient.config.broker
    if table.certificate_file is None or table.key_file is None:
        return skipped("the unit has no certificate")
    return table.certificate_file, table.key_file


def _unreadable(patient: Patient, error: OSError) -> Verdict:
    """Say that a file is not there, or that it may not be read, and by whom."""
    if not isinstance(error, PermissionError):
        return failed("missing", f"cannot be read: {error.strerror}", "a readable file")
    if patient.inside or os.geteuid() == _owner(patient):
        return failed("denied", "the unit may not read it", "a readable file")
    return skipped("not yours to read: run it with sudo")


def _owner(patient: Patient) -> int | None:
    """Return as whom the unit runs: whoever owns its state."""
    try:
        return None if patient.config is None else patient.config.paths.state.stat().st_uid
    except OSError:
        return None


def _is_loopback(host: str) -> bool:
    if host in {"localhost", "ip6-localhost"} or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_PROVISION = (
    "On the unit: deskwatch provision --request; have it signed; then: deskwatch provision --certificate"
    " FILE."
)
_DENIED = (
    "Give the file to the user that the unit runs as: chown deskwatch FILE, and a folder that it may enter."
)

CHECKS = (
    Check(
        "identity.certificate",
        probe_certificate,
        {
            "unencrypted": "Events and pictures travel in the open. Have the broker offer TLS, and set"
            " broker.port"
            " to 8883 and broker.tls to true in unit.toml.",
            "none": "Give the unit a certificate (deskwatch provision --request), or set broker.username in"
            " unit.toml.",
            "awaited": f"This unit waits for its first certificate. {_PROVISION}",
            "missing": f"broker.certificate_file in unit.toml names no file that can be read. {_PROVISION}",
            "denied": _DENIED,
            "damaged": f"Put the certificate that was issued there again. {_PROVISION}",
            "other-unit": "This certificate is another unit's. Put this unit's own there, or correct"
            " unit.id in"
            " unit.toml.",
            "expired": f"First look at the clock (clock.plausible). If it is right, renew. {_PROVISION}",
            "not-yet-valid": "Look at the clock: it is most likely behind. Let the unit reach its time server"
            " (timedatectl). If the clock is right, have the certificate issued anew.",
            "expires-soon": f"Renew it now: when it expires, nothing leaves the unit any more. {_PROVISION}",
        },
    ),
    Check(
        "identity.key",
        probe_key,
        {
            "missing": "broker.key_file in unit.toml names no file that can be read. Make a new key:"
            " deskwatch"
            " provision --request --new-key.",
            "denied": _DENIED,
            "damaged": "Make a new key, and have its request signed: deskwatch provision --request"
            " --new-key.",
            "other-key": "Certificate and key are of two pairs. Put the two that belong together there, or"
            " go back:"
            " deskwatch provision --revert.",
            "readable": "Others on the unit could have read the key: take it for known. Make a new one:"
            " deskwatch"
            " provision --request --new-key.",
            "other-owner": "The unit cannot read its key: chown deskwatch on the file that broker.key_file"
            " names.",
        },
    ),
    Check(
        "identity.renewal",
        probe_renewal,
        {
            "due": f"Renew it. {_PROVISION}",
            "requested": "Send unit.csr (in the identity folder) to whoever signs, then: deskwatch provision"
            " --certificate FILE.",
            "previous-in-use": "The broker refuses the newest certificate, so the unit comes with the one"
            " before."
            " Have the broker trust the newest one's CA, or have another one issued.",
        },
    ),
    Check(
        "identity.authority",
        probe_authority,
        {
            "missing": "broker.ca_file in unit.toml names no file that can be read. Put the certificate of"
            " the CA"
            " there that signed the broker's.",
            "denied": _DENIED,
            "damaged": "Put the certificate of the CA there that signed the broker's, in PEM.",
            "expired": "First look at the clock (clock.plausible). If it is right, get the CA's new"
            " certificate from"
            " whoever runs the broker, and put it at broker.ca_file.",
        },
    ),
)
