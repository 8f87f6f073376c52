"""A repair: from its begin to its end the camera stays closed, over restarts too.

A technician begins one who opens the box; the unit begins one by itself where it finds that it was tampered
with. What was noted and cannot be read is taken for a repair that is on.
"""

import logging
from contextlib import suppress
from threading import Lock

from edge.errors import EdgeError
from edge.notebook import NotKept, NotReadable, TwoPlaces

REASON_CHARS = 256
UNREADABLE = "what was noted of a repair cannot be read"

log = logging.getLogger(__name__)


class RepairError(EdgeError):
    """There is no repair to end: nothing to do; the unit's state says why the camera is closed."""


class RepairNotKept(RepairError):
    """The disk did not take it: free space, or mount it writable, then do the same again."""


class Repair:
    """Whether the unit is blocked, and why. Safe to use from several threads."""

    def __init__(self, kept: TwoPlaces) -> None:
        """Take up the repair that was on."""
        self._store = kept
        self._lock = Lock()
        self._owed = False
        """It is blocked, and the disk does not say so."""
        self._read = True
        """What was noted could be read, or was written since."""
        self._why: str | None = None
        self._load()

    @property
    def why(self) -> str | None:
        """Why the camera stays closed; None: no repair is on."""
        return self._why

    @property
    def kept(self) -> bool:
        """Whether a restart would know of it."""
        return not self._owed

    def begin(self, reason: str) -> None:
        """Block the unit, at once and over a restart; a further reason is added to the first.

        Raises RepairNotKept where it is blocked, but would not be after a restart; `turn` tries again.
        """
        reason = reason.encode("utf-8", "replace").decode().strip() or "no reason given"
        with self._lock:
            before, self._why = self._why, _joined(self._why, reason)
            if self._why == before and not self._owed:
                return
            log.warning("blocked until `deskwatch repair --done`: %s", self._why)
            try:
                self._write(self._why)
            except NotKept as error:
                self._owed = True
                raise RepairNotKept(
                    f"blocked: the camera stays closed, but that would not outlast a restart: {error}"
                ) from error

    def end(self) -> None:
        """Unblock the unit. Raises RepairError where it is not blocked, RepairNotKept where it stays so."""
        with self._lock:
            if self._why is None:
                raise RepairError("wanted a repair that is on, got none")
            try:
                self._write(None)
            except NotKept as error:
                raise RepairNotKept(
                    f"wanted it noted that the repair is done; the camera stays closed: {error}"
                ) from error
            log.warning("the repair is done; it was: %s", self._why)
            self._why = None

    def turn(self) -> None:
        """Try again what the disk would not take or give. To be called about once a second."""
        if self._read and not self._owed:
            return
        with self._lock:
            if self._owed:
                with suppress(NotKept):
                    self._write(self._why)
            elif not self._read:
                self._load()

    def _load(self) -> None:
        try:
            self._why = self._store.read_both()
        except NotReadable as error:
            if self._read:
                log.error("%s: %s", UNREADABLE, error)
            self._why, self._read = UNREADABLE, False
        else:
            self._read = True
            if self._why is not None:
                log.warning("blocked until `deskwatch repair --done`: %s", self._why)

    def _write(self, text: str | None) -> None:
        self._store.write(text)
        self._owed, self._read = False, True


def _joined(why: str | None, reason: str) -> str:
    """Add a reason to those there are, once."""
    if why is not None and why != UNREADABLE:
        if reason in why.split("; "):
            return why
        reason = f"{why}; {reason}"
    return reason if len(reason) <= REASON_CHARS else f"{reason[: REASON_CHARS - 1]}…"
