"""What stands in the worker's log is told in words, put together, and laid out on days."""

import datetime as dt
import itertools
import json
import re
import typing
import zoneinfo
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.logbook import figures, findings, news, refusals, rules, words
from edge.logbook.camera import Span, spans_of
from edge.logbook.days import days_of
from edge.logbook.gathering import Part, moments_of, policy_of
from edge.logbook.moments import Kind
from edge.logbook.news import News
from edge.logbook.survey import Sound, Survey, server_words, survey, verdict
from edge.logbook.view import head_line, lines_of, rules_lines, verdict_lines
from edge.logbook.words import Mode
from edge.policy.breaks import BreakBy
from edge.policy.document import parse_policy
from edge.policy.judge import Ended
from edge.uplink.command_messages import COMMANDS, CommandError, Reply, SpotCheckResult, encode_reply
from edge.uplink.messages import Alarm, AlarmCode, Capture, Lost
from edge.uplink.twin_messages import Document, Phase, RefusalCode, Reported, encode_reported
from edge.uplink.wire import ClockQuality, Problem, timestamp
from edge.worklog.entries import (
    Began,
    Command,
    Entry,
    Head,
    Here,
    Note,
    PictureRef,
    PicturesGone,
    Pruned,
    Sent,
    at_text,
)
from edge.worklog.reading import Unread, Verified
from tests.worklog_story import (
    at,
    break_ended,
    break_started,
    closed,
    opened,
    picture,
    policy_note,
    sent,
    state,
    thumb,
)

LOG = Path("/var/lib/deskwatch/log")
CHECKSUM = "segment-00000001.jsonl, entry 26: wanted the checksum 01 of what it says, got 02: it was changed"


def entries(*told: tuple[dt.datetime, Note]) -> list[Entry]:
    return [Entry(seq, at_text(when), "", note) for seq, (when, note) in enumerate(told, 1)]


def modes(spans: list[Span]) -> list[tuple[str, str, Mode]]:
    return [(f"{span.from_at:%H:%M}", f"{span.to_at:%H:%M}", span.mode) for span in spans]


def lines(*told: tuple[dt.datetime, Note], zone: dt.tzinfo = dt.UTC) -> list[str]:
    return list(lines_of(entries(*told), zone, colour=False))


def test_an_infraction_its_end_and_its_picture_are_one_thing():
    jpeg = picture()
    ref = PictureRef("one", "0" * 64, len(jpeg), timestamp(at(9, days=6)), "key-id")
    (moment,) = moments_of(
        entries(
            (at(9), opened("one", at(9), jpeg=jpeg)),
            (at(9, 0, 1), thumb("one", jpeg, ref)),
            (at(9, 2), closed("one", at(9, 2))),
        ),
        dt.UTC,
    )
    assert (moment.kind, moment.title, moment.lasts) == (Kind.SEEN, "Cell phone seen", False)
    assert moment.facts == ["Rule “phone”", "Lasted 1 min 14 s, until it was no longer seen"]
    assert [entry.seq for entry in moment.entries] == [1, 2, 3]
    assert moment.picture is not None
    assert (moment.picture.ref, moment.picture.sealed_to) == (ref, "key-id")
    assert moment.picture.sent_at == at_text(at(9, 0, 1))


def test_a_picture_that_did_not_leave_is_not_said_to_have_left():
    (moment,) = moments_of(entries((at(9), opened("one", at(9), jpeg=b"12345", recipient="kid"))), dt.UTC)
    assert moment.picture is not None
    assert (moment.picture.sent_at, moment.picture.sealed_to, moment.lasts) == (None, "kid", True)


def test_a_deleted_picture_says_when_and_why():
    gone = PicturesGone("no-room", ("one",))
    seen, note = moments_of(entries((at(9), opened("one", at(9), jpeg=b"12345")), (at(10), gone)), dt.UTC)
    assert seen.picture is not None
    assert (seen.picture.gone_at, seen.picture.gone_why) == (
        at_text(at(10)),
        "newer pictures needed the room",
    )
    assert note.title == "1 picture deleted from this log: newer pictures needed the room"


