"""The identity folder: one pair in force, the one before it, and a key that waits for its certificate.

    unit.key, unit.pem     links through `current`: what unit.toml names
    current, previous      links to folders in pairs/
    pairs/NAME/            unit.key (0600), unit.pem, ca.pem
    pending/               unit.key (0600), unit.csr, until the certificate comes
    awaited                there until the first certificate has come: the service does not start (packaging)

A pair is written whole beside the old one and comes into force with one rename, of the link `current`. So a
power cut between any two steps leaves the old pair or the new one, and never half of each.
"""

import datetime as dt
import enum
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.border import read_bounded
from edge.erasing import erase_file, erase_tree, sync_folder
from edge.errors import EdgeError
from edge.provision.certificates import (
    MAX_PEM_BYTES,
    Certificate,
    CertificateRefused,
    KeyDamaged,
    check_certificate,
    check_handshake,
    names_of_request,
    new_key,
    public_of,
    read_certificate,
    request_for,
)
from edge.provision.folder import PART, Owner, make_folder, new_part, part_name, turn, write, writing

KEY, CERTIFICATE, REQUEST, CA = "unit.key", "unit.pem", "unit.csr", "ca.pem"
AWAITED = "awaited"
PREVIOUS = "previous"
_CURRENT, _PENDING, _PAIRS = "current", "pending", "pairs"
_KEY_MODE, _PUBLIC_MODE = 0o600, 0o644


class IdentityMissing(EdgeError):
    """The unit has no certificate: `deskwatch provision --request`, have it signed, then `--certificate`."""


class IdentityUnsafe(EdgeError):
    """Others could read the unit's key: take the key for known, and provision the unit with a new one."""


class NothingBefore(EdgeError):
    """There is no earlier pair that could serve: have a certificate issued."""


