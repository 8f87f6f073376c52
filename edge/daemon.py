"""What `deskwatch run` does: from unit.toml to a running unit, until it is told to stop, or to start over."""

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

from edge import __version__
from edge.border import read_bounded
from edge.clock import SystemClock
from edge.config import Config, read_config
from edge.errors import EdgeError
from edge.parts import broker_config, check_source, make_camera, make_hardware, redirected, trusted_keys
from edge.policy.document import (
    MAX_POLICY_BYTES,
    Policy,
    PolicyError,
    check_labels,
    read_policy,
)
from edge.running import running
from edge.stopping import Stop
from edge.unit import Settings
from edge.uplink.carry import RECONNECT
from edge.uplink.topics import Topics
from edge.vision.card import load_card
from edge.vision.detector import Detector
from edge.vision.model_file import find_card
from edge.watch import frozen_after

log = logging.getLogger(__name__)


def run_unit(path: Path, stop: Stop) -> None:
    """Run the watch loop here and the uplink loop in its thread, until `stop` ends it.

    Raises EdgeError at the start for whatever is wrong with the settings, the policy, the model, the spool,
    and EventsLost at the end. Told to start over with settings that turn out not to start, it goes on with
    those before: nobody could tell it from afar to do so any more.
    """
    config, before = read_config(path), None
    while True:
        began = Event()
        try:
            _run(path, config, stop, began)
        except EdgeError as error:
            if before is None or began.is_set():
                raise
            log.error("the unit does not start with %s as it is now, and goes on as before: %s", path, error)
            config, before = before, None
            continue
        if not stop.start_over():
            return
        log.info("starting over with %s", path)
        config, before = read_config(path), config


def _run(path: Path, config: Config, stop: Stop, began: Event) -> None:
    settings = _settings(config)
    policy = settings.policy[0]
    check_unit(policy, config.unit.id)
    table = config.model
    detector = Detector.load(find_card(table.card), threads=table.threads, backend=table.interpreter)
    check_labels(policy, detector.card.named_labels)
    clock = SystemClock(stop)
    check_source(config.camera)
    camera = make_camera(config.camera, clock)
    source = config.camera.source
    _say_hello(config, policy, detector)

    def reload() -> None:
        check_settings(path)
        unit.desk.check_kept()  # whoever tells a unit to start over must not end a break by that
        stop.set()
        clock.wake()

    hardware = make_hardware(config)
    with (
        closing(hardware.indicator),  # its pins are given back also by a unit that does not start
        running(settings, detector, clock, hardware=hardware, reload=reload) as unit,
    ):
        began.set()
        unit.watch(camera, frozen_after([source] if source else []), stop)


def check_settings(path: Path) -> None:
    """Raise EdgeError where a unit could not start with the settings in the file at `path`."""
    config = read_config(path)
    policy = _settings(config).policy[0]
    check_unit(policy, config.unit.id)
    check_labels(policy, load_card(find_card(config.model.card)).named_labels)


def _settings(config: Config) -> Settings:
    topics = Topics(config.unit.tenant, config.unit.id)
    broker = broker_config(config.broker, config.unit.id)
    return Settings(
        topics,
        config.paths.state,
        broker,
        (read_policy(config.paths.policy), read_bounded(config.paths.policy, MAX_POLICY_BYTES)),
        max_bytes=config.spool.max_bytes,
        max_age_s=config.spool.max_age_days * 86_400.0,
        release=config.uplink.release,
        trusted=trusted_keys(config.twin.trusted_keys),
        confirm_timeout_s=config.twin.confirm_timeout_s,
        backoff=replace(
            RECONNECT, base_s=config.broker.reconnect_spread_s, cap_s=config.broker.reconnect_max_s
        ),
        redirect=lambda named: redirected(broker, named),
    )


def check_unit(policy: Policy, unit: str) -> None:
    """Raise PolicyError where the policy is for another unit."""
    if policy.unit not in ("*", unit):
        raise PolicyError("$.unit", f'wanted "*" or this unit, {unit!r}, got {policy.unit!r}')


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