@pytest.mark.parametrize(
    ("kind", "label", "people", "words_"),
    [
        ("object", "cell phone", None, "Cell phone seen"),
        ("people", "", 2, "2 people seen"),
        ("people", "", 1, "1 person seen"),
        ("people", "", 0, "Nobody seen at the desk"),
        ("tamper", "covered", None, "The camera could not see: covered or dark"),
        ("activity", "", None, "The workstation was not used"),
    ],
)
def test_what_was_seen_in_words(kind, label, people, words_):
    (moment,) = moments_of(
        entries((at(9), opened("one", at(9), kind=kind, label=label, people=people))), dt.UTC
    )
    assert moment.title == words_


def test_a_command_and_its_reply_are_one_thing_and_a_refusal_says_why():
    ask = Command("spot-check", json.dumps({"id": "c1", "expires_at": timestamp(at(10))}))
    done = SpotCheckResult(capture=Capture.WATCHING, seen=(), frame_at=timestamp(at(9)))
    yes = encode_reply(Reply(id="c1", at=timestamp(at(9)), result=done))
    no = encode_reply(
        Reply(id="c2", at=timestamp(at(9)), error=Problem(code="on-break", problem="a break is on"))
    )
    answered, refused = moments_of(
        entries(
            (at(9), ask),
            (at(9), sent("reply/spot-check", yes)),
            (at(9), sent("reply/resume", no)),
        ),
        dt.UTC,
    )
    assert answered.title == "The unit was asked to look at once"
    assert answered.facts == ["It answered: it saw nothing that the rules name. No picture was sent"]
    assert refused.facts == ["It refused: you were on a break", "Word for word: “a break is on”"]


def test_refused_rules_stand_out():
    document = Document(version=9, sha256="0" * 64)
    problem = Problem(code="below-floor", path="$.thumbnail.retain_days", problem="wanted at most 20, got 90")
    said = Reported(
        phase=Phase.REFUSED, desired=document, running=document, error=problem, session=1, at=timestamp(at(9))
    )
    (moment,) = moments_of(entries((at(9), sent("config/reported", encode_reported(said)))), dt.UTC)
    assert moment.grave
    assert moment.kind is Kind.RULES
    assert moment.title.endswith(
        "(version 9) were refused and changed nothing: they would have gone below the privacy that the unit"
        " always keeps: pictures go after 20 days at most"
    )
    assert moment.facts == ["Word for word: “wanted at most 20, got 90” ($.thumbnail.retain_days)"]


def test_the_camera_is_told_from_states_and_breaks_laid_over_them():
    told = entries(
        (at(7), state(Capture.OFF_SHIFT, at(7))),
        (at(8), state(Capture.WATCHING, at(8))),
        # A break without a link: both of its events leave later.
        (at(12), break_started("b", at(9))),
        (at(12), break_ended("b", at(9, 30), 1800.0)),
        (at(17), state(Capture.OFF_SHIFT, at(17))),
    )
    assert modes(spans_of(told, at(18))) == [
        ("07:00", "08:00", Mode.CLOSED),
        ("08:00", "09:00", Mode.WATCHING),
        ("09:00", "09:30", Mode.BREAK),
        ("09:30", "17:00", Mode.WATCHING),
        ("17:00", "18:00", Mode.CLOSED),
    ]


def test_after_a_crash_nobody_claims_to_know_what_the_camera_did():
    told = entries(
        (at(8), state(Capture.WATCHING, at(8))),
        (at(9), opened("one", at(9))),
        (at(11), state(Capture.STARTING, at(11), session=2)),
    )
    assert modes(spans_of(told, at(12)))[:2] == [
        ("08:00", "09:00", Mode.WATCHING),
        ("09:00", "11:00", Mode.UNKNOWN),
    ]
    stopped = entries(
        (at(8), state(Capture.STOPPED, at(8))),
        (at(11), state(Capture.WATCHING, at(11), session=2)),
    )
    assert modes(spans_of(stopped, at(12)))[0] == ("08:00", "11:00", Mode.CLOSED)


