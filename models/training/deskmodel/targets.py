"""Which cell answers for which box, and what each is told: the losses."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deskmodel.graph import BINS
from deskmodel.net import Maps, corners
from deskmodel.pictures import Sample

CANDIDATES = 13
"""The best-fitting cells of a box, whose overlaps sum to the number of cells that it gets."""


class Targets(NamedTuple):
    """What a batch's cells should say."""

    scores: Tensor
    """(n, cells, labels): the overlap of the cell's box with its target, at the target's label."""
    boxes: Tensor
    """(n, cells, 4): x0 y0 x1 y1 in pixels, zeros where there is none."""
    sure: Tensor
    """(n, 1, labels): see Sample.sure."""


class Losses(NamedTuple):
    """Each a scalar; their sum is trained on."""

    classes: Tensor
    overlap: Tensor
    sides: Tensor
    teacher: Tensor

    def total(self) -> Tensor:
        """Return the sum."""
        return self.classes + self.overlap + self.sides + self.teacher


@torch.no_grad()
def assign(maps: Maps, at: Tensor, samples: list[Sample]) -> Targets:
    """Give each box the cells inside it that fit it best already (dynamic k, as SimOTA and NanoDet do)."""
    boxes, scores = corners(maps.boxes, at), maps.classes.sigmoid()
    told, where = torch.zeros_like(scores), torch.zeros_like(boxes)
    for i, sample in enumerate(samples):
        if not len(sample.boxes):
            continue
        wanted, labels = torch.from_numpy(sample.boxes), torch.from_numpy(sample.class_ids)
        cells, owners, overlaps = _match(boxes[i], scores[i], at, wanted, labels)
        told[i, cells, labels[owners]] = overlaps
        where[i, cells] = wanted[owners]
    sure = torch.from_numpy(np.stack([sample.sure for sample in samples]))[:, None]
    return Targets(told, where, sure)


def _match(
    boxes: Tensor, scores: Tensor, at: Tensor, wanted: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return cells, the index of the box that each answers for, and their overlap, (k,) each."""
    x, y = at[:, 0], at[:, 1]
    inside = (x > wanted[:, :1]) & (x < wanted[:, 2:3]) & (y > wanted[:, 1:2]) & (y < wanted[:, 3:])
    middle = (wanted[:, :2] + wanted[:, 2:]) / 2
    away = torch.cdist(middle, at[:, :2]) / at[:, 2]
    # A box too small to hold a point gets the nearest of the finest stride.
    lonely = ~inside.any(dim=1)
    inside[lonely, away[lonely].argmin(dim=1)] = True
    cells = inside.any(dim=0).nonzero()[:, 0]
    inside, away = inside[:, cells], away[:, cells]
    overlap = iou(wanted, boxes[cells])
    said = scores[cells][:, labels].T
    # The score should be the overlap: how far it is from that, the overlap itself, and the way to the middle.
    unlike = (
        functional.binary_cross_entropy(said, overlap, reduction="none") * (overlap - said).abs().square()
    )
    cost = unlike - 3.0 * (overlap + 1e-7).log() + torch.pow(10.0, away - 3.0).clamp_max(1e4)
    cost = cost + (~inside) * 1e8
    count = overlap.mul(inside).topk(min(CANDIDATES, len(cells)), dim=1).values.sum(dim=1).int().clamp_min(1)
    rank = cost.argsort(dim=1).argsort(dim=1)
    chosen = (rank < count[:, None]) & inside
    shared = chosen.sum(dim=0) > 1
    best = cost[:, shared].argmin(dim=0)
    chosen[:, shared] = False
    chosen[best, shared.nonzero()[:, 0]] = True
    owners, places = chosen.nonzero(as_tuple=True)
    # A box starts with no overlap at times; it is told a little, or it would never be found.
    return cells[places], owners, overlap[owners, places].clamp_min(0.05)


def losses(maps: Maps, at: Tensor, targets: Targets) -> Losses:
    """Return the quality focal, GIoU and distribution focal losses of a batch."""
    score = maps.classes.sigmoid()
    unlike = functional.binary_cross_entropy_with_logits(maps.classes, targets.scores, reduction="none")
    focal = unlike * (score.detach() - targets.scores).abs().square()
    weight = torch.where(targets.scores > 0, 1.0, targets.sure)
    quality = targets.scores.amax(dim=-1)
    held = quality > 0
    # Cells count by their overlap, so the whole is over the sum of overlaps.
    total = quality.sum().clamp_min(1.0)
    classes = (focal * weight).sum() / total
    if not bool(held.any()):
        zero = maps.boxes.sum() * 0.0
        return Losses(classes, zero, zero, zero)
    points = at.expand(len(score), -1, -1)[held]
    terms, wanted, share = maps.boxes[held], targets.boxes[held], quality[held]
    found = corners(terms[None], points)[0]
    overlap = ((1.0 - giou(found, wanted)) * share).sum() / total
    sides = (_sides(terms, points, wanted) * share).sum() / total
    return Losses(classes, 2.0 * overlap, 0.25 * sides, maps.boxes.sum() * 0.0)


def _sides(terms: Tensor, points: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy of each box's distance bins, (k,): the two next to the truth share it."""
    reach = torch.cat([points[:, :2] - wanted[:, :2], wanted[:, 2:] - points[:, :2]], dim=1) / points[:, 2:]
    reach = reach.clamp(0.0, BINS - 1 - 0.01)
    low = reach.floor().long()
    share = reach - low
    log = terms.log_softmax(dim=-1)
    below, above = log.gather(2, low[..., None])[..., 0], log.gather(2, low[..., None] + 1)[..., 0]
    return -(below * (1.0 - share) + above * share).mean(dim=1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap of boxes (n, 4) with boxes (m, 4): (n, m) in 0–1."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(dim=-1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=-1), (b[:, 2:] - b[:, :2]).clamp_min(0).prod(dim=-1)
    return (shared / (areas[0][:, None] + areas[1] - shared + 1e-7)).clamp(0.0, 1.0)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised overlap of boxes (n, 4) with their own (n, 4): (n,) in −1–1."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).clamp_min(0).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - shared
    return shared / (union + 1e-7) - (hull - union) / (hull + 1e-7)
