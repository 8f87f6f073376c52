"""What a thumbnail may show, against the source at full resolution."""

import datetime as dt

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.frame import Frame
from edge.evidence.thumbnail import MOSAIC_BLOCKS, SHARP_SHARE, encode, keep_best, redact
from edge.policy.document import Thumbnail
from edge.policy.judge import Shot
from edge.vision.types import Box

SPEC = Thumbnail()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def frame(pixels):
    return Frame(pixels, 0.0, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@st.composite
def boxes(draw):
    x0, x1 = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    y0, y1 = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    return Box(x0, y0, x1, y1)


def shuffled_within_blocks(pixels, block_px, seed=1):
    """The same block means, and nothing else the same."""
    rng, out = np.random.default_rng(seed), pixels.copy()
    for y in range(0, pixels.shape[0], block_px):
        for x in range(0, pixels.shape[1], block_px):
            block = out[y : y + block_px, x : x + block_px]
            flat = block.reshape(-1, 3)
            block[:] = flat[rng.permutation(len(flat))].reshape(block.shape)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, MOSAIC_BLOCKS), st.booleans(), st.integers(64, 960))
def test_with_no_evidence_box_only_block_means_survive(block_px, blocks, upright, side_px):
    size = (MOSAIC_BLOCKS * block_px, blocks * block_px)
    pixels = noise(*(size if upright else size[::-1]))
    shown = redact(pixels, (), side_px)
    again = redact(shuffled_within_blocks(pixels, block_px), (), side_px)
    assert np.abs(shown.astype(int) - again).max() <= 1
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= MOSAIC_BLOCKS * blocks


@settings(max_examples=80, deadline=None)
@given(boxes(), st.sampled_from([(480, 640), (320, 320), (96, 256), (640, 200)]), st.integers(64, 480))
def test_outside_the_box_nothing_finer_than_a_block_of_the_whole_frame_survives(box, size, side_px):
    height, width = size
    block_px = max(size) // MOSAIC_BLOCKS
    pixels = noise(height, width)
    shuffled = shuffled_within_blocks(pixels, block_px)
    x0, y0 = int(np.ceil(box.x0 * width)), int(np.ceil(box.y0 * height))
    x1, y1 = int(box.x1 * width), int(box.y1 * height)
    shuffled[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
    shown, again = redact(pixels, (box,), side_px), redact(shuffled, (box,), side_px)
    # Blocks that the box cuts change their mean with the shuffle; all others, and the box, stay.
    differs = np.abs(shown.astype(int) - again).max(axis=2) > 1
    colours = len(np.unique(shown[differs], axis=0))
    cut_blocks = 2 * ((x1 - x0) // block_px + 3) + 2 * ((y1 - y0) // block_px + 3)
    assert colours <= cut_blocks


@settings(max_examples=80, deadline=None)
@given(boxes(), st.integers(64, 480))
def test_a_sharp_box_shows_its_own_pixels_and_none_from_around_it(box, side_px):
    pixels = np.zeros((240, 320, 3), np.uint8)
    x0, y0 = int(np.ceil(box.x0 * 320)), int(np.ceil(box.y0 * 240))
    x1, y1 = int(box.x1 * 320), int(box.y1 * 240)
    pixels[y0:y1, x0:x1] = 255
    bright = pixels.copy()
    bright[pixels == 0] = 90
    shown, again = redact(pixels, (box,), side_px), redact(bright, (box,), side_px)
    white = (shown == 255).all(axis=2) & (again == 255).all(axis=2)
    if box.area > SHARP_SHARE:
        return  # it is mosaic, and may be white in whole blocks
    if (x1 - x0) * (y1 - y0) > 0 and max(pixels.shape) <= side_px * 3:
        assert white.sum() >= 1 or (x1 - x0) < 4 or (y1 - y0) < 4
    # The painted region is one colour: nothing bled in across its edge.
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    if rows.size:
        assert white[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_the_box_is_as_sharp_as_the_source_and_the_rest_is_not():
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[:, ::2] = 255  # stripes one pixel wide
    shown = redact(pixels, (Box(0.4, 0.4, 0.6, 0.6),), 480)
    contrast = np.abs(np.diff(shown[:, :, 0].astype(int), axis=1))
    assert contrast.max() == 255
    rows, columns = np.nonzero(contrast == 255)
    # The window is three times the box: the box is its middle third, to the pixel.
    height, width = shown.shape[:2]
    assert rows.min() >= height / 3 - 1
    assert rows.max() <= height * 2 / 3 + 1
    assert columns.min() >= width / 3 - 2
    assert columns.max() <= width * 2 / 3 + 1


def test_a_close_crop_gets_no_finer_blocks():
    pixels = noise(480, 640)
    shown = redact(pixels, (Box(0.5, 0.5, 0.52, 0.52),), 480)
    block_px = 640 / MOSAIC_BLOCKS
    height, width = shown.shape[:2]
    colours = len(np.unique(shown.reshape(-1, 3), axis=0)) - (0.02 * 480 + 1) * (0.02 * 640 + 1)
    assert colours <= (height / block_px + 2) * (width / block_px + 2)
    assert max(height, width) <= 640 / 3 + 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.lists(boxes(), max_size=3), st.integers(64, 960))
def test_any_frame_and_any_boxes_give_a_picture_within_bounds(height, width, sharp, side_px):
    shown = redact(noise(height, width), tuple(sharp), side_px)
    assert shown.dtype == np.uint8
    assert shown.ndim == 3
    assert 1 <= max(shown.shape[:2]) <= side_px


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 960), st.integers(1, 960), st.integers(2_000, 60_000))
def test_an_encoded_picture_fits_its_bytes_and_carries_nothing_else(height, width, max_bytes):
    jpeg = encode(noise(height, width), max_bytes)
    assert len(jpeg.data) <= max_bytes
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == (jpeg.height_px, jpeg.width_px)
    assert segments(jpeg.data) <= {0xE0, 0xDB, 0xC0, 0xC4, 0xDA}  # JFIF, tables, frame, scan


