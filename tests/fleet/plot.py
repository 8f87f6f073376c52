"""The picture: connections per second, a panel for each phase. The only importer of matplotlib."""

from collections import Counter
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from tests.fleet.storm import Return


def plot(counts: Counter[int], returns: list[Return], units: int, path: Path) -> None:
    """Write a PNG."""
    figure, panels = plt.subplots(
        1, len(returns), figsize=(4 * len(returns), 3.2), sharey=True, squeeze=False
    )
    for panel, one in zip(panels[0], returns, strict=True):
        seconds = range(one.phase.from_s, one.phase.to_s)
        panel.bar([s - one.phase.from_s for s in seconds], [counts[s] for s in seconds], width=1.0)
        panel.set_title(f"{one.phase.name}\npeak {one.peak_per_s}/s, over {one.seconds} s", fontsize=9)
        panel.set_xlabel("seconds")
    panels[0][0].set_ylabel("connections per second")
    figure.suptitle(f"{units} units, as the broker's log counts them", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
