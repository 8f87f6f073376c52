"""What a signed policy must be, to run on this unit at all."""

import datetime as dt
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from edge.policy.document import (
    MAX_POLICY_BYTES,
    BelowFloor,
    LabelUnserved,
    Policy,
    PolicyError,
    SchemaUnknown,
    check_labels,
    parse_policy,
)
from edge.uplink.inbox import Refusal
from edge.uplink.twin_messages import RefusalCode

_CODES: dict[type[PolicyError], RefusalCode] = {
    SchemaUnknown: RefusalCode.UNKNOWN_SCHEMA,
    BelowFloor: RefusalCode.BELOW_FLOOR,
    LabelUnserved: RefusalCode.UNSERVED_LABEL,
}


@dataclass(frozen=True, slots=True)
class Checks:
    """What this unit can run. All of it raises Refusal, whose code is a RefusalCode."""

    unit: str
    labels: Collection[str]
    """Of the model."""
    plain_broker: bool
    """Whether the unit's own link is without TLS, so that a policy's may be, too."""

    def read(self, document: bytes) -> Policy:
        """Return the policy in a document: schema, validity, floor, labels and unit, in this order."""
        if len(document) > MAX_POLICY_BYTES:
            problem = f"wanted a document of at most {MAX_POLICY_BYTES} bytes, got {len(document)}"
            raise Refusal(RefusalCode.TOO_LARGE, "$", problem)
        try:
            policy = parse_policy(document)
            self._check_link(policy)
            check_labels(policy, self.labels)
        except PolicyError as error:
            code = _CODES.get(type(error), RefusalCode.INVALID)
            raise Refusal(code, error.path, error.problem) from error
        if policy.unit not in ("*", self.unit):
            problem = f'wanted "*" or this unit, {self.unit!r}, got {policy.unit!r}'
            raise Refusal(RefusalCode.OTHER_UNIT, "$.unit", problem)
        return policy

    def _check_link(self, policy: Policy) -> None:
        """Pictures and passwords that travel in secret now must not be brought into the open from afar."""
        if policy.broker is not None and not (policy.broker.encrypted or self.plain_broker):
            raise BelowFloor("$.broker.tls", "this unit's link is encrypted: wanted TLS, got none")


def check_fresh(policy: Policy, now_at: dt.datetime) -> None:
    """Raise Refusal for a policy past its time. It counts when it comes: one in force stays in force."""
    if now_at >= policy.expires_at:
        problem = f"wanted a time after {now_at:%Y-%m-%dT%H:%M:%SZ} (or a unit whose clock is right), got"
        raise Refusal(RefusalCode.EXPIRED, "$.expires_at", f"{problem} {policy.expires_at.isoformat()}")


def sha256_of(document: bytes) -> str:
    """Return what a document is known by."""
    return hashlib.sha256(document).hexdigest()
