"""What a light plays: flashes as steps, and how far they have come. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.policy.gate import Signal

FLASH_S = 0.15
BREAK_S = 1.0
"""On, and off."""
BREAK_ENDS_EVERY_S = 2.0
NOTICE_EVERY_S = 3.0
FAULT_S = 0.2
"""On, and off: below three flashes a second, since it may stand on a desk for hours."""
AIM_ASKS_S = 0.2
"""Each flash and each pause between them; dark flashes while the camera is open."""
AIM_ASKS_EVERY_S = 3.0
IDENTIFY_S = 0.1
IDENTIFY_MAX_S = 600.0
COUNT_S = 0.25
"""A counted flash, and the pause to the next one. Below the half second that a light may be dark for while
the camera looks: there the flashes are dark."""
DIGIT_PAUSE_S = 1.25
CODE_PAUSE_S = 2.5
DIGITS = range(1, 7)
MAX_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """Lit or dark, for so long."""

    lit: bool
    for_s: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """Steps, played `rounds` times; None: again and again."""

    steps: tuple[Step, ...]
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Playing:
    """A pattern at one of its steps."""

    pattern: Pattern
    rounds_left: int | None
    index: int
    until_s: float

    @classmethod
    def begin(cls, pattern: Pattern, now_s: float) -> "Playing":
        """Return the first step of a pattern."""
        return cls(pattern, pattern.rounds, 0, now_s + pattern.steps[0].for_s)

    @property
    def lit(self) -> bool:
        """Whether this step is lit."""
        return self.pattern.steps[self.index].lit

    def after(self, now_s: float) -> "Playing | None":
        """Return the step after this one, begun now; None after the last.

        Whoever comes late makes a step longer and leaves none out: a digit shown with a flash missing is
        another digit.
        """
        index, rounds_left = self.index + 1, self.rounds_left
        if index == len(self.pattern.steps):
            index = 0
            if rounds_left is not None:
                rounds_left -= 1
                if rounds_left <= 0:
                    return None
        return Playing(self.pattern, rounds_left, index, now_s + self.pattern.steps[index].for_s)


def _flashes(*on_off_s: float) -> tuple[Step, ...]:
    return tuple(Step(place % 2 == 0, for_s) for place, for_s in enumerate(on_off_s))


_ASKS = (*[AIM_ASKS_S] * 5, AIM_ASKS_EVERY_S - 5 * AIM_ASKS_S)
PATTERNS = {
    Signal.OFF: Pattern((Step(lit=False, for_s=math.inf),)),
    Signal.WATCHING: Pattern((Step(lit=True, for_s=math.inf),)),
    Signal.BREAK: Pattern(_flashes(BREAK_S, BREAK_S)),
    Signal.BREAK_ENDS: Pattern(_flashes(FLASH_S, FLASH_S, FLASH_S, BREAK_ENDS_EVERY_S - 3 * FLASH_S)),
    Signal.NOTICE: Pattern(_flashes(FLASH_S, NOTICE_EVERY_S - FLASH_S)),
    Signal.FAULT: Pattern(_flashes(FAULT_S, FAULT_S)),
    Signal.AIM_ASKS: Pattern(_flashes(*_ASKS)),
    Signal.WATCHING_AIM_ASKS: Pattern(tuple(Step(not step.lit, step.for_s) for step in _flashes(*_ASKS))),
}


def identifying(for_s: float) -> Pattern:
    """Return a fast blink of about so long, and of `IDENTIFY_MAX_S` at most.

    Like a code it begins without its mark: who asks again and again must not keep a light dark in negative.
    """
    rounds = max(1, round(min(for_s, IDENTIFY_MAX_S) / (2 * IDENTIFY_S)))
    return Pattern((Step(lit=False, for_s=IDENTIFY_S), Step(lit=True, for_s=IDENTIFY_S)), rounds)


def spelling(code: Sequence[int]) -> Pattern:
    """Return counted flashes for each digit, with pauses between them, twice. Raises ValueError."""
    if not 1 <= len(code) <= MAX_DIGITS or any(digit not in DIGITS for digit in code):
        raise ValueError(f"code: wanted 1 to {MAX_DIGITS} digits from 1 to 6, got {list(code)!r}")
    steps = [Step(lit=False, for_s=DIGIT_PAUSE_S)]
    for digit in code:
        steps += _flashes(COUNT_S, COUNT_S) * (digit - 1)
        steps += _flashes(COUNT_S, DIGIT_PAUSE_S)
    steps[-1] = Step(lit=False, for_s=CODE_PAUSE_S)
    return Pattern(tuple(steps), rounds=2)
