"""scripts/fleet-sim: real MQTT sessions, a broker that goes away, and how the fleet comes back."""

import argparse
import importlib.util
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edge.uplink.carry import RECONNECT
from edge.uplink.listener import Listener, listen
from edge.uplink.messages import decode_state
from edge.uplink.topics import ROOT
from tests.broker import PROGRAM, Mosquitto
from tests.fleet.storm import Phase, per_second, returned, table
from tests.fleet.units import Squad, files_allowed, run

HELD_S = RECONNECT.base_s + 5.0
"""A connection that held so long counts as a good one: the backoff begins anew."""
STORM_S = 3 * RECONNECT.cap_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fleet-sim", description=__doc__)
    parser.add_argument("--units", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--down", type=float, default=30.0, help="seconds of the long outage (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/fleet"), help="for the plot (%(default)s)")
    arguments = parser.parse_args()
    if PROGRAM is None:
        print("fleet-sim: mosquitto is missing: apt install mosquitto", file=sys.stderr)
        return 2
    if importlib.util.find_spec("matplotlib") is None:
        print(
            f"fleet-sim: matplotlib is missing: {sys.executable} -m pip install -r scripts/fleet-sim.txt",
            file=sys.stderr,
        )
        return 2
    if not files_allowed(4 * arguments.units + 1024):  # the broker inherits it
        print(
            f"fleet-sim: wanted {4 * arguments.units + 1024} open files: raise `ulimit -Hn`", file=sys.stderr
        )
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        broker = Mosquitto(folder)
        try:
            phases = _storms(broker, folder, arguments)
        finally:
            broker.stop(signal.SIGKILL)
        log = (folder / "mosquitto.log").read_text()
    counts = per_second(log)
    returns = [returned(counts, phase) for phase in phases]
    text = table(returns, arguments.units)
    (arguments.out / "fleet.txt").write_text(text + "\n")
    from tests.fleet.plot import plot

    plot(counts, returns, arguments.units, arguments.out / "fleet.png")
    print(f"{text}\n{arguments.out / 'fleet.png'}")
    return 0 if all(r.connections >= arguments.units for r in returns) else 1


def _storms(broker: Mosquitto, folder: Path, arguments: argparse.Namespace) -> list[Phase]:
    """Let the fleet come, restart the broker at once, and once more after a long outage."""
    lines = ("max_connections -1", "max_queued_messages 0")
    broker.start(*lines)
    share, rest = divmod(arguments.units, arguments.processes)
    processes, first = [], 0
    for index in range(arguments.processes):
        squad = Squad(first, share + (index < rest), broker.port, folder / "state", over_s=10.0)
        processes.append(multiprocessing.get_context("spawn").Process(target=run, args=(squad,), daemon=True))
        first += squad.units
    phases: list[Phase] = []
    try:
        for process in processes:
            process.start()
        phases.append(_phase("started over 10 s", broker, arguments.units))
        for name, down_s in (
            ("broker restarts", 0.0),
            (f"broker gone for {arguments.down:g} s", arguments.down),
        ):
            _say(f"all {arguments.units} are here; holding them for {HELD_S:g} s")
            time.sleep(HELD_S)
            broker.stop(signal.SIGTERM)
            time.sleep(down_s)
            broker.start(*lines)
            phases.append(_phase(name, broker, arguments.units))
    finally:
        for process in processes:
            process.kill()
            process.join()
    return phases


def _phase(name: str, broker: Mosquitto, units: int) -> Phase:
    from_s, here = int(time.time()), set()
    with listen(broker.config("watcher", keepalive_s=60), f"{ROOT}/fleet/+/state") as listener:
        _take(listener, here, lambda: len(here) >= units)
    _say(f"{name}: {len(here)} of {units} came")
    return Phase(name, from_s, int(time.time()) + 1)


def _take(listener: Listener, here: set[str], enough: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + STORM_S
    while not enough() and time.monotonic() < deadline_s:
        message = listener.receive(1.0)
        if message is not None and decode_state(message.payload).online:
            here.add(message.topic.split("/")[3])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
