"""What other threads ask of the watch: breaks that last, over restarts too; one look at a time."""

import contextlib
import datetime as dt
import json
import random
import threading

import pytest

from edge.breaks import UNREADABLE, UNTOLD_MAX, Breaks, Notebook
from edge.clock import SteppedClock
from edge.policy.breaks import BreakBy
from edge.policy.document import ObjectRule, PeopleRule, Policy, Shift, Spot, TamperRule
from edge.requests import LOOK_EVERY_S, Requests, sighting
from edge.uplink.command_messages import ResumeResult, Seen
from edge.uplink.commands import NotDone
from edge.uplink.event_records import Origin
from edge.uplink.messages import Model, decode_event
from edge.uplink.records import Serial, SpoolFull
from edge.uplink.report import Reporter
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import timestamp
from edge.vision.types import Blind, Box, Detection
from tests.broker import until

MONDAY = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


class Unit:
    """One run of a unit; `restarted` is the next one, with the same notebook."""

    def __init__(self, page=None, *, start_at=MONDAY, start_s=0.0, boot_id="boot-1", synchronised=True):
        self.page = page if page is not None else {"text": None}
        self.clock, self.synchronised, self.told = SteppedClock(start_at, start_s), synchronised, []
        self.full = False
        self.breaks = Breaks(
            self.clock,
            lambda: 1800.0,
            lambda change, now: self.told.append(change),
            synchronised=lambda: self.synchronised,
            notebook=Notebook(lambda: self.page["text"], self.write),
            boot_id=boot_id,
        )
        self.requests = Requests(self.breaks, self.clock)

    def write(self, text):
        if self.full:
            raise SpoolFull("the disk is full")
        self.page["text"] = text

    def restarted(self, after_s, **more):
        """The program alone: the clocks go on."""
        now_at = self.clock.now_at() + dt.timedelta(seconds=after_s)
        return Unit(self.page, start_at=now_at, start_s=self.clock.now_s() + after_s, **more)

    def rebooted(self, after_s, **more):
        """A power cut: another boot, and the monotonic clock begins anew."""
        now_at = more.pop("start_at", self.clock.now_at() + dt.timedelta(seconds=after_s))
        return Unit(dict(self.page), start_at=now_at, start_s=5.0, boot_id="boot-2", **more)


@pytest.fixture
def unit():
    return Unit()


def test_a_break_starts_at_once_and_the_second_start_answers_with_the_running_one(unit):
    assert unit.requests.start_break("lunch").ends_at == timestamp(MONDAY + dt.timedelta(minutes=30))
    on = unit.breaks.on
    unit.clock.sleep(0.0)  # takes the wake
    unit.clock.sleep(600.0)
    assert unit.requests.start_break("more").ends_at == timestamp(MONDAY + dt.timedelta(minutes=30))
    assert unit.breaks.on is on
    assert unit.breaks.left_s() == 1200.0
    assert unit.requests.end_break("back") == ResumeResult(lasted_s=600.0)
    assert unit.breaks.on is None
    assert unit.breaks.left_s() is None


def test_the_end_of_no_break_is_not_done(unit):
    with pytest.raises(NotDone) as why:
        unit.requests.end_break("back")
    assert why.value.code == "not-on-break"


def test_each_start_and_end_is_told_once_in_order_and_in_the_events_words(unit):
    unit.requests.start_break("lunch")
    unit.clock.sleep(0.0)
    unit.clock.sleep(90.0)
    unit.requests.end_break("")
    unit.breaks.tell()
    unit.breaks.tell()
    started, ended = unit.told
    assert (started.on.reason, started.end) == ("lunch", None)
    assert ended.on == started.on
    assert (ended.end.lasted_s, ended.end.by) == (90.0, BreakBy.COMMAND)
    assert ended.end.event_id != started.on.event_id


def test_a_break_ends_by_itself_and_says_so(unit):
    unit.requests.start_break("")
    unit.clock.sleep(0.0)
    unit.clock.sleep(1799.0)
    unit.requests.turn()
    assert unit.breaks.on is not None
    unit.clock.sleep(5.0)
    unit.requests.turn()
    assert unit.breaks.on is None
    unit.breaks.tell()
    assert (unit.told[1].end.by, unit.told[1].end.lasted_s) == (BreakBy.TIME, 1800.0)