def test_a_start_that_the_unit_noted_tells_a_crash_without_a_link_too():
    told = entries(
        (at(8), Here("camera", "watching")),
        (at(9), opened("one", at(9))),
        (at(11), Here("camera", "starting")),
        (at(11, 1), Here("camera", "watching")),
        (at(11, 2), state(Capture.WATCHING, at(11, 1), session=2)),
        (at(12), Here("camera", "stopped")),
        (at(14), Here("camera", "starting")),
        (at(14), Here("camera", "watching")),
        (at(14), state(Capture.WATCHING, at(14), session=3)),
    )
    assert modes(spans_of(told, at(15))) == [
        ("08:00", "09:00", Mode.WATCHING),
        ("09:00", "11:00", Mode.UNKNOWN),
        ("11:00", "11:01", Mode.CLOSED),
        ("11:01", "12:00", Mode.WATCHING),
        ("12:00", "14:00", Mode.CLOSED),
        ("14:00", "15:00", Mode.WATCHING),
    ]
    assert [
        moment.title for moment in moments_of(told, dt.UTC) if moment.kind is Kind.TOLD and moment.new
    ] == [
        "The camera was open",
        "The unit was starting",
        "The camera was open",
        "The unit was stopped",
        "The unit was starting",
        "The camera was open",
    ]


def test_a_watch_without_a_word_for_a_day_is_not_known_to_go_on():
    told = entries((at(8), state(Capture.WATCHING, at(8))), (at(9), opened("one", at(9))))
    assert modes(spans_of(told, at(10)))[-1][2] is Mode.WATCHING
    assert modes(spans_of(told, at(10, days=1)))[-1][2] is Mode.UNKNOWN


def test_what_the_unit_notes_without_a_link_counts_too():
    told = entries(
        (at(8), Here("camera", "watching")),
        (at(9), Here("camera", "led-fault: read back low")),
        (at(10), Here("camera", "no such thing")),
    )
    first, second = spans_of(told, at(11))
    assert (first.mode, second.mode) == (Mode.WATCHING, Mode.FAULT)
    assert second.why == "closed, because the light did not work: read back low"
    assert [moment.kind for moment in moments_of(told, dt.UTC)] == [Kind.TOLD, Kind.TOLD, Kind.HERE]


def test_a_clock_that_is_put_back_leaves_no_time_told_twice():
    told = entries(
        (at(8), state(Capture.WATCHING, at(8))),
        (at(14), state(Capture.BREAK, at(14))),
        (at(9), state(Capture.OFF_SHIFT, at(9))),
    )
    assert modes(spans_of(told, at(10))) == [
        ("08:00", "09:00", Mode.WATCHING),
        ("09:00", "10:00", Mode.CLOSED),
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000),
            st.sampled_from(list(Capture)),
            st.integers(1, 3),
            st.sampled_from(["state", "start", "end"]),
        ),
        max_size=25,
    )
)
def test_spans_never_overlap_and_never_lie_ahead(told):
    now_at = at(0, days=1)
    notes = []
    for minutes, capture, session, what in told:
        when = at(0) + dt.timedelta(minutes=minutes)
        note = {
            "state": lambda when=when, c=capture, s=session: state(c, when, session=s),
            "start": lambda when=when, s=session: break_started(f"b{s}", when),
            "end": lambda when=when, s=session: break_ended(f"b{s}", when, 60.0 * s),
        }[what]()
        notes.append((when, note))
    spans = spans_of(entries(*notes), now_at)
    assert all(span.from_at < span.to_at <= now_at for span in spans)
    assert all(a.to_at == b.from_at for a, b in itertools.pairwise(spans))


def test_an_event_stands_on_the_day_on_which_it_happened_and_says_when_it_left():
    days = days_of(entries((at(9, days=1), opened("one", at(9)))), dt.UTC, at(10, days=1))
    assert [day.date for day in days] == [at(9).date()]
    assert (
        "Happened on 24 November 2026, 09:00, left the unit on 25 November 2026, 09:00"
        in days[0].moments[0].facts
    )
    unsure = opened("two", at(9), clock=ClockQuality.UNSYNCHRONISED)
    (day,) = days_of(entries((at(9, days=1), unsure)), dt.UTC, at(10, days=1))
    assert day.date == at(9, days=1).date()


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 24), 24)])
def test_a_day_is_as_long_as_the_worker_s_clock_makes_it(day, hours):
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    noon = dt.datetime(*day, 12, tzinfo=zone)
    (one,) = days_of(entries((noon, Here("notice accepted"))), zone, noon)
    assert (one.end_at - one.start_at) == dt.timedelta(hours=hours)


