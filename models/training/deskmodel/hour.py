"""Count false alarms over rendered work: the watch itself looks at scenes in which nothing is forbidden.

    python -m deskmodel.hour --scenes DIR --card CARD.toml --seconds-each 15

Each scene of the profile `work` stands before the camera for a while, with a sensor's noise anew in every
frame and a camera that trembles by a pixel. All rules that open on them are false but those about people: a
scene may have nobody in it.
"""

import argparse
import contextlib
import datetime as dt
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from tqdm import tqdm

from deskmodel.adapters import CHECKOUT
from deskmodel.data import DataError, Rgb, load_rgb
from edge.capture.frame import EndOfFootage, Frame
from edge.clock import SteppedClock
from edge.errors import EdgeError
from edge.offline import Offline, event_of
from edge.policy.document import read_policy
from edge.uplink.event_records import Origin
from edge.uplink.messages import Model, OpenedEvent
from edge.uplink.records import Kind, Record
from edge.uplink.topics import Topics
from edge.vision.detector import Detector
from edge.watch import Watch

POLICY = CHECKOUT / "edge" / "defaults" / "policy.json"
SIZE_PX = (640, 480)
START_AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


class Trembling:
    """A camera before which one scene stands after the other."""

    def __init__(self, scenes: Sequence[Path], clock: SteppedClock, seconds_each: float, fps: float) -> None:
        self._scenes, self._clock, self._step_s = scenes, clock, 1.0 / fps
        self._each = round(seconds_each * fps)
        self._rng = np.random.default_rng(0)
        # Sixteen noises, each moved by chance: drawing one for each frame would take the most of the time.
        self._noises = self._rng.normal(0.0, 3.0, (16, SIZE_PX[1], SIZE_PX[0], 3)).round().astype(np.int16)
        self._taken = 0
        self._picture: Rgb = np.zeros((SIZE_PX[1], SIZE_PX[0], 3), np.uint8)
        self._bar = tqdm(total=len(scenes), unit="scene", disable=None)
        self.seconds = 0.0

    @property
    def scene(self) -> Path:
        """The scene before the camera."""
        return self._scenes[(self._taken - 1) // self._each]

    def open(self) -> None:
        """Nothing is to be opened."""

    def close(self) -> None:
        """Nothing is to be closed."""

    def frame(self, timeout_s: float) -> contextlib.AbstractContextManager[Frame]:
        """Give the next frame. Raises EndOfFootage."""
        return self._frame()

    @contextlib.contextmanager
    def _frame(self) -> Iterator[Frame]:
        if self._taken == len(self._scenes) * self._each:
            raise EndOfFootage("all scenes were shown")
        if self._taken % self._each == 0:
            self._bar.update()
            picture = load_rgb(self._scenes[self._taken // self._each])
            self._picture = cv2.resize(picture, SIZE_PX, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        self._taken += 1
        self.seconds += self._step_s
        self._clock.advance_to(self._clock.now_s() + self._step_s)
        moved = np.roll(self._picture, self._rng.integers(-1, 2, 2), axis=(0, 1))
        noise = np.roll(self._noises[self._rng.integers(16)], self._rng.integers(SIZE_PX[1]), axis=0)
        pixels = np.clip(moved + noise, 0, 255).astype(np.uint8)
        yield Frame(pixels, self._clock.now_s(), self._clock.now_at())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deskmodel.hour", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of rendered scenes")
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--policy", type=Path, default=POLICY)
    parser.add_argument("--seconds-each", type=float, default=15.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--save", type=Path, help="folder for the thumbnails of what opened")
    options = parser.parse_args(arguments)
    try:
        scenes = sorted(options.scenes.glob("*.jpg"))
        if not scenes:
            raise DataError(f"{options.scenes}: wanted rendered scenes, got no *.jpg")  # noqa: TRY301
        opened, seconds = watch(scenes, options)
    except (DataError, EdgeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    rules = Counter(rule for rule, _, _ in opened)
    print(f"{seconds / 60:.0f} minutes, {len(scenes)} scenes: {dict(rules) or 'nothing'} opened")
    for rule, score, scene in opened:
        print(f"  {rule:16} {score:.2f}  {scene.name}")
    return 0


def watch(scenes: Sequence[Path], options: argparse.Namespace) -> tuple[list[tuple[str, float, Path]], float]:
    """Return what opened, as rule, score and scene, and how many seconds were watched."""
    detector = Detector.load(options.card, threads=2)
    policy = read_policy(options.policy)
    clock = SteppedClock(START_AT)
    camera = Trembling(scenes, clock, options.seconds_each, options.fps)
    opened: list[tuple[str, float, Path]] = []

    def tell(record: Record) -> None:
        event = event_of(record)
        if isinstance(event, OpenedEvent):
            opened.append((event.data.rule.id, event.data.score or 0.0, camera.scene))
            _save(record, options.save)

    origin = Origin(
        Topics("local", "hour"), "hour", Model(name=detector.card.name, sha256=detector.card.sha256)
    )
    chance = random.Random(0)
    teller = Offline(origin, chance, tell, Event())
    Watch(camera, detector, lambda: policy, teller, clock, chance).run(teller.stop)
    return opened, camera.seconds


def _save(record: Record, folder: Path | None) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for message in record.messages:
        if message.kind is Kind.THUMBNAIL:
            (folder / f"{message.event_id}.jpg").write_bytes(message.payload)


if __name__ == "__main__":
    sys.exit(main())
