"""The memory of one replay, in a process of its own: `python -m edge.bench.memory CARD FRAMES BACKEND`."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge.bench.footage import START_AT, BenchImpossible, clip
from edge.bench.measure import bench_policy
from edge.capture.frame import EndOfFootage
from edge.offline import replay
from edge.output import put
from edge.uplink.records import Kind, Record
from edge.vision.detector import Detector
from edge.vision.interpreter import Backend

PLAYS = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process that replays a clip again and again, as `deskwatch replay` does, infractions and all."""

    frames: int
    opened: int
    """Infractions that opened on the way, each with its picture."""
    peak_rss_mb: float
    rss_mb_at_tenths: tuple[float, ...]
    """After each tenth of the frames."""


def memory(card: Path, frames: int, backend: Backend) -> Memory:
    """Replay `frames` frames in a process of its own, and ask the kernel for its peak."""
    command = [sys.executable, "-P", "-m", "edge.bench.memory", str(card), str(frames), backend]
    # In a session of its own Ctrl-C reaches this process alone, which ends the other.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, start_new_session=True)  # noqa: S603
    if done.returncode:
        raise BenchImpossible(f"wanted a replay of {frames} frames, it ended with {done.returncode}")
    *tenths, peak_mb, opened = (float(line) for line in done.stdout.split())
    return Memory(frames, int(opened), peak_mb, tuple(tenths))


def replay_frames(card: Path, frames: int, backend: Backend) -> None:
    """Replay over and over; print the resident MB after each tenth, the peak, and the number of pictures."""
    detector = Detector.load(card, threads=2, backend=backend)
    policy = bench_policy(detector, object_s=1, people_s=1, thumbnail=True)
    pictures = before = 0

    def tell(record: Record) -> None:
        nonlocal pictures
        pictures += any(message.kind is Kind.THUMBNAIL for message in record.messages)

    def count(since: int) -> None:
        carried = before + since
        if since and carried % max(1, frames // 10) == 0:
            put(str(_memory_mb("VmRSS")))
        if carried >= frames:
            raise EndOfFootage(f"{frames} frames")

    while before < frames:  # each replay closes what it opened, so that the next one opens it anew
        done = replay(clip(), detector, policy, START_AT, tell, seed=0, loop=PLAYS, before_frame=count)
        before += done.counts.frames
    put(f"{_memory_mb('VmHWM')}\n{pictures}")


def _memory_mb(what: str) -> float:
    """Return a line of /proc/self/status; wait4's ru_maxrss would count the parent's memory before exec."""
    status = Path("/proc/self/status").read_text("ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:"))
    return round(int(kilobytes) / 1024, 1)


if __name__ == "__main__":
    replay_frames(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])  # type: ignore[arg-type]
