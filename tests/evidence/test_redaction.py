"""What leaves the unit of a frame, as a property: box pixels and block means, and nothing else.

Each property is a plain function over a redactor, so that broken redactors can be shown to fail it.
"""

import dataclasses
import datetime as dt
import functools
import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.capture.frame import Frame
from edge.evidence import thumbnail
from edge.evidence.thumbnail import SHARP_SHARE, encode, keep_best, redact
from edge.policy.document import Thumbnail
from edge.policy.judge import Shot
from edge.vision.detector import Detector
from edge.vision.mask import masked_pixels, spread
from edge.vision.model_file import DEFAULT_CARD, find_card
from edge.vision.types import Box

PART = 8
"""No block is shorter than one part in so many of the frame's longer side, and so of anybody's."""
SHARP = 0.2
"""At most so much of the frame is sharp."""
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True)
class Case:
    """A frame of noise, the hardest to hide, and what is to be sharp in it."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    side_px: int
    seed: int = 0

    @functools.cached_property
    def pixels(self):
        shape = (self.height, self.width, 3)
        return np.random.default_rng(self.seed).integers(0, 256, shape, dtype=np.uint8)

    @functools.cached_property
    def inside(self):
        """The pixels that lie wholly in a box."""
        inside = np.zeros((self.height, self.width), bool)
        for box in self.boxes:
            x0, x1 = int(np.ceil(box.x0 * self.width)), int(np.floor(box.x1 * self.width))
            y0, y1 = int(np.ceil(box.y0 * self.height)), int(np.floor(box.y1 * self.height))
            inside[y0 : max(y0, y1), x0 : max(x0, x1)] = True
        return inside

    def cells(self):
        """The pixels wholly in each block of the coarsest grid that is allowed, laid on the whole frame."""
        longer = max(self.width, self.height)
        spans = []
        for side in (self.height, self.width):
            count = max(1, side * PART // longer)
            assert count == 1 or side / count >= longer / PART
            spans.append([(-(-i * side // count), (i + 1) * side // count) for i in range(count)])
        return [(slice(*down), slice(*across)) for down in spans[0] for across in spans[1]]

    def scrambled(self, changeable):
        """The same frame with the changeable pixels of each block in reverse order: all means are kept."""
        out = self.pixels.copy()
        for cell in self.cells():
            free = changeable[cell]
            out[cell][free] = out[cell][free][::-1]
        return out


def differ(first, second):
    """Where two pictures differ by more than the rounding of a mean."""
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second).max(axis=2) > 1


def only_box_pixels_and_block_means_show(redactor, case):
    shown = redactor(case.pixels, case.boxes, case.side_px)
    again = redactor(case.scrambled(~case.inside), case.boxes, case.side_px)
    assert not differ(shown, again).any()


def no_more_colours_than_blocks(redactor, case):
    """Not even the means of finer blocks, or of others: a smooth background would have more colours."""
    pixels = case.pixels.copy()
    pixels[case.inside] = 0
    shown = redactor(pixels, case.boxes, case.side_px)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= len(case.cells()) + 1


def a_fifth_of_the_frame_is_sharp_at_most(redactor, case):
    """An edge of the sharp part is counted as if one output pixel more were sharp all along it."""
    everything = np.ones((case.height, case.width), bool)
    shown = redactor(case.pixels, case.boxes, case.side_px)
    changed = differ(shown, redactor(case.scrambled(everything), case.boxes, case.side_px))
    # The picture shows a part of the frame or all of it, never enlarged: what share, from its size.
    sparing = min(1.0, case.side_px / max(case.width, case.height))
    slack_px = 2 * len(case.boxes) * sum(shown.shape[:2])
    if max(shown.shape[:2]) == case.side_px or sparing < 1.0:
        whole = redactor(case.pixels, (), case.side_px).shape
        if shown.shape != whole:
            return  # a close crop: its own share of the frame is not known from outside
    assert changed.sum() <= SHARP * case.width * case.height * sparing**2 + slack_px


PROPERTIES = (
    only_box_pixels_and_block_means_show,
    no_more_colours_than_blocks,
    a_fifth_of_the_frame_is_sharp_at_most,
)


@st.composite
def edges(draw, side_px):
    """Low and high in 0–1: anywhere, on a pixel's edge, a rounding beside it, or at the frame's."""
    pixel = st.integers(0, side_px).map(lambda at: at / side_px)
    beside = st.tuples(pixel, st.sampled_from([0.0, 1.0])).map(lambda at: float(np.nextafter(*at)))
    edge = st.one_of(st.floats(0, 1), pixel, beside, st.sampled_from([0.0, 1.0]))
    low = draw(edge)
    tiny = st.floats(0, 3 / side_px).map(lambda more: min(1.0, low + more))
    return tuple(sorted((low, draw(st.one_of(edge, tiny)))))


@st.composite
def cases(draw):
    side = st.one_of(st.integers(64, 300), st.integers(64, 2000), st.sampled_from([640, 480, 1280, 719]))
    width, height = draw(side), draw(side)
    boxes = []
    for _ in range(draw(st.integers(0, 3))):
        (x0, x1), (y0, y1) = draw(edges(width)), draw(edges(height))
        boxes.append(Box(x0, y0, x1, y1))
    return Case(width, height, tuple(boxes), draw(st.integers(64, 960)), draw(st.integers(0, 9)))


WHOLE = Box(0.0, 0.0, 1.0, 1.0)
PHONE = Box(0.31, 0.42, 0.52, 0.83)


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda each: each.__name__)
@settings(max_examples=50, deadline=None)
@example(Case(640, 480, (WHOLE,), 480))
@example(Case(641, 479, (PHONE, Box(0.4, 0.5, 0.6, 0.9)), 480))
@example(Case(480, 640, (Box(0.5, 0.5, 0.5, 0.5),), 480))
@example(Case(1280, 960, (Box(0.1, 0.1, 0.1 + 1e-12, 0.9),), 480))
@given(case=cases())
def test_redaction_holds(holds, case):
    holds(redact, case)


# Redactors broken in one thing each.


def finer_blocks(patch):
    patch.setattr(thumbnail, "MOSAIC_BLOCKS", 2 * PART)


def one_block_more(patch):
    patch.setattr(thumbnail, "MOSAIC_BLOCKS", PART + 1)


def no_limit_to_what_is_sharp(patch):
    patch.setattr(thumbnail, "SHARP_SHARE", 1.0)


def one_pixel_beyond_the_box(patch):
    sharpen = thumbnail._sharpen

    def beyond(out, pixels, box, rows, columns):
        height, width = pixels.shape[:2]
        x0, y0 = max(0.0, box.x0 - 1 / width), max(0.0, box.y0 - 1 / height)
        sharpen(out, pixels, Box(x0, y0, box.x1, box.y1), rows, columns)

    patch.setattr(thumbnail, "_sharpen", beyond)


def the_box_rounded_outwards(patch):
    sharpen = thumbnail._sharpen

    def outwards(out, pixels, box, rows, columns):
        height, width = pixels.shape[:2]
        x1 = min(1.0, np.ceil(box.x1 * width) / width)
        y1 = min(1.0, np.ceil(box.y1 * height) / height)
        sharpen(out, pixels, Box(box.x0, box.y0, x1, y1), rows, columns)

    patch.setattr(thumbnail, "_sharpen", outwards)


def the_frame_scaled_first(patch):
    """Then the area mean at the box's edge takes in what lies outside of it."""

    def bleeding(out, pixels, box, rows, columns):
        height, width = pixels.shape[:2]
        x0, x1, y0, y1 = box.x0 * width, box.x1 * width, box.y0 * height, box.y1 * height
        xs = np.flatnonzero((columns >= x0) & (columns < x1))
        ys = np.flatnonzero((rows >= y0) & (rows < y1))
        if xs.size and ys.size:
            step_x = columns[1] - columns[0] if columns.size > 1 else width
            step_y = rows[1] - rows[0] if rows.size > 1 else height
            left, right = max(0, int(columns[xs[0]] - step_x)), int(columns[xs[-1]] + step_x) + 1
            top, bottom = max(0, int(rows[ys[0]] - step_y)), int(rows[ys[-1]] + step_y) + 1
            scaled = cv2.resize(
                pixels[top:bottom, left:right], (xs.size, ys.size), interpolation=cv2.INTER_AREA
            )
            out[np.ix_(ys, xs)] = scaled

    patch.setattr(thumbnail, "_sharpen", bleeding)


