"""The `state` messages of one connection."""

import msgspec

from edge.clock import Clock
from edge.uplink.messages import Alarm, AlarmCode, Capture, State, encode
from edge.uplink.signals import Publication
from edge.uplink.wire import JSON, timestamp


class StatePost:
    """Makes the `state` messages of one connection: its birth, changes, offline and will."""

    def __init__(self, topic: str, session: int, connection: int, clock: Clock) -> None:
        self._topic = topic
        self._session = session
        self._connection = connection
        self._clock = clock

    def online(self, state: State) -> Publication:
        """Return the birth, or a change."""
        return self._publication(state)

    def bare(self, state: State) -> Publication:
        """Return a change without a word of the worker's: what may leave when it cannot be noted."""
        alarms = state.alarms
        if all(alarm.code is not AlarmCode.LOG_UNWRITABLE for alarm in alarms):  # it is found out just now
            alarms = (*alarms, Alarm(code=AlarmCode.LOG_UNWRITABLE))
        return self._publication(msgspec.structs.replace(state, reason="", alarms=alarms))

    def will(self, state: State) -> Publication:
        """Return what the broker says of a unit that goes away without a word."""
        return self._gone(state, Capture.UNKNOWN, "connection lost")

    def redialling(self, state: State) -> Publication:
        """Return the last word to a broker that is left for other settings."""
        return self._gone(state, Capture.UNKNOWN, "connecting with other settings")

    def offline(self, state: State) -> Publication:
        """Return the last word of a unit that stops; the reason stays where `state` has stopped already."""
        stopped = state.capture is Capture.STOPPED and state.reason
        return self._gone(state, Capture.STOPPED, state.reason if stopped else "the unit was stopped")

    def _gone(self, state: State, capture: Capture, reason: str) -> Publication:
        at = timestamp(self._clock.now_at())
        return self._publication(
            msgspec.structs.replace(state, online=False, capture=capture, reason=reason, at=at)
        )

    def _publication(self, state: State) -> Publication:
        numbered = msgspec.structs.replace(state, session=self._session, connection=self._connection)
        return Publication(self._topic, encode(numbered), JSON, retain=True)
