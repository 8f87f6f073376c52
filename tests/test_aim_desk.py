"""Lining up the camera at the unit: who may ask, what the button says, what stands in the log."""

import pytest

from edge.aim import ASK_S, SEEN_S, SILENT_S, AimRefused
from edge.aim_desk import AGREED, ASKED, ENDED
from edge.capture.standin import StandInCamera, plain
from edge.control.protocol import (
    MAX_LINE_BYTES,
    AimAnswer,
    AimAsk,
    AimEnd,
    AimLook,
    AimPicture,
    TakeBreak,
    WithdrawNotice,
    line_of,
    read_answer,
)
from edge.device.hardware import Hardware
from edge.device.indicator import NoIndicator, StandinButton, StandinIndicator
from edge.logbook import words
from edge.policy.gate import Aim, Signal
from edge.policy.schedule import Off
from edge.uplink.commands import NotDone
from edge.worklog.errors import LogUnwritable
from edge.worklog.log import WorkerLog
from tests.test_desk import make, spool, worker_log

__all__ = ["spool", "worker_log"]


class Bench:
    """A desk, its shutter on a stand-in camera, and turns of the watch."""

    def __init__(self, home):
        self.home, self.desk, self.clock, self.light = home, home.desk, home.clock, home.light
        self.aim = home.requests.aim
        self.scheduled = Off.BETWEEN_CHECKS
        self.camera = StandInCamera(self.clock, plain((90, 90, 90), (64, 64)))
        self.shutter = self.desk.shutter(self.camera)
        home.accept()
        self.turn()

    def turn(self, by_s=0.0):
        """Let time pass, then have the watch turn once."""
        self.clock.advance_to(self.clock.now_s() + by_s)
        self.home.requests.turn()
        on = self.home.requests.breaks.on
        off = self.shutter.turn(
            self.scheduled if on is None else Off.BREAK, self.home.requests.breaks.left_s()
        )
        self.aim.shown(asks=self.shutter.asks)
        return off

    def ask(self):
        answer = self.desk.handle(AimAsk())
        self.turn()
        return answer.token

    def look(self, token):
        return self.desk.handle(AimLook(token))

    def granted(self):
        token = self.ask()
        self.turn(SEEN_S)
        self.home.button.press()
        assert self.look(token).phase == "granted"
        self.turn()
        return token

    def noted(self):
        return [(what, text) for what, text in self.home.said() if what in (ASKED, AGREED, ENDED)]


@pytest.fixture
def bench(tmp_path, spool, worker_log):
    return Bench(make(tmp_path, spool, worker_log))


def test_the_light_asks_a_press_agrees_and_the_log_has_each_step(bench):
    token = bench.ask()
    assert bench.light.signal is Signal.AIM_ASKS
    assert bench.look(token).phase == "asked"
    assert bench.noted() == [(ASKED, "at the unit's command line; the light asks you for 60 s")]
    bench.turn(SEEN_S)
    bench.home.button.press()
    assert bench.home.requests.breaks.on is None
    assert bench.turn() is Off.BETWEEN_CHECKS  # not before the log says so
    assert bench.look(token).phase == "granted"
    assert [what for what, _ in bench.noted()] == [ASKED, AGREED]
    assert bench.turn() is None
    assert bench.light.signal is Signal.WATCHING
    bench.desk.handle(AimEnd(token))
    assert bench.turn() is Off.BETWEEN_CHECKS
    assert bench.noted()[-1] == (ENDED, "the technician is done")
    assert bench.look(token) == AimAnswer("ended", token, text="the technician is done")
    assert bench.light.signal is Signal.OFF


def test_the_page_of_the_log_tells_of_it_in_the_unit_s_own_words(bench):
    assert words.AIMS == (ASKED, AGREED, ENDED)
    bench.desk.handle(AimEnd(bench.granted()))
    for what, text in bench.noted():
        assert "“" not in words.here(what, text)
    assert words.here(ENDED, "the technician is done") == "The technician is done"


