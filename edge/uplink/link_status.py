"""How the uplink is."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from edge.uplink.broker_config import BrokerConfig
from edge.uplink.signals import Cause


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the uplink is, for the health message and the technician. Counts are since the unit's start."""

    connected: bool
    since_at: dt.datetime
    """UTC, of the last change of `connected`."""
    last_error: str | None
    """Why it is not connected, or why it was not the last time."""
    last_cause: Cause | None
    """The same for programs, where they can tell."""
    config: BrokerConfig
    """With which settings: those that were given last, once the connection before them is gone."""
    connections: int
    delivered: int
    """Messages of the spool that the broker took; those that were sent again count again."""
    refused: int
    """Messages of the spool that it would not take; those that were tried again count again."""
    dead_letters: int
    """Those that wait on the unit now, some seconds old."""
    last_puback_s: float | None
    """When the broker of `config` last took anything that we published, on the monotonic clock."""
    round_trip_s: float | None
    """How long that took, from the publish to the acknowledgement."""
    unacknowledged_since_s: float | None
    """Since when the broker has acknowledged nothing of what was sent, on the monotonic clock."""
    last_answer: str | None
    """Why the broker did not take the last message that it answered; None: it took it."""
    identity: str
    """Which certificate the unit comes with: `current`, or `previous` while that one is refused."""
    ingester_seq: int | None
    """Up to which number the ingester has everything, where the spool waits for its word."""
    subscriptions_refused: int
    replies_dropped: int
    refusals: Mapping[str, int]
    """What came down and was refused, by code."""

    @property
    def address(self) -> str:
        """`host:port` of the broker."""
        return self.config.address

    @property
    def protocol(self) -> str:
        """The version of MQTT."""
        return self.config.protocol
