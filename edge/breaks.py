"""The worker's breaks: started and ended from any thread, kept over a restart, told by the watch in turn."""

import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import msgspec

from edge.clock import Clock
from edge.errors import EdgeError
from edge.policy import breaks as steps
from edge.policy.breaks import BreakBy, BreakChange, BreakState, Now, OnBreak
from edge.uplink.command_messages import CommandError
from edge.uplink.commands import NotDone

log = logging.getLogger(__name__)

UNTOLD_MAX = 16
"""Starts and ends that the watch has yet to tell of; the next end has to wait too, a start never does."""
REASON_CHARS = 256
UNREADABLE = "what was noted of a break cannot be read"
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Notebook:
    """Where a break is kept, so that it goes on after a restart: one text, or None."""

    read: Callable[[], str | None]
    write: Callable[[str | None], object]
    """Durable once it returned."""


@dataclass(frozen=True, slots=True)
class _Note:
    boot_id: str
    on: OnBreak | None
    untold: tuple[BreakChange, ...]


class Breaks:
    """Whether the worker is on a break. Safe to use from several threads."""

    def __init__(
        self,
        clock: Clock,
        max_s: Callable[[], float],
        tell: Callable[[BreakChange, Now], object],
        *,
        synchronised: Callable[[], bool] = lambda: True,
        notebook: Notebook | None = None,
        boot_id: str = "",
    ) -> None:
        """Take up the break that was on. `max_s`: how long one may last, by the policy in force.

        `tell` gets each start and end in the watch's thread; `boot_id`: empty where it is not known.
        """
        self._clock, self._max_s, self._tell, self._synchronised = clock, max_s, tell, synchronised
        self._notebook, self._boot_id = notebook, boot_id
        self._lock = Lock()
        """Of what is on. Never held while a disk is waited for: a break starts at once."""
        self._writing = Lock()
        """Of the notebook. Taken before `_lock`, never within it."""
        self._kept = True
        """Whether the notebook had room for what a restart must know."""
        self._untold: tuple[BreakChange, ...] = ()
        self.on: BreakState = None
        """The break that is on. To be read from any thread."""
        self.begun = 0
        """Breaks since the start of the program: a frame that was taken before a change of this is no longer
        anybody's business."""
        self._take_up()

    def start(self, reason: str, by: BreakBy) -> OnBreak:
        """Start a break, at once and whatever else is the matter; on a break, return the one that is on.

        One that was begun from afar gives way to one that the worker takes at the unit.
        """
        reason = reason.encode("utf-8", "replace").decode()[:REASON_CHARS]
        with self._lock:
            if self.on is not None and steps.gives_way(self.on, by):
                self._end(self.on, by)
            on, change = steps.start(self.on, str(uuid.uuid4()), reason, by, self._max_s(), self._now())
            if change is not None:
                self.on, self.begun = on, self.begun + 1
                self._untold += (change,)
                self._clock.wake()
                log.info("a break starts, by %s", by)
        if change is not None:
            self._write()
        return on

    def end(self, by: BreakBy) -> float:
        """End the break and return how long it lasted, in seconds. Raises NotDone where there is none."""
        with self._lock:
            if self.on is None:
                raise NotDone(CommandError.NOT_ON_BREAK, "wanted a break that is on, got none")
            left_s = steps.too_early(self.on, by, self._now())
            if left_s is not None:
                wanted = "wanted a break that is five minutes old, or was not taken at the unit"
                raise NotDone(CommandError.TOO_EARLY, f"{wanted}: try again in {math.ceil(left_s)} s")
            if len(self._untold) >= UNTOLD_MAX:
                raise NotDone(
                    CommandError.BUSY, f"{UNTOLD_MAX} starts and ends of breaks are not told of yet"
                )
            lasted_s = self._end(self.on, by)
        self._write()
        return lasted_s

    def turn(self) -> None:
        """End a break whose time is up, and see that a restart would know of it. About once a second."""
        if self.on is None and self._kept:
            return
        with self._lock:
            before = on = self.on
            if on is not None:
                now = self._now()
                self.on = on = steps.settle(on, now)
                if now.s >= on.ends_s and len(self._untold) < UNTOLD_MAX:
                    self._end(on, BreakBy.TIME)
            changed = self.on is not before
        if changed:
            self._write()
        else:
            self._keep()

    def tell(self) -> None:
        """Tell of each start and end so far. In the watch's thread only."""
        while self._untold:
            self._tell(self._untold[0], self._now())
            with self._lock:
                self._untold = self._untold[1:]
            self._write()

    @property
    def kept(self) -> bool:
        """Whether a restart would know of the break that is on."""
        return self.on is None or self._kept

    def left_s(self) -> float | None:
        """Return for how many seconds the break goes on; None where there is none."""
        on = self.on
        return None if on is None else max(0.0, on.ends_s - self._clock.now_s())

    def _end(self, on: OnBreak, by: BreakBy) -> float:
        """End it, with the lock held; `_write` comes after."""
        change = steps.end(on, str(uuid.uuid4()), by, self._now())
        assert change.end is not None
        self.on = None
        self._untold += (change,)
        self._clock.wake()
        log.info("the break ends after %.0f s, by %s", change.end.lasted_s, by)
        return change.end.lasted_s

    def _now(self) -> Now:
        return Now(self._clock.now_at(), self._clock.now_s(), self._synchronised())

    def _write(self) -> None:
        """Keep what a restart must know. A disk that fails keeps nobody from a break."""
        with self._writing:
            self._write_now()

    def _write_now(self) -> None:
        if self._notebook is None:
            return
        try:
            self._notebook.write(self._note())
        except EdgeError as error:
            if self._kept:
                log.warning("the break would not outlast a restart now: %s", error)
            self._kept = False
        else:
            self._kept = True

    def _keep(self) -> None:
        """Write again what the disk would not take, or what a damaged spool has lost since."""
        if self._notebook is None or not self._writing.acquire(blocking=False):
            return  # whoever writes now may wait for the disk: the watch does not wait with them
        try:
            try:
                lost = self._notebook.read() != self._note()
            except EdgeError:
                lost = True
            if lost or not self._kept:
                self._write_now()
        finally:
            self._writing.release()

    def _note(self) -> str | None:
        with self._lock:
            on, untold = self.on, self._untold
        if on is None and not untold:
            return None
        return msgspec.json.encode(_Note(self._boot_id, on, untold)).decode()

    def _take_up(self) -> None:
        if self._notebook is None:
            return
        try:
            text = self._notebook.read()
            note = _read(text) if text else _Note("", None, ())
        except EdgeError as error:
            log.warning("whether a break was on cannot be read, so there is none: %s", error)
            return
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            # Such as another version's: nobody is looked at who may be on one.
            log.warning("%s, so a whole one begins: %s", UNREADABLE, error)
            self.start(UNREADABLE, BreakBy.LOCAL)
            return
        self._untold = note.untold
        if note.on is not None:
            same_boot = bool(self._boot_id) and note.boot_id == self._boot_id
            self.on = steps.restore(note.on, self._now(), same_boot=same_boot)
            self.begun = 1
            self._write()
            log.info("the break that was on goes on")
        self.turn()


def _read(text: str) -> _Note:
    """Read what `Breaks` wrote. Raises ValueError for what no break can be, and msgspec's own."""
    note = msgspec.json.decode(text, type=_Note)
    for on in (note.on, *(change.on for change in note.untold)):
        if on is not None and (on.started_at.tzinfo is None or not 0.0 <= on.max_s <= _DAY_S):
            raise ValueError("wanted a start with a time zone, and an end within a day")
    return note
