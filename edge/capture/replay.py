"""Footage as a camera: an image, a folder of images, a video or a GIF, on its own timestamps."""

import datetime as dt
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.capture.footage import Footage, recognise
from edge.capture.frame import CameraLost, CameraStalled, EndOfFootage, FootageError, Frame, Pixels
from edge.capture.wiping import blacken, overwrite_what_is_freed, release_memory
from edge.clock import Clock, SteppedClock

log = logging.getLogger(__name__)

_SKIPPED_MAX = 100
"""How many unreadable images are kept by name; the rest are only counted."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image of a folder that could not be shown."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Shot:
    """A decoded frame, and its time from the start of the replay."""

    at_s: float
    pixels: Pixels


class ReplayCamera:
    """A camera that shows footage.

    Pace `fast`: the footage drives the clock, a SteppedClock, which steps to each frame's moment. Pace
    `real`: the clock paces the footage. In both, `frame` gives the newest frame whose moment has come, or
    else waits for the next. Frames that a slow consumer missed are dropped and counted in `late_count`; time
    that passes while the camera is closed is footage unseen. Each frame lasts until the next one, and the
    last of a play as long as the one before it; then comes the next play, or EndOfFootage.

    An image is shown for `hold_s` at `image_fps`; a folder's images, sorted by name, one each at `image_fps`.
    `loop` is how many times the footage is played, None for without end.
    """

    def __init__(
        self,
        source: Path,
        clock: Clock,
        *,
        pace: Literal["fast", "real"] = "fast",
        image_fps: float = 10.0,
        hold_s: float = 5.0,
        loop: int | None = 1,
    ) -> None:
        if not 0.0 < image_fps <= 1000.0:
            raise ValueError(f"image_fps: wanted more than 0, at most 1000, got {image_fps}")
        if not 0.0 < hold_s < math.inf:
            raise ValueError(f"hold_s: wanted more than 0 seconds, got {hold_s}")
        if loop is not None and loop < 1:
            raise ValueError(f"loop: wanted 1 or more, or None for without end, got {loop}")
        self._source = source
        self._clock = clock
        self._pass_time = _pacer(clock, pace)
        self._image_fps, self._hold_s, self._plays = image_fps, hold_s, loop
        self._load: Callable[[], Footage] | None = None
        self._footage: Footage | None = None
        self._origin_s: float | None = None
        self._play, self._play_start_s, self._play_length_s = 0, 0.0, 0.0
        self._barren_plays = 0
        self._given_s = self._landed_s = -math.inf
        self._ahead: _Shot | None = None
        self._skipped: list[Skipped] = []
        self.skipped_count = 0
        """Images of the first play that could not be read."""
        self.late_count = 0
        """Frames whose moment had passed before they were asked for, while the camera was open."""
        self._cut_short = ""

    @property
    def truncated(self) -> bool:
        """True once a video ended well before its declared length."""
        return bool(self._cut_short)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The first hundred images that could not be read."""
        return tuple(self._skipped)

    def open(self) -> None:
        """Open the footage at the clock's present moment. Raises FootageError."""
        if self._footage is not None:
            return
        overwrite_what_is_freed()
        if self._load is None:
            self._load = recognise(
                self._source, image_fps=self._image_fps, hold_s=self._hold_s, on_unreadable=self._skip
            )
        self._footage = self._load()
        if self._origin_s is None:
            self._read_first()
            self._origin_s = self._clock.now_s()
        else:
            self._jump_to(self._clock.now_s() - self._origin_s)

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[Frame]:
        """Give the next frame. Raises CameraStalled, EndOfFootage, and CameraLost if it is closed."""
        frame = self._next_frame(timeout_s)
        try:
            yield frame
        finally:
            blacken(frame.pixels)

    @property
    def held(self) -> bool:
        """Return False: a file is let go of at once."""
        return False

    def close(self) -> None:
        """Free the file; the footage runs on unseen."""
        footage, self._footage = self._footage, None
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            blacken(ahead.pixels)
        if footage is not None:
            footage.close()
            release_memory()

    def _read_first(self) -> None:
        """Decode the first frame, so that footage without any is refused before a watch begins."""
        self._ahead = self._read()
        if self._ahead is None:
            self.close()
            why = f": {self._skipped[0].path.name}: {self._skipped[0].reason}" if self._skipped else ""
            raise FootageError(f"{self._source}: wanted at least one readable frame, got none{why}")

    def _next_frame(self, timeout_s: float) -> Frame:
        if self._footage is None or self._origin_s is None:
            raise CameraLost(f"{self._source}: wanted an open camera, got a closed one")
        now_s = self._clock.now_s()
        deadline_s = now_s + max(0.0, timeout_s)
        shot = self._newest(now_s - self._origin_s)
        at_s = self._play_start_s if shot is None else shot.at_s
        captured_s = self._origin_s + at_s
        if captured_s > deadline_s:
            self._ahead = shot
            self._pass_time(deadline_s)
            gap_s = captured_s - now_s
            raise CameraStalled(
                f"{self._source}: wanted a frame in {timeout_s:g} s, the next is {gap_s:.3f} s away"
            )
        self._pass_time(captured_s)
        if shot is None:
            cut = f", too early, as the file is truncated: {self._cut_short}" if self._cut_short else ""
            raise EndOfFootage(f"{self._source}: ended after {at_s:.3f} s{cut}")
        self._given_s = at_s
        age = dt.timedelta(seconds=self._clock.now_s() - captured_s)
        return Frame(shot.pixels, captured_s, self._clock.now_at() - age)

    def _newest(self, target_s: float) -> _Shot | None:
        """Return the newest unseen frame whose time has come, or else the next one; None after the last."""
        shot, self._ahead = self._ahead, None
        if shot is None or shot.at_s <= target_s:
            passed = self._footage.skip_to(target_s - self._play_start_s) if self._footage else 0
            if passed and shot is not None:
                passed, shot = passed + 1, None
            self.late_count += passed
        shot = shot or self._read()
        while shot is not None and shot.at_s <= target_s:
            after = self._read()
            over = after is None and self._play_start_s <= target_s
            if not over and (after is None or after.at_s > target_s):
                self._ahead = after
                break
            self.late_count += shot.at_s > self._landed_s
            shot = after
        return shot

    def _read(self) -> _Shot | None:
        """Return the next readable frame, of the next play if need be; None after the last play."""
        while self._footage is not None and (self._plays is None or self._play < self._plays):
            at_s = self._footage.advance()
            if at_s is None:
                self._end_play(self._footage)
            elif self._play_start_s + at_s > self._given_s:
                pixels = self._footage.pixels()
                if pixels is not None:
                    self._barren_plays = 0
                    return _Shot(self._play_start_s + at_s, pixels)
        return None

    def _end_play(self, footage: Footage) -> None:
        if footage.cut_short and not self._cut_short:
            self._cut_short = footage.cut_short
            log.warning("%s: truncated: %s", self._source, footage.cut_short)
        self._play += 1
        self._play_start_s += footage.length_s
        self._play_length_s = footage.length_s
        self._barren_plays += 1
        if self._barren_plays > 1:  # a whole play without a frame: another would not find one either
            self._plays = self._play
        if self._load is not None and (self._plays is None or self._play < self._plays):
            self._footage = None
            footage.close()
            self._footage = self._load()
            if self._origin_s is not None:
                self._jump_to(self._clock.now_s() - self._origin_s)

    def _jump_to(self, target_s: float) -> None:
        """Go to `target_s` from the start of the replay: whole plays at once, then inside the play."""
        self._landed_s = target_s
        behind_s = target_s - self._play_start_s
        if 0.0 < self._play_length_s <= behind_s:
            passed = int(behind_s // self._play_length_s)
            if self._plays is not None:
                passed = min(passed, self._plays - self._play)
            self._play += passed
            self._play_start_s += passed * self._play_length_s
        if self._footage is not None and (self._plays is None or self._play < self._plays):
            self._footage.jump_to(max(0.0, target_s - self._play_start_s))

    def _skip(self, path: Path, reason: str) -> None:
        if self._play > 0:
            return
        self.skipped_count += 1
        log.warning("%s: skipped: %s", path, reason)
        if len(self._skipped) < _SKIPPED_MAX:
            self._skipped.append(Skipped(path, reason))


def _pacer(clock: Clock, pace: str) -> Callable[[float], None]:
    """Return what brings `clock` to a moment."""
    if pace == "real":
        return lambda moment_s: clock.sleep(max(0.0, moment_s - clock.now_s()))
    if pace == "fast" and isinstance(clock, SteppedClock):
        return clock.advance_to
    got = f"{pace!r} with a {type(clock).__name__}"
    raise ValueError(f"pace: wanted 'real', or 'fast' with a SteppedClock, got {got}")
