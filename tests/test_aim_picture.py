"""A coarse picture as lines of a terminal: sizes, levels, and the advice for each fault."""

import re

import numpy as np
import pytest

from edge.aim_picture import BELOW_ROWS, Depth, advice, figures_of, grid_of, lines_of
from edge.aim_view import depth_of, frame_of
from edge.control.protocol import AimAnswer, AimPicture
from edge.vision.types import Blind


def picture(level=120, *, sharp=0.4, blind=(), white=0.0, cols=64, rows=36):
    grid = np.full((rows, cols), level, np.uint8)
    grid[: round(rows * white)] = 255
    return AimPicture(cols, rows, grid.tobytes(), float(grid.mean()), sharp, blind)


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 12), (20, 8), (1, 6)])
@pytest.mark.parametrize("shape", [(36, 64), (36, 48), (36, 27), (1, 1), (7, 64)])
def test_a_screen_is_never_larger_than_the_terminal(depth, size, shape):
    answer = AimAnswer("granted", "t" * 22, 299.0, "", picture(cols=shape[1], rows=shape[0]))
    lines = plain(frame_of(answer, *size, depth)).split("\r\n")
    assert len(lines) <= size[1]
    assert all(len(line) <= size[0] for line in lines)


def test_on_80_by_24_each_block_of_the_finest_grid_is_half_a_character():
    grid = np.arange(36 * 64, dtype=np.uint16).reshape(36, 64) % 251
    lines = lines_of(grid.astype(np.uint8), 80, 24 - BELOW_ROWS, Depth.TRUE)
    assert [len(plain(line)) for line in lines] == [64] * 18
    assert lines[0].startswith("\x1b[38;2;0;0;0;48;2;64;64;64m▀")


def test_greys_rise_with_the_level_and_letters_do():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 2, axis=0)
    (greys,) = lines_of(ramp, 256, 1, Depth.GREYS)
    seen = [int(code) for code in re.findall(r"38;5;(\d+)", greys)]
    assert seen[0] == 16
    assert seen[-1] == 231
    assert seen[1:-1] == sorted(seen[1:-1])
    (letters,) = lines_of(ramp, 256, 1, Depth.PLAIN)
    assert (letters[0], letters[-1], "\x1b" in letters) == (" ", "@", False)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (picture(blind=("covered",)), "Covered"),
        (picture(20), "Too dark"),
        (picture(230), "Too bright"),
        (picture(white=0.2), "Dazzled"),
        (picture(sharp=0.05), "Not sharp"),
        (picture(blind=("frozen",)), "The same picture"),
        (picture(sharp=None, blind=("masked",)), "masks"),
        (picture(), "Good"),
    ],
)
def test_each_fault_has_its_advice_on_one_line(seen, told):
    assert told in advice(seen)
    assert all(len(line) <= 78 for line in (advice(seen), *figures_of(seen)))


def test_whatever_makes_an_aim_blind_has_advice():
    for blind in set(Blind) - {Blind.MOVED, Blind.DEFOCUSED, Blind.STALLED}:  # never said of an aim
        assert "Good" not in advice(picture(blind=(blind.value,)))


def test_a_grid_that_is_too_short_is_black_where_nothing_came():
    grid = grid_of(AimPicture(4, 2, b"\xff", 1.0, None))
    assert grid.tolist() == [[255, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("environ", "encoding", "depth"),
    [
        ({"TERM": "xterm-256color"}, "utf-8", Depth.GREYS),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "UTF-8", Depth.TRUE),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "utf-8", Depth.PLAIN),
        ({"TERM": "dumb"}, "utf-8", Depth.PLAIN),
        ({}, "utf-8", Depth.PLAIN),
        ({"TERM": "linux"}, "ascii", Depth.PLAIN),
    ],
)
def test_a_terminal_gets_what_it_can_show(environ, encoding, depth):
    assert depth_of(environ, encoding) is depth
