"""What the unit tells of itself, as far as it is new: most of it says again what was said before."""

import datetime as dt

from edge.logbook import findings, words
from edge.uplink.messages import AlarmCode, Capture, State
from edge.uplink.twin_messages import Reported

ALARMS = {
    AlarmCode.DEAD_LETTERS: "the other end would not take some messages",
    AlarmCode.SPOOL_SALVAGED: "what waited to be sent was damaged, and kept as far as it could be read",
    AlarmCode.SPOOL_UNWRITABLE: "reports cannot be written to its disk",
    AlarmCode.DISK_FULL: "its disk is full",
    AlarmCode.CLOCK_UNSYNCHRONISED: "it does not know the time",
    AlarmCode.INGESTER_SILENT: "nobody confirms what it sends",
    AlarmCode.NO_INDICATOR: "it has no light",
    AlarmCode.INDICATOR_FAILED: "its light does not work",
    AlarmCode.CAMERA_HELD: "the camera is closed, but its driver may hold it still",
    AlarmCode.NO_BUTTON: "it has no break button, or cannot read it",
    AlarmCode.LOG_UNWRITABLE: "this log could not be written",
    AlarmCode.POWER: "its power supply is too weak",
    AlarmCode.TOO_HOT: "it is too hot",
    AlarmCode.CERTIFICATE_EXPIRES: "its certificate needs renewal",
    AlarmCode.CERTIFICATE_REFUSED: "the other end does not take its new certificate",
}


REASON_CHARS = 256
"""More of a reason does not fit a state; the note of the same has all of it."""


class News:
    """Remembers what the unit said last. Each method returns what is new; "" where nothing is."""

    def __init__(self) -> None:
        self._camera: tuple[Capture, str] | None = None
        self._session: int | None = None
        self._alarms: frozenset[AlarmCode] = frozenset()
        self._reported = self._rules = ""
        self._health: dt.date | None = None

    def camera(self, capture: Capture, reason: str) -> str:
        """Take what the camera began to do."""
        text = words.doing(capture, reason)
        now = capture, "" if reason == text else reason[:REASON_CHARS]
        if now == self._camera:
            return ""
        self._camera = now
        if capture is Capture.STARTING:
            self._session = None  # the number of the next one is no news
        return f"{_capital(text)} ({findings.reason(reason)})" if now[1] else _capital(text)

    def health(self, day: dt.date) -> str:
        """Take how the unit fares, which it tells each hour: the first of a day is worth a line."""
        first, self._health = day != self._health, day
        return words.HEALTH if first else ""

    def state(self, said: State) -> str:
        """Take a state that was sent. Of alarms only their coming and going is new, no number in them."""
        parts = []
        if self._session not in (None, said.session):
            parts.append("the unit had started anew")
        camera = self.camera(said.capture, said.reason)
        if camera:
            parts.append(camera[:1].lower() + camera[1:])
        alarms = frozenset(alarm.code for alarm in said.alarms)
        if alarms != self._alarms:
            named = ", ".join(ALARMS[code] for code in AlarmCode if code in alarms)
            parts.append(f"to be seen to: {named}" if named else "nothing is left to be seen to")
        self._session, self._alarms = said.session, alarms
        return _capital("; ".join(parts))

    def rules(self, version: int, sha256: str) -> str:
        """Take the rules in force, which the unit notes at each start and once a day."""
        before, self._rules = self._rules, sha256
        if sha256 == before:
            return ""
        return f"{'New rules took force' if before else 'The rules in force'}: version {version}"

    def reported(self, said: Reported) -> str:
        """Take what became of the rules that were sent to the unit."""
        text = words.reported(said)
        if text == self._reported:
            return ""
        self._reported = text
        return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
