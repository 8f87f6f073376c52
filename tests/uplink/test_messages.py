"""What goes over the wire is what the contract says, and nothing else is taken."""

import datetime as dt
import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.judge import Ended
from edge.uplink.messages import (
    ClosedData,
    ClosedEvent,
    Rule,
    ThumbnailRef,
    decode_event,
    decode_state,
    encode,
)
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, InvalidId, InvalidMessage, timestamp
from tests.uplink.conftest import MODEL, NOW, TOPICS, birth, event

# RFC 3986 URI reference without a scheme: an absolute path.
URI_PATH = re.compile(r"^(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+)+$")


EPOCH = dt.datetime.fromisoformat("1970-01-01")


def closed(**changes: object) -> ClosedEvent:
    data = {
        "unit": "unit-1",
        "tenant": "acme",
        "epoch": "e" * 32,
        "seq": 2,
        "monotonic_s": 1.0,
        "boot_id": "boot-1",
        "clock": ClockQuality.UNSYNCHRONISED,
        "policy_version": 7,
        "model": MODEL,
        "rule": Rule(id="phone", kind="object"),
        "opened_id": "e1",
        "duration_s": 12.5,
        "reason": Ended.RESTARTED,
    }
    return ClosedEvent(
        id="e2",
        source=TOPICS.source,
        subject="phone",
        time=timestamp(NOW),
        data=ClosedData(**{**data, **changes}),
    )


@pytest.mark.parametrize(
    ("made", "kind"),
    [(event(1), "deskwatch.infraction.opened.v1"), (closed(), "deskwatch.infraction.closed.v1")],
)
def test_an_event_is_a_cloudevent(made, kind):
    document = json.loads(encode(made))
    attributes = {name: value for name, value in document.items() if name != "data"}
    assert {"specversion", "id", "source", "type"} <= attributes.keys()  # the required ones
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in attributes)
    assert all(isinstance(value, str) and value for value in attributes.values())
    assert document["specversion"] == "1.0"
    assert document["type"] == kind
    assert URI_PATH.match(document["source"])
    assert document["datacontenttype"] == "application/json"
    assert isinstance(document["data"], dict)
    assert document["time"] == "2026-03-04T05:06:07.089Z"
    assert dt.datetime.fromisoformat(document["time"]).utcoffset() == dt.timedelta(0)


def test_an_event_reads_back_as_it_was_written():
    picture = ThumbnailRef(
        topic=TOPICS.thumb("e1"), media_type="image/jpeg", bytes=9, sha256="0" * 64, expires_at=timestamp(NOW)
    )
    for made in (event(1, thumbnail=picture, people=2), *(closed(reason=reason) for reason in Ended)):
        assert decode_event(encode(made)) == made
    assert decode_state(encode(birth())) == birth()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"boxes": ((0.1, 0.2, 0.3, 1.4),)}, "$.data.boxes"),
        ({"score": 1.5}, "$.data.score"),
        ({"score": float("nan")}, "nan"),
        ({"hold_s": -1.0}, "$.data.hold_s"),
        ({"seq": 0}, "$.data.seq"),
        ({"unit": ""}, "$.data.unit"),
        ({"since_at": "yesterday"}, "$.data.since_at"),
        ({"since_at": "2026-03-04T05:06:07Z"}, "$.data.since_at"),
        ({"labels": ("\ud800",)}, "surrogates not allowed"),
    ],
)
def test_an_invalid_event_is_not_encoded(changes, path):
    with pytest.raises(InvalidMessage, match=re.escape(path)):
        encode(event(**{"seq": 1, **changes}))


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda d: d.update(extra=1), "unknown field `extra`"),
        (lambda d: d["data"].update(extra=1), "unknown field `extra` - at `$.data`"),
        (lambda d: d["data"].pop("seq"), "missing required field `seq` - at `$.data`"),
        (lambda d: d["data"].update(seq="1"), "Expected `int`, got `str` - at `$.data.seq`"),
        (lambda d: d.update(type="deskwatch.infraction.opened.v2"), "$.type"),
        (lambda d: d.update(specversion="0.3"), "$.specversion"),
        (lambda d: d["data"]["model"].update(sha256="AB"), "$.data.model.sha256"),
    ],
)
def test_what_a_reader_refuses_is_named_by_its_path(edit, path):
    document = json.loads(encode(event(1)))
    edit(document)
    with pytest.raises(InvalidMessage, match=re.escape(path)):
        decode_event(msgspec.json.encode(document))


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"[" * 100_000, b'{"type":', b"null", b"[]"])
def test_hostile_bytes_are_refused(payload):
    with pytest.raises(InvalidMessage):
        decode_event(payload)
    with pytest.raises(InvalidMessage):
        decode_state(payload)


def test_topics():
    assert TOPICS.state == "deskwatch/v1/acme/unit-1/state"
    assert TOPICS.event == "deskwatch/v1/acme/unit-1/event"
    assert TOPICS.thumb("e1") == "deskwatch/v1/acme/unit-1/thumb/e1"


@pytest.mark.parametrize("wrong", ["", "a/b", "a+", "#", "a\0", "x" * 65, "a\nb", "\ud800"])
def test_an_id_that_cannot_be_a_topic_level_is_refused(wrong):
    for make in (lambda: Topics(wrong, "u"), lambda: Topics("t", wrong), lambda: TOPICS.thumb(wrong)):
        with pytest.raises(InvalidId):
            make()


@given(st.text(min_size=1, max_size=64))
def test_any_id_that_is_taken_makes_a_valid_topic_and_source(text):
    try:
        topics = Topics(text, text)
    except InvalidId:
        return
    assert topics.state.count("/") == 4
    assert not set("+#\0") & set(topics.state)
    assert len(topics.thumb("e" * 64).encode()) <= 65_535
    assert URI_PATH.match(topics.source)


@given(st.datetimes(min_value=EPOCH, timezones=st.timezones()))
def test_a_timestamp_is_the_same_moment_to_the_millisecond(at):
    try:
        utc = at.astimezone(dt.UTC)
    except OverflowError:
        return
    assert dt.datetime.fromisoformat(timestamp(at)) == utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(InvalidMessage, match="timezone-aware"):
        timestamp(NOW.replace(tzinfo=None))
