"""What a unit has beside its camera."""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge.device.indicator import Button, Indicator, NoIndicator

MakeButton = Callable[[Callable[[], None], Callable[[], None]], Button]
"""Makes the button, of what a press and what a long press does."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """A light, and what makes the button; None: there is no button."""

    indicator: Indicator = field(default_factory=NoIndicator)
    make_button: MakeButton | None = None
