"""What is done at the unit: button, command line, notice, repair, and what the worker's log says of it."""

import contextlib
import dataclasses
import datetime as dt
import errno
import threading

import pytest

from edge.breaks import Breaks, Notebook
from edge.capture.standin import StandInCamera, plain
from edge.clock import SteppedClock
from edge.control.protocol import (
    AcceptNotice,
    BeginRepair,
    Done,
    EndRepair,
    Resume,
    Status,
    TakeBreak,
    WithdrawNotice,
)
from edge.desk import STILL_OPEN, Desk
from edge.device.hardware import Hardware
from edge.device.indicator import NoIndicator, StandinButton, StandinIndicator, identity_code
from edge.errors import EdgeError
from edge.notebook import NotKept, TwoPlaces
from edge.notice import Notice, NoticeError
from edge.policy.breaks import BreakBy
from edge.policy.schedule import Off
from edge.repair import Repair, RepairError
from edge.requests import Requests
from edge.uplink.commands import NotDone
from edge.uplink.records import SpoolFull
from edge.uplink.spool import Spool
from edge.uplink.twin_store import Disk
from edge.worklog.entries import Here
from edge.worklog.errors import LogUnwritable
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read, verify

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


@dataclasses.dataclass
class Home:
    """A desk with all that stands on it, on a real disk."""

    folder: object
    clock: SteppedClock
    light: StandinIndicator
    desk: Desk
    requests: Requests
    buttons: list

    @property
    def button(self):
        return self.buttons[0]

    def said(self):
        return [
            (entry.note.what, entry.note.text)
            for entry in read(self.folder / "log")
            if isinstance(entry.note, Here)
        ]

    def accept(self):
        self.desk.handle(AcceptNotice(self.desk.notice.version))


