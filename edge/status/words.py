"""What a unit does, and what raises its alarms, in words for whoever stands beside it."""

from typing import Final

from edge.policy.schedule import Off
from edge.uplink.messages import AlarmCode, Capture

CAPTURES: Final[dict[str, tuple[str, str]]] = {
    Capture.STARTING: ("is starting", "it has looked at nothing yet"),
    Capture.WATCHING: ("is watching", "it is in the shift that its policy tells"),
    Capture.AIMING: ("has its camera open to be lined up", "the worker agreed, at the button"),
    Capture.BETWEEN_CHECKS: ("waits for the next spot check, camera closed", "its policy tells spot checks"),
    Capture.OFF_SHIFT: ("is off shift, camera closed", "its policy does not let it look now"),
    Capture.BREAK: ("is on a break, camera closed", "the worker takes a break"),
    Capture.BLOCKED: ("is watching and cannot see", "its camera is covered, dark, out of focus or moved"),
    Capture.NOTICE: ("waits, camera closed", "the notice is not accepted: deskwatch notice --accept"),
    Capture.LED_FAULT: (
        "has its camera closed",
        "its light does not work: deskwatch diagnose --only 'light.*'",
    ),
    Capture.REPAIR: ("is blocked for a repair, camera closed", "when done: deskwatch repair --done"),
    Capture.SAFE_MODE: (
        "is in safe mode, camera closed",
        "it failed again and again: deskwatch diagnose --only 'service.*'",
    ),
    Capture.CAMERA_FAULT: (
        "has no picture",
        "its camera does not work: deskwatch diagnose --only 'camera.*'",
    ),
    Capture.STOPPED: ("was stopped", "to start it: sudo systemctl start deskwatch"),
    Capture.UNKNOWN: ("went away", ""),
}
"""By what the camera is doing: what the unit does, and why."""

REASONS: Final[dict[str, str]] = {
    Off.POLICY_NOT_YET.value: "by its clock the policy is not valid yet: deskwatch diagnose --only 'clock.*'",
    Off.POLICY_EXPIRED.value: "its policy has expired: push a newer one, and see that the clock is right",
}
"""What stands in `capture.reason` as a code, in words."""

ALARMS: Final[dict[AlarmCode, tuple[str, str]]] = {
    AlarmCode.DEAD_LETTERS: (
        "The broker refused messages: they wait here",
        "See why: deskwatch diagnose --only 'broker.*'; check the broker's access list for this unit.",
    ),
    AlarmCode.SPOOL_SALVAGED: (
        "What waits to be sent was damaged, and mended",
        "Look at the card: deskwatch diagnose --only 'disk.*'. If it comes again, change the card.",
    ),
    AlarmCode.SPOOL_UNWRITABLE: (
        "Events cannot be written to the disk",
        "See why: deskwatch diagnose --only 'disk.*'; make room, or change the card.",
    ),
    AlarmCode.DISK_FULL: (
        "The disk is full: pictures give way",
        "See what takes the room: sudo du -xh / | sort -h | tail; and delete what is not the unit's.",
    ),
    AlarmCode.CLOCK_UNSYNCHRONISED: (
        "The unit does not know the time",
        "See why: deskwatch diagnose --only 'clock.*'; let it reach a time server (UDP port 123).",
    ),
    AlarmCode.INGESTER_SILENT: (
        "The ingester acknowledges nothing: events stay here",
        "Start the ingester, or set uplink.release to puback if there is none.",
    ),
    AlarmCode.NO_INDICATOR: (
        "There is no light that shows when the camera is open",
        "Wire one, and name its pin as led.pin in unit.toml (docs/wiring.md).",
    ),
    AlarmCode.INDICATOR_FAILED: (
        "The light does not work: the camera stays closed",
        "Check its wires and the LED: deskwatch diagnose --only 'light.*'.",
    ),
    AlarmCode.CAMERA_HELD: (
        "A driver that hangs may hold the camera",
        "Restart the unit: sudo systemctl restart deskwatch; if it hangs again, unplug the camera once.",
    ),
    AlarmCode.NO_BUTTON: (
        "There is no break button, or it cannot be read",
        "Wire one, and name its pin as button.pin in unit.toml (docs/wiring.md).",
    ),
    AlarmCode.LOG_UNWRITABLE: (
        "The worker's log cannot be written: nothing leaves the unit",
        "See why: deskwatch diagnose --only 'disk.*'; make room, or change the card.",
    ),
    AlarmCode.POWER: (
        "The power supply is too weak",
        "Use the supply that came with it (5 V, 2.5 A), and a short cable.",
    ),
    AlarmCode.TOO_HOT: (
        "The processor is too hot, and slowed down",
        "Give it air: out of the sun, away from a heater, slots uncovered.",
    ),
    AlarmCode.CERTIFICATE_EXPIRES: (
        "The certificate is about to expire, or has",
        "Renew it: sudo deskwatch provision --request; have it signed; then --certificate FILE.",
    ),
    AlarmCode.CERTIFICATE_REFUSED: (
        "The broker does not take the newest certificate",
        "Check who signed it: sudo deskwatch provision --check; or go back: --revert.",
    ),
}
"""By the code of an alarm: what is wrong, and what to do about it."""
