"""What a unit is made with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge.backoff import Backoff
from edge.config import Config
from edge.policy.broker import Broker
from edge.policy.document import Policy
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.carry import RECONNECT
from edge.uplink.envelope import PublicKey
from edge.uplink.identities import Before
from edge.uplink.topics import Topics


@dataclass(frozen=True, slots=True)
class Settings:
    """What a unit is made with, apart from its camera and its eyes."""

    topics: Topics
    state: Path
    """Folder of all that is kept: spool, policies, worker's log, notice, breaks; and the control socket."""
    broker: BrokerConfig
    policy: tuple[Policy, bytes]
    """The unit's own, in force until a signed one is confirmed: parsed, and as it stands in its file."""
    max_bytes: int = 64 << 20
    max_age_s: float = 60 * 86_400.0
    release: Literal["puback", "ack"] = "puback"
    trusted: Mapping[str, PublicKey] = field(default_factory=dict)
    confirm_timeout_s: float = 180.0
    backoff: Backoff = RECONNECT
    textfile: Path | None = None
    """Where the unit's health is written for a node exporter; None: nowhere."""
    config: Config | None = None
    """The whole of unit.toml, for support bundles; None: none are made."""
    redirect: Callable[[Broker], BrokerConfig] | None = None
    """Makes the settings of the link that a policy names; None: a policy may not move this unit."""
    before: Before | None = None
    """Gives the pair before the newest, to come with where that one is refused; None: there is none."""
