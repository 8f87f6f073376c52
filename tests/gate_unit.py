"""A real unit, killed at will: only camera, light, clock and model are stand-ins, and they keep a journal.

What the camera does is in the journal before anybody gets to see it, by a `write` that no SIGKILL takes back.
"""

import contextlib
import dataclasses
import datetime as dt
import logging
import math
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np

import edge.notebook
import edge.policy.gate
import edge.shutter
import edge.unit
from edge.backoff import Backoff
from edge.capture.frame import CameraLost, CameraStalled, Frame
from edge.capture.wiping import blacken
from edge.clock import SystemClock
from edge.device.hardware import Hardware
from edge.device.indicator import StandinButton, StandinIndicator
from edge.policy.document import parse_policy
from edge.policy.gate import Conditions
from edge.policy.schedule import Off
from edge.running import running
from edge.unit_settings import Settings
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.topics import Topics
from edge.vision.standin import ColourDetector
from tests.chaos.journal import Journal

FRAME_S = 0.02
POLICY = (
    b'{"schema": "policy/1", "version": 1, "issued_at": "2026-01-01T00:00:00Z",'
    b'"expires_at": "2036-01-01T00:00:00Z", "timezone": "UTC", "watch": {"mode": "continuous"},'
    b'"shifts": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],'
    b'"start": "08:00", "end": "12:00"}],'
    b'"rules": [{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 2}]}'
)
SPOT = b'{"mode": "spot", "mean_interval_s": 28800, "burst_s": 10}'


@dataclass(frozen=True, slots=True)
class Life:
    """What a life is born with."""

    folder: Path
    number: int
    port: int
    blind: str = ""
    """A floor that this unit ignores, to see that it is caught; see `_blind`."""
    spot: bool = False
    """It looks at no hour that a test lasts to see, but for an aim."""

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def journal(self) -> Path:
        return self.folder / "camera.jsonl"

    @property
    def wall(self) -> Path:
        """By how many seconds the unit's wall clock is ahead of the monotonic one's."""
        return self.folder / "wall"

    @property
    def pressed(self) -> Path:
        """There when somebody presses the button; gone when the unit was told."""
        return self.folder / "pressed"

    @property
    def led_fault(self) -> Path:
        """There while the light is broken."""
        return self.folder / "led-fault"


class Said:
    """The journal of one life."""

    def __init__(self, life: Life) -> None:
        self._journal, self._life = Journal(life.journal), life.number

    def note(self, act: str, **facts: object) -> None:
        self._journal.note(act, life=self._life, s=time.monotonic(), **facts)


class WallClock(SystemClock):
    """The system's clock, its wall time set by the test."""

    def __init__(self, stop: Event, wall: Path) -> None:
        super().__init__(stop)
        self._wall = wall

    def now_at(self) -> dt.datetime:
        ahead_s = float(self._wall.read_text())
        return dt.datetime.fromtimestamp(time.monotonic() + ahead_s, dt.UTC)


class Light(StandinIndicator):
    """Broken while there is a file that says so."""

    def __init__(self, said: Said, fault: Path) -> None:
        super().__init__()
        self._said, self._fault = said, fault

    def show(self, signal) -> None:
        super().show(signal)
        self._said.note("light", signal=self.signal.value)

    def trouble(self) -> str | None:
        return "it stays dark" if self._fault.exists() else super().trouble()


