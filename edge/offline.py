"""The watch without a unit: footage in, events out. What `deskwatch replay` does."""

import datetime as dt
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from edge.breaks import Breaks
from edge.capture.replay import ReplayCamera
from edge.clock import Clock, SteppedClock, SystemClock
from edge.counts import Counts
from edge.evidence.sealing import SEALED_MEDIA_TYPE
from edge.evidence.thumbnail import Jpeg
from edge.output import write_file
from edge.policy.breaks import BreakBy
from edge.policy.document import Policy, PolicyError, check_labels
from edge.policy.judge import Closed, Opened
from edge.policy.schedule import Off, next_window
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.event_records import Build, Origin
from edge.uplink.messages import Capture, Model, decode_event
from edge.uplink.messages import Event as WireEvent
from edge.uplink.records import Kind, Record, Serial
from edge.uplink.report import Reporter
from edge.uplink.topics import Topics
from edge.vision.detector import Detector
from edge.watch import Watch, frozen_after

log = logging.getLogger(__name__)

_EPOCH = "0" * 32
"""Nothing is spooled here: numbers count from 1 in each replay."""


@dataclass(slots=True)
class Offline:
    """Takes what the watch finds, in place of spool and link; numbers and builds the same messages."""

    reporter: Reporter = field(init=False)
    origin: Origin
    chance: random.Random
    tell: Callable[[Record], None]
    stop: Event
    before_frame: Callable[[], None] = lambda: None
    clock: Clock = field(default_factory=SystemClock)
    seq: int = 0

    def __post_init__(self) -> None:
        self.reporter = Reporter(self.origin, self._put, self.chance, lambda: True, self.clock)

    def _put(self, build: Build) -> None:
        self.seq += 1
        self.tell(build(Serial(_EPOCH, self.seq)))

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Tell of a confirmed infraction."""
        self.reporter.opened(verdict, jpeg, policy, now_at)

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Tell of the end of one."""
        self.reporter.closed(verdict, policy, now_at)

    def capture(self, capture: Capture, reason: str) -> None:
        """End a replay that can never watch again."""
        if reason == Off.POLICY_EXPIRED.value:
            log.warning("the policy has expired: nothing is watched any more")
            self.stop.set()

    def turn(self) -> None:
        """Nothing waits here; whoever counts the turns is told."""
        self.before_frame()


@dataclass(frozen=True, slots=True, order=True)
class PlannedBreak:
    """A break that the worker takes in a replay, in seconds from its begin."""

    from_s: float
    to_s: float


class _Plan:
    """Takes the planned breaks in turn: each ends by itself, as if the policy granted it just so long."""

    def __init__(self, breaks: Iterable[PlannedBreak], offline: Offline, clock: Clock) -> None:
        self._ahead, self._clock = deque(sorted(breaks)), clock
        self.requests = Requests(Breaks(clock, self._length_s, offline.reporter.break_changed), clock)

    def turn(self) -> None:
        """Start the break whose time has come, once the one before is over."""
        now_s = self._clock.now_s()
        while self._ahead and self._ahead[0].to_s <= now_s:
            self._ahead.popleft()
        if self._ahead and self._ahead[0].from_s <= now_s and self.requests.breaks.on is None:
            self.requests.start_break("", BreakBy.LOCAL)
            self._ahead.popleft()

    def _length_s(self) -> float:
        return self._ahead[0].to_s - self._clock.now_s()


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay went."""

    counts: Counts
    opened: int
    problems: tuple[str, ...]
    """What of the footage was not seen, in words."""


def start_of_watch(policy: Policy, now_at: dt.datetime) -> dt.datetime:
    """Return `now_at` if it is on shift and the policy is in force, else when it next is."""
    now_at = max(now_at, policy.issued_at)
    if now_at >= policy.expires_at:
        raise PolicyError(
            "$.expires_at", f"wanted a time after {now_at:%Y-%m-%d %H:%M} UTC, got {policy.expires_at}"
        )
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
    loop: int | None = 1,
    breaks: Iterable[PlannedBreak] = (),
    before_frame: Callable[[int], None] = lambda _carried: None,
) -> Replayed:
    """Run the whole watch on footage, as fast as it goes, on the footage's own timestamps.

    `tell` gets each record as it comes: an event, and its picture behind it. A single image is shown for
    `hold_s`; the footage is played `loop` times, None for without end, and runs on unseen during the
    `breaks`. `before_frame` is told the number of frames carried so far, and may raise EndOfFootage to end
    the replay. Raises FootageError, PolicyError.
    """
    check_labels(policy, detector.card.named_labels)
    clock = SteppedClock(start_at)
    camera = ReplayCamera(source, clock, pace="fast", hold_s=hold_s, loop=loop)
    chance = random.Random(seed)
    model = Model(name=detector.card.name, sha256=detector.card.sha256)
    origin = Origin(Topics("local", "replay"), "replay", model)
    offline = Offline(origin, chance, tell, Event(), clock=clock)
    plan = _Plan(breaks, offline, clock)
    watch = Watch(
        Shutter(camera),
        detector,
        lambda: policy,
        offline,
        clock,
        chance,
        requests=plan.requests,
        frozen_after_s=frozen_after([source]),
    )

    def turn() -> None:
        plan.turn()
        before_frame(watch.counts.frames)

    offline.before_frame = turn
    watch.run(offline.stop)
    return Replayed(watch.counts, offline.reporter.opened_count, tuple(problems(source, camera)))


def problems(source: Path, camera: ReplayCamera) -> list[str]:
    """Return what of the footage was not seen, in words."""
    found = []
    if camera.skipped_count:
        found.append(f"{source}: {camera.skipped_count} images could not be read")
    if camera.truncated:
        found.append(f"{source}: the video ended before its time: it is truncated")
    return found


def event_of(record: Record) -> WireEvent:
    """Return the event that a record begins with."""
    return decode_event(record.messages[0].payload)


def save_picture(record: Record, folder: Path) -> Path | None:
    """Write a record's picture, if it has one: `<event id>.jpg`, or `.sealed`. Raises OutputUnwritable."""
    for message in record.messages:
        if message.kind is Kind.THUMBNAIL:
            suffix = "sealed" if message.content_type == SEALED_MEDIA_TYPE else "jpg"
            path = folder / f"{message.event_id}.{suffix}"
            write_file(path, message.payload)
            return path
    return None
