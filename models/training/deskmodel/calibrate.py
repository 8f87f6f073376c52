"""Ranges for a network that was not trained with rounding: from pictures that it was trained on."""

import numpy as np
import torch

from deskmodel.data import DataError, Picture
from deskmodel.net import DeskNet, Rounding
from deskmodel.pictures import Pictures, batch

PICTURES = 256
BATCH = 16


def calibrate(
    net: DeskNet, pictures: list[Picture], size_px: tuple[int, int], seed: int = 1
) -> dict[str, tuple[float, float]]:
    """Return each group's range: the mean, over batches, of the least and the greatest value.

    Raises DataError for fewer than BATCH pictures.
    """
    if len(pictures) < BATCH:
        raise DataError(f"wanted {BATCH} pictures or more to calibrate with, got {len(pictures)}")
    rng = np.random.default_rng(seed)
    chosen = [pictures[i] for i in rng.permutation(len(pictures))[:PICTURES]]
    loaded = Pictures(chosen, size_px, 0.0)
    sums: dict[str, list[tuple[float, float]]] = {}
    for start in range(0, len(chosen) - BATCH + 1, BATCH):
        samples = [loaded.plain(i) for i in range(start, start + BATCH)]
        rounding = Rounding(net.graph)
        rounding.observing = True
        net.rounding = rounding
        with torch.no_grad():
            net(batch(samples))
        for group, found in rounding.ranges().items():
            sums.setdefault(group, []).append(found)
    net.rounding = None
    return {group: tuple(np.mean(found, axis=0).tolist()) for group, found in sums.items()}  # type: ignore[misc]
