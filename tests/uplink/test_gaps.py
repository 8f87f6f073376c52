"""What goes undelivered is accounted for; what waits too long, is refused, or was taken on a wrong clock."""

import datetime as dt
import sqlite3

import pytest

from edge.uplink import books, schema
from edge.uplink.messages import GapData, GapEvent, Lost, decode_event, encode
from edge.uplink.records import Kind, LostRange, Outgoing, Record, Serial
from edge.uplink.spool import MAX_GAP_MESSAGES, Spool
from edge.uplink.wire import ClockQuality, timestamp
from tests.uplink.conftest import NOW, TOPICS, event_message, put_event, thumb_message
from tests.uplink.test_spool import DAY, integrity, noted, sized, waiting, with_picture

HOUR = dt.timedelta(hours=1)
LOST = Lost.SPOOL_FULL


def gap_record(serial: Serial, lost: LostRange) -> Record:
    data = GapData(
        unit="unit-1",
        tenant="acme",
        epoch=serial.epoch,
        seq=serial.seq,
        boot_id="boot-1",
        clock=ClockQuality.SYNCHRONISED,
        monotonic_s=1.0,
        what=lost.what,
        lost_epoch=lost.epoch,
        from_seq=lost.from_seq,
        to_seq=lost.to_seq,
        count=lost.count,
        reason=lost.reason,
    )
    event = GapEvent(id=f"g{serial.seq}", source=TOPICS.source, subject="gap", time=timestamp(NOW), data=data)
    return Record(
        (Outgoing(Kind.GAP, TOPICS.event, encode(event), "application/cloudevents+json", event.id),)
    )


def told(spool: Spool) -> list[GapData]:
    events = [
        decode_event(s.message.payload)
        for s in spool.pending(1000, alive_at=NOW)
        if s.message.kind is Kind.GAP
    ]
    return [event.data for event in events]


