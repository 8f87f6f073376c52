"""A watch in a process of its own, whose memory can be searched: python -m tests.camera_off FOOTAGE [leaky].

It writes `watching` once it has carried frames, and `off` when it begins to wait with its camera closed. It
reads `break`, `shift end` and `go on`. With `aim` it waits for a spot check that does not come, and reads
`aim`, which somebody agrees to, and `aim end` too: `watching` is said once pictures of it were given out.
"""

import datetime as dt
import random
import sys
import threading
import time
from pathlib import Path
from threading import Event

import msgspec

from edge.aim import START, End
from edge.breaks import Breaks
from edge.capture import footage, replay
from edge.capture.replay import ReplayCamera
from edge.clock import SystemClock
from edge.control.protocol import AimAnswer, AimPicture, line_of
from edge.policy.document import Spot, parse_policy
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


RARE = msgspec.structs.replace(POLICY, watch=Spot(mean_interval_s=28800.0, burst_s=10.0))


def agree(aim):
    """Ask, and agree as soon as a press may."""
    aim._state = START  # without the rest after the one before
    aim.ask("me")
    while not aim.press():
        aim.hear("me")
        time.sleep(0.1)
    aim.grant()


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
        self.aim = None
        self.shown = 0
        """Pictures that an aim gave out."""

    def opened(self, *_):
        pass

    closed = opened

    def capture(self, capture, reason):
        self.capture_now = capture

    @property
    def watching(self):
        return self.capture_now in (Capture.WATCHING, Capture.BLOCKED)

    def turn(self):
        if self.capture_now is Capture.AIMING:
            self.give_out()
        if self.watching and self.watch.counts.frames >= self.wanted and self.said != "watching":
            self.say("watching")

    def give_out(self):
        """Do what the control socket's thread does with a picture."""
        self.aim.hear("me")
        seen = self.aim.sighting()
        if seen is not None:
            picture = AimPicture(seen.cols, seen.rows, seen.grid, seen.brightness, seen.sharpness)
            self.shown += len(line_of(AimAnswer("granted", "t" * 22, 1.0, "", picture))) > 0
        if self.shown >= FRAMES and self.said != "watching":
            self.say("watching")

    def waits(self):
        if self.capture_now is Capture.AIMING:
            return
        if not self.watching and self.said == "watching":
            self.say("off")

    def say(self, word):
        self.said, self.wanted, self.shown = word, self.watch.counts.frames + FRAMES, 0
        print(word, flush=True)


def main():
    if "leaky" in sys.argv[2:]:
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
    shutter = Shutter(camera, aim=requests.aim.phase)
    policy = RARE if "aim" in sys.argv[2:] else POLICY
    watch = Watch(shutter, detector, lambda: policy, told, clock, random.Random(1), requests=requests)
    told.watch, told.aim = watch, requests.aim

    def obey():
        for line in sys.stdin:
            match line.strip():
                case "break":
                    requests.start_break("water")
                case "shift end":
                    clock.later = dt.timedelta(hours=6)
                case "aim":
                    agree(requests.aim)
                case "aim end":
                    requests.aim.end(End.DONE)
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
