"""What the capture gate costs a frame: the light read back, notice and repair asked, the step taken."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edge.bench.footage import START_AT
from edge.capture.standin import StandInCamera, plain
from edge.clock import SteppedClock
from edge.device.light import Light
from edge.notice import Notice
from edge.policy.breaks import BreakBy
from edge.shutter import Shutter

TURNS = 20_000


class _Lamp:
    """A lamp without pins: what reading a real one costs comes on top."""

    def __init__(self) -> None:
        self._lit = False

    def take(self) -> None:
        """Be dark."""

    def put(self, lit: bool) -> None:
        """Be lit or dark."""
        self._lit = lit

    def fault(self, lit: bool) -> str | None:
        """Be as it was put."""
        return None if lit is self._lit else "wanted another level"

    def release(self) -> None:
        """Be dark."""


@dataclass(frozen=True, slots=True)
class GateCost:
    """The gate's part of a frame: one turn, and twice the question whether something forbids it by now."""

    turns: int
    gate_ms: float
    """Median."""


def gate_cost() -> GateCost:
    """Turn an open shutter again and again; its camera gives no frame."""
    clock = SteppedClock(START_AT)
    with tempfile.TemporaryDirectory(prefix="deskwatch-bench-") as folder:
        notice, light = Notice(Path(folder)), Light(_Lamp())
        notice.accept(notice.version, BreakBy.LOCAL, clock.now_at())
        shutter = Shutter(
            StandInCamera(clock, plain((0, 0, 0))),
            indicator=light,
            accepted=lambda: notice.accepted,
            repair=lambda: None,
        )
        try:
            shutter.turn(None)
            taken_s = [_turn(shutter) for _ in range(TURNS)]
        finally:
            shutter.close()
            light.close()
    return GateCost(TURNS, round(statistics.median(taken_s) * 1000, 4))


def _turn(shutter: Shutter) -> float:
    began_s = time.perf_counter()
    shutter.turn(None)
    shutter.called_off()
    shutter.called_off()
    return time.perf_counter() - began_s
