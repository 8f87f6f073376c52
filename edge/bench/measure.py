"""The whole watch beside the bare interpreter, measured alternately in one process."""

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event

from edge.bench.footage import START_AT, BenchImpossible, as_taken, at_10_fps, noisy
from edge.capture.frame import Frame, Pixels
from edge.capture.replay import ReplayCamera
from edge.clock import SteppedClock
from edge.evidence import sealing
from edge.evidence.sealing import new_private_key
from edge.offline import Offline
from edge.policy.document import PERSON, Policy, Thumbnail, parse_policy
from edge.shutter import Shutter
from edge.uplink.event_records import Origin
from edge.uplink.messages import Model
from edge.uplink.topics import Topics
from edge.vision.detector import Detector
from edge.vision.interpreter import TfliteInterpreter
from edge.watch import Watch

STAMPS: dict[str, Callable[[list[Pixels]], Iterator[Frame]]] = {
    "10 fps": at_10_fps,
    "as taken": as_taken,
}
"""How frames are stamped: as a camera at 10 fps gives them, so that the scene of each is looked at anew; or
as fast as the machine takes them, so that in this fast motion the scene is looked at every 90 ms only."""
WARM_S = 1.0
FRAMES_MIN, GATE_FRAMES_MIN = 10, 100
PICTURE_BYTES, SEALINGS = Thumbnail().max_bytes, 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """One side by side measurement. Medians over `frames` frames."""

    threads: int
    stamps: str
    """A key of `STAMPS`."""
    frames: int
    inferred: int
    """Frames on which the watch ran the model: all, or the comparison is void."""
    invoke_ms: float
    """Bare `invoke()`, the input already in place."""
    watch_ms: float
    """The whole watch on the same frame, that invoke included."""
    overhead_ms: float
    """Watch less bare invoke, frame by frame."""
    ratio: float
    """Frames per second of the watch over those of bare invoke: median of the ratios frame by frame."""
    ratio_of_sums: float
    """The same over the whole run: all of the time of bare invoke over all of the watch's."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the scene gate saves, on frames at 10 fps."""

    moving_inferences: int
    static_inferences: int
    frames: int
    skipped_frame_ms: float
    """A frame of a static scene on which no inference ran."""
    share: float
    """Inferences of the static scene over those of the moving one."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Sealing one thumbnail to a reviewer's key."""

    picture_bytes: int
    sealings: int
    seal_ms: float
    """Median."""


def pace(detector: Detector, threads: int, stamps: str, pictures: list[Pixels], seconds: float) -> Pace:
    """Alternate one watched frame and one bare invoke, which gets the very input of that frame."""
    interpreter = detector.interpreter
    if not isinstance(interpreter, TfliteInterpreter):
        raise BenchImpossible(f"wanted a real interpreter, got {type(interpreter).__name__}")
    watch, frames = make_watch(detector), STAMPS[stamps](pictures)
    end_s = time.perf_counter() + min(WARM_S, seconds)
    for frame in frames:
        watch.carry(frame)
        if time.perf_counter() > end_s and watch.counts.frames >= FRAMES_MIN:
            break
    watch.counts.inferences = 0
    bare_s: list[float] = []
    whole_s: list[float] = []
    end_s = time.perf_counter() + seconds
    for frame in frames:
        began_s = time.perf_counter()
        watch.carry(frame)
        carried_s = time.perf_counter()
        interpreter.invoke_again()
        invoked_s = time.perf_counter()
        whole_s.append(carried_s - began_s)
        bare_s.append(invoked_s - carried_s)
        if invoked_s > end_s and len(bare_s) >= FRAMES_MIN:
            break
    pairs = list(zip(bare_s, whole_s, strict=True))
    return Pace(
        threads,
        stamps,
        len(pairs),
        watch.counts.inferences,
        _median_ms(bare_s),
        _median_ms(whole_s),
        _median_ms([whole - bare for bare, whole in pairs]),
        round(statistics.median(bare / whole for bare, whole in pairs), 4),
        round(sum(bare_s) / sum(whole_s), 4),
    )


def gate(detector: Detector, pictures: list[Pixels], seconds: float) -> Gate:
    """Count the inferences of equally many frames of a moving and of a static, noisy scene."""
    end_s = time.perf_counter() + seconds
    moving = make_watch(detector)
    for frame in at_10_fps(pictures):
        moving.carry(frame)
        if time.perf_counter() > end_s and moving.counts.frames >= GATE_FRAMES_MIN:
            break
    frames, static, skipped_s = moving.counts.frames, make_watch(detector), []
    for frame in islice(at_10_fps(noisy(pictures[0], 16)), frames):
        before, began_s = static.counts.inferences, time.perf_counter()
        static.carry(frame)
        if static.counts.inferences == before:
            skipped_s.append(time.perf_counter() - began_s)
    share = static.counts.inferences / moving.counts.inferences
    inferences = moving.counts.inferences, static.counts.inferences
    return Gate(*inferences, frames, _median_ms(skipped_s), round(share, 4))


def seal() -> Seal:
    """Seal a thumbnail of the largest size that a policy has by default, again and again."""
    picture, recipient = random.Random(0).randbytes(PICTURE_BYTES), new_private_key().recipient
    sealing.seal(picture, recipient, "bench", "warm")  # imports cryptography
    taken_s = []
    for number in range(SEALINGS):
        began_s = time.perf_counter()
        sealing.seal(picture, recipient, "bench", str(number))
        taken_s.append(time.perf_counter() - began_s)
    return Seal(PICTURE_BYTES, SEALINGS, _median_ms(taken_s))


def make_watch(detector: Detector) -> Watch:
    """Return a watch whose camera is never opened: frames are carried into it by hand."""
    # Never confirmed, so that no picture is made: the loop is measured, not its rare events.
    policy = bench_policy(detector, object_s=86400, people_s=86400, thumbnail=False)
    clock = SteppedClock(START_AT)
    model = Model(name=detector.card.name, sha256=detector.card.sha256)
    origin = Origin(Topics("local", "bench"), "bench", model)
    taker = Offline(origin, random.Random(0), lambda _record: None, Event())
    return Watch(
        Shutter(ReplayCamera(Path(), clock)), detector, lambda: policy, taker, clock, random.Random(0)
    )


def bench_policy(detector: Detector, *, object_s: float, people_s: float, thumbnail: bool) -> Policy:
    """Return a policy with a rule of each kind that looks, on labels that the model has. Holds in seconds."""
    labels = detector.card.named_labels
    if PERSON not in labels:
        raise BenchImpossible(f"wanted a model that sees a {PERSON}, got {detector.card.name}")
    rules: list[dict[str, object]] = [
        {"id": "extra-person", "kind": "people", "max": 1, "hold_s": people_s},
        {"id": "absent", "kind": "people", "min": 1, "hold_s": people_s},
        {"id": "camera-blocked", "kind": "tamper", "hold_s": people_s},
    ]
    if things := sorted((one for one in labels if one != PERSON), key=lambda one: one != "cell phone"):
        rules.append({"id": "object", "kind": "object", "labels": things[:1], "hold_s": object_s})
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    document = {
        "schema": "policy/1",
        "version": 1,
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2036-01-01T00:00:00Z",
        "timezone": "UTC",
        "shifts": [{"days": days, "start": "00:00", "end": "24:00"}],
        "watch": {"mode": "continuous"},
        "rules": [{**rule, "thumbnail": thumbnail} for rule in rules],
    }
    return parse_policy(json.dumps(document).encode())


def _median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000.0, 3) if seconds else 0.0
