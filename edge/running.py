"""A unit for the length of a `with`: its files opened before it, and what waits sent or kept after it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event

from edge.clock import Clock
from edge.control.server import ControlServer
from edge.device.hardware import Hardware
from edge.error_ring import ErrorRing
from edge.errors import EdgeError
from edge.examination import Examine
from edge.safe import Blindfold
from edge.state_folder import LOG_FOLDER, SPOOL_FILE
from edge.unit import Unit
from edge.unit_settings import Settings
from edge.uplink.carry import Uplink
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.vision.detector import Detector
from edge.worklog.log import WorkerLog

log = logging.getLogger(__name__)

DRAIN_S = 3.0


class EventsLost(EdgeError):
    """Events did not reach the spool before the stop: free space on its disk; these events are gone."""


@contextmanager
def running(
    settings: Settings,
    detector: Detector | Blindfold,
    clock: Clock,
    *,
    hardware: Hardware | None = None,
    reload: Callable[[], None] | None = None,
    examine: Examine | None = None,
    errors: ErrorRing | None = None,
) -> Iterator[Unit]:
    """Open the spool, close what a crash left open, and keep the uplink running for the length of the `with`.

    At its end, what waits has `DRAIN_S` to leave; the rest stays in the spool. Raises EventsLost where the
    spool could not take all by then.
    """
    path = settings.state / SPOOL_FILE
    with (
        Spool.open(path, max_bytes=settings.max_bytes, max_age_s=settings.max_age_s) as spool,
        WorkerLog.open(settings.state / LOG_FOLDER, now_at=clock.now_at, now_s=clock.now_s) as worker_log,
    ):
        unit = Unit(
            settings,
            detector,
            clock,
            spool,
            worker_log,
            hardware=hardware,
            reload=reload,
            examine=examine,
            errors=errors,
        )
        reporter = unit.reporter
        with closing(unit.desk), ControlServer(settings.state, unit.desk.handle), unit.uplink:
            crashed = True
            try:
                yield unit
                crashed = False
            finally:
                unit.twin.stop(crashed=crashed)  # else what crashes it would come back
                reporter.flush()
                _drain(spool, unit.uplink)
                if not reporter.flush():
                    log.error("%d events are lost: the spool never took them", reporter.untold)
        if reporter.untold:
            raise EventsLost(f"{path}: wanted room for all events, got none for {reporter.untold}")


def _drain(spool: Spool, uplink: Uplink) -> None:
    """Give the last events a moment to leave, while there is a broker to take them."""
    pause, end_s = Event(), time.monotonic() + DRAIN_S
    while time.monotonic() < end_s and uplink.status().connected:
        with suppress(SpoolError):  # damage is mended by the uplink's next turn
            depth = spool.depth()
            if not depth.events + depth.thumbnails:
                return
        pause.wait(0.02)
