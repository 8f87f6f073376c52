"""Stamps events, and puts right what was timed before the clock was set."""

import datetime as dt
import logging
import uuid
from collections.abc import Callable

from edge.clock import Clock
from edge.device.clock_quality import ClockState, read_clock, set_by
from edge.uplink.clock_fix import corrected
from edge.uplink.event_records import Origin, Stamp, clock_set_record
from edge.uplink.messages import OpenedEvent, decode_event
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.wire import ClockQuality, moment
from edge.worklog.errors import LogUnwritable

log = logging.getLogger(__name__)


class ClockKeeper:
    """For the uplink's thread."""

    def __init__(
        self,
        clock: Clock,
        spool: Spool,
        origin: Origin,
        synchronised: Callable[[], bool],
        keep_until: Callable[[str, dt.datetime], object] = lambda _event_id, _expires_at: None,
    ) -> None:
        """`keep_until` gives the worker's copy of an event's picture the end that the picture has now."""
        self._keep_until = keep_until
        self._clock, self._spool, self._origin = clock, spool, origin
        self._synchronised = synchronised
        self._state = self._read()
        self._left = self._state.synchronised
        """What a run before this one timed may wait still: the clock was set while there was none."""
        self._failing = False

    def stamp(self) -> Stamp:
        """Return a stamp of now, for an event that no policy is behind."""
        quality = ClockQuality.SYNCHRONISED if self._synchronised() else ClockQuality.UNSYNCHRONISED
        return Stamp(str(uuid.uuid4()), self._clock.now_at(), self._clock.now_s(), quality, 0)

    def turn(self) -> None:
        """Put right what was timed before the clock was set; where the spool fails, the next turn will."""
        now = self._read()
        stepped_s = set_by(self._state, now)
        if stepped_s is not None or self._left:
            try:
                self._put_right(stepped_s)
            except SpoolError as error:
                if not self._failing:
                    log.warning("what was timed before the clock was set stays as it was for now: %s", error)
                self._failing = True
                return
        self._state, self._left, self._failing = now, False, False

    def _put_right(self, stepped_s: float | None) -> None:
        """Mend the times of what waits, and tell by how much the clock was put forward, if that is known."""
        now_at, now_s = self._clock.now_at(), self._clock.now_s()
        boot_id, stamp = self._origin.boot_id, self.stamp()

        def fix(payload: bytes) -> tuple[bytes, dt.timedelta] | None:
            found = corrected(payload, boot_id, now_at, now_s)
            if found is not None:
                self._date_copy(found[0])
            return found

        self._spool.amend(fix)
        if stepped_s is not None:
            self._spool.put(lambda serial: clock_set_record(self._origin, stamp, stepped_s, serial))
            log.info("the clock is synchronised; it was put forward by %.1f s", stepped_s)

    def _date_copy(self, payload: bytes) -> None:
        """Let the worker's copy stay as long as the picture: a sealed one without a copy may never leave."""
        event = decode_event(payload)
        if not isinstance(event, OpenedEvent) or event.data.thumbnail is None:
            return
        try:
            self._keep_until(event.id, moment(event.data.thumbnail.expires_at))
        except LogUnwritable as error:
            log.warning("the worker's copy of a picture ends when the wrong clock said: %s", error)

    def _read(self) -> ClockState:
        return read_clock(self._clock.now_at(), self._clock.now_s(), synchronised=self._synchronised())
