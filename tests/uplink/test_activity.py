"""The workstation's beats: which of them count, and what of the time between counts as quiet."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import SteppedClock
from edge.uplink.activity import Beats
from edge.uplink.command_messages import Activity, encode_activity
from edge.uplink.inbox import Inbox, Refusal
from edge.uplink.signals import Received
from edge.uplink.topics import Topics
from edge.uplink.wire import timestamp

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
TOPIC = Topics("acme", "cam-1").activity


class Desk:
    """A unit's clock, and a workstation whose clock is `ahead_s` of it."""

    def __init__(self, *, synchronised=True):
        self.clock, self.synchronised = SteppedClock(NOON), synchronised
        self.beats = Beats(self.clock, lambda: self.synchronised)

    def beat(self, ahead_s=0.0, *, retain=False):
        at = timestamp(self.clock.now_at() + dt.timedelta(seconds=ahead_s))
        self.beats.take(Received(TOPIC, 1, retain, encode_activity(Activity(at=at))))

    def refused(self, ahead_s=0.0, *, retain=False):
        before = self.beats.last_beat_s
        with pytest.raises(Refusal) as refusal:
            self.beat(ahead_s, retain=retain)
        assert self.beats.last_beat_s == before
        return refusal.value.code


@pytest.fixture
def desk():
    return Desk()


def test_a_beat_counts_from_when_it_arrives(desk):
    assert desk.beats.last_beat_s is None
    desk.clock.sleep(10.0)
    desk.beat(ahead_s=-200.0)
    assert desk.beats.last_beat_s == 10.0


def test_a_beat_that_is_retained_stale_early_or_seen_before_is_refused(desk):
    desk.beat()
    desk.clock.sleep(400.0)
    assert desk.refused(retain=True) == "retained"
    assert desk.refused(ahead_s=-301.0) == "expired"
    assert desk.refused(ahead_s=301.0) == "expired"
    desk.beat(ahead_s=-10.0)
    assert desk.refused(ahead_s=-10.0) == "replayed"
    assert desk.refused(ahead_s=-20.0) == "replayed"
    desk.beat(ahead_s=-9.0)


def test_a_unit_that_does_not_know_the_time_takes_any_newer_beat():
    desk = Desk(synchronised=False)
    desk.beat(ahead_s=1e8)
    assert desk.refused(ahead_s=1e8) == "replayed"
    desk.clock.sleep(5.0)
    desk.beat(ahead_s=1e8)
    # What it took then keeps out nothing once it does know.
    desk.synchronised = True
    desk.clock.sleep(5.0)
    desk.beat()
    assert desk.beats.last_beat_s == 10.0


def test_while_the_broker_is_out_of_reach_nobody_tells_and_the_time_is_not_quiet(desk):
    desk.beat()
    desk.clock.sleep(100.0)
    desk.beats.link(connected=True)
    assert desk.beats.last_beat_s == 0.0
    desk.beats.link(connected=False)
    assert desk.beats.last_beat_s is None
    desk.clock.sleep(1000.0)
    desk.beats.link(connected=False)
    desk.beats.link(connected=True)
    # A hundred seconds were quiet before, and are so still.
    assert desk.beats.last_beat_s == 1000.0
    desk.beat()
    assert desk.beats.last_beat_s == 1100.0


@pytest.mark.parametrize(
    ("since_s", "until_s", "quiet_s"), [(30, 80, 40), (10, 100, 0), (0, 5, 90), (5, 100, 0), (0, 100, 0)]
)
def test_a_time_that_nobody_watched_is_taken_out_of_the_quiet(desk, since_s, until_s, quiet_s):
    """The beat is at 10 s, and it is 100 s now: 90 quiet seconds, less what is skipped."""
    desk.clock.sleep(10.0)
    desk.beat()
    desk.clock.sleep(90.0)
    desk.beats.skip(since_s, until_s)
    assert 100.0 - desk.beats.last_beat_s == quiet_s


def test_skipped_and_unlinked_time_that_overlap_never_put_the_beat_ahead(desk):
    desk.beat()
    desk.beats.link(connected=False)
    desk.clock.sleep(500.0)
    desk.beats.skip(0.0, 500.0)
    assert desk.beats.last_beat_s is None
    desk.beats.link(connected=True)
    assert desk.beats.last_beat_s == 500.0


@given(st.binary(max_size=2000), st.booleans())
def test_whatever_comes_is_refused_and_changes_nothing(payload, retain):
    desk = Desk()
    inbox = Inbox({TOPIC: desk.beats.take})
    inbox.take(Received(TOPIC, 1, retain, payload))
    assert desk.beats.last_beat_s is None
    assert sum(inbox.refusals.values()) == 1
    assert "fault" not in inbox.refusals


@pytest.mark.parametrize(
    "payload", [b'{"at":' * 500 + b"1", b"[" * 900, b'{"at":"2026-02-30T00:00:00.000Z"}', b""]
)
def test_nesting_and_days_that_do_not_exist_are_refused(payload):
    desk = Desk()
    with pytest.raises(Refusal):
        desk.beats.take(Received(TOPIC, 1, retain=False, payload=payload))