def test_lines_have_a_header_a_day_and_a_line_an_entry_on_the_worker_s_clock():
    bogota = zoneinfo.ZoneInfo("America/Bogota")
    assert lines((at(2), Here("notice accepted", "by button")), (at(14), policy_note()), zone=bogota) == [
        "Monday, 23 November 2026",
        "  21:00:00      1  here   Notice accepted; at the button",
        "",
        "Tuesday, 24 November 2026",
        "  09:00:00      2  rules  The rules in force: version 1",
    ]


def test_what_a_note_and_a_state_both_say_is_one_line_and_alarms_only_when_they_come_or_go():
    no_light = Alarm(code=AlarmCode.NO_INDICATOR)
    waiting = [Alarm(code=AlarmCode.SPOOL_UNWRITABLE, detail=f"{count} events wait") for count in (1, 2)]
    shown = lines(
        (at(8), Here("camera", "watching")),
        (at(8), state(Capture.WATCHING, at(8), alarms=(no_light,))),
        (at(9), Here("camera", "break: lunch")),
        (at(9), state(Capture.BREAK, at(9), reason="lunch", alarms=(no_light, waiting[0]))),
        (at(9), state(Capture.BREAK, at(9), reason="lunch", alarms=(no_light, waiting[1]))),
        (at(10), state(Capture.BREAK, at(10), reason="lunch", session=2)),
        (at(11), state(Capture.STOPPED, at(11), session=2, reason="the unit was stopped")),
    )
    assert shown[1:] == [
        "  08:00:00      1  unit   The camera was open",
        "  08:00:00      2  unit   To be seen to: it has no light",
        "  09:00:00      3  unit   You were on a break (lunch)",
        "  09:00:00      4  unit   To be seen to: reports cannot be written to its disk, it has no light",
        "  10:00:00      6  unit   The unit had started anew; nothing is left to be seen to",
        "  11:00:00      7  unit   The unit was stopped",
        "",
        (
            "Left out: 1 entry says only what was said before, or how the unit fares."
            " With --json, all stand there word for word."
        ),
    ]


def test_why_the_camera_closed_is_said_where_only_the_log_was_told():
    (_, line) = lines((at(8), Here("camera", "led-fault: read back low")))
    assert line.endswith("Closed, because the light did not work (read back low)")
    long = "x" * 300
    _, line, _, left_out = lines(
        (at(8), Here("camera", f"led-fault: {long}")),
        (at(8), state(Capture.LED_FAULT, at(8), reason=long[:256])),
    )
    assert line.endswith(f"({long})")
    assert left_out.startswith("Left out: 1 entry")


def test_rules_that_were_refused_are_told_once_however_often_the_unit_starts():
    problem = Problem(code="below-floor", problem="wanted at most 20, got 90")
    document = Document(version=9, sha256="0" * 64)

    def refused(session: int) -> Sent:
        said = Reported(
            phase=Phase.REFUSED,
            desired=document,
            running=document,
            error=problem,
            session=session,
            at=timestamp(at(9)),
        )
        return sent("config/reported", encode_reported(said))

    shown = lines((at(9), refused(1)), (at(10), refused(2)))
    assert len([line for line in shown if "refused and changed nothing" in line]) == 1


def test_spot_checks_in_a_row_are_one_line_and_what_comes_between_them_is_not_swallowed():
    looks = [
        (at(9, minute), Here("camera", "between-checks" if minute % 2 else "watching"))
        for minute in range(20)
    ]
    seen = (at(9, 20), opened("one", at(9, 20)))
    assert [line[19:] for line in lines(*looks, seen)[1:]] == [
        "unit   10 × The camera was open, 10 × Between two spot checks, until 09:19:00",
        "seen   Cell phone seen; rule “phone”",
    ]
    few = lines(*looks[:5], seen)
    assert len(few) == 1 + 5 + 1
    break_between = lines(*looks[:10], (at(9, 9, 30), Here("camera", "break")), *looks[10:])
    assert [line[26:] for line in break_between[1:]] == [
        "5 × The camera was open, 5 × Between two spot checks, until 09:09:00",
        "You were on a break",
        "The camera was open",
        "5 × Between two spot checks, 4 × The camera was open, until 09:19:00",
    ]


