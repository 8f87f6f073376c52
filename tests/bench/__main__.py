"""scripts/bench-uplink: how fast the uplink drains, and what it costs."""

import argparse
import json
import signal
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.measure import PICTURE_BYTES, Idle, Puts, Race, idle, per_s, puts, race
from tests.broker import PROGRAM, Mosquitto

AIM = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench-uplink", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000, help="of backlog (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (%(default)s)")
    parser.add_argument("--puts", type=int, default=500, help="to time, of each kind (%(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (the system's temporary one)")
    parser.add_argument("--json", action="store_true", help="all figures as one object")
    arguments = parser.parse_args()
    if PROGRAM is None:
        print("bench-uplink: mosquitto is missing: apt install mosquitto", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        (folder / "broker").mkdir()
        broker = Mosquitto(folder / "broker")
        broker.start()
        try:
            timed = [puts(folder, arguments.puts, size) for size in (0, PICTURE_BYTES)]
            both = race(folder, broker.port, arguments.events, arguments.rounds, _say)
            try:
                quiet = idle(folder, broker.port)
            except PermissionError:
                quiet = None
        finally:
            broker.stop(signal.SIGKILL)
    if arguments.json:
        figures = {"puts": [asdict(one) for one in timed], "race": {**asdict(both), "ratio": both.ratio}}
        print(json.dumps({**figures, "idle": quiet and asdict(quiet)}))
    else:
        print(_table(timed, both, quiet))
    return 0 if both.ratio_with_properties >= AIM else 1


def _table(timed: list[Puts], both: Race, quiet: Idle | None) -> str:
    sides = {
        "uplink, from the spool": both.uplink,
        "bare paho, payloads alone": both.bare,
        "bare paho, the uplink's own packets": both.bare_with_properties,
    }
    lines = [f"a backlog of {both.events} events, window 16; messages per second, and least CPU a message:"]
    for name, runs in sides.items():
        each, cpu_us = ", ".join(f"{run.per_s:.0f}" for run in runs), min(run.cpu_us for run in runs)
        lines.append(f"  {name:<36} {per_s(runs):8.0f}  ({each})  {cpu_us:.0f} µs")
    lines += [
        (
            f"  ratio with the same packets {both.ratio_with_properties:.2f} (wanted {AIM});"
            f" with payloads alone {both.ratio:.2f}, by CPU {both.cpu_ratio:.2f}"
        ),
        (
            f"disk written for an event, delivered and forgotten:"
            f" {statistics.median(run.written_bytes for run in both.uplink):.0f} bytes"
        ),
    ]
    for one in timed:
        what = f"an event and {one.picture_bytes} bytes of picture" if one.picture_bytes else "an event"
        lines.append(
            f"put of {what}: p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms,"
            f" {one.written_bytes:.0f} bytes written to the disk"
        )
    if quiet is None:
        lines.append("NOT MEASURED: an idle unit's bytes a day: wanted root, to count packets")
    else:
        lines.append(
            f"an idle unit, health every {quiet.health_every_s:g} s, keepalive {quiet.keepalive_s} s, a day:"
            f" {quiet.ip_bytes_a_day / 1000:.0f} kB of IP, {quiet.mqtt_bytes_a_day / 1000:.0f} kB of MQTT"
            f" ({quiet.healths} counted, {quiet.ip_bytes_per_health:.0f} bytes each with its pings);"
            f" a connection: {quiet.connect_ip_bytes} bytes of IP"
        )
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
