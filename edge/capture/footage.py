"""What lies in image and video files, frame by frame, decoded by OpenCV (videos and GIFs through FFmpeg).

A `Footage` is one play from start to end and knows nothing of clocks; `replay.py` lays plays on one.
"""

import math
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from edge.capture.frame import FootageError, Pixels
from edge.capture.wiping import blacken

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IMAGE_MAX_BYTES = 256 * 1024 * 1024
_WANTED = "an image, a folder of images, a video or a GIF"
_LOOKBACK_S = 1.0
"""How far before the wanted moment a video is set down, so that the frame on show then is not passed."""
_SEEK_S = 10.0
"""Shorter jumps decode every frame on the way, which is exact; longer ones seek, and are checked."""


class Footage(Protocol):
    """One play of the footage. Times are seconds from its first frame, and rise."""

    length_s: float
    """How long the play lasts; of a video, known once `advance` has returned None."""
    cut_short: str
    """Why the play ended before its time; empty if it did not."""

    def skip_to(self, target_s: float) -> int:
        """Pass frames that `target_s` has left behind, undecoded where that is cheap. Returns how many."""
        ...

    def jump_to(self, target_s: float) -> None:
        """Set down at or shortly before the frame on show at `target_s`; called on a fresh play only."""
        ...

    def advance(self) -> float | None:
        """Step to the next frame. Returns its time, or None at the end."""
        ...

    def pixels(self) -> Pixels | None:
        """Decode the frame stepped to: a new uint8 RGB array (h, w, 3), or None if it cannot be read."""
        ...

    def close(self) -> None:
        """Free the file."""
        ...


def recognise(
    source: Path, *, image_fps: float, hold_s: float, on_unreadable: Callable[[Path, str], None]
) -> Callable[[], Footage]:
    """Tell an image from a folder from a video, and return what opens a play of it. Raises FootageError."""
    try:
        mode = source.stat().st_mode
    except OSError as error:
        got = "no such path" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise FootageError(f"{source}: wanted {_WANTED}, got: {got}") from error
    if stat.S_ISDIR(mode):
        names = _image_names(source)
        return lambda: Stills(source, names, image_fps, len(names), on_unreadable)
    if not stat.S_ISREG(mode):  # a FIFO would be waited for
        raise FootageError(f"{source}: wanted {_WANTED}, got neither a file nor a folder")
    if is_still(source):
        frames = max(1, math.ceil(hold_s * image_fps - 1e-9))  # 5 s at 10 fps is 50, whatever the rounding
        return lambda: Stills(source.parent, [source.name], image_fps, frames, on_unreadable)
    return lambda: Video(source)


class Stills:
    """Images at a steady rate: each once in turn, or one of them throughout.

    An unreadable image leaves its place in time empty, so that the others keep theirs.
    """

    cut_short = ""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        fps: float,
        frames: int,
        on_unreadable: Callable[[Path, str], None],
    ) -> None:
        self._folder, self._names, self._fps, self._frames = folder, names, fps, frames
        self._on_unreadable = on_unreadable
        self._index = -1
        self._held: Pixels | None = None
        self.length_s = frames / fps

    def skip_to(self, target_s: float) -> int:
        """Pass all but the last frame that is due at `target_s`."""
        due = min(self._frames - 1, math.floor(target_s * self._fps + 1e-6))
        passed = max(0, due - 1 - self._index)
        self._index += passed
        return passed

    def jump_to(self, target_s: float) -> None:
        """Set down just before the frame on show at `target_s`."""
        self.skip_to(target_s)

    def advance(self) -> float | None:
        """Step to the next place in time."""
        if self._index + 1 >= self._frames:
            return None
        self._index += 1
        return self._index / self._fps

    def pixels(self) -> Pixels | None:
        """Read the image; one that is held is read once and copied, as a consumer may draw on its frame."""
        if len(self._names) == 1 and self._held is not None:
            return self._held.copy()
        path = self._folder / self._names[min(self._index, len(self._names) - 1)]
        try:
            pixels = read_image(path)
        except FootageError as error:
            self._on_unreadable(path, str(error).removeprefix(f"{path}: "))
            if len(self._names) == 1:
                self._index = self._frames  # an image that cannot be read once is not read fifty times
            return None
        if len(self._names) == 1:
            self._held = pixels
            return pixels.copy()
        return pixels

    def close(self) -> None:
        """Forget the image held; no file is open between frames."""
        blacken(self._held)
        self._held = None


