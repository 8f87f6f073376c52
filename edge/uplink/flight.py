"""What was sent on one connection, and is not acknowledged yet."""

import dataclasses
from dataclasses import dataclass

from edge.uplink.outbox import Letter


@dataclass(frozen=True, slots=True)
class Sent:
    """A message in flight."""

    what: str
    sent_s: float
    position: int | None = None
    """In the spool, where it is of the spool, and of the spool as it is."""
    letter: Letter | None = None

    @property
    def name(self) -> int | str | None:
        """By which it is known on another connection; None for what is never to blame."""
        return self.position if self.letter is None else f"reply {self.letter.number}"


class Flight:
    """A window of messages in flight, by packet identifier, in the order of sending."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._sent: dict[int, Sent] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, mid: int) -> bool:
        return mid in self._sent

    @property
    def room(self) -> int:
        """How many more may be sent."""
        return self._window - len(self._sent)

    @property
    def first(self) -> Sent | None:
        """The one that was sent first: the broker takes them in order."""
        return next(iter(self._sent.values()), None)

    def positions(self) -> set[int | None]:
        """Return the places in the spool of what is in flight."""
        return {sent.position for sent in self._sent.values()}

    def add(self, mid: int, sent: Sent) -> None:
        """Note that a message was sent."""
        self._sent[mid] = sent

    def pop(self, mid: int) -> Sent | None:
        """Take out what was acknowledged; None for what is not known."""
        return self._sent.pop(mid, None)

    def forget_positions(self) -> None:
        """Note that the spool was mended, and that its positions mean nothing any more."""
        self._sent = {mid: dataclasses.replace(sent, position=None) for mid, sent in self._sent.items()}