@pytest.fixture
def spool(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        yield spool


def make(tmp_path, spool, worker_log, *, hardware=None, disk=None):
    clock, light, buttons = SteppedClock(NOON), StandinIndicator(), []

    def make_button(on_press, on_hold):
        buttons.append(StandinButton(on_press=on_press, on_hold=on_hold))
        return buttons[0]

    kept = TwoPlaces(tmp_path, spool, disk=disk)
    notebook = Notebook(kept.read, kept.write)
    breaks = Breaks(clock, lambda: 1800.0, lambda change, now: None, notebook=notebook, boot_id="1")
    requests = Requests(breaks, clock)
    desk = Desk(
        hardware or Hardware(light, make_button),
        "cam-1",
        Notice(tmp_path, disk),
        Repair(TwoPlaces(tmp_path, spool, "repair", disk)),
        requests,
        worker_log,
        clock,
        facts=lambda: {"capture.state": "watching"},
        synchronised=lambda: True,
    )
    return Home(tmp_path, clock, light, desk, requests, buttons)


@pytest.fixture
def worker_log(tmp_path):
    with WorkerLog.open(tmp_path / "log", now_at=lambda: NOON) as worker_log:
        yield worker_log


@pytest.fixture
def home(tmp_path, spool, worker_log):
    return make(tmp_path, spool, worker_log)


def test_the_button_accepts_the_notice_first_and_then_starts_and_ends_breaks(home):
    home.button.press()
    assert home.desk.notice.accepted
    assert home.requests.breaks.on is None
    home.button.press()
    assert home.requests.breaks.on.by is BreakBy.BUTTON
    home.button.press()
    assert home.requests.breaks.on is None
    assert home.said() == [("notice accepted", "version 1, at the button")]


def test_who_presses_to_end_a_break_accepts_nothing(home):
    """Somebody afar can begin one while the notice waits: the light then tells of a break."""
    home.requests.start_break("", BreakBy.COMMAND)
    home.button.press()
    assert home.requests.breaks.on is None
    assert not home.desk.notice.accepted
    home.button.press()
    assert home.desk.notice.accepted


@pytest.mark.parametrize("why", ["no light", "the light fails", "a repair"])
def test_a_press_accepts_nothing_where_no_light_asks_for_it(tmp_path, spool, worker_log, why):
    """It is the button of breaks too: who presses it unasked wants one."""
    buttons = []

    def make_button(on_press, on_hold):
        buttons.append(StandinButton(on_press=on_press, on_hold=on_hold))
        return buttons[0]

    hardware = Hardware(NoIndicator(), make_button) if why == "no light" else None
    home = make(tmp_path, spool, worker_log, hardware=hardware)
    if why == "the light fails":
        home.light.failure = "it stays dark"
    if why == "a repair":
        home.desk.handle(BeginRepair("lens"))
    (buttons or home.buttons)[0].press()
    assert not home.desk.notice.accepted
    assert home.requests.breaks.on.by is BreakBy.BUTTON


class Reluctant(Disk):
    """A disk that takes nothing while it is full."""

    full = False

    def write(self, path, data):
        self._refuse()
        super().write(path, data)

    def remove(self, path):
        self._refuse()
        super().remove(path)

    def _refuse(self):
        if self.full:
            raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("what", ["break", "withdrawn", "repair"])
def test_nobody_has_the_unit_start_over_that_would_forget_what_was_done_here(
    tmp_path, worker_log, monkeypatch, what
):
    disk = Reluctant()
    with Spool.open(tmp_path / "spool.db") as spool:
        home = make(tmp_path, spool, worker_log, disk=disk)
        home.accept()
        home.desk.check_kept()
        disk.full = True
        monkeypatch.setattr(spool, "note", refuse)
        with contextlib.suppress(EdgeError):
            home.desk.handle(
                {"break": TakeBreak("x"), "withdrawn": WithdrawNotice(), "repair": BeginRepair("lens")}[what]
            )
        with pytest.raises(NotKept, match="start over"):
            home.desk.check_kept()
        disk.full = False
        home.desk.turn()
        home.requests.turn()
        home.desk.check_kept()


def refuse(*_what):
    raise SpoolFull("wanted room, got none")


def test_a_long_press_shows_who_this_is_and_does_nothing_else(home):
    home.accept()
    home.button.hold()
    assert home.light.overlaid == [identity_code("cam-1")]
    assert home.requests.breaks.on is None
    assert home.desk.facts()["unit.code"] == "-".join(str(digit) for digit in identity_code("cam-1"))


def test_the_command_line_takes_and_ends_a_break(home):
    home.accept()
    taken = home.desk.handle(TakeBreak("water"))
    assert dt.datetime.fromisoformat(taken.ends_at) == NOON + dt.timedelta(minutes=30)
    assert (home.requests.breaks.on.reason, home.requests.breaks.on.by) == ("water", BreakBy.LOCAL)
    home.clock.sleep(0.0)
    home.clock.sleep(7.0)
    assert home.desk.handle(Resume()) == Done(lasted_s=7.0)
    with pytest.raises(NotDone):
        home.desk.handle(Resume())


def test_who_takes_a_break_is_told_that_the_camera_is_closed_once_it_is(home, monkeypatch):
    """Its driver may hang in the opening or the closing of it, for many seconds."""
    home.accept()
    shutter = home.desk.shutter(StandInCamera(home.clock, plain((1, 2, 3), (64, 64))))
    assert shutter.turn(None) is None
    monkeypatch.setattr("edge.desk.CLOSED_WITHIN_S", 0.1)
    assert home.desk.handle(TakeBreak("water")).text == STILL_OPEN
    monkeypatch.setattr("edge.desk.CLOSED_WITHIN_S", 30.0)
    watch = threading.Timer(0.2, shutter.turn, (Off.BREAK,))
    watch.start()
    assert home.desk.handle(TakeBreak("water")).text == ""
    assert not shutter.is_open
    watch.join(30)


def test_a_break_can_be_taken_while_everything_else_is_wrong(home, worker_log):
    """No notice, a repair, a log that takes nothing: a break starts all the same."""
    home.desk.handle(BeginRepair("lens"))
    worker_log.close()
    home.desk.handle(TakeBreak("water"))
    assert home.requests.breaks.on is not None


def test_the_notice_is_accepted_by_its_version_and_withdrawn(home):
    with pytest.raises(NoticeError):
        home.desk.handle(AcceptNotice("0"))
    assert not home.desk.notice.accepted
    home.accept()
    assert home.desk.shutter(None)._accepted()
    home.desk.handle(WithdrawNotice())
    assert not home.desk.shutter(None)._accepted()
    assert [what for what, _ in home.said()] == ["notice accepted", "notice withdrawn"]


def test_a_repair_blocks_until_somebody_there_says_that_it_is_done(home, tmp_path, spool):
    with pytest.raises(RepairError):
        home.desk.handle(EndRepair())
    home.desk.handle(BeginRepair("lens"))
    assert home.desk.shutter(None)._repair() == "lens"
    assert Repair(TwoPlaces(tmp_path, spool, "repair")).why == "lens"  # after a restart
    home.desk.handle(EndRepair())
    assert home.desk.repair.why is None
    assert home.said() == [("repair begun", "lens"), ("repair done", "")]


def test_each_thing_done_here_wakes_the_watch(home):
    for request in (AcceptNotice("1"), BeginRepair("lens"), EndRepair(), WithdrawNotice()):
        home.clock.sleep(0.0)
        before_s = home.clock.now_s()
        home.desk.handle(request)
        home.clock.sleep(60.0)
        assert home.clock.now_s() == before_s, request


def test_status_tells_the_facts(home):
    assert home.desk.handle(Status()).facts == {"capture.state": "watching"}


def test_a_unit_without_light_and_button_says_so(tmp_path, spool, worker_log):
    bare = make(tmp_path, spool, worker_log, hardware=Hardware())
    assert [alarm.code for alarm in bare.desk.alarms()] == ["no-indicator", "no-button"]
    facts = bare.desk.facts()
    assert (facts["led.fitted"], facts["button.fitted"]) == (0.0, 0.0)
    assert isinstance(bare.desk.indicator, NoIndicator)


def test_a_light_and_a_button_that_fail_are_alarms_with_their_reason(home):
    assert home.desk.alarms() == []
    home.light.failure, home.button.failure = "a short", "stuck"
    told = [(alarm.code, alarm.detail) for alarm in home.desk.alarms()]
    assert told == [("indicator-failed", "a short"), ("no-button", "stuck")]
    facts = home.desk.facts()
    assert (facts["led.trouble"], facts["button.trouble"]) == ("a short", "stuck")


def test_a_log_that_somebody_changed_keeps_the_camera_closed_until_somebody_looked(tmp_path, spool):
    with WorkerLog.open(tmp_path / "log", now_at=lambda: NOON) as log:
        log.append([Here("one"), Here("two"), Here("three")])
    (segment,) = (tmp_path / "log").glob("segment-*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"two"', b'"tow"'))
    with WorkerLog.open(tmp_path / "log", now_at=lambda: NOON) as log:
        home = make(tmp_path, spool, log)
        assert "the worker's log was changed" in home.desk.repair.why
        assert segment.name in home.desk.repair.why
        assert home.desk.shutter(None)._repair() is not None
        log.append([Here("life goes on")])  # in a new log, which tells of the old one
        home.desk.close()
    assert verify(tmp_path / "log").problem is None
    assert [entry.note.what for entry in read(tmp_path / "log") if isinstance(entry.note, Here)] == [
        "repair begun",
        "life goes on",
    ]
    assert list(tmp_path.glob("log.damaged-*"))
    with WorkerLog.open(tmp_path / "log", now_at=lambda: NOON) as log:
        home = make(tmp_path, spool, log)
        assert home.desk.repair.why is not None  # also after a restart
        home.desk.handle(EndRepair())
        assert home.desk.repair.why is None


def test_what_the_log_does_not_take_counts_all_the_same(home, worker_log, monkeypatch, caplog):
    def full(_notes):
        raise LogUnwritable("the disk is full")

    monkeypatch.setattr(worker_log, "append", full)
    home.accept()
    home.desk.handle(BeginRepair("lens"))
    assert home.desk.notice.accepted
    assert home.desk.repair.why == "lens"
    assert caplog.text.count("the worker's log does not say so: the disk is full") == 2


def test_old_pictures_are_deleted_about_once_a_minute(home, worker_log, monkeypatch, caplog):
    calls = []

    def expire(*, synchronised):
        calls.append(home.clock.now_s())
        if len(calls) == 2:
            raise EdgeError("the disk is gone")

    monkeypatch.setattr(worker_log, "expire", expire)
    for _ in range(150):
        home.desk.turn()
        home.clock.sleep(0.0 if home.clock._woken else 1.0)
    assert calls == [0.0, 60.0, 120.0]
    assert "what is old stays" in caplog.text


def test_closing_gives_the_pins_back_and_the_light_goes_out(home):
    home.desk.close()
    assert home.light.closed
    assert home.button.closed


def test_the_end_of_a_break_or_a_repair_promises_no_open_camera_that_stays_closed(home):
    home.desk.handle(TakeBreak("water"))
    home.desk.handle(BeginRepair("lens"))
    assert "blocked for repair: lens" in home.desk.handle(Resume()).text
    assert "until the notice is accepted" in home.desk.handle(EndRepair()).text
    home.accept()
    home.light.failure = "a short"
    home.desk.handle(TakeBreak("water"))
    assert "its light does not work: a short" in home.desk.handle(Resume()).text
    home.light.failure = None
    home.desk.handle(TakeBreak("water"))
    assert home.desk.handle(Resume()).text == ""
