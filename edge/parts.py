"""From the settings to the parts: camera, broker, keys, LED."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from edge.capture.frame import Camera
from edge.capture.picamera import PiCamera
from edge.capture.replay import ReplayCamera
from edge.capture.usb import Settings, UsbCamera
from edge.clock import Clock
from edge.config import BrokerTable, CameraTable, Config, ConfigError
from edge.device.gpio import GpioButton, GpioIndicator
from edge.device.hardware import Hardware
from edge.device.indicator import Button, Indicator, NoIndicator
from edge.policy.broker import Broker
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.envelope import PublicKey, read_public_key
from edge.uplink.tls import Tls, TlsUnusable

PASSWORD_MAX_BYTES = 65_535
"""MQTT 5, section 1.5.6."""


def make_camera(table: CameraTable, clock: Clock) -> Camera:
    """Return the camera that the settings name, closed."""
    size = (table.width_px, table.height_px)
    match table.kind:
        case "pi":
            evidence = (table.evidence_width_px, table.evidence_height_px)
            return PiCamera(clock, number=int(table.device), evidence_px=evidence, detect_px=size)
        case "usb":
            return UsbCamera(Path(table.device), clock, settings=Settings(*size))
        case "replay":
            assert table.source is not None
            return ReplayCamera(table.source, clock, pace="real", loop=None)
        case _:
            assert_never(table.kind)


def check_source(table: CameraTable) -> None:
    """Raise ConfigError where footage that is to be replayed is not there."""
    source = table.source
    if source is not None and not source.exists():
        wanted = "camera.source: wanted an image, a folder of images or a clip"
        raise ConfigError(f"{wanted}, got none at {source}")


def make_hardware(config: Config) -> Hardware:
    """Return the light and the button that the settings name; a pin that cannot be taken is its `trouble`."""
    led, button = config.led, config.button
    indicator: Indicator = NoIndicator()
    if led.pin is not None:
        indicator = GpioIndicator(led.pin, sense_pin=led.sense_pin, active_high=led.active_high)
    pin = button.pin
    if pin is None:
        return Hardware(indicator)

    def make_button(on_press: Callable[[], None], on_hold: Callable[[], None]) -> Button:
        return GpioButton(
            pin, on_press=on_press, on_hold=on_hold, hold_s=button.hold_s, pull_up=button.pull_up
        )

    return Hardware(indicator, make_button)


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
