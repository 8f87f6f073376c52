"""From the settings to the link: where the broker is, how to come in, whose policies count."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edge.config import BrokerTable, ConfigError
from edge.policy.broker import Broker
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.envelope import PublicKey, read_public_key
from edge.uplink.tls import Tls, TlsUnusable

PASSWORD_MAX_BYTES = 65_535
"""MQTT 5, section 1.5.6."""


def broker_config(table: BrokerTable, unit: str) -> BrokerConfig:
    """Return the link's settings; the password is read from its file here and kept nowhere else."""
    password = None
    if table.password_file is not None:
        try:
            password = table.password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            wanted = "broker.password_file: wanted a readable file"
            raise ConfigError(f"{wanted}, got {table.password_file}: {error}") from error
        if not 1 <= len(password.encode()) <= PASSWORD_MAX_BYTES:
            wanted = f"broker.password_file: wanted 1 to {PASSWORD_MAX_BYTES} bytes"
            raise ConfigError(f"{wanted}, got {len(password.encode())} in {table.password_file}")
    tls = Tls(table.ca_file, table.certificate_file, table.key_file) if table.encrypted else None
    if tls is not None:
        try:
            tls.context()
        except TlsUnusable as error:
            raise ConfigError(str(error)) from error
    return BrokerConfig(
        host=table.host,
        port=table.port,
        client_id=unit,
        username=table.username,
        password=password,
        tls=tls,
        keepalive_s=table.keepalive_s,
        protocol=table.protocol,
    )


def redirected(own: BrokerConfig, named: Broker) -> BrokerConfig:
    """Return the link that a policy names, with the name, password, certificate and key of the unit's own."""
    tls = None
    if named.encrypted:
        mine = own.tls or Tls()
        tls = mine if named.ca_pem is None else replace(mine, ca_file=None, ca_pem=named.ca_pem)
    return replace(
        own,
        host=named.host,
        port=named.port,
        protocol=named.protocol,
        keepalive_s=named.keepalive_s,
        tls=tls,
    )


def trusted_keys(paths: Iterable[Path]) -> dict[str, PublicKey]:
    """Return the keys in PEM files, by their ids. Raises KeyUnusable."""
    keys = map(read_public_key, paths)
    return {key.kid: key for key in keys}
