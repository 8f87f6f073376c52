"""What is in a support bundle. It has no room for a text that somebody at the unit, or a customer, wrote.

Each text is a word of this firmware, a version, a time, a hash or a pseudonym; `tables.py` has the line by
which it came to be.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge.control.protocol import CheckSaid
from edge.errors import EdgeError
from edge.uplink.wire import Count, InvalidMessage, Reader, Timestamp, Wire, encode_as

SCHEMA: Final = "support-bundle/1"
MAX_BYTES = 40_000
"""In the clear: sealed and in base64 it is a line of the control socket."""
TEMPLATE_CHARS = 256
MAX_ERRORS = 50

Word = Annotated[str, Meta(max_length=96, pattern=r"^[A-Za-z0-9][A-Za-z0-9 .,:+_-]*\Z|^\Z")]
"""One word of a fixed set, a version, a time or a hash. Whether it may be there is for the table to say."""
Value = float | bool | Word | None
Name = Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]
Pseudonym = Annotated[str, Meta(max_length=64, pattern=r"^[a-z]+-[a-z2-7]{16}\Z")]


class BundleUnreadable(EdgeError):
    """This version does not read it: open it with the version of deskwatch that made it, or a later one."""


class BundleTooLarge(EdgeError):
    """It would not fit into the worker's log, so it is not made: report this, it should not happen."""


class Versions(Wire, frozen=True, kw_only=True):
    """What runs on what."""

    deskwatch: Word
    python: Word
    interpreter: Word
    """What runs the model."""
    kernel: Word
    """Its number, and the flavour where that is a known one."""
    board: Word


class ErrorSaid(Wire, frozen=True, kw_only=True):
    """A warning or an error of the log, as it stands in our source: what was filled in stays on the unit."""

    level: Literal["warning", "error", "critical"]
    logger: Name
    template: Annotated[str, Meta(max_length=TEMPLATE_CHARS)]
    count: Count


class PolicySaid(Wire, frozen=True, kw_only=True):
    """The policy in force: how much of what it has. Rules are not named, labels not told."""

    version: Count
    document: Pseudonym
    """The same as long as the document is: by its hash itself somebody could find out what it says."""
    watch: Literal["continuous", "spot"]
    rules: dict[Literal["object", "people", "tamper", "activity"], Count]
    shifts: Count
    masks: Count
    break_max_s: float
    retain_days: float
    sealed: bool
    """Whether pictures are sealed to a reviewer."""
    own_broker: bool
    """Whether it names a broker."""


class LeftOut(Wire, frozen=True, kw_only=True):
    """How much was there and was not let in: no line of a table names it, or it is not what the line says."""

    facts: Count = 0
    checks: Count = 0
    errors: Count = 0


class Bundle(Wire, frozen=True, kw_only=True):
    """The document, as it is sealed, and as it stands in the worker's log."""

    schema: Literal["support-bundle/1"] = SCHEMA
    made_at: Timestamp
    running: bool
    """Whether the unit ran, and told its facts."""
    unit: Pseudonym
    tenant: Pseudonym
    versions: Versions
    facts: dict[Name, Value]
    checks: tuple[CheckSaid, ...] = ()
    errors: tuple[ErrorSaid, ...] = ()
    settings: dict[Name, Value]
    policy: PolicySaid | None = None
    left_out: LeftOut = LeftOut()


_reader = Reader("support bundle", Bundle)


def encode(bundle: Bundle) -> bytes:
    """Return it as JSON; of too many errors the rarest stay out. Raises InvalidMessage, BundleTooLarge."""
    while len(document := encode_as(bundle, _reader)) > MAX_BYTES:
        if not bundle.errors:
            raise BundleTooLarge(f"wanted a bundle of at most {MAX_BYTES} bytes, got {len(document)}")
        left_out = msgspec.structs.replace(bundle.left_out, errors=bundle.left_out.errors + 1)
        bundle = msgspec.structs.replace(bundle, errors=bundle.errors[:-1], left_out=left_out)
    return document


def decode(document: bytes) -> Bundle:
    """Return what was in a bundle. Raises BundleUnreadable."""
    try:
        return _reader.read(document)
    except InvalidMessage as error:
        raise BundleUnreadable(f"wanted {SCHEMA}, got: {error}") from error
