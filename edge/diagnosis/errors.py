"""What the unit logged as errors last; where it does not run, what the journal has of it."""

import datetime as dt
import subprocess

import msgspec

from edge.diagnosis.check import Check, Patient, Verdict, passed, skipped, warned

_UNITS = ("-u", "deskwatch", "-u", "deskwatch-safe")
_ASK_S = 4.0
_ERR = 3
"""Of syslog(3)."""
_SAID = ("ERROR", "CRITICAL", "deskwatch: ")
"""How lines begin that a unit writes of errors, where the journal was not told their priority."""
_LINES = 200


def probe_recent(patient: Patient) -> Verdict:
    """Tell of the last one, with what was filled into it at the unit alone."""
    wanted = "none since the start"
    if patient.facts is None:
        return _of_journal(patient)
    count, last = patient.facts.get("errors.count"), patient.facts.get("errors.last")
    if not isinstance(count, int | float):
        return skipped("the unit does not say")
    if not count:
        return passed("none", wanted)
    at = patient.facts.get("errors.last_at")
    local = next((one.text for one in reversed(patient.errors) if one.level != "WARNING"), None)
    text = last if patient.inside or local is None else local
    return warned("logged", f"{count:.0f}, the last at {_clock(at)}: {text}", wanted)


class _Line(msgspec.Struct):
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    priority: str = msgspec.field(name="PRIORITY", default="6")
    at_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")


_lines = msgspec.json.Decoder(_Line)


def _of_journal(patient: Patient) -> Verdict:
    if not (patient.root / "run/systemd/system").is_dir():
        return skipped("the unit does not run, and there is no journal")
    done = subprocess.run(  # noqa: S603  a constant command
        ("journalctl", "-q", "-b", *_UNITS, "-n", str(_LINES), "-o", "json"),  # noqa: S607  as PATH has it
        capture_output=True,
        timeout=_ASK_S,
        check=False,
    )
    if done.returncode:
        return skipped("the journal cannot be read: run it again with sudo")
    found = [_lines.decode(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    errors = [line for line in found if _is_error(line)]
    wanted = "none since boot"
    if not errors:
        return passed("none", wanted)
    last = errors[-1]
    at = dt.datetime.fromtimestamp(int(last.at_us) / 1e6, dt.UTC).isoformat()
    return warned("logged", f"{len(errors)}, the last at {_clock(at)}: {_text(last)}", wanted)


def _is_error(line: _Line) -> bool:
    priority = int(line.priority) if line.priority.isdecimal() else 6
    return priority <= _ERR or _text(line).startswith(_SAID)


def _text(line: _Line) -> str:
    """Return a message; one that is no UTF-8 comes as numbers."""
    if isinstance(line.message, list):
        return bytes(one & 0xFF for one in line.message).decode(errors="replace")
    return line.message or ""


def _clock(at: object) -> str:
    try:
        return f"{dt.datetime.fromisoformat(str(at)):%d %b %H:%M} UTC"
    except ValueError:
        return "an unknown time"


CHECKS = (
    Check(
        "errors.recent",
        probe_recent,
        {"logged": "Mend what fails above first. All of them: sudo journalctl -b -u deskwatch -p err"},
        timeout_s=6.0,
    ),
)
