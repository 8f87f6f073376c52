"""The worker's side: light and button, the notice, a repair, the worker's log."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from edge.config import Config
from edge.device.indicator import Button, Indicator
from edge.diagnosis.behind import (
    LOG_CHANGED,
    notice_of,
    told_repair,
    unit_that_holds,
    unreadable,
)
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.notebook import NotReadable
from edge.pins import make_hardware
from edge.policy.gate import Signal
from edge.state_folder import LOG_FOLDER
from edge.uplink.messages import AlarmCode
from edge.worklog.reading import verify

BLINK_S = 0.6
"""Long enough for both levels of the light's fast blink."""
_LOOK_EVERY_S = 0.02
_NO_CONFIG = "unit.toml cannot be read"


def probe_light(patient: Patient) -> Verdict:
    """Ask the unit how its light is; where none runs, blink and read the pins back."""
    return _probe(patient, "led", _blink)


def probe_button(patient: Patient) -> Verdict:
    """Ask the unit how its button is; where none runs, take its pin and read it."""
    return _probe(patient, "button", _feel)


def _probe(patient: Patient, part: str, try_out: Callable[[Config], tuple[bool, str | None]]) -> Verdict:
    if patient.facts is not None:
        fitted, trouble = bool(patient.facts.get(f"{part}.fitted")), patient.facts.get(f"{part}.trouble")
    elif patient.config is None:
        return skipped(_NO_CONFIG)
    elif (holder := unit_that_holds(patient.config)) is not None:
        return skipped(holder)
    else:
        fitted, trouble = try_out(patient.config)
    if not fitted:
        return warned("not-fitted", f"{part}.pin in unit.toml names none", "fitted")
    return passed("works") if trouble is None else failed("broken", str(trouble), "works")


def _blink(config: Config) -> tuple[bool, str | None]:
    """Show for a moment that the camera is closed and somebody should see to it, which is so."""
    light: Indicator = make_hardware(config).indicator
    try:
        trouble = light.trouble()
        light.show(Signal.FAULT)
        until_s = time.monotonic() + BLINK_S
        while light.fitted and trouble is None and time.monotonic() < until_s:
            time.sleep(_LOOK_EVERY_S)
            trouble = light.trouble()
        return light.fitted, trouble
    finally:
        light.close()


def _feel(config: Config) -> tuple[bool, str | None]:
    hardware = make_hardware(config)
    hardware.indicator.close()  # it comes with the button
    if hardware.make_button is None:
        return False, None
    button: Button = hardware.make_button(_nothing, _nothing)
    try:
        return True, button.trouble()
    finally:
        button.close()


def _nothing() -> None:
    """Do nothing: a press means nothing where no unit runs."""


def probe_notice(patient: Patient) -> Verdict:
    """Look whether the worker has accepted the notice."""
    if patient.facts is not None:
        accepted = patient.facts.get("notice.accepted_at") is not None
    elif patient.config is None:
        return skipped(_NO_CONFIG)
    elif (why := unreadable(patient.config.paths.state)) is not None:
        return skipped(why)
    else:
        accepted = notice_of(patient.config).accepted
    return (
        passed("accepted") if accepted else warned("not-accepted", "not accepted", "accepted by the worker")
    )


def probe_repair(patient: Patient) -> Verdict:
    """Look whether the unit is blocked for a repair, and whether it found a reason for one itself."""
    if patient.facts is not None:
        reason = patient.facts.get("repair.reason")
    elif patient.config is None:
        return skipped(_NO_CONFIG)
    elif (why := unreadable(patient.config.paths.state)) is not None:
        return skipped(why)
    else:
        try:
            reason = told_repair(patient.config)
        except NotReadable:
            return skipped("cannot be told: what is noted of it in the spool cannot be read now")
    if reason is None:
        return passed("none is on")
    if LOG_CHANGED in str(reason):
        return failed("log-was-changed", "blocked: the worker's log was changed or is gone", "not blocked")
    return warned("in-repair", "blocked for a repair: the camera stays closed", "not blocked")


