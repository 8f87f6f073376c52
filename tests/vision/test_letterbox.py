"""The letterbox against pictures: what it paints, and that boxes come back to where the thing is."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision.letterbox import Letterbox
from edge.vision.types import Box

sides = st.integers(16, 700)
fits = st.sampled_from(["letterbox", "stretch"])


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


@st.composite
def boxes(draw):
    x0, x1 = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    y0, y1 = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    return Box(x0, y0, x1, y1)


@given(boxes(), sides, sides, sides, sides, fits)
def test_to_frame_undoes_to_input_exactly(box, frame_w, frame_h, input_w, input_h, fit):
    letterbox = Letterbox((frame_w, frame_h), (input_w, input_h), fit=fit)
    back = letterbox.to_frame(letterbox.to_input(box))
    for got, wanted in zip(
        (back.x0, back.y0, back.x1, back.y1), (box.x0, box.y0, box.x1, box.y1), strict=True
    ):
        assert got == pytest.approx(wanted, abs=1e-9)


@given(boxes(), sides, sides, fits)
def test_to_frame_never_leaves_the_frame(box, frame_w, frame_h, fit):
    letterbox = Letterbox((frame_w, frame_h), (300, 300), fit=fit)
    letterbox.to_frame(box)  # Box refuses what is outside
    rows, cols = letterbox.content
    whole = Box(cols.start / 300, rows.start / 300, cols.stop / 300, rows.stop / 300)
    full = letterbox.to_frame(whole)
    assert (full.x0, full.y0, full.x1, full.y1) == pytest.approx((0, 0, 1, 1), abs=1e-12)


@given(
    st.integers(100, 900),
    st.integers(100, 900),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0.2, 0.5),
    fits,
)
@settings(deadline=None)
def test_a_thing_in_the_picture_comes_back_to_where_it_is(width, height, x, y, side, fit):
    frame = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = (
        round(x * width),
        round(y * height),
        round((x + side) * width),
        round((y + side) * height),
    )
    frame[y0:y1, x0:x1] = 255
    letterbox = Letterbox((width, height), (320, 256), fit=fit)
    rows, cols = np.nonzero(letterbox.paint(frame)[:, :, 1] > 127)
    seen = Box(cols.min() / 320, rows.min() / 256, (cols.max() + 1) / 320, (rows.max() + 1) / 256)
    back = letterbox.to_frame(seen)
    picture_rows, picture_cols = letterbox.content
    one_x = 1 / (picture_cols.stop - picture_cols.start) + 1 / width
    one_y = 1 / (picture_rows.stop - picture_rows.start) + 1 / height
    assert back.x0 == pytest.approx(x0 / width, abs=one_x)
    assert back.x1 == pytest.approx(x1 / width, abs=one_x)
    assert back.y0 == pytest.approx(y0 / height, abs=one_y)
    assert back.y1 == pytest.approx(y1 / height, abs=one_y)


@pytest.mark.parametrize(
    ("frame_px", "content"),
    [
        ((640, 480), (slice(37, 262), slice(0, 300))),
        ((480, 640), (slice(0, 300), slice(37, 262))),
        ((300, 300), (slice(0, 300), slice(0, 300))),
        ((200, 100), (slice(75, 225), slice(0, 300))),
        ((4000, 10), (slice(149, 150), slice(0, 300))),
    ],
)
def test_bars_are_centred_and_keep_their_level(frame_px, content):
    letterbox = Letterbox(frame_px, (300, 300), pad=114)
    assert letterbox.content == content
    for seed in (1, 2):
        buffer = letterbox.paint(noise(*frame_px, seed))
        bars = np.ones((300, 300), bool)
        bars[content] = False
        assert (buffer[bars] == 114).all()
        picture = buffer[content]
        if max(frame_px) <= 900:
            wanted = cv2.resize(noise(*frame_px, seed), (picture.shape[1], picture.shape[0]))
            np.testing.assert_array_equal(picture, wanted)


def test_stretch_is_the_plain_resize():
    letterbox = Letterbox((640, 480), (300, 300), fit="stretch")
    np.testing.assert_array_equal(letterbox.paint(noise(640, 480)), cv2.resize(noise(640, 480), (300, 300)))


def test_the_buffer_is_reused():
    letterbox = Letterbox((640, 480), (300, 300))
    assert letterbox.paint(noise(640, 480, 1)) is letterbox.paint(noise(640, 480, 2))


@pytest.mark.parametrize("frame_px", [(640, 480), (1280, 720)])
def test_padded_rows_and_crops_give_the_same_pixels(frame_px):
    width, height = frame_px
    padded = noise(width + 128, height + 20)
    view = padded[10 : 10 + height, 64 : 64 + width]
    assert not view.flags.c_contiguous
    letterbox = Letterbox(frame_px, (300, 300))
    got = letterbox.paint(view).copy()
    np.testing.assert_array_equal(got, letterbox.paint(np.ascontiguousarray(view)))


@pytest.mark.parametrize("frame_px", [(1280, 720), (1920, 1080), (2592, 1944)])
def test_large_frames_are_averaged_not_sampled(frame_px):
    """Fine noise around mid grey must come out as grey: bilinear sampling alone leaves most of it."""
    frame = noise(*frame_px)
    got = Letterbox(frame_px, (300, 300), fit="stretch").paint(frame).astype(float)
    area = cv2.resize(frame, (300, 300), interpolation=cv2.INTER_AREA).astype(float)
    sampled = cv2.resize(frame, (300, 300), interpolation=cv2.INTER_LINEAR).astype(float)
    assert got.std() < 0.75 * sampled.std()
    assert np.abs(got - area).mean() < 0.75 * np.abs(sampled - area).mean()


@st.composite
def polygons(draw):
    side = st.integers(0, 997).map(lambda n: n / 997)
    corner = st.tuples(side, side)
    return tuple(draw(st.lists(corner, min_size=3, max_size=6)))


@given(
    st.lists(polygons(), min_size=1, max_size=3), st.sampled_from([(640, 480), (1280, 720), (97, 61)]), fits
)
@settings(deadline=None, max_examples=40)
def test_nothing_of_a_masked_region_reaches_the_model(masks, frame_px, fit):
    width, height = frame_px
    letterbox = Letterbox(frame_px, (160, 128), fit=fit, pad=9, masks=masks)
    frame = noise(width, height)
    first = letterbox.paint(frame).copy()
    # Which pixels have their centre inside a mask, worked out here corner by corner (even-odd rule).
    y, x = np.mgrid[:height, :width]
    px, py = (x + 0.5) / width, (y + 0.5) / height
    masked = np.zeros((height, width), bool)
    for polygon in masks:
        inside = np.zeros((height, width), bool)
        for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            if ay != by:
                crosses = ((ay > py) != (by > py)) & (px < (bx - ax) * (py - ay) / (by - ay) + ax)
                inside ^= crosses
        masked |= inside
    changed = frame.copy()
    changed[masked] = 255 - changed[masked]
    np.testing.assert_array_equal(letterbox.paint(changed), first)


def test_a_mask_leaves_the_rest_as_it_is():
    left = ((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0))
    plain, masked = Letterbox((640, 480), (300, 300)), Letterbox((640, 480), (300, 300), masks=(left,))
    frame = noise(640, 480)
    a, b = plain.paint(frame)[plain.content], masked.paint(frame)[masked.content]
    assert not b[:, :75].any()
    np.testing.assert_array_equal(a[:, 77:], b[:, 77:])


def test_a_mask_may_leave_the_frame():
    outside = ((-1.0, -1.0), (2.0, -1.0), (2.0, 2.0), (-1.0, 2.0))
    letterbox = Letterbox((64, 48), (32, 32), pad=7, masks=(outside,))
    buffer = letterbox.paint(noise(64, 48))
    assert not buffer[letterbox.content].any()
    assert (buffer[0] == 7).all()
