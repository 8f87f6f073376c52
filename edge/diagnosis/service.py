"""Whether the unit runs, how often it had to be started anew, and whether its watchdog is content."""

import datetime as dt
import subprocess
from collections.abc import Mapping

import msgspec

from edge.control.client import ControlDenied, ControlSilent
from edge.control.protocol import NotUnderstood
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.uplink.messages import Capture

UNIT, SAFE = "deskwatch.service", "deskwatch-safe.service"
RESTARTS_MAX = 2
"""A power supply that dips, a camera that is pulled: once or twice is no pattern."""
_PROPERTIES = (
    "LoadState,ActiveState,Result,NRestarts,ExecMainStatus,WatchdogUSec,WatchdogTimestampMonotonic,StatusText"
)
_ASK_S = 4.0
_TO_START = "sudo systemctl reset-failed deskwatch; sudo systemctl start deskwatch"
_READ_LOG = "sudo journalctl -b -u deskwatch -p err"


def probe_running(patient: Patient) -> Verdict:
    """Whether the unit answers, and not in safe mode."""
    wanted = "a unit that answers"
    if patient.facts is not None:
        told = patient.facts.get("capture.state") == Capture.SAFE_MODE.value
        if told or patient.facts.get("unit.safe"):
            why = patient.facts.get("capture.reason") if told else None  # else it is a break's, or another's
            return failed("safe-mode", f"in safe mode{f': {why}' if why else ''}", "not in safe mode")
        up_s = patient.facts.get("unit.up_s")
        return passed(f"up {_span(up_s)}" if isinstance(up_s, int | float) else "runs", wanted)
    return _unheard(patient, wanted)


def _unheard(patient: Patient, wanted: str) -> Verdict:
    match patient.trouble:
        case ControlDenied():
            return warned("denied", "not yours to ask", wanted)
        case ControlSilent():
            return failed("silent", "does not answer", wanted)
        case NotUnderstood():
            return failed("other-version", "another version answers", "the version of this command")
    if patient.config is None:
        return skipped("where to ask stands in unit.toml, which cannot be used")
    return failed("not-running", "does not run", wanted)


def probe_restarts(patient: Patient) -> Verdict:
    """How often the service manager had to start it anew."""
    shown = _shown(patient)
    if isinstance(shown, str):
        return skipped(shown)
    restarts, result = int(shown.get("NRestarts") or 0), shown.get("Result", "")
    ended = f"{result}, exit code {shown.get('ExecMainStatus', '?')}" if result == "exit-code" else result
    wanted = f"at most {RESTARTS_MAX}"
    if shown.get("ActiveState") == "failed":
        return failed("gave-up", f"given up after {restarts} restarts: {ended}", wanted)
    value = f"{restarts} restart{'' if restarts == 1 else 's'}"
    return warned("often", value, wanted) if restarts > RESTARTS_MAX else passed(value, wanted)


def probe_watchdog(patient: Patient) -> Verdict:
    """Whether the service manager is told that all goes on, and when it last ended a unit that hung."""
    shown = _shown(patient)
    if isinstance(shown, str):
        return skipped(shown)
    limit_s = _microseconds(shown.get("WatchdogUSec", "0"))
    bites = _bites()
    if bites:
        times = f"{len(bites)} times" if len(bites) > 1 else "once"
        return warned("bitten", f"ended it {times} since boot, last {bites[-1]:%d %b %H:%M} UTC", "never")
    if shown.get("ActiveState") != "active":
        return skipped("the service does not run")
    if limit_s <= 0.0:
        return warned("off", "off", "on")
    told_s = int(shown.get("WatchdogTimestampMonotonic") or 0) / 1e6
    ago_s = patient.clock.now_s() - told_s
    value, wanted = f"told {ago_s:.0f} s ago", f"within {limit_s / 2:.0f} s"
    if ago_s > limit_s / 2:
        return failed("starving", f"{value}: {shown.get('StatusText', '')}", wanted)
    return passed(value, wanted)


def _shown(patient: Patient) -> Mapping[str, str] | str:
    """Return what the service manager says of the unit, or why it cannot be asked."""
    if patient.inside:
        return "only the service manager knows: run deskwatch diagnose at the unit"
    if not (patient.root / "run/systemd/system").is_dir():
        return "this system was not booted with systemd"
    said = _said("systemctl", "show", "-p", _PROPERTIES, UNIT)
    found = dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)
    if found.get("LoadState") != "loaded":
        return f"the service manager knows no {UNIT}"
    return found


class _Line(msgspec.Struct):
    at_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")


_lines = msgspec.json.Decoder(_Line)


def _bites() -> list[dt.datetime]:
    """Return when the watchdog ended the unit since boot, as far as the journal goes back."""
    said = _said("journalctl", "-b", "-q", "-n", "50", "-o", "json", f"UNIT={UNIT}", "UNIT_RESULT=watchdog")
    found = [int(_lines.decode(line).at_us) / 1e6 for line in said.splitlines() if line.startswith("{")]
    return [dt.datetime.fromtimestamp(at_s, dt.UTC) for at_s in found]


def _said(*command: str) -> str:
    """Return what a tool of systemd says. Raises OSError, subprocess.TimeoutExpired."""
    done = subprocess.run(  # noqa: S603  a constant command
        command, capture_output=True, text=True, errors="replace", timeout=_ASK_S, check=False
    )
    return done.stdout


def _microseconds(text: str) -> float:
    """Return seconds of what `systemctl show` makes of a time: `1min 30s`, `infinity`, `0`. Zero: off."""
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
    total_s = 0.0
    for part in text.split():
        digits = part.rstrip("abcdefghijklmnopqrstuvwxyz")
        if digits.replace(".", "", 1).isdecimal():
            total_s += float(digits) * units.get(part.removeprefix(digits), 0.0)
    return total_s


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


CHECKS = (
    Check(
        "service.running",
        probe_running,
        {
            "not-running": "Mend what fails above, then start it: sudo systemctl start deskwatch."
            f" If it does not stay up: {_READ_LOG}",
            "silent": "It hangs: sudo systemctl restart deskwatch."
            " If it hangs again, look at its disk and camera.",
            "denied": "Run it again with sudo, or as one of the group deskwatch.",
            "other-version": "Restart the unit, so that it runs the version that is installed:"
            " sudo systemctl restart deskwatch",
            "safe-mode": "It failed again and again, so its camera is off."
            f" Mend what fails in this table, then: {_TO_START}",
        },
        timeout_s=6.0,
    ),
    Check(
        "service.restarts",
        probe_restarts,
        {
            "gave-up": f"Mend what fails above, or what this shows: {_READ_LOG}. Then: {_TO_START}",
            "often": "A weak power supply and a loose camera cable are common."
            f" Why it ended each time: {_READ_LOG}",
        },
        timeout_s=6.0,
    ),
    Check(
        "service.watchdog",
        probe_watchdog,
        {
            "bitten": "The unit hung: a worn card or a camera that hangs are common."
            f" Where it hung: {_READ_LOG}",
            "starving": "The unit stands still and is about to be restarted."
            " If it comes back, change the card, then the camera.",
            "off": "Put the shipped service file back, which has WatchdogSec=60:"
            " sudo apt install --reinstall deskwatch",
        },
        timeout_s=10.0,
    ),
)
