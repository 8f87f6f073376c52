"""Tamper measures: each fault is found, on time, and a working day raises none of them."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.vision.limits import MOVED_HOLD_S, RELEARN_S, SOFT_FLOOR, SOFT_HOLD_S
from edge.vision.scene import SceneState, look, open_blocks
from edge.vision.tamper import (
    TamperState,
    alike_share,
    examine,
    sharpness,
    structure,
)
from edge.vision.types import Blind

Picture = np.ndarray
SIZE = (225, 300)
FPS = 5.0
CLIPS = [
    "head-pose-face-detection-female.gif",
    "head-pose-face-detection-female-and-male.gif",
    "book.mkv",
    "eat.mkv",
    "classroom.gif",
    "bottle-detection.mp4",
]


def room(seed: int = 0) -> Picture:
    """A desk-like picture: a shaded wall and sixty sharp-edged things, uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.linspace(90, 150, width)[None, :, None]
    for _ in range(60):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 5), rng.integers(8, height // 4)
        picture[y : y + h, x : x + w] = rng.integers(20, 230, 3)
    return picture.astype(np.uint8)


_NOISE = np.random.default_rng(0).normal(0, 1, (*SIZE, 3)).astype(np.float32)


def noisy(picture: Picture, sigma: float, seed: int) -> Picture:
    """Add sensor noise: one field of noise, rolled, as drawing it anew costs more than all that is tested."""
    height, width = picture.shape[:2]
    noise = np.roll(_NOISE[:height, :width], (seed * 7, seed * 13), (0, 1))
    return np.clip(picture + sigma * noise, 0, 255).astype(np.uint8)


def blur(picture: Picture, sigma: float) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), sigma)


class Watch:
    """Feeds pictures at FPS and keeps what was found at each second."""

    def __init__(self, hidden: np.ndarray | None = None) -> None:
        self.scene_state = SceneState(open=None if hidden is None else open_blocks(hidden))
        self.state = TamperState()
        self.now_s = 0.0
        self.count = 0

    def see(self, picture: Picture, for_s: float = 1 / FPS, sigma: float = 4.0) -> list[frozenset[Blind]]:
        return self.see_all((picture for _ in range(max(1, round(for_s * FPS)))), sigma)

    def see_all(self, pictures: Iterable[Picture], sigma: float = 4.0) -> list[frozenset[Blind]]:
        found = []
        for picture in pictures:
            self.count += 1
            shown = noisy(picture, sigma, self.count) if sigma else picture
            self.scene_state, scene = look(self.scene_state, shown, self.now_s)
            self.state, blind = examine(self.state, scene, self.now_s)
            found.append(blind)
            self.now_s += 1 / FPS
        return found


def since(found: list[frozenset[Blind]], blind: Blind) -> float | None:
    """Seconds into `found` at which `blind` was first there."""
    return next((i / FPS for i, reasons in enumerate(found) if blind in reasons), None)


