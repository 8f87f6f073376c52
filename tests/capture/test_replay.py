"""Footage on a clock: timestamps, paces, loops, closing, and files that are not what they should be."""

import datetime as dt
import itertools
import logging
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture.footage import Video, is_still, read_image
from edge.capture.frame import CameraStalled, EndOfFootage, FootageError
from edge.capture.replay import ReplayCamera
from edge.clock import SteppedClock, SystemClock

START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
GREYS = [(level, level, level) for level in range(0, 240, 4)]


def stepped(start_s: float = 0.0) -> SteppedClock:
    return SteppedClock(START, start_s)


def play(camera: ReplayCamera, most: int = 100_000) -> tuple[list[float], list[np.ndarray]]:
    """The moments and pictures to the end of the footage, or the first so many."""
    moments, pictures = [], []
    camera.open()
    try:
        while len(moments) < most:
            with camera.frame(60.0) as frame:
                moments.append(frame.captured_s)
                pictures.append(frame.pixels.copy())
    except EndOfFootage:
        pass
    return moments, pictures


def level(picture: np.ndarray) -> int:
    return round(float(picture.mean()))


class TestTimestamps:
    def test_a_gif_of_varying_delays_keeps_them(self, media, tmp_path):
        colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
        path = media.gif(tmp_path / "vfr.gif", colours, [8, 50, 3, 10])
        moments, pictures = play(ReplayCamera(path, stepped()))
        assert moments == pytest.approx([0.0, 0.08, 0.58, 0.61], abs=1e-6)
        assert [tuple(picture[4, 4]) for picture in pictures] == colours

    @pytest.mark.parametrize(
        ("name", "frames", "first_ms"),
        [
            ("head-pose-face-detection-female-and-male.gif", 56, [0, 80, 170, 250]),
            ("head-pose-face-detection-female.gif", 23, [0, 80, 170, 250]),
            ("classroom.gif", 45, [0, 70, 130, 200]),
            ("book.mkv", 109, [0, 34, 67, 100]),
        ],
    )
    def test_real_clips_keep_the_times_in_their_containers(self, shared, name, frames, first_ms):
        clock = stepped(7.0)
        camera = ReplayCamera(shared / "clips" / name, clock)
        moments, _ = play(camera)
        assert len(moments) == frames
        assert [round((moment - 7.0) * 1000) for moment in moments[:4]] == first_ms
        assert all(after > before for before, after in itertools.pairwise(moments))
        assert camera.late_count == 0
        assert not camera.truncated

    def test_the_footage_drives_the_clock_and_ends_when_its_last_frame_has_lasted(self, media, tmp_path):
        clock = stepped(50.0)
        camera = ReplayCamera(media.video(tmp_path / "v.avi", GREYS), clock)
        camera.open()
        for index in range(len(GREYS)):
            with camera.frame(1.0) as frame:
                assert clock.now_s() == frame.captured_s == pytest.approx(50.0 + index * 0.05)
                assert frame.captured_at == clock.now_at()
        for _ in range(2):
            with pytest.raises(EndOfFootage, match=r"ended after 3\.000 s"), camera.frame(1.0):
                pass
            assert clock.now_s() == pytest.approx(53.0)

    def test_missing_timestamps_are_mended_at_the_nominal_rate(self, media, tmp_path, monkeypatch):
        path = media.video(tmp_path / "v.avi", GREYS[:6])
        stamps = iter([1.0, 1.0, 1.0, 1.15, 1.10, 1.25])
        monkeypatch.setattr(Video, "_stamp_s", lambda _self: next(stamps))
        moments, _ = play(ReplayCamera(path, stepped()))
        assert moments == pytest.approx([0.0, 0.05, 0.10, 0.15, 0.20, 0.25])

    def test_an_image_is_held_and_a_folder_shown_in_order_of_name(self, media, tmp_path):
        moments, pictures = play(
            ReplayCamera(media.image(tmp_path / "a.png"), stepped(), image_fps=4, hold_s=2.5)
        )
        assert moments == [index / 4 for index in range(10)]
        assert {level(picture) for picture in pictures} == {90}
        folder = tmp_path / "folder"
        folder.mkdir()
        for name, grey in (("b.png", 60), ("a.jpg", 30), ("c.PNG", 90)):
            media.image(folder / name, (grey, grey, grey))
        (folder / "labels.txt").write_text("not an image")
        (folder / "._a.jpg").write_bytes(b"resource fork")
        camera = ReplayCamera(folder, stepped(), image_fps=10)
        moments, pictures = play(camera)
        assert moments == pytest.approx([0.0, 0.1, 0.2])
        assert [level(picture) for picture in pictures] == [30, 60, 90]
        assert camera.skipped == ()

    def test_a_picture_drawn_on_does_not_stain_the_next(self, media, tmp_path):
        camera = ReplayCamera(media.image(tmp_path / "a.png"), stepped())
        camera.open()
        for _ in range(3):
            with camera.frame(1.0) as frame:
                assert level(frame.pixels) == 90
                frame.pixels[:] = 0


