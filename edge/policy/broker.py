"""The policy's `broker` part: where the unit is to connect, on trial together with the rest of the policy."""

import ssl
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PLAIN_PORT = 1883
MAX_CA_CHARS = 16_384


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As `[broker]` in unit.toml, without what is the unit's own: its name, password, certificate and key."""

    host: Annotated[
        str,
        Meta(min_length=1, max_length=253, pattern=r"^[^\s\0]*\Z", description="a host without white space"),
    ]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8883
    protocol: Literal["5", "3.1.1"] = "5"
    tls: bool | None = None
    """Where not given: on, unless the port is 1883."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 30
    ca_pem: Annotated[str, Meta(min_length=1, max_length=MAX_CA_CHARS)] | None = None
    """Authorities to believe, in PEM; where not given, those of unit.toml."""

    def __post_init__(self) -> None:
        if self.ca_pem is None:
            return
        if not self.encrypted:
            raise ValueError("tls: wanted true beside ca_pem, got none or false")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=self.ca_pem)
        except (OSError, TypeError, ValueError) as error:  # an SSLError is an OSError; TypeError: not ASCII
            raise ValueError(f"ca_pem: wanted certificates in PEM, got something else: {error}") from error

    @property
    def encrypted(self) -> bool:
        """Whether the link is TLS."""
        return self.port != PLAIN_PORT if self.tls is None else self.tls