@given(st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(list(Capture))), max_size=40))
def test_every_entry_is_a_line_or_counted(told):
    notes = [
        (at(0) + dt.timedelta(minutes=minutes), Here("camera", capture.value)) for minutes, capture in told
    ]
    count = 0
    for line in lines(*notes):
        if line.startswith("Left out: "):
            count += int(line.split()[2])
        elif line.startswith("  "):
            count += sum(map(int, re.findall(r"(\d+) × ", line))) or 1
    assert count == len(notes)


def test_what_somebody_else_wrote_cannot_steer_the_terminal():
    evil = "a\033[2J\r\nb\u202ec"
    told = [
        (at(9), break_started("b", at(9), reason=evil)),
        (at(9), Here(evil, evil)),
        (at(9), Command(evil, evil)),
        (at(9), Began(evil, evil)),
        (at(9), PicturesGone(evil, (evil,))),
        (at(9), Pruned(1, 2, evil, {evil: 3})),
        (at(9), Sent(evil, evil, 1, evil, evil)),
        (at(9), state(Capture.BLOCKED, at(9), reason=evil)),
    ]
    shown = lines(*told)
    assert len(shown) == len(told) + 1
    assert all(line.isprintable() for line in shown)


@given(st.text(max_size=40), st.text(max_size=40), st.one_of(st.none(), st.text(max_size=60)))
def test_whatever_stands_in_an_entry_it_is_one_line(at_, topic, payload):
    for prefix in ("", "thumb/", "reply/"):
        note = Sent(prefix + topic, "x", 1, "", payload)
        (line,) = lines_of([Entry(1, "?" + at_, "", note)], dt.UTC, colour=False)
        assert line.isprintable()


def test_the_survey_finds_the_last_rules_that_can_be_read():
    told = entries(
        (at(9), policy_note(1, timezone="America/Bogota")), (at(10), policy_note(2, timezone="Mars/Olympus"))
    )
    about = survey(told)
    assert about.policy is not None
    assert (about.policy.version, about.zone_name) == (1, "America/Bogota")
    assert (about.first_at, about.last_at) == (at(9), at(10))
    assert survey([]).zone_name == "UTC"


def test_a_policy_is_read_as_the_unit_writes_it():
    document = (Path(__file__).parents[1] / "edge" / "defaults" / "policy.json").read_bytes()
    policy = parse_policy(document)
    assert policy_of(msgspec.json.encode(policy).decode()) == policy


def test_rules_in_words():
    spot = {"mode": "spot", "mean_interval_s": 600, "burst_s": 20}
    night = [{"days": ["fri", "sun"], "start": "22:00", "end": "06:00"}]
    policy = policy_of(policy_note(watch=spot, shifts=night).document)
    assert policy is not None
    assert [rules.rule(line) for line in policy.rules] == [
        "cell phone, when seen for 2 s",
        "nobody at the desk, for 30 s (no picture)",
    ]
    assert rules.shift(policy.shifts[0]) == "Friday, Sunday, 22:00 to 06:00 (the next day)"
    assert rules.watch(policy).startswith("at random moments, about every 10 min, for 20 s at a time")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 s"),
        (5, "5 s"),
        (74, "1 min 14 s"),
        (720, "12 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (3.6e5, "100 h"),
    ],
)
def test_durations(seconds, text):
    assert figures.span(seconds) == text


def test_the_verdict_names_what_was_found_or_says_that_all_is_whole():
    good = verdict(Verified(3, 1, Head(3, "ab" * 32), 0, None), Survey(first_at=at(9)), LOG)
    assert (good.good, good.title) == (True, "This log is complete and unchanged since 24 November 2026")
    assert "3 entries" in good.text
    pruned = verdict(Verified(3, 7, Head(9, "ab" * 32), 0, None), Survey(), LOG)
    assert "Older ones, up to number 6, were deleted" in pruned.text
    bad = verdict(Verified(1, 1, Head(1, "ab" * 32), 0, CHECKSUM), Survey(), LOG)
    assert bad.sound is Sound.CHANGED
    assert "Found: Entry 26 is not as it was written." in bad.text
    assert bad.exact == CHECKSUM
    assert str(LOG) in bad.to_do
    assert "keeps it closed until somebody there has looked and typed `deskwatch repair --done`" in bad.to_do
    assert verdict_lines(bad) == [f"{bad.title}. {bad.text}", bad.to_do, f"Word for word: {CHECKSUM}"]


