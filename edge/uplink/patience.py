"""How long the uplink waits for what, beside its backoff."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds."""

    stall_s: float | None = None
    """A connection on which nothing that was sent is acknowledged for so long is dropped.

    None: twice the keepalive; by then a wire that is dead has shown in a ping, and the broker is at fault.
    """
    retry_s: float = 600.0
    """Dead letters are tried again on a new connection, but no sooner than so long after the last time."""
    redial_s: float = 10.0
    """Units that are told to use other settings, a whole fleet at a time, do so within so long."""
    resend_s: float = 60.0
    """What the ingester says nothing of for so long is sent again; twice as long at each time in vain."""
    nudge_s: float = 5.0
    """The same, where it acknowledges what it acknowledged before: it was away, and asks for the rest."""
    silent_s: float = 600.0
    """An ingester that has acknowledged nothing for so long, though something waits, is an alarm."""
