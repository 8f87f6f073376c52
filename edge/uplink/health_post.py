"""When the unit tells its health: once a minute over whatever connections, and only while there is one."""

import logging
from collections.abc import Callable

from edge.clock import Clock
from edge.uplink.messages import Health, encode_health
from edge.uplink.signals import Publication
from edge.uplink.wire import JSON

HEALTH_EVERY_S = 60.0
_log = logging.getLogger(__name__)


class HealthPost:
    """Outlives a connection, so that a link that flaps is no reason to tell more often."""

    def __init__(self, topic: str, measure: Callable[[], Health], clock: Clock, every_s: float) -> None:
        self._topic, self._measure, self._clock, self._every_s = topic, measure, clock, every_s
        self._due_s = clock.now_s()
        self._failing = False

    def due(self) -> Publication | None:
        """Return the health, where it is time to tell it. At QoS 0: the next makes up for a lost one."""
        now_s = self._clock.now_s()
        if now_s < self._due_s:
            return None
        self._due_s = now_s + self._every_s
        try:
            payload = encode_health(self._measure())
        except Exception:  # noqa: BLE001  what cannot be measured must not end the uplink
            if not self._failing:
                _log.exception("the unit's health cannot be told")
            self._failing = True
            return None
        self._failing = False
        return Publication(self._topic, payload, JSON, qos=0)