class Camera:
    """Gives a frame of noise every `FRAME_S`."""

    held = False

    def __init__(self, said: Said, clock: WallClock) -> None:
        self._said, self._clock = said, clock
        self._is_open, self._due_s = False, 0.0
        self._noise = np.random.default_rng(1)

    def open(self) -> None:
        if not self._is_open:
            asked_s = time.monotonic()
            self._said.note("open", asked_s=asked_s, at=self._clock.now_at().isoformat())
            self._is_open, self._due_s = True, asked_s + FRAME_S

    @contextlib.contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        asked_s = time.monotonic()
        if not self._is_open:
            raise CameraLost("wanted an open camera, got a closed one")
        wait_s = max(0.0, self._due_s - asked_s)
        time.sleep(min(wait_s, timeout_s))
        if wait_s > timeout_s:
            raise CameraStalled(f"wanted a frame in {timeout_s} s, got none")
        at, now_s = self._clock.now_at(), time.monotonic()
        self._due_s = now_s + FRAME_S
        self._said.note("frame", asked_s=asked_s, at=at.isoformat())
        pixels = self._noise.integers(0, 255, (48, 64, 3), np.uint8)
        try:
            yield Frame(pixels, now_s, at)
        finally:
            blacken(pixels)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._said.note("close")


class Eyes(ColourDetector):
    """A model of one colour, with what a unit wants to know of its card."""

    card = SimpleNamespace(
        name="colours", sha256="0" * 64, named_labels=frozenset({"cell phone"}), golden=None
    )


def live(life: Life) -> None:
    """Be the unit, until killed."""
    logging.basicConfig(
        filename=life.folder / "unit.log",
        level=logging.INFO,
        format=f"%(asctime)s {life.number} %(name)s %(levelname)s %(message)s",
        force=True,
    )
    said = Said(life)
    said.note("born")
    threading.Thread(target=_die_with_the_test, daemon=True).start()
    stop = Event()
    clock = WallClock(stop, life.wall)
    light = Light(said, life.led_fault)
    _blind(life.blind, light)
    broker = BrokerConfig("127.0.0.1", life.port, "gate-1")
    document = POLICY.replace(b'{"mode": "continuous"}', SPOT) if life.spot else POLICY
    settings = Settings(
        Topics("gate", "gate-1"),
        life.state,
        broker,
        (parse_policy(document), document),
        backoff=Backoff(1.0, 5.0),
    )
    eyes = Eyes({(220, 20, 20): "cell phone"})
    edge.unit._CHANCE = random.Random(1)  # its first check is an hour away
    hardware = Hardware(light, partial(_button, life)) if life.spot else Hardware(light)
    with running(settings, eyes, clock, hardware=hardware) as unit:
        unit.watch(Camera(said, clock), math.inf, stop)


def _button(life: Life, on_press, on_hold) -> StandinButton:
    """Give a button that is pressed by a file."""
    button = StandinButton(on_press=on_press, on_hold=on_hold)

    def feel() -> None:
        while True:
            if life.pressed.exists():
                life.pressed.unlink()
                button.press()
            time.sleep(0.01)

    threading.Thread(target=feel, daemon=True).start()
    return button


def _die_with_the_test() -> None:
    test = multiprocessing.parent_process()
    if test is not None:
        test.join()
        os._exit(1)


def _blind(floor: str, light: Light) -> None:
    """Break the gate on purpose: a test that cannot see this would prove nothing."""
    if not floor:
        return
    if floor == "forgotten":  # what is asked for counts at once, and is never written down
        edge.notebook.TwoPlaces.write = lambda _self, _text: None
        return
    if floor == "light":
        light.show = lambda signal: None
        return
    whole = edge.policy.gate.forbidden

    def blinded(conditions: Conditions) -> Off | None:
        return whole(dataclasses.replace(conditions, **_OPEN[floor](conditions)))

    edge.policy.gate.forbidden = edge.shutter.forbidden = blinded


def _unless(floor: Off):
    return lambda conditions: {} if conditions.scheduled is not floor else {"scheduled": None}


_OPEN = {
    "break": _unless(Off.BREAK),
    "shift": _unless(Off.OFF_SHIFT),
    "withdraw": lambda _conditions: {"accepted": True},
    "repair": lambda _conditions: {"repair": None},
    "led": lambda _conditions: {"led": None},
    "aim-end": _unless(Off.BETWEEN_CHECKS),
}
