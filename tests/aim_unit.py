"""`deskwatch run` in a process of its own, on mock pins: what it is told on stdin, its button does.

Each line is `press`, `hold`, `agree` (a press once the light has asked for long enough), or `short` (the
light's pin is shorted to ground from then on).
"""

import gc
import sys
import threading
import time

from gpiozero import Device

from edge.aim import SEEN_S, Asked
from edge.aim_holder import AimHolder
from edge.cli import main
from tests.broker import until
from tests.device.pins import Pins

LED, BUTTON = 17, 27
PINS = f"[led]\npin = {LED}\n[button]\npin = {BUTTON}\nhold_s = 1\n"


def hands(pins: Pins) -> None:
    """Do what is told, until stdin ends."""
    for line in sys.stdin:
        match line.strip():
            case "press" | "hold" | "agree" as what:
                if what == "agree":
                    until(has_asked, "the light to have asked for long enough")
                button = pins.wired(BUTTON)
                button.drive_low()
                time.sleep(1.3 if what == "hold" else 0.1)
                button.drive_high()
            case "short":
                pins.wired(LED).held_at = False


def has_asked() -> bool:
    """Return whether a press counts as an answer by now, on a machine however slow."""
    holder = next((one for one in gc.get_objects() if isinstance(one, AimHolder)), None)
    state = None if holder is None else holder._state
    return (
        isinstance(state, Asked)
        and state.shown_s is not None
        and time.monotonic() - state.shown_s >= SEEN_S + 0.1
    )


if __name__ == "__main__":
    Device.pin_factory = pins = Pins()
    threading.Thread(target=hands, args=(pins,), daemon=True).start()
    sys.exit(main(["run", "--config", sys.argv[1]]))
