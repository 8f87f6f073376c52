"""Memory: whether there is room for the pictures of a look."""

from edge.device.system import System, size_text
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned

LOW_BYTES = 64 << 20
"""Below this the kernel starts to throw out pages of programs, and each look waits for the card."""
EXHAUSTED_BYTES = 24 << 20
"""A few frames, and what the kernel keeps for itself: below this it ends a program soon."""


def probe_available(patient: Patient) -> Verdict:
    """Ask the kernel what may be had."""
    memory = System(patient.root).memory()
    if memory is None:
        return skipped("this machine does not tell of its memory")
    value = f"{size_text(memory.available_bytes)} of {size_text(memory.total_bytes)}"
    limit = f"at least {size_text(LOW_BYTES)}"
    if memory.available_bytes < EXHAUSTED_BYTES:
        return failed("exhausted", value, limit)
    return warned("low", value, limit) if memory.available_bytes < LOW_BYTES else passed(value, limit)


CHECKS = (
    Check(
        "memory.available",
        probe_available,
        {
            "low": "Stop what else runs on this machine (ps aux --sort=-rss | head); a unit needs it for"
            " itself alone.",
            "exhausted": "Restart the unit's machine. If it comes back: stop what else runs on it"
            " (ps aux --sort=-rss | head), and report this with a support bundle.",
        },
    ),
)
