"""Looks after the spool: its age, its gaps, its dead letters, and its file when that is damaged or gone."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from edge.clock import Clock
from edge.uplink.clock_fix import UNKNOWN_BOOT
from edge.uplink.ledger import Ledger
from edge.uplink.messages import Alarm, AlarmCode
from edge.uplink.records import LostRange, Record, Serial, SpoolCorrupt, SpoolError
from edge.uplink.spool import Spool

EXPIRE_EVERY_S = 60.0
LOOK_EVERY_S = 1.0
"""Whether the file is still there."""
COUNT_EVERY_S = 5.0
"""Dead letters, for the alarm."""
MEND_EVERY_S = 10.0
"""How often a spool that could not be mended is tried again."""
UNDATED_S = 600.0
"""How long pictures of before this boot wait for a clock that is set."""
_DATED = "boot-of-pictures"
"""Name of the note that says for which boot the age of all pictures is known."""
_MOST_RETRIED = 10_000
_MAX_DETAIL_CHARS = 256

_log = logging.getLogger(__name__)


class Upkeep:
    """For the uplink's thread alone."""

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        clock: Clock,
        synchronised: Callable[[], bool],
        gap: Callable[[Serial, LostRange], Record] | None,
        boot_id: str = "",
    ) -> None:
        """`gap` writes the record that tells of a loss; without it, none is told."""
        self.usable = True
        """Whether the spool can be used at all: it is not, while its file could not be mended."""
        self.dated = False
        """Whether the age of all pictures is known: until it is, nothing of the spool may leave."""
        self._boot_id = "" if boot_id == UNKNOWN_BOOT else boot_id
        self._left: int | None = None
        """The last picture that was there before this run; None where that could not be looked up yet."""
        with suppress(SpoolError):
            self._left = spool.last_picture()
        self._dated_by_s = clock.now_s() + UNDATED_S
        self.dead_letters = 0
        self._spool = spool
        self._ledger = ledger
        self._clock = clock
        self._synchronised = synchronised
        self._gap = gap
        self._trouble = ""
        self._failing: set[str] = set()
        self._expire_due_s = self._look_due_s = self._count_due_s = self._mend_due_s = clock.now_s()
        self._retry_due_s = clock.now_s()
        self._gaps_noted = True

    def turn(self) -> None:
        """Do what is due; with a broker or without. Never raises for the spool."""
        now_s = self._clock.now_s()
        if not self.usable:
            if now_s >= self._mend_due_s:
                self._mend()
            return
        try:
            if now_s >= self._look_due_s:
                self._look_due_s = now_s + LOOK_EVERY_S
                if self._spool.gone():
                    self.recover(SpoolCorrupt("its file was deleted"))
                    return
                if self._spool.damaged:
                    self.recover(SpoolCorrupt("somebody met damage in it"))
                    return
            if not self.dated:
                self._date(now_s)
            if now_s >= self._expire_due_s:
                self._expire_due_s = now_s + EXPIRE_EVERY_S
                self._expire()
            if now_s >= self._count_due_s:
                self.count()
        except SpoolCorrupt as error:
            self.recover(error)

    def recover(self, error: SpoolCorrupt) -> None:
        """Mend the spool, once for each time that it is found damaged."""
        _log.error("the spool is damaged, and is mended: %s", error)
        self._trouble = str(error)
        self._mend()

    def note_put(self) -> None:
        """Note that something was put: something else may have given way to it."""
        self._gaps_noted = True

    def count(self) -> None:
        """Count the dead letters. Raises SpoolCorrupt."""
        self._count_due_s = self._clock.now_s() + COUNT_EVERY_S
        with self.tolerating("the dead letters cannot be counted"):
            self.dead_letters = self._spool.depth().refused

    def write_gaps(self) -> int:
        """Tell what was lost since the last time, as messages of the spool; return how many.

        Raises SpoolCorrupt.
        """
        if self._gap is None or not self._gaps_noted:
            return 0
        self._gaps_noted = False
        told = 0
        try:
            told = self._spool.write_gaps(self._gap)
            self._gaps_noted = self._spool.depth().gaps > 0  # more than may wait at a time
        except SpoolCorrupt:
            raise
        except Exception as error:  # noqa: BLE001  a fault of whoever writes the record must not hold up the rest
            self._gaps_noted = isinstance(error, SpoolError)
            trouble = "what was lost cannot be told"
            if trouble not in self._failing:
                _log.warning("%s for now: %s", trouble, error, exc_info=not self._gaps_noted)
            self._failing.add(trouble)
        else:
            self._failing.discard("what was lost cannot be told")
        if told:
            _log.warning("told of what was lost, %d times", told)
        return told

    def retry_dead_letters(self, after_s: float) -> bool:
        """Put dead letters back, unless that was less than `after_s` ago. Raises SpoolCorrupt."""
        now_s = self._clock.now_s()
        if now_s < self._retry_due_s:
            return False
        self._retry_due_s = now_s + after_s
        self._gaps_noted = True  # those that were tried often enough are lost
        retried = 0
        with self.tolerating("dead letters cannot be tried again"):
            self._ledger.retry(refused.position for refused in self._spool.refused(_MOST_RETRIED))
            retried = self._spool.retry_dead_letters()
            self.count()
        if retried:
            _log.info("%d dead letters are tried again", retried)
        return retried > 0

    @contextmanager
    def tolerating(self, trouble: str) -> Iterator[None]:
        """Log what the spool cannot do now, once until it can; a full disk is no reason to leave the broker.

        Raises SpoolCorrupt.
        """
        try:
            yield
        except SpoolCorrupt:
            raise
        except SpoolError as error:
            if trouble not in self._failing:
                _log.warning("%s for now: %s", trouble, error)
            self._failing.add(trouble)
        else:
            self._failing.discard(trouble)

    def alarms(self) -> Iterator[Alarm]:
        """Give what somebody should see to."""
        if self.dead_letters:
            last = f"; the last: {self._ledger.last_refusal}" if self._ledger.last_refusal else ""
            yield _alarm(AlarmCode.DEAD_LETTERS, f"{self.dead_letters} wait on the unit{last}")
        if (salvage := self._spool.salvaged) is not None:
            lost = "unknown" if salvage.lost is None else salvage.lost
            aside = f"; the damaged file is {salvage.aside.name}" if salvage.aside else ""
            detail = f"kept {salvage.kept} messages, lost {lost}{aside}"
            yield _alarm(AlarmCode.SPOOL_SALVAGED, detail)
        if not self.usable:
            yield _alarm(AlarmCode.SPOOL_UNWRITABLE, self._trouble)
        if self._spool.tight:
            yield _alarm(AlarmCode.DISK_FULL, "pictures give way to events: free space on it")

    def _mend(self) -> None:
        self.usable = False
        self._mend_due_s = self._clock.now_s() + MEND_EVERY_S
        self._ledger.forget()
        try:
            self._spool.recover()
        except SpoolError as error:
            if str(error) != self._trouble:
                _log.error("the spool cannot be mended, and is tried again: %s", error)
            self._trouble = str(error)
            if self._synchronised():
                self._spool.forget_damaged(self._clock.now_at())
            return
        self.usable = True
        self._gaps_noted = True
        self._count_due_s = self._clock.now_s()
        _log.warning("the spool can be used again")

    def _expire(self) -> None:
        """Delete what is too old, whatever the clock is worth for pictures.

        One that runs ahead costs a picture; one that was never set must not keep it.
        """
        with self.tolerating("expired pictures and old events stay in the spool"):
            expired = self._spool.expire(self._clock.now_at(), synchronised=self._synchronised())
            if expired:
                self._gaps_noted = True
                _log.info("deleted %d messages at the end of their retention, not delivered", expired)

    def _date(self, now_s: float) -> None:
        """See to what a boot before this one left: a clock that is not set cannot tell how long ago that was.

        After a month without power, a machine without a battery goes on where its clock stood.
        """
        with self.tolerating("pictures of before this boot cannot be seen to"):
            noted = self._spool.noted(_DATED)
            known = bool(self._boot_id) and noted == self._boot_id
            if self._left is None:
                self._left = self._spool.last_picture()
            if self._left and not known and not self._synchronised():
                if now_s < self._dated_by_s:
                    return
                dropped = self._spool.drop_pictures(self._left)
                self._gaps_noted = True
                _log.warning("deleted %d pictures: of before this boot, and the clock is not set", dropped)
            self.dated = True
            self._expire_due_s = now_s
            if self._boot_id and not known:
                self._spool.note(_DATED, self._boot_id)


def _alarm(code: AlarmCode, detail: str) -> Alarm:
    return Alarm(code=code, detail=detail[:_MAX_DETAIL_CHARS])
