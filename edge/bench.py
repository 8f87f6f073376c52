"""`deskwatch bench`: the whole watch beside the bare interpreter, measured alternately in one process."""

import datetime as dt
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np

from edge import offline
from edge.capture.frame import Frame, Pixels
from edge.capture.replay import ReplayCamera
from edge.clock import SteppedClock
from edge.errors import EdgeError
from edge.policy.document import Policy, parse_policy
from edge.uplink.messages import Model, Topics
from edge.uplink.report import Origin
from edge.vision.detector import Detector
from edge.vision.interpreter import TfliteInterpreter
from edge.vision.model_file import find_card
from edge.watch import Watch

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 10.0
RING = 5
"""Frames in memory, used in turn, as the buffers of a camera are."""
PAN_PX = 6
START_AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
_POLICY = {
    "schema": "policy/1",
    "version": 1,
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2036-01-01T00:00:00Z",
    "timezone": "UTC",
    "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}],
    "watch": {"mode": "continuous"},
    # Never confirmed, so that no picture is made: the loop is measured, not its rare events.
    "rules": [
        {"id": "object", "kind": "object", "labels": ["person"], "hold_s": 86400, "thumbnail": False},
        {"id": "extra-person", "kind": "people", "max": 1, "hold_s": 86400, "thumbnail": False},
        {"id": "absent", "kind": "people", "min": 1, "hold_s": 86400, "thumbnail": False},
        {"id": "camera-blocked", "kind": "tamper", "hold_s": 86400, "thumbnail": False},
    ],
}


class BenchImpossible(EdgeError):
    """Nothing can be measured here: give a model with --model."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One side by side measurement. Medians over `frames` frames."""

    threads: int
    frames: int
    inferred: int
    """Frames on which the watch ran the model: all, or the comparison is void."""
    invoke_ms: float
    """Bare `invoke()`, the input already in place."""
    watch_ms: float
    """The whole watch on the same frame, that invoke included."""
    ratio: float
    """Frames per second of the watch over those of bare invoke: median of the ratios frame by frame."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the scene gate saves."""

    moving_inferences: int
    static_inferences: int
    frames: int
    skipped_frame_ms: float
    """A frame of a static scene on which no inference ran."""
    share: float
    """Inferences of the static scene over those of the moving one."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one `deskwatch replay` process."""

    frames: int
    peak_rss_mb: float
    rss_mb_at_tenths: tuple[float, ...]
    """After each tenth of the frames; empty where only the peak was asked for."""


def run(model: str | None, *, seconds: float, frames: int, as_json: bool) -> int:
    """Measure, print a table or JSON. Exit code 1 where a comparison is void, else 0."""
    card = find_card(model or "ssd-mobilenet-v1-coco")
    clip = moving_frames(RING)
    paces = [pace(card, threads, clip, seconds / 3) for threads in (1, 2)]
    saved = gate(card, clip, seconds / 3)
    memories = [memory(card, 300)] + ([memory(card, frames)] if frames else [])
    detector = Detector.load(card, threads=1)
    runtime = detector.interpreter.runtime
    report = {
        "machine": f"{os.cpu_count()} CPUs, {_cpu()}",
        "runtime": f"{runtime.name} {runtime.version}",
        "model": detector.card.name,
        "pace": [asdict(one) for one in paces],
        "gate": asdict(saved),
        "memory": [asdict(one) for one in memories],
    }
    print(json.dumps(report) if as_json else _table(report))  # noqa: T201
    return 0 if all(one.inferred == one.frames for one in paces) else 1


def pace(card: Path, threads: int, clip: list[Pixels], seconds: float) -> Pace:
    """Alternate one bare invoke and one watched frame, each with the very input of that frame."""
    detector = Detector.load(card, threads=threads)
    interpreter = detector.interpreter
    if not isinstance(interpreter, TfliteInterpreter):
        raise BenchImpossible(f"wanted a real interpreter, got {type(interpreter).__name__}")
    watch = make_watch(detector)
    for frame in _as_they_come(clip, 1.0):
        watch.carry(frame)
    watch.counts.inferences = 0
    bare_s, whole_s = [], []
    for frame in _as_they_come(clip, seconds):
        began_s = time.perf_counter()
        watch.carry(frame)
        carried_s = time.perf_counter()
        interpreter.invoke_again()
        invoked_s = time.perf_counter()
        whole_s.append(carried_s - began_s)
        bare_s.append(invoked_s - carried_s)
    ratio = statistics.median(bare / whole for bare, whole in zip(bare_s, whole_s, strict=True))
    return Pace(
        threads,
        len(bare_s),
        watch.counts.inferences,
        _ms(bare_s),
        _ms(whole_s),
        round(ratio, 4),
    )


def gate(card: Path, clip: list[Pixels], seconds: float) -> Gate:
    """Count the inferences of equally many frames of a moving and of a static, noisy scene."""
    detector = Detector.load(card, threads=2)
    began_s = time.perf_counter()
    moving = make_watch(detector)
    frames = 0
    for frame in _frames(clip, 100_000):
        moving.carry(frame)
        frames += 1
        if time.perf_counter() - began_s > seconds and frames >= 100:
            break
    static = make_watch(detector)
    skipped_s = []
    for frame in _frames(noisy(clip[0], 16), frames):
        before, began_s = static.counts.inferences, time.perf_counter()
        static.carry(frame)
        if static.counts.inferences == before:
            skipped_s.append(time.perf_counter() - began_s)
    share = static.counts.inferences / moving.counts.inferences
    return Gate(moving.counts.inferences, static.counts.inferences, frames, _ms(skipped_s), round(share, 4))


