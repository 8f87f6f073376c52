"""What a unit says of its policy, on `config/reported`. What comes on `config/desired` is an envelope."""

import enum

from edge.uplink.wire import Count, Problem, Reader, Sha256, Text, Timestamp, Wire, encode_as


class Phase(enum.StrEnum):
    """What became of the newest desired policy."""

    NONE = "none"
    """None came yet: the policy of the unit's own file is in force."""
    TRIAL = "trial"
    """It is in force, and has not proven itself yet."""
    CONFIRMED = "confirmed"
    """It is in force, and has proven itself."""
    REFUSED = "refused"
    """It was never in force; `error` says why."""
    ROLLED_BACK = "rolled-back"
    """It was in force and did not prove itself; `error` says why."""


class RefusalCode(enum.StrEnum):
    """`error.code` of a policy that was refused or rolled back."""

    TOO_LARGE = "too-large"
    BAD_ENVELOPE = "bad-envelope"
    """Not a JWS in compact serialization, signed with Ed25519."""
    UNKNOWN_KEY = "unknown-key"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_SCHEMA = "unknown-schema"
    INVALID = "invalid"
    """The document is not what its schema says; `path` names the value."""
    BELOW_FLOOR = "below-floor"
    """It asks for less privacy than the firmware grants."""
    UNSERVED_LABEL = "unserved-label"
    """A rule names what the unit's model does not know."""
    OTHER_UNIT = "other-unit"
    EXPIRED = "expired"
    OLDER_VERSION = "older-version"
    VERSION_REUSED = "version-reused"
    """The version was seen before, with other bytes."""
    BLOCKED = "blocked"
    """These very bytes were on trial before, and failed."""
    TOO_MANY = "too-many"
    """New policies came faster than the worker's log should hold: send it again later."""
    NOT_STORED = "not-stored"
    """The unit could not write it to its disk."""
    TRIAL_NOT_CONNECTED = "trial-not-connected"
    TRIAL_NOT_PUBLISHED = "trial-not-published"
    TRIAL_NO_FRAME = "trial-no-frame"
    TRIAL_NO_INFERENCE = "trial-no-inference"
    TRIAL_INTERRUPTED = "trial-interrupted"
    """The unit crashed, or lost its power."""


class Document(Wire, frozen=True, kw_only=True):
    """One policy document."""

    version: Count
    """As the document says."""
    sha256: Sha256
    """Of the exact bytes of the document, without its envelope."""


class Reported(Wire, frozen=True, kw_only=True):
    """Payload of `config/reported`."""

    phase: Phase
    desired: Document | None = None
    """What `phase` is about; None where there was none, or it could not be read."""
    running: Document
    """What is in force now."""
    error: Problem | None = None
    """Why it was refused or rolled back."""
    key: Text | None = None
    """Id of the key that signed `desired`."""
    session: Count
    """As in `state`."""
    at: Timestamp


_reports = Reader("config/reported", Reported)


def encode_reported(reported: Reported) -> bytes:
    """Return the JSON of a report, or raise InvalidMessage."""
    return encode_as(reported, _reports)


def decode_reported(payload: bytes) -> Reported:
    """Read the payload of `config/reported`."""
    return _reports.read(payload)
