"""unit.toml: who this unit is, where its broker is, which camera and model it has."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.border import locate, read_bounded
from edge.errors import EdgeError
from edge.vision.model_file import DEFAULT_CARD

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="1 to 64 letters, digits, dots, _ or -, a letter or digit first",
    ),
]
Words = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\0]*\Z")]
Pixels = Annotated[int, Meta(ge=64, le=4096)]
_PI_MAX_HEIGHT_PX = 3456
_LAST_GPIO = 27
"""Of the 40-pin header. Its GPIOs 0 and 1 are for a board's EEPROM."""
_PULLED_UP = (2, 3)
"""By resistors on the board: there an LED would glow while nothing is watched."""
_LedPin = Annotated[int, Meta(ge=2, le=_LAST_GPIO)]
_MAX_BYTES = 256_000


class ConfigError(EdgeError):
    """unit.toml cannot be used: correct the line that the message names, then start again."""


class ConfigDenied(ConfigError):
    """unit.toml is not yours to read: run the same with sudo, or as the user that the unit runs as."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class UnitTable(_Table, frozen=True, kw_only=True):
    """`[unit]`: identity."""

    tenant: Name
    id: Name


class BrokerTable(_Table, frozen=True, kw_only=True):
    """`[broker]`: where events go."""

    host: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[^\s\0]*\Z")]
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    reconnect_spread_s: Annotated[float, Meta(ge=0.1, le=600)] = 30.0
    """A unit waits up to so long before it connects, drawn anew each time: at its start, and when it lost the
    broker. It doubles with every failure."""
    reconnect_max_s: Annotated[float, Meta(ge=0.1, le=3600)] = 120.0
    username: Words | None = None
    password_file: Path | None = None
    tls: bool | None = None
    """Where not given: on, unless the port is 1883."""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.reconnect_max_s < self.reconnect_spread_s:
            raise ValueError(
                f"reconnect_max_s: wanted at least reconnect_spread_s, {self.reconnect_spread_s:g}, got"
                f" {self.reconnect_max_s:g}"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together: wanted both or neither")
        if self.password_file is not None and self.username is None:
            raise ValueError("username: wanted one beside password_file, got none")
        for name in ("ca_file", "certificate_file"):
            if getattr(self, name) is not None and not self.encrypted:
                raise ValueError(f"tls: wanted true beside {name}, got none or false")

    @property
    def encrypted(self) -> bool:
        """Whether the link is TLS."""
        return self.port != 1883 if self.tls is None else self.tls


class CameraTable(_Table, frozen=True, kw_only=True):
    """`[camera]`: what looks."""

    kind: Literal["pi", "usb", "replay"] = "pi"
    device: Words = "0"
    source: Path | None = None
    width_px: Pixels = 640
    height_px: Pixels = 480
    evidence_width_px: Pixels = 1280
    evidence_height_px: Pixels = 960

    def __post_init__(self) -> None:
        if (self.kind == "replay") != (self.source is not None):
            raise ValueError('source: wanted with kind = "replay", and only with it')
        if self.kind == "pi":
            if not (self.device.isdecimal() and len(self.device) <= 3):
                raise ValueError(f"device: wanted the number of a Pi camera, got {self.device!r}")
            self._check_streams()
        if self.kind == "usb" and not self.device.startswith("/dev/"):
            raise ValueError(f"device: wanted a path such as /dev/video0, got {self.device!r}")

    def _check_streams(self) -> None:
        """Both of a Pi camera's streams come from one sensor, and their colours are halved."""
        for name in ("width_px", "height_px", "evidence_width_px", "evidence_height_px"):
            if getattr(self, name) % 2:
                raise ValueError(f"{name}: wanted an even number of pixels, got {getattr(self, name)}")
        if self.evidence_height_px > _PI_MAX_HEIGHT_PX:
            raise ValueError(
                f"evidence_height_px: wanted at most {_PI_MAX_HEIGHT_PX}, got {self.evidence_height_px}"
            )
        width, height = self.width_px, self.height_px
        large = f"evidence_width_px x evidence_height_px, {self.evidence_width_px}x{self.evidence_height_px}"
        if width > self.evidence_width_px or height > self.evidence_height_px:
            raise ValueError(f"width_px x height_px: wanted at most {large}, got {width}x{height}")
        if abs(width * self.evidence_height_px / (height * self.evidence_width_px) - 1.0) > 0.02:
            raise ValueError(f"width_px x height_px: wanted the shape of {large}, got {width}x{height}")


class ModelTable(_Table, frozen=True, kw_only=True):
    """`[model]`: what recognises."""

    card: Words = DEFAULT_CARD
    threads: Annotated[int, Meta(ge=1, le=16)] = 2
    interpreter: Literal["auto", "litert", "tflite"] = "auto"


