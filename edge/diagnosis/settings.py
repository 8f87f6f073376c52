"""Whether unit.toml can be used, and is what the unit runs with."""

from pathlib import Path

from edge.config import ConfigDenied, ConfigError, read_config
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, warned

_WANTED = "a unit.toml that reads"


def probe_readable(patient: Patient) -> Verdict:
    """Read it anew: also a unit that runs starts with it the next time."""
    path = patient.config_path
    try:
        found = path.stat()
        config = read_config(path)
    except (ConfigDenied, PermissionError):
        return failed("denied", "not yours to read", _WANTED)
    except ConfigError as error:
        # What stands in the file stays at the unit.
        why = "wrong" if patient.inside else _without_path(str(error), path)
        return failed("wrong", why, _WANTED)
    except (OSError, ValueError):  # a name with a NUL in it is a ValueError
        return failed("missing", "there is none", _WANTED)
    up_s = None if patient.facts is None else patient.facts.get("unit.up_s")
    if isinstance(up_s, int | float):
        now_s = patient.clock.now_at().timestamp()
        if now_s - up_s < found.st_mtime <= now_s:
            return warned("changed", "changed since the unit read it", "as the unit read it")
    return passed("reads" if patient.inside else f"unit {config.unit.id}", _WANTED)


def _without_path(text: str, path: Path) -> str:
    return text.removeprefix(f"{path}: ")


CHECKS = (
    Check(
        "config.readable",
        probe_readable,
        {
            "missing": "Name the unit's settings with --config, or put them in /etc/deskwatch/unit.toml; an"
            " example lies in /usr/share/deskwatch.",
            "denied": "Run it again with sudo.",
            "wrong": "Correct the line that is named in unit.toml, then: sudo systemctl"
            " reset-failed deskwatch; sudo systemctl restart deskwatch",
            "changed": "If it was meant to be changed: sudo systemctl restart deskwatch",
        },
    ),
)
