"""Who holds a spool that no unit answers for."""

import os
from pathlib import Path

from edge.control.client import ControlDenied, ControlSilent
from edge.control.protocol import NotUnderstood
from edge.diagnosis.check import Patient, Verdict, failed, skipped
from edge.uplink.lockfile import holder_of
from edge.uplink.looking import lock_of


def told_of_holder(patient: Patient, path: Path) -> Verdict:
    """Tell who has it: a unit that hangs is `service.running`'s to tell."""
    holder = holder_of(lock_of(path))
    if isinstance(patient.trouble, ControlDenied | NotUnderstood):
        return skipped("a unit uses it")
    if isinstance(patient.trouble, ControlSilent) and (holder is None or _is_unit(patient, holder)):
        return skipped("a unit uses it, and does not answer")
    named = "another process" if holder is None else f"process {holder}"
    return failed("held", f"{named} has it, and no unit answers", "nobody, or the unit")


def _is_unit(patient: Patient, process: int) -> bool:
    """Return whether a process is one of ours, or cannot be looked at."""
    try:
        words = (patient.root / f"proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return any(Path(os.fsdecode(word)).name == "deskwatch" for word in words)
