"""In the place of a unit that does not run: a connection with its name, and one honest message.

What waits at the broker for the unit stays there: the session goes on, and nothing that comes is
acknowledged.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.device.boot import boot_id
from edge.device.clock_quality import clock_is_synchronised
from edge.diagnosis.as_owner import as_owner
from edge.diagnosis.check import Patient
from edge.diary import WorkersDiary
from edge.errors import EdgeError
from edge.state_folder import LOG_FOLDER, SPOOL_FILE
from edge.uplink.broker_config import BrokerConfig, lasting_config
from edge.uplink.clock_fix import UNKNOWN_BOOT
from edge.uplink.link import Connection
from edge.uplink.lockfile import is_held
from edge.uplink.looking import lock_of
from edge.uplink.messages import Capture, Health, encode_health
from edge.uplink.signals import Acked, LinkError, Lost, Publication, Wake
from edge.uplink.tls import WallClock
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON, ClockQuality, timestamp
from edge.worklog.log import WorkerLog

ACK_S = 8.0
_AS_UNIT = "run it as the unit's user: sudo -u deskwatch deskwatch diagnose"


@dataclass(frozen=True, slots=True)
class Told:
    """What the broker made of a message."""

    took_s: float | None
    """From the publish to the answer; None: there was none in time."""
    refusal: str | None
    """Why it did not take it."""


@dataclass(frozen=True, slots=True)
class Unsaid:
    """Nothing was sent."""

    why: str


def hindrance(patient: Patient) -> str | None:
    """Return why nobody may come with this unit's name now; None: it does not run."""
    assert patient.config is not None
    if patient.inside or patient.facts is not None:
        return "the unit runs: it says itself how its link is"
    try:
        held = is_held(lock_of(patient.config.paths.state / SPOOL_FILE))
    except OSError:
        return f"nobody can see whether a unit runs: {_AS_UNIT}"
    return "a unit runs here and does not answer: its name may not come twice" if held else None


def greet(patient: Patient, link: BrokerConfig) -> LinkError | None:
    """Connect as the unit would; return why that failed."""
    try:
        with _connected(patient, link):
            return None
    except LinkError as error:
        return error


def publish(patient: Patient, link: BrokerConfig) -> Told | Unsaid | LinkError:
    """Tell the broker that the unit does not run, once the worker's log says so."""
    message = _message(patient)
    try:
        with _connected(patient, link) as connection:
            if (why := _note(patient, message)) is not None:
                return Unsaid(why)
            return _tell(connection, message)
    except LinkError as error:
        return error


def _tell(connection: Connection, message: Publication) -> Told:
    began_s = time.monotonic()
    mid = connection.publish(message)
    while (left_s := began_s + ACK_S - time.monotonic()) > 0:
        connection.step(left_s)
        for signal in connection.signals():
            if isinstance(signal, Lost):
                raise signal.error
            if isinstance(signal, Acked) and signal.mid == mid:
                return Told(time.monotonic() - began_s, signal.failure)
    return Told(None, None)


@contextmanager
def _connected(patient: Patient, link: BrokerConfig) -> Iterator[Connection]:
    """Be connected in the unit's session, and leave it as it was."""
    wake = Wake()
    clock = WallClock(patient.clock.now_at, clock_is_synchronised)
    connection = Connection(lasting_config(link), wake, manual_ack=True, clock=clock)
    try:
        connection.dial()
        connection.wait_until_up(lambda: False, turn_s=math.inf)
        yield connection
    finally:
        connection.disconnect()
        wake.close()


def _message(patient: Patient) -> Publication:
    """Return the health of a unit that does not run: what is not known is null."""
    assert patient.config is not None
    synchronised = clock_is_synchronised()
    health = Health(
        at=timestamp(patient.clock.now_at()),
        session=0,
        boot_id=boot_id() or UNKNOWN_BOOT,
        clock=ClockQuality.SYNCHRONISED if synchronised else ClockQuality.UNSYNCHRONISED,
        clock_error_s=None,
        up_s=0.0,
        restarts=0,
        capture=Capture.STOPPED,
        frames=0,
        inferences=0,
        skipped=0,
        camera_faults=0,
        inference_p50_s=None,
        inference_p95_s=None,
        inference_p99_s=None,
        temperature_c=None,
        throttled=None,
        under_voltage=None,
        disk_free_bytes=None,
        memory_available_bytes=None,
        spool_events=None,
        spool_thumbnails=None,
        spool_used_bytes=None,
        dead_letters=None,
    )
    unit = patient.config.unit
    return Publication(Topics(unit.tenant, unit.id).health, encode_health(health), JSON)


def _note(patient: Patient, message: Publication) -> str | None:
    """Have the worker's log say what is about to leave; return why it cannot."""
    assert patient.config is not None
    unit, folder = patient.config.unit, patient.config.paths.state / LOG_FOLDER
    try:
        if os.geteuid() not in (0, folder.stat().st_uid):  # else the unit could not write what we wrote
            return f"the worker's log is not yours to write: {_AS_UNIT}"
        clock = patient.clock
        with (
            as_owner(folder),
            WorkerLog.open(folder, now_at=clock.now_at, now_s=clock.now_s) as log,
        ):
            WorkersDiary(log, Topics(unit.tenant, unit.id), clock.now_at, clock.now_s).leaving([message])
    except FileNotFoundError:
        return "there is no worker's log yet, and nothing leaves without it"
    except (EdgeError, OSError) as error:
        return f"the worker's log does not take it: {error}"
    return None
