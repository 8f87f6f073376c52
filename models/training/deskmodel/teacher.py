"""NanoDet-Plus as it was found: what the trained network should not forget."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from deskmodel.graph import Graph
from deskmodel.labels import CELL_PHONE, COCO_80, LABELS, class_map
from deskmodel.net import DeskNet, Maps


class Teacher(nn.Module):
    """Says what COCO's classes say of our labels: of several, the likeliest."""

    def __init__(self, coco: Graph) -> None:
        super().__init__()
        self._net = DeskNet(coco).requires_grad_(requires_grad=False)
        ids = class_map(COCO_80)
        self._columns = [torch.from_numpy((ids == i).nonzero()[0]) for i in range(len(LABELS))]

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Maps:
        """Return logits over our labels, at the cells of the trained network."""
        maps = self._net(pixels)
        classes = torch.stack([maps.classes[..., columns].amax(dim=-1) for columns in self._columns], dim=-1)
        return Maps(classes, maps.boxes)


def distance(student: Maps, teacher: Maps, sure: Tensor) -> Tensor:
    """Return how far the student is from the teacher where labels do not settle it.

    `sure` (n, 1, labels) is how well each label is known in a picture: the teacher speaks on the rest in
    full, and a little on all. Phones it sees worse than the labels do, and stays out of.
    """
    seen = teacher.classes.sigmoid()
    unlike = functional.binary_cross_entropy_with_logits(student.classes, seen, reduction="none")
    focal = (unlike - functional.binary_cross_entropy(seen, seen, reduction="none")).clamp_min(0.0)
    focal = focal * (student.classes.detach().sigmoid() - seen).abs()
    say = 0.15 + 0.85 * (1.0 - sure)
    say = say.expand(-1, focal.shape[1], -1).clone()
    say[..., CELL_PHONE] = 0.0
    best = seen.amax(dim=-1)
    total = best[best > 0.1].sum().clamp_min(1.0)
    clear = best > 0.3
    sides = (
        functional.kl_div(
            student.boxes[clear].log_softmax(dim=-1), teacher.boxes[clear].softmax(dim=-1), reduction="none"
        )
        .sum(dim=-1)
        .mean(dim=-1)
    )
    return (focal * say).sum() / total + 0.1 * (sides * best[clear]).sum() / total
