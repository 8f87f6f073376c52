"""A support bundle, made: gathered by the tables, sealed, and in the worker's log before anybody gets it."""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.config import Config
from edge.control.protocol import CheckSaid, LoggedError
from edge.errors import EdgeError
from edge.evidence.sealing import read_recipient, seal_bundle
from edge.policy.document import Policy
from edge.policy.recipient import Recipient
from edge.support.bundle import Bundle, LeftOut, decode, encode
from edge.support.extracts import (
    checks_said,
    errors_said,
    facts_said,
    policy_said,
    settings_said,
    versions,
)
from edge.support.noted import NOTED, Noted, told
from edge.support.pseudonyms import Pseudonyms
from edge.uplink.wire import timestamp
from edge.worklog.entries import Here, Note


class NoSupportKey(EdgeError):
    """Nobody could read a bundle, so none is made: name the support's in unit.toml, [support] key_file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All that a bundle is made of, as the unit knows it. What may leave of it is for the tables to say."""

    config: Config
    now_at: dt.datetime
    facts: Mapping[str, object] | None = None
    """None: the unit does not run."""
    checks: Iterable[CheckSaid] = ()
    known_checks: Mapping[str, Collection[str]]
    """The codes of each check of the diagnosis, by its name."""
    errors: Iterable[LoggedError] = ()
    policy: tuple[Policy, str] | None = None
    """The one in force, and its hash."""


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle that may leave."""

    sealed: bytes
    told: tuple[str, ...]
    """What is in it, for people."""


def make(sources: Sources, state: Path, note: Callable[[Note], None]) -> Made:
    """Return a sealed bundle, once `note` has it in the worker's log; what `note` raises, it raises.

    Raises NoSupportKey, SealKeyUnusable, CannotSeal, NoPseudonyms, BundleTooLarge too.
    """
    recipient = recipient_of(sources.config)
    document = encode(gather(sources, Pseudonyms.of(state)))
    sealed = seal_bundle(document, recipient)
    noted = Noted(
        recipient=recipient.kid,
        sha256=hashlib.sha256(sealed).hexdigest(),
        bytes=len(sealed),
        bundle=msgspec.Raw(document),
    )
    note(Here(NOTED, msgspec.json.encode(noted).decode()))
    return Made(sealed, tuple(told(decode(document))))


def recipient_of(config: Config) -> Recipient:
    """Return whom a bundle is sealed to. Raises NoSupportKey, SealKeyUnusable."""
    path = config.support.key_file
    if path is None:
        raise NoSupportKey("support.key_file: wanted a public key, got none")
    return read_recipient(path)


def gather(sources: Sources, names: Pseudonyms) -> Bundle:
    """Return what a bundle has of all that."""
    facts, facts_left_out = facts_said(sources.facts or {}, names)
    checks, checks_left_out = checks_said(sources.checks, sources.known_checks)
    errors, errors_left_out = errors_said(sources.errors)
    unit = sources.config.unit
    return Bundle(
        made_at=timestamp(sources.now_at),
        running=sources.facts is not None,
        unit=names.name("unit", unit.id),
        tenant=names.name("tenant", unit.tenant),
        versions=versions(),
        facts=facts,
        checks=checks,
        errors=errors,
        settings=settings_said(sources.config, names),
        policy=None if sources.policy is None else policy_said(*sources.policy, names),
        left_out=LeftOut(facts=facts_left_out, checks=checks_left_out, errors=errors_left_out),
    )
