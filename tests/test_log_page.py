"""The page of the worker's log: whole, escaped, without a request to anywhere, and bounded in size."""

import base64
import datetime as dt
import html.parser
import re
from pathlib import Path

import pytest

from edge.logbook.cards import Log, Room
from edge.logbook.days import days_of
from edge.logbook.gathering import Part
from edge.logbook.page import render
from edge.logbook.survey import Survey, survey, verdict
from edge.uplink.messages import Capture
from edge.uplink.wire import timestamp
from edge.worklog.entries import Began, Command, Entry, Head, Here, Note, PictureRef, Pruned, Sent, at_text
from edge.worklog.reading import Unread, Verified
from tests.worklog_story import (
    at,
    break_ended,
    break_started,
    closed,
    opened,
    picture,
    policy_note,
    state,
    thumb,
)

NOW_AT = at(18)
LOG = Path("/var/lib/deskwatch/log")
VOID = {"meta", "img", "rect", "br"}


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser does: which elements, with which attributes, properly nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(
    *told: tuple[dt.datetime, Note], now_at: dt.datetime = NOW_AT, room: Room | None = None, **changes
) -> str:
    written = [Entry(seq, at_text(when), "", note) for seq, (when, note) in enumerate(told, 1)]
    about = survey(written)
    whole = Verified(len(written), 1, Head(len(written), "0123456789abcdef" * 4), 0, None)
    values = {
        "unit": "cam-1",
        "tenant": "acme",
        "server": "broker.example.com",
        "made_at": now_at,
        "zone": about.zone,
        "zone_name": about.zone_name,
        "verdict": verdict(whole, about, LOG),
        "head": whole.head,
        "survey": about,
        "days": days_of(written, about.zone, now_at),
        "not_read": 0,
        "show": lambda ref: None,
    }
    return render(Log(**{**values, **changes}), room)


def with_picture(event_id: str, when: dt.datetime, jpeg: bytes, sealed_to: str = "") -> list:
    ref = PictureRef(event_id, "0" * 64, len(jpeg), timestamp(when + dt.timedelta(days=6)), sealed_to)
    return [(when, opened(event_id, when, jpeg=jpeg)), (when, thumb(event_id, jpeg, ref))]


def test_a_day_is_told_with_its_pictures_breaks_and_rules():
    jpeg = picture()
    shown = page(
        (at(7), Began("first")),
        (at(7), policy_note()),
        (at(8), state(Capture.WATCHING, at(8))),
        *with_picture("one", at(9), jpeg, "kid-0123456789abcdef"),
        (at(9, 2), closed("one", at(9, 2))),
        (at(12), break_started("b", at(12), reason="lunch")),
        (at(12, 20), break_ended("b", at(12, 20), 1200.0, reason="lunch")),
        (at(17), state(Capture.OFF_SHIFT, at(17))),
        show=lambda ref: jpeg if ref.event_id == "one" else None,
    )
    read = Reader(shown)
    (image,) = read.of("img")
    assert image["src"] == "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    assert "Cell phone seen, 09:00:00" in (image["alt"] or "")
    assert (
        "The camera was open for 8 h 40 min, you took 1 break of 20 min, and 1 report and 1 picture left the"
        " unit." in read.text
    )
    assert "Break: lunch" in read.text
    assert "Monday to Friday, 08:00 to 17:00" in read.text
    assert "sealed: only who holds the key kid- 0123 4567 89ab … can open it" in read.text
    assert (
        "kept here until 30 November 2026, 09:00 at most; whoever received it has to delete it by then too"
        in read.text
    )
    assert "This log is complete and unchanged" in read.text
    (bar,) = [each for each in read.of("svg") if each.get("role") == "img"]
    assert bar["aria-label"] == (
        "Tuesday, 24 November 2026: watching 8 h 40 min, break, camera closed 20 min, camera closed 1 h"
    )


def test_the_newest_day_comes_first_and_the_morning_before_the_evening():
    shown = page(
        (at(9), Here("first thing")),
        (at(12), Here("second thing")),
        (at(9, days=1), Here("third thing")),
        now_at=at(10, days=1),
    )
    order = [shown.index(f"{word} thing") for word in ("Third", "First", "Second")]
    assert order == sorted(order)


