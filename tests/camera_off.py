"""A watch in a process of its own, whose memory can be searched: python -m tests.camera_off FOOTAGE [leaky].

It writes `watching` once it has carried frames, and `off` when it begins to wait with its camera closed. It
reads `break`, `shift end` and `go on`.
"""

import datetime as dt
import random
import sys
import threading
from pathlib import Path
from threading import Event

from edge.breaks import Breaks
from edge.capture import footage, replay
from edge.capture.replay import ReplayCamera
from edge.clock import SystemClock
from edge.policy.document import parse_policy
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.messages import Capture
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.watch import Watch

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
POLICY = parse_policy(b"""{
  "schema": "policy/1", "version": 1, "timezone": "UTC",
  "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z",
  "watch": {"mode": "continuous"},
  "shifts": [{"days": ["mon"], "start": "09:00", "end": "17:00"}],
  "rules": [{"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 300},
            {"id": "absent", "kind": "people", "min": 1, "hold_s": 300},
            {"id": "blocked", "kind": "tamper", "hold_s": 300}]}""")
FRAMES = 8


class WallClock(SystemClock):
    """Noon at the start, and later when told."""

    def __init__(self, told):
        super().__init__()
        self.told = told
        self.start_s, self.later = self.now_s(), dt.timedelta()

    def now_at(self):
        return NOON + self.later + dt.timedelta(seconds=self.now_s() - self.start_s)

    def sleep(self, seconds):
        self.told.waits()
        super().sleep(seconds)


class Told:
    """Says over standard output what the watch does."""

    def __init__(self):
        self.watch = None
        self.said, self.capture_now = "", Capture.STOPPED
        self.wanted = FRAMES

    def opened(self, *_):
        pass

    closed = opened

    def capture(self, capture, reason):
        self.capture_now = capture

    @property
    def watching(self):
        return self.capture_now in (Capture.WATCHING, Capture.BLOCKED)

    def turn(self):
        if self.watching and self.watch.counts.frames >= self.wanted and self.said != "watching":
            self.say("watching")

    def waits(self):
        if not self.watching and self.said == "watching":
            self.say("off")

    def say(self, word):
        self.said, self.wanted = word, self.watch.counts.frames + FRAMES
        print(word, flush=True)


def main():
    if sys.argv[2:] == ["leaky"]:
        # What the memory is without the measures that this project takes.
        replay.overwrite_what_is_freed = lambda: False
        replay.release_memory = lambda: None
        replay.blacken = footage.blacken = lambda *_: None
        Detector.forget = lambda _self: None
    told, stop = Told(), Event()
    clock = WallClock(told)
    camera = ReplayCamera(Path(sys.argv[1]), clock, pace="real", loop=None)
    requests = Requests(Breaks(clock, lambda: POLICY.breaks.max_s, lambda *_: None), clock)
    detector = Detector.load(find_card(DEFAULT_CARD), threads=1)
    shutter = Shutter(camera)
    watch = Watch(shutter, detector, lambda: POLICY, told, clock, random.Random(1), requests=requests)
    told.watch = watch

    def obey():
        for line in sys.stdin:
            match line.strip():
                case "break":
                    requests.start_break("water")
                case "shift end":
                    clock.later = dt.timedelta(hours=6)
                case "go on":
                    clock.later = dt.timedelta()
                    if requests.breaks.on is not None:
                        requests.end_break("")
            clock.wake()
        stop.set()
        clock.wake()

    threading.Thread(target=obey, daemon=True).start()
    watch.run(stop)


if __name__ == "__main__":
    main()