def a_grid_on_the_crop(patch):
    def on_the_crop(pixels, rows, columns):
        crop = pixels[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        blocks = cv2.resize(crop, (PART, PART), interpolation=cv2.INTER_AREA)
        size = (columns.size, rows.size)
        return cv2.resize(blocks, size, interpolation=cv2.INTER_NEAREST)

    patch.setattr(thumbnail, "_mosaic", on_the_crop)


def blocks_that_sample(patch):
    """One pixel for each block instead of the mean."""

    def sampled(pixels, rows, columns):
        height, width = pixels.shape[:2]
        block_px = max(height, width) / PART
        ys = np.minimum((rows // block_px * block_px).astype(int), height - 1)
        xs = np.minimum((columns // block_px * block_px).astype(int), width - 1)
        return pixels[np.ix_(ys, xs)]

    patch.setattr(thumbnail, "_mosaic", sampled)


def a_smooth_background(patch):
    mosaic = thumbnail._mosaic
    patch.setattr(
        thumbnail, "_mosaic", lambda *each: np.asarray(cv2.GaussianBlur(mosaic(*each), (0, 0), 2.0))
    )


def a_faint_original(patch):
    """One part in twenty of the picture shines through."""
    mosaic = thumbnail._mosaic

    def faint(pixels, rows, columns):
        through = pixels[np.ix_(rows.astype(int), columns.astype(int))]
        return cv2.addWeighted(mosaic(pixels, rows, columns), 0.95, through, 0.05, 0.0)

    patch.setattr(thumbnail, "_mosaic", faint)


MUTANTS = (
    finer_blocks,
    one_block_more,
    no_limit_to_what_is_sharp,
    one_pixel_beyond_the_box,
    the_box_rounded_outwards,
    the_frame_scaled_first,
    a_grid_on_the_crop,
    blocks_that_sample,
    a_smooth_background,
    a_faint_original,
)
CATCHES = [
    Case(640, 480, (PHONE,), 480),
    Case(480, 640, (PHONE,), 160),
    Case(641, 479, (Box(0.1, 0.1, 0.2, 0.9), Box(0.5, 0.6, 0.55, 0.65)), 320),
    Case(640, 480, (WHOLE,), 640),
    Case(320, 320, (), 96),
]


def broken_by(case):
    """The properties that do not hold for the redactor as it is now."""
    broken = []
    for holds in PROPERTIES:
        try:
            holds(redact, case)
        except AssertionError:
            broken.append(holds)
    return broken


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda each: each.__name__)
def test_a_broken_redactor_is_caught(monkeypatch, mutate):
    assert not any(broken_by(case) for case in CATCHES)
    mutate(monkeypatch)
    assert any(broken_by(case) for case in CATCHES)


def test_the_stated_sizes_are_those_of_the_code():
    assert thumbnail.MOSAIC_BLOCKS == PART
    assert SHARP_SHARE == SHARP


@settings(max_examples=40, deadline=None)
@given(case=cases(), people=st.integers(1, 3))
def test_a_people_rule_shows_no_sharp_pixel_and_no_block_finer_than_an_eighth_of_anybody(case, people):
    shots = [Shot("extra-person", (), 0.9, first=True)]
    frames = [
        Frame(pixels, 0.0, NOON)
        for pixels in (case.pixels, case.scrambled(np.ones((case.height, case.width), bool)))
    ]
    first, second = (
        keep_best({}, shots, frame, (), Thumbnail(max_side_px=case.side_px))["extra-person"].pixels
        for frame in frames
    )
    assert not differ(first, second).any()
    longer = max(case.width, case.height)
    for down, across in case.cells():
        # Nobody is longer than the frame. A block that is as wide as the frame cannot be wider.
        for span, side in ((down, case.height), (across, case.width)):
            assert span.stop - span.start >= min(longer / PART, side) - 2


def test_no_box_can_leave_the_frame():
    for corners in [(-1e-9, 0, 1, 1), (0, 0, 1 + 1e-9, 1), (0.6, 0, 0.5, 1), (0, float("nan"), 1, 1)]:
        with pytest.raises(ValueError, match="box: wanted"):
            Box(*corners)


# Masks.


@st.composite
def polygons(draw):
    """Triangles and rectangles, slivers and such as lie on the frame's edge among them."""
    part = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    a, b, c = (draw(st.tuples(part, part)) for _ in range(3))
    match draw(st.sampled_from(["any", "sliver", "rectangle"])):
        case "sliver":
            return a, b, (min(1.0, a[0] + 0.004), min(1.0, a[1] + 0.004))
        case "rectangle":
            return a, (b[0], a[1]), b, (a[0], b[1])
    return a, b, c


def touched(polygon, width, height):
    """Pixels that a convex polygon touches, found by points in its triangles: no rasteriser has a say."""
    rng = np.random.default_rng(0)
    hit = np.zeros((height, width), bool)
    for second, third in itertools.pairwise(polygon[1:]):
        points = rng.dirichlet([0.7] * 3, 600) @ np.array([polygon[0], second, third])
        xs = np.minimum((points[:, 0] * width).astype(int), width - 1)
        ys = np.minimum((points[:, 1] * height).astype(int), height - 1)
        hit[ys, xs] = True
    return hit


SIZES = st.sampled_from([(640, 480), (97, 61), (61, 97), (320, 180)])


@settings(max_examples=150, deadline=None)
@given(polygons(), SIZES)
def test_every_pixel_that_a_mask_touches_is_masked(polygon, size):
    width, height = size
    masked = masked_pixels(height, width, [polygon]) > 0
    assert masked[touched(polygon, width, height)].all()


@pytest.fixture(scope="module")
def detector():
    """The model that ships, with what its interpreter is fed kept in `fed`."""
    detector = Detector.load(find_card(DEFAULT_CARD), threads=1)
    invoke, fed = detector.interpreter.invoke, []

    def kept(tensor):
        fed.append(np.array(tensor))
        return invoke(tensor)

    detector.interpreter.invoke = kept
    return SimpleNamespace(detector=detector, fed=fed)


@settings(max_examples=25, deadline=None)
@given(polygon=polygons(), size=SIZES, seed=st.integers(0, 5))
def test_the_interpreter_is_fed_black_for_what_is_masked(detector, polygon, size, seed):
    width, height = size
    hidden = touched(polygon, width, height)
    frame = Case(width, height, (), 64, seed).pixels | 1  # nothing in it is black
    other = frame.copy()
    other[hidden] = 255 - other[hidden]
    detector.fed.clear()
    for pixels in (frame, other):
        view = detector.detector.view(pixels, (polygon,))
        detector.detector.detect(view)
    first, second = detector.fed
    # Nothing of it is in any pixel, those at its border included, and where it lies the tensor is black.
    np.testing.assert_array_equal(first, second)
    spec = detector.detector.card.input
    assert (spec.dtype, spec.fit, spec.mean) == ("uint8", "stretch", None)
    rows, columns = np.nonzero(hidden)
    at = (rows + 0.5) / height * spec.height_px, (columns + 0.5) / width * spec.width_px
    assert not first[0][at[0].astype(int), at[1].astype(int)].any()


def test_the_fed_tensor_is_not_black_without_a_mask(detector):
    detector.fed.clear()
    detector.detector.detect(detector.detector.view(Case(320, 180, (), 64).pixels | 1))
    assert detector.fed[0].min() > 0


@settings(max_examples=60, deadline=None)
@given(polygon=polygons(), looked=SIZES, larger=st.sampled_from([(1280, 960), (641, 481), (97, 61)]))
def test_evidence_is_black_at_full_size_where_the_detector_sees_black(polygon, looked, larger):
    width, height = larger
    white = np.full((height, width, 3), 255, np.uint8)
    shown = thumbnail._masked(white, (polygon,), (looked[1], looked[0], 3)).max(axis=2)
    assert white.min() == 255  # the camera's own frame is not painted
    assert not shown[touched(polygon, width, height)].any()
    rows, columns = np.nonzero(masked_pixels(looked[1], looked[0], [polygon]))
    for shift in (0.001, 0.5, 0.999):
        ys = ((rows + shift) / looked[1] * height).astype(int)
        xs = ((columns + shift) / looked[0] * width).astype(int)
        assert not shown[ys, xs].any()


def test_a_masked_area_is_in_no_block_of_the_picture_either():
    case = Case(640, 480, (), 480)
    other = case.pixels.copy()
    mask = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))
    other[144:336, 192:448] = 7
    shots = [Shot("phone", (Box(0.45, 0.45, 0.55, 0.55),), 0.9, first=True)]
    first, second = (
        keep_best({}, shots, Frame(pixels, 0.0, NOON), [mask], Thumbnail())["phone"].pixels
        for pixels in (case.pixels, other)
    )
    np.testing.assert_array_equal(first, second)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
def test_a_mask_spread_to_another_size_covers_all_it_overlaps(width, height, to_width, to_height):
    masked = np.random.default_rng(width).choice([0, 255], (height, width)).astype(np.uint8)
    got = spread(masked, to_height, to_width)
    assert got.shape == (to_height, to_width)
    for y in range(to_height):
        for x in range(to_width):
            rows = [
                r
                for r in range(height)
                if r * to_height < (y + 1) * height and y * height < (r + 1) * to_height
            ]
            cols = [
                c for c in range(width) if c * to_width < (x + 1) * width and x * width < (c + 1) * to_width
            ]
            assert got[y, x] == masked[np.ix_(rows, cols)].max()


# The file itself.


def markers(data):
    """Every marker of a JPEG from start to end, entropy-coded data passed over, and what follows the end."""
    assert data[:2] == b"\xff\xd8"
    found, at = [0xD8], 2
    while True:
        assert data[at] == 0xFF, at
        marker = data[at + 1]
        found.append(marker)
        if marker == 0xD9:
            return found, data[at + 2 :]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the scan: to the next marker that is neither stuffing nor a restart
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(2_000, 60_000), st.booleans(), st.integers(0, 9))
def test_a_jpeg_is_a_picture_and_nothing_else(height, width, max_bytes, flat, seed):
    pixels = Case(width, height, (), 64, seed).pixels
    jpeg = encode(np.full_like(pixels, seed) if flat else pixels, max_bytes)
    found, behind = markers(jpeg.data)
    # JFIF (APP0), tables, one frame, one scan: no EXIF, XMP, ICC or Photoshop (APP1 to APP15), no comment.
    assert set(found) <= {0xD8, 0xE0, 0xDB, 0xC0, 0xC4, 0xDA, 0xD9}
    assert found.count(0xE0) == found.count(0xC0) == found.count(0xDA) == 1
    assert behind == b""
    header = jpeg.data[4:20]
    assert header[2:7] == b"JFIF\0"
    assert header[0:2] == b"\x00\x10"  # 16 bytes: no JFIF thumbnail within


def test_the_parser_of_markers_finds_what_must_not_be_there():
    data = encode(np.zeros((32, 32, 3), np.uint8), 10_000).data
    exif = data[:2] + b"\xff\xe1\x00\x08Exif\0\0" + data[2:]
    comment = data[:-2] + b"\xff\xfe\x00\x04hi" + data[-2:]
    assert 0xE1 in markers(exif)[0]
    assert 0xFE in markers(comment)[0]
    assert markers(data + b"more")[1] == b"more"
