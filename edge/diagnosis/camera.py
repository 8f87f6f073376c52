"""Whether the camera is there, gives frames, and can be believed: from numbers alone, never a picture."""

from collections.abc import Callable

from edge.diagnosis.camera_there import PRESENCE
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.diagnosis.glimpse import glimpse
from edge.diagnosis.seen import NotSeen, Seen
from edge.uplink.messages import Capture
from edge.vision.limits import DARK_GREY, FROZEN_AFTER_S, SOFT_FLOOR
from edge.vision.types import Blind

WANTED_HZ, HALF_HZ, LEAST_HZ = 10.0, 5.0, 1.0
"""The watch looks ten times a second; with fewer than one the rules' seconds cannot be told."""
DIM_GREY = 40.0
"""The level that a quarter of the picture exceeds: of 298 photos one lies under it, and at 13
a model finds a third fewer people than in daylight (`edge/vision/tamper.py`)."""
GLARE_SHARE, WASHED_OUT_SHARE, WHITE_SHARE = 0.25, 0.6, 0.9
"""Of the picture that is burnt out: a window or lamp in it; nothing is left where the rest is without detail;
nothing is left whatever the rest. Of 298 photos half have none, and 2, 0.7 and 0 % as much as this."""
_OLD_S = 5.0


def probe_present(patient: Patient) -> Verdict:
    """Look for the camera without opening it; of a unit that runs, ask what came of opening it."""
    if patient.config is None:
        return skipped("unit.toml cannot be read")
    table = patient.config.camera
    there = PRESENCE[table.kind](patient, table)
    if there.code:
        return there
    fault = None
    if patient.facts is not None:
        if patient.facts.get("capture.state") == Capture.CAMERA_FAULT:
            fault = str(patient.facts.get("capture.reason") or patient.facts.get("camera.fault"))
    elif not isinstance(found := glimpse(patient), Seen):
        fault = found.fault
    if fault is None:
        return there
    return failed("busy" if "held by another program" in fault else "gives-no-frame", fault, there.limit)


def _seeing(judge: Callable[[Seen, Patient], Verdict]) -> Callable[[Patient], Verdict]:
    """Make a probe of what judges what was seen: it says how old that is, and skips where nothing was."""

    def probe(patient: Patient) -> Verdict:
        seen = glimpse(patient)
        if isinstance(seen, NotSeen):
            return skipped(seen.why)
        found = judge(seen, patient)
        if seen.age_s <= _OLD_S:
            return found
        return Verdict(found.status, f"{found.value} ({_ago(seen.age_s)})", found.limit, found.code)

    return probe


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _rate(seen: Seen, patient: Patient) -> Verdict:
    if seen.rate_hz is None:
        return skipped("fewer than two frames came: look again in ten seconds")
    replayed = patient.config is not None and patient.config.camera.kind == "replay"
    value, limit = f"{seen.rate_hz:.1f} frames/s", f"about {WANTED_HZ:.0f} frames/s"
    if replayed:
        limit = "as the footage has them, at least 1 frame/s"
    if seen.rate_hz < LEAST_HZ:
        return failed("too-few-frames", value, limit)
    return (
        warned("few-frames", value, limit)
        if seen.rate_hz < HALF_HZ and not replayed
        else passed(value, limit)
    )


def _frozen(seen: Seen, _patient: Patient) -> Verdict:
    within = f"changes within {FROZEN_AFTER_S:.0f} s" if seen.learned else "changes within 2 s"
    value = f"unchanged for {seen.still_s:.0f} s"
    return failed("frozen", value, within) if Blind.FROZEN in seen.blind else passed(value, within)


def _black(seen: Seen, _patient: Patient) -> Verdict:
    level = seen.figures.brightness
    if level is None:
        return _masked(seen)
    value, limit = f"brightness {level:.0f} of 255", f"{DARK_GREY:.0f} or more"
    return failed("black", value, limit) if _is_dark(seen) else passed(value, limit)


def _covered(seen: Seen, _patient: Patient) -> Verdict:
    contrast = seen.figures.contrast
    if contrast is None:
        return _masked(seen)
    if _is_dark(seen):
        return skipped("too dark to tell: see camera.black")
    if _is_washed_out(seen):
        return skipped("too bright to tell: see camera.exposure")
    value, limit = f"contrast {contrast:.1f}", "a picture with something in it"
    return failed("covered", value, limit) if Blind.COVERED in seen.blind else passed(value, limit)


def _exposure(seen: Seen, _patient: Patient) -> Verdict:
    level, white = seen.figures.brightness, seen.figures.white
    if level is None or white is None:
        return _masked(seen)
    if _is_dark(seen):
        return skipped("too dark to tell: see camera.black")
    value = f"brightness {level:.0f} of 255, {white:.0%} burnt out"
    limit = f"{DIM_GREY:.0f} or more, under {GLARE_SHARE:.0%} burnt out"
    if _is_washed_out(seen):
        return failed("washed-out", value, limit)
    if white >= GLARE_SHARE:
        return warned("glare", value, limit)
    return warned("dim", value, limit) if level < DIM_GREY else passed(value, limit)