def test_a_press_too_soon_or_too_late_takes_a_break_as_ever(bench):
    bench.ask()
    bench.home.button.press()  # at the moment the light began: it was meant for a break
    assert bench.home.requests.breaks.on is not None
    assert bench.aim.phase() is Aim.NONE
    bench.home.button.press()
    for _ in range(90):
        bench.turn(1.0)
    token = bench.ask()
    for _ in range(int(ASK_S)):
        bench.look(token)
        bench.turn(1.0)
    bench.home.button.press()  # on an ask that has just timed out
    assert bench.home.requests.breaks.on is not None
    bench.desk.turn()
    assert bench.noted()[-1] == (ENDED, "nobody pressed the button in time")
    assert "open" not in bench.camera.record


def test_a_press_while_the_light_does_not_ask_takes_a_break(bench):
    """The watch hangs, or the light fails: whoever presses has not seen what is asked."""
    bench.desk.handle(AimAsk())
    bench.clock.advance_to(3.0)
    bench.home.button.press()
    assert bench.home.requests.breaks.on is not None


def test_a_press_that_began_before_the_light_asked_takes_a_break(bench):
    """The finger is on the button for a break, somebody asks at that moment, and it is let go slowly."""
    bench.ask()
    bench.turn(SEEN_S + 0.2)
    bench.home.button.lasted_s = SEEN_S + 0.5
    bench.home.button.press()
    assert bench.home.requests.breaks.on is not None
    assert bench.aim.phase() is Aim.NONE


def test_a_press_under_a_light_that_failed_meanwhile_agrees_to_nothing(bench):
    bench.ask()
    bench.turn(SEEN_S)
    bench.light.failure = "a short"
    bench.home.button.press()
    assert bench.home.requests.breaks.on is not None
    assert bench.aim.phase() is Aim.NONE


def test_a_press_while_the_camera_is_lined_up_takes_a_break_and_ends_it(bench):
    token = bench.granted()
    assert bench.shutter.is_open
    bench.home.button.press()
    assert bench.home.requests.breaks.on is not None
    assert bench.look(token).text == "a break was taken"
    assert bench.turn() is Off.BREAK
    assert not bench.shutter.is_open
    bench.home.button.press()
    assert bench.home.requests.breaks.on is None
    assert bench.turn() is Off.BETWEEN_CHECKS  # it does not come back with the break's end


def test_a_break_typed_or_from_afar_ends_it_too(bench):
    bench.granted()
    bench.desk.handle(TakeBreak())
    assert bench.aim.phase() is Aim.NONE


def test_a_held_button_declines(bench):
    token = bench.ask()
    bench.turn(SEEN_S)
    bench.home.button.hold()
    assert bench.look(token).text == "the button was held: declined"
    assert bench.light.overlaid == [(5, 2, 6, 3)] or bench.light.overlaid  # and it shows who it is
    assert bench.turn() is Off.BETWEEN_CHECKS
    again = bench.clock.now_s()
    with pytest.raises(AimRefused, match="ask again in"):
        bench.desk.handle(AimAsk())
    assert bench.clock.now_s() == again


def test_a_second_asker_is_refused_and_sees_nothing(bench):
    bench.granted()
    with pytest.raises(AimRefused, match="one aim at a time"):
        bench.desk.handle(AimAsk())
    with pytest.raises(AimRefused, match="the aim that is on"):
        bench.look("another-token-of-22-ch")
    with pytest.raises(AimRefused):
        bench.desk.handle(AimEnd("another-token-of-22-ch"))
    assert bench.aim.phase() is Aim.GRANTED


def test_whoever_asks_without_end_has_the_light_blink_ever_more_rarely(bench):
    asking_s = 0.0
    for _ in range(3600):
        try:
            bench.desk.handle(AimAsk())
        except AimRefused:
            pass
        else:
            token = bench.aim._state.token
        bench.aim.hear(token)
        bench.turn(1.0)
        asking_s += bench.light.signal is Signal.AIM_ASKS
    assert asking_s <= 7 * ASK_S
    assert len([what for what, _ in bench.noted() if what == ASKED]) == 7