def uniform(level: float, vignette: float = 0.3) -> Picture:
    rows, cols = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    radius2 = ((cols - 150) ** 2 + (rows - 112) ** 2) / 150**2
    return np.repeat((level * (1 - vignette * radius2))[..., None], 3, 2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("level", [0, 5, 30, 90, 160, 230])
@pytest.mark.parametrize("sigma", [0.0, 3.0, 8.0])
def test_a_cover_of_any_brightness_is_covered_at_once_and_never_dark(level, sigma):
    watch = Watch()
    watch.see(room(), 5)
    found = watch.see(uniform(level), 2, sigma)
    assert all(Blind.COVERED in blind and Blind.DARK not in blind for blind in found)
    assert watch.see(room(), 1) == [frozenset()] * 5


def test_pure_black_is_covered():
    assert Watch().see(np.zeros((*SIZE, 3), np.uint8), sigma=0) == [{Blind.COVERED}]


def test_a_monitors_glow_in_the_night_is_dark_not_covered():
    night = room().astype(np.float32) * 0.03
    night[60:120, 100:180] = 140
    assert set(Watch().see(night.astype(np.uint8), 2)) == {frozenset({Blind.DARK})}


def test_dusk_does_not_flutter():
    watch, seen = Watch(), []
    for index in range(120):
        level = 0.17 - 0.001 * index + 0.004 * (-1) ** index
        seen += watch.see((room() * level).astype(np.uint8), sigma=2)
    dark = [bool(blind) for blind in seen]
    assert sum(a != b for a, b in pairwise(dark)) == 1
    assert dark[-1]


def test_the_edge_of_a_mask_is_no_structure():
    hidden = np.zeros(SIZE, bool)
    hidden[:, :75] = True
    cover, scene = uniform(150), room()
    cover[hidden] = scene[hidden] = 0

    def masked(picture: Picture, watch: Watch) -> list[frozenset[Blind]]:
        return watch.see_all(
            (np.where(hidden[..., None], 0, noisy(picture, 4, i)).astype(np.uint8) for i in range(10)), 0
        )

    watch = Watch(hidden)
    assert set(masked(scene, watch)) == {frozenset()}
    assert set(masked(cover, watch)) == {frozenset({Blind.COVERED})}


def test_a_picture_masked_nearly_whole_cannot_be_judged_and_says_so():
    hidden = np.ones(SIZE, bool)
    hidden[:30, :30] = False
    watch = Watch(hidden)
    assert set(watch.see(np.zeros((*SIZE, 3), np.uint8), 60, sigma=1)) == {frozenset({Blind.MASKED})}


@pytest.mark.parametrize("sigma_px", [3, 4, 6, 10])
def test_defocus_is_found_after_its_hold_and_ends_with_it(sigma_px):
    watch = Watch()
    assert not any(watch.see(room(), 20))
    found = watch.see(blur(room(), sigma_px), 10)
    at_s = since(found, Blind.DEFOCUSED)
    assert at_s is not None
    assert SOFT_HOLD_S <= at_s <= SOFT_HOLD_S + 1
    assert set().union(*found) == {Blind.DEFOCUSED}
    assert not any(watch.see(room(), 5)[3:])


def test_defocus_from_the_first_frame_is_found_by_the_floor():
    assert since(Watch().see(blur(room(), 6), 10), Blind.DEFOCUSED) is not None


def test_defocus_lasts_for_as_long_as_the_lens_is_out():
    watch = Watch()
    watch.see(room(), 20)
    assert Blind.DEFOCUSED in watch.see(blur(room(), 5), 900)[-1]


def test_a_blur_for_a_moment_is_no_defocus():
    watch = Watch()
    watch.see(room(), 20)
    for _ in range(5):
        assert not any(watch.see(blur(room(), 6), 2))
        assert not any(watch.see(room(), 2))


def test_the_noise_of_a_dim_sensor_does_not_look_sharp():
    _, scene = look(SceneState(), noisy(blur(room(), 5), 12, 0), 0.0)
    assert sharpness(scene.half, scene.blocks, scene.open) < SOFT_FLOOR


def shifted(picture: Picture, x_px: int, y_px: int) -> Picture:
    return np.roll(picture, (y_px, x_px), (0, 1))


@pytest.mark.parametrize(
    "change", [lambda p: shifted(p, 60, 20), lambda p: np.rot90(p, 2).copy(), lambda p: room(5)]
)
def test_a_turned_camera_is_moved_until_the_new_view_was_steady(change: Callable[[Picture], Picture]):
    watch = Watch()
    assert not any(watch.see(room(), 60))
    found = watch.see(change(room()), RELEARN_S + 10)
    at_s = since(found, Blind.MOVED)
    assert at_s is not None
    assert MOVED_HOLD_S <= at_s <= MOVED_HOLD_S + 1
    moved = [Blind.MOVED in blind for blind in found]
    assert all(moved[round(at_s * FPS) : round(RELEARN_S * FPS)])
    assert not any(moved[round((RELEARN_S + 2) * FPS) :])


def test_a_camera_put_back_is_at_once_no_longer_moved():
    watch = Watch()
    watch.see(room(), 60)
    assert Blind.MOVED in watch.see(room(5), 20)[-1]
    assert not any(watch.see(room(), 5)[3:])


def test_a_camera_carried_about_stays_moved():
    watch = Watch()
    watch.see(room(), 60)
    found = watch.see_all(room(10 + i // 25) for i in range(round(150 * FPS)))
    assert all(Blind.MOVED in blind for blind in found[round((MOVED_HOLD_S + 1) * FPS) :])


def test_light_from_another_side_is_no_move():
    watch = Watch()
    watch.see(room(), 60)
    for left, right in [(0.4, 1.0), (1.0, 0.4), (1.4, 0.7), (0.3, 0.3)]:
        lit = (room() * np.linspace(left, right, SIZE[1])[None, :, None]).clip(0, 255).astype(np.uint8)
        assert not any(watch.see(lit, 15))


def person_in(picture: Picture, left_px: int, width_px: int, seed: int = 40) -> Picture:
    shown = picture.copy()
    left, right = max(0, left_px), min(SIZE[1], left_px + width_px)
    shown[20:, left:right] = room(seed)[20:, left:right]
    return shown


def test_a_working_day_in_short_raises_nothing():
    """Someone comes, sits over 60 % of the picture, moves, leaves, comes back; and the light goes by."""
    watch, found = Watch(), []
    empty = room()
    for round_ in range(3):
        gain = 1.0 - 0.2 * round_
        lit = (empty * gain).astype(np.uint8)
        found += watch.see(lit, 40)
        found += watch.see_all(person_in(lit, x, 190, 40 + x % 3) for x in range(-190, 60, 5))
        found += watch.see_all(person_in(lit, 55 + 10 * (i // 10 % 3), 190, 40 + i // 50) for i in range(600))
        found += watch.see_all(person_in(lit, x, 190) for x in range(60, 300, 5))
    assert set(found) == {frozenset()}


def test_leaning_into_the_lens_for_a_moment_is_no_move():
    watch = Watch()
    watch.see(room(), 60)
    for _ in range(5):
        assert not any(watch.see(room(7), 4))
        assert not any(watch.see(room(), 2))


def test_a_bit_identical_picture_is_frozen_after_its_time_and_one_new_bit_ends_it():
    watch = Watch()
    watch.see(room(), 5)
    found = watch.see(room(), 32, sigma=0)
    assert since(found, Blind.FROZEN) == pytest.approx(30.2, abs=0.21)
    other = room()
    other[100, 100] += 2
    assert watch.see(other, sigma=0) == [frozenset()]


def test_the_least_sensor_noise_is_not_frozen():
    watch, rng = Watch(), np.random.default_rng(0)

    def one_pixel_off() -> Picture:
        picture = room()
        picture[rng.integers(225), rng.integers(300)] ^= 4
        return picture

    assert not any(watch.see_all((one_pixel_off() for _ in range(round(40 * FPS))), sigma=0))


def test_time_in_which_the_camera_was_closed_counts_for_nothing():
    watch = Watch()
    watch.see(room(), 60)
    watch.see(blur(room(), 6), 2)
    watch.see(room(5), 2, sigma=0)
    watch.now_s += 600
    assert not any(watch.see(room(5), 3, sigma=0))
    watch.now_s += 600
    assert not any(watch.see(blur(room(), 6), 2))


def test_a_view_changed_while_the_camera_was_closed_is_moved_and_then_learned_over_bursts():
    watch = Watch()
    watch.see(room(), 60)
    watch.now_s += 600
    assert since(watch.see(room(5), 20), Blind.MOVED) is not None
    watch.now_s += 600
    assert not any(watch.see(room(5), 20))


def test_another_picture_size_starts_the_references_anew():
    watch = Watch()
    watch.see(room(), 60)
    assert not any(watch.see(room()[:169].copy(), 20))


def fit(picture: Picture) -> Picture:
    """Scale to 300 px on the longer side and to RGB, as a letterbox does."""
    height, width = picture.shape[:2]
    scale = 300 / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def frames(path: Path, step: int) -> list[Picture]:
    clip, read = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = clip.read()
        if not ok:
            return read[::step]
        read.append(fit(frame))


@pytest.mark.shared
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_no_real_clip_raises_anything(shared, name, sigma):
    read = frames(shared / "clips" / name, 6 if name.endswith(("mkv", "mp4")) else 2)
    there_and_back = read + read[-2:0:-1]
    looped = (there_and_back[i % len(there_and_back)] for i in range(round(60 * FPS)))
    assert set(Watch().see_all(looped, sigma)) == {frozenset()}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "degrees"),
    # Before a bare wall a turned camera and people who moved look the same, until it lies on its side.
    [("book.mkv", 25), ("classroom.gif", 25), ("head-pose-face-detection-female-and-male.gif", 90)],
)
def test_a_real_room_that_is_covered_blurred_or_turned_is_found(shared, name, degrees):
    read = frames(shared / "clips" / name, 3)
    loop = [read[i % len(read)] for i in range(round(40 * FPS))]

    def faults(change: Callable[[Picture], Picture]) -> set[Blind]:
        watch = Watch()
        assert not any(watch.see_all(loop))
        return set().union(*watch.see_all(change(picture) for picture in loop[: round(10 * FPS)]))

    assert faults(lambda p: blur(p, 40) // 2) == {Blind.COVERED}
    assert faults(lambda p: (p * 0.06).astype(np.uint8)) == {Blind.DARK}
    assert faults(lambda p: blur(p, 4)) == {Blind.DEFOCUSED}
    assert faults(lambda p: turned(p, degrees)) == {Blind.MOVED}


def turned(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.2)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


@pytest.fixture(scope="module")
def photos(shared) -> list[Picture]:
    paths = sorted((shared / "photos" / "coco-people-desk" / "images").glob("*.jpg"))[::12]
    return [fit(cv2.imread(str(path))) for path in paths]


def measured(photos, change, measure) -> np.ndarray:
    values = []
    for index, photo in enumerate(photos):
        _, scene = look(SceneState(), change(photo, index), 0.0)
        values.append(measure(scene))
    return np.array(values)


@pytest.mark.shared
def test_sharp_photos_lie_above_the_floor_and_blurred_ones_below(photos):
    def sharp(scene):
        return sharpness(scene.half, scene.blocks, scene.open)

    assert measured(photos, lambda p, _: p, sharp).min() > 1.4 * SOFT_FLOOR
    assert measured(photos, lambda p, i: noisy_any(blur(p, 4), i), sharp).max() < SOFT_FLOOR


def noisy_any(picture: Picture, seed: int) -> Picture:
    noise = np.random.default_rng(seed).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.shared
def test_photos_have_structure_to_spare_and_covers_have_not(photos):
    def standing_out(scene):
        return structure(scene.blocks, scene.open)

    assert measured(photos, lambda p, _: p, standing_out).min() > 15
    assert np.median(measured(photos, lambda p, i: noisy_any(blur(p, 50) * 0.4, i), standing_out)) < 1.5


@pytest.mark.shared
def test_a_person_over_most_of_a_photo_leaves_more_alike_than_another_photo(photos):
    wide = [cv2.resize(photo, (300, 225)) for photo in photos if photo.shape[1] > photo.shape[0]]
    for index, photo in enumerate(wide):
        _, then = look(SceneState(), noisy_any(photo, 1), 0.0)
        other = wide[(index + 3) % len(wide)]
        left = index * 17 % 100
        crowded = photo.copy()
        crowded[20:, left : left + 200] = other[20:, left : left + 200]
        _, with_person = look(SceneState(), noisy_any(crowded * 0.9, 2), 0.0)
        _, elsewhere = look(SceneState(), noisy_any(other, 3), 0.0)
        assert alike_share(then.blocks, with_person) > 0.17
        assert alike_share(then.blocks, elsewhere) < 0.13
