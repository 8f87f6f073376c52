"""Supply and heat: what makes a unit crash, and its card fail, without a word in any log."""

from edge.device.system import MEANINGS, SINCE_BIT, System, Throttled
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned

HOT_C = 80.0
"""From here the firmware slows the processor down."""
OVERHEATED_C = 85.0
"""Here it slows it down as far as it can; what comes next is a halt."""
_UNDER_VOLTAGE = 1


def probe_temperature(patient: Patient) -> Verdict:
    """Ask the processor's sensors."""
    heat_c = System(patient.root).temperature_c()
    if heat_c is None:
        return skipped("this machine tells no temperature")
    value, limit = f"{heat_c:.0f} °C", f"under {HOT_C:.0f} °C"
    if heat_c >= OVERHEATED_C:
        return failed("overheated", value, limit)
    return warned("too-hot", value, limit) if heat_c >= HOT_C else passed(value, limit)


def probe_throttled(patient: Patient) -> Verdict:
    """Ask the firmware's bits but that of the supply, which has a check of its own."""
    bits = _bits(patient)
    if bits is None:
        return skipped("this machine has no Raspberry Pi firmware that tells")
    mask = 0xF & ~_UNDER_VOLTAGE
    now, before = Throttled(bits & mask).now, Throttled(bits & mask << SINCE_BIT).since_boot
    if now:
        return warned("throttled", f"now: {_meant(now)}", "full speed")
    if before:
        return warned("was-throttled", f"since boot: {_meant(before)}", "full speed")
    return passed(
        "full speed" if patient.facts is not None else "full speed now; of before only a running unit knows"
    )


def probe_under_voltage(patient: Patient) -> Verdict:
    """Ask the supply's alarm, and whether it ever was up."""
    limit, bits = "never under 4.63 V", _bits(patient)
    low = System(patient.root).under_voltage()
    if low is None and bits is None:
        return skipped("this machine does not tell of its supply")
    if low or (bits or 0) & _UNDER_VOLTAGE:
        return failed("under-voltage", "the supply gives too little now", limit)
    if (bits or 0) & _UNDER_VOLTAGE << SINCE_BIT:
        return warned("was-under-voltage", "the supply gave too little since boot", limit)
    return passed("enough", limit)


def _bits(patient: Patient) -> int | None:
    """Return the bits of now, and all that the running unit saw since boot."""
    now = System(patient.root).throttled()
    said = None if patient.facts is None else patient.facts.get("power.throttled")
    if now is None:
        return int(said) if isinstance(said, int | float) else None
    past = Throttled(int(said) if isinstance(said, int | float) else 0)
    return now.with_past(past).bits


def _meant(names: tuple[str, ...]) -> str:
    meant = dict(MEANINGS)
    return "; ".join(f"{name} ({meant[name]})" for name in names)


CHECKS = (
    Check(
        "power.under-voltage",
        probe_under_voltage,
        {
            "under-voltage": "Use the power supply that came with the unit, plugged in directly, with its"
            " own short cable;"
            " unplug other USB devices. Until then expect crashes and a damaged card.",
            "was-under-voltage": "The supply is weak: it gave too little for moments. Replace supply and"
            " cable by the ones"
            " that belong to the unit, then restart it to clear this.",
        },
    ),
    Check(
        "power.temperature",
        probe_temperature,
        {
            "too-hot": "Move the unit out of the sun and off other devices, and free its vents; it is"
            " slowed down already.",
            "overheated": "Switch the unit off and let it cool. Then give it air, and fit a heat sink,"
            " before it is used again.",
        },
    ),
    Check(
        "power.throttled",
        probe_throttled,
        {
            "throttled": "The processor runs slower than it can. See power.under-voltage and"
            " power.temperature above: a"
            " stronger supply, or more air.",
            "was-throttled": "The processor was slowed down at some time since boot. If it comes again"
            " after a restart: a"
            " stronger supply, or more air.",
        },
    ),
)