@pytest.mark.parametrize(
    ("forbid", "told"),
    [
        (lambda bench: bench.desk.handle(TakeBreak()), "the worker's break to be over"),
        (lambda bench: bench.desk.handle(WithdrawNotice()), "a notice that is accepted first"),
        (lambda bench: bench.desk.repair.begin("open"), "the repair done first"),
        (lambda bench: setattr(bench.light, "failure", "a short"), "a light that works first"),
        (lambda bench: setattr(bench.home.button, "failure", "stuck"), "a button that works first: stuck"),
        (lambda bench: setattr(bench.camera, "held", True), "a driver that hangs"),
        (lambda bench: setattr(bench, "scheduled", Off.OFF_SHIFT), "a time within the shift"),
        (lambda bench: setattr(bench, "scheduled", Off.POLICY_EXPIRED), "a policy that is not expired"),
    ],
)
def test_where_it_cannot_be_the_worker_is_not_even_asked(bench, forbid, told):
    if "light" in told:
        bench.scheduled = None
    forbid(bench)
    bench.turn()
    with pytest.raises(AimRefused, match=told):
        bench.desk.handle(AimAsk())
    bench.turn()
    assert Signal.AIM_ASKS not in bench.light.shown
    assert bench.noted() == []


@pytest.mark.parametrize(
    ("light", "button", "told"), [(False, True, "wanted a light"), (True, False, "wanted a button")]
)
def test_without_a_fitted_light_or_button_it_is_refused_with_the_reason(
    tmp_path, spool, worker_log, light, button, told
):
    def make_button(on_press, on_hold):
        return StandinButton(on_press=on_press, on_hold=on_hold)

    indicator = StandinIndicator() if light else NoIndicator()
    home = make(tmp_path, spool, worker_log, hardware=Hardware(indicator, make_button if button else None))
    with pytest.raises(AimRefused, match=told):
        Bench(home).desk.handle(AimAsk())


def test_in_safe_mode_it_is_refused(bench):
    bench.shutter = bench.desk.shutter(bench.camera, safe=True)
    bench.turn()
    with pytest.raises(AimRefused, match="safe mode"):
        bench.desk.handle(AimAsk())


@pytest.mark.parametrize("when", ["asked", "agreed"])
def test_what_the_log_cannot_be_told_of_does_not_begin(bench, when, monkeypatch):
    token = None if when == "asked" else bench.ask()

    def full(self, notes):
        raise LogUnwritable("no room")

    monkeypatch.setattr(WorkerLog, "append", full)
    if token is None:
        with pytest.raises(LogUnwritable):
            bench.desk.handle(AimAsk())
        bench.turn()
        assert Signal.AIM_ASKS not in bench.light.shown
    else:
        bench.turn(SEEN_S)
        bench.home.button.press()
        assert bench.look(token).text == "the worker's log could not be written"
    assert bench.turn() is Off.BETWEEN_CHECKS
    assert bench.aim.phase() is Aim.NONE


def test_a_press_that_agrees_waits_for_no_disk(bench, monkeypatch):
    bench.ask()
    bench.turn(SEEN_S)
    monkeypatch.setattr(WorkerLog, "append", None)  # whoever writes would raise
    bench.home.button.press()
    assert bench.aim.agreed


def test_whoever_asked_is_gone_so_the_light_stops_asking(bench):
    bench.ask()
    bench.turn(SILENT_S)
    assert bench.light.signal is Signal.OFF
    bench.desk.turn()
    assert bench.noted()[-1] == (ENDED, "the technician's command is gone")


def test_what_closed_the_camera_ends_it_before_the_watch_gets_to_it(bench):
    token = bench.granted()
    bench.desk.handle(WithdrawNotice())
    answer = bench.look(token)
    assert (answer.phase, answer.picture) == ("ended", None)


def test_the_unit_that_stops_ends_it_and_says_so(bench):
    bench.granted()
    bench.desk.close()
    assert bench.noted()[-1] == (ENDED, "the unit stops")


def test_resume_from_afar_and_all_else_leave_it_alone(bench):
    bench.granted()
    with pytest.raises(NotDone):
        bench.home.requests.end_break("")
    assert bench.aim.phase() is Aim.GRANTED


def test_the_largest_answer_fits_a_line():
    picture = AimPicture(64, 36, bytes(64 * 36), 255.0, 0.123456789, tuple("abcdefgh"))
    line = line_of(AimAnswer("granted", "t" * 64, 300.0, "x" * 256, picture))
    assert len(line) < MAX_LINE_BYTES / 10
    assert read_answer(line).picture == picture
