"""What the camera shows: as the running unit says, or by a look of our own, once for all checks."""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from edge.clock import Clock
from edge.config import Config
from edge.diagnosis.check import Patient
from edge.diagnosis.seen import NotSeen, Seen
from edge.facts import Facts
from edge.uplink.messages import Capture
from edge.vision.types import Blind, Figures

if TYPE_CHECKING:
    from edge.capture.frame import Camera

_BESIDE_S = 0.5
"""A look that took too long still goes on: it is not waited for a second time."""

_looking = Lock()


def glimpse(patient: Patient, opened: "Callable[[Config, Clock], Camera] | None" = None) -> Seen | NotSeen:
    """Return what there is to see, of one look for all checks. `opened` makes the camera, closed."""
    if patient.facts is not None:
        return _told(patient.facts)
    if not _looking.acquire(timeout=_BESIDE_S):
        return NotSeen("the look that was begun before has not ended")
    try:
        if "glimpse" not in patient.found:
            # Only who looks needs what that takes: OpenCV is a third of a diagnosis that asks the unit.
            from edge.diagnosis.permitted_look import look

            patient.found["glimpse"] = look(patient, opened)
        seen = patient.found["glimpse"]
    finally:
        _looking.release()
    assert isinstance(seen, Seen | NotSeen)
    return seen


def _told(facts: Facts) -> Seen | NotSeen:
    """Return what the unit saw last, and how long ago."""
    blind, state = facts.get("camera.blind"), str(facts.get("capture.state"))
    if state == Capture.CAMERA_FAULT:
        return NotSeen("the camera gives no picture: see camera.present", str(facts.get("capture.reason")))
    if not isinstance(blind, str):
        return NotSeen(f"not looked yet since the start: {state}")
    named = [each for each in blind.split(",") if each]
    if not set(named) <= set(Blind):
        return NotSeen("the unit, of another version, says of it what this version does not know: restart it")
    numbers = {name: _number(facts, f"camera.{name}") for name in Figures.__dataclass_fields__}
    return Seen(
        Figures(**numbers),
        frozenset(map(Blind, named)),
        _number(facts, "camera.still_s") or 0.0,
        _number(facts, "watch.rate_hz"),
        _number(facts, "camera.frame_age_s") or 0.0,
    )


def _number(facts: Facts, name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else None