class Standing(enum.Enum):
    """How a certificate stands."""

    GOOD = "good"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Identity:
    """A unit's identity folder."""

    folder: Path
    unit: str
    owner: Owner | None = None
    """None: whoever runs this, which is no root."""

    def request(self, *, fresh: bool = False) -> bytes:
        """Return the request that waits, or make a key and one. Raises IdentityUnwritable, NotErased."""
        request = None if fresh else self._waiting()
        with writing(self.folder):
            if request is None:
                key = new_key()
                request = request_for(key, self.unit)
                make_folder(self.folder, self.owner)
                part = new_part(self.folder, self.owner)
                write(part / KEY, key, _KEY_MODE, self.owner)
                write(part / REQUEST, request, _PUBLIC_MODE, self.owner)
                sync_folder(part)
                self._drop_pending()
                part.rename(self.folder / _PENDING)
                self._erase_parts()
            turn(self.folder / REQUEST, f"{_PENDING}/{REQUEST}")
        return request

    def install(self, pem: bytes, ca_pem: str | None, now_at: dt.datetime, where: str) -> Certificate:
        """Put a certificate in force, with the key that it is for; what was in force becomes `previous`.

        Without a CA, the one of the pair in force counts. Nothing changes unless all of it fits. Raises
        CertificateRefused, IdentityUnwritable, NotErased.
        """
        certificate = read_certificate(pem, where)
        key = self._key_of(certificate, where)
        check_certificate(certificate, self.unit, now_at, where)
        if ca_pem is None:
            ca_pem = self._known_ca(where)
        with writing(self.folder):
            if not self._in_force(pem):  # it is where a power cut came between, or somebody does it twice
                self._put_in_force(self._put_pair(certificate, key, ca_pem, where))
            self._tidy(key)
        return certificate

    def revert(self, now_at: dt.datetime) -> Certificate:
        """Put the pair before in force again, and this one in its place.

        Raises NothingBefore, IdentityUnwritable.
        """
        try:
            before = (self.folder / PREVIOUS).readlink()
            pem = read_bounded(self.folder / PREVIOUS / CERTIFICATE, MAX_PEM_BYTES)
        except OSError as error:
            raise NothingBefore(f"{self.folder / PREVIOUS}: wanted a pair, got: {error.strerror}") from error
        certificate = read_certificate(pem, str(self.folder / PREVIOUS / CERTIFICATE))
        check_certificate(certificate, self.unit, now_at, str(self.folder / PREVIOUS / CERTIFICATE))
        with writing(self.folder):
            self._put_in_force(before.name)
        return certificate

    def check(self, now_at: dt.datetime) -> tuple[Certificate, Standing]:
        """Return the certificate in force, and whether a new one is due: its key fits, and is nobody else's.

        Raises IdentityMissing, IdentityUnsafe, CertificateRefused, KeyDamaged.
        """
        where = self.folder / CERTIFICATE
        key_path = self.folder / KEY
        try:
            pem, key = read_bounded(where, MAX_PEM_BYTES), read_bounded(key_path, MAX_PEM_BYTES)
            mode = stat.S_IMODE(key_path.stat().st_mode)
        except OSError as error:
            raise IdentityMissing(
                f"{error.filename}: wanted the unit's certificate and key, got: {error.strerror}"
            ) from error
        if mode & 0o077:
            raise IdentityUnsafe(f"{key_path}: wanted mode 0600, got {mode:04o}")
        certificate = read_certificate(pem, str(where))
        if public_of(key) != certificate.public_key:
            raise CertificateRefused(f"{where}: wanted one for the key beside it, got one for another key")
        check_certificate(certificate, self.unit, now_at, str(where))
        return certificate, Standing.DUE if now_at >= certificate.renew_at else Standing.GOOD

    def await_first(self) -> None:
        """Have the service wait for the first certificate. Raises IdentityUnwritable."""
        if (self.folder / _CURRENT).exists():
            return
        with writing(self.folder):
            make_folder(self.folder, self.owner)
            if not (self.folder / AWAITED).exists():
                write(self.folder / AWAITED, b"", _PUBLIC_MODE, self.owner)

    def _waiting(self) -> bytes | None:
        """Return the request that waits, if it is whole, for this unit, and its key is not in force yet."""
        pending = self.folder / _PENDING
        try:
            key = read_bounded(pending / KEY, MAX_PEM_BYTES)
            request = read_bounded(pending / REQUEST, MAX_PEM_BYTES)
            fits = names_of_request(request) == (self.unit,)
            return request if fits and public_of(key) not in self._publics(_CURRENT) else None
        except (OSError, KeyDamaged):
            return None

    def _key_of(self, certificate: Certificate, where: str) -> bytes:
        for name in (_PENDING, _CURRENT):
            if certificate.public_key in self._publics(name):
                return read_bounded(self.folder / name / KEY, MAX_PEM_BYTES)
        got = "one for another key"
        raise CertificateRefused(f"{where}: wanted one for a key in {self.folder}, got {got}")

    def _publics(self, name: str) -> tuple[bytes, ...]:
        try:
            return (public_of(read_bounded(self.folder / name / KEY, MAX_PEM_BYTES)),)
        except (OSError, KeyDamaged):
            return ()

    def _in_force(self, pem: bytes) -> bool:
        try:
            return read_bounded(self.folder / _CURRENT / CERTIFICATE, MAX_PEM_BYTES) == pem
        except OSError:
            return False

    def _known_ca(self, where: str) -> str:
        try:
            return read_bounded(self.folder / _CURRENT / CA, MAX_PEM_BYTES).decode()
        except (OSError, ValueError) as error:
            raise CertificateRefused(
                f"{where}: wanted --ca beside the first certificate, with the CA that signed it, got none"
            ) from error

    def _put_pair(self, certificate: Certificate, key: bytes, ca_pem: str, where: str) -> str:
        """Write the pair whole, tried, and out of force; return its name."""
        pairs = self.folder / _PAIRS
        make_folder(pairs, self.owner)
        part = new_part(pairs, self.owner)
        try:
            write(part / KEY, key, _KEY_MODE, self.owner)
            write(part / CERTIFICATE, certificate.pem, _PUBLIC_MODE, self.owner)
            write(part / CA, ca_pem.encode(), _PUBLIC_MODE, self.owner)
            check_handshake(part / CERTIFICATE, part / KEY, ca_pem, where)
            sync_folder(part)
            name = f"{certificate.from_at:%Y%m%dT%H%M%S}-{certificate.serial:040x}-{part.name[-8:]}"
            part.rename(pairs / name)
            sync_folder(pairs)
        except BaseException:
            erase_tree(part)
            raise
        return name

    def _put_in_force(self, name: str) -> None:
        current = self.folder / _CURRENT
        for file in (KEY, CERTIFICATE):
            turn(self.folder / file, f"{_CURRENT}/{file}")
        with suppress(FileNotFoundError):
            turn(self.folder / PREVIOUS, str(current.readlink()))
        turn(current, f"{_PAIRS}/{name}")

    def _tidy(self, key: bytes) -> None:
        """Take away what the new pair has made needless: nothing of it is in force."""
        erase_file(self.folder / AWAITED)
        if public_of(key) in self._publics(_PENDING):
            erase_file(self.folder / REQUEST)
            self._drop_pending()
        kept = {link.readlink().name for link in self._links()}
        for pair in (self.folder / _PAIRS).iterdir():
            if pair.name not in kept:
                erase_tree(pair)
        self._erase_parts()

    def _drop_pending(self) -> None:
        """Take the key that waits away whole, so that no half of it is ever taken for one."""
        with suppress(FileNotFoundError):
            (self.folder / _PENDING).rename(self.folder / part_name())
            sync_folder(self.folder)

    def _erase_parts(self) -> None:
        """Erase what a power cut has left."""
        for left in self.folder.glob(f"{PART}*"):
            erase_tree(left)

    def _links(self) -> Iterator[Path]:
        for name in (_CURRENT, PREVIOUS):
            if (link := self.folder / name).is_symlink():
                yield link
