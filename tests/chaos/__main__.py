"""scripts/chaos: the full run, and its table."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.broker import PROGRAM
from tests.chaos.check import rows, table
from tests.chaos.faults import FAULTS, possible
from tests.chaos.rig import KILL, KeepsCrashing, Rig, StillWaiting

KILLS = 200


def run(rig: Rig, chance: random.Random, seconds: float, say: bool = True) -> None:
    """Do one fault after the other, in rounds in random order, while the unit is killed all the time."""
    end_s = time.monotonic() + seconds
    round_of: list = []
    while time.monotonic() < end_s:
        round_of = round_of or chance.sample(possible(rig), len(possible(rig)))
        fault = round_of.pop()
        if say:
            print(f"{end_s - time.monotonic():6.0f} s left  {fault.name}", file=sys.stderr, flush=True)
        with rig.fault(fault.name):
            fault.act(rig, chance)
        rig.live_on(chance.uniform(0.2, 1.0))


def kill_on(rig: Rig, chance: random.Random, kills: int) -> None:
    """Kill until it was done so often: some faults leave no room for it."""
    while rig.times()[KILL] < kills:
        rig.live_on(chance.uniform(0.05, 1.5), kills=False)
        rig.kill_at_random()


def report(rig: Rig) -> tuple[str, bool]:
    """Return the table, and whether all is good."""
    verdict, fed = rig.verdict()
    announced, came, silent = rig.holdings.pictures()
    lines = [table(rows(verdict, fed, rig.times(), rig.fault_at), verdict)]
    lines.append(f"pictures: {announced} announced, {came} came, {silent} without a word")
    if rig.no_disk:
        lines += [f"NOT DONE: {f.name}: {rig.no_disk}" for f in FAULTS if f.needs_disk]
    lines += [f"THE UNIT CRASHED:\n{trace}" for trace in set(rig.crash_traces())]
    if unreadable := rig.holdings.unreadable():
        lines.append(f"THE INGESTER COULD NOT READ: {unreadable} messages")
    if verdict.lost:
        lines.append(f"LOST: {verdict.lost[:5]}")
    if verdict.unexplained:
        lines.append(f"NUMBERS THAT NOTHING EXPLAINS: {verdict.unexplained[:5]}")
    log = rig.log_troubles()
    lines += [f"THE WORKER'S LOG: {trouble}" for trouble in log]
    return "\n".join(lines), verdict.good and not rig.crash_traces() and not log and len(fed) > 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of torment (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the same faults in the same order")
    parser.add_argument("--kills", type=int, default=KILLS, help="SIGKILLs over that time (%(default)s)")
    parser.add_argument("--protocol", choices=("5", "3.1.1"), default="5")
    parser.add_argument("--keep", type=Path, help="a folder for journals and logs, to look into afterwards")
    arguments = parser.parse_args()
    if PROGRAM is None:
        print("chaos: mosquitto is missing: apt install mosquitto", file=sys.stderr)
        return 2
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    chance, seconds = random.Random(seed), 60 * arguments.minutes
    print(f"seed {seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rig = Rig(folder, chance, kills_per_s=arguments.kills / seconds, protocol=arguments.protocol)
        try:
            try:
                run(rig, chance, seconds)
                kill_on(rig, chance, arguments.kills)
                rig.drain()
            except (KeepsCrashing, StillWaiting) as error:
                print(f"NOT DRAINED: {error}")
            rig.stop_unit()
            text, good = report(rig)
        finally:
            rig.close()
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
