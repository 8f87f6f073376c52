"""What a unit finds of its last run, in the spool: open infractions, how events were released, a log."""

import logging
from typing import Literal

from edge.uplink.records import OpenInfraction, SpoolCorrupt, SpoolError
from edge.uplink.spool import Spool
from edge.worklog.log import WorkerLog

log = logging.getLogger(__name__)

RELEASE_NOTE, LOG_NOTE = "release", "log"


def left_open(spool: Spool) -> list[OpenInfraction]:
    """Return what was open when the unit died; damage in that must not keep the unit from starting."""
    try:
        try:
            return spool.open_infractions()
        except SpoolCorrupt as error:
            log.error("the spool is damaged, and is mended: %s", error)
            spool.recover()
            return spool.open_infractions()
    except SpoolError as error:
        log.error("what was left open cannot be read, and is not closed: %s", error)
        return []


def note_release(spool: Spool, release: Literal["puback", "ack"]) -> None:
    """Let an ingester that is waited for from now on know what it need not wait for."""
    try:
        if spool.noted(RELEASE_NOTE) == release:
            return
        if release == "ack":
            spool.note_released()
        spool.note(RELEASE_NOTE, release)
    except SpoolError as error:
        log.warning("what the broker has already is not noted, until the next start: %s", error)


def log_is_lost(spool: Spool, worker_log: WorkerLog) -> bool:
    """Return whether the worker's log began with this start, though there was one before; note this one."""
    lost = False
    try:
        lost = worker_log.head.seq <= 1 and spool.noted(LOG_NOTE) is not None
        spool.note(LOG_NOTE, "began")
    except SpoolError as error:
        log.warning("a worker's log that is deleted may not be missed: %s", error)
    return lost
