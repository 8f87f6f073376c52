"""The scene gate: deaf to noise and light, awake to a phone."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.vision.scene import (
    BOX_CHANGED_SHARE,
    SceneState,
    box_differs,
    differs,
    grid_shape,
    look,
    open_blocks,
)
from edge.vision.types import Box

SIZE = (225, 300)


def room(seed: int = 0, shape: tuple[int, int] = SIZE) -> np.ndarray:
    """A desk-like picture: a shaded wall and forty sharp-edged things, uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = shape
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.linspace(90, 150, width)[None, :, None]
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 5), rng.integers(8, height // 4)
        picture[y : y + h, x : x + w] = rng.integers(20, 230, 3)
    return picture.astype(np.uint8)


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def inferences(pictures, fps: float = 10.0, max_age_s: float = 5.0) -> list[bool]:
    state, ran = SceneState(), []
    for index, picture in enumerate(pictures):
        state, scene = look(state, picture, index / fps, max_age_s)
        ran.append(scene.infer)
    return ran


@pytest.mark.parametrize("sigma", [0.0, 4.0, 6.0, 12.0])
def test_noise_alone_costs_one_inference_each_max_age(sigma):
    ran = inferences(noisy(room(), sigma, seed) for seed in range(200))
    assert [i for i, r in enumerate(ran) if r] == [0, 50, 100, 150]


def test_jpeg_flicker_is_not_motion():
    def compressed(seed: int) -> np.ndarray:
        return cv2.imdecode(
            cv2.imencode(".jpg", noisy(room(), 5, seed), [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1
        )

    assert sum(inferences(compressed(seed) for seed in range(100))) == 2


def test_drifting_light_costs_no_more_than_stillness():
    gains = 0.85 + 0.15 * np.sin(np.arange(300) / 300 * 2 * np.pi)
    ran = inferences(noisy(room() * g, 5, i) for i, g in enumerate(gains))
    assert sum(ran) <= 8


def test_an_exposure_step_costs_at_most_one_inference_and_the_gate_recovers():
    pictures = [noisy(room() * (0.6 if i < 25 else 1.0), 5, i) for i in range(49)]
    assert sum(inferences(pictures)) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_a_phone_put_down_at_a_modest_contrast_is_seen_at_once(seed):
    rng = np.random.default_rng(seed)
    empty = room(seed)
    y, x = rng.integers(0, SIZE[0] - 60), rng.integers(0, SIZE[1] - 30)
    with_phone = empty.astype(np.float32)
    region = with_phone[y : y + 60, x : x + 30]
    region += 15 if region.mean() < 128 else -15
    ran = inferences(
        [noisy(empty, 5, 1), noisy(empty, 5, 2), noisy(with_phone, 5, 3), noisy(with_phone, 5, 4)]
    )
    assert ran == [True, False, True, False]


def test_a_moving_scene_infers_on_every_frame():
    def at(step: int) -> np.ndarray:
        picture = room().copy()
        picture[90:170, 20 + step : 60 + step] = 240
        return noisy(picture, 4, step)

    assert all(inferences(at(3 * i) for i in range(60)))


def test_a_creeping_change_adds_up_against_the_last_inference():
    def at(step: int) -> np.ndarray:
        picture = room().astype(np.float32)
        picture[60:120, 60:120] += step * 0.5  # half a level a frame: never visible between two frames
        return noisy(picture, 3, step)

    ran = inferences((at(i) for i in range(49)), max_age_s=1e9)
    assert 3 <= sum(ran) <= 8


def test_a_halt_in_motion_is_looked_at_for_a_while_longer():
    def at(step: int) -> np.ndarray:
        picture = room().copy()
        left = 20 + 5 * min(step, 10)
        picture[90:170, left : left + 40] = 240
        return picture

    ran = inferences(at(i) for i in range(30))
    assert all(ran[:15])
    assert not any(ran[17:])


def test_the_age_of_an_inference_is_bounded_in_seconds_not_frames():
    assert inferences([room()] * 10, fps=1.0, max_age_s=3.0) == [i % 3 == 0 for i in range(10)]


def test_another_picture_size_is_a_change():
    state, _ = look(SceneState(), room(), 0.0)
    _, scene = look(state, room(shape=(169, 300)), 0.1)
    assert scene.changed
    assert scene.blocks.shape == grid_shape(169, 300) == (18, 32)


@pytest.mark.parametrize("shape", [(225, 300), (312, 416), (300, 225), (300, 300), (169, 300), (1, 300)])
def test_any_picture_shape_has_a_grid(shape):
    _, scene = look(
        SceneState(), room(shape=shape) if min(shape) > 50 else np.zeros((*shape, 3), np.uint8), 0.0
    )
    assert scene.blocks.shape == scene.open.shape == grid_shape(*shape)
    assert scene.infer


def test_a_view_into_a_letterbox_need_not_be_contiguous():
    wide = np.zeros((300, 400, 3), np.uint8)
    wide[30:255, 50:350] = room()
    _, inside = look(SceneState(), wide[30:255, 50:350], 0.0)
    _, plain = look(SceneState(), room(), 0.0)
    assert np.array_equal(inside.blocks, plain.blocks)


def test_nothing_in_a_state_is_written_to_later():
    state, first = look(SceneState(), room(), 0.0)
    before = first.blocks.copy(), first.grey.copy()
    for i in range(5):
        state, _ = look(state, room(i), i / 10)
    assert np.array_equal(before[0], first.blocks)
    assert np.array_equal(before[1], first.grey)


def test_masked_blocks_and_their_neighbours_are_not_open():
    hidden = np.zeros(SIZE, bool)
    hidden[:, :60] = True  # 6.4 blocks
    grid = open_blocks(hidden)
    assert not grid[:, :8].any()
    assert grid[:, 8:].all()
    _, scene = look(SceneState(open=grid), room(), 0.0)
    assert scene.open is grid


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"open blocks: wanted shape \(24, 32\).*got \(18, 32\)"):
        look(SceneState(open=open_blocks(np.zeros((169, 300), bool))), room(), 0.0)


def test_a_box_differs_when_its_own_picture_went_and_not_when_the_light_did():
    _, then = look(SceneState(), room(), 0.0)
    gone = room().copy()
    gone[80:200, 100:200] = room(9)[80:200, 100:200]
    inside, outside = Box(1 / 3, 0.36, 2 / 3, 0.88), Box(0.7, 0.1, 0.98, 0.98)
    _, dimmer = look(SceneState(), noisy(gone * 0.7, 4, 1), 1.0)
    assert box_differs(then.blocks, dimmer, inside)
    assert not box_differs(then.blocks, dimmer, outside)


def test_a_box_on_the_edge_or_without_area_is_still_a_block():
    _, scene = look(SceneState(), room(), 0.0)
    for box in (Box(1, 1, 1, 1), Box(0, 0, 0, 0), Box(0.999, 0, 1, 1)):
        assert not box_differs(scene.blocks, scene, box)


def frames(path: Path) -> list[np.ndarray]:
    """A clip's frames at 300 px, uint8 RGB."""
    clip, read = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = clip.read()
        if not ok:
            return read
        height = round(300 * frame.shape[0] / frame.shape[1])
        read.append(cv2.cvtColor(cv2.resize(frame, (300, height)), cv2.COLOR_BGR2RGB))


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["eat.mkv", "head-pose-face-detection-female.gif"])
def test_people_in_motion_are_inferred_on_every_frame(shared, clip):
    ran = inferences(frames(shared / "clips" / clip), fps=15.0)
    assert all(ran[2:])  # one of them still stands when the clip begins


@pytest.mark.shared
def test_a_still_room_with_a_noisy_sensor_costs_a_tenth_of_a_moving_one(shared):
    moving = inferences(frames(shared / "clips" / "eat.mkv"))
    still = frames(shared / "clips" / "book.mkv")[0]
    static = inferences(noisy(still, 6, seed) for seed in range(150))
    assert sum(static) / len(static) <= 0.1 * sum(moving) / len(moving)


@pytest.mark.shared
def test_who_stays_keeps_their_box_and_who_leaves_does_not(shared):
    read = frames(shared / "clips" / "eat.mkv")
    _, first = look(SceneState(), read[0], 0.0)
    person = Box(0.25, 0.1, 0.68, 1.0)
    for picture in read[::4]:
        _, later = look(SceneState(), picture, 1.0)
        assert not box_differs(first.blocks, later, person)
    empty = read[0].copy()
    empty[:, 75:204] = empty[:, 70:75].mean(axis=1, keepdims=True)
    _, later = look(SceneState(), noisy(empty, 3, 0), 1.0)
    assert box_differs(first.blocks, later, person)
    assert differs(first.blocks, later.blocks)
    assert 0.3 < BOX_CHANGED_SHARE < 0.6
