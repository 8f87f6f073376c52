"""The topics of one unit."""

from dataclasses import dataclass
from urllib.parse import quote

from edge.uplink.wire import checked_id

ROOT = "deskwatch/v1"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one unit, all below `deskwatch/v1/{tenant}/{unit}/`."""

    tenant: str
    unit: str

    def __post_init__(self) -> None:
        checked_id("tenant", self.tenant)
        checked_id("unit", self.unit)

    @property
    def root(self) -> str:
        """The common beginning, without a slash at its end."""
        return f"{ROOT}/{self.tenant}/{self.unit}"

    @property
    def state(self) -> str:
        """Up: birth and will, retained."""
        return f"{self.root}/state"

    @property
    def event(self) -> str:
        """Up: CloudEvents, in the order of their `seq`."""
        return f"{self.root}/event"

    def thumb(self, event_id: str) -> str:
        """Up: one event's redacted picture."""
        return f"{self.root}/thumb/{checked_id('event id', event_id)}"

    @property
    def health(self) -> str:
        """Up, at QoS 0: how the unit fares, every minute."""
        return f"{self.root}/health"

    @property
    def desired(self) -> str:
        """Down, retained: the signed policy."""
        return f"{self.root}/config/desired"

    @property
    def reported(self) -> str:
        """Up, retained: what became of it."""
        return f"{self.root}/config/reported"

    def command(self, name: str) -> str:
        """Down: one command; `+` for all of them."""
        return f"{self.root}/cmd/{name if name == '+' else checked_id('command', name)}"

    def reply(self, name: str) -> str:
        """Up: what became of a command."""
        return f"{self.root}/reply/{checked_id('command', name)}"

    @property
    def ack(self) -> str:
        """Down, retained: what the ingester has for good."""
        return f"{self.root}/ack"

    @property
    def activity(self) -> str:
        """Down: the workstation's beats."""
        return f"{self.root}/activity"

    @property
    def source(self) -> str:
        """The CloudEvents `source`: a URI reference, unique to the unit."""
        return f"/{ROOT}/{quote(self.tenant, safe='')}/{quote(self.unit, safe='')}"