def test_a_break_goes_on_after_a_restart_of_the_program_whatever_the_wall_clock_says(unit):
    unit.requests.start_break("lunch")
    unit.breaks.tell()
    again = unit.restarted(700.0, synchronised=False)
    assert again.breaks.on.reason == "lunch"
    assert again.breaks.left_s() == 1100.0
    # Told already, so not told again.
    again.breaks.tell()
    assert again.told == []
    again.requests.end_break("")
    again.breaks.tell()
    assert again.told[0].end.lasted_s == 700.0
    assert again.restarted(1.0).breaks.on is None


def test_after_a_power_cut_the_wall_clock_tells_what_is_left_and_a_whole_break_is_the_bound(unit):
    unit.requests.start_break("lunch")
    assert unit.rebooted(700.0).breaks.left_s() == 1100.0
    assert unit.rebooted(0.0, start_at=MONDAY - dt.timedelta(days=9)).breaks.left_s() == 1800.0
    late = unit.rebooted(86400.0)
    assert late.breaks.on is None


def test_after_a_power_cut_without_the_time_it_counts_from_the_start_until_the_time_is_known(unit):
    unit.requests.start_break("lunch")
    again = unit.rebooted(700.0, synchronised=False)
    assert again.breaks.left_s() == 1800.0
    again.requests.turn()
    assert again.breaks.left_s() == 1800.0
    again.synchronised = True
    again.requests.turn()
    assert again.breaks.left_s() == 1100.0


def test_a_break_that_ended_while_the_power_was_out_is_told_as_long_as_it_can_have_lasted(unit):
    unit.requests.start_break("lunch")
    unit.breaks.tell()
    late = unit.rebooted(86400.0)
    late.breaks.tell()
    ((end),) = [change.end for change in late.told]
    assert (end.by, end.lasted_s) == (BreakBy.TIME, 1800.0)


def test_a_start_and_an_end_that_were_not_told_of_are_told_after_a_crash_under_the_same_ids(unit):
    unit.requests.start_break("lunch")
    unit.requests.end_break("")
    again = unit.restarted(1.0)
    again.breaks.tell()
    unit.breaks.tell()
    assert again.told == unit.told
    assert len(again.told) == 2


def test_what_cannot_be_kept_does_not_keep_the_worker_from_a_break(unit):
    unit.full = True
    unit.requests.start_break("lunch")
    assert unit.breaks.on is not None
    assert unit.restarted(1.0).breaks.on is None
    unit.full = False
    unit.breaks.tell()
    assert unit.restarted(1.0).breaks.on is not None


def test_what_a_full_disk_or_a_damaged_spool_lost_of_a_break_is_written_again(unit, caplog):
    unit.full = True
    unit.requests.start_break("lunch")
    for _ in range(3):
        unit.requests.turn()
    assert caplog.text.count("would not outlast a restart") == 1
    unit.full = False
    unit.requests.turn()
    assert unit.restarted(1.0).breaks.on is not None
    unit.page["text"] = None  # salvaged without it
    unit.requests.turn()
    assert unit.restarted(1.0).breaks.on is not None
    unit.full = True
    unit.requests.end_break("back")
    unit.breaks.tell()
    unit.full = False
    unit.requests.turn()
    assert unit.page["text"] is None


def written(**changes):
    on = {"event_id": "e", "reason": "", "by": "button", "started_at": "2026-11-23T12:00:00Z"}
    on = {**on, "started_s": 0.0, "max_s": 1800.0, "trusted": True, **changes}
    return json.dumps({"boot_id": "boot-0", "on": on, "untold": []})