def segments(data):
    """The markers of a JPEG up to its scan: 0xE1 would be EXIF, 0xFE a comment."""
    assert data[:2] == b"\xff\xd8"
    found, at = set(), 2
    while True:
        assert data[at] == 0xFF
        found.add(data[at + 1])
        if data[at + 1] == 0xDA:
            return found
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def test_colours_survive_the_encoding():
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    decoded = cv2.imdecode(np.frombuffer(encode(red, 40_000).data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded[32, 32, 2] > 190  # OpenCV decodes to BGR
    assert decoded[32, 32, :2].max() < 10


def test_masked_polygons_are_black_in_the_thumbnail_even_inside_the_box():
    white = np.full((480, 640, 3), 255, np.uint8)
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    album = keep_best(
        {}, [Shot("phone", (Box(0.3, 0.3, 0.7, 0.7),), 0.9, first=True)], frame(white), [mask], SPEC
    )
    shown = album["phone"].pixels
    middle = shown.shape[1] // 2
    assert shown[:, :middle].max() == 0
    # Right of it: white in the box; in the mosaic, at least where no block reaches into the mask.
    assert shown[:, middle + shown.shape[1] // 7 :].min() == 255
    assert white.min() == 255  # the frame itself is not painted


def test_the_album_keeps_the_better_shot_and_nothing_of_the_frame():
    reads = []

    def evidence(value):
        pixels = np.full((120, 160, 3), value, np.uint8)
        reads.append(value)
        return pixels

    def shot(quality, *, first=False):
        return [Shot("phone", (Box(0, 0, 1, 1),), quality, first)]

    def taken(value):
        return Frame(
            np.zeros((12, 16, 3), np.uint8),
            0.0,
            dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            lambda: evidence(value),
        )

    album = keep_best({}, shot(0.5), taken(10), (), SPEC)
    album = keep_best(album, shot(0.4), taken(20), (), SPEC)
    assert reads == [10]
    album = keep_best(album, shot(0.6), taken(30), (), SPEC)
    assert album["phone"].pixels.max() == 30
    # A new hold has no use for the picture of an earlier one.
    album = keep_best(album, shot(0.3, first=True), taken(40), (), SPEC)
    assert album["phone"].pixels.max() == 40
    source = noise(120, 160)
    kept = keep_best({}, shot(0.5), frame(source), (), SPEC)["phone"].pixels
    assert not np.shares_memory(kept, source)


@pytest.mark.shared
def test_a_phone_in_a_hand_is_sharp_and_the_face_is_not(shared):
    bgr = cv2.imread(str(shared / "photos" / "phone-in-hand.jpg"))
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    # Fine detail, as the median absolute Laplacian, in a box and in the mosaic's version of it.
    box = Box(0.3, 0.3, 0.73, 0.73)
    sharp, mosaic = redact(rgb, (box,), 480), redact(rgb, (), 480)
    assert sharp.shape == mosaic.shape  # three times the box is the whole frame

    def detail(picture):
        height, width = picture.shape[:2]
        inside = picture[int(0.35 * height) : int(0.68 * height), int(0.35 * width) : int(0.68 * width)]
        return np.median(np.abs(cv2.Laplacian(cv2.cvtColor(inside, cv2.COLOR_RGB2GRAY), cv2.CV_32F)))

    assert detail(sharp) >= 3
    assert detail(mosaic) == 0
