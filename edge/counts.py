"""What the watch has done so far, in numbers, for whoever asks how it goes."""

import math
from dataclasses import dataclass, field

from edge.latency import Latencies, Rate
from edge.vision.types import Blind, Figures

SPELL_S = 5.0
"""No run of the model is older than this while the unit watches: `edge.vision.scene.look`."""


@dataclass(frozen=True, slots=True)
class LastLook:
    """What the measures said of the last frame that was looked at: numbers, and no picture."""

    figures: Figures
    blind: frozenset[Blind]
    still_s: float
    """For how long not one pixel has changed."""


@dataclass(slots=True)
class Counts:
    """What the watch has done since it started. The watch's thread writes, any thread reads."""

    frames: int = 0
    inferences: int = 0
    spells: int = 0
    """Spells of `SPELL_S` in which the model ran: what is told of `inferences`. It runs at least once in
    each, and more often while somebody moves: told each minute, all its runs would be a meter of that."""
    camera_faults: int = 0
    frame_s: float | None = None
    """When the last frame was taken, and the model last ran on one. Monotonic seconds."""
    inference_s: float | None = None
    skipped: int = 0
    """Frames that were taken, and thrown away without a look at them as a whole: a break began, the gate
    closed, or the shift ended while they were on their way. They are not in `frames`."""
    latencies: Latencies = field(default_factory=Latencies)
    """From a frame to what is in it: pre-processing, model and decoding."""
    rate: Rate = field(default_factory=Rate)
    """Of frames that were looked at."""
    last: LastLook | None = None
    """None: nothing was looked at yet."""
    fault: str | None = None
    """What the camera failed of last."""
    spell_until_s: float = -math.inf

    def ran(self, now_s: float) -> None:
        """Count a run of the model."""
        self.inferences += 1
        if now_s >= self.spell_until_s:
            self.spells += 1
            self.spell_until_s = now_s + SPELL_S
