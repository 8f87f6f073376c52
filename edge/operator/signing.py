"""A policy on its way to a unit: read, checked as a unit would, and signed."""

import base64
import datetime as dt
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.operator.access import ask
from edge.operator.files import read_secret, write_pair
from edge.policy.document import (
    MAX_POLICY_BYTES,
    Policy,
    PolicyError,
    check_labels,
    parse_policy,
)
from edge.policy.schedule import next_window
from edge.uplink.envelope import MAX_ENVELOPE_BYTES, SigningKey, new_signing_key, read_signing_key, seal


class NotAPolicy(EdgeError):
    """There is no policy in the file: give a policy, or what `deskwatch operator sign` made of one."""


class WrongUnit(EdgeError):
    """The policy is for another unit: push it to that one, or sign one with the right `unit` ("*" is any)."""


class _Header(msgspec.Struct, frozen=True):
    kid: str


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """What is pushed."""

    policy: Policy
    sha256: str
    """Of the exact bytes of the document: what a unit reports."""
    kid: str
    """The key that signed it, as the envelope says."""
    envelope: bytes


def make_keys(out: Path, passphrase: str | None) -> SigningKey:
    """Make a key pair, `out`.key (0600) and `out`.pub. Raises FileThere, OutputUnwritable."""
    key = new_signing_key()
    write_pair(out, key.pem(passphrase), key.public.pem())
    return key


def read_key(path: Path, passphrase_file: Path | None) -> SigningKey:
    """Return the private key in a file; its passphrase is asked for where it has one and no file tells it.

    Raises KeyUnusable, SecretUnreadable.
    """
    if passphrase_file is not None:
        return read_signing_key(path, read_secret(passphrase_file))
    if is_encrypted(path):
        return read_signing_key(path, ask(f"passphrase of {path}", "--passphrase-file"))
    return read_signing_key(path)


def is_encrypted(path: Path) -> bool:
    """Tell whether a key file wants a passphrase."""
    try:
        return b"ENCRYPTED" in read_bounded(path, MAX_POLICY_BYTES)
    except OSError:
        return False  # whoever reads the key says what is wrong with it


def read_document(path: Path) -> bytes:
    """Return the bytes of a policy or an envelope. Raises NotAPolicy."""
    try:
        return read_bounded(path, max(MAX_POLICY_BYTES, MAX_ENVELOPE_BYTES))
    except OSError as error:
        raise NotAPolicy(f"{path}: wanted a policy or a signed one, got: {error.strerror}") from error


def is_envelope(data: bytes) -> bool:
    """Tell whether it is signed: a JSON document begins otherwise."""
    return data.startswith(b"eyJ")  # '{"' in base64url


def sign(document: bytes, key: SigningKey, labels: Collection[str]) -> SignedPolicy:
    """Check a policy as a unit does, whose model has these labels, and sign its bytes. Raises PolicyError."""
    policy = checked(document, labels)
    return SignedPolicy(policy, hashlib.sha256(document).hexdigest(), key.kid, seal(document, key))


def checked(document: bytes, labels: Collection[str]) -> Policy:
    """Return the policy in a document. Raises PolicyError."""
    policy = parse_policy(document)
    check_labels(policy, labels)
    return policy


def opened(envelope: bytes, labels: Collection[str]) -> SignedPolicy:
    """Read what is in an envelope; whether its signature is good is for the unit to say.

    Raises NotAPolicy, PolicyError.
    """
    envelope = envelope.strip()
    segments = envelope.split(b".")
    if len(segments) != 3:
        raise NotAPolicy(f"wanted a signed policy in three parts, got {envelope[:40]!r}")
    try:
        header, document = (base64.urlsafe_b64decode(part + b"==") for part in segments[:2])
        kid = msgspec.json.decode(header, type=_Header).kid
    except ValueError as error:  # msgspec's and binascii's are one
        raise NotAPolicy(f"wanted a signed policy with a key id, got {envelope[:40]!r}") from error
    return SignedPolicy(checked(document, labels), hashlib.sha256(document).hexdigest(), kid, envelope)


def check_time(policy: Policy, now_at: dt.datetime) -> None:
    """Raise PolicyError for a policy under which nothing is ever watched any more."""
    if now_at >= policy.expires_at:
        problem = f"wanted a time after now, {now_at:%Y-%m-%d %H:%M} UTC, got {policy.expires_at}"
        raise PolicyError("$.expires_at", problem)
    window = next_window(policy, max(now_at, policy.issued_at))
    if window is None or window.start_at >= policy.expires_at:
        raise PolicyError("$.shifts", f"wanted one that starts before {policy.expires_at}, got none")


def check_units(policy: Policy, units: Collection[str]) -> None:
    """Raise WrongUnit where one of them would refuse the policy for its `unit`."""
    others = sorted(unit for unit in units if policy.unit not in ("*", unit))
    if others:
        raise WrongUnit(f"$.unit: wanted '*' or {others[0]!r}, got {policy.unit!r}")
