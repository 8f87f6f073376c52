"""`deskwatch bench`: runs every measurement, and shows the figures as a table or as JSON."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.bench.capture_gate import GateCost, gate_cost
from edge.bench.footage import moving_pictures
from edge.bench.measure import STAMPS, Gate, Pace, Seal, gate, pace, seal
from edge.bench.memory import Memory, memory
from edge.vision.detector import Detector
from edge.vision.interpreter import Backend
from edge.vision.model_file import find_card

RING = 5
"""Pictures in memory, used in turn, as the buffers of a camera are."""
MEMORY_FRAMES = 300


@dataclass(frozen=True, slots=True)
class Report:
    """All figures."""

    machine: str
    runtime: str
    model: str
    pace: tuple[Pace, ...]
    gate: Gate
    gate_cost: GateCost
    seal: Seal
    memory: tuple[Memory, ...]

    @property
    def void(self) -> bool:
        """Whether a watch skipped a frame on which it was compared."""
        return any(one.inferred != one.frames for one in self.pace)

    def json(self) -> str:
        """Return the figures as one object."""
        return json.dumps(asdict(self))


def measure(model: str, *, seconds: float, frames: int, backend: Backend) -> Report:
    """Measure for about `seconds`, 1 and 2 threads; then memory over 300 frames and, if above 0, `frames`."""
    card, pictures = find_card(model), moving_pictures(RING)
    share_s = seconds / 5
    detectors = {threads: Detector.load(card, threads=threads, backend=backend) for threads in (1, 2)}
    paces = [
        pace(detector, threads, stamps, pictures, share_s)
        for stamps in STAMPS
        for threads, detector in detectors.items()
    ]
    runtime = detectors[2].interpreter.runtime
    return Report(
        machine=f"{os.cpu_count()} CPUs, {_cpu()}",
        runtime=f"{runtime.name} {runtime.version}",
        model=detectors[2].card.name,
        pace=tuple(paces),
        gate=gate(detectors[2], pictures, share_s),
        gate_cost=gate_cost(),
        seal=seal(),
        memory=tuple(memory(card, count, backend) for count in (MEMORY_FRAMES, frames) if count),
    )


def table(report: Report) -> str:
    """Return the figures for people."""
    saved = report.gate
    return "\n".join(
        [
            f"{report.model} on {report.runtime}, {report.machine}",
            "whole watch (640x480 in memory to verdict) beside bare invoke(), frame by frame in turn;",
            "medians; fps ratio: watch over bare invoke, the median of frames, and over the whole run:",
            *[_pace_row(one) for one in report.pace],
            "  frames stamped 10 fps: the scene of each is looked at anew, as on a camera at 10 fps;",
            "  stamped as taken: in motion the scene is looked at every 90 ms, so most frames need no look",
            f"scene gate: {saved.static_inferences} inferences of {saved.frames} static frames,",
            f"  {saved.moving_inferences} of as many moving ones: {100 * saved.share:.1f} %;",
            f"  a skipped frame takes {saved.skipped_frame_ms:.2f} ms",
            _cost_row(report.gate_cost, min(one.invoke_ms for one in report.pace)),
            _seal_row(report.seal, min(one.invoke_ms for one in report.pace)),
            "memory of a replay, in a process of its own:",
            *[_memory_row(one) for one in report.memory],
        ]
    )


def _pace_row(one: Pace) -> str:
    ratios = f"fps ratio {one.ratio:.3f}, {one.ratio_of_sums:.3f}"
    row = (
        f"  {one.threads} threads, {one.stamps:<8}  invoke {one.invoke_ms:6.2f} ms"
        f"  watch {one.watch_ms:6.2f} ms  overhead {one.overhead_ms:5.2f} ms  {ratios}  ({one.frames} frames)"
    )
    return row if one.inferred == one.frames else f"{row}  VOID: {one.inferred} inferred"


def _cost_row(one: GateCost, invoke_ms: float) -> str:
    share = 100 * one.gate_ms / invoke_ms
    return f"capture gate: {one.gate_ms:.4f} ms a frame, {share:.2f} % of one inference"


def _seal_row(one: Seal, invoke_ms: float) -> str:
    size = f"{one.picture_bytes / 1000:g} kB"
    return f"sealing a thumbnail of {size}: {one.seal_ms:.3f} ms, beside one inference of {invoke_ms:.2f} ms"


def _memory_row(one: Memory) -> str:
    course = ", ".join(f"{mb:.0f}" for mb in one.rss_mb_at_tenths)
    return (
        f"  {one.frames} frames, {one.opened} infractions with pictures: peak {one.peak_rss_mb:.0f} MB;"
        f" by tenths {course} MB"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return "unknown processor"
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "unknown processor")