def test_what_the_unit_writes_itself_can_be_read():
    assert Unit({"text": written()}).breaks.on is not None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"boot_id": 7}',
        json.dumps({"boot_id": "", "on": {}, "untold": []}),
        written(started_at="2026-11-23T12:00:00"),
        written(max_s=1e300),
        written(max_s=-1.0),
        '{"x": ' + "[" * 100_000,
        written(by="gesture"),  # of a newer version
    ],
)
def test_a_note_that_cannot_be_read_is_a_whole_break_and_no_crash(text):
    unit = Unit({"text": text})
    assert (unit.breaks.on.reason, unit.breaks.on.max_s) == (UNREADABLE, 1800.0)
    unit.breaks.tell()
    assert [change.end for change in unit.told] == [None]
    again = unit.restarted(1.0)  # goes on, and is not told twice
    again.breaks.tell()
    assert (again.breaks.on, again.told) == (unit.breaks.on, [])
    again.clock.sleep(1800.0)
    again.breaks.turn()
    assert again.breaks.on is None
    again.requests.start_break("lunch")
    assert again.breaks.on.reason == "lunch"


def test_what_a_newer_version_notes_beside_a_break_takes_nothing_from_it():
    text = json.dumps({**json.loads(written(mood="weary")), "since": 3})
    assert Unit({"text": text}).breaks.on == Unit({"text": written()}).breaks.on


