"""From verdicts to records: what an event says, and what happens when the spool cannot take it."""

import datetime as dt
import hashlib
import random

import msgspec
import pytest

from edge.clock import SteppedClock
from edge.evidence.sealing import SEALED_MEDIA_TYPE, new_private_key, open_sealed
from edge.evidence.thumbnail import Jpeg
from edge.policy.document import Continuous, ObjectRule, PeopleRule, Policy, Shift, TamperRule, Thumbnail
from edge.policy.judge import Answer, Closed, Ended, Finding, Opened
from edge.uplink.event_records import Origin
from edge.uplink.messages import Model, decode_event
from edge.uplink.records import Kind, MessageTooLarge, OpenInfraction, Serial, SpoolFull
from edge.uplink.report import Reporter
from edge.uplink.topics import Topics
from edge.vision.types import Blind, Box, Track

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
ORIGIN = Origin(Topics("acme", "cam-1"), "boot", Model(name="ssd", sha256="ab" * 32))
PHONE = ObjectRule(id="phone", labels=("cell phone",), hold_s=2)
EXTRA = PeopleRule(id="extra-person", max=1)
BLOCKED = TamperRule(id="blocked")
POLICY = Policy(
    schema="policy/1",
    version=9,
    issued_at=NOON,
    expires_at=NOON + dt.timedelta(days=1),
    timezone="UTC",
    shifts=(Shift(days=("mon",), start="00:00", end="24:00"),),
    watch=Continuous(),
    rules=(PHONE, EXTRA, BLOCKED),
)


def sealed_to(key):
    return msgspec.structs.replace(POLICY, thumbnail=Thumbnail(recipient=key.recipient.text))


JPEG = Jpeg(b"\xff\xd8picture", 4, 3)


class Shelf:
    """Numbers and keeps records; refuses while `full`, or when it has no room left."""

    def __init__(self):
        self.records, self.seq, self.full, self.room, self.refused = [], 0, False, 1000, 0

    def put(self, build):
        self.take(1)
        self.records.append(build(Serial("e" * 32, self.seq)))

    def take(self, count):
        if self.full or not self.room:
            self.refused += 1
            raise SpoolFull("the disk is full")
        self.room -= 1
        self.seq += count

    @property
    def events(self):
        return [decode_event(record.messages[0].payload) for record in self.records]


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def reporter(shelf):
    return Reporter(ORIGIN, shelf.put, random.Random(1), lambda: True, SteppedClock(NOON, 500.0), shelf.take)


def track(label="cell phone", score=0.8):
    return Track(1, label, score, Box(0.1, 0.2, 0.3, 0.4), 0.0, 0.0, seen=True)


def opened(rule=PHONE, *tracks, blind=frozenset()):
    return Opened(rule, 10.0, 12.5, Finding(Answer.YES, tracks, blind))


def test_an_opened_event_says_what_was_seen_since_when(reporter, shelf):
    reporter.opened(opened(PHONE, track(score=0.7), track(score=0.8)), JPEG, POLICY, NOON)
    (event,) = shelf.events
    assert event.time == "2026-11-24T12:00:00.000Z"
    assert event.data.since_at == "2026-11-24T11:59:57.500Z"
    assert (event.data.labels, event.data.score) == (("cell phone",), 0.8)
    assert event.data.boxes == ((0.1, 0.2, 0.3, 0.4),) * 2
    assert (event.data.policy_version, event.data.rule.kind) == (9, "object")
    message, picture = shelf.records[0].messages
    assert (message.kind, picture.kind) == (Kind.EVENT, Kind.THUMBNAIL)
    assert picture.event_id == event.id
    assert picture.topic.endswith(f"/thumb/{event.id}")
    assert picture.expires_at == NOON + dt.timedelta(days=20)
    assert event.data.thumbnail.sha256 == JPEG.sha256


def test_a_picture_is_sealed_before_it_reaches_the_spool(reporter, shelf):
    key = new_private_key()
    reporter.opened(opened(), JPEG, sealed_to(key), NOON)
    (event,) = shelf.events
    told, (_, sent) = event.data.thumbnail, shelf.records[0].messages
    assert (told.media_type, told.recipient) == (sent.content_type, key.kid) == (SEALED_MEDIA_TYPE, key.kid)
    assert told.sha256 == hashlib.sha256(sent.payload).hexdigest()
    assert told.bytes == len(sent.payload)
    assert JPEG.data not in sent.payload
    assert open_sealed(sent.payload, [key], "cam-1", event.id) == JPEG.data


def test_what_waits_for_a_full_spool_is_sealed_already(reporter, shelf, monkeypatch):
    key = new_private_key()
    shelf.full = True
    reporter.opened(opened(), JPEG, sealed_to(key), NOON)
    monkeypatch.setattr("edge.uplink.report.parcel", None)  # it would fail, were it called now
    shelf.full = False
    assert reporter.flush()
    (event,) = shelf.events
    assert open_sealed(shelf.records[0].messages[1].payload, [key], "cam-1", event.id) == JPEG.data


def test_a_picture_that_cannot_be_sealed_is_not_sent_at_all(reporter, shelf, monkeypatch, caplog):
    monkeypatch.setattr("edge.evidence.sealing._suite", lambda: 1 / 0)
    reporter.opened(opened(), JPEG, sealed_to(new_private_key()), NOON)
    (event,) = shelf.events
    assert (event.data.thumbnail, len(shelf.records[0].messages), reporter.unsealed_count) == (None, 1, 1)
    assert "an event goes without its picture" in caplog.text
    reporter.opened(opened(), JPEG, POLICY, NOON)  # one that need not be sealed is no matter
    assert shelf.records[1].messages[1].payload == JPEG.data