def test_a_log_that_took_the_place_of_a_changed_one_is_not_called_good():
    old = LOG.with_name("log.damaged-2")
    began = entries((at(9), Began(f"the worker's log was changed: {CHECKSUM}", "ab" * 32)))
    policy = entries((at(8), policy_note(timezone="Europe/Berlin")))
    about = survey(began, [(old, policy)])
    assert (about.anew, about.policy_of, about.zone_name) == (True, old.name, "Europe/Berlin")
    said = verdict(Verified(1, 1, Head(1, "ab" * 32), 0, None), about, LOG)
    assert (said.sound, said.good) == (Sound.ANEW, False)
    assert said.title == "This log was begun anew on 24 November 2026: the one before it was changed"
    assert "Entry 26 is not as it was written" in said.text
    assert f"lies in {old}" in said.text
    assert "tell somebody whom you trust" in said.to_do
    assert said.exact == CHECKSUM
    gone = verdict(Verified(1, 1, Head(1, "ab" * 32), 0, None), survey(began), LOG)
    assert not gone.good
    assert "does not lie beside this one any more" in gone.text


def test_a_changed_log_that_lies_aside_counts_when_this_one_has_forgotten_it():
    about = survey(entries((at(9), Began("first"))), [(LOG.with_name("log.damaged-1"), [])])
    said = verdict(Verified(1, 1, Head(1, ""), 0, None), about, LOG)
    assert (said.sound, said.title) == (Sound.ANEW, "A log before this one was changed")
    both = verdict(Verified(1, 1, Head(1, ""), 0, CHECKSUM), about, LOG)
    assert both.sound is Sound.CHANGED
    assert "log.damaged-1" in both.text


def test_a_log_begun_anew_says_what_fits_and_does_not_spell_the_finding_out_again():
    reason = f"the worker's log was changed: {CHECKSUM}"
    shown = lines(
        (at(9), Began(reason, "0123456789abcdef" * 4)),
        (at(9), Here("repair begun", reason)),
        (at(9), Here("camera", f"repair: {reason}")),
    )
    assert [line[26:] for line in shown[1:]] == [
        (
            "This log begins anew: the one before it was changed; found in it: Entry 26 is not as it was"
            " written; the last entry of it that fits has the fingerprint 0123 4567 89ab cdef"
        ),
        "Repair begun; “the worker's log was changed”",
        "Closed for a repair (the worker's log was changed)",
    ]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (CHECKSUM, "Entry 26 is not as it was written"),
        (
            "segment-00000001.jsonl, entry 27: wanted it to follow entry 26",
            "Entry 27 does not follow the one",
        ),
        ("segment-00000001.jsonl, entry 4: wanted entry 4, got entry 5", "Entry 4 is not where it was"),
        ("segment-00000005.jsonl, entry 5: wanted this file, got segment", "missing from number 5 on"),
        ("entries 8 to 9: wanted a log up to the noted head", "Entries 8 to 9 are missing at the end"),
        (
            "pictures/a.1.jpg, of entry 7: wanted the picture ab, got none",
            "The picture of entry 7 is missing",
        ),
        ("pictures/x: wanted only pictures of the log, got this", "that the unit did not write"),
        ("/var/log/segment-00000001.jsonl: wanted 80 bytes, got 3", "changed while the unit ran"),
        ("head: wanted the noted head, got none that reads", "note of how far it goes"),
        ("\N{SNOWMAN}", "Something in it is not as it was written"),
    ],
)
def test_findings_in_plain_words(problem, said):
    assert said in findings.plain(problem)


def test_what_does_not_read_has_a_line_in_its_place():
    first, _, last = entries((at(9), Here("a")), (at(9), Here("b")), (at(9), Here("c")))
    shown = list(lines_of([first, Unread(2, 2, changed=True), last], dt.UTC, colour=False))
    assert [line.split(maxsplit=2)[-1] for line in shown[1:4:2]] == ["here   A", "here   C"]
    assert shown[2].split() == ["2", "log", "Entry", "2", "was", "changed:", "it", "cannot", "be", "read"]
    (missing,) = moments_of([Unread(4, 6, changed=False)], dt.UTC)
    assert (missing.title, missing.grave) == ("Entries 4 to 6 are missing", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version 1, by local", "Version 1 of it, at the unit's command line"),
        ("version 1, by button", "Version 1 of it, at the button"),
        ("version 1, at the unit's command line", "Version 1 of it, at the unit's command line"),
        ("something else", "“something else”"),
    ],
)
def test_where_the_notice_was_accepted_is_said_in_words(text, said):
    (moment,) = moments_of(entries((at(9), Here("notice accepted", text))), dt.UTC)
    assert moment.facts == [said]


