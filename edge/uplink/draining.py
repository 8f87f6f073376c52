"""The spool's part of one connection: what is sent of it, in order, and what is sent again."""

import datetime as dt
import logging
from collections.abc import Callable

from edge.policy.document import RETAIN_MAX_DAYS
from edge.uplink.flight import Flight
from edge.uplink.ingester import Ingester
from edge.uplink.records import SpoolCorrupt, Spooled
from edge.uplink.shared import Shared
from edge.uplink.signals import Publication

GAPS_EVERY_S = 1.0
AILING_S = 5.0
"""How long a spool that failed is left alone."""
_SECOND = dt.timedelta(seconds=1)
_EXPIRY_MAX_S = RETAIN_MAX_DAYS * 24 * 3600  # whatever the clock says when it is wrong

_log = logging.getLogger(__name__)


class Draining:
    """Goes through the spool by a cursor; what the broker took is behind it, or in flight."""

    def __init__(self, shared: Shared, flight: Flight, send: Callable[[Publication, int], object]) -> None:
        """`send` publishes a message of the spool, or has it refused."""
        self.born = False
        """Whether the broker answered the birth."""
        self.progressed = False
        """Whether the broker took something since losses were told."""
        self._shared = shared
        self._flight = flight
        self._send = send
        self._clock = shared.clock
        self._cursor = 0
        self._more = True  # the spool may hold more past the cursor
        self._generation = shared.ledger.generation
        self._ailing_until_s = 0.0
        self._gaps_due_s = 0.0
        self.guarded(shared.upkeep.count)
        self._retry = shared.upkeep.dead_letters > 0  # they were there before this connection
        self.woken()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before something happens."""
        return not self._more or self._flight.room == 0 or not self.ready()

    def woken(self) -> None:
        """Note that something may have been put."""
        self._more = True
        self._shared.upkeep.note_put()

    def guarded(self, act: Callable[[], None]) -> None:
        """Do something with the spool; mend it where that finds it damaged, go on without where it fails."""
        upkeep = self._shared.upkeep
        if upkeep.usable and self._clock.now_s() >= self._ailing_until_s:
            done = False
            try:
                with upkeep.tolerating("the spool cannot be used"):
                    act()
                    done = True
            except SpoolCorrupt as error:
                upkeep.recover(error)
                done = True
            if not done:
                self._ailing_until_s = self._clock.now_s() + AILING_S
        if self._generation != self._shared.ledger.generation:
            self._start_over()

    def ready(self) -> bool:
        """With an ingester, wait for what it said last: it comes before the answer to the birth."""
        upkeep = self._shared.upkeep
        ready = upkeep.usable and upkeep.dated and self._clock.now_s() >= self._ailing_until_s
        return ready and (self.born or self._shared.ingester is None)

    def carry(self) -> None:
        """Release what has arrived, and send what has not. Raises SpoolCorrupt."""
        self._shared.ledger.settle_when_due(self._clock.now_s(), waiting=bool(self._flight))
        if self._shared.ingester is not None:
            self._follow(self._shared.ingester)
        if not self.ready():
            return
        self._write_gaps()
        self._fill()
        drained = not self._more and not self._flight
        # One that an ingester waits for keeps all behind it from being released, however long this lasts.
        holds_up = self._shared.ingester is not None and self._shared.upkeep.dead_letters > 0
        if drained and (self._retry or holds_up):
            self._retry = False  # last, so that one that breaks the connection holds up nothing
            if self._shared.upkeep.retry_dead_letters(self._shared.patience.retry_s):
                self._rewind()

    def _start_over(self) -> None:
        """Forget positions: the spool's file was mended."""
        self._generation = self._shared.ledger.generation
        self._flight.forget_positions()
        self._rewind()

    def _rewind(self) -> None:
        self._cursor = 0
        self._more = True

    def _follow(self, ingester: Ingester) -> None:
        """Release what the ingester has, and send again what it does not speak of."""
        now_s = self._clock.now_s()
        progressed = False
        with self._shared.upkeep.tolerating("the spool cannot be told what the ingester has"):
            progressed = ingester.settle(self._shared.spool, now_s)
        due = ingester.resend_due(now_s) and not self._more and not self._flight
        if not (progressed or due):
            return
        oldest = self._shared.spool.pending(1, alive_at=self._clock.now_at() + _SECOND)
        if not oldest:
            ingester.idle()
        if not oldest or not due:
            return
        _log.info("the ingester lacks what waits, from %d on: it is sent again", oldest[0].seq)
        ingester.resent(now_s)
        self._rewind()

    def _write_gaps(self) -> None:
        """Tell of losses, where something moves: a full spool that is stuck would lose events to gaps."""
        now_s = self._clock.now_s()
        ingester = self._shared.ingester
        moves = self.progressed and (ingester is None or not ingester.resend_due(now_s))
        if moves and now_s >= self._gaps_due_s:
            self._gaps_due_s = now_s + GAPS_EVERY_S
            self.progressed = not self._shared.upkeep.write_gaps()

    def _fill(self) -> None:
        """Publish what waits, in order, as far as the window has room."""
        room = self._flight.room
        if not room or not self._more:
            return
        now_at = self._clock.now_at()
        # Expiry goes over the wire in whole seconds: what has less than one left is not worth sending.
        batch = self._shared.spool.pending(room, after=self._cursor, alive_at=now_at + _SECOND)
        busy = self._flight.positions()  # after a rewind
        due = [
            (spooled, _publication(spooled, now_at))
            for spooled in batch
            if spooled.position not in self._shared.ledger and spooled.position not in busy
        ]
        due = [
            (spooled, publication)
            for spooled, publication in due
            if not self._kept_back(spooled, publication)
        ]
        self._shared.diary.leaving([publication for _, publication in due])
        for spooled, publication in due:
            self._send(publication, spooled.position)
        if batch:
            self._cursor = batch[-1].position
        self._more = len(batch) == room

    def _kept_back(self, spooled: Spooled, publication: Publication) -> bool:
        """Set aside a picture that the worker could not see."""
        why = self._shared.diary.lacks(publication)
        if why is not None:
            self._shared.ledger.refuse(spooled.position, why)
        return why is not None


def _publication(spooled: Spooled, now_at: dt.datetime) -> Publication:
    message = spooled.message
    expiry_s: int | None = None
    if message.expires_at is not None:
        expiry_s = min(int((message.expires_at - now_at).total_seconds()), _EXPIRY_MAX_S)
    return Publication(
        message.topic,
        message.payload,
        message.content_type,
        expiry_s=expiry_s,
        user=(("event_id", message.event_id), ("seq", str(spooled.seq))),
    )