class TestPace:
    def test_a_slow_consumer_loses_frames_as_at_a_live_camera(self, media, tmp_path):
        clock = stepped()
        camera = ReplayCamera(media.video(tmp_path / "v.avi", GREYS), clock, pace="real")
        camera.open()
        seen = []

        def watch() -> None:
            while True:
                with camera.frame(1.0) as frame:
                    seen.append((round(frame.captured_s / 0.05), level(frame.pixels)))
                    assert -1e-9 <= clock.now_s() - frame.captured_s < 0.05
                clock.sleep(0.171)  # 3.42 frames

        with pytest.raises(EndOfFootage):
            watch()
        indices = [index for index, _ in seen]
        assert indices == [int(3.42 * call) for call in range(18)]
        assert [grey for _, grey in seen] == pytest.approx([4 * index for index in indices], abs=2)
        assert camera.late_count == len(GREYS) - len(seen)

    def test_a_consumer_asleep_for_long_finds_the_frame_on_show(self, media, tmp_path):
        clock = stepped()
        camera = ReplayCamera(media.video(tmp_path / "v.avi", GREYS), clock, pace="real")
        camera.open()
        with camera.frame(1.0):
            pass
        clock.sleep(2.02)
        with camera.frame(1.0) as frame:
            assert frame.captured_s == pytest.approx(2.0)
            assert level(frame.pixels) == pytest.approx(160, abs=2)
        assert camera.late_count == 39

    def test_real_pace_takes_as_long_as_the_clip(self, media, tmp_path):
        clock = SystemClock()
        camera = ReplayCamera(media.video(tmp_path / "v.avi", GREYS[:12]), clock, pace="real")
        started_s = clock.now_s()
        moments, _ = play(camera)
        assert clock.now_s() - started_s == pytest.approx(0.6, abs=0.25)
        assert len(moments) + camera.late_count == 12

    def test_fast_pace_wants_a_clock_that_can_be_driven(self, tmp_path):
        with pytest.raises(ValueError, match="SteppedClock, got 'fast' with a SystemClock"):
            ReplayCamera(tmp_path, SystemClock(), pace="fast")
        with pytest.raises(ValueError, match="'slow'"):
            ReplayCamera(tmp_path, stepped(), pace="slow")  # type: ignore[arg-type]

    @pytest.mark.parametrize("options", [{"image_fps": 0.0}, {"hold_s": -1.0}, {"loop": 0}])
    def test_settings_out_of_range_are_refused(self, tmp_path, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            ReplayCamera(tmp_path, stepped(), **options)

    def test_a_pause_longer_than_the_timeout_is_a_stall_and_the_frame_still_comes(self, media, tmp_path):
        clock = stepped()
        camera = ReplayCamera(media.gif(tmp_path / "v.gif", [(255, 0, 0), (0, 255, 0)], [300, 10]), clock)
        camera.open()
        with camera.frame(1.0):
            pass
        for second in (1.0, 2.0):
            with pytest.raises(CameraStalled), camera.frame(1.0):
                pass
            assert clock.now_s() == second
        with camera.frame(1.0) as frame:
            assert frame.captured_s == pytest.approx(3.0)
            assert tuple(frame.pixels[0, 0]) == (0, 255, 0)


class TestLoopAndReopen:
    def test_moments_go_on_rising_over_plays(self, media, tmp_path):
        path = media.gif(tmp_path / "v.gif", [(255, 0, 0), (0, 255, 0), (0, 0, 255)], [8, 12, 10])
        moments, pictures = play(ReplayCamera(path, stepped(), loop=3))
        assert moments == pytest.approx([0, 0.08, 0.20, 0.32, 0.40, 0.52, 0.64, 0.72, 0.84])
        assert [int(picture[0, 0].argmax()) for picture in pictures] == [0, 1, 2] * 3
        endless = ReplayCamera(path, stepped(), loop=None)
        moments, _ = play(endless, most=1000)
        assert all(after > before for before, after in itertools.pairwise(moments))

    @pytest.mark.parametrize("pace", ["fast", "real"])
    def test_time_while_closed_is_footage_unseen(self, media, tmp_path, pace):
        clock = stepped()
        camera = ReplayCamera(media.video(tmp_path / "v.avi", GREYS), clock, pace=pace)
        play(camera, most=5)
        camera.close()
        clock.sleep(1.31)
        camera.open()
        with camera.frame(1.0) as frame:
            assert frame.captured_s == pytest.approx(1.5)  # 0.2 + 1.31 lies in frame 30
            assert level(frame.pixels) == pytest.approx(120, abs=2)
        assert camera.late_count == 0
        camera.close()
        camera.open()  # at once: nothing is shown twice
        with camera.frame(1.0) as frame:
            assert frame.captured_s == pytest.approx(1.55)
        camera.close()
        clock.sleep(60.0)
        camera.open()
        with pytest.raises(EndOfFootage), camera.frame(1.0):
            pass

    def test_an_endless_short_clip_is_found_again_after_a_weekend(self, media, tmp_path):
        clock = stepped()
        path = media.gif(tmp_path / "v.gif", [(255, 0, 0), (0, 255, 0), (0, 0, 255)], [8, 12, 10])
        camera = ReplayCamera(path, clock, loop=None)
        play(camera, most=7)  # into the third play
        camera.close()
        clock.advance_to(0.32 * 800_000 + 0.1)
        camera.open()
        with camera.frame(1.0) as frame:
            assert frame.captured_s == pytest.approx(0.32 * 800_000 + 0.08)
            assert tuple(frame.pixels[0, 0]) == (0, 255, 0)

    @pytest.mark.parametrize("overshoot_ms", [0.0, 5000.0])
    def test_a_long_jump_shows_the_very_frame_that_decoding_all_shows(
        self, shared, monkeypatch, overshoot_ms
    ):
        """Also where the container's index leads past the moment that is asked for."""

        real = cv2.VideoCapture

        class Capture:
            def __init__(self, *options):
                self._real = real(*options)

            def __getattr__(self, name):
                return getattr(self._real, name)

            def set(self, prop, value):
                return self._real.set(prop, value + overshoot_ms * (prop == cv2.CAP_PROP_POS_MSEC))

        path = shared / "clips" / "bottle-detection.mp4"
        moments, pictures = play(ReplayCamera(path, stepped()), most=760)
        monkeypatch.setattr(cv2, "VideoCapture", Capture)
        clock = stepped()
        camera = ReplayCamera(path, clock)
        play(camera, most=1)
        camera.close()
        clock.advance_to(25.0)
        camera.open()
        expected = max(index for index, moment in enumerate(moments) if moment <= 25.0)
        for index in (expected, expected + 1, expected + 2):
            with camera.frame(1.0) as frame:
                assert frame.captured_s == pytest.approx(moments[index], abs=1e-6)
                np.testing.assert_array_equal(frame.pixels, pictures[index])

    def test_a_stopped_unit_does_not_wait_for_the_clip(self, media, tmp_path):
        stop = threading.Event()
        stop.set()
        clock = SystemClock(stop)
        camera = ReplayCamera(media.image(tmp_path / "a.png"), clock, pace="real", image_fps=0.1, hold_s=60)
        started_s = clock.now_s()
        play(camera, most=2)
        assert clock.now_s() - started_s < 5.0


class TestPictures:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"])
    def test_formats_and_channels_come_as_rgb(self, tmp_path, suffix):
        bgr = np.full((24, 32, 3), (30, 20, 220), np.uint8)
        path = tmp_path / f"a{suffix}"
        assert cv2.imwrite(str(path), bgr)
        _, (picture, *_) = play(ReplayCamera(path, stepped()))
        np.testing.assert_allclose(picture, np.full((24, 32, 3), (220, 20, 30)), atol=6)

    def test_mono_alpha_and_sixteen_bit_become_rgb(self, tmp_path):
        for index, picture in enumerate(
            (
                np.full((24, 32), 77, np.uint8),
                np.full((30, 20, 4), (77, 77, 77, 10), np.uint8),
                np.full((10, 40, 3), 77 * 257, np.uint16),
            )
        ):
            assert cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
        _, pictures = play(ReplayCamera(tmp_path, stepped()))
        assert [picture.shape for picture in pictures] == [(24, 32, 3), (30, 20, 3), (10, 40, 3)]
        assert [level(picture) for picture in pictures] == [77, 77, 77]
        assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}

    def test_a_photo_taken_sideways_stands_upright(self, tmp_path):
        lying = np.zeros((40, 80, 3), np.uint8)
        lying[:, :40] = (30, 20, 220)  # BGR: red at the left, which orientation 6 turns to the top
        _, encoded = cv2.imencode(".jpg", lying)
        jpeg = encoded.tobytes()
        tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        app1 = b"Exif\0\0" + tiff
        path = tmp_path / "photo.jpg"
        path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1 + jpeg[2:])
        _, (picture, *_) = play(ReplayCamera(path, stepped()))
        assert picture.shape == (80, 40, 3)
        assert picture[10, 20, 0] > 200
        assert picture[70, 20, 0] < 60

    def test_an_image_without_suffix_is_known_by_its_bytes(self, media, tmp_path):
        named = media.image(tmp_path / "a.png")
        bare = named.rename(tmp_path / "bare")
        moments, _ = play(ReplayCamera(bare, stepped()))
        assert len(moments) == 50

    def test_pixels_are_those_that_opencv_reads(self, phone_photo, tmp_path):
        path = tmp_path / "photo.jpg"
        cv2.imwrite(str(path), cv2.imread(str(phone_photo)))
        moments, pictures = play(ReplayCamera(path, stepped()))
        assert len(moments) == 50
        np.testing.assert_array_equal(pictures[49], cv2.imread(str(path))[:, :, ::-1])


