"""How much of the worker's log somebody afar may use up: a burst, and then one at a time.

The log is bounded, and old entries give way. Whoever could have the unit write as fast as messages come would
push out within minutes what it says of their own looks. So a restart, which they may cause, fills none up.
"""

from collections.abc import Callable
from contextlib import suppress

from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool


class Allowance:
    """A token bucket. One thread at a time."""

    def __init__(
        self,
        at_once: int,
        every_s: float,
        now_s: Callable[[], float],
        kept: "KeptAllowance | None" = None,
    ) -> None:
        """`at_once`, then one `every_s`; `kept` is where a run before this one noted what it left."""
        self._at_once, self._every_s, self._now_s, self._kept = float(at_once), every_s, now_s, kept
        self._left, self._at_s = self._at_once, now_s()
        if kept is not None and (found := kept.read()) is not None:
            self._left, self._at_s = min(self._at_once, found[0]), min(self._at_s, found[1])

    def spend(self) -> bool:
        """Return whether one more may be had now."""
        now_s = self._now_s()
        self._left = min(self._at_once, self._left + (now_s - self._at_s) / self._every_s)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        if self._kept is not None:
            self._kept.write(self._left, now_s)
        return True


class KeptAllowance:
    """What is left of an allowance, as a note of the spool: good for one boot, by its monotonic clock."""

    def __init__(self, spool: Spool, name: str, boot_id: str | None) -> None:
        self._spool, self._name, self._boot_id = spool, f"allowance-{name}", boot_id

    def read(self) -> tuple[float, float] | None:
        """Return what was left and when; None where this boot noted nothing that reads."""
        text = None
        with suppress(SpoolError):
            text = self._spool.noted(self._name)
        boot_id, _, rest = (text or "").partition(" ")
        if self._boot_id is None or boot_id != self._boot_id:
            return None
        try:
            left, at_s = map(float, rest.split())
        except ValueError:
            return None
        return max(0.0, left), at_s

    def write(self, left: float, at_s: float) -> None:
        """Note what is left; a disk that takes no note is no reason to refuse anything."""
        if self._boot_id is not None:
            with suppress(SpoolError):
                self._spool.note(self._name, f"{self._boot_id} {left:.3f} {at_s:.3f}")
