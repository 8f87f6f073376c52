"""Render labelled desk scenes in bulk: `python -m scenes.render --out DIR --count N --seed S`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tqdm import tqdm

from scenes import frame  # first: it sets OpenCV up for EXR
from scenes.camera import distort, draw_sensor, expose, to_jpeg
from scenes.labels import describe, number
from scenes.scene import PROFILES, compose
from scenes.sheet import contact_sheet

import bpy  # isort: skip
import numpy as np  # isort: skip

CHUNK = 100  # scenes per process: Blender's memory grows with each


def write(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(data)
    part.replace(path)


def render_one(out: Path, index: int, seed: int, profile: str, scratch: Path) -> None:
    """Build, render and label scene `index`; the label file comes last, so that it marks a finished pair."""
    # Profiles draw from separate streams: test scenes never repeat training scenes of the same seed.
    rng = np.random.default_rng([seed, PROFILES.index(profile), index])
    frame.clear()
    scene = compose(rng, profile)
    number(scene.things)
    linear, index_map = frame.shoot(scratch, seed * 1_000_003 + index)
    sensor = draw_sensor(rng, dim=scene.room.light < 0.2)
    index_map = distort(sensor, index_map.astype(np.float32), exact=True).astype(np.int32)
    picture = expose(sensor, distort(sensor, linear, exact=False), rng)
    width, height = scene.size_px
    labels = {
        "seed": seed,
        "index": index,
        "profile": profile,
        "width_px": width,
        "height_px": height,
        "view": scene.view,
        "light": scene.room.kind,
        "held": scene.held,
        **describe(scene.things, index_map, bpy.context.scene.camera),
    }
    write(out / f"{index:06}.jpg", to_jpeg(sensor, picture))
    write(out / f"{index:06}.json", json.dumps(labels).encode())


def work(args: argparse.Namespace) -> None:
    """Render the numbers first to first + count - 1 that are not there yet, in this process."""
    frame.start(args.samples, args.threads)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Blender reports every render on standard output
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(args.first, args.first + args.count):
            if (args.out / f"{index:06}.json").exists():
                continue
            try:
                render_one(args.out, index, args.seed, args.profile, Path(scratch))
            except (
                ValueError,
                IndexError,
                KeyError,
                ZeroDivisionError,
            ):  # one odd scene must not end a night's run
                sys.stderr.write(
                    f"left out scene {index} of seed {args.seed}, {args.profile}:\n{traceback.format_exc()}\n"
                )


def _command(args: argparse.Namespace, first: int, count: int) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "scenes.render",
            "--worker",
            "--out",
            str(args.out),
            "--seed",
            str(args.seed),
        ),
        *("--profile", args.profile, "--samples", str(args.samples), "--threads", str(args.threads)),
        *("--first", str(first), "--count", str(count)),
    ]


def supervise(args: argparse.Namespace) -> None:
    """Run the chunks in worker processes, `jobs` at a time, and show what is done."""
    last = args.first + args.count
    chunks = [(a, min(CHUNK, last - a)) for a in range(args.first, last, CHUNK)]
    running: list[subprocess.Popen[bytes]] = []
    with tqdm(total=args.count, unit="scene") as bar:
        while chunks or running:
            while chunks and len(running) < args.jobs:
                log = (args.out / "render.log").open("ab")
                running.append(subprocess.Popen(_command(args, *chunks.pop(0)), stdout=log, stderr=log))  # noqa: S603
            time.sleep(1.0)
            for process in [p for p in running if p.poll() is not None]:
                running.remove(process)
                if process.returncode:
                    for other in running:
                        other.terminate()
                    raise SystemExit(
                        f"a worker ended with {process.returncode}; see {args.out / 'render.log'}"
                    )
            bar.n = sum((args.out / f"{i:06}.json").exists() for i in range(args.first, last))
            bar.refresh()
    missing = args.count - bar.n
    if missing:
        sys.stderr.write(
            f"{missing} of {args.count} scenes could not be built; {args.out / 'render.log'} says why\n"
        )


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scenes.render", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for NNNNNN.jpg and NNNNNN.json")
    parser.add_argument("--count", type=int, default=24, help="scenes to have, those already there included")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", choices=PROFILES, default="train")
    parser.add_argument("--samples", type=int, default=8, help="rays per pixel before denoising")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--threads", type=int, default=2, help="threads of each process")
    parser.add_argument(
        "--sheet", type=Path, help="also draw the first 24 with their boxes to this PNG or JPEG"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    """Run the command."""
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.worker:
        work(args)
        return
    supervise(args)
    if args.sheet:
        contact_sheet(args.out, args.sheet, args.first)


if __name__ == "__main__":
    main()
