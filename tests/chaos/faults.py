"""What is done to the unit, the wire, the broker and the ingester. Each heals what it did."""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.chaos.rig import ALL_ALLOWED, EVENTS_PER_S, SPOOL_BYTES, Rig
from tests.chaos.unit import TOPICS
from tests.chaos.wire import Trap

OVERFLOW_BYTES = 50_000
"""Room for about fifty events, or one picture."""

Act = Callable[[Rig, random.Random], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misfortune."""

    name: str
    act: Act
    needs_disk: bool = False


def _restart_persistent(rig: Rig, chance: random.Random) -> None:
    rig.broker.stop(signal.SIGTERM)
    rig.live_a_while(0.2, 3.0)
    rig.start_broker()
    rig.live_a_while(1.0, 1.0)


def _restart_forgetful(rig: Rig, chance: random.Random) -> None:
    rig.broker.stop(signal.SIGKILL)
    rig.live_a_while(0.2, 3.0)
    rig.start_broker(persistent=False)
    rig.live_a_while(1.0, 1.0)


def _trapped(trap: Trap) -> Act:
    def act(rig: Rig, chance: random.Random) -> None:
        for _ in range(3):
            before = rig.wire.sprung
            rig.wire.set_trap(trap)
            rig.live_on(5.0, lambda before=before: rig.wire.sprung > before)
        rig.wire.heal()

    return act


def _cut(rig: Rig, chance: random.Random) -> None:
    for _ in range(3):
        rig.wire.cut()
        rig.live_a_while(0.1, 1.0)


def _stall(rig: Rig, chance: random.Random) -> None:
    rig.wire.stall()
    # Half of them for longer than it takes to notice: a keepalive of 5 s, twice.
    rig.live_a_while(*chance.choice([(1.0, 2.0), (12.0, 13.0)]), kills=False)
    rig.wire.heal()
    rig.live_a_while(1.0, 1.0)


def _refused(rig: Rig, chance: random.Random) -> None:
    rig.allow(f"topic read #\ntopic write {TOPICS.ack}\ntopic write {TOPICS.state}\n")
    rig.live_a_while(1.0, 3.0)
    rig.allow(ALL_ALLOWED)
    rig.live_a_while(0.5, 0.5)
    rig.wire.cut()  # what was set aside is tried again on the next connection
    rig.live_a_while(1.0, 1.0)


def _shrunk(rig: Rig, chance: random.Random) -> None:
    """Pictures do not fit, and in half of the cases no event does."""
    rig.broker.stop(signal.SIGTERM)
    rig.start_broker(f"max_packet_size {chance.choice([600, 9000])}")
    rig.live_a_while(1.5, 3.0)
    rig.broker.stop(signal.SIGTERM)
    rig.start_broker()
    rig.live_a_while(1.0, 1.0)


def _full(rig: Rig, chance: random.Random) -> None:
    rig.disk.fill()
    rig.live_a_while(2.0, 8.0)
    rig.disk.free()
    rig.live_a_while(1.5, 1.5)


def _read_only(rig: Rig, chance: random.Random) -> None:
    with rig.frozen_unit():
        rig.disk.break_down()
    rig.live_a_while(1.0, 4.0)
    _mount_again(rig)


def _power_cut(rig: Rig, chance: random.Random) -> None:
    with rig.frozen_unit():
        rig.disk.cut_power()
        rig.kill_unit()
    _mount_again(rig)


def _mount_again(rig: Rig) -> None:
    rig.kill_unit()
    rig.disk.unmount()
    rig.disk.check()
    rig.disk.mount()
    rig.live_a_while(1.0, 1.0)


def _wrong_clock(days: int) -> Act:
    def act(rig: Rig, chance: random.Random) -> None:
        rig.tell(replace(rig.told, shift_days=days, synchronised=False))
        rig.live_a_while(1.0, 2.0)
        rig.tell(replace(rig.told, shift_days=0, synchronised=True))
        rig.live_a_while(0.5, 0.5)

    return act


def _overflow(rig: Rig, chance: random.Random) -> None:
    """Nobody takes anything, and the spool holds so little that events have to give way."""
    rig.broker.stop(signal.SIGTERM)
    rig.kill_unit()
    rig.spool_bytes, rig.events_per_s = OVERFLOW_BYTES, 60.0
    rig.live_on(2.5, kills=False)
    rig.start_broker()
    rig.live_a_while(1.0, 1.0)
    rig.kill_unit()
    rig.spool_bytes, rig.events_per_s = SPOOL_BYTES, EVENTS_PER_S
    rig.live_a_while(0.5, 0.5)


def _ingester_killed(rig: Rig, chance: random.Random) -> None:
    rig.kill_ingester()
    rig.live_a_while(0.2, 3.0)
    rig.start_ingester()
    rig.live_a_while(1.0, 1.0)


FAULTS = (
    Fault("broker restarts, with its persistence", _restart_persistent),
    Fault("broker killed, without persistence", _restart_forgetful),
    Fault("cut between PUBLISH and PUBACK", _trapped(Trap.BEFORE_PUBACK)),
    Fault("cut in the middle of a PUBLISH", _trapped(Trap.MID_PUBLISH)),
    Fault("cut again and again", _cut),
    Fault("half-open: stalled", _stall),
    Fault("not authorised (0x87)", _refused),
    Fault("maximum packet size shrinks", _shrunk),
    Fault("disk full", _full, needs_disk=True),
    Fault("disk turns read-only", _read_only, needs_disk=True),
    Fault("power cut: what was not synced is gone", _power_cut, needs_disk=True),
    Fault("wall clock jumps a year ahead", _wrong_clock(365)),
    Fault("wall clock jumps a year back", _wrong_clock(-365)),
    Fault("ingester killed", _ingester_killed),
    Fault("spool overflows", _overflow),
)


def possible(rig: Rig) -> list[Fault]:
    """Return those that can be done on this machine."""
    return [fault for fault in FAULTS if rig.disk is not None or not fault.needs_disk]
