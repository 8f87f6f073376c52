"""How long to wait before trying again, so that ten thousand units do not come back in one second."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    `n` units that lose the same broker in the same moment come back at no more than `n / base_s` a second.
    """

    base_s: float = 1.0
    cap_s: float = 60.0
    busy_s: float = 0.0
    """At least so wide is the jitter where the other end says that too many come at once."""

    def delay_s(self, attempt: int, chance: float, *, busy: bool = False) -> float:
        """Return the seconds to wait before retry `attempt` (0 for the first), at `chance` in 0–1."""
        ceiling_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))
        return max(ceiling_s, self.busy_s if busy else 0.0) * chance
