"""Which broker, and as whom: from what was typed to the link's settings."""

import getpass
import re
import secrets
import sys
from pathlib import Path
from typing import Literal, Protocol

from edge.errors import EdgeError
from edge.operator.files import SecretUnreadable, read_secret
from edge.uplink.link import BrokerConfig
from edge.uplink.tls import Tls

_ADDRESS = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?\Z"
)


class BadAccess(EdgeError):
    """The broker's address or credentials cannot be used: correct the option that the message names."""


class Access(Protocol):
    """The options that every command with a broker takes."""

    broker: str
    no_tls: bool
    ca_file: Path | None
    cert: Path | None
    key_file: Path | None
    username: str | None
    password_file: Path | None
    protocol: Literal["5", "3.1.1"]
    client_id: str | None


def broker_config(access: Access, *, client_id: str | None = None, session_expiry_s: int = 0) -> BrokerConfig:
    """Return the link's settings; `client_id` where none was typed. Raises BadAccess, TlsUnusable."""
    found = _ADDRESS.match(access.broker)
    if found is None:
        raise BadAccess(f"--broker: wanted HOST or HOST:PORT, [ADDRESS]:PORT for IPv6, got {access.broker!r}")
    port = int(found["port"]) if found["port"] else (1883 if access.no_tls else 8883)
    encrypted = not access.no_tls and port != 1883
    if (access.cert is None) != (access.key_file is None):
        raise BadAccess("--cert and --key-file go together: wanted both or neither")
    if not encrypted and (access.ca_file or access.cert):
        raise BadAccess(f"--ca-file, --cert: wanted TLS beside them, got port {port} in the clear")
    tls = Tls(access.ca_file, access.cert, access.key_file) if encrypted else None
    if tls is not None:
        tls.context()
    try:
        return BrokerConfig(
            host=found["bracketed"] or found["name"],
            port=port,
            client_id=access.client_id or client_id or f"operator-{secrets.token_hex(6)}",
            username=access.username,
            password=_password(access),
            tls=tls,
            protocol=access.protocol,
            session_expiry_s=session_expiry_s,
        )
    except ValueError as error:
        raise BadAccess(str(error)) from error


def _password(access: Access) -> str | None:
    if access.password_file is not None:
        if access.username is None:
            raise BadAccess("--username: wanted one beside --password-file, got none")
        return read_secret(access.password_file)
    if access.username is None or access.cert is not None:
        return None
    return ask(f"password of {access.username} at {access.broker}", "--password-file")


def ask(what: str, otherwise: str) -> str:
    """Ask for a secret at the terminal. Raises SecretUnreadable where there is none."""
    if not sys.stdin.isatty():
        raise SecretUnreadable(f"{what}: wanted a terminal to ask at, or {otherwise}, got neither")
    try:
        return getpass.getpass(f"{what}: ")
    except EOFError as error:
        raise SecretUnreadable(f"{what}: wanted a line, got the end of the input") from error
