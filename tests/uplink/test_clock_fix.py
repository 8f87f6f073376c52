"""Times that were taken before the clock was set come out right, and nothing else changes."""

import datetime as dt

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import SteppedClock
from edge.clock_keeper import ClockKeeper
from edge.uplink.clock_fix import corrected
from edge.uplink.event_records import Origin
from edge.uplink.messages import ClockSetEvent, ThumbnailRef, decode_event, encode
from edge.uplink.records import Kind, Outgoing, Record, SpoolFull
from edge.uplink.wire import ClockQuality, moment, timestamp
from tests.uplink.conftest import MODEL, NOW, TOPICS, event

SET_AT = dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)
PICTURE = ThumbnailRef(
    topic="t",
    media_type="image/jpeg",
    bytes=9,
    sha256="ab" * 32,
    expires_at=timestamp(NOW + dt.timedelta(20)),
)


def unsettled(**changes):
    return event(1, clock=ClockQuality.UNSYNCHRONISED, thumbnail=PICTURE, **changes)


@given(monotonic_s=st.floats(0, 1e6), later_s=st.floats(0, 1e6))
def test_the_event_is_as_long_ago_as_the_monotonic_clock_says(monotonic_s, later_s):
    was = unsettled(monotonic_s=round(monotonic_s, 3))
    found = corrected(encode(was), "boot-1", SET_AT, monotonic_s + later_s)
    assert found is not None
    fixed, by = found
    read = decode_event(fixed)
    assert abs(moment(was.time) + by - moment(read.time)) < dt.timedelta(milliseconds=2)
    assert abs((SET_AT - moment(read.time)).total_seconds() - later_s) < 0.01
    assert read.data.clock == "corrected"
    # What lies between the times of one event stays as it was.
    hold = moment(was.time) - moment(was.data.since_at)
    assert abs(moment(read.time) - moment(read.data.since_at) - hold) < dt.timedelta(milliseconds=3)
    kept = moment(PICTURE.expires_at) - moment(was.time)
    assert abs(moment(read.data.thumbnail.expires_at) - moment(read.time) - kept) < dt.timedelta(
        milliseconds=3
    )
    same = msgspec.structs.replace(
        read.data, clock=was.data.clock, since_at=was.data.since_at, thumbnail=was.data.thumbnail
    )
    assert same == was.data
    assert read.id == was.id


def test_what_cannot_be_put_right_is_left_alone():
    assert corrected(encode(unsettled()), "another-boot", SET_AT, 100.0) is None
    assert corrected(encode(event(1)), "boot-1", SET_AT, 100.0) is None
    assert corrected(b"garbage", "boot-1", SET_AT, 100.0) is None
    assert corrected(encode(unsettled()), "boot-1", dt.datetime.max.replace(tzinfo=dt.UTC), -1e9) is None


class WallClock(SteppedClock):
    """One whose wall time can be set."""

    def __init__(self):
        super().__init__(NOW, 100.0)
        self.ahead = dt.timedelta()

    def now_at(self):
        return super().now_at() + self.ahead


def put_unsettled(spool):
    def build(serial):
        made = encode(unsettled(epoch=serial.epoch, monotonic_s=90.0))
        return Record((Outgoing(Kind.EVENT, TOPICS.event, made, "j", "e1", unsettled=True),))

    spool.put(build)


def times(spool):
    return [decode_event(each.message.payload) for each in spool.pending(9, alive_at=NOW)]


def test_where_the_disk_is_full_when_the_clock_is_set_the_next_turn_puts_times_right(spool, monkeypatch):
    clock, synchronised = WallClock(), [False]
    keeper = ClockKeeper(clock, spool, Origin(TOPICS, "boot-1", MODEL), lambda: synchronised[0])
    put_unsettled(spool)
    keeper.turn()
    clock.ahead, synchronised[0] = SET_AT - NOW, True
    with monkeypatch.context() as patch:

        def full(*_):
            raise SpoolFull("the disk is full")

        patch.setattr(spool, "amend", full)
        keeper.turn()
        keeper.turn()
    assert [each.data.clock for each in times(spool)] == ["unsynchronised"]
    clock.sleep(7.0)
    keeper.turn()
    keeper.turn()
    opened, clock_set = times(spool)
    assert opened.data.clock == "corrected"
    assert moment(opened.time) == SET_AT.replace(microsecond=0) - dt.timedelta(seconds=10)
    assert isinstance(clock_set, ClockSetEvent)
    assert clock_set.data.stepped_s == round((SET_AT - NOW).total_seconds(), 3)


def test_what_a_run_before_timed_is_put_right_where_the_clock_was_set_while_there_was_none(spool):
    put_unsettled(spool)
    clock = WallClock()
    clock.ahead = SET_AT - NOW
    keeper = ClockKeeper(clock, spool, Origin(TOPICS, "boot-1", MODEL), lambda: True)
    keeper.turn()
    (opened,) = times(spool)
    assert opened.data.clock == "corrected"
    assert moment(opened.time) == SET_AT - dt.timedelta(seconds=10)
