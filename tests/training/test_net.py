"""The network in PyTorch, its rounding, and which cell answers for which box: where PyTorch is installed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="it comes with the training environment")

from deskmodel.graph import Graph, Layer
from deskmodel.net import DeskNet, Maps, Rounding, corners, points
from deskmodel.pictures import Sample
from deskmodel.targets import assign, giou, iou, losses

SIZE_PX = (128, 96)


def sample(*boxes: tuple[int, float, float, float, float], sure: float = 1.0) -> Sample:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Sample(
        np.zeros((SIZE_PX[1], SIZE_PX[0], 3), np.uint8),
        np.ascontiguousarray(rows[:, 1:]),
        rows[:, 0].astype(np.int64),
        np.full(9, sure, np.float32),
    )


def maps_that_say(wanted: list[float], cells: int) -> Maps:
    """Every cell reaches `wanted` strides left, up, right and down; all scores are even."""
    boxes = torch.full((1, cells, 4, 8), -20.0)
    for side, reach in enumerate(wanted):
        low = int(reach)
        boxes[..., side, low] = float(np.log(1.0 - (reach - low) + 1e-9))
        if low < 7:
            boxes[..., side, low + 1] = float(np.log(reach - low + 1e-9))
    return Maps(torch.zeros(1, cells, 9, requires_grad=True), boxes.requires_grad_())


def test_points_are_the_firmwares() -> None:
    at = points(SIZE_PX)
    assert len(at) == 16 * 12 + 8 * 6 + 4 * 3 + 2 * 2
    assert at[1].tolist() == [8.0, 0.0, 8.0]
    assert at[-1].tolist() == [64.0, 64.0, 64.0]


def test_corners_are_as_far_from_the_point_as_the_bins_say() -> None:
    at = points(SIZE_PX)
    found = corners(maps_that_say([1.0, 2.0, 0.5, 3.25], len(at)).boxes, at)
    x, y, stride = at[20].tolist()
    wanted = [x - stride, y - 2 * stride, x + stride / 2, y + 3.25 * stride]
    np.testing.assert_allclose(found[0, 20].detach().numpy(), wanted, atol=1e-3)


def test_cells_inside_a_box_answer_for_it_with_their_overlap() -> None:
    at = points(SIZE_PX)
    box = (3, 32.0, 24.0, 64.0, 56.0)
    targets = assign(maps_that_say([2.0, 2.0, 2.0, 2.0], len(at)), at, [sample(box)])
    cells = targets.scores[0, :, 3].nonzero()[:, 0]
    assert 1 <= len(cells) <= 13
    x, y = at[cells, 0], at[cells, 1]
    assert bool(((x > 32) & (x < 64) & (y > 24) & (y < 56)).all())
    best = int(targets.scores[0, :, 3].argmax())
    assert at[best].tolist() == [48.0, 40.0, 8.0]
    assert float(targets.scores[0, best, 3]) == pytest.approx(1.0, abs=0.02)
    assert float(targets.scores.sum() - targets.scores[..., 3].sum()) == 0.0


def test_a_box_too_small_to_hold_a_point_is_answered_for_all_the_same() -> None:
    at = points(SIZE_PX)
    targets = assign(maps_that_say([0.2] * 4, len(at)), at, [sample((1, 41.0, 41.0, 46.0, 46.0))])
    assert int((targets.scores[0, :, 1] > 0).sum()) == 1


def test_what_a_photo_does_not_say_is_not_held_against_the_network() -> None:
    at = points(SIZE_PX)
    maps = maps_that_say([1.0] * 4, len(at))
    sure = losses(maps, at, assign(maps, at, [sample()]))
    unsure = losses(maps, at, assign(maps, at, [sample(sure=0.0)]))
    assert float(sure.classes.detach()) > 1.0
    assert float(unsure.classes.detach()) == 0.0


def test_overlaps_of_boxes() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    b = torch.tensor([[0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 10.0]])
    np.testing.assert_allclose(iou(a, b).numpy(), [[0.5, 1.0], [0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(giou(a, b).numpy(), [0.5, -1 / 3], atol=1e-6)


def tiny() -> Graph:
    rng = np.random.default_rng(0)
    layer = Layer("conv", "c", ("x",), ("y",), channels=4, slope=0.1)
    stem = Layer("conv", "s", ("in0",), ("x",), stride=2, kernel=3, channels=4)
    weights = {
        "s": rng.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "c": rng.normal(0, 0.3, (4, 4, 1, 1)).astype(np.float32),
    }
    return Graph((stem, layer), weights, {name: np.zeros(4, np.float32) for name in "sc"}, ("y",), ())


def test_rounding_keeps_256_levels_and_255_of_a_weight() -> None:
    net = DeskNet(tiny())
    pixels = torch.rand(2, 3, 32, 32)
    plain = net.run(pixels)["y"]
    net.rounding = Rounding(net.graph).train()
    net.run(pixels)
    rounded = net.run(pixels)["y"]
    assert len(rounded.unique()) <= 256
    assert len(plain.unique()) > 1000
    assert float((rounded - plain).detach().abs().max()) < 0.05 * float(plain.detach().abs().max())
    assert len(net.rounding.weight(net.weights["c"])[0].unique()) <= 4
    least, most = net.rounding.ranges()["y"]
    assert least < 0 < most


def test_frozen_ranges_stay() -> None:
    net = DeskNet(tiny())
    net.rounding = Rounding(net.graph).train()
    net.run(torch.rand(1, 3, 32, 32))
    before = dict(net.rounding.ranges())
    net.rounding.frozen = True
    net.run(100.0 * torch.rand(1, 3, 32, 32))
    assert dict(net.rounding.ranges()) == before