def test_an_expired_picture_says_when_it_went_and_where_it_must_be_gone_too():
    shown = Reader(page(*with_picture("one", at(9), b"12345"), now_at=at(9, days=7), show=lambda ref: None))
    assert not shown.of("img")
    assert "The picture was deleted here; its time was over on 30 November 2026, 09:00." in shown.text
    assert (
        "Went to acme at 09:00; 5 bytes; had to be deleted there too by 30 November 2026, 09:00."
        in shown.text
    )


def test_a_picture_that_did_not_leave_says_so():
    shown = Reader(page((at(9), opened("one", at(9), jpeg=b"12345"))))
    assert "Has not left the unit (5 bytes)" in shown.text


def test_no_script_no_request_and_the_policy_that_forbids_them():
    jpeg = picture()
    shown = page((at(7), policy_note()), *with_picture("one", at(9), jpeg), show=lambda ref: jpeg)
    read = Reader(shown)
    policy = next(m["content"] for m in read.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not {"script", "link", "iframe", "object", "form", "base", "video", "audio"} & {
        t for t, _ in read.elements
    }
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", shown)
    assert all(not name.startswith("on") for _, attributes in read.elements for name in attributes)
    assert all((each["href"] or "").startswith("#") for each in read.of("a"))
    assert all((each["src"] or "").startswith("data:image/jpeg;base64,") for each in read.of("img"))
    assert Reader(shown).elements[0] == ("html", {"lang": "en"})


EVIL = '</p></style><script>alert(1)</script><img src=x onerror="x">\'"&<!--\u202e\x00'


def test_whatever_comes_from_outside_is_text():
    clean, dirty = (
        [
            (at(7), policy_note()),
            (at(9), break_started("b", at(9), reason=text)),
            (at(9), opened("one", at(9), label=text or "x")),
            (at(9), Here(text, text)),
            (at(9), Command(text, text)),
            (at(9), Began(text, text)),
            (at(9), Pruned(1, 2, text, {text: 3})),
            (at(9), Sent(f"thumb/{text}", text, 1, text, None, PictureRef(text, text, 1, text, text))),
            (at(9), Sent(text, text, 1, text, text)),
            (at(9), state(Capture.BLOCKED, at(9), reason=text)),
        ]
        for text in ("x", EVIL)
    )
    problem = verdict(Verified(1, 1, Head(1, ""), 0, EVIL), Survey(), LOG)
    named = {"unit": EVIL, "tenant": EVIL, "server": EVIL, "zone_name": EVIL, "verdict": problem}
    plain = Reader(page(*clean, unit="x", tenant="x", server="x", zone_name="x", verdict=problem))
    read = Reader(page(*dirty, **named))
    assert [tag for tag, _ in read.elements] == [tag for tag, _ in plain.elements]
    assert "\u202e" not in read.text
    assert "\x00" not in read.text


def test_a_damaged_log_says_so_first():
    found = verdict(
        Verified(
            1, 1, Head(1, "ab" * 32), 0, "segment-00000001.jsonl, entry 2: wanted the checksum 1, got 2"
        ),
        Survey(),
        LOG,
    )
    shown = page((at(9), Here("notice accepted")), verdict=found)
    assert shown.index("Entry 2 is not as it was written") < shown.index("Notice accepted")
    assert 'class="verdict bad" role="alert"' in shown
    assert "<code>deskwatch repair --done</code>" in shown
    assert "Write this down" not in shown


def test_a_log_begun_anew_is_amber_and_tells_what_is_left_of_the_one_before():
    old = LOG.with_name("log.damaged-1")
    before = [Entry(1, at_text(at(9)), "", opened("one", at(9))), Unread(2, 2, changed=True)]
    began = [
        Entry(1, at_text(at(10)), "", Began("the worker's log was changed: entry 2: wanted the checksum"))
    ]
    about = survey(began, [(old, before[:1])])
    shown = page(
        survey=about,
        verdict=verdict(Verified(1, 1, Head(1, "ab" * 32), 0, None), about, LOG),
        days=days_of(began, dt.UTC, NOW_AT, former=[Part(old.name, before)], anew=about.anew),
    )
    read = Reader(shown)
    assert 'class="verdict warn" role="alert"' in shown
    assert "✓" not in read.text
    assert f"lies in {old}" in read.text
    assert read.text.count("from log.damaged-1, which was changed") == 2
    assert "Word for word (entry 1 of log.damaged-1)" in read.text
    assert "Entry 2 was changed: it cannot be read" in read.text
    assert "What the camera did is not known, and 1 report and 0 pictures left the unit." in read.text
    assert "The camera was not open" not in read.text
    assert "camera open, as far as is known" in read.text


def test_what_the_camera_did_is_claimed_as_far_as_it_is_written():
    assert "What the camera did is not written, and" in Reader(page((at(9), opened("one", at(9))))).text
    closed_all_day = page((at(9), state(Capture.OFF_SHIFT, at(9))))
    assert "The camera was not open, and nothing was reported." in Reader(closed_all_day).text


def test_of_a_changed_log_nobody_claims_that_nothing_was_reported():
    found = verdict(Verified(1, 1, Head(1, ""), 0, "entry 2: wanted the checksum 1, got 2"), Survey(), LOG)
    told = ((at(9, days=-3), Here("notice accepted")), (at(9), Here("repair done")))
    read = Reader(page(*told, verdict=found))
    assert read.text.count("nothing that can be read was reported") == 2
    assert "From 22 November 2026 to 23 November 2026: nothing is written that can be read." in read.text
    assert "nothing is written, and nothing left the unit" in Reader(page(*told)).text


def test_who_received_it_is_named_with_the_server():
    assert "all of it goes to acme, through the server broker.example.com." in Reader(page()).text
    elsewhere = page((at(7), policy_note(broker={"host": "there.example.com"})))
    assert "through the server there.example.com (at other times it may have been broker.example.com)" in (
        Reader(elsewhere).text
    )
    assert "the server there.example.com" in elsewhere[elsewhere.index("Goes to") :]


def test_a_duration_breaks_between_its_parts_only():
    shown = page(
        (at(9), state(Capture.WATCHING, at(9))), (at(9, 1, 43), state(Capture.OFF_SHIFT, at(9, 1, 43)))
    )
    assert "<dd>1\N{NO-BREAK SPACE}min 43\N{NO-BREAK SPACE}s</dd>" in shown


def test_runs_of_the_same_thing_are_folded():
    runs = [(at(9, minute), opened(f"e{minute}", at(9, minute))) for minute in range(6)]
    shown = Reader(page(*runs))
    assert "6 × Cell phone seen, 09:00 to 09:05" in shown.text
    few = Reader(page(*runs[:3]))
    assert "×" not in few.text


def test_pictures_beyond_the_bound_are_left_out_and_counted():
    jpeg = picture()
    told = [one for n in range(5) for one in with_picture(f"e{n}", at(9 + n), jpeg)]
    shown = Reader(page(*told, show=lambda ref: jpeg, room=Room(pictures=2)))
    assert len(shown.of("img")) == 2
    assert "Not on this page, to keep it small: 3 pictures that are still kept." in shown.text


@pytest.mark.parametrize("one_day", [True, False])
def test_a_page_stays_small_whatever_the_log_holds(one_day):
    told = [
        (at(0, days=0 if one_day else -n // 40) + dt.timedelta(seconds=n), Here(f"thing {n}", "x" * 300))
        for n in range(4000)
    ]
    shown = page(*told, now_at=at(18, days=1), not_read=7, room=Room(text_chars=100_000))
    assert len(shown) < 400_000
    left_out = re.search(r"Not on this page, to keep it small: (.*)\. <code>", shown)
    assert left_out
    assert "7 older entries" in left_out[1]
    assert re.search(r"[0-9,]+ more did not fit on this page", shown) or " days, " in left_out[1]


def test_a_huge_payload_is_cut_and_says_so():
    shown = Reader(page((at(9), Sent("odd", "x", 10**6, "", "y" * 100_000))))
    assert "characters more" in shown.text
    assert len(shown.text) < 20_000


def test_what_has_no_end_of_entries_shows_a_few_and_counts_the_rest():
    ends = [(at(9, 1, n % 60), closed("one", at(9, 1, n % 60))) for n in range(500)]
    shown = Reader(page((at(9), opened("one", at(9))), *ends))
    assert "And 493 entries more." in shown.text
    assert len(shown.text) < 20_000


def test_an_empty_log_is_a_page_too():
    read = Reader(page(head=Head(0, "")))
    assert "Which rules are in force is not written in this log" in read.text