def probe_log(patient: Patient) -> Verdict:
    """Walk the worker's log, and look whether it can be written."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    if patient.inside:  # to walk all of it takes seconds, in which the watch would wait
        return skipped("verified at the unit's start; to walk it again, at the unit: deskwatch diagnose")
    folder, limit = patient.config.paths.state / LOG_FOLDER, "a log that is whole, and can be written"
    if (verdict := _without_folder(folder, limit, never=patient.facts is None)) is not None:
        return verdict
    if (
        alarm := next((one for one in patient.alarms if one.code is AlarmCode.LOG_UNWRITABLE), None)
    ) is not None:
        return failed("unwritable", f"the unit cannot write it: {alarm.detail}", limit)
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return failed("read-only", "its disk is mounted read-only", limit)
    try:
        found = verify(folder)
    except PermissionError:
        return skipped("not yours to read: run it with sudo")
    except OSError as error:
        return failed("damaged", f"a file of it cannot be read: {error.strerror}", limit)
    if found.problem is not None:
        return failed("damaged", found.problem, limit)
    return passed(f"whole, {found.entries} entries", limit)


def _without_folder(folder: Path, limit: str, *, never: bool) -> Verdict | None:
    """Tell of a log that has no folder, or one that cannot be read; None where it has one."""
    if (why := unreadable(folder.parent)) is not None:
        return skipped(why)
    if os.path.lexists(folder) and not folder.is_dir():
        return failed("damaged", "what stands in the place of its folder is none", limit)
    if (why := unreadable(folder)) is not None:
        return skipped(why)
    if not folder.is_dir():
        return skipped("no unit has run here yet") if never else failed("missing", "no worker's log", limit)
    return None


CHECKS = (
    Check(
        "light.works",
        probe_light,
        {
            "not-fitted": "Without a light nobody sees when the camera looks: fit one (docs/wiring.md) and "
            "set `led.pin`.",
            "broken": "The camera stays closed: check the LED, its resistor and its wires against "
            "`led.pin` in unit.toml "
            "(docs/wiring.md), and that the user is in the group gpio.",
        },
    ),
    Check(
        "button.works",
        probe_button,
        {
            "not-fitted": "Breaks can be taken with `deskwatch break` only: fit a button (docs/wiring.md), "
            "set `button.pin`.",
            "broken": "Check the button, its wires and `button.pin` and `button.pull_up` in unit.toml; one "
            "that is held "
            "down for long counts as stuck. Breaks: deskwatch break",
        },
    ),
    Check(
        "worker.notice",
        probe_notice,
        {
            "not-accepted": "The camera stays closed until the worker reads the notice (`deskwatch "
            "notice`) and accepts it: "
            "`deskwatch notice --accept`, or the button. Do not accept it for them.",
        },
    ),
    Check(
        "worker.repair",
        probe_repair,
        {
            "in-repair": "When the repair is finished: deskwatch repair --done",
            "log-was-changed": "Look with the worker at what was found: `deskwatch log`. A failing SD card "
            "looks the same: "
            "replace it. Then: deskwatch repair --done",
        },
    ),
    Check(
        "worker.log",
        probe_log,
        {
            "missing": "The log's folder is gone, so nothing leaves the unit: systemctl restart deskwatch; "
            "then see "
            "worker.repair.",
            "read-only": "A card that fails is mounted read-only: dmesg names the fault. Replace the card.",
            "unwritable": "Nothing leaves the unit until its log can be written: see disk.free and "
            "disk.writable. If both pass: systemctl restart deskwatch; if it stays, replace the SD card.",
            "damaged": "The unit sets it aside and blocks itself: look at it with the worker (`deskwatch "
            "log`), replace a "
            "failing SD card, then: deskwatch repair --done",
        },
        timeout_s=60.0,
    ),
)
