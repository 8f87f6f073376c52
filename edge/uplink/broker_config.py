"""The settings of one link."""

from dataclasses import dataclass, field, replace
from typing import Literal

from edge.uplink.tls import Tls

MAX_TEXT_BYTES = 65_535
"""MQTT 5, section 1.5.4."""
SESSION_EXPIRY_S = 24 * 3600
"""So long the broker keeps commands for a unit that is away."""


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Where the broker is, and as whom to come."""

    host: str
    port: int
    client_id: str
    """The unit's id: the broker cuts off a client whose id comes a second time."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    keepalive_s: int = 30
    """A broker that is silent for twice as long is given up."""
    connect_timeout_s: float = 10.0
    """From the name's resolution to the broker's CONNACK."""
    protocol: Literal["5", "3.1.1"] = "5"
    session_expiry_s: int = 0
    """How long the broker keeps our subscriptions and what comes for them while we are away; 0: not at all.

    MQTT 3.1.1 knows only "not at all" and "for ever".
    """

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("broker.host: wanted a name or an address, got nothing")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"broker.port: wanted 1 to 65535, got {self.port}")
        if not 5 <= self.keepalive_s <= 65535:
            raise ValueError(f"broker.keepalive_s: wanted 5 to 65535, got {self.keepalive_s}")
        if self.protocol not in ("5", "3.1.1"):
            raise ValueError(f'broker.protocol: wanted "5" or "3.1.1", got {self.protocol!r}')
        for name in ("client_id", "username"):
            if not _fits(getattr(self, name) or ""):
                raise ValueError(f"broker.{name}: wanted at most {MAX_TEXT_BYTES} bytes of UTF-8, got others")
        if self.password is not None and self.username is None:
            raise ValueError("broker.username: wanted one beside broker.password, got none")

    @property
    def address(self) -> str:
        """`host:port`, for people."""
        return f"{self.host}:{self.port}"


def lasting_config(config: BrokerConfig) -> BrokerConfig:
    """Return the settings with a session that the broker keeps, so that commands wait for the unit."""
    return replace(config, session_expiry_s=config.session_expiry_s or SESSION_EXPIRY_S)


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= MAX_TEXT_BYTES
    except UnicodeEncodeError:  # what was typed was no UTF-8
        return False
