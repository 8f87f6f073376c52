"""How long a unit takes to its first look, and a diagnosis to its end, beside the bare interpreter.

All are processes of their own, measured in turn in one run, on a replay camera: a warm disk cache, no camera
that has to wake up, and a broker that is not there, as after a power cut.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.control.client import NoUnitHere, ask
from edge.control.protocol import Status, StatusAnswer
from edge.vision.model_file import DEFAULT_CARD, checkout
from tests.broker import Mosquitto
from tests.clip import still
from tests.daemon import COMMAND, Daemon

MODEL = checkout() / "models" / f"{DEFAULT_CARD}.tflite"
BARE = f"""
from ai_edge_litert.interpreter import Interpreter
Interpreter(model_path={str(MODEL)!r}, num_threads=2).allocate_tensors()
"""
PYTHON = [sys.executable, "-B"]
WAIT_S = 60.0
SLOWEST = 25


def ended(command: list[str | Path], codes: tuple[int, ...] = (0,)) -> float:
    """Return how long a command takes, in seconds."""
    began_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_s = time.monotonic() - began_s
    if done.returncode not in codes:
        raise SystemExit(f"bench-start: {command}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return took_s


def first_look(unit: Daemon) -> float:
    """Start the unit; return after how many seconds it has run the model on a frame of its camera."""
    began_s = time.monotonic()
    unit.start()
    while not looked(unit):
        if time.monotonic() - began_s > WAIT_S:
            raise SystemExit(f"bench-start: no inference within {WAIT_S:g} s: {unit.said()[-500:]}")
        time.sleep(0.005)
    return time.monotonic() - began_s


def looked(unit: Daemon) -> bool:
    try:
        answer = ask(unit.state, Status())
    except (NoUnitHere, TimeoutError):
        return False
    return isinstance(answer, StatusAnswer) and bool(answer.facts.get("watch.inferences"))


def rounds(count: int, folder: Path) -> dict[str, list[float]]:
    """Measure all in turn, so many times; the first time, which warms the disk cache, does not count."""
    broker = Mosquitto(folder)  # never started
    unit = Daemon(folder, still("phone in use", folder / "phone.png", share=0.55), broker)
    unit.accept_notice()
    diagnose = [COMMAND, "diagnose", "--offline", "--config", unit.config]
    took: dict[str, list[float]] = {}
    for number in range(count + 1):
        one = {"bare": ended([*PYTHON, "-c", BARE]), "first look": first_look(unit)}
        one["diagnose, it runs"] = ended(diagnose, (0, 1, 2))
        unit.stop()
        one["diagnose, it does not"] = ended(diagnose, (0, 1, 2))
        for name, seconds in one.items():
            took.setdefault(name, []).append(seconds)
        print(
            f"  round {number}: " + ", ".join(f"{name} {s:.2f} s" for name, s in one.items()), file=sys.stderr
        )
    return {name: seconds[1:] for name, seconds in took.items()}


def tell(took: dict[str, list[float]]) -> None:
    bare = took["bare"]
    for name, seconds in took.items():
        ratios = [one / base for one, base in zip(seconds, bare, strict=True)]
        print(
            f"{name:<24} {statistics.median(seconds):6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})"
            f"   {statistics.median(ratios):5.2f} times bare"
        )


def imports(words: list[str]) -> None:
    """Say which modules a command imports that take longest, their own imports included."""
    done = subprocess.run(
        [*PYTHON, "-X", "importtime", "-m", "edge.cli", *words], capture_output=True, text=True, check=False
    )
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    found = [(int(parts[1]), parts[2].rstrip()) for parts in lines[1:]]
    for cumulative_us, name in sorted(found, reverse=True)[:SLOWEST]:
        print(f"{cumulative_us / 1000:8.1f} ms  {name.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench-start", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--imports", nargs=argparse.REMAINDER, metavar="WORD", help="of this command of deskwatch"
    )
    arguments = parser.parse_args()
    if arguments.imports is not None:
        imports(arguments.imports)
        return
    with tempfile.TemporaryDirectory() as folder:
        tell(rounds(arguments.rounds, Path(folder)))


if __name__ == "__main__":
    main()