def test_a_people_event_says_how_many_and_not_where(reporter, shelf):
    reporter.opened(opened(EXTRA, track("person"), track("person")), None, POLICY, NOON)
    (event,) = shelf.events
    assert (event.data.people, event.data.boxes, event.data.thumbnail) == (2, (), None)


def test_a_tamper_event_names_the_cause(reporter, shelf):
    reporter.opened(opened(BLOCKED, blind=frozenset({Blind.COVERED})), None, POLICY, NOON)
    assert shelf.events[0].data.labels == ("covered",)
    assert shelf.events[0].data.score is None


def test_a_closed_event_points_at_the_opened_one(reporter, shelf):
    reporter.opened(opened(), None, POLICY, NOON)
    reporter.closed(Closed(PHONE, 7.25, Ended.LOST_SIGHT), POLICY, NOON)
    first, second = shelf.events
    assert second.data.opened_id == first.id != second.id
    assert (second.data.duration_s, second.data.reason) == (7.25, "lost-sight")
    assert shelf.records[0].opens.event_id == shelf.records[1].closes == first.id


def test_what_was_open_when_the_unit_died_is_closed_as_long_as_it_is_known_to_have_lasted(reporter, shelf):
    left = OpenInfraction("e1", "phone", "object", NOON - dt.timedelta(seconds=5), NOON)
    reporter.close_left_open([left], POLICY, NOON + dt.timedelta(hours=1))
    (event,) = shelf.events
    assert (event.data.opened_id, event.data.duration_s, event.data.reason) == ("e1", 5.0, "restarted")


def errors(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_full_spool_delays_events_in_order_and_loses_none(reporter, shelf):
    shelf.full = True
    reporter.opened(opened(), JPEG, POLICY, NOON)
    reporter.closed(Closed(PHONE, 1.0, Ended.ENDED), POLICY, NOON)
    assert shelf.records == []
    assert (reporter.waiting, reporter.untold) == (2, 2)
    assert reporter.flush() is False
    shelf.full = False
    assert reporter.flush() is True
    assert (reporter.waiting, reporter.untold) == (0, 0)
    assert [event.data.seq for event in shelf.events] == [1, 2]
    assert shelf.events[1].data.opened_id == shelf.events[0].id


def test_a_full_spool_is_asked_once_a_second_and_told_once_each_way(reporter, shelf, caplog):
    shelf.full = True
    reporter.opened(opened(), None, POLICY, NOON)
    for frame in range(601):  # a minute at ten frames a second
        reporter.turn(100.0 + frame / 10)
    reporter.closed(Closed(PHONE, 1.0, Ended.ENDED), POLICY, NOON)
    assert 60 <= shelf.refused <= 63
    assert errors(caplog) == ["the spool cannot take events, which wait in memory: the disk is full"]
    shelf.full = False
    reporter.turn(161.0)
    assert len(shelf.records) == 2
    assert errors(caplog)[1:] == [
        "the spool takes events again: 2 that waited are in it, 0 were lost since the start"
    ]
    reporter.opened(opened(), None, POLICY, NOON)
    assert (len(shelf.records), len(errors(caplog))) == (3, 2)


def test_what_waits_is_bounded_and_what_is_given_up_leaves_a_gap_in_its_place(reporter, shelf, caplog):
    shelf.full = True
    for _ in range(Reporter.MAX_WAITING + 3):
        reporter.opened(opened(), None, POLICY, NOON)
    assert (reporter.waiting, reporter.given_up, reporter.untold) == (64, 3, 67)
    assert [line for line in errors(caplog) if "lost" in line] == [
        "events are lost from now on: 64 already wait for the spool"
    ]
    shelf.full, shelf.room = False, 1  # the disk takes one, and is full again
    reporter.turn(1.0)
    reporter.opened(opened(), None, POLICY, NOON)
    assert (reporter.waiting, reporter.given_up) == (64, 3)
    shelf.room = 1000
    reporter.turn(2.0)
    assert [event.data.seq for event in shelf.events] == [*range(1, 65), 68]
    assert reporter.untold == 0
    assert errors(caplog)[-1].endswith("65 that waited are in it, 3 were lost since the start")


def test_a_record_that_can_never_be_kept_holds_up_none_behind_it(shelf, reporter):
    def too_large(_build):
        reporter._put = shelf.put
        raise MessageTooLarge("a picture")

    reporter._put = too_large
    reporter.opened(opened(), JPEG, POLICY, NOON)
    reporter.opened(opened(), JPEG, POLICY, NOON)
    assert [event.data.seq for event in shelf.events] == [2]
    assert (reporter.waiting, reporter.untold, reporter.given_up) == (0, 0, 1)


def test_ids_come_from_the_chance_that_is_handed_in(shelf):
    for seed in (1, 1, 2):
        reporter = Reporter(ORIGIN, shelf.put, random.Random(seed), lambda: False, SteppedClock(NOON))
        reporter.opened(opened(), None, POLICY, NOON)
    first, same, other = shelf.events
    assert first.id == same.id != other.id
    assert first.data.clock == "unsynchronised"
