"""What the connections of one uplink have in common."""

from dataclasses import dataclass

from edge.clock import Clock
from edge.uplink.allowance import Allowance
from edge.uplink.diary import Diary
from edge.uplink.health_post import HealthPost
from edge.uplink.inbox import Inbox
from edge.uplink.ingester import Ingester
from edge.uplink.ledger import Ledger
from edge.uplink.outbox import Outbox
from edge.uplink.patience import Patience
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives a connection."""

    spool: Spool
    ledger: Ledger
    upkeep: Upkeep
    outbox: Outbox
    inbox: Inbox
    ingester: Ingester | None
    """None where the broker's acknowledgement releases."""
    topics: Topics
    patience: Patience
    clock: Clock
    diary: Diary
    reports: Allowance
    """For reports that differ from the last: the next may wait, and of several only the newest counts."""
    health: HealthPost | None
    """None: this uplink tells no health."""