def test_the_rules_in_force_stand_in_the_terminal():
    told = rules_lines(survey(entries((at(9), policy_note()))), "broker.example.com")
    assert told[0] == "The rules now:"
    assert "  May look     Monday to Friday, 08:00 to 17:00 (UTC)" in told
    assert "  Goes to      the server broker.example.com" in told
    assert "whoever received them has to delete them by then too" in "\n".join(told)
    assert (
        told[-1] == "  Reports      cell phone, when seen for 2 s; nobody at the desk, for 30 s (no picture)"
    )
    (none,) = rules_lines(Survey(), "broker.example.com")
    assert "is not written in this log" in none


def test_the_server_is_the_one_that_the_rules_name():
    here, there = {"host": "here.example.com"}, {"host": "there.example.com"}
    about = survey(entries((at(8), policy_note(1, broker=here)), (at(9), policy_note(2, broker=there))))
    assert server_words(about, "own.example.com") == (
        "through the server there.example.com"
        " (at other times it may have been here.example.com, own.example.com)"
    )
    assert server_words(Survey(), "own.example.com") == "through the server own.example.com"


def test_what_the_camera_did_before_a_log_that_was_begun_anew_is_not_known():
    former = [
        Part(
            "log.damaged-1",
            entries((at(9), state(Capture.WATCHING, at(9))), (at(9, 1), opened("one", at(9)))),
        )
    ]
    told = entries((at(10), Began("changed")), (at(11), state(Capture.REPAIR, at(11))))
    (day,) = days_of(told, dt.UTC, at(12), former=former, anew=True)
    assert [(span.mode, span.to_at.hour) for span in day.spans] == [(Mode.UNKNOWN, 11), (Mode.FAULT, 12)]
    assert {moment.title: moment.of for moment in day.moments}["Cell phone seen"] == "log.damaged-1"
    (day,) = days_of(told[:1], dt.UTC, at(12), anew=True)
    assert [(span.mode, span.to_at.hour) for span in day.spans] == [(Mode.UNKNOWN, 12)]


def test_the_head_is_there_to_be_written_down():
    assert "ab" * 32 in head_line(Verified(3, 1, Head(3, "ab" * 32), 0, None))


def test_every_word_of_the_contract_has_one_of_ours():
    assert set(words.CAPTURES) == set(Capture)
    assert set(words.MODES) == set(Mode)
    assert set(news.ALARMS) == set(AlarmCode)
    assert set(refusals.COMMANDS) == set(CommandError)
    assert set(refusals.RULES) == set(RefusalCode)
    assert all(words.ended(each) for each in Ended)
    assert all(words.by_whom(each) for each in BreakBy)
    assert all(words.lost(each) for each in Lost)
    assert all("asked for “" not in words.asked(name) for name in COMMANDS)
    kinds = {str(kind.__struct_config__.tag): 2 for kind in typing.get_args(Note)}
    assert words.kinds(kinds).count("2 ") == len(kinds)
    assert all(tag not in words.kinds({tag: 2}) for tag in kinds if "-" in tag)


def test_rules_that_are_noted_again_are_no_news_and_other_ones_are():
    news = News()
    assert news.rules(5, "a" * 64) == "The rules in force: version 5"
    assert news.rules(5, "a" * 64) == ""
    assert news.rules(6, "b" * 64) == "New rules took force: version 6"
    assert news.rules(5, "a" * 64) == "New rules took force: version 5"


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"), (60_351_860_736, "60.4 GB")],
)
def test_a_size_is_said_in_the_unit_that_fits(count, text):
    assert figures.size(count) == text


def test_a_diagnosis_of_a_stopped_unit_that_looked_leaves_it_stopped_with_its_camera_closed():
    said = words.doing(Capture.STOPPED, "a diagnosis at the unit")
    assert said == "the unit was stopped, and its camera closed again"
    assert words.doing(Capture.STOPPED, "") == "the unit was stopped"
