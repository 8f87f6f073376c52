"""Was anything lost, doubled or made up? Pure: from what was fed and what arrived to a verdict."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fed:
    """An event whose `put` returned: from then on it must arrive, or stand in a gap."""

    event_id: str
    epoch: str
    seq: int
    at_s: float
    """Monotonic seconds of this machine, at which the put returned."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that the ingester holds, after its own de-duplication."""

    event_id: str
    epoch: str
    seq: int
    gap: bool = False
    """Whether it is a gap event, or another that the unit writes by itself: nobody fed it."""


@dataclass(frozen=True, slots=True)
class Hole:
    """What a gap event says will never come: all events of these numbers."""

    epoch: str
    from_seq: int
    to_seq: int
    reason: str

    def covers(self, epoch: str, seq: int) -> bool:
        return epoch == self.epoch and self.from_seq <= seq <= self.to_seq


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, and what only needs saying."""

    lost: tuple[Fed, ...]
    """Fed, did not arrive, and no gap says so."""
    doubled: tuple[Kept, ...]
    """Held twice after de-duplication, or one number given to two events."""
    made_up: tuple[Kept, ...]
    """Held, and never fed; or with another number than it was given."""
    unexplained: tuple[tuple[str, int], ...]
    """(epoch, seq) below the highest that was seen, of nothing that arrived and no gap."""
    in_gap: tuple[Fed, ...] = ()
    """Fed, did not arrive, and a gap says so."""
    told_lost: tuple[Kept, ...] = ()
    """Arrived, though a gap says that it would not: it was given up while it was on its way."""
    redelivered: Counter[str] = field(default_factory=Counter)
    """By id, how often it came beyond the first time. At least once means that this is no fault."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.made_up or self.unexplained)


def check(
    fed: Iterable[Fed],
    begun: frozenset[str],
    kept: Iterable[Kept],
    holes: Iterable[Hole],
    received: Iterable[str],
) -> Verdict:
    """Compare.

    `begun` are the ids of all puts that were called: one that did not return may have arrived, or not.
    `received` are the ids of all that came, before de-duplication.
    """
    fed, kept, holes = list(fed), list(kept), list(holes)
    here = {each.event_id for each in kept}
    numbers = Counter((each.epoch, each.seq) for each in kept)
    ids = Counter(each.event_id for each in kept)
    given = {each.event_id: (each.epoch, each.seq) for each in fed}
    explained = _explained(holes)
    missing = [each for each in fed if each.event_id not in here]
    return Verdict(
        lost=tuple(each for each in missing if not explained(each.epoch, each.seq)),
        doubled=tuple(e for e in kept if ids[e.event_id] > 1 or numbers[e.epoch, e.seq] > 1),
        made_up=tuple(
            each
            for each in kept
            if (each.event_id not in begun and not each.gap)
            or given.get(each.event_id, (each.epoch, each.seq)) != (each.epoch, each.seq)
        ),
        unexplained=tuple(_unexplained(fed, kept, explained)),
        in_gap=tuple(each for each in missing if explained(each.epoch, each.seq)),
        told_lost=tuple(each for each in kept if explained(each.epoch, each.seq)),
        redelivered=Counter({each: n - 1 for each, n in Counter(received).items() if n > 1}),
    )


def _explained(holes: list[Hole]) -> "Callable[[str, int], bool]":
    return lambda epoch, seq: any(hole.covers(epoch, seq) for hole in holes)


def _unexplained(
    fed: list[Fed], kept: list[Kept], explained: "Callable[[str, int], bool]"
) -> list[tuple[str, int]]:
    seen = {(each.epoch, each.seq) for each in (*fed, *kept)}
    arrived = {(each.epoch, each.seq) for each in kept}
    top: dict[str, int] = {}
    for epoch, seq in seen:
        top[epoch] = max(seq, top.get(epoch, 0))
    return [
        (epoch, seq)
        for epoch, last in sorted(top.items())
        for seq in range(1, last + 1)
        if (epoch, seq) not in arrived and not explained(epoch, seq)
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: what was fed while this fault was on, and what became of it."""

    fault: str
    times: int
    fed: int
    redelivered: int
    in_gap: int
    lost: int
    doubled: int


def rows(
    verdict: Verdict, fed: Iterable[Fed], times: Mapping[str, int], fault_at: Callable[[float], str]
) -> list[Row]:
    """Return a line for each fault of `times`, in its order; `fault_at` says which was on at a time."""
    fed = list(fed)
    whose = {each.event_id: fault_at(each.at_s) for each in fed}

    def count(ids: Iterable[str]) -> Counter[str]:
        return Counter(whose[one] for one in ids if one in whose)

    here = count(each.event_id for each in fed)
    again = count(verdict.redelivered.elements())
    gapped = count(each.event_id for each in verdict.in_gap)
    lost = count(each.event_id for each in verdict.lost)
    doubled = count(each.event_id for each in verdict.doubled)
    return [Row(f, n, here[f], again[f], gapped[f], lost[f], doubled[f]) for f, n in times.items()]


def table(lines: list[Row], verdict: Verdict) -> str:
    """Return it for people. Lost and doubled of the sum count also what no fault can be told of."""
    total = Row(
        "all",
        sum(each.times for each in lines),
        sum(each.fed for each in lines),
        verdict.redelivered.total(),
        len(verdict.in_gap),
        len(verdict.lost),
        len(verdict.doubled),
    )
    head = (
        f"{'fault':<44} {'times':>6} {'fed':>6} {'came again':>11} {'in a gap':>9} {'lost':>5} {'doubled':>8}"
    )
    body = [
        f"{r.fault:<44} {r.times:>6} {r.fed:>6} {r.redelivered:>11} {r.in_gap:>9} {r.lost:>5} {r.doubled:>8}"
        for r in [*lines, total]
    ]
    more = [
        (
            f"made up: {len(verdict.made_up)}; numbers that nothing explains: {len(verdict.unexplained)};"
            f" arrived though told lost: {len(verdict.told_lost)}"
        )
    ]
    return "\n".join([head, *body, *more])
