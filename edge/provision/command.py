"""`deskwatch provision`. Exit codes: 0 good, 1 a renewal is due, 2 an error: no identity, or no valid one."""

import argparse
import datetime as dt
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.output import put, write_file
from edge.provision.certificates import MAX_PEM_BYTES, Certificate
from edge.provision.folder import Owner
from edge.provision.pairs import Identity, Standing
from edge.provision.site import Places, find_site, import_site, settings_of
from edge.story import printable

GOOD, DUE = 0, 1
USER = "deskwatch"
"""Whom the service runs as."""


class UnitUnnamed(EdgeError):
    """Which unit this is is not known: import the site's settings first, or give --unit."""


class PemUnreadable(EdgeError):
    """A certificate file cannot be read: give the file that the CA sent back, in PEM."""


def run(arguments: argparse.Namespace) -> int:
    """Do what was typed; return the exit code."""
    return _ACTIONS[arguments.what](arguments)


def owner() -> Owner | None:
    """Return whom a key belongs to: the service's user, where root makes it."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        return None
    return Owner(entry.pw_uid, entry.pw_gid)


def identity_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the unit whose settings are named."""
    named: Path | None = arguments.identity
    config: Path = arguments.config
    return named if named is not None else config.absolute().parent / "identity"


def _identity(arguments: argparse.Namespace) -> Identity:
    config = settings_of(arguments.config)
    unit: str | None = arguments.unit or (config.unit.id if config is not None else None)
    if unit is None:
        raise UnitUnnamed(f"{arguments.config}: wanted the unit's id, got no such file")
    return Identity(identity_folder(arguments), unit, owner())


def _request(arguments: argparse.Namespace) -> int:
    request = _identity(arguments).request(fresh=arguments.new_key)
    if arguments.out is None:
        put(request.decode().removesuffix("\n"))
    else:
        write_file(arguments.out, request)
        put(f"{arguments.out}: have it signed, then: deskwatch provision --certificate FILE --ca CA")
    return GOOD


def _certificate(arguments: argparse.Namespace) -> int:
    path: Path = arguments.certificate
    ca = None if arguments.ca is None else _pem(arguments.ca).decode("utf-8", "replace")
    done = _identity(arguments).install(_pem(path), ca, _now_at(), str(path))
    put(f"In force: {_shown(done)}. To make the unit use it: systemctl restart deskwatch")
    return GOOD


def _check(arguments: argparse.Namespace) -> int:
    certificate, standing = _identity(arguments).check(_now_at())
    if standing is Standing.DUE:
        put(f"renewal is due: {_shown(certificate)}: deskwatch provision --request, and have that signed")
        return DUE
    put(f"good: {_shown(certificate)}; renewal is due from {certificate.renew_at:%Y-%m-%d} on")
    return GOOD


def _revert(arguments: argparse.Namespace) -> int:
    done = _identity(arguments).revert(_now_at())
    put(f"In force again: {_shown(done)}. To make the unit use it: systemctl restart deskwatch")
    return GOOD


def _import(arguments: argparse.Namespace) -> int:
    path: Path = arguments.site if arguments.site is not None else find_site()
    # The unit's id is in the file: the folder alone is needed here.
    places = Places(arguments.config, Identity(identity_folder(arguments), "", owner()), arguments.wifi)
    site = import_site(path, places)
    put(f"{path}: imported and wiped")
    if site.unit is not None:
        put(f"  unit {site.unit.tenant}/{site.unit.id}: {arguments.config}")
    if site.wifi is not None:
        put(f"  Wi-Fi {printable(site.wifi.ssid)!r}: from the next start on, or: nmcli connection reload")
    return GOOD


def _pem(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_PEM_BYTES)
    except OSError as error:
        raise PemUnreadable(f"{path}: wanted a readable file, got: {error.strerror}") from error


def _shown(certificate: Certificate) -> str:
    serial = f"{certificate.serial:x}"
    return (
        f"CN {certificate.common_names[0]}, serial {serial}, until {certificate.until_at:%Y-%m-%d %H:%M} UTC"
    )


def _now_at() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "certificate": _certificate,
    "check": _check,
    "import": _import,
    "request": _request,
    "revert": _revert,
}
