"""What the watch tells: events to the spool, what the camera is doing to the link."""

import datetime as dt
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from edge import __version__
from edge.clock import Clock
from edge.evidence.thumbnail import Jpeg
from edge.policy.document import Policy
from edge.policy.judge import Closed, Opened
from edge.uplink.event_records import Origin
from edge.uplink.messages import Alarm, AlarmCode, Capture, State
from edge.uplink.report import Reporter
from edge.uplink.wire import timestamp

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Teller:
    """Used by the watch's thread alone."""

    reporter: Reporter
    announce: Callable[[State], None]
    state: State
    """The last that was announced; at first the birth's."""
    clock: Clock
    synchronised: Callable[[], bool]
    policy: Callable[[], Policy]
    more_alarms: Callable[[], Iterable[Alarm]] = tuple
    note_camera: Callable[[str], object] = lambda _text: None

    def opened(self, verdict: Opened, jpeg: Jpeg | None, policy: Policy, now_at: dt.datetime) -> None:
        """Spool a confirmed infraction with its picture."""
        log.info("opened %s", verdict.rule.id)
        self.reporter.opened(verdict, jpeg, policy, now_at)

    def closed(self, verdict: Closed, policy: Policy, now_at: dt.datetime) -> None:
        """Spool the end of one."""
        log.info("closed %s after %.1f s: %s", verdict.rule.id, verdict.duration_s, verdict.reason)
        self.reporter.closed(verdict, policy, now_at)

    def capture(self, capture: Capture, reason: str) -> None:
        """Announce what the camera is doing, and have the worker's log say so, broker or none."""
        self.note_camera(f"{capture}: {reason}" if reason else capture.value)
        self._announce(capture, reason[:256])

    def turn(self) -> None:
        """Try again to spool what could not be spooled, and announce what else changed."""
        self.reporter.turn(self.clock.now_s())
        self._announce(self.state.capture, self.state.reason)

    def _announce(self, capture: Capture, reason: str) -> None:
        now = msgspec.structs.replace(
            self.state,
            capture=capture,
            reason=reason,
            policy_version=self.policy().version,
            alarms=self._alarms(),
        )
        if now != self.state:
            self.state = msgspec.structs.replace(now, at=timestamp(self.clock.now_at()))
            self.announce(self.state)

    def _alarms(self) -> tuple[Alarm, ...]:
        alarms = []
        if self.reporter.waiting:
            detail = f"{self.reporter.waiting} events wait in memory, {self.reporter.given_up} are lost"
            alarms.append(Alarm(code=AlarmCode.SPOOL_UNWRITABLE, detail=detail))
        if not self.synchronised():
            alarms.append(Alarm(code=AlarmCode.CLOCK_UNSYNCHRONISED))
        return (*alarms, *self.more_alarms())


def birth(origin: Origin, policy: Policy, session: int, clock: Clock) -> State:
    """Return the state in which a unit comes up."""
    return State(
        online=True,
        session=session,
        boot_id=origin.boot_id,
        firmware=__version__,
        model=origin.model,
        policy_version=policy.version,
        capture=Capture.STARTING,
        at=timestamp(clock.now_at()),
    )
