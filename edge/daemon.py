"""What `deskwatch run` does: from unit.toml to a running unit, until it is told to stop, or to start over."""

import datetime as dt
import faulthandler
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from threading import Event

from edge import __version__
from edge.border import read_bounded
from edge.cameras import check_source, make_camera
from edge.clock import SystemClock
from edge.config import Config, read_config
from edge.device.notify import Notifier
from edge.diagnosis.inside import examiner
from edge.error_ring import ErrorRing, keeping_errors
from edge.errors import EdgeError
from edge.guard import guarding
from edge.last_settings import keep, read_or_last
from edge.link_settings import broker_config, redirected, trusted_keys
from edge.pins import make_hardware
from edge.policy.document import (
    MAX_POLICY_BYTES,
    Policy,
    PolicyError,
    check_labels,
    parse_policy,
    read_policy,
)
from edge.provision.standing import with_pair_before
from edge.running import running
from edge.safe import Blindfold, why_failed
from edge.stopping import Stop
from edge.unit_settings import Settings
from edge.uplink.carry import RECONNECT
from edge.uplink.topics import Topics
from edge.vision.card import Card, ModelError, load_card
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.watch import frozen_after

log = logging.getLogger(__name__)


def run_unit(path: Path, stop: Stop, *, safe: bool = False) -> None:
    """Run the watch loop here and the uplink loop in its thread, until `stop` ends it.

    In `safe` mode nothing is watched: neither camera nor model are touched.

    Raises EdgeError at the start for whatever is wrong with the settings, the policy, the model, the spool,
    and EventsLost at the end. Told to start over with settings that turn out not to start, it goes on with
    those before: nobody could tell it from afar to do so any more.
    """
    # What hangs is ended by SIGABRT: let the log say where it hung.
    faulthandler.enable(2)  # standard error, by its number: whatever Python has it replaced with
    with keeping_errors() as errors:
        config = read_or_last(path) if safe else read_config(path)
        _run_over(path, config, stop, partial(_run_safe if safe else _run, errors), Notifier())


def _run_over(
    path: Path,
    config: Config,
    stop: Stop,
    run: Callable[[Path, Config, Stop, Event, Notifier], None],
    notifier: Notifier,
) -> None:
    before = None
    while True:
        began = Event()
        try:
            run(path, config, stop, began, notifier)
        except EdgeError as error:
            if before is None or began.is_set():
                raise
            log.error("the unit does not start with %s as it is now, and goes on as before: %s", path, error)
            config, before = before, None
            notifier.alive()
            continue
        if not stop.start_over():
            return
        notifier.alive()
        log.info("starting over with %s", path)
        config, before = read_config(path), config


def _run(errors: ErrorRing, path: Path, config: Config, stop: Stop, began: Event, notifier: Notifier) -> None:
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
        running(
            settings,
            detector,
            clock,
            hardware=hardware,
            reload=reload,
            examine=examiner(path, config),
            errors=errors,
        ) as unit,
    ):
        began.set()
        keep(path, config)
        with guarding(notifier, unit.progress, unit.summary):
            unit.watch(camera, frozen_after([source] if source else []), stop)
        if stop.final:
            notifier.stopping()


def _run_safe(
    errors: ErrorRing, path: Path, config: Config, stop: Stop, began: Event, notifier: Notifier
) -> None:
    why = why_failed()
    log.warning("safe mode: the camera stays closed, the rest works. %s", why)
    clock = SystemClock(stop)
    eyes = Blindfold(_card_or_default(config))

    def reload() -> None:
        read_config(path)
        stop.set()
        clock.wake()

    settings, hardware = _settings(config, _policy_or_shipped), make_hardware(config)
    with (
        closing(hardware.indicator),
        running(
            settings,
            eyes,
            clock,
            hardware=hardware,
            reload=reload,
            examine=examiner(path, config),
            errors=errors,
        ) as unit,
    ):
        began.set()
        with guarding(notifier, unit.progress, unit.summary):
            unit.idle(why, stop)
        if stop.final:
            notifier.stopping()


def _card_or_default(config: Config) -> Card:
    """Return the card of the model that the unit would look with; the shipped one's where that is no good."""
    try:
        return load_card(find_card(config.model.card))
    except ModelError as error:
        log.error("the model's card cannot be read, and the shipped one stands for it: %s", error)
        return load_card(find_card(DEFAULT_CARD))


def _policy_or_shipped(path: Path) -> tuple[Policy, bytes]:
    """Return the unit's own policy, or the shipped one where that is no good: nothing is watched by it."""
    try:
        return _read_own_policy(path)
    except (PolicyError, OSError) as error:
        log.error("the unit's own policy cannot be read, and the shipped one stands for it: %s", error)
        shipped = resources.files("edge.defaults").joinpath("policy.json").read_bytes()
        return parse_policy(shipped), shipped


def _read_own_policy(path: Path) -> tuple[Policy, bytes]:
    return read_policy(path), read_bounded(path, MAX_POLICY_BYTES)


def check_settings(path: Path) -> None:
    """Raise EdgeError where a unit could not start with the settings in the file at `path`."""
    config = read_config(path)
    policy = _settings(config).policy[0]
    check_unit(policy, config.unit.id)
    check_labels(policy, load_card(find_card(config.model.card)).named_labels)


def _settings(
    config: Config, read_own: Callable[[Path], tuple[Policy, bytes]] = _read_own_policy
) -> Settings:
    topics = Topics(config.unit.tenant, config.unit.id)
    broker = broker_config(config.broker, config.unit.id)
    return Settings(
        topics,
        config.paths.state,
        broker,
        read_own(config.paths.policy),
        max_bytes=config.spool.max_bytes,
        max_age_s=config.spool.max_age_days * 86_400.0,
        release=config.uplink.release,
        trusted=trusted_keys(config.twin.trusted_keys),
        confirm_timeout_s=config.twin.confirm_timeout_s,
        backoff=replace(
            RECONNECT, base_s=config.broker.reconnect_spread_s, cap_s=config.broker.reconnect_max_s
        ),
        redirect=lambda named: redirected(broker, named),
        before=lambda link: with_pair_before(link, dt.datetime.now(dt.UTC)),
        textfile=config.health.textfile,
        config=config,
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