def test_starts_are_never_refused_and_what_waits_to_be_told_is_bounded(unit):
    for _ in range(UNTOLD_MAX // 2):
        unit.requests.start_break("again")
        unit.requests.end_break("")
    unit.requests.start_break("again")
    with pytest.raises(NotDone) as why:
        unit.requests.end_break("")
    assert why.value.code == "busy"
    assert unit.breaks.on is not None
    unit.clock.sleep(0.0)
    unit.clock.sleep(4000.0)
    unit.requests.turn()
    assert unit.breaks.on is not None  # it cannot end untold
    unit.breaks.tell()
    unit.requests.turn()
    assert unit.breaks.on is None


def test_a_break_has_one_start_and_one_end_however_many_threads_ask(unit):
    barrier, ended = threading.Barrier(8), []

    def ask():
        barrier.wait(10)
        for _ in range(20):
            unit.requests.start_break("x")
            unit.breaks.tell() if threading.current_thread() is first else None
            with contextlib.suppress(NotDone):
                ended.append(unit.breaks.end(BreakBy.COMMAND))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    first = threads[0]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    unit.breaks.tell()
    starts = [change for change in unit.told if change.end is None]
    ends = [change for change in unit.told if change.end is not None]
    assert len(ends) == len(ended)
    assert len(starts) - len(ends) == (unit.breaks.on is not None)
    # In turn: a start, and its end.
    for start, end in zip(unit.told[::2], unit.told[1::2], strict=False):
        assert (start.end, end.on) == (None, start.on)


def test_a_break_is_reported_as_two_events_that_belong_together(unit):
    records = []

    def put(build):
        records.append(build(Serial("ab" * 16, len(records) + 1)))

    origin = Origin(Topics("acme", "cam-1"), "boot-1", Model(name="m", sha256="ab" * 32))
    reporter = Reporter(origin, put, random.Random(1), lambda: True, unit.clock)
    unit.breaks._tell = reporter.break_changed
    unit.requests.start_break("lunch")
    unit.breaks.tell()
    unit.clock.sleep(0.0)
    unit.clock.sleep(60.0)
    unit.requests.end_break("")
    unit.breaks.tell()
    started, ended = (decode_event(record.messages[0].payload) for record in records)
    assert (started.subject, ended.subject) == ("break", "break")
    assert started.time == timestamp(MONDAY)
    assert started.data.ends_at == timestamp(MONDAY + dt.timedelta(minutes=30))
    assert (started.data.reason, started.data.by, started.data.seq) == ("lunch", "command", 1)
    assert ended.data.started_id == started.id
    assert ended.time == timestamp(MONDAY + dt.timedelta(minutes=1))
    assert (ended.data.duration_s, ended.data.reason, ended.data.monotonic_s) == (60.0, "lunch", 60.0)


def test_one_look_at_a_time_answered_once(unit):
    answers = []
    unit.requests.look_now(answers.append)
    with pytest.raises(NotDone) as why:
        unit.requests.look_now(answers.append)
    assert why.value.code == "busy"
    asked = unit.requests.look
    unit.requests.answer_look(asked, "seen")
    pass_s(unit, LOOK_EVERY_S)
    unit.requests.look_now(answers.append)
    unit.requests.answer_look(asked, "again")  # the first one's: too late
    assert answers == ["seen"]
    assert unit.requests.look is not None


def pass_s(unit, seconds):
    unit.clock.sleep(0.0)  # the next sleep takes no time: something was asked
    unit.clock.sleep(seconds)


def test_looks_that_are_asked_for_come_no_faster_than_a_spot_check(unit):
    unit.requests.look_now(lambda _what: None)
    unit.requests.answer_look(unit.requests.look, "seen")
    pass_s(unit, LOOK_EVERY_S - 1.0)
    with pytest.raises(NotDone, match="wanted one look in 30 s: ask in 1 s") as why:
        unit.requests.look_now(lambda _what: None)
    assert why.value.code == "busy"
    assert unit.requests.look is None
    unit.clock.sleep(1.0)
    unit.requests.look_now(lambda _what: None)
    assert unit.requests.look is not None


def test_a_look_that_is_not_taken_in_time_is_given_up(unit):
    answers = []
    unit.requests.look_now(answers.append)
    unit.clock.sleep(0.0)
    unit.clock.sleep(9.9)
    unit.requests.turn()
    assert answers == []
    unit.clock.sleep(0.2)
    unit.requests.turn()
    assert [answer.code for answer in answers] == ["no-frame"]
    assert unit.requests.look is None


def test_a_look_tells_of_what_a_rule_counts_and_of_nothing_else_in_the_home():
    rules = (
        ObjectRule(id="phone", labels=("cell phone", "book"), enter=0.6),
        PeopleRule(id="extra", max=1, enter=0.5, min_height=0.25),
        TamperRule(id="blocked"),
    )
    policy = Policy(
        schema="policy/1",
        version=1,
        issued_at=MONDAY,
        expires_at=MONDAY + dt.timedelta(days=1),
        timezone="UTC",
        shifts=(Shift(days=("mon",), start="00:00", end="24:00"),),
        watch=Spot(mean_interval_s=600, burst_s=20),
        rules=rules,
    )
    small, tall = Box(0.1, 0.1, 0.2, 0.2), Box(0.1, 0.1, 0.4, 0.9)
    seen = [
        Detection("cell phone", 0.7, small),
        Detection("cell phone", 0.9, small),
        Detection("cell phone", 0.59, small),
        Detection("person", 0.8, tall),
        Detection("person", 0.95, small),  # in the background
        Detection("bed", 0.99, tall),
    ]
    result = sighting(policy, seen, frozenset(), MONDAY)
    assert result.seen == (
        Seen(label="cell phone", count=2, score=0.9),
        Seen(label="person", count=1, score=0.8),
    )
    assert (result.capture, result.frame_at) == ("watching", timestamp(MONDAY))
    blind = sighting(policy, [], frozenset({Blind.DARK, Blind.COVERED}), MONDAY)
    assert (blind.capture, blind.blind) == ("blocked", ("covered", "dark"))


def test_a_break_is_kept_in_the_spool_over_a_restart(tmp_path):
    def breaks(spool):
        notebook = Notebook(lambda: spool.noted("break"), lambda text: spool.note("break", text))
        return Breaks(clock, lambda: 1800.0, lambda *_: None, notebook=notebook, boot_id="boot-1")

    clock = SteppedClock(MONDAY)
    with Spool.open(tmp_path / "spool.db") as spool:
        breaks(spool).start("lunch", BreakBy.BUTTON)
    with Spool.open(tmp_path / "spool.db") as spool:
        again = breaks(spool)
        assert (again.on.reason, again.on.by, again.on.started_at) == ("lunch", BreakBy.BUTTON, MONDAY)
        again.end(BreakBy.BUTTON)
        again.tell()
    with Spool.open(tmp_path / "spool.db") as spool:
        assert breaks(spool).on is None
        assert spool.noted("break") is None


@pytest.mark.parametrize("by", [BreakBy.BUTTON, BreakBy.LOCAL])
def test_a_break_that_was_taken_at_the_unit_is_not_ended_from_afar_in_its_first_five_minutes(unit, by):
    """Else whoever may send a command could refuse every break."""
    unit.requests.start_break("water", by)
    unit.clock.sleep(0.0)
    for wait_s, left_s in ((0.0, 300), (299.5, 1)):
        unit.clock.sleep(wait_s)
        with pytest.raises(NotDone, match=f"try again in {left_s} s") as why:
            unit.requests.end_break("back to work", BreakBy.COMMAND)
        assert why.value.code == "too-early"
        assert unit.breaks.on is not None
    unit.clock.sleep(0.5)
    assert unit.requests.end_break("", BreakBy.COMMAND).lasted_s == 300.0


@pytest.mark.parametrize("by", [BreakBy.BUTTON, BreakBy.LOCAL])
def test_whoever_took_a_break_ends_it_when_they_like(unit, by):
    unit.requests.start_break("water", by)
    unit.clock.sleep(0.0)
    unit.clock.sleep(3.0)
    assert unit.requests.end_break("", by).lasted_s == 3.0


def test_a_break_that_a_command_began_a_command_ends(unit):
    unit.requests.start_break("lunch", BreakBy.COMMAND)
    unit.clock.sleep(0.0)
    unit.clock.sleep(3.0)
    assert unit.requests.end_break("", BreakBy.COMMAND).lasted_s == 3.0


@pytest.mark.parametrize("by", [BreakBy.BUTTON, BreakBy.LOCAL])
def test_a_break_from_afar_gives_way_to_the_workers_own(unit, by):
    """Else one that was begun from afar, with seconds left of it, would be all that the worker gets."""
    unit.requests.start_break("", BreakBy.COMMAND)
    unit.clock.sleep(0.0)
    unit.clock.sleep(1790.0)
    begun = unit.breaks.begun
    assert unit.requests.start_break("water", by).ends_at == timestamp(MONDAY + dt.timedelta(seconds=3590))
    assert (unit.breaks.on.by, unit.breaks.on.reason) == (by, "water")
    assert unit.breaks.begun == begun + 1
    with pytest.raises(NotDone) as why:
        unit.requests.end_break("", BreakBy.COMMAND)
    assert why.value.code == "too-early"
    unit.breaks.tell()
    first, ended, second = unit.told
    assert (ended.on, ended.end.by, ended.end.lasted_s) == (first.on, by, 1790.0)
    assert second.on is unit.breaks.on
    # A second one of the worker's own changes nothing.
    on = unit.breaks.on
    unit.requests.start_break("more", by)
    unit.requests.start_break("more", BreakBy.COMMAND)
    assert unit.breaks.on is on


def test_a_disk_that_hangs_delays_no_break_and_no_turn_of_the_watch(unit):
    """The first one's note is under way, and does not come back; whoever asks next does not wait for it."""
    hangs, goes_on, writes = threading.Event(), threading.Event(), []

    def write(text):
        writes.append(text)
        hangs.set()
        assert goes_on.wait(30)
        unit.page["text"] = text

    unit.breaks._notebook = Notebook(lambda: unit.page["text"], write)
    thread = threading.Thread(target=unit.requests.start_break, args=("water", BreakBy.LOCAL))
    thread.start()
    try:
        assert hangs.wait(30)
        assert unit.breaks.left_s() == 1800.0
        turned = threading.Thread(target=unit.requests.turn)
        turned.start()
        turned.join(10)
        assert not turned.is_alive()
        ended = threading.Thread(target=unit.requests.end_break, args=("", BreakBy.LOCAL))
        ended.start()
        until(lambda: unit.breaks.on is None, "the end to count")
    finally:
        goes_on.set()
    thread.join(30)
    ended.join(30)
    assert not ended.is_alive()
    assert unit.breaks._note() == unit.page["text"] == writes[-1]


def test_the_first_five_minutes_hold_over_a_restart_and_a_power_cut(unit):
    unit.requests.start_break("water", BreakBy.BUTTON)
    for later in (unit.restarted(100.0), unit.rebooted(200.0)):
        with pytest.raises(NotDone) as why:
            later.requests.end_break("", BreakBy.COMMAND)
        assert why.value.code == "too-early"
