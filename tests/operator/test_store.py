"""The ingester's store: once each, complete up to where, and no picture beyond its retention."""

import contextlib
import datetime as dt
import shutil
import sqlite3
import stat

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.operator.incoming import Unreadable, read
from edge.operator.store import Store, StoreUnusable
from edge.operator.tables import Progress
from edge.uplink.signals import Received
from edge.uplink.wire import timestamp
from tests.operator.fleet import EPOCH, gap, opened, picture

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
OTHER_EPOCH = "f" * 32


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "events.db", "acme") as store:
        yield store


def take(store, *messages, now_at=NOW):
    return store.take([read("acme", message) for message in messages], now_at)


def far(seq, epoch=EPOCH, unit="unit-1"):
    return (Progress(unit, epoch, seq),)


def test_what_is_stored_is_complete_up_to_the_first_that_is_missing(store):
    assert take(store, opened(1), opened(2), opened(4)).advanced == far(2)
    assert take(store, opened(6)).advanced == ()
    assert take(store, opened(3)).advanced == far(4)
    assert take(store, opened(5)).advanced == far(6)


def test_the_same_event_is_stored_once_and_the_unit_hears_again_how_far_we_are(store):
    take(store, opened(1))
    taken = take(store, opened(1), opened(1))
    assert (taken.events, taken.twice, taken.advanced, taken.repeated) == (0, 2, (), far(1))


def test_an_epoch_whose_first_numbers_are_missing_is_known_from_zero(store):
    assert take(store, opened(7)).advanced == far(0)
    assert store.newest() == list(far(0))


def test_an_event_counts_when_its_picture_is_there_too(store):
    assert take(store, opened(1, with_picture=True), opened(2)).advanced == far(0)
    taken = take(store, picture(1))
    assert (taken.pictures, taken.advanced) == (1, far(2))
    assert take(store, picture(1)).pictures == 0


def test_a_picture_may_come_before_its_event(store):
    assert take(store, picture(1)).advanced == ()
    assert take(store, opened(1, with_picture=True)).advanced == far(1)


def test_a_picture_that_is_not_the_one_announced_counts_for_nothing(store):
    other = with_(picture(1), b"another picture")
    take(store, opened(1, with_picture=True))
    taken = take(store, other)
    assert (taken.pictures, taken.unreadable, taken.advanced) == (0, 1, ())
    assert take(store, picture(1)).advanced == far(1)
    assert take(store, with_(picture(2), b"another picture")).pictures == 1
    assert take(store, opened(2, with_picture=True)).advanced == ()
    assert take(store, picture(2)).advanced == far(2)


def test_a_gap_accounts_for_events_that_never_come(store):
    assert take(store, opened(1), opened(5)).advanced == far(1)
    assert take(store, gap(6, 2, 4)).advanced == far(6)


def test_a_gap_accounts_for_a_picture_that_never_comes_also_where_the_gap_comes_first(store):
    assert take(store, opened(1, with_picture=True)).advanced == far(0)
    assert take(store, gap(2, 1, 3, what="thumbnail")).advanced == far(2)
    assert take(store, opened(3, with_picture=True)).advanced == far(3)
    assert take(store, opened(4, with_picture=True)).advanced == ()


def test_a_gap_in_numbers_of_an_older_life_does_not_make_that_one_the_newest(store):
    taken = take(store, gap(1, 1, 9, lost_epoch=OTHER_EPOCH))
    assert set(taken.advanced) == {*far(9, OTHER_EPOCH), *far(1)}
    assert store.newest() == list(far(1))
    take(store, gap(2, 10, 12, lost_epoch=OTHER_EPOCH))
    assert store.newest() == list(far(2))


def test_the_newest_epoch_is_the_one_heard_of_last(store):
    take(store, opened(1), opened(2))
    take(store, opened(1, epoch=OTHER_EPOCH))
    assert store.newest() == list(far(1, OTHER_EPOCH))


def test_a_picture_goes_when_its_retention_ends_and_its_event_stays_complete(store, tmp_path):
    expires_at = NOW + 3 * DAY
    take(store, opened(1, with_picture=True, expires_at=expires_at), picture(1))
    assert store.purge(NOW + 2 * DAY) == 0
    assert readable(tmp_path, picture(1).payload)
    assert store.purge(expires_at) == 1
    assert take(store, opened(2), now_at=expires_at).advanced == far(2)
    taken = take(store, picture(1), now_at=expires_at)  # a redelivery brings it back for nobody
    assert (taken.pictures, store.purge(expires_at + 30 * DAY)) == (0, 0)
    assert not readable(tmp_path, picture(1).payload)


