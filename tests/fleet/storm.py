"""Connections per second, out of the broker's own log; and what they come to with more units."""

import re
from collections import Counter
from dataclasses import dataclass

DENSE_S = 10
_CONNECTED = re.compile(r"^(\d+): New client connected from \S+ as unit-", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Phase:
    """A time in which the fleet came, or came back. Whole seconds of the wall clock."""

    name: str
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True)
class Return:
    """How the fleet came back in a phase."""

    phase: Phase
    connections: int
    peak_per_s: int
    dense_per_s: float
    """Over the densest `DENSE_S` seconds: what grows with the number of units. A peak of few is chance."""
    seconds: int
    """From the first to the last."""


def per_second(log: str) -> Counter[int]:
    """Return how many units the broker welcomed in each second."""
    return Counter(int(second) for second in _CONNECTED.findall(log))


def returned(counts: Counter[int], phase: Phase) -> Return:
    """Return how the fleet came in `phase`."""
    inside = {s: n for s, n in counts.items() if phase.from_s <= s < phase.to_s}
    if not inside:
        return Return(phase, 0, 0, 0.0, 0)
    dense = max(sum(inside.get(s + more, 0) for more in range(DENSE_S)) for s in inside) / DENSE_S
    return Return(phase, sum(inside.values()), max(inside.values()), dense, max(inside) - min(inside) + 1)


def table(returns: list[Return], units: int, more: tuple[int, ...] = (10_000, 1_000_000)) -> str:
    """Return it for people. Units draw their waits each for itself, so a density grows with their number."""
    head = f"{'':<24} {'came':>6} {'peak/s':>7} {f'in {DENSE_S} s: /s':>12} {'over s':>7}"
    lines = [head + "".join(f" {f'{n:,}: /s':>14}" for n in more)]
    for r in returns:
        line = (
            f"{r.phase.name:<24} {r.connections:>6} {r.peak_per_s:>7} {r.dense_per_s:>12.1f} {r.seconds:>7}"
        )
        lines.append(line + "".join(f" {r.dense_per_s * n / units:>14,.0f}" for n in more))
    return "\n".join(lines)
