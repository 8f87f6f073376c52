"""How the machine below the unit fares: looked at every two seconds, told every minute."""

import datetime as dt
import logging
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from edge.clock import Clock
from edge.device.clock_quality import read_kernel_clock
from edge.device.system import System, Throttled
from edge.facts import Facts
from edge.uplink.messages import Alarm, AlarmCode, Health, State
from edge.uplink.records import SpoolError
from edge.uplink.wire import ClockQuality, timestamp

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""As often as the kernel asks the firmware: what came and went in between is in what it then shows."""
HOT_C, COOL_C = 80.0, 75.0
"""A Pi is slowed down from 80 °C on. The alarm ends only well below: a state for each degree helps nobody."""
POWER_HOLD_S = 600.0
"""So long after the supply was too low the alarm stays: a weak one shows it for seconds at a time."""
STARTS_NOTE, THROTTLED_NOTE = "starts", "throttled"


class Notes(Protocol):
    """What is remembered beside the spool."""

    def noted(self, name: str) -> str | None:
        """Return a note. Raises SpoolError."""
        ...

    def note(self, name: str, text: str) -> None:
        """Keep a note. Raises SpoolError."""
        ...


class Vitals:
    """For the uplink's thread; `facts` and `alarms` from any."""

    def __init__(self, system: System, state: Path, clock: Clock, notes: Notes, boot_id: str) -> None:
        self._system, self._state, self._clock, self._notes = system, state, clock, notes
        self._boot_id = boot_id
        self._due_s = clock.now_s()
        self._throttled: Throttled | None = None
        self._past = self._read_past()
        self._low_power_s: float | None = None
        self._hot_c: float | None = None
        self.restarts = self._count_start()

    def turn(self) -> None:
        """Look, where it is time to."""
        now_s = self._clock.now_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + LOOK_EVERY_S
        self._mind_throttling()
        if self._system.under_voltage():
            self._low_power_s = now_s
        elif self._low_power_s is not None and now_s - self._low_power_s >= POWER_HOLD_S:
            self._low_power_s = None
        heat_c = self._system.temperature_c()
        still_hot = heat_c is not None and heat_c >= (HOT_C if self._hot_c is None else COOL_C)
        self._hot_c = heat_c if still_hot and self._hot_c is None else self._hot_c if still_hot else None

    def alarms(self) -> list[Alarm]:
        """Return what somebody should see to. Its words stay as it began: each change is a message."""
        found = []
        if self._low_power_s is not None:
            detail = "the supply was too low in the last 10 minutes: a stronger one, or a shorter cable"
            found.append(Alarm(code=AlarmCode.POWER, detail=detail))
        if (hot_c := self._hot_c) is not None:
            found.append(Alarm(code=AlarmCode.TOO_HOT, detail=f"{hot_c:.0f} °C when it began: give it air"))
        return found

    def facts(self) -> Facts:
        """Return the machine's figures; null where nothing tells."""
        memory, clock = self._system.memory(), read_kernel_clock()
        throttled, wifi, low = self._throttled, self._system.wifi(), self._system.under_voltage()
        disk = None
        with suppress(OSError):
            disk = self._system.disk(self._state)
        return {
            "unit.restarts": self.restarts,
            "power.temperature_c": self._system.temperature_c(),
            "power.throttled": None if throttled is None else throttled.with_past(self._past).bits,
            "power.under_voltage": None if low is None else float(low),
            "memory.available_bytes": None if memory is None else memory.available_bytes,
            "disk.free_bytes": None if disk is None else disk.free_bytes,
            "disk.total_bytes": None if disk is None else disk.total_bytes,
            "clock.max_error_s": None if clock is None else clock.max_error_s,
            "network.signal_dbm": None if wifi is None else wifi.signal_dbm,
        }

    def _mind_throttling(self) -> None:
        self._throttled = self._system.throttled()
        if self._throttled is None:
            return
        whole = self._throttled.with_past(self._past)
        if whole.since_boot == self._past.since_boot:
            return
        self._past = whole
        log.warning("since boot: %s", ", ".join(whole.since_boot))
        with suppress(SpoolError):  # a disk that takes no note: known until the unit stops
            self._notes.note(THROTTLED_NOTE, f"{self._boot_id} {whole.bits:x}")

    def _read_past(self) -> Throttled:
        text = self._of_this_boot(THROTTLED_NOTE)
        with suppress(ValueError):
            return Throttled(int(text, 16) & 0xFFFFFFFF)
        return Throttled(0)

    def _count_start(self) -> int:
        """Return how often the unit had started in this boot, before now."""
        text = self._of_this_boot(STARTS_NOTE)
        starts = int(text) if text.isdecimal() and len(text) <= 9 else 0
        with suppress(SpoolError):
            self._notes.note(STARTS_NOTE, f"{self._boot_id} {starts + 1}")
        return starts

    def _of_this_boot(self, name: str) -> str:
        text = None
        with suppress(SpoolError):
            text = self._notes.noted(name)
        boot_id, _, rest = (text or "").partition(" ")
        return rest if boot_id == self._boot_id else ""


def health_of(facts: Facts, state: State, now_at: dt.datetime) -> Health:
    """Return what the facts of a unit say of its health."""

    def number(name: str) -> float | None:
        value = facts.get(name)
        return value if isinstance(value, int | float) else None

    def count(name: str) -> int | None:
        value = number(name)
        return None if value is None else max(0, int(value))

    low = number("power.under_voltage")
    known = number("clock.synchronised") == 1.0
    return Health(
        at=timestamp(now_at),
        session=count("unit.session") or 0,
        boot_id=state.boot_id,
        clock=ClockQuality.SYNCHRONISED if known else ClockQuality.UNSYNCHRONISED,
        clock_error_s=number("clock.max_error_s"),
        up_s=number("unit.up_s") or 0.0,
        restarts=count("unit.restarts") or 0,
        capture=state.capture,
        frames=count("watch.frames") or 0,
        inferences=count("watch.inferences") or 0,
        skipped=count("watch.skipped") or 0,
        camera_faults=count("watch.camera_faults") or 0,
        inference_p50_s=number("watch.inference_p50_s"),
        inference_p95_s=number("watch.inference_p95_s"),
        inference_p99_s=number("watch.inference_p99_s"),
        temperature_c=number("power.temperature_c"),
        throttled=count("power.throttled"),
        under_voltage=None if low is None else bool(low),
        disk_free_bytes=count("disk.free_bytes"),
        memory_available_bytes=count("memory.available_bytes"),
        spool_events=count("spool.events"),
        spool_thumbnails=count("spool.thumbnails"),
        spool_used_bytes=count("spool.used_bytes"),
        dead_letters=count("spool.dead_letters"),
    )
