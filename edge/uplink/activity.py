"""`activity`: the workstation's beats, by which the `idle` rule knows that somebody works.

A unit that gets no beats reports no idle, so only time in which one could have come counts as quiet: not a
break, not the time outside the shift, not while the broker is out of reach. (A link that is dead and not yet
known to be, for one and a half keepalives at most, does count.)
"""

import datetime as dt
from collections.abc import Callable
from threading import Lock

from edge.clock import Clock
from edge.uplink.command_messages import CommandError, decode_activity
from edge.uplink.inbox import Refusal
from edge.uplink.signals import Received
from edge.uplink.wire import InvalidMessage, moment, timestamp

MAX_BEAT_BYTES = 1024
NEAR = dt.timedelta(minutes=5)
"""A beat's time may be so far from the unit's own."""


class Beats:
    """When the workstation was last active. `take` is the inbox's handler; the watch reads `last_beat_s`."""

    def __init__(self, clock: Clock, synchronised: Callable[[], bool]) -> None:
        self._clock, self._synchronised = clock, synchronised
        self._lock = Lock()
        self._last_at: dt.datetime | None = None
        self._beat_s: float | None = None
        self._unlinked_s: float | None = None
        self.last_beat_s: float | None = None
        """Monotonic seconds, moved past all time that does not count as quiet; None: nobody tells."""

    def take(self, message: Received) -> None:
        """Note a beat. Raises Refusal for one that is retained, not a beat, stale, or seen before."""
        if message.retain:
            raise Refusal(CommandError.RETAINED, "$", "wanted a beat that is not retained")
        if len(message.payload) > MAX_BEAT_BYTES:
            got = f"wanted at most {MAX_BEAT_BYTES} bytes, got {len(message.payload)}"
            raise Refusal(CommandError.INVALID, "$", got)
        try:
            at = moment(decode_activity(message.payload).at)
        except InvalidMessage as error:
            raise Refusal(CommandError.INVALID, "$.at", str(error)) from error
        now_at, synchronised = self._clock.now_at(), self._synchronised()
        if synchronised and abs(at - now_at) > NEAR:
            wanted = f"wanted a time within 5 minutes of {timestamp(now_at)}"
            raise Refusal(CommandError.EXPIRED, "$.at", f"{wanted}, got {timestamp(at)}")
        with self._lock:
            # What was taken while the unit did not know the time is no measure once it does.
            last_at = self._last_at
            if last_at is not None and at <= last_at and not (synchronised and last_at > now_at + NEAR):
                wanted = f"wanted a time after the last beat's, {timestamp(last_at)}"
                raise Refusal(CommandError.REPLAYED, "$.at", f"{wanted}, got {timestamp(at)}")
            self._last_at = at
            self._beat_s = self._clock.now_s()
            self._unlinked_s = None
            self.last_beat_s = self._beat_s

    def link(self, *, connected: bool) -> None:
        """Take whether the broker is in reach; to be called about once a second."""
        if connected is (self._unlinked_s is None):
            return
        with self._lock:
            now_s = self._clock.now_s()
            if not connected:
                self._unlinked_s, self.last_beat_s = now_s, None
            elif self._unlinked_s is not None:
                self._move(self._unlinked_s, now_s)
                self._unlinked_s, self.last_beat_s = None, self._beat_s

    def skip(self, since_s: float, until_s: float) -> None:
        """Take a time out of the quiet: nobody watched."""
        with self._lock:
            self._move(since_s, until_s)
            if self._unlinked_s is None:
                self.last_beat_s = self._beat_s

    def _move(self, since_s: float, until_s: float) -> None:
        """Put the last beat as long before `until_s` as it was before `since_s`."""
        if self._beat_s is not None and self._beat_s < until_s:
            self._beat_s = until_s - max(0.0, since_s - self._beat_s)
