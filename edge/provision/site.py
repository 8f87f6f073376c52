"""deskwatch.toml on the boot partition: where a site puts its settings, for any computer that takes the card.

It is imported once and as a whole, then wiped. Whoever holds the card can write it; so it makes a unit's
settings and never changes them, and a private key in it is refused: keys are made on the unit.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.border import locate, read_bounded
from edge.config import Config, Name, read_config
from edge.erasing import erase_file
from edge.errors import EdgeError
from edge.evidence.sealing import SealKeyUnusable, parse_recipient
from edge.output import OutputUnwritable
from edge.provision.certificates import are_certificates, is_public_key
from edge.provision.folder import replace
from edge.provision.pairs import CERTIFICATE, KEY, Identity
from edge.provision.wifi import FILE as WIFI_FILE
from edge.provision.wifi import keyfile

PLACES = (Path("/boot/firmware/deskwatch.toml"), Path("/boot/deskwatch.toml"))
"""Bookworm and later; before."""
_MAX_BYTES = 64_000
_PRIVATE = re.compile(r"BEGIN[A-Z0-9 ]* PRIVATE KEY|PRIVATE KEY-----|PuTTY-User-Key-File-", re.IGNORECASE)
_Host = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}\Z",
        description="a host name or an address, such as broker.example.com",
    ),
]
_Password = Annotated[
    str,
    Meta(
        pattern=r"^([ -~]{8,63}|[0-9A-Fa-f]{64})\Z",
        description="8 to 63 plain characters, or 64 hexadecimal digits",
    ),
]


class SiteError(EdgeError):
    """None of the site's settings was imported: correct what the message names, then import again."""


class SiteMissing(EdgeError):
    """There are no site settings to import: write deskwatch.toml on the card's boot partition."""


class PrivateKeyFound(EdgeError):
    """A private key travelled on the card, so it counts as known to others: destroy it, and take it out.

    The unit makes its own: `deskwatch provision --request`.
    """