def memory(card: Path, frames: int) -> Memory:
    """Replay `frames` frames of a moving clip in a process of its own, and ask the kernel for its peak."""
    script = f"from edge.bench import replay_frames; replay_frames({str(card)!r}, {frames})"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BenchImpossible(f"wanted a replay of {frames} frames, it ended with {done.returncode}")
    *tenths, peak_mb = (float(line) for line in done.stdout.split())
    return Memory(frames, peak_mb, tuple(tenths))


def replay_frames(card: str, frames: int) -> None:
    """Replay footage in a loop, printing the resident MB after each tenth. Runs in the child process."""
    detector = Detector.load(Path(card), threads=2)
    clock = SteppedClock(START_AT)
    camera = ReplayCamera(footage(), clock, loop=None)
    watch = make_watch(detector)
    camera.open()
    for number in range(1, frames + 1):
        with camera.frame(5.0) as frame:
            watch.carry(frame)
        if number % max(1, frames // 10) == 0:
            print(_memory_mb("VmRSS"), flush=True)  # noqa: T201
    camera.close()
    print(_memory_mb("VmHWM"), flush=True)  # noqa: T201


def make_watch(detector: Detector) -> Watch:
    """Return a watch whose camera is never opened: frames are carried into it by hand."""
    policy = bench_policy(detector)
    clock = SteppedClock(START_AT)
    model = Model(name=detector.card.name, sha256=detector.card.sha256)
    origin = Origin(Topics("local", "bench"), "bench", model)
    taker = offline.Offline(origin, random.Random(0), lambda _record: None, Event())
    return Watch(ReplayCamera(Path(), clock), detector, lambda: policy, taker, clock, random.Random(0))


def bench_policy(detector: Detector) -> Policy:
    """Return a policy with a rule of each kind that looks, on labels that the model has."""
    if "person" not in detector.card.labels:
        raise BenchImpossible(f"wanted a model that sees a person, got {detector.card.name}")
    return parse_policy(json.dumps(_POLICY).encode())


def footage() -> Path:
    """Return a clip of a moving person."""
    clip = offline.shared_folder() / "clips" / "head-pose-face-detection-female-and-male.gif"
    if not clip.is_file():
        raise BenchImpossible(f"wanted a moving clip to measure on, got none at {clip}")
    return clip


def moving_frames(count: int) -> list[Pixels]:
    """Return RGB frames, uint8 (480, 640, 3), of a clip under a panning camera.

    Every frame differs from the one before, so that the gate lets each pass: the model's work is compared.
    """
    clock = SteppedClock(START_AT)
    camera = ReplayCamera(footage(), clock, loop=None)
    camera.open()
    frames = []
    for number in range(count):
        with camera.frame(5.0) as frame:
            wide = cv2.resize(frame.pixels, (WIDTH_PX + PAN_PX * count, HEIGHT_PX))
        left = PAN_PX * number
        frames.append(np.ascontiguousarray(wide[:, left : left + WIDTH_PX], np.uint8))
    camera.close()
    return frames


def noisy(pixels: Pixels, count: int) -> list[Pixels]:
    """Return `count` versions of a picture, each with a sensor's noise of its own, sigma 4."""
    rng = np.random.default_rng(0)
    return [
        np.clip(pixels + rng.normal(0.0, 4.0, pixels.shape), 0, 255).astype(np.uint8) for _ in range(count)
    ]


def _as_they_come(clip: list[Pixels], seconds: float) -> Iterable[Frame]:
    """Give frames as fast as they are taken, each with the time at which it is."""
    end_s, number = time.perf_counter() + seconds, 0
    while (now_s := time.perf_counter()) < end_s:
        yield Frame(clip[number % len(clip)], now_s, START_AT)
        number += 1


def _frames(clip: list[Pixels], count: int) -> Iterable[Frame]:
    for number in range(count):
        seconds = number / FPS
        yield Frame(clip[number % len(clip)], seconds, START_AT + dt.timedelta(seconds=seconds))


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000.0, 3) if seconds else 0.0


def _memory_mb(what: str) -> float:
    """Return a line of /proc/self/status; wait4's ru_maxrss would count the parent's memory before exec."""
    status = Path("/proc/self/status").read_text("ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:"))
    return round(int(kilobytes) / 1024, 1)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return "unknown processor"
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "unknown processor")


def _table(report: dict[str, Any]) -> str:
    gate_, rows = report["gate"], []
    for one in report["pace"]:
        void = (
            ""
            if one["inferred"] == one["frames"]
            else f"  VOID: {one['inferred']} of {one['frames']} inferred"
        )
        rows.append(
            f"  {one['threads']} threads   invoke {one['invoke_ms']:7.2f} ms"
            f"   watch {one['watch_ms']:7.2f} ms   ratio {one['ratio']:.3f}   ({one['frames']} frames){void}"
        )
    for one in report["memory"]:
        course = ", ".join(f"{mb:.0f}" for mb in one["rss_mb_at_tenths"])
        rows.append(
            f"  replay of {one['frames']} frames: peak {one['peak_rss_mb']:.0f} MB; by tenths {course} MB"
        )
    return "\n".join(
        [
            f"{report['model']} on {report['runtime']}, {report['machine']}",
            "whole watch (640x480 in memory to verdict) beside bare invoke(), alternately, medians:",
            *rows[:2],
            f"scene gate: {gate_['static_inferences']} inferences of {gate_['frames']} static frames,",
            f"  {gate_['moving_inferences']} of as many moving ones: {100 * gate_['share']:.1f} %;",
            f"  a skipped frame takes {gate_['skipped_frame_ms']:.2f} ms",
            "memory, in a process of its own:",
            *rows[2:],
        ]
    )
