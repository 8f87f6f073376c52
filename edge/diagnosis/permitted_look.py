"""A look through the camera of a unit that does not run: only where the unit itself would look now."""

from collections.abc import Callable
from contextlib import closing

from edge.breaks import Breaks
from edge.cameras import make_camera
from edge.capture.frame import Camera, CameraError
from edge.clock import Clock
from edge.config import Config
from edge.diagnosis.behind import noted_break, policy_in_force, unit_that_holds, unreadable
from edge.diagnosis.check import Patient
from edge.diagnosis.own_look import OwnLook, scheduled
from edge.diagnosis.seen import NotSeen, Seen
from edge.errors import EdgeError
from edge.pins import make_hardware
from edge.policy.document import Policy
from edge.policy.schedule import Off, next_window
from edge.state_folder import LOG_FOLDER
from edge.vision.card import load_card
from edge.vision.model_file import find_card

CONSENT = "with the worker's consent: deskwatch aim"


def look(patient: Patient, opened: Callable[[Config, Clock], Camera] | None = None) -> Seen | NotSeen:
    """Look, where the unit itself would look now; or say why not. `opened` makes the camera, closed."""
    config = patient.config
    if config is None:
        return NotSeen("unit.toml cannot be read")
    why = _out_of_reach(config)
    policy = policy_in_force(config) if why is None else None
    if why is not None or policy is None:
        return NotSeen(why or "not looked: no policy is in force that could allow it")
    try:
        breaks = noted_break(config, policy, patient.clock)
        if (off := _closed_by(policy, breaks, patient.clock)) is not None:
            return NotSeen(off)
        card = load_card(find_card(config.model.card))
        hardware = make_hardware(config)
        with closing(hardware.indicator):
            return OwnLook(config, policy, card, breaks, hardware, patient.clock).take(opened or _camera)
    except CameraError as error:
        return NotSeen("the camera gives no picture: see camera.present", str(error))
    except EdgeError as error:
        return NotSeen(str(error))


def _out_of_reach(config: Config) -> str | None:
    if (why := unit_that_holds(config) or unreadable(config.paths.state)) is not None:
        return f"not looked: {why}"
    if not (config.paths.state / LOG_FOLDER).is_dir():  # one that was deleted must not begin anew by this
        return "not looked: there is no worker's log that could say so"
    return None


def _closed_by(policy: Policy, breaks: Breaks, clock: Clock) -> str | None:
    """Return why the unit itself would not look now, in words; None: it would, or would when asked to."""
    match scheduled(policy, breaks, clock):
        case None:
            return None
        case Off.BREAK:
            return f"not looked: the worker is on a break. {CONSENT.capitalize()}"
        case Off.OFF_SHIFT:
            window = next_window(policy, clock.now_at())
            until = "" if window is None else f" until {window.start_at.astimezone(policy.zone):%A %H:%M}"
            return f"not looked: off shift{until}"
        case off:
            return f"not looked: {off.value}"


def _camera(config: Config, clock: Clock) -> Camera:
    return make_camera(config.camera, clock)