class SettingsThere(EdgeError):
    """The unit is set up already: `deskwatch reset --factory` first, or edit unit.toml itself."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class UnitTable(_Table, frozen=True, kw_only=True):
    """`[unit]`."""

    tenant: Name
    id: Name


class BrokerTable(_Table, frozen=True, kw_only=True):
    """`[broker]`."""

    host: _Host
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    protocol: Literal["5", "3.1.1"] = "5"
    ca_pem: str | None = None
    """Of the broker's certificate; without it the system's authorities count."""

    def __post_init__(self) -> None:
        if self.port == 1883:
            raise ValueError("port: wanted one with TLS, such as 8883, got 1883")
        if self.ca_pem is not None and not are_certificates(self.ca_pem):
            raise ValueError(f"ca_pem: wanted certificates in PEM, got {len(self.ca_pem)} other characters")


class WifiTable(_Table, frozen=True, kw_only=True):
    """`[wifi]`."""

    ssid: str
    password: _Password | None = None
    """None: an open network."""
    hidden: bool = False

    def __post_init__(self) -> None:
        if not 1 <= (size := len(self.ssid.encode())) <= 32:
            raise ValueError(f"ssid: wanted 1 to 32 bytes in UTF-8, got {size}")


class OperatorTable(_Table, frozen=True, kw_only=True):
    """`[operator]`."""

    key_pem: str
    """Public: whose policies the unit takes."""

    def __post_init__(self) -> None:
        if not is_public_key(self.key_pem):
            raise ValueError(f"key_pem: wanted a public key in PEM, got {len(self.key_pem)} other characters")


class SupportTable(_Table, frozen=True, kw_only=True):
    """`[support]`."""

    key_pem: str
    """Public: who can open a support bundle."""

    def __post_init__(self) -> None:
        try:
            parse_recipient(self.key_pem.encode(), "key_pem")
        except SealKeyUnusable as error:
            raise ValueError(str(error)) from error


class Site(_Table, frozen=True, kw_only=True):
    """The whole file."""

    unit: UnitTable | None = None
    broker: BrokerTable | None = None
    operator: OperatorTable | None = None
    support: SupportTable | None = None
    wifi: WifiTable | None = None

    def __post_init__(self) -> None:
        if (self.unit is None) != (self.broker is None):
            there, missing = ("broker", "unit") if self.unit is None else ("unit", "broker")
            raise ValueError(f"{missing}: wanted [{missing}] beside [{there}], got none")
        for name in ("operator", "support"):
            if getattr(self, name) is not None and self.unit is None:
                raise ValueError(f"unit: wanted [unit] and [broker] beside [{name}], got none")
        if self.unit is None and self.wifi is None:
            raise ValueError("unit: wanted [unit] and [broker], or [wifi], got neither")


@dataclass(frozen=True, slots=True)
class Places:
    """Where an import writes."""

    config: Path
    """unit.toml; beside it lie the CA, the keys of operator and support, and the first policy."""
    identity: Identity
    wifi: Path


def find_site() -> Path:
    """Return where the file is on this card. Raises SiteMissing."""
    for place in PLACES:
        if place.exists():
            return place
    raise SiteMissing(f"wanted {' or '.join(map(str, PLACES))}, got neither")


def read_site(path: Path) -> Site:
    """Return what is in the file. Raises SiteError, SiteMissing, PrivateKeyFound; no message has a secret."""
    try:
        text = read_bounded(path, _MAX_BYTES).decode("utf-8-sig")  # Windows' editor begins with a mark
    except FileNotFoundError as error:
        raise SiteMissing(f"{path}: wanted a file, got none") from error
    except OSError as error:
        raise SiteError(f"{path}: wanted a readable TOML file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SiteError(f"{path}: wanted TOML in UTF-8, got other bytes at {error.start}") from error
    if found := _PRIVATE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise PrivateKeyFound(f"{path}: line {line}: wanted no private key, ever, got one")
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        where = re.search(r"\(at .*\)", str(error))
        raise SiteError(f"{path}: wanted TOML, got something else {where[0] if where else ''}") from error
    if any(map(_PRIVATE.search, _texts(tables))):  # spelt with escapes
        raise PrivateKeyFound(f"{path}: wanted no private key, ever, got one")
    try:
        return msgspec.convert(tables, Site)
    except msgspec.ValidationError as error:
        key, problem = locate(str(error), Site, _without_secrets(tables))
        raise SiteError(f"{path}: {key.removeprefix('$.')}: {problem}") from None


def import_site(path: Path, places: Places) -> Site:
    """Set the unit up by the file, then wipe it; where anything is wrong with it, change nothing.

    Once more after a power cut it does the rest.
    Raises SiteError, SiteMissing, PrivateKeyFound, SettingsThere, OutputUnwritable, NotErased.
    """
    if is_wiped(path):
        erase_file(path)
        raise SiteMissing(f"{path}: wanted settings, got a file that was wiped, and is removed now")
    site = read_site(path)
    files = list(_files(site, places))
    if site.unit is not None:
        _check_settings(files[-1], places.config)
        places.config.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        places.identity.await_first()
    for file in files:
        if file.path == places.config.with_name("policy.json") and file.path.exists():
            continue  # in force already
        owner = None if places.identity.owner is None or file.secret else (0, places.identity.owner.group)
        _write(file, owner)
    erase_file(path)
    return site


def _write(file: "_File", owner: tuple[int, int] | None) -> None:
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        replace(file.path, file.text.encode(), 0o600 if file.secret else 0o640, owner)
    except OSError as error:
        raise OutputUnwritable(f"{file.path}: wanted to write it, got: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    text: str
    secret: bool = False
    """For root alone."""


def _files(site: Site, places: Places) -> Iterator[_File]:
    """Give what is written; unit.toml, with which the unit is set up, at the end."""
    if (wifi := site.wifi) is not None:
        text = keyfile(wifi.ssid, wifi.password, hidden=wifi.hidden)
        yield _File(places.wifi / WIFI_FILE, text, secret=True)
    if site.unit is None or site.broker is None:
        return
    if site.broker.ca_pem is not None:
        yield _File(places.config.with_name("ca.pem"), site.broker.ca_pem)
    if site.operator is not None:
        yield _File(places.config.with_name("operator.pub"), site.operator.key_pem)
    if site.support is not None:
        yield _File(places.config.with_name("support.pub"), site.support.key_pem)
    yield _File(places.config.with_name("policy.json"), _shipped("policy.json"))
    yield _File(places.config, _settings(site, site.unit, site.broker, places))


def _settings(site: Site, unit: UnitTable, broker: BrokerTable, places: Places) -> str:
    """Return unit.toml: the one that ships, comments and all, with this site's values in it."""
    beside = places.config.absolute().with_name
    values: dict[tuple[str, str], object] = {
        ("unit", "tenant"): unit.tenant,
        ("unit", "id"): unit.id,
        ("broker", "host"): broker.host,
        ("broker", "port"): broker.port,
        ("broker", "protocol"): broker.protocol,
        ("broker", "certificate_file"): str(places.identity.folder / CERTIFICATE),
        ("broker", "key_file"): str(places.identity.folder / KEY),
        ("paths", "policy"): str(beside("policy.json")),
    }
    if broker.ca_pem is not None:
        values["broker", "ca_file"] = str(beside("ca.pem"))
    if site.operator is not None:
        values["twin", "trusted_keys"] = [str(beside("operator.pub"))]
    if site.support is not None:
        values["support", "key_file"] = str(beside("support.pub"))
    text = _shipped("unit.toml")
    for (table, key), value in values.items():
        # JSON's strings, numbers and lists of strings are TOML's too.
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        above, below = text.split(f"[{table}]\n")
        before, after = re.split(rf"^(?:# )?{key} = .*$", below, maxsplit=1, flags=re.MULTILINE)
        text = f"{above}[{table}]\n{before}{line}{after}"
    return text


def _check_settings(made: _File, config: Path) -> None:
    """Raise SettingsThere where there are others; SiteError where the unit could not read these."""
    if config.exists() or config.is_symlink():
        if config.read_text() != made.text:
            raise SettingsThere(f"{config}: wanted none yet, got settings that differ from the card's")
        return
    try:
        tables = tomllib.loads(made.text)
        msgspec.convert(tables, Config, dec_hook=lambda _wanted, value: Path(str(value)))
    except (ValueError, msgspec.ValidationError) as error:
        raise SiteError(f"{config}: wanted settings that a unit reads, got: {error}") from error


def _shipped(name: str) -> str:
    return resources.files("edge.defaults").joinpath(name).read_text()


def is_wiped(path: Path) -> bool:
    """Tell whether a power cut came between a file's wiping and its removal."""
    try:
        data = read_bounded(path, _MAX_BYTES)
    except OSError:
        return False
    return bool(data) and not data.strip(b"\0")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _without_secrets(tables: dict[str, object]) -> dict[str, object]:
    """Return the document as an error may show it."""
    wifi = tables.get("wifi")
    if isinstance(wifi, dict) and isinstance(password := wifi.get("password"), str):
        return {**tables, "wifi": {**wifi, "password": f"<{len(password)} characters>"}}
    return tables


def settings_of(path: Path) -> Config | None:
    """Return a unit's settings; None where it has none yet. Raises ConfigError."""
    return read_config(path) if path.exists() else None
