"""The worker's side of a unit: its light and button, the notice, a repair, and what is done there by hand."""

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import assert_never

from edge.aim_desk import AimDesk
from edge.capture.frame import Camera
from edge.clock import Clock
from edge.control.protocol import (
    AcceptNotice,
    AimAsk,
    AimEnd,
    AimLook,
    Answer,
    BeginRepair,
    CheckSaid,
    Done,
    EndRepair,
    LoggedError,
    MakeBundle,
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
from edge.notebook import NotKept
from edge.notice import Notice
from edge.policy.breaks import BreakBy
from edge.repair import Repair
from edge.requests import Requests
from edge.shutter import Shutter
from edge.support.asked import no_bundles
from edge.uplink.commands import NotDone
from edge.uplink.messages import Alarm, AlarmCode
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog

log = logging.getLogger(__name__)

_HOW = {BreakBy.BUTTON: "at the button", BreakBy.LOCAL: "at the unit's command line"}
CLOSED_WITHIN_S = 2.0
STILL_OPEN = "The camera is not closed yet, as its driver takes its time; what it sees is thrown away unseen."
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
        logged: Callable[[], tuple[LoggedError, ...]] = tuple,
        raised: Callable[[], tuple[Alarm, ...]] = tuple,
    ) -> None:
        """Take up what was noted before, and listen to the button."""
        self.indicator = hardware.indicator
        self.notice, self.repair = notice, repair
        self._unit_id, self._requests, self._log = unit_id, requests, worker_log
        self._clock, self._facts, self._synchronised = clock, facts, synchronised
        self._logged, self._raised = logged, raised
        self._shutter: Shutter | None = None
        self.make_bundle: Callable[[tuple[CheckSaid, ...]], Answer] = no_bundles
        self.logs_begun = 0
        """How often a new worker's log began in the place of one that was changed, since the start."""
        self._expire_due_s = self._mind_due_s = clock.now_s()
        self._mind_damage()
        make = hardware.make_button
        self._aim = AimDesk(requests, self.indicator, worker_log)
        self._button = None if make is None else make(self.press, self.hold)
        self._aim.button = self._button

    def shutter(self, camera: Camera, *, safe: bool = False) -> Shutter:
        """Return what opens the camera: under this light, this notice, no repair; in `safe` mode never."""
        self._shutter = Shutter(
            camera,
            indicator=self.indicator,
            accepted=lambda: self.notice.accepted,
            repair=lambda: self.repair.why,
            safe=safe,
            aim=self._requests.aim.phase,
        )
        self._aim.shutter = self._shutter
        return self._shutter

    @property
    def camera_open(self) -> bool:
        """Whether the camera may be giving frames."""
        return self._shutter is not None and self._shutter.is_open

    def turn(self) -> None:
        """Try again what the disk would not take, and delete what is past its time. About once a second."""
        self.notice.turn()
        self.repair.turn()
        self._aim.tell()
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
        self._aim.close()
        if self._button is not None:
            self._button.close()
        self.indicator.close()

    # What hands do.

    def press(self) -> None:
        """End the break that is on; else answer what the light asks for, aim or notice; else start one.

        Who presses to end or to take a break has not said a word on either.
        """
        if self._requests.breaks.on is not None:
            try:
                self._requests.end_break("", BreakBy.BUTTON)
            except NotDone as why:  # it ended by itself just now
                log.info("the button ends no break: %s", why)
        elif self._aim.press():
            pass
        elif self._light_asks():
            self._accept(self.notice.version, BreakBy.BUTTON)
        else:
            self._requests.start_break("", BreakBy.BUTTON)

    def hold(self) -> None:
        """Show who this is: a code of four digits, as flashes. To an aim that is asked for, this is a no."""
        self._aim.decline()
        code = identity_code(self._unit_id)
        log.info("the button asks who this is: unit %s, %s", self._unit_id, "-".join(map(str, code)))
        self.indicator.spell(code)

    def handle(self, request: Request) -> Answer:
        """Do what was asked for at the unit's own command line. Raises EdgeError for what is not done."""
        answer: Answer = Done()
        match request:
            case Status():
                answer = StatusAnswer(self._facts(), self._logged(), self._raised())
            case TakeBreak():
                ends_at = self._requests.start_break(request.reason, BreakBy.LOCAL).ends_at
                answer = Done("" if self._closed_soon() else STILL_OPEN, ends_at=ends_at)
            case Resume():
                lasted_s = self._requests.end_break("", BreakBy.LOCAL).lasted_s
                answer = Done(self._stays_closed(), lasted_s=lasted_s)
            case AcceptNotice():
                self._accept(request.version, BreakBy.LOCAL)
            case WithdrawNotice():
                self._withdraw()
            case BeginRepair():
                self._block(request.reason)
            case EndRepair():
                self._end_repair()
                answer = Done(self._stays_closed())
            case MakeBundle(checks=checks):
                answer = self.make_bundle(checks)
            case AimAsk() | AimLook() | AimEnd():
                answer = self._aim.handle(request)
            case _:
                assert_never(request)
        return answer

    def _stays_closed(self) -> str:
        """Return, for people, what else keeps the camera closed; empty: the shift alone."""
        if (why := self.repair.why) is not None:
            return f"The camera stays closed: the unit is blocked for repair: {why}"
        if not self.notice.accepted:
            return "The camera stays closed until the notice is accepted: deskwatch notice --accept"
        if (trouble := self.indicator.trouble()) is not None:
            return f"The camera stays closed: its light does not work: {trouble}"
        return ""

    def _closed_soon(self) -> bool:
        """Wait for the watch to close the camera; return whether it has. A driver may take long to do it."""
        pause, end_s = Event(), time.monotonic() + CLOSED_WITHIN_S
        while (shutter := self._shutter) is not None and shutter.is_open:
            if time.monotonic() >= end_s:
                return False
            pause.wait(0.01)
        return True

    def _light_asks(self) -> bool:
        """Return whether whoever looks at the light sees that the notice waits to be accepted."""
        if self.notice.accepted or self.repair.why is not None:
            return False
        return self.indicator.fitted and self.indicator.trouble() is None

    def _accept(self, version: str, by: BreakBy) -> None:
        self.notice.accept(version, by, self._clock.now_at())
        self.note("notice accepted", f"version {version}, {_HOW[by]}")
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

    def check_kept(self) -> None:
        """Raise NotKept where a start over would forget what was done here, as the disk did not take it."""
        for what, kept in (
            ("the break that is on", self._requests.breaks.kept),
            ("the notice withdrawn", self.notice.kept),
            ("the repair that is on", self.repair.kept),
        ):
            if not kept:
                raise NotKept(f"wanted {what} kept over a start over, got a disk that does not take it")

    # What it tells.

    def alarms(self) -> list[Alarm]:
        """Return what somebody should see to."""
        found = []
        if not self.indicator.fitted:
            found.append(Alarm(code=AlarmCode.NO_INDICATOR, detail="led.pin in unit.toml names none"))
        elif (trouble := self.indicator.trouble()) is not None:
            found.append(Alarm(code=AlarmCode.INDICATOR_FAILED, detail=trouble[:256]))
        if self._shutter is not None and self._shutter.held:
            found.append(Alarm(code=AlarmCode.CAMERA_HELD, detail="its driver hangs: restart the unit"))
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
            "log.pictures_dropped": self._log.pictures_dropped,
            "log.head": self._log.head.sha256,
        }

    def note(self, what: str, text: str = "") -> None:
        """Tell the worker's log. Where it cannot be told, what was done counts all the same."""
        try:
            self._log.append([Here(what, text)])
        except EdgeError as error:
            log.warning("%s, and the worker's log does not say so: %s", what, error)

    def block_lost_log(self) -> None:
        """Keep the camera closed: the worker's log was there at the last start, and is gone."""
        log.error("the worker's log is gone: somebody deleted its folder, or the disk lost it")
        try:
            self._block("the worker's log is gone: somebody deleted it, or the disk lost it")
        except EdgeError as error:
            log.error("the repair would not outlast a restart: %s", error)

    def _mind_damage(self) -> None:
        """Keep the camera closed after somebody changed the worker's log, until somebody there has looked."""
        damage = self._log.damage
        if damage is None:
            return
        log.error("the worker's log was changed: %s", damage)
        reason = f"the worker's log was changed: {damage}"[:256]
        try:
            self._log.start_anew(reason)
            self.logs_begun += 1
        except EdgeError as error:
            log.error("no new worker's log can begin, so nothing leaves the unit: %s", error)
        try:
            self._block(reason)
        except EdgeError as error:
            log.error("the repair would not outlast a restart: %s", error)
