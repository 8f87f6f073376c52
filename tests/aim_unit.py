"""`deskwatch run` in a process of its own, on mock pins: what it is told on stdin, its button does.

Each line is `press`, `hold`, or `short` (the light's pin is shorted to ground from then on).
"""

import sys
import threading
import time

from gpiozero import Device

from edge.cli import main
from tests.device.pins import Pins

LED, BUTTON = 17, 27
PINS = f"[led]\npin = {LED}\n[button]\npin = {BUTTON}\nhold_s = 1\n"


def hands(pins: Pins) -> None:
    """Do what is told, until stdin ends."""
    for line in sys.stdin:
        match line.strip():
            case "press" | "hold" as what:
                button = pins.wired(BUTTON)
                button.drive_low()
                time.sleep(0.1 if what == "press" else 1.3)
                button.drive_high()
            case "short":
                pins.wired(LED).held_at = False


if __name__ == "__main__":
    Device.pin_factory = pins = Pins()
    threading.Thread(target=hands, args=(pins,), daemon=True).start()
    sys.exit(main(["run", "--config", sys.argv[1]]))