@pytest.mark.parametrize(
    ("expiry_s", "days"), [(None, 20), (86_400, 1), (10**9, 20)], ids=["none", "a day", "too long"]
)
def test_a_picture_without_its_event_stays_as_long_as_the_broker_says_and_never_beyond_retention(
    store, expiry_s, days
):
    take(store, picture(1, expiry_s=expiry_s))
    assert store.purge(NOW + days * DAY - dt.timedelta(seconds=1)) == 0
    assert store.purge(NOW + days * DAY) == 1


def readable(folder, payload):
    """Whether a part of it is in any file: SQLite cuts what is larger than a page."""
    needles = [payload[at : at + 23] for at in range(0, len(payload) - 22, 100)]
    content = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
    return any(needle in each for each in content for needle in needles)


def test_a_picture_that_came_before_its_event_goes_when_the_event_says(store, tmp_path):
    """Over MQTT 3.1.1 nothing but the event tells how old it is."""
    take(store, picture(1))
    take(store, opened(1, with_picture=True, expires_at=NOW + 2 * DAY))
    assert store.purge(NOW + 2 * DAY) == 1
    assert not readable(tmp_path, picture(1).payload)


def test_an_ingester_that_was_away_for_a_month_deletes_before_it_does_anything_else(tmp_path):
    with Store.open(tmp_path / "events.db", "acme") as store:
        take(store, opened(1, with_picture=True), picture(1))
    assert readable(tmp_path, picture(1).payload)
    with Store.open(tmp_path / "events.db", "acme") as store:
        assert store.purge(NOW + 30 * DAY) == 1
        assert not readable(tmp_path, picture(1).payload)