def test_what_the_broker_has_already_an_ingester_need_not_wait_for(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        for _ in range(6):
            put_event(spool)
        first, second, _, fourth, *_ = spool.pending(9, alive_at=NOW)
        spool.release([first.position, second.position, fourth.position])
        spool.note_released()
        spool.write_gaps(gap_record)
        covered = [(gap.what, gap.from_seq, gap.to_seq, gap.count, gap.reason) for gap in told(spool)]
        assert covered == [
            ("event", 1, 2, None, "released"),
            ("event", 4, 4, None, "released"),
            ("thumbnail", 1, 2, None, "released"),
        ]
        assert [s.seq for s in spool.pending(9, alive_at=NOW)] == [3, 5, 6, 7, 8, 9]


def test_a_new_spool_has_released_nothing(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        spool.note_released()
        put_event(spool)
        spool.note_released()
        assert spool.write_gaps(gap_record) == 0


def full(tmp_path, events: int) -> Spool:
    """A spool that has room for so many events of 10,000 bytes."""
    return Spool.open(tmp_path / "spool.db", max_bytes=events * 10_000 + 2000)


def put_sized(spool: Spool) -> int:
    return spool.put(lambda serial: Record((sized(Kind.EVENT, 10_000),)))


def test_each_number_is_delivered_or_in_a_gap(tmp_path):
    with full(tmp_path, 3) as spool:
        for _ in range(10):
            put_sized(spool)
        assert noted(spool) == [LostRange("event", spool.epoch, 1, 7, 7, LOST)]
        assert spool.write_gaps(gap_record) == 1
        assert noted(spool) == []
        assert spool.write_gaps(gap_record) == 0
        (gap,) = told(spool)
        assert (gap.what, gap.lost_epoch, gap.from_seq, gap.to_seq, gap.count) == (
            "event",
            spool.epoch,
            1,
            7,
            7,
        )
        assert [seq for seq, _ in waiting(spool)] == [8, 9, 10, 11]  # the gap is numbered too
        for _ in range(20):
            put_sized(spool)
        assert (11, "gap") in waiting(spool)  # and never gives way
        assert spool.depth().events == len(waiting(spool))
    with full(tmp_path, 3) as spool:
        spool.write_gaps(gap_record)
        accounted = {seq for seq, _ in waiting(spool)}
        for gap in told(spool):
            accounted |= set(range(gap.from_seq, gap.to_seq + 1))
        assert accounted == set(range(1, 34))  # two gaps more: the first gap stands between them


def test_only_neighbours_of_one_reason_are_told_as_one(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        for _ in range(9):
            put_event(spool)
        at = {seq: seq for seq in range(1, 10)}  # none was given to anybody
        for positions, reason in (
            ([1], LOST), ([3], LOST), ([5], Lost.TOO_OLD), ([2], LOST), ([4], LOST), ([8, 7], LOST),
        ):  # fmt: skip
            spool._file.write(
                lambda db, some=positions, why=reason: spool._note_lost(
                    db, spool._remove(db, [at[seq] for seq in some]), why
                )
            )
        spool.skip(2)
        epoch = spool.epoch
        assert noted(spool) == [
            LostRange("event", epoch, 1, 4, 4, LOST),
            LostRange("event", epoch, 5, 5, 1, Lost.TOO_OLD),
            LostRange("event", epoch, 7, 8, 2, LOST),
            LostRange("event", epoch, 10, 11, 2, Lost.DISK_FULL),
        ]
        assert waiting(spool) == [(6, "event"), (9, "event")]


def test_pictures_are_told_as_one_range_with_their_count(spool):
    with_picture(spool, NOW + HOUR)
    put_event(spool)
    with_picture(spool, NOW + HOUR)
    spool.expire(NOW + HOUR)
    assert noted(spool) == [LostRange("thumbnail", spool.epoch, 1, 3, 2, Lost.EXPIRED)]
    assert spool.depth().gaps == 1


def test_no_range_of_pictures_covers_one_that_waits(spool):
    for expires_at in (NOW + HOUR, NOW + DAY, NOW + HOUR):
        with_picture(spool, expires_at)
    spool.expire(NOW + HOUR)
    assert [(lost.from_seq, lost.to_seq, lost.count) for lost in noted(spool)] == [(1, 1, 1), (3, 3, 1)]


def test_notes_take_room_and_do_not_pile_up(tmp_path):
    """A broker that refuses all, and a spool that is full: the worst there is for notes."""
    with full(tmp_path, 20) as spool:
        for turn in range(100):
            put_sized(spool)
            for each in spool.pending(100, alive_at=NOW)[:: 1 + turn % 2]:
                spool.set_aside(each.position, "0x87")
            spool.write_gaps(gap_record)
        spool._file.write(lambda db: None)
        depth = spool.depth()
        assert depth.used_bytes <= 20 * 10_000 + 2000 + MAX_GAP_MESSAGES * 2000
        with spool._file.reading() as db:
            (gaps_kept,) = db.execute("SELECT COUNT(*) FROM outbound WHERE kind = 'gap'").fetchone()
        assert gaps_kept <= MAX_GAP_MESSAGES


def test_gap_messages_wait_for_those_before_them(spool):
    for _ in range(MAX_GAP_MESSAGES + 9):
        put_event(spool)  # so that none is next to another
        spool.skip(1)
    assert spool.write_gaps(gap_record) == MAX_GAP_MESSAGES
    assert spool.write_gaps(gap_record) == 0
    gaps = [s.position for s in spool.pending(1000, alive_at=NOW) if s.message.kind is Kind.GAP]
    spool.release(gaps[:4])
    assert spool.write_gaps(gap_record) == 4
    spool.release(gaps[4:])
    assert spool.write_gaps(gap_record) == 5
    assert noted(spool) == []


def test_a_gap_that_cannot_be_built_stays_noted(spool):
    def build(serial: Serial, lost: LostRange) -> Record:
        raise RuntimeError

    spool.skip(1)
    with pytest.raises(RuntimeError):
        spool.write_gaps(build)
    assert len(noted(spool)) == 1
    assert put_event(spool) == 2


def test_an_ack_releases_all_of_its_epoch_up_to_its_seq(spool):
    for _ in range(3):
        with_picture(spool)
    put_event(spool)
    assert spool.acknowledge("0" * 32, 3) == 0
    assert spool.acknowledge(spool.epoch, 2) == 4
    assert waiting(spool) == [(3, "event"), (3, "thumbnail"), (4, "event")]
    assert spool.acknowledge(spool.epoch, 2) == 0
    with pytest.raises(ValueError, match="at most 4, got 5"):
        spool.acknowledge(spool.epoch, 5)
    assert len(waiting(spool)) == 3
    assert spool.acknowledge(spool.epoch, 4) == 3
    assert (noted(spool), spool.depth().used_bytes) == ([], 0)


def test_events_go_by_age_once_the_clock_is_known_to_be_right(tmp_path):
    with Spool.open(tmp_path / "spool.db", max_age_s=60 * 86_400.0) as spool:
        put_event(spool)
        assert spool.expire(NOW + 1000 * DAY) == 0  # a clock that is not synchronised says nothing
        assert spool.expire(NOW, synchronised=True) == 0
        with_picture(spool, NOW + 20 * DAY)
        assert spool.expire(NOW + 19 * DAY, synchronised=True) == 0
        assert spool.expire(NOW + 30 * DAY, synchronised=True) == 1  # the picture
        assert spool.expire(NOW + 60 * DAY, synchronised=True) == 1
        assert waiting(spool) == [(2, "event")]
        assert spool.expire(NOW + 78 * DAY, synchronised=True) == 0
        assert spool.expire(NOW + 92 * DAY, synchronised=True) == 1
        assert spool.lost().events == 2
        assert noted(spool) == [
            LostRange("thumbnail", spool.epoch, 2, 2, 1, Lost.EXPIRED),
            LostRange("event", spool.epoch, 1, 1, 1, Lost.TOO_OLD),
            LostRange("event", spool.epoch, 2, 2, None, Lost.TOO_OLD),  # it was given: it may have come
        ]


def test_a_clock_that_steps_to_and_fro_keeps_few_ages(tmp_path):
    with Spool.open(tmp_path / "spool.db", max_age_s=86_400.0) as spool:
        for turn in range(300):
            put_event(spool)
            assert spool.expire(NOW + (turn % 2) * HOUR, synchronised=True) == 0
        with spool._file.reading() as db:
            assert db.execute("SELECT COUNT(*) FROM aged").fetchone()[0] <= 128
        assert spool.expire(NOW + 2 * DAY, synchronised=True) == 300


def test_dead_letters_are_tried_three_times_more(spool):
    for _ in range(3):
        put_event(spool)
    for turn in range(books.MAX_TRIES + 1):
        second = spool.pending(9, alive_at=NOW)[1]
        assert second.seq == 2
        spool.set_aside(second.position, f"refusal {turn}")
        assert [r.reason for r in spool.refused()] == [f"refusal {turn}"]
        assert spool.retry_dead_letters() == (turn < books.MAX_TRIES)
    assert spool.lost().refused == 1
    assert waiting(spool) == [(1, "event"), (3, "event")]
    # Nobody waits for it in vain: an ingester that has all up to 1 could never go on.
    assert spool.depth().refused == 0
    assert noted(spool) == [LostRange("event", spool.epoch, 2, 2, 1, Lost.REFUSED)]


def test_a_refused_gap_is_tried_for_ever(spool):
    spool.skip(1)
    spool.write_gaps(gap_record)
    for _ in range(2 * books.MAX_TRIES):
        spool.set_aside(spool.pending(1, alive_at=NOW)[0].position, "no")
        assert spool.retry_dead_letters() == 1


def test_a_dead_letter_that_goes_was_refused(tmp_path):
    with full(tmp_path, 3) as spool:
        for _ in range(3):
            put_sized(spool)
        spool.set_aside(spool.pending(9, alive_at=NOW)[1].position, "0x87")
        put_sized(spool)
        assert noted(spool) == [LostRange("event", spool.epoch, 2, 2, 1, Lost.REFUSED)]
    with Spool.open(tmp_path / "spool.db", max_age_s=86_400.0) as spool:
        spool.set_aside(spool.pending(9, alive_at=NOW)[0].position, "0x87")
        spool.expire(NOW, synchronised=True)
        assert spool.expire(NOW + DAY, synchronised=True) == 3
        assert noted(spool) == [
            LostRange("event", spool.epoch, 1, 2, 2, Lost.REFUSED),
            LostRange("event", spool.epoch, 3, 4, None, Lost.TOO_OLD),  # a run before may have sent them
        ]


def unsettled_record(serial: Serial, payload: bytes) -> Record:
    event = Outgoing(Kind.EVENT, TOPICS.event, payload, "x", f"e{serial.seq}", unsettled=True)
    return Record((event, thumb_message(serial, NOW)))


def test_a_clock_that_is_set_puts_right_what_waits(tmp_path):
    def fix(payload: bytes) -> tuple[bytes, dt.timedelta] | None:
        return (payload + b" put right", 10 * DAY) if payload == b"this boot" else None

    with Spool.open(tmp_path / "spool.db") as spool:
        spool.put(lambda serial: unsettled_record(serial, b"this boot"))
        spool.put(lambda serial: unsettled_record(serial, b"another boot"))
        with_picture(spool)
    with Spool.open(tmp_path / "spool.db") as spool:
        used_bytes = spool.depth().used_bytes
        assert spool.amend(fix) == 1
        got = spool.pending(9, alive_at=NOW - DAY)
        assert [s.message.payload for s in got if s.message.kind is Kind.EVENT][:2] == [
            b"this boot put right",
            b"another boot",
        ]
        assert not any(s.message.unsettled for s in got)
        expiries = [s.message.expires_at for s in got if s.message.kind is Kind.THUMBNAIL]
        assert expiries == [NOW + 10 * DAY, NOW + DAY]  # nobody can tell how old the other is
        assert noted(spool) == [LostRange("thumbnail", spool.epoch, 2, 2, None, Lost.EXPIRED)]
        gone_bytes = schema.size_bytes(thumb_message(Serial(spool.epoch, 2)))
        noted_bytes = schema.ROW_BYTES
        assert spool.depth().used_bytes == used_bytes + len(" put right") - gone_bytes + noted_bytes
        assert spool.amend(fix) == 0
        spool.release([s.position for s in got])
        assert spool.depth().used_bytes == noted_bytes


def test_a_command_is_known_until_it_expires(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        assert spool.remember("a", NOW + HOUR, NOW)
        assert not spool.remember("a", NOW + HOUR, NOW)
    with Spool.open(path) as spool:
        assert not spool.remember("a", NOW + DAY, NOW)
        assert spool.remember("a", NOW + DAY, NOW + HOUR)


def test_of_commands_those_that_expire_first_leave_first(spool):
    for number in range(books.MAX_COMMANDS + 1):
        assert spool.remember(f"c{number}", NOW + HOUR + dt.timedelta(seconds=number), NOW)
    assert spool.remember("c0", NOW + dt.timedelta(seconds=1), NOW)  # a new one stays, whenever it expires
    assert not spool.remember("c0", NOW + dt.timedelta(seconds=1), NOW)
    assert not spool.remember(f"c{books.MAX_COMMANDS}", NOW + HOUR, NOW)


def test_notes_outlive_the_process(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        assert spool.noted("break") is None
        spool.note("break", "until noon")
        spool.note("break", "until one")
    with Spool.open(tmp_path / "spool.db") as spool:
        assert spool.noted("break") == "until one"
        spool.note("break", None)
        assert spool.noted("break") is None


# What a unit of version 1 made, by that version's own SQL.
VERSION_1 = """
PRAGMA journal_mode = WAL;
BEGIN;
PRAGMA application_id = 1684370283;
PRAGMA user_version = 1;
CREATE TABLE outbound (
    position INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, expires_at REAL, refused TEXT, topic TEXT NOT NULL,
    content_type TEXT NOT NULL, event_id TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX expiring ON outbound (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX giving_way ON outbound (kind = 'event', refused IS NULL, position);
CREATE TRIGGER gained AFTER INSERT ON outbound BEGIN
    UPDATE counter SET value = value + NEW.size_bytes WHERE name = 'used_bytes';
END;
CREATE TRIGGER freed AFTER DELETE ON outbound BEGIN
    UPDATE counter SET value = value - OLD.size_bytes WHERE name = 'used_bytes';
END;
CREATE TABLE open_infraction (
    event_id TEXT PRIMARY KEY, rule_id TEXT NOT NULL, rule_kind TEXT NOT NULL, since_at TEXT NOT NULL,
    opened_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES
    ('seq', 0), ('session', 0), ('used_bytes', 0),
    ('event', 0), ('thumbnail', 0), ('expired', 0), ('refused', 0);
UPDATE counter SET value = 41 WHERE name = 'session';
UPDATE counter SET value = 907 WHERE name = 'seq';
UPDATE counter SET value = 5 WHERE name = 'event';
INSERT INTO open_infraction VALUES
    ('e907', 'phone', 'object', '2026-03-04T05:00:00+00:00', '2026-03-04T05:00:02+00:00');
COMMIT;
"""


def old_payload(seq: int) -> bytes:
    """An event as version 1 wrote it: without epoch and monotonic time."""
    made = event_message(Serial("e" * 32, seq)).payload
    return made.replace(b'"epoch":"' + b"e" * 32 + b'",', b"").replace(b'"monotonic_s":12.5,', b"")


def old_spool(path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(VERSION_1)
    insert = (
        "INSERT INTO outbound"
        " (seq, kind, size_bytes, expires_at, refused, topic, content_type, event_id, payload)"
        " VALUES (?, ?, ?, ?, ?, ?, 'x', ?, ?)"
    )
    for seq, refused in ((900, None), (905, "0x87"), (907, None)):
        payload, picture = old_payload(seq), thumb_message(Serial("", seq)).payload
        event = (seq, "event", 256 + 5 + len(payload), None, refused, "topic", f"e{seq}", payload)
        thumb = (
            seq,
            "thumbnail",
            256 + 5 + len(picture),
            NOW.timestamp() + 99,
            None,
            "thumb",
            f"e{seq}",
            picture,
        )
        db.execute(insert, event)
        db.execute(insert, thumb)
    db.close()


def test_a_unit_that_is_updated_delivers_what_it_holds(tmp_path):
    path = tmp_path / "spool.db"
    old_spool(path)
    with Spool.open(path) as spool:
        assert spool.session == 42
        assert spool.lost().events == 5
        assert [o.event_id for o in spool.open_infractions()] == ["e907"]
        got = spool.pending(9, alive_at=NOW)
        assert [(s.seq, s.message.kind) for s in got] == [
            (1, "event"), (1, "thumbnail"), (2, "thumbnail"), (3, "event"), (3, "thumbnail"),
        ]  # fmt: skip
        read = [decode_event(s.message.payload) for s in got if s.message.kind is Kind.EVENT]
        assert [(e.id, e.data.epoch, e.data.seq) for e in read] == [
            ("e900", spool.epoch, 1),
            ("e907", spool.epoch, 3),
        ]
        assert got[1].message.payload == thumb_message(Serial("", 900)).payload
        assert [(r.seq, r.reason) for r in spool.refused()] == [(2, "0x87")]
        assert put_event(spool) == 4
        assert spool.retry_dead_letters() == 1
        assert spool.acknowledge(spool.epoch, 4) == 7
        assert spool.depth().used_bytes == 0
    assert integrity(path) == "ok"


def test_an_update_that_the_power_cut_is_done_again(tmp_path, monkeypatch):
    path = tmp_path / "spool.db"
    old_spool(path)
    with monkeypatch.context() as patch:
        patch.setattr("edge.uplink.migration._rewrite", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Spool.open(path)
    with Spool.open(path) as spool:
        assert [s.seq for s in spool.pending(9, alive_at=NOW)] == [1, 1, 2, 3, 3]