def _defocused(seen: Seen, _patient: Patient) -> Verdict:
    sharpness = seen.figures.sharpness
    if sharpness is None:
        return _blinded(seen)
    floor = f"{SOFT_FLOOR} or more"
    limit = (
        f"{floor}, and half of what it was"
        if seen.learned
        else f"{floor}; how sharp it was before is not known"
    )
    value = f"sharpness {sharpness:.2f}"
    return failed("blurred", value, limit) if Blind.DEFOCUSED in seen.blind else passed(value, limit)


def _moved(seen: Seen, _patient: Patient) -> Verdict:
    if not seen.learned:
        return skipped("only a unit that runs knows the view from before")
    if seen.figures.sharpness is None:
        return _blinded(seen)
    limit = "the view that the unit has learned"
    return (
        warned("moved", "another view", limit)
        if Blind.MOVED in seen.blind
        else passed("the same view", limit)
    )


def _is_dark(seen: Seen) -> bool:
    level = seen.figures.brightness
    return level is not None and (level < DARK_GREY or Blind.DARK in seen.blind)


def _is_washed_out(seen: Seen) -> bool:
    white = seen.figures.white or 0.0
    return white >= (WASHED_OUT_SHARE if Blind.COVERED in seen.blind else WHITE_SHARE)


def _blinded(seen: Seen) -> Verdict:
    why = ", ".join(sorted(seen.blind)) or "not measured yet"
    return skipped(f"nothing to tell by: {why}")


def _masked(seen: Seen) -> Verdict:
    if Blind.MASKED in seen.blind:
        return skipped("the policy's masks leave too little of the picture: have them made smaller")
    return _blinded(seen)


_LOOK_LIMIT_S = 45.0
"""To open a camera that hangs, look for three seconds, and close it."""

CHECKS = (
    Check(
        "camera.present",
        probe_present,
        {
            "no-footage": "Correct `camera.source` in unit.toml: the file or folder is not there, or may "
            "not be read.",
            "absent": "Plug the camera in anew, into a port of the Pi itself, and look which /dev/video "
            "there is; correct "
            "`camera.device` in unit.toml.",
            "not-a-camera": "Name another device: a camera often has two, and the one with the lower "
            "number gives the "
            "pictures: `camera.device` in unit.toml.",
            "not-permitted": "Add the unit's user to the group of the device, usually video, and restart: "
            "usermod -aG video deskwatch; systemctl restart deskwatch",
            "no-sensor": "Switch off, seat the ribbon cable anew at both ends (contacts to the contacts, "
            "latch down), switch "
            "on. Then another cable, another camera.",
            "busy": "Another program holds the camera: stop it (fuser -v /dev/video*). If none does, "
            "restart the unit.",
            "gives-no-frame": "It is there and gives no picture: seat its cable anew and switch off and "
            "on; then another "
            "cable, a stronger supply, another camera.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.rate",
        _seeing(_rate),
        {
            "too-few-frames": "Hardly a frame comes. See model.latency first; then the light (a dark room "
            "slows a camera), "
            "the cable, and for USB a port without a hub.",
            "few-frames": "Frames come slowly: more light in the room, a USB port without a hub, and look "
            "at model.latency.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.frozen",
        _seeing(_frozen),
        {
            "frozen": "The camera repeats one picture: systemctl restart deskwatch. If it comes back, seat "
            "the cable anew "
            "or exchange the camera.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.black",
        _seeing(_black),
        {
            "black": "It sees black: take off cap, shutter, tape or what else covers the lens, and switch "
            "a light on.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.covered",
        _seeing(_covered),
        {
            "covered": "Something lies over the lens, or it looks at a bare wall: take off tape, foil or "
            "dust cover, wipe "
            "the lens, and point it at the desk.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.exposure",
        _seeing(_exposure),
        {
            "washed-out": "All is white: turn the camera away from the window or lamp, or draw the curtain.",
            "glare": "A window or a lamp shines into the lens: turn the camera away from it, draw the "
            "curtain, or lower the "
            "lamp.",
            "dim": "It is dim: switch a lamp on that lights the desk, not the lens.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.defocused",
        _seeing(_defocused),
        {
            "blurred": "Out of focus: wipe the lens with a soft cloth, take off its protective film, turn "
            "its ring until "
            "`deskwatch aim` shows the highest sharpness.",
        },
        _LOOK_LIMIT_S,
    ),
    Check(
        "camera.moved",
        _seeing(_moved),
        {
            "moved": "Somebody turned or shifted the camera: line it up again with `deskwatch aim`. A view "
            "that stays is "
            "learned within a minute or two.",
        },
        _LOOK_LIMIT_S,
    ),
)
