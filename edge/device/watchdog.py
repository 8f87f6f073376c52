"""Whether the unit still does its work, for the capture state that it is in. Pure.

What is asked is progress, not success: a full disk, a camera that is gone and a broker that is away are told
as what they are, and a restart would mend none of them. Off shift, on a break, or whatever else has the
camera closed, a loop that turns is all that there is to do.
"""

from dataclasses import dataclass
from typing import Final

from edge.uplink.messages import Capture

TURN_LIMIT_S: Final = 60.0
"""The longest turn is one that opens a camera that hangs, and closes it: 45 s (systemd/deskwatch.service)."""
FRAME_LIMIT_S: Final = 60.0
"""A camera that gives no frame for 5 s is a camera fault, which is another state."""
INFERENCE_LIMIT_S: Final = 60.0
"""The same picture is looked at anew every few seconds."""
SPOOL_LIMIT_S: Final = 60.0
"""The uplink's thread passes by the spool once a second; mending a damaged spool takes it a while."""

LOOKING = (Capture.WATCHING, Capture.BLOCKED)
"""States in which frames come and are looked at."""


@dataclass(frozen=True, slots=True)
class Progress:
    """When what was done last. Monotonic seconds."""

    capture: Capture
    since_s: float
    """When the capture state began to be one in which frames come, or ceased to be."""
    turn_s: float
    """When the watch's loop last came round."""
    rest_until_s: float
    """Until when it meant to wait then; before `turn_s`: it did not mean to."""
    spool_s: float
    """When the uplink's thread was last past the spool."""
    frame_s: float | None = None
    inference_s: float | None = None


def stalled(progress: Progress, now_s: float) -> str | None:
    """Return what has not gone on in time; None: all has."""
    due = [
        ("the watch's loop has not come round", max(progress.turn_s, progress.rest_until_s), TURN_LIMIT_S),
        ("the uplink's loop has not been past the spool", progress.spool_s, SPOOL_LIMIT_S),
    ]
    if progress.capture in LOOKING:
        since_s = progress.since_s
        due.append(("no frame has come", max(since_s, progress.frame_s or since_s), FRAME_LIMIT_S))
        due.append(
            ("the model has not run", max(since_s, progress.inference_s or since_s), INFERENCE_LIMIT_S)
        )
    for what, last_s, limit_s in due:
        if now_s - last_s > limit_s:
            return (
                f"{what} for {now_s - last_s:.0f} s, wanted within {limit_s:.0f} s, while {progress.capture}"
            )
    return None