class TestBadFootage:
    def refused(self, source: Path) -> str:
        camera = ReplayCamera(source, stepped())
        with pytest.raises(FootageError) as error:
            camera.open()
        assert str(source) in str(error.value)
        assert "wanted" in str(error.value)
        assert "got" in str(error.value)
        with pytest.raises(FootageError):
            camera.open()  # it stays closed, and is refused again
        return str(error.value)

    def test_what_is_not_footage_is_named(self, media, tmp_path):
        assert "no such path" in self.refused(tmp_path / "missing.mp4")
        text = tmp_path / "text.mp4"
        text.write_text("this is not a video\n" * 10)
        assert "200 bytes that FFmpeg cannot read as one, beginning b'this is not '" in self.refused(text)
        empty = tmp_path / "empty.mp4"
        empty.touch()
        assert "0 bytes" in self.refused(empty)
        corrupt = tmp_path / "corrupt.jpg"
        corrupt.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
        assert "corrupt.jpg: wanted a whole image, got 104 bytes" in self.refused(corrupt)
        camera = ReplayCamera(corrupt, stepped())
        with pytest.raises(FootageError):
            camera.open()
        assert camera.skipped_count == 1  # tried once, not once a frame
        (tmp_path / "nothing.png").touch()
        assert "got 0" in self.refused(tmp_path / "nothing.png")
        for name in ("fifo.mp4", "fifo.png", "fifo"):
            os.mkfifo(tmp_path / name)
            assert "neither a file nor a folder" in self.refused(tmp_path / name)
        assert "neither a file nor a folder" in self.refused(Path("/dev/zero"))
        assert media.open_files(tmp_path) == []

    def test_what_may_not_be_looked_at_is_said_and_does_not_crash(self, media, tmp_path):
        assert "File name too long" in self.refused(tmp_path / ("n" * 300))
        closed = tmp_path / "closed"
        closed.mkdir()
        image, clip = media.image(closed / "a.png"), media.video(tmp_path / "a.avi", GREYS[:2])
        for path in (closed, image, clip):
            path.chmod(0)
        user = os.geteuid()
        if user == 0:  # whom no mode keeps out; nobody may not even enter this test's folder
            os.seteuid(65534)
        try:
            for path in (closed, image, clip):
                assert "Permission denied" in self.refused(path)
                assert not is_still(path)
        finally:
            os.seteuid(user)
            closed.chmod(0o700)

    def test_a_fifo_among_the_images_of_a_folder_is_skipped(self, media, tmp_path):
        os.mkfifo(tmp_path / "1.png")
        media.image(tmp_path / "2.png")
        camera = ReplayCamera(tmp_path, stepped())
        moments, _ = play(camera)
        assert len(moments) == 1
        assert [skipped.reason for skipped in camera.skipped] == [
            "wanted a whole image, got neither a file nor a folder"
        ]

    def test_folders_without_a_readable_image(self, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        assert "got none among 0 entries" in self.refused(folder)
        (folder / "readme.txt").write_text("hello")
        assert "got none among 1 entries" in self.refused(folder)
        for name in ("a.jpg", "b.jpg"):
            (folder / name).write_bytes(b"rubbish")
        assert "at least one readable frame, got none: a.jpg" in self.refused(folder)

    @pytest.mark.parametrize(("name", "codec"), [("zero.avi", "MJPG"), ("zero.mp4", "mp4v")])
    def test_a_clip_of_zero_frames(self, media, tmp_path, name, codec):
        path = media.video(tmp_path / name, [], codec)
        assert path.stat().st_size > 0
        self.refused(path)
        assert media.open_files(tmp_path) == []

    def test_corrupt_images_of_a_folder_are_named_skipped_and_counted(self, phone_photo, tmp_path, caplog):
        whole = cv2.imencode(".jpg", cv2.imread(str(phone_photo)))[1].tobytes()
        for index in range(6):
            (tmp_path / f"{index}.jpg").write_bytes(whole)
        (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "4.jpg").write_bytes(b"rubbish")
        camera = ReplayCamera(tmp_path, stepped(), loop=2)
        with caplog.at_level(logging.WARNING, "edge.capture.replay"):
            moments, _ = play(camera)
        assert moments[:4] == pytest.approx([0.0, 0.2, 0.3, 0.5])  # the others keep their places
        assert len(moments) == 8
        assert camera.skipped_count == 2
        assert [skipped.path.name for skipped in camera.skipped] == ["1.jpg", "4.jpg"]
        assert all("wanted a whole image" in skipped.reason for skipped in camera.skipped)
        assert [record.message.split(":")[0][-5:] for record in caplog.records] == ["1.jpg", "4.jpg"]

    def test_the_names_of_the_skipped_are_bounded_and_their_count_is_not(self, media, tmp_path):
        for index in range(150):
            (tmp_path / f"{index:03}.jpg").write_bytes(b"rubbish")
        media.image(tmp_path / "last.png")
        camera = ReplayCamera(tmp_path, stepped())
        moments, _ = play(camera)
        assert moments == [15.0]
        assert camera.skipped_count == 150
        assert len(camera.skipped) == 100

    def test_an_endless_folder_whose_images_go_bad_comes_to_an_end(self, media, tmp_path):
        paths = [media.image(tmp_path / f"{index}.png") for index in range(3)]
        camera = ReplayCamera(tmp_path, stepped(), loop=None)
        play(camera, most=3)
        for path in paths:
            path.write_bytes(b"rubbish")
        moments, _ = play(camera)
        assert moments == []

    @pytest.mark.parametrize("name", ["book.mkv", "classroom.gif"])
    def test_a_truncated_clip_plays_as_far_as_it_goes_and_says_so(self, shared, tmp_path, caplog, name):
        data = (shared / "clips" / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(data[: len(data) // 2])
        camera = ReplayCamera(path, stepped())
        with caplog.at_level(logging.WARNING):
            moments, _ = play(camera)
        with pytest.raises(EndOfFootage, match=r"too early.*truncated") as end, camera.frame(1.0):
            pass
        assert str(path) in str(end.value)
        assert 15 < len(moments) < 60
        assert camera.truncated
        assert [record.message for record in caplog.records if str(path) in record.message]

    def test_a_truncated_avi_counts_its_declared_length(self, media, tmp_path):
        path = media.video(tmp_path / "v.avi", GREYS)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        camera = ReplayCamera(path, stepped())
        moments, _ = play(camera)
        assert camera.truncated
        assert 10 < len(moments) < 40

    def test_an_mp4_cut_before_its_index_is_said_to_be_truncated(self, shared, tmp_path):
        data = (shared / "clips" / "bottle-detection.mp4").read_bytes()
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: len(data) // 2])
        assert "without a readable index (moov): truncated" in self.refused(path)

    def test_a_clip_deleted_while_closed_is_an_error_and_not_a_crash(self, media, tmp_path):
        path = media.video(tmp_path / "v.avi", GREYS)
        camera = ReplayCamera(path, stepped())
        play(camera, most=1)
        camera.close()
        path.unlink()
        with pytest.raises(FootageError, match="No such file"):
            camera.open()

    def test_decoders_do_not_chatter_on_stderr(self, shared, tmp_path):
        """In a process of its own, as FFmpeg's log level is read once, and written past Python's stderr."""
        data = (shared / "clips" / "book.mkv").read_bytes()
        (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
        (tmp_path / "text.mp4").write_text("text")
        code = (
            "import sys, datetime as dt; from pathlib import Path\n"
            "from edge.capture.frame import EndOfFootage, FootageError\n"
            "from edge.capture.replay import ReplayCamera; from edge.clock import SteppedClock\n"
            "import logging; logging.disable()\n"
            "for name in sys.argv[1:]:\n"
            "    camera = ReplayCamera(Path(name), SteppedClock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))\n"
            "    try:\n"
            "        camera.open()\n"
            "        while True:\n"
            "            with camera.frame(1.0): pass\n"
            "    except (EndOfFootage, FootageError) as error: print(type(error).__name__)\n"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "cut.mkv"), str(tmp_path / "text.mp4")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=environment,
        )
        assert done.stdout.split() == ["EndOfFootage", "FootageError"]
        assert done.stderr == ""


def png_claiming(width_px: int, height_px: int) -> bytes:
    """A PNG whose header is right, and which holds a thousand bytes of picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class TestReadImage:
    def refused(self, path: Path) -> str:
        with pytest.raises(FootageError) as error:
            read_image(path)
        assert str(error.value).startswith(f"{path}: wanted a whole image")
        assert "got" in str(error.value)
        return str(error.value)

    def test_what_is_no_file_is_refused_and_not_waited_for(self, tmp_path):
        assert "No such file" in self.refused(tmp_path / "missing.png")
        assert "a folder" in self.refused(tmp_path)
        os.mkfifo(tmp_path / "fifo.png")
        assert "neither a file nor a folder" in self.refused(tmp_path / "fifo.png")
        assert "neither a file nor a folder" in self.refused(Path("/dev/zero"))

    def test_what_is_no_image_is_refused_with_its_beginning(self, tmp_path):
        (tmp_path / "empty.png").touch()
        assert "got 0" in self.refused(tmp_path / "empty.png")
        (tmp_path / "text.png").write_text("this is no image")
        assert "16 bytes that do not decode, beginning b'this is no i'" in self.refused(tmp_path / "text.png")

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
    def test_one_that_breaks_off_is_refused_and_not_filled_with_grey(
        self, phone_photo, tmp_path, suffix, share
    ):
        photo = cv2.imread(str(phone_photo))
        data = cv2.imencode(suffix, photo)[1].tobytes()
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[: int(len(data) * share)])
        assert "do not decode" in self.refused(path)

    def test_one_that_claims_to_be_huge_is_refused(self, tmp_path):
        path = tmp_path / "huge.png"
        path.write_bytes(png_claiming(100_000, 100_000))
        assert "OpenCV refuses" in self.refused(path)

    def test_grey_alpha_and_sixteen_bits_come_as_rgb_of_eight(self, tmp_path):
        path = tmp_path / "a.png"
        for picture in (
            np.full((24, 32), 77, np.uint8),
            np.full((24, 32, 4), (77, 77, 77, 10), np.uint8),
            np.full((24, 32, 3), 77 * 257, np.uint16),
            np.full((24, 32), 77 * 257, np.uint16),
        ):
            assert cv2.imwrite(str(path), picture)
            pixels = read_image(path)
            assert pixels.dtype == np.uint8
            np.testing.assert_array_equal(pixels, np.full((24, 32, 3), 77, np.uint8))

    def test_channels_are_rgb(self, media, tmp_path):
        assert tuple(read_image(media.image(tmp_path / "a.png", (220, 20, 30)))[0, 0]) == (220, 20, 30)


def test_a_still_is_told_from_all_else(media, tmp_path):
    image = media.image(tmp_path / "a.PNG")
    bare = tmp_path / "bare"
    bare.write_bytes(image.read_bytes())
    assert is_still(image)
    assert is_still(bare)
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    gif = media.gif(tmp_path / "a.gif", [(255, 0, 0), (0, 255, 0)], [8, 8])
    (tmp_path / "bare-gif").write_bytes(gif.read_bytes())
    media.video(tmp_path / "a.avi", GREYS[:3])
    for name in (
        "text",
        "empty",
        "folder.png",
        "fifo.png",
        "a.gif",
        "bare-gif",
        "a.avi",
        "none.png",
        "n" * 300,
    ):
        assert not is_still(tmp_path / name), name