class Video:
    """A video or GIF on its own timestamps (CAP_PROP_POS_MSEC, FFmpeg's pts), variable rates included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = _open_video(path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._nominal_s = 1.0 / fps if 1.0 <= fps <= 1000.0 else 0.04  # FFmpeg's own guess is 25 fps
        self._declared_s = max(0.0, self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) * self._nominal_s
        self._first_s: float | None = None
        self._at_s = 0.0
        self._last_gap_s = self._nominal_s
        self.length_s = 0.0
        self.cut_short = ""

    def skip_to(self, target_s: float) -> int:
        """Grab on until a second before `target_s`; the rest is read, to find the frame on show then."""
        passed = 0
        while self._at_s < target_s - _LOOKBACK_S and self.advance() is not None:
            passed += 1
        return passed

    def jump_to(self, target_s: float) -> None:
        """Seek over long stretches, and start over where the container's index led past the target."""
        if target_s > _SEEK_S and self.advance() is not None and self._first_s is not None:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, (self._first_s + target_s - 2 * _LOOKBACK_S) * 1000.0)
            if not (self._capture.grab() and 0.0 < self._stamp_s() - self._first_s <= target_s - _LOOKBACK_S):
                self._capture.release()
                self._capture = _open_video(self._path)
                self._capture.grab()
            self._at_s = max(0.0, self._stamp_s() - self._first_s)
        self.skip_to(target_s)

    def advance(self) -> float | None:
        """Grab the next frame; a timestamp that is missing or does not rise is mended at the nominal rate."""
        if not self._capture.grab():
            self._end()
            return None
        stamp_s = self._stamp_s()
        if self._first_s is None:
            self._first_s = stamp_s
            return self._at_s
        at_s = stamp_s - self._first_s
        if at_s <= self._at_s:
            at_s = self._at_s + self._nominal_s
        self._last_gap_s = at_s - self._at_s
        self._at_s = at_s
        return at_s

    def pixels(self) -> Pixels | None:
        """Convert the frame grabbed."""
        found, picture = self._capture.retrieve()
        if not found or picture.size == 0:
            return None
        return _rgb(cast("Pixels", picture))

    def close(self) -> None:
        """Free the decoder and the file."""
        self._capture.release()

    def _stamp_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0

    def _end(self) -> None:
        self.length_s = self._at_s + self._last_gap_s
        missing_s = self._declared_s - self.length_s
        # Containers round and guess their length by a few frames; a cut takes away more.
        if missing_s > max(0.1 * self._declared_s, 3 * self._nominal_s):
            self.cut_short = f"{self.length_s:.2f} s could be read of the {self._declared_s:.2f} s declared"
        elif _lacks_gif_trailer(self._path):
            self.cut_short = f"the GIF breaks off after {self.length_s:.2f} s"


def is_still(path: Path) -> bool:
    """Return whether `path` is one image, by its suffix or else by its bytes; a GIF counts as a video.

    False for a folder, and for what is missing or unreadable: opening it says why.
    """
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return True
        with path.open("rb") as file:
            if file.read(4) == b"GIF8":
                return False
    except OSError:
        return False
    return bool(cv2.haveImageReader(str(path)))


def read_image(path: Path) -> Pixels:
    """Read one image upright (EXIF orientation applied): uint8 RGB (h, w, 3).

    Grey becomes RGB, 16 bits become 8, transparency is left out. Raises FootageError for all that is not a
    whole image: also a JPEG or PNG that breaks off, and one of more than 2**30 pixels, OpenCV's own limit.
    """
    quiet_opencv()
    wanted = f"{path}: wanted a whole image"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO would be waited for
            got = "a folder" if stat.S_ISDIR(status.st_mode) else "neither a file nor a folder"
            raise FootageError(f"{wanted}, got {got}")
        if not 0 < status.st_size <= IMAGE_MAX_BYTES:
            raise FootageError(f"{wanted} of 1 to {IMAGE_MAX_BYTES} bytes, got {status.st_size}")
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except OSError as error:
        raise FootageError(f"{wanted}, got: {error.strerror}") from error
    except cv2.error as error:
        raise FootageError(f"{wanted}, got one that OpenCV refuses: {error.err}") from error
    if picture is None:
        raise FootageError(f"{wanted}, got {data.size} bytes that do not decode, beginning {_head(data)}")
    return _rgb(cast("Pixels", picture))


def quiet_opencv() -> None:
    """Keep OpenCV's and FFmpeg's own chatter off stderr: what matters of it is raised as an error.

    OpenCV reads OPENCV_FFMPEG_LOGLEVEL (-8 is AV_LOG_QUIET) when the first video is opened, not at import.
    Both variables, where somebody has set them, are left alone. `setLogLevel` moved between 4 and 5.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_log_level(0)


def _open_video(path: Path) -> cv2.VideoCapture:
    quiet_opencv()
    # An absolute path, so that FFmpeg takes no file name for a protocol ("concat:a.mp4").
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    if capture.isOpened():
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        return capture
    capture.release()
    raise FootageError(f"{path}: wanted an image, or a video or GIF with frames, got {_describe(path)}")


def _describe(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(64)
            size_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"{error.strerror}"
    if head[4:8] == b"ftyp":
        return f"an MP4 of {size_bytes} bytes without a readable index (moov): truncated, or without frames"
    return f"{size_bytes} bytes that FFmpeg cannot read as one, beginning {_head(head)}"


def _head(data: bytes | Pixels) -> str:
    return repr(bytes(data[:12]))


def _rgb(bgr: Pixels) -> Pixels:
    return cast("Pixels", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _lacks_gif_trailer(path: Path) -> bool:
    """Return whether this is a GIF without its trailer, 0x3B (GIF89a, section 27); it declares no length."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GIF8":
                return False
            file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return not file.read().rstrip(b"\0").endswith(b"\x3b")
    except OSError:
        return False


def _image_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise FootageError(f"{folder}: wanted a folder of images, got: {error.strerror}") from error
    images = sorted(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        wanted = " ".join(sorted(IMAGE_SUFFIXES))
        raise FootageError(f"{folder}: wanted images ({wanted}), got none among {len(names)} entries")
    return images
