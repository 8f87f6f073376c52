"""The ingester's word, where the spool is to be released on it and not on the broker's."""

from collections import deque

from edge.uplink.command_messages import Ack, decode_ack
from edge.uplink.inbox import Inbox, Refusal
from edge.uplink.patience import Patience
from edge.uplink.records import SpoolError
from edge.uplink.signals import Received
from edge.uplink.spool import Spool

ACK_BEYOND = "ack-beyond"
"""An acknowledgement of numbers that the unit never used."""
_MOST_DOUBLINGS = 7


class Ingester:
    """What it acknowledged, and since when it is silent though something waits. Outlives a connection.

    A broker may take a message and lose it before the ingester has it: its queue was full, or it restarted.
    So what is not acknowledged is sent again: on each new connection; when the ingester repeats an old
    acknowledgement, as it does when it comes back; and when it says nothing at all. Each time in vain doubles
    the wait.
    """

    def __init__(self, topic: str, patience: Patience) -> None:
        self.inbox = Inbox({topic: self._came})
        self.seq: int | None = None
        """The highest that it acknowledged in the spool's epoch."""
        self._topic = topic
        self._patience = patience
        self._news: deque[tuple[Ack, bool]] = deque(maxlen=64)  # and whether it was said just now
        self._epoch = ""  # of `seq`
        self._waiting_since_s: float | None = None
        self._connected_s = 0.0
        self._sent_s = 0.0
        self._in_vain = 0
        self._nudged = False

    def connected(self, now_s: float) -> None:
        """Note a new connection: all that waits is being sent again."""
        self._connected_s = self._sent_s = now_s
        self._nudged = False

    def waits(self, now_s: float) -> None:
        """Note that the broker has something, and that the ingester is to say so."""
        if self._waiting_since_s is None:
            self._waiting_since_s = self._sent_s = now_s

    def idle(self) -> None:
        """Note that nothing waits."""
        self._waiting_since_s = None
        self._in_vain = 0
        self._nudged = False

    def resent(self, now_s: float) -> None:
        """Note that all that waits is being sent again on this connection."""
        self._sent_s = now_s
        self._in_vain = min(self._in_vain + 1, _MOST_DOUBLINGS)
        self._nudged = False

    def resend_due(self, now_s: float) -> bool:
        """Return whether it is time to send again what waits."""
        if self._waiting_since_s is None:
            return False
        wait_s = self._patience.nudge_s if self._nudged else self._patience.resend_s
        return now_s - self._sent_s >= wait_s * 2.0**self._in_vain

    def silent(self, now_s: float) -> bool:
        """Return whether it has been silent for too long; the unit's own absence counts for nothing."""
        return (
            self._waiting_since_s is not None
            and now_s - self._waiting_since_s >= self._patience.silent_s
            and now_s - self._connected_s >= min(self._patience.silent_s, self._patience.resend_s)
        )

    def settle(self, spool: Spool, now_s: float) -> bool:
        """Release what was acknowledged; return whether that was anything.

        Raises SpoolError; then it is done the next time.
        """
        progressed = False
        while self._news:
            ack, fresh = self._news[0]
            try:
                gone = spool.acknowledge(ack.epoch, ack.seq)
            except SpoolError:
                raise
            except ValueError as error:
                self._news.popleft()
                self.inbox.refuse(ACK_BEYOND, self._topic, str(error))
                continue
            self._news.popleft()
            if ack.epoch == spool.epoch:
                self._nudged = self._nudged or (fresh and not gone and self._waiting_since_s is not None)
                self.seq = max(self.seq or 0, ack.seq) if ack.epoch == self._epoch else ack.seq
                self._epoch = ack.epoch
            if gone:
                progressed = True
                self._progressed(now_s)
        return progressed

    def _progressed(self, now_s: float) -> None:
        self._in_vain = 0
        self._nudged = False
        self._sent_s = now_s
        if self._waiting_since_s is not None:
            self._waiting_since_s = now_s

    def _came(self, message: Received) -> None:
        """Take an acknowledgement, to be settled when the spool can be."""
        if len(message.payload) > 1024:
            raise Refusal("too-large", "$", f"wanted at most 1024 bytes, got {len(message.payload)}")
        self._news.append((decode_ack(message.payload), not message.retain))