def test_what_a_killed_ingester_left_in_the_log_goes_at_the_next_purge(tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    with Store.open(tmp_path / "events.db", "acme") as store:
        take(store, opened(1, with_picture=True), picture(1))
        with store._transaction():  # killed between the deletion and the emptying of the log
            store._db.execute("DELETE FROM pictures")
        for path in tmp_path.glob("events.db*"):
            shutil.copy(path, copy)
    assert readable(copy, picture(1).payload)
    with Store.open(copy / "events.db", "acme") as store:
        assert store.purge(NOW) == 0
        assert not readable(copy, picture(1).payload)


def test_a_reader_delays_the_wiping_of_the_log_and_does_not_prevent_it(store, tmp_path, monkeypatch):
    take(store, opened(1, with_picture=True), picture(1))
    store._db.execute("PRAGMA busy_timeout = 0")
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM pictures").fetchone()
        assert store.purge(NOW + 20 * DAY) == 1
        assert readable(tmp_path, picture(1).payload)
    assert store.purge(NOW + 20 * DAY) == 0
    assert not readable(tmp_path, picture(1).payload)


def test_a_clock_that_was_a_year_ahead_and_is_put_back_keeps_nothing_for_a_year(store, tmp_path):
    ahead = NOW + 365 * DAY
    garbage = with_(picture(2), b"somebody else's kitchen")
    take(store, picture(1), opened(2, with_picture=True), garbage, now_at=ahead)
    store.purge(NOW)
    assert readable(tmp_path, picture(1).payload)
    assert store.purge(NOW + 20 * DAY) == 1
    assert not readable(tmp_path, picture(1).payload)
    assert not readable(tmp_path, garbage.payload)


def test_a_picture_is_waited_for_no_longer_than_pictures_are_kept(store):
    take(store, opened(1, with_picture=True))
    assert take(store, opened(2), now_at=NOW + 19 * DAY).advanced == ()
    assert take(store, opened(3), now_at=NOW + 21 * DAY).advanced == far(3)


def test_an_event_whose_time_was_put_right_replaces_the_one_before(store, tmp_path):
    take(store, opened(1, clock="unsynchronised", time=NOW - 9000 * DAY))
    take(store, opened(1, clock="corrected", time=NOW))
    take(store, opened(1, clock="unsynchronised", time=NOW - 9000 * DAY))
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as db:
        assert db.execute("SELECT time FROM events").fetchall() == [(timestamp(NOW),)]


def test_an_event_type_of_a_newer_firmware_is_stored_as_it_is(store, tmp_path):
    message = opened(1)
    newer = msgspec.json.decode(message.payload) | {"type": "deskwatch.tea.v1", "cups": 2}
    newer["data"]["biscuits"] = True
    payload = msgspec.json.encode(newer)
    taken = take(store, with_(message, payload))
    assert (taken.events, taken.advanced) == (1, far(1))


def with_(message, payload):
    return Received(message.topic, 1, retain=False, payload=payload)


BAD = [
    b"",
    b"\xff",
    b"[" * 10_000,
    b"{}",
    opened(1, unit="unit-2").payload,
    opened(1, tenant="other").payload,
    opened(1).payload.replace(b'"seq":1', b'"seq":0'),
    opened(1).payload.replace(b'"seq":1', b'"seq":99999999999999999999'),
    gap(1, 1, 2).payload.replace(b"from_seq", b"form_seq"),
]


@pytest.mark.parametrize("payload", BAD)
def test_what_cannot_be_read_is_kept_apart_and_counts_for_nothing(store, payload):
    taken = take(store, with_(opened(1), payload), opened(1))
    assert (taken.unreadable, taken.events, taken.advanced) == (1, 1, far(1))


@given(topic=st.text(max_size=80), payload=st.binary(max_size=200))
def test_nothing_that_arrives_makes_reading_fail(topic, payload):
    assert isinstance(read("acme", with_(Received(topic, 1, retain=False, payload=b""), payload)), Unreadable)
    read("acme", with_(opened(1), payload))


def test_what_cannot_be_read_is_bounded(store, tmp_path):
    take(store, *[with_(opened(1), b"%d" % n) for n in range(1200)])
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as db:
        assert db.execute("SELECT count(*), max(position) FROM unreadable").fetchone() == (1000, 1200)


def test_what_cannot_be_read_may_be_a_picture_and_goes_with_the_pictures(store, tmp_path):
    path = tmp_path / "events.db"
    take(store, opened(1), with_(picture(1), b"somebody else's kitchen"))
    store.purge(NOW + 19 * DAY)
    assert b"kitchen" in path.read_bytes() + path.with_name("events.db-wal").read_bytes()
    store.purge(NOW + 20 * DAY)
    assert all(b"kitchen" not in each.read_bytes() for each in tmp_path.iterdir())


def test_a_store_is_one_tenants_and_for_its_owners_eyes(tmp_path):
    path = tmp_path / "events.db"
    with Store.open(path, "acme") as store:
        assert store.empty
        take(store, opened(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Store.open(path, "acme") as store:
        assert not store.empty
    with pytest.raises(StoreUnusable, match="wanted a store of tenant 'other', got one of 'acme'"):
        Store.open(path, "other")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnusable, match="not a database"):
        Store.open(path, "acme")


def test_a_floor_from_before_is_where_counting_begins(store):
    store.settle_below(far(40))
    assert take(store, opened(41)).advanced == far(41)


@settings(deadline=None)
@given(st.data())
def test_whatever_the_order_all_is_complete_in_the_end_and_never_before(tmp_path_factory, data):
    """Events, pictures and a gap in any order, some twice: complete means that nothing is missing."""
    with_pictures = data.draw(st.sets(st.integers(1, 8)))
    lost = data.draw(st.sampled_from([(), (3, 5), (7, 8)]))
    events = [n for n in range(1, 9) if not (lost and lost[0] <= n <= lost[1])]
    messages = {("event", n): opened(n, with_picture=n in with_pictures) for n in events}
    messages |= {("picture", n): picture(n) for n in events if n in with_pictures}
    if lost:
        messages["event", 9] = gap(9, *lost)
    keys = data.draw(st.permutations(list(messages)))
    keys += data.draw(st.lists(st.sampled_from(list(messages)), max_size=5))
    seen = set()
    with Store.open(tmp_path_factory.mktemp("store") / "events.db", "acme") as store:
        for key in keys:
            take(store, messages[key])
            seen.add(key)
            expected = complete(seen, set(messages), lost)
            assert [progress.seq for progress in store.newest()] in ([], [expected])
        assert [progress.seq for progress in store.newest()] == [9 if lost else 8]


def complete(seen, wanted, lost):
    seq = 0
    while True:
        number = seq + 1
        covered = bool(lost) and ("event", 9) in seen and lost[0] <= number <= lost[1]
        needed = {key for key in wanted if key[1] == number}
        if not (covered or (("event", number) in seen and needed <= seen)):
            return seq
        seq = number
