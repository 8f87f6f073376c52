"""The unit: the one place that wires the parts, and owns both loops."""

import datetime as dt
import logging
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import assert_never

import msgspec

from edge import __version__
from edge.capture.frame import Camera
from edge.capture.picamera import PiCamera
from edge.capture.replay import ReplayCamera
from edge.capture.usb import Settings, UsbCamera
from edge.clock import Clock, SystemClock
from edge.config import BrokerTable, CameraTable, Config, ConfigError
from edge.device.clock_quality import clock_is_synchronised
from edge.errors import EdgeError
from edge.evidence.thumbnail import Jpeg
from edge.policy.document import Policy, PolicyError, check_labels, check_sealing, read_policy
from edge.policy.judge import Closed, Opened
from edge.uplink.carry import Uplink
from edge.uplink.link import BrokerConfig
from edge.uplink.messages import Capture, Model, State, Topics, timestamp
from edge.uplink.report import Origin, Reporter
from edge.uplink.spool import Spool
from edge.uplink.tls import Tls, TlsUnusable
from edge.vision.detector import Detector
from edge.vision.model_file import find_card
from edge.watch import Watch, frozen_after

log = logging.getLogger(__name__)

SPOOL_FILE = "spool.db"
DRAIN_S = 3.0
PASSWORD_MAX_BYTES = 65_535
"""MQTT 5, section 1.5.6."""
_CHANCE = random.SystemRandom()


class EventsLost(EdgeError):
    """Events did not reach the spool before the stop: free space on its disk; these events are gone."""


@dataclass(frozen=True, slots=True)
class Teller:
    """What the watch tells, to the spool (events) and to the link (the capture state)."""

    reporter: Reporter
    uplink: Uplink
    birth: State
    clock: Clock

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Spool a confirmed infraction with its picture."""
        log.info("opened %s", verdict.rule.id)
        self.reporter.opened(verdict, jpeg, policy, now_at)

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Spool the end of one."""
        log.info("closed %s after %.1f s: %s", verdict.rule.id, verdict.duration_s, verdict.reason)
        self.reporter.closed(verdict, policy, now_at)

    def capture(self, capture: Capture, reason: str) -> None:
        """Announce what the camera is doing."""
        at = timestamp(self.clock.now_at())
        self.uplink.announce(msgspec.structs.replace(self.birth, capture=capture, reason=reason[:256], at=at))

    def turn(self) -> None:
        """Try again to spool what could not be spooled."""
        self.reporter.turn(self.clock.now_s())


def run_unit(config: Config, stop: Event) -> None:
    """Run the watch loop here and the uplink loop in its thread, until `stop` is set.

    Raises EdgeError at the start for whatever is wrong with the settings, the policy, the model, the spool,
    and EventsLost at the end.
    """
    policy = read_policy(config.paths.policy)
    check_unit(policy, config.unit.id)
    table = config.model
    detector = Detector.load(find_card(table.card), threads=table.threads, backend=table.interpreter)
    check_labels(policy, detector.card.named_labels)
    clock = SystemClock(stop)
    camera = make_camera(config.camera, clock)
    broker = broker_config(config.broker, config.unit.id)
    topics = Topics(config.unit.tenant, config.unit.id)
    path, max_bytes = config.paths.state / SPOOL_FILE, config.spool.max_bytes
    _say_hello(config, policy, detector)
    with uplinked(path, topics, broker, detector, policy, clock, max_bytes=max_bytes) as teller:
        source = config.camera.source
        frozen_after_s = frozen_after([source] if source else [])
        watch = Watch(camera, detector, lambda: policy, teller, clock, _CHANCE, frozen_after_s=frozen_after_s)
        watch.run(stop)


def _say_hello(config: Config, policy: Policy, detector: Detector) -> None:
    """Begin the log with all that a technician asks first."""
    unit, camera, runtime = config.unit, config.camera, detector.interpreter.runtime
    log.info(
        "deskwatch %s: unit %s/%s, policy version %d, model %s on %s %s, camera %s %s, broker %s:%d",
        __version__,
        unit.tenant,
        unit.id,
        policy.version,
        detector.card.name,
        runtime.name,
        runtime.version,
        camera.kind,
        camera.source or camera.device,
        config.broker.host,
        config.broker.port,
    )


def check_unit(policy: Policy, unit: str) -> None:
    """Raise PolicyError where the policy is for another unit."""
    if policy.unit not in ("*", unit):
        raise PolicyError("$.unit", f'wanted "*" or this unit, {unit!r}, got {policy.unit!r}')


@contextmanager
def uplinked(
    spool_path: Path,
    topics: Topics,
    broker: BrokerConfig,
    detector: Detector,
    policy: Policy,
    clock: Clock,
    *,
    max_bytes: int = 64 << 20,
) -> Iterator[Teller]:
    """Open the spool, close what a crash left open, and keep the uplink running for the length of the `with`.

    At its end, what waits has `DRAIN_S` to leave; the rest stays in the spool. Raises EventsLost where the
    spool could not take all by then.
    """
    check_sealing(policy)
    model = Model(name=detector.card.name, sha256=detector.card.sha256)
    origin = Origin(topics, _boot_id(), model)
    with Spool.open(spool_path, max_bytes=max_bytes) as spool:
        reporter = Reporter(origin, spool.put, _CHANCE, clock_is_synchronised, spool.skip)
        reporter.close_left_open(spool.open_infractions(), policy, clock.now_at())
        birth = _birth(origin, policy, spool.session, clock)
        with Uplink(spool, broker, topics, birth, clock=clock, chance=_CHANCE.random) as uplink:
            try:
                yield Teller(reporter, uplink, birth, clock)
            finally:
                reporter.flush()
                _drain(spool, uplink)
                if not reporter.flush():
                    log.error("%d events are lost: the spool never took them", reporter.untold)
        if reporter.untold:
            raise EventsLost(f"{spool_path}: wanted room for all events, got none for {reporter.untold}")


def _drain(spool: Spool, uplink: Uplink) -> None:
    """Give the last events a moment to leave, while there is a broker to take them."""
    pause, end_s = Event(), time.monotonic() + DRAIN_S
    while time.monotonic() < end_s and uplink.status().connected:
        depth = spool.depth()
        if not depth.events + depth.thumbnails:
            return
        pause.wait(0.02)


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


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """Give an event that SIGTERM and SIGINT set: a unit that is told to stop closes what is open."""
    stop = Event()

    def tell(number: int, _frame: FrameType | None) -> None:
        log.info("told to stop by %s", signal.Signals(number).name)
        stop.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _birth(origin: Origin, policy: Policy, session: int, clock: Clock) -> State:
    return State(
        online=True,
        session=session,
        boot_id=origin.boot_id,
        firmware=__version__,
        model=origin.model,
        policy_version=policy.version,
        capture=Capture.STARTING,
        at=timestamp(clock.now_at()),
    )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
