"""When the camera is off, no descriptor of it is open and no picture of it is in the process: /proc is asked.

Noise is before the camera, so that any 32 bytes of a frame are found nowhere by chance. "No picture" is no
such piece of any frame: not of its pixels, in either order of colours, nor of what the model was fed.
"""

import base64
import contextlib
import itertools
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.aim_holder import coarse
from edge.capture.wiping import overwrite_what_is_freed
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card

PIECE_BYTES = 32
CHUNK_BYTES = 1 << 18
PATIENCE_S = 60.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


class Child:
    """A watch in a process of its own."""

    def __init__(self, footage, *more):
        command = [sys.executable, "-m", "tests.camera_off", str(footage), *more]
        self.process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("ended")

    def tell(self, order):
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def wait_for(self, word):
        assert self.lines.get(timeout=PATIENCE_S) == word

    def holds(self, pieces):
        """Which of the named pieces are in its memory: every map that a picture can be in."""
        found = set()
        for block in chunks(self.process.pid):
            found |= {name for name, piece in pieces.items() if name not in found and piece in block}
        return found

    def wait_until_it_holds(self, pieces, wanted=frozenset({"rgb", "bgr"})):
        """A frame in full is there for a part of the time only: look until one is found."""
        end_s = time.monotonic() + PATIENCE_S
        while not kinds(self.holds(pieces)) & wanted:
            assert time.monotonic() < end_s, "no picture is found where there must be one"

    def descriptors(self, folder):
        links = []
        for each in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(str(each.readlink()))
        return [link for link in links if link.startswith(str(folder))]

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def memory(pid):
    """The contents of each map, but for files that are mapped to be read alone, which nobody can write to."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as mem:
        for line in maps:
            bounds, rights, _, _, inode, *_ = line.split()
            if "r" not in rights or ("w" not in rights and inode != "0"):
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            try:
                mem.seek(start)
                yield mem.read(end - start)
            except (OSError, ValueError, OverflowError):
                assert "[v" in line, line  # the kernel's own: [vvar], [vsyscall]


def chunks(pid):
    """The memory in chunks that overlap, without those of zeros."""
    for block in memory(pid):
        for start in range(0, len(block), CHUNK_BYTES):
            chunk = block[start : start + CHUNK_BYTES + PIECE_BYTES]
            if chunk.count(0) != len(chunk):
                yield chunk


def pieces_of(frames):
    """Pieces from everywhere in each frame (BGR, as OpenCV decodes it), by name; flat ones tell nothing."""
    detector = Detector.load(find_card(DEFAULT_CARD), threads=1)
    pieces = {}
    for number, bgr in enumerate(frames):
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        fed = detector.view(rgb).pixels.copy()
        for what, picture in (("rgb", rgb), ("bgr", bgr), ("fed", fed)):
            height, width = picture.shape[:2]
            row_bytes = 3 * width
            for y in (0, *(height * part // 9 for part in range(1, 9)), height - 1):
                row = picture[y].tobytes()
                for at in (0, row_bytes // 2, row_bytes - PIECE_BYTES):
                    piece = row[at : at + PIECE_BYTES]
                    if len(set(piece)) > 15:
                        pieces[f"{what} of frame {number} at {at // 3}, {y}"] = piece
    few = dict(itertools.islice(pieces.items(), 0, None, max(1, len(pieces) // 60)))
    assert kinds(few) == {"rgb", "bgr", "fed"}
    assert len(few) >= 30
    return few


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture
def make_footage(tmp_path, noise, phone_photo):
    """Makes a file or folder, and its frames as OpenCV decodes them."""

    def make(kind):
        if kind == "photo":  # of a phone, that is, with evidence: a picture that is sharp in places waits
            return phone_photo, [cv2.imread(str(phone_photo))]
        if kind == "folder":
            folder = tmp_path / "frames"
            folder.mkdir()
            for number, picture in enumerate(noise):
                cv2.imwrite(str(folder / f"{number}.png"), picture)
            return folder, noise
        path = tmp_path / "noise.avi"  # it is held open while it plays
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
        for picture in noise:
            writer.write(picture)
        writer.release()
        reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        frames = [reader.read()[1] for _ in noise]
        reader.release()
        return path, frames

    return make


def kinds(found):
    return {name.split()[0] for name in found}


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("folder", "shift end"),
        ("folder", "break"),
        ("video", "break"),
        ("photo", "break"),
        ("photo", "shift end"),
    ],
)
def test_no_picture_and_no_descriptor_is_left_when_the_camera_is_off(make_footage, kind, order):
    if not overwrite_what_is_freed():
        pytest.skip("not glibc: memory that others freed cannot be wiped")
    path, frames = make_footage(kind)
    pieces = pieces_of(frames)
    child = Child(path)
    try:
        child.wait_for("watching")
        child.wait_until_it_holds(pieces)  # the search finds what is there
        if kind == "video":
            assert child.descriptors(path)
        for _ in range(2):
            child.tell(order)
            child.wait_for("off")
            assert child.holds(pieces) == set()
            assert child.descriptors(path) == []
            child.tell("go on")
            child.wait_for("watching")
            child.wait_until_it_holds(pieces, {"fed"})  # and it would be found after the next one, too
    finally:
        child.stop()


def grids_of(frames):
    """Pieces of the coarse grid of each frame, as it is and as it goes over the control socket."""
    detector = Detector.load(find_card(DEFAULT_CARD), threads=1)
    pieces = {}
    for number, bgr in enumerate(frames):
        content = detector.view(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))).content
        grid = coarse(content, bgr.shape[1] / bgr.shape[0])
        for row in range(0, grid.shape[0], 6):
            pieces[f"grid of frame {number}, {row}"] = grid[row, :PIECE_BYTES].tobytes()
        encoded = base64.b64encode(grid.tobytes())
        for at in range(0, len(encoded) - PIECE_BYTES, 400):
            pieces[f"line of frame {number}, {at}"] = encoded[at : at + PIECE_BYTES]
    return pieces


@pytest.mark.parametrize("order", ["aim end", "break"])
def test_no_picture_and_no_grid_is_left_when_an_aim_is_over(make_footage, order):
    if not overwrite_what_is_freed():
        pytest.skip("not glibc: memory that others freed cannot be wiped")
    path, frames = make_footage("folder")
    pieces, grids = pieces_of(frames), grids_of(frames)
    child = Child(path, "aim")
    try:
        for _ in range(2):
            child.tell("aim")
            child.wait_for("watching")
            child.wait_until_it_holds(grids, {"grid"})
            child.wait_until_it_holds(pieces)
            child.tell(order)
            child.wait_for("off")
            assert child.holds({**pieces, **grids}) == set()
            assert child.descriptors(path) == []
            child.tell("go on")
    finally:
        child.stop()


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_without_the_measures_pictures_would_be_left(make_footage, kind):
    path, frames = make_footage(kind)
    pieces = pieces_of(frames)
    child = Child(path, "leaky")
    try:
        child.wait_for("watching")
        child.wait_until_it_holds(pieces)
        child.tell("break")
        child.wait_for("off")
        assert child.holds(pieces)
    finally:
        child.stop()
