"""The radio: whether the unit hears its access point well enough."""

from edge.device.system import System
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned

WEAK_DBM = -70
"""Below this rates fall, and much is sent twice."""
TOO_WEAK_DBM = -80
"""Below this a connection comes and goes."""


def probe_wifi(patient: Patient) -> Verdict:
    """Ask the kernel how strong the signal is. No name of a network is asked for."""
    system = System(patient.root)
    wifi, cable, limit = system.wifi(), system.cable(), f"at least {WEAK_DBM} dBm"
    if wifi is None:
        return skipped("no Wi-Fi: cable" if cable else "no Wi-Fi here")
    if wifi.signal_dbm is None:
        if cable:
            return skipped("no Wi-Fi: cable")
        return failed(
            "not-connected", f"{wifi.interface} is not connected, and no cable is plugged in", limit
        )
    value = f"{wifi.signal_dbm} dBm"
    if wifi.signal_dbm < TOO_WEAK_DBM:
        return failed("too-weak", value, limit)
    return warned("weak", value, limit) if wifi.signal_dbm < WEAK_DBM else passed(value, limit)


CHECKS = (
    Check(
        "network.wifi",
        probe_wifi,
        {
            "not-connected": "The unit is in no network. Check that the access point is on, and name and"
            " password of the"
            " Wi-Fi (docs/technician.md); or plug in a cable.",
            "too-weak": "The Wi-Fi hardly reaches the unit. Move it or the access point closer, away from"
            " metal, or plug"
            " in a cable.",
            "weak": "The Wi-Fi is weak here. Turn or move the unit a little, away from metal and screens;"
            " better, plug"
            " in a cable.",
        },
    ),
)
