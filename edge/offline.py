"""The watch without a unit: footage in, events out. What `deskwatch replay` does."""

import datetime as dt
import logging
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from edge.capture.footage import IMAGE_SUFFIXES
from edge.capture.replay import ReplayCamera
from edge.clock import SteppedClock
from edge.errors import EdgeError
from edge.evidence.thumbnail import Jpeg
from edge.policy.document import Policy, PolicyError, check_labels
from edge.policy.judge import Closed, Opened
from edge.policy.schedule import next_window
from edge.uplink.messages import Capture, ClosedEvent, Model, OpenedEvent, Topics, decode_event
from edge.uplink.messages import Event as WireEvent
from edge.uplink.records import Kind, Record
from edge.uplink.report import Build, Origin, Reporter
from edge.vision.detector import Detector
from edge.vision.model_file import checkout
from edge.watch import Counts, Watch

log = logging.getLogger(__name__)


class OutputUnwritable(EdgeError):
    """The folder for pictures cannot be written: choose another with --out."""


@dataclass(slots=True)
class Offline:
    """Takes what the watch finds, in place of spool and link; numbers and builds the same messages."""

    reporter: Reporter = field(init=False)
    origin: Origin
    chance: random.Random
    tell: Callable[[Record], None]
    stop: Event
    seq: int = 0

    def __post_init__(self) -> None:
        self.reporter = Reporter(self.origin, self._put, self.chance, lambda: True)

    def _put(self, build: Build) -> None:
        self.seq += 1
        self.tell(build(self.seq))

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Tell of a confirmed infraction."""
        self.reporter.opened(verdict, jpeg, policy, now_at)

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Tell of the end of one."""
        self.reporter.closed(verdict, policy, now_at)

    def capture(self, capture: Capture, reason: str) -> None:
        """End a replay that can never watch again."""
        if reason == "policy-expired":
            log.warning("the policy has expired: nothing is watched any more")
            self.stop.set()

    def turn(self) -> None:
        """Nothing waits here."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay went."""

    counts: Counts
    opened: int
    skipped: int
    """Images that could not be read."""
    truncated: bool
    """The video ended before its time."""


def shared_folder() -> Path:
    """Return the folder of models, photos and clips beside a checkout; it may not be there."""
    return Path(os.environ.get("DESKWATCH_SHARED", checkout().parent / "shared"))


def start_of_watch(policy: Policy, now_at: dt.datetime) -> dt.datetime:
    """Return `now_at` if it is on shift, else the start of the next shift."""
    window = next_window(policy, now_at)
    if window is None or window.start_at >= policy.expires_at:
        raise PolicyError("$.shifts", f"wanted a shift after {now_at:%Y-%m-%d %H:%M} UTC, got none")
    return max(window.start_at, now_at)


def replay(
    source: Path,
    detector: Detector,
    policy: Policy,
    start_at: dt.datetime,
    tell: Callable[[Record], None],
    *,
    seed: int | None = None,
    hold_s: float = 5.0,
    stop: Event | None = None,
) -> Replayed:
    """Run the whole watch on footage, as fast as it goes, on the footage's own timestamps.

    `tell` gets each record as it comes: an event, and its picture behind it. A single image is shown for
    `hold_s`. Raises FootageError, PolicyError.
    """
    check_labels(policy, detector.card.labels)
    clock = SteppedClock(start_at)
    camera = ReplayCamera(source, clock, pace="fast", hold_s=hold_s)
    chance = random.Random(seed)
    model = Model(name=detector.card.name, sha256=detector.card.sha256)
    origin = Origin(Topics("local", "replay"), "replay", model)
    offline = Offline(origin, chance, tell, stop or Event())
    # A still picture never changes: that says nothing of a camera.
    frozen_after_s = math.inf if source.suffix.lower() in IMAGE_SUFFIXES else 30.0
    watch = Watch(camera, detector, lambda: policy, offline, clock, chance, frozen_after_s=frozen_after_s)
    watch.run(offline.stop)
    return Replayed(watch.counts, offline.reporter.opened_count, camera.skipped_count, camera.truncated)


def problems(done: Replayed) -> list[str]:
    """Return what of the footage was not seen, in words."""
    found = []
    if done.skipped:
        found.append(f"{done.skipped} images could not be read")
    if done.truncated:
        found.append("the video ended before its time: it is truncated")
    return found


def make_folder(path: Path) -> None:
    """Make the folder for pictures. Raises OutputUnwritable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"{path}: wanted a folder for pictures, got: {error.strerror}") from error


def event_of(record: Record) -> WireEvent:
    """Return the event that a record begins with."""
    return decode_event(record.messages[0].payload)


def save_picture(record: Record, folder: Path) -> Path | None:
    """Write a record's picture, if it has one, as `<event id>.jpg`."""
    for message in record.messages:
        if message.kind is Kind.THUMBNAIL:
            path = folder / f"{message.event_id}.jpg"
            try:
                path.write_bytes(message.payload)
            except OSError as error:
                raise OutputUnwritable(f"{path}: wanted to write a picture, got: {error.strerror}") from error
            return path
    return None


def line_of(event: WireEvent, start_at: dt.datetime) -> str:
    """Return an event as a line for people."""
    elapsed_s = (dt.datetime.fromisoformat(event.time) - start_at).total_seconds()
    head = f"{int(elapsed_s // 60):3d}:{elapsed_s % 60:04.1f}"
    if isinstance(event, ClosedEvent):
        return (
            f"{head}  closed  {event.subject:<16} after {event.data.duration_s:.1f} s ({event.data.reason})"
        )
    return f"{head}  opened  {event.subject:<16} {words_of(event)}"


def words_of(event: OpenedEvent) -> str:
    """Return what was seen, in words."""
    data = event.data
    match data.rule.kind:
        case "people" if data.people:
            return f"{data.people} people"
        case "people":
            return "nobody there"
        case "activity":
            return "workstation idle"
        case _:
            seen = ", ".join(data.labels)
            return f"{seen} {data.score:.2f}" if data.score is not None else seen
