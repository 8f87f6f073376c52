"""What stands in the worker's log is told in words, put together, and laid out on days."""

import datetime as dt
import itertools
import json
import typing
import zoneinfo
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.logbook import figures, rules, words
from edge.logbook.camera import Span, spans_of
from edge.logbook.days import days_of
from edge.logbook.moments import Kind, moments_of, policy_of
from edge.logbook.view import Survey, head_line, lines_of, survey, verdict
from edge.logbook.words import Mode
from edge.policy.breaks import BreakBy
from edge.policy.document import parse_policy
from edge.policy.judge import Ended
from edge.uplink.command_messages import COMMANDS, Reply, SpotCheckResult, encode_reply
from edge.uplink.messages import Capture, Lost
from edge.uplink.twin_messages import Document, Phase, Reported, encode_reported
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
from edge.worklog.reading import Verified
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
    assert refused.facts == ["It refused: a break is on (on-break)"]


def test_refused_rules_stand_out():
    document = Document(version=9, sha256="0" * 64)
    problem = Problem(code="below-floor", problem="wanted at most 20, got 90")
    said = Reported(
        phase=Phase.REFUSED, desired=document, running=document, error=problem, session=1, at=timestamp(at(9))
    )
    (moment,) = moments_of(entries((at(9), sent("config/reported", encode_reported(said)))), dt.UTC)
    assert moment.grave
    assert moment.kind is Kind.RULES
    assert "(version 9) were refused and changed nothing: wanted at most 20, got 90" in moment.title


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
        "  21:00:00      1  here   Notice accepted; “by button”",
        "",
        "Tuesday, 24 November 2026",
        "  09:00:00      2  rules  New rules took force: version 1",
    ]


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
    good = verdict(Verified(3, 1, Head(3, "ab" * 32), 0, None), Survey(first_at=at(9)))
    assert (good.good, good.title) == (True, "This log is complete and unchanged since 24 November 2026")
    assert "3 entries" in good.text
    pruned = verdict(Verified(3, 7, Head(9, "ab" * 32), 0, None), Survey())
    assert "Older ones, up to number 6, were deleted" in pruned.text
    bad = verdict(Verified(1, 1, Head(1, "ab" * 32), 0, "segment-1, entry 2: changed"), Survey())
    assert not bad.good
    assert "segment-1, entry 2: changed" in bad.text


def test_a_log_that_took_the_place_of_a_damaged_one_says_so():
    about = survey(entries((at(9), Began("the log was changed: entry 3", "ab" * 32))))
    said = verdict(Verified(1, 1, Head(1, "ab" * 32), 0, None), about)
    assert "the log before it was set aside: the log was changed: entry 3" in said.text
    assert "set aside" not in verdict(Verified(1, 1, Head(1, ""), 0, None), Survey()).text


def test_the_head_is_there_to_be_written_down():
    assert "ab" * 32 in head_line(Verified(3, 1, Head(3, "ab" * 32), 0, None))


def test_every_word_of_the_contract_has_one_of_ours():
    assert set(words.CAPTURES) == set(Capture)
    assert set(words.MODES) == set(Mode)
    assert all(words.ended(each) for each in Ended)
    assert all(words.by_whom(each) for each in BreakBy)
    assert all(words.lost(each) for each in Lost)
    assert all("asked for “" not in words.asked(name) for name in COMMANDS)
    kinds = {str(kind.__struct_config__.tag): 2 for kind in typing.get_args(Note)}
    assert words.kinds(kinds).count("2 ") == len(kinds)
    assert all(tag not in words.kinds({tag: 2}) for tag in kinds if "-" in tag)
