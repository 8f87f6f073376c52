"""Signed policies, and a unit's twin with a clock and a proof that the test holds in its hands."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from joserfc.jwk import OKPKey

from edge.clock import SteppedClock
from edge.policy.document import parse_policy
from edge.uplink.envelope import PublicKey, SigningKey, seal, trust
from edge.uplink.inbox import Refusal
from edge.uplink.signals import Received
from edge.uplink.topics import Topics
from edge.uplink.twin import Twin
from edge.uplink.twin_messages import Reported, encode_reported
from edge.uplink.twin_state import Proof
from edge.uplink.twin_store import Disk, TwinStore

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
UNIT = "unit-1"
TOPICS = Topics("acme", UNIT)
LABELS = frozenset({"person", "cell phone", "paper", "food"})
TIMEOUT_S = 120.0
_OKP = OKPKey.import_key(
    {"kty": "OKP", "crv": "Ed25519", "d": "A" * 43, "x": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}
)
KEY = SigningKey(_OKP.thumbprint(), _OKP)
"""The same in every process: a seed of zeros."""
TRUSTED = trust(KEY.public)
NO_PROOF = Proof(connected=False, puback_s=None, frame_s=None, inference_s=None, off=False)


def document(version: int, /, **changes: object) -> bytes:
    """A policy of that version."""
    body = {
        "schema": "policy/1",
        "version": version,
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
        "timezone": "America/Bogota",
        "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "17:00"}],
        "watch": {"mode": "continuous"},
        "rules": [{"id": "phone", "kind": "object", "labels": ["cell phone"]}],
        **changes,
    }
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


LOCAL = document(900, timezone="UTC")
"""The unit's own file: its version is high, and holds nothing back."""


class Unit:
    """A unit as its twin sees it: `start` is also what follows a crash."""

    def __init__(
        self,
        state: Path,
        *,
        disk: Disk | None = None,
        trusted: Mapping[str, PublicKey] = TRUSTED,
        labels: frozenset[str] = LABELS,
        clock: SteppedClock | None = None,
        plain_broker: bool = False,
    ) -> None:
        self.clock = clock or SteppedClock(NOW, 1_000.0)
        self.reports: list[Reported] = []
        self.proof = NO_PROOF
        self.state = state
        self.twin = Twin(
            TwinStore(state / "twin", disk),
            trusted,
            UNIT,
            labels,
            (parse_policy(LOCAL), LOCAL),
            self.clock,
            confirm_timeout_s=TIMEOUT_S,
            report=self._report,
            proof=lambda: self.proof,
            session=3,
            plain_broker=plain_broker,
        )

    def _report(self, reported: Reported) -> None:
        encode_reported(reported)
        self.reports.append(reported)

    @property
    def version(self) -> int:
        """Of the policy in force."""
        return self.twin.policy.version

    @property
    def last(self) -> Reported:
        return self.reports[-1]

    def offer(self, content: bytes, key: SigningKey = KEY) -> str | None:
        """Have a document come; return the code of its refusal."""
        return self.take(seal(content, key))

    def take(self, payload: bytes) -> str | None:
        try:
            self.twin.desired(Received(TOPICS.desired, 1, retain=True, payload=payload))
        except Refusal as refusal:
            return refusal.code
        return None

    def prove(self, **but: object) -> None:
        """Give the trial all that it needs, now, and let it be seen."""
        now_s = self.clock.now_s()
        proof = Proof(connected=True, puback_s=now_s, frame_s=now_s, inference_s=now_s, off=False)
        self.proof = replace(proof, **but)
        self.twin.turn()

    def wait(self, seconds: float) -> None:
        """Turn once a second for so long."""
        for _ in range(int(seconds)):
            self.clock.sleep(1.0)
            self.twin.turn()

    def confirm(self, version: int, **changes: object) -> None:
        """Bring a policy into force for good."""
        assert self.offer(document(version, **changes)) is None
        self.prove()
        assert self.last.phase == "confirmed"
        self.proof = NO_PROOF
