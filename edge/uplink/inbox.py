"""What comes down to the unit: each message to its handler, and nothing that comes can do harm."""

import logging
import time
from collections.abc import Callable, Mapping

from edge.errors import EdgeError
from edge.uplink.signals import Received
from edge.uplink.wire import InvalidMessage

Handler = Callable[[Received], None]
"""Runs in the uplink's thread, and must be quick; raises Refusal for what changes nothing."""

UNKNOWN_TOPIC = "unknown-topic"
FAULT = "fault"
"""A handler failed where it should have refused: a fault of ours."""
INVALID = "invalid"
_SAY_EVERY_S = 60.0
_SHOWN_CHARS = 100

_log = logging.getLogger(__name__)


class Refusal(EdgeError):
    """A message changes nothing: count it, and let its sender see to it."""

    def __init__(self, code: str, path: str, problem: str) -> None:
        super().__init__(f"{code} at {path}: {problem}")
        self.code = code
        self.path = path
        self.problem = problem


class Inbox:
    """Hands messages to their handlers; `take` never raises."""

    def __init__(self, routes: Mapping[str, Handler], now_s: Callable[[], float] = time.monotonic) -> None:
        """`routes` are by topic filter: an exact topic, or one whose last level is `+`."""
        for topic_filter in routes:
            if "#" in topic_filter or "+" in topic_filter.removesuffix("/+"):
                raise ValueError(f"filter: wanted a topic, or one that ends in '/+', got {topic_filter!r}")
        self._routes = dict(routes)
        self._now_s = now_s
        self._refusals: dict[str, int] = {}
        self._said_s: dict[str, float] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """The topic filters to subscribe to."""
        return tuple(self._routes)

    @property
    def refusals(self) -> dict[str, int]:
        """How often each code was refused, since the start."""
        return dict(self._refusals)

    def take(self, message: Received) -> None:
        """Let the message's handler have it; whatever is wrong with either is counted."""
        handler = self._handler(message.topic)
        if handler is None:
            self.refuse(UNKNOWN_TOPIC, message.topic, "nobody asked for it")
            return
        try:
            handler(message)
        except Refusal as refusal:
            self.refuse(refusal.code, message.topic, str(refusal))
        except InvalidMessage as error:
            self.refuse(INVALID, message.topic, str(error))
        except Exception as error:  # noqa: BLE001  what comes from outside must not end the uplink
            self.refuse(FAULT, message.topic, f"{type(error).__name__}: {error}", error)

    def refuse(self, code: str, topic: str, problem: str, fault: Exception | None = None) -> None:
        """Count a refusal, and log it unless its like was logged within the last minute."""
        self._refusals[code] = self._refusals.get(code, 0) + 1
        now_s = self._now_s()
        if now_s - self._said_s.get(code, float("-inf")) < _SAY_EVERY_S:
            return
        self._said_s[code] = now_s
        # As they are written in Python: what a stranger sent must not write lines of its own into the log.
        _log.warning(
            "refused a message on %r: %r", topic[:_SHOWN_CHARS], problem[: _SHOWN_CHARS * 4], exc_info=fault
        )

    def _handler(self, topic: str) -> Handler | None:
        if (exact := self._routes.get(topic)) is not None:
            return exact
        parent, _, _ = topic.rpartition("/")
        return self._routes.get(f"{parent}/+")
