"""The worker's side of a unit: its light and button, the notice, a repair, and what is done there by hand."""

import logging
from collections.abc import Callable
from typing import assert_never

from edge.capture.frame import Camera
from edge.clock import Clock
from edge.control.protocol import (
    AcceptNotice,
    Answer,
    BeginRepair,
    Done,
    EndRepair,
    Request,
    Resume,
    Status,
    StatusAnswer,
    TakeBreak,
    WithdrawNotice,
)
from edge.device.hardware import Hardware
from edge.device.indicator import identity_code
from edge.errors import EdgeError
from edge.facts import Facts
from edge.notice import Notice
from edge.policy.breaks import BreakBy
from edge.repair import Repair
from edge.requests import Requests
from edge.shutter import Shutter
from edge.uplink.commands import NotDone
from edge.uplink.messages import Alarm, AlarmCode
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 60.0
MIND_EVERY_S = 10.0
"""How often a new log is tried to begin in the place of one that was changed."""


class Desk:
    """Asked from any thread. Whatever is done here counts at once, and the worker's log says so."""

    def __init__(
        self,
        hardware: Hardware,
        unit_id: str,
        notice: Notice,
        repair: Repair,
        requests: Requests,
        worker_log: WorkerLog,
        clock: Clock,
        *,
        facts: Callable[[], Facts],
        synchronised: Callable[[], bool],
    ) -> None:
        """Take up what was noted before, and listen to the button."""
        self.indicator = hardware.indicator
        self.notice, self.repair = notice, repair
        self._unit_id, self._requests, self._log = unit_id, requests, worker_log
        self._clock, self._facts, self._synchronised = clock, facts, synchronised
        self._expire_due_s = self._mind_due_s = clock.now_s()
        self._mind_damage()
        make = hardware.make_button
        self._button = None if make is None else make(self.press, self.hold)

    def shutter(self, camera: Camera, *, safe: bool = False) -> Shutter:
        """Return what opens the camera: under this light, this notice, no repair; in `safe` mode never."""
        return Shutter(
            camera,
            indicator=self.indicator,
            accepted=lambda: self.notice.accepted,
            repair=lambda: self.repair.why,
            safe=safe,
        )

    def turn(self) -> None:
        """Try again what the disk would not take, and delete what is past its time. About once a second."""
        self.notice.turn()
        self.repair.turn()
        now_s = self._clock.now_s()
        if self._log.damage is not None and now_s >= self._mind_due_s:
            self._mind_due_s = now_s + MIND_EVERY_S
            self._mind_damage()
        if now_s >= self._expire_due_s:
            self._expire_due_s = now_s + EXPIRE_EVERY_S
            try:
                self._log.expire(synchronised=self._synchronised())
            except EdgeError as error:
                log.warning("what is old stays in the worker's log for now: %s", error)

    def close(self) -> None:
        """Give the pins back; the light goes out."""
        if self._button is not None:
            self._button.close()
        self.indicator.close()

    # What hands do.

    def press(self) -> None:
        """Accept the notice where it waits; else start a break, or end the one that is on."""
        if not self.notice.accepted:
            self._accept(self.notice.version, BreakBy.BUTTON)
        elif self._requests.breaks.on is None:
            self._requests.start_break("", BreakBy.BUTTON)
        else:
            try:
                self._requests.end_break("", BreakBy.BUTTON)
            except NotDone as why:  # it ended by itself just now
                log.info("the button ends no break: %s", why)

    def hold(self) -> None:
        """Show who this is: a code of four digits, as flashes."""
        code = identity_code(self._unit_id)
        log.info("the button asks who this is: unit %s, %s", self._unit_id, "-".join(map(str, code)))
        self.indicator.spell(code)

    def handle(self, request: Request) -> Answer:
        """Do what was asked for at the unit's own command line. Raises EdgeError for what is not done."""
        answer: Answer = Done()
        match request:
            case Status():
                answer = StatusAnswer(self._facts())
            case TakeBreak():
                answer = Done(ends_at=self._requests.start_break(request.reason, BreakBy.LOCAL).ends_at)
            case Resume():
                answer = Done(lasted_s=self._requests.end_break("", BreakBy.LOCAL).lasted_s)
            case AcceptNotice():
                self._accept(request.version, BreakBy.LOCAL)
            case WithdrawNotice():
                self._withdraw()
            case BeginRepair():
                self._block(request.reason)
            case EndRepair():
                self._end_repair()
            case _:
                assert_never(request)
        return answer

    def _accept(self, version: str, by: BreakBy) -> None:
        self.notice.accept(version, by, self._clock.now_at())
        self.note("notice accepted", f"version {version}, by {by}")
        self._clock.wake()

    def _withdraw(self) -> None:
        try:
            self.notice.withdraw()
        finally:  # it counts at once, also where it could not be kept
            self._clock.wake()
            self.note("notice withdrawn")

    def _block(self, reason: str) -> None:
        try:
            self.repair.begin(reason)
        finally:
            self._clock.wake()
            self.note("repair begun", reason)

    def _end_repair(self) -> None:
        self.repair.end()
        self.note("repair done")
        self._clock.wake()

    # What it tells.

    def alarms(self) -> list[Alarm]:
        """Return what somebody should see to."""
        found = []
        if not self.indicator.fitted:
            found.append(Alarm(code=AlarmCode.NO_INDICATOR, detail="led.pin in unit.toml names none"))
        elif (trouble := self.indicator.trouble()) is not None:
            found.append(Alarm(code=AlarmCode.INDICATOR_FAILED, detail=trouble[:256]))
        if self._button is None:
            found.append(Alarm(code=AlarmCode.NO_BUTTON, detail="button.pin in unit.toml names none"))
        elif (trouble := self._button.trouble()) is not None:
            found.append(Alarm(code=AlarmCode.NO_BUTTON, detail=trouble[:256]))
        return found

    def facts(self) -> Facts:
        """Return how it stands with light, button, notice and repair."""
        return {
            "led.fitted": float(self.indicator.fitted),
            "led.trouble": self.indicator.trouble(),
            "button.fitted": float(self._button is not None),
            "button.trouble": None if self._button is None else self._button.trouble(),
            "unit.code": "-".join(map(str, identity_code(self._unit_id))),
            **self.notice.facts(),
            "repair.reason": self.repair.why,
            "log.entries": self._log.head.seq,
            "log.head": self._log.head.sha256,
        }

    def note(self, what: str, text: str = "") -> None:
        """Tell the worker's log. Where it cannot be told, what was done counts all the same."""
        try:
            self._log.append([Here(what, text)])
        except EdgeError as error:
            log.warning("%s, and the worker's log does not say so: %s", what, error)

    def _mind_damage(self) -> None:
        """Keep the camera closed after somebody changed the worker's log, until somebody there has looked."""
        damage = self._log.damage
        if damage is None:
            return
        log.error("the worker's log was changed: %s", damage)
        reason = f"the worker's log was changed: {damage}"[:256]
        try:
            self._log.start_anew(reason)
        except EdgeError as error:
            log.error("no new worker's log can begin, so nothing leaves the unit: %s", error)
        try:
            self._block(reason)
        except EdgeError as error:
            log.error("the repair would not outlast a restart: %s", error)