class LedTable(_Table, frozen=True, kw_only=True):
    """`[led]`: the indicator. Pins are GPIOs of the 40-pin header, in Broadcom numbers."""

    pin: _LedPin | None = None
    """None where the unit has no LED."""
    sense_pin: _LedPin | None = None
    """An input that is high while the LED is lit; None where nothing senses it."""
    active_high: bool = True
    """Whether the LED is lit while its pin is high."""

    def __post_init__(self) -> None:
        for name in ("pin", "sense_pin"):
            if getattr(self, name) in _PULLED_UP:
                why = "a GPIO that the board does not pull up, 4 to 27 (docs/wiring.md)"
                raise ValueError(f"{name}: wanted {why}, got {getattr(self, name)}")
        if self.sense_pin is None:
            return
        if self.pin is None:
            raise ValueError("sense_pin: wanted led.pin beside it, got none")
        if self.sense_pin == self.pin:
            raise ValueError(f"sense_pin: wanted another pin than led.pin, got {self.pin} for both")


class ButtonTable(_Table, frozen=True, kw_only=True):
    """`[button]`: starts and ends a break, accepts the notice; held, it shows the unit's identity."""

    pin: Annotated[int, Meta(ge=2, le=_LAST_GPIO)] | None = None
    """None where the unit has no button."""
    pull_up: bool = True
    """Whether it lies between its pin and ground; false: between its pin and 3.3 V."""
    hold_s: Annotated[float, Meta(ge=1, le=10)] = 3.0

    def __post_init__(self) -> None:
        if self.pin in _PULLED_UP and not self.pull_up:
            raise ValueError(f"pull_up: wanted true, as the board pulls GPIO {self.pin} up, got false")


class PathsTable(_Table, frozen=True, kw_only=True):
    """`[paths]`: what is kept where."""

    state: Path
    policy: Path


class SpoolTable(_Table, frozen=True, kw_only=True):
    """`[spool]`: how much waits for the broker at most, and how long."""

    max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 36)] = 64 << 20
    max_age_days: Annotated[float, Meta(ge=1, le=3650)] = 60
    """Events older than this give way; pictures go at the end of their retention, which is shorter."""


class UplinkTable(_Table, frozen=True, kw_only=True):
    """`[uplink]`: when an event may leave the unit's disk."""

    release: Literal["puback", "ack"] = "puback"
    """Once the broker has it, or once the ingester says that it has it for good."""


class TwinTable(_Table, frozen=True, kw_only=True):
    """`[twin]`: whose policies are taken from afar, and how long one is on trial."""

    trusted_keys: Annotated[tuple[Path, ...], Meta(max_length=16)] = ()
    """Public keys in PEM. With none, no policy from afar is accepted."""
    confirm_timeout_s: Annotated[float, Meta(ge=30, le=3600)] = 180.0


class SupportTable(_Table, frozen=True, kw_only=True):
    """`[support]`: who can read what `deskwatch support-bundle` makes."""

    key_file: Path | None = None
    """The support's public key, of `deskwatch operator keygen --seal`. With none, no bundle is made."""


class HealthTable(_Table, frozen=True, kw_only=True):
    """`[health]`: who else is told how the unit fares, beside the broker."""

    textfile: Path | None = None
    """A Prometheus text file, for a node exporter's textfile collector; none where not given."""

    def __post_init__(self) -> None:
        path = self.textfile
        if path is not None and not (path.is_absolute() and path.suffix == ".prom"):
            raise ValueError(f"textfile: wanted a whole path that ends in .prom, got {str(path)!r}")


class Config(_Table, frozen=True, kw_only=True):
    """The whole of unit.toml."""

    unit: UnitTable
    broker: BrokerTable
    camera: CameraTable = CameraTable()
    model: ModelTable = ModelTable()
    paths: PathsTable
    spool: SpoolTable = SpoolTable()
    uplink: UplinkTable = UplinkTable()
    twin: TwinTable = TwinTable()
    led: LedTable = LedTable()
    button: ButtonTable = ButtonTable()
    health: HealthTable = HealthTable()
    support: SupportTable = SupportTable()

    def __post_init__(self) -> None:
        pin = self.button.pin
        if pin is not None and pin in (self.led.pin, self.led.sense_pin):
            name = "led.pin" if pin == self.led.pin else "led.sense_pin"
            raise ValueError(f"button: wanted a pin of its own, got {pin}, which is {name}")


def read_config(path: Path) -> Config:
    """Return the settings in the file at `path`. Raises ConfigError that names the file and the key."""
    try:
        text = read_bounded(path, _MAX_BYTES).decode()
    except PermissionError as error:
        raise ConfigDenied(f"{path}: wanted a readable TOML file, got: {error.strerror}") from error
    except OSError as error:
        raise ConfigError(f"{path}: wanted a readable TOML file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: wanted TOML in UTF-8, got: {error}") from error
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a plain ValueError
        raise ConfigError(f"{path}: wanted TOML, got: {error}") from error
    try:
        return msgspec.convert(tables, Config, dec_hook=_as_path)
    except msgspec.ValidationError as error:
        key, problem = locate(str(error), Config, tables)
        raise ConfigError(f"{path}: {key.removeprefix('$.')}: {problem}") from error


def _as_path(wanted: type, value: object) -> Path:
    """Build the one type here that TOML does not have."""
    if wanted is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError(f"wanted a path, got {value!r}")
