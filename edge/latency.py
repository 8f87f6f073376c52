"""How long something takes, and how often it comes: of the last few hundred, in bounded memory."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

LATENCIES_MAX = 600
"""A minute of inferences at ten a second."""
RATE_WINDOW_S = 10.0
_RATE_MAX = 2000


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `count` that were measured last: half, 95 and 99 in a hundred took no longer."""

    p50_s: float
    p95_s: float
    p99_s: float
    count: int


class Latencies:
    """The last `LATENCIES_MAX` of them. One thread adds, any thread asks."""

    def __init__(self) -> None:
        self._ring: deque[float] = deque(maxlen=LATENCIES_MAX)

    def add(self, seconds: float) -> None:
        """Take one more; the oldest gives way."""
        self._ring.append(seconds)

    def percentiles(self) -> Percentiles | None:
        """Return how long they took; None where there is none yet."""
        ranked = sorted(_snapshot(self._ring))
        if not ranked:
            return None
        return Percentiles(_at(ranked, 0.50), _at(ranked, 0.95), _at(ranked, 0.99), len(ranked))


class Rate:
    """How often frames come while a camera is open. One thread adds, any thread asks. Monotonic seconds."""

    def __init__(self) -> None:
        self._ring: deque[float] = deque(maxlen=_RATE_MAX)

    def add(self, now_s: float) -> None:
        """Take one more that came now."""
        self._ring.append(now_s)

    def restart(self) -> None:
        """Begin anew: the camera opens."""
        self._ring.clear()

    def hz(self, now_s: float | None = None) -> float | None:
        """Return how many came in each second of the last `RATE_WINDOW_S`; None where fewer than two came.

        Without `now_s` it is told as it was when the last one came: of a camera that has closed since. With
        it, of one that is open, it falls while none comes.
        """
        times = _snapshot(self._ring)
        if len(times) < 2:
            return None
        end_s = times[-1] if now_s is None else max(times[-1], now_s)
        recent = [at_s for at_s in times if at_s > end_s - RATE_WINDOW_S]
        # Between the first and the last of n frames lie n - 1 of their periods.
        begin_s = times[0] if len(recent) == len(times) else end_s - RATE_WINDOW_S
        passed_s = end_s - begin_s
        if len(recent) == len(times):
            return (len(recent) - 1) / passed_s if passed_s > 0.0 else None
        return len(recent) / passed_s


def _snapshot(ring: deque[float]) -> Sequence[float]:
    while True:
        try:
            return tuple(ring)
        except RuntimeError:  # it grew meanwhile, in another thread
            continue


def _at(ranked: Sequence[float], share: float) -> float:
    """Return the smallest that at least this share is no longer than (nearest rank)."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
