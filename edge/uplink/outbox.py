"""What the unit says beside what it spools: its state, its policy's report, and replies to commands."""

import itertools
from collections import deque
from dataclasses import dataclass
from threading import Lock

import msgspec

from edge.uplink.command_messages import Reply, encode_reply
from edge.uplink.messages import Alarm, State, encode
from edge.uplink.twin_messages import Reported, encode_reported

MAX_REPLIES = 64


@dataclass(frozen=True, slots=True)
class Letter:
    """A reply on its way."""

    number: int
    name: str
    """The command's."""
    payload: bytes


class Outbox:
    """Of states and reports only the last counts; of replies the newest 64 wait. In memory; thread-safe."""

    def __init__(self, state: State) -> None:
        encode(state)
        self._state = state
        self._alarms: tuple[Alarm, ...] = ()
        self._numbers = itertools.count(1)
        self._lock = Lock()
        self._letters: deque[Letter] = deque()
        self.reported: Reported | None = None
        self.told: Reported | None = None
        """The last report that left, over whatever connection."""
        self.replies_dropped = 0

    @property
    def state(self) -> State:
        """The unit's state, with the uplink's own alarms."""
        state = self._state
        known = {alarm.code for alarm in state.alarms}
        more = tuple(alarm for alarm in self._alarms if alarm.code not in known)
        return msgspec.structs.replace(state, alarms=state.alarms + more) if more else state

    def announce(self, state: State) -> None:
        """Replace the state. Raises InvalidMessage."""
        encode(state)
        self._state = state

    def alarm(self, alarms: tuple[Alarm, ...]) -> None:
        """Replace the uplink's own alarms."""
        self._alarms = alarms

    def report(self, reported: Reported) -> None:
        """Replace the report. Raises InvalidMessage."""
        encode_reported(reported)
        self.reported = reported

    def reply(self, name: str, reply: Reply) -> None:
        """Add a reply; where too many wait, the oldest is dropped. Raises InvalidMessage."""
        payload = encode_reply(reply)
        with self._lock:
            self._letters.append(Letter(next(self._numbers), name, payload))
            if len(self._letters) > MAX_REPLIES:
                self._letters.popleft()
                self.replies_dropped += 1

    def next_letter(self, after: int) -> Letter | None:
        """Return the oldest reply past number `after`."""
        with self._lock:
            return next((letter for letter in self._letters if letter.number > after), None)

    def done(self, letter: Letter, *, dropped: bool = False) -> None:
        """Forget a reply that the broker has, or will not have."""
        with self._lock:
            if letter in self._letters:
                self._letters.remove(letter)
            self.replies_dropped += dropped
