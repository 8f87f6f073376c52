"""When a message leaves the spool, and what becomes of it where it cannot, against a real broker."""

import itertools
import logging
import time
from collections.abc import Callable

import pytest

from edge.clock import SystemClock
from edge.uplink import draining, upkeep
from edge.uplink.command_messages import Ack, encode_ack
from edge.uplink.event_records import Origin, Stamp, gap_record
from edge.uplink.ledger import Ledger
from edge.uplink.link import BrokerConfig
from edge.uplink.listener import Listener
from edge.uplink.messages import Alarm, AlarmCode, GapData, GapEvent, decode_event, decode_state
from edge.uplink.patience import Patience
from edge.uplink.records import LostRange, Record, Serial, SpoolCorrupt, SpoolUnwritable
from edge.uplink.signals import Publication, Received
from edge.uplink.spool import MAX_GAP_MESSAGES, Spool
from edge.uplink.wire import ClockQuality
from tests.broker import collect, rest, subscribed, until
from tests.uplink.conftest import (
    MODEL,
    NOW,
    TOPICS,
    birth,
    empty,
    event_message,
    put_event,
    quick_uplink,
    thumb_message,
)

BOTH = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
ORIGIN = Origin(TOPICS, "boot-1", MODEL)
QUICK = Patience(resend_s=0.3, nudge_s=0.1, silent_s=0.6, retry_s=0.0, redial_s=0.0)


def gap(serial: Serial, lost: LostRange) -> Record:
    return gap_record(ORIGIN, Stamp(f"g{serial.seq}", NOW, 12.5, ClockQuality.SYNCHRONISED, 7), lost, serial)


def events(messages: list[Received]) -> list[int]:
    return [decode_event(m.payload).data.seq for m in messages if m.topic == TOPICS.event]


def gaps(messages: list[Received]) -> list[tuple[int, int, str]]:
    told = [decode_event(m.payload) for m in messages if m.topic == TOPICS.event]
    return [(e.data.from_seq, e.data.to_seq, e.data.reason.value) for e in told if isinstance(e, GapEvent)]


def alarms(messages: list[Received]) -> list[tuple[Alarm, ...]]:
    return [decode_state(m.payload).alarms for m in messages if m.topic == TOPICS.state]


def acknowledge(listener: Listener, spool: Spool, seq: int, epoch: str | None = None) -> None:
    payload = encode_ack(Ack(epoch=epoch or spool.epoch, seq=seq))
    listener.publish(Publication(TOPICS.ack, payload, "application/json", retain=True))


# On the ingester's word.


@BOTH
def test_with_an_ingester_a_message_stays_until_it_is_acknowledged(mosquitto, spool, protocol):
    mosquitto.start()
    for _ in range(4):
        spool.put(lambda serial: Record((event_message(serial), thumb_message(serial))))
    config = mosquitto.config(protocol=protocol)
    with subscribed(mosquitto) as listener, quick_uplink(spool, config, release="ack") as uplink:
        assert events(collect(listener, lambda got: len(events(got)) == 4)) == [1, 2, 3, 4]
        until(lambda: uplink.status().delivered == 8, "the broker to have all")
        assert spool.depth().events == spool.depth().thumbnails == 4
        acknowledge(listener, spool, 3)
        until(lambda: spool.depth().events == 1, "three to be released")
        assert spool.depth().thumbnails == 1
        acknowledge(listener, spool, 2)  # an older one takes nothing back
        acknowledge(listener, spool, 4, "f" * 32)  # of another life of the spool
        acknowledge(listener, spool, 5)  # of a number that was never given out
        until(lambda: uplink.status().refusals == {"ack-beyond": 1}, "the refusal to be counted")
        listener.publish(Publication(TOPICS.ack, b"{}", "application/json"))
        until(lambda: uplink.status().refusals == {"ack-beyond": 1, "invalid": 1}, "the other")
        assert (spool.depth().events, uplink.status().ingester_seq) == (1, 3)
        acknowledge(listener, spool, 4)
        until(lambda: empty(spool), "the rest to be released")


def test_what_the_ingester_had_before_is_not_sent_again(mosquitto, spool):
    """Its last word is retained, and comes before anything goes."""
    mosquitto.start()
    for _ in range(40):
        put_event(spool)
    with subscribed(mosquitto, TOPICS.event) as listener:
        acknowledge(listener, spool, 30)
        rest(listener)
        with quick_uplink(spool, mosquitto.config(), release="ack"):
            assert events(collect(listener, lambda got: len(got) == 10)) == list(range(31, 41))


def test_what_the_ingester_never_got_is_sent_again(mosquitto, spool):
    """On the next connection; on the same one when it says nothing; and sooner when it repeats itself."""
    mosquitto.start()
    patience = Patience(resend_s=0.5, nudge_s=0.2)
    for _ in range(20):
        put_event(spool)
    config = mosquitto.config()
    with quick_uplink(spool, config, release="ack") as uplink:  # the broker has them, and nobody else
        until(lambda: uplink.status().delivered == 20, "the broker to have all")
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, config, release="ack", patience=patience) as uplink,
    ):
        assert events(collect(listener, lambda got: len(got) >= 20))[:20] == list(range(1, 21))
        again = events(collect(listener, lambda got: len(got) >= 20))  # without a word of the ingester
        assert again[:20] == list(range(1, 21))
        acknowledge(listener, spool, 15)
        until(lambda: spool.depth().events == 5, "those to be released")
        rest(listener)
        assert set(events(collect(listener, lambda got: len(got) >= 5))) == set(range(16, 21))
    slow = Patience(resend_s=3600.0, nudge_s=0.2)
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, config, release="ack", patience=slow) as uplink,
    ):
        until(lambda: uplink.status().delivered == 5, "the broker to have them")
        rest(listener)
        acknowledge(listener, spool, 15)  # it came back, and lacks the rest
        assert events(collect(listener, lambda got: len(got) == 5)) == list(range(16, 21))
        acknowledge(listener, spool, 20)
        until(lambda: empty(spool), "the spool to empty")


def test_a_silent_ingester_is_an_alarm_until_it_speaks(mosquitto, spool):
    mosquitto.start()
    put_event(spool)
    with (
        subscribed(mosquitto) as listener,
        quick_uplink(spool, mosquitto.config(), release="ack", patience=QUICK),
    ):
        got = collect(listener, lambda got: any(alarms(got)))
        (alarm,) = alarms(got)[-1]
        assert alarm.code is AlarmCode.INGESTER_SILENT
        acknowledge(listener, spool, 1)
        assert () in alarms(collect(listener, lambda got: () in alarms(got)))


def test_a_denial_that_an_older_mqtt_cannot_tell_costs_nothing_with_an_ingester(mosquitto, spool):
    """mosquitto acknowledges over 3.1.1 what its access list forbids: its word is worth nothing there."""
    acl = mosquitto.folder / "acl"
    allowed = "".join(f"topic readwrite {t}\n" for t in (TOPICS.state, TOPICS.ack, "last/#"))
    acl.write_text(allowed)
    lines = f"acl_file {acl}"
    mosquitto.start(lines)
    config = mosquitto.config(protocol="3.1.1")
    put_event(spool)
    with quick_uplink(spool, config) as uplink:
        until(lambda: empty(spool), "the event to be lost")
        assert (uplink.status().delivered, uplink.status().refused) == (1, 0)
    put_event(spool)
    with quick_uplink(spool, config, release="ack") as uplink:
        until(lambda: uplink.status().delivered >= 1, "the same")
    assert spool.depth().events == 1
    mosquitto.stop()
    mosquitto.start()
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, config, release="ack"),
    ):
        assert events(collect(listener, events)) == [2]


def test_what_a_broker_on_trial_takes_is_kept_and_sent_again_after_that(mosquitto, spool):
    mosquitto.start()
    held = [True]
    uplink = quick_uplink(spool, mosquitto.config(), on_turn=lambda: uplink.hold(held=held[0]))
    with subscribed(mosquitto, TOPICS.event) as listener, uplink:
        for _ in range(20):
            put_event(spool)
        got = collect(listener, lambda got: len(got) == 20)
        until(lambda: uplink.status().delivered == 20, "the broker to take all")
        assert spool.depth().events == 20
        held[0] = False
        got = collect(listener, lambda got: len(got) == 20)
        assert events(got) == list(range(1, 21))
        until(lambda: empty(spool), "the spool to empty")
        assert uplink.status().connections == 1


# Dead letters.


def test_dead_letters_are_an_alarm_and_are_tried_again_on_the_next_connection(mosquitto, relay, spool):
    acl = mosquitto.folder / "acl"
    acl.write_text(
        f"topic readwrite {TOPICS.state}\ntopic readwrite {TOPICS.event}\ntopic readwrite last/#\n"
    )
    mosquitto.start(f"acl_file {acl}")
    for _ in range(3):
        spool.put(lambda serial: Record((thumb_message(serial, size_bytes=100), event_message(serial))))
    config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
    with quick_uplink(spool, config, patience=QUICK) as uplink:
        with subscribed(mosquitto) as listener:
            got = collect(listener, lambda got: any(alarms(got)))
            assert events(got) == [1, 2, 3]
            (alarm,) = alarms(got)[-1]
            assert alarm.code is AlarmCode.DEAD_LETTERS
            assert alarm.detail == "3 wait on the unit; the last: 0x87 Not authorized"
            assert (uplink.status().dead_letters, uplink.status().refused) == (3, 3)
        relay.open = False
        mosquitto.stop()
        acl.write_text("topic readwrite #\n")
        mosquitto.start(f"acl_file {acl}")
        with subscribed(mosquitto) as listener:
            put_event(spool)
            relay.open = True
            got = collect(listener, lambda got: len([m for m in got if "/thumb/" in m.topic]) == 3)
            got += collect(listener, lambda got: () in alarms(got))
            order = [m.topic for m in got if m.topic != TOPICS.state]
            assert order == [TOPICS.event, *(TOPICS.thumb(f"e{seq}") for seq in (1, 2, 3))]
    assert empty(spool)
    assert spool.refused() == []


def test_a_dead_letter_that_an_ingester_waits_for_is_tried_on_the_same_connection_and_then_told(
    mosquitto, spool, monkeypatch
):
    """Else its number is a hole, and all behind it stays on the unit as long as the connection lasts."""
    monkeypatch.setattr(upkeep, "COUNT_EVERY_S", 0.0)
    acl = mosquitto.folder / "acl"
    acl.write_text(
        f"topic readwrite {TOPICS.state}\ntopic readwrite {TOPICS.event}\ntopic readwrite last/#\n"
    )
    mosquitto.start(f"acl_file {acl}")
    config = mosquitto.config()
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, config, gap=gap, release="ack", patience=QUICK) as uplink,
    ):
        spool.put(lambda serial: Record((event_message(serial), thumb_message(serial, size_bytes=100))))
        got = collect(listener, gaps, 20)
        assert gaps(got) == [(1, 1, "refused")]
        assert (uplink.status().refused, uplink.status().connections) == (4, 1)


def test_dead_letters_are_not_tried_on_every_connection_of_a_bad_hour(mosquitto, relay, spool):
    acl = mosquitto.folder / "acl"
    acl.write_text(f"topic readwrite {TOPICS.state}\n")
    mosquitto.start(f"acl_file {acl}")
    put_event(spool)
    config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
    with quick_uplink(spool, config) as uplink:
        for connections in range(1, 6):
            until(lambda n=connections: uplink.status().connections == n, "a connection")
            until(lambda: relay.unacked == 0 and empty(spool), "quiet")
            relay.cut()
            relay.open = True
    assert uplink.status().refused == 2  # at once, and once again
    assert len(spool.refused()) == 1


# Losses.


def test_losses_are_told_once_there_is_somebody_to_tell(mosquitto, tmp_path):
    with Spool.open(tmp_path / "small" / "spool.db", max_bytes=60_000) as spool:
        for _ in range(200):
            put_event(spool)
        lost = spool.lost().events
        assert 0 < lost < 200
        mosquitto.start()
        with (
            subscribed(mosquitto, TOPICS.event) as listener,
            quick_uplink(spool, mosquitto.config(), gap=gap),
        ):
            got = collect(listener, gaps)
            assert gaps(got) == [(1, lost, "spool-full")]
            assert events(got) == list(range(lost + 1, 202))
            until(lambda: empty(spool), "the spool to empty")
        assert spool.depth().gaps == 0


def test_what_gives_way_in_flight_is_not_counted_as_lost(mosquitto, relay, tmp_path):
    """The broker has it, and only its acknowledgement is on the way."""
    mosquitto.start()
    config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
    with (
        Spool.open(tmp_path / "small" / "spool.db", max_bytes=60_000) as spool,
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, config, gap=gap),
    ):
        put_event(spool)
        until(lambda: empty(spool), "the first")
        relay.hold_acks.clear()
        for _ in range(20):
            put_event(spool)
        until(lambda: relay.unacked == 16, "a full window")
        for _ in range(70):
            put_event(spool)
        relay.hold_acks.set()
        got = collect(listener, lambda got: len(gaps(got)) == 2)
    told = [decode_event(m.payload).data for m in got]
    came = {data.seq for data in told if not isinstance(data, GapData)}
    for data in told:
        if isinstance(data, GapData):
            covered = set(range(data.from_seq, data.to_seq + 1))
            assert data.count is None if covered & came else data.count == len(covered)


def test_losses_for_which_no_gap_has_room_yet_are_told_later(spool):
    now = SystemClock()
    keeper = upkeep.Upkeep(spool, Ledger(spool, keeps=False), now, lambda: True, gap)
    for _ in range(MAX_GAP_MESSAGES + 6):
        spool.skip(1)
        put_event(spool)
    assert keeper.write_gaps() == MAX_GAP_MESSAGES
    keeper.note_put()
    assert keeper.write_gaps() == 0
    spool.acknowledge(spool.epoch, 2 * MAX_GAP_MESSAGES + 12 + MAX_GAP_MESSAGES)
    assert keeper.write_gaps() == 6  # nobody has put anything since
    assert spool.depth().gaps == 0


def test_damage_that_somebody_else_met_is_mended(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto, TOPICS.event) as listener, quick_uplink(spool, mosquitto.config()):
        put_event(spool)
        until(lambda: empty(spool), "the first")
        with spool._file.reading() as db:
            db.execute("INSERT INTO open_infraction VALUES ('x', 'phone', 'object', 'garbage', 'garbage')")
        with pytest.raises(SpoolCorrupt):
            spool.open_infractions()
        until(lambda: not spool.damaged, "the spool to be mended")
        assert spool.open_infractions() == []
        put_event(spool)
        until(lambda: empty(spool), "the rest")
        assert len(events(rest(listener))) == 2


def test_losses_that_cannot_be_told_hold_up_nothing(mosquitto, tmp_path, caplog):
    def faulty(serial: Serial, lost: LostRange) -> Record:
        raise TypeError("a fault of ours")

    with Spool.open(tmp_path / "small" / "spool.db", max_bytes=60_000) as spool:
        for _ in range(200):
            put_event(spool)
        mosquitto.start()
        with quick_uplink(spool, mosquitto.config(), gap=faulty) as uplink:
            until(lambda: empty(spool), "the spool to empty")
            assert uplink.status().connections == 1
        assert spool.depth().gaps == 1
    assert len([r for r in caplog.records if r.exc_info]) == 1


def test_a_spool_that_is_stuck_is_not_filled_with_gaps(mosquitto, relay, tmp_path, monkeypatch):
    """A gap takes the place of an event, which is a gap again: so none is told while nothing moves."""
    monkeypatch.setattr(draining, "GAPS_EVERY_S", 0.0)
    with Spool.open(tmp_path / "small" / "spool.db", max_bytes=60_000) as spool:
        mosquitto.start()
        config = BrokerConfig("127.0.0.1", relay.port, "unit-1")
        with quick_uplink(spool, config, gap=gap) as uplink:
            put_event(spool)
            until(lambda: empty(spool), "the first")
            relay.hold_acks.clear()
            for _ in range(200):
                put_event(spool)
                time.sleep(0.002)  # the uplink turns between them
            until(lambda: relay.unacked == 16, "a full window")
            made = [s.seq for s in spool.pending(1000, alive_at=NOW) if s.message.event_id.startswith("g")]
            assert len(made) <= 1
            relay.hold_acks.set()
            until(lambda: empty(spool) and not spool.depth().gaps, "the spool to empty")
            assert uplink.status().connections == 1


# A damaged file.


def wait_for(condition: Callable[[], object], what: str) -> None:
    until(condition, what, 20.0)


@pytest.mark.parametrize("call", ["pending", "release", "depth", "expire", "gone"])
def test_wherever_the_spool_is_found_damaged_it_is_mended_once_and_the_uplink_goes_on(
    mosquitto, spool, monkeypatch, call
):
    mosquitto.start()
    monkeypatch.setattr(upkeep, "COUNT_EVERY_S", 0.0)
    monkeypatch.setattr(upkeep, "EXPIRE_EVERY_S", 0.0)
    damaged, mended = [False], []
    real, recover = getattr(spool, call), spool.recover

    def failing(*args, **more):
        if damaged[0]:
            if call == "gone":
                return True
            raise SpoolCorrupt("page 7 is not a page")
        return real(*args, **more)

    def mending() -> None:
        damaged[0] = False
        mended.append(1)
        recover()

    monkeypatch.setattr(spool, call, failing)
    monkeypatch.setattr(spool, "recover", mending)
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, mosquitto.config()) as uplink,
    ):
        for _ in range(20):
            put_event(spool)
        until(lambda: empty(spool), "the first")
        damaged[0] = True
        for _ in range(20):
            put_event(spool)
        wait_for(lambda: mended, "the spool to be mended")
        wait_for(lambda: empty(spool), "the rest")
        assert list(dict.fromkeys(events(rest(listener)))) == list(range(1, 41))
        assert (len(mended), uplink.status().connections) == (1, 1)


def test_a_folder_that_was_deleted_is_noticed_and_made_again(mosquitto, spool, tmp_path):
    mosquitto.start()
    path = tmp_path / "state" / "spool.db"
    with (
        subscribed(mosquitto, TOPICS.event) as listener,
        quick_uplink(spool, mosquitto.config(), gap=gap) as uplink,
    ):
        put_event(spool)
        wait_for(lambda: empty(spool), "the first")
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        wait_for(path.exists, "the file to be made again")
        put_event(spool)
        wait_for(lambda: empty(spool), "the second")
        got = events(rest(listener))
        assert uplink.status().connections == 1
    assert got[0] == 1
    assert len(got) >= 2


def test_a_spool_that_cannot_be_mended_is_an_alarm_and_not_a_busy_loop(mosquitto, spool, monkeypatch, caplog):
    """Commands and states go on meanwhile; once it can be mended, so does the rest."""
    caplog.set_level(logging.DEBUG, "edge")
    mosquitto.start()
    monkeypatch.setattr(upkeep, "MEND_EVERY_S", 0.5)
    broken, asked, mended = [True], itertools.count(), []
    pending = spool.pending

    def failing(*args, **more):
        next(asked)
        if broken[0]:
            raise SpoolCorrupt("page 7 is not a page")
        return pending(*args, **more)

    def recover() -> None:
        mended.append(time.monotonic())
        if len(mended) < 3:
            raise SpoolUnwritable("the disk is gone")
        broken[0] = False

    monkeypatch.setattr(spool, "pending", failing)
    monkeypatch.setattr(spool, "recover", recover)
    put_event(spool)
    with subscribed(mosquitto) as listener, quick_uplink(spool, mosquitto.config()) as uplink:
        got = collect(listener, lambda got: any(alarms(got)))
        (alarm,) = alarms(got)[-1]
        assert alarm == Alarm(code=AlarmCode.SPOOL_UNWRITABLE, detail="the disk is gone")
        uplink.announce(birth(reason="still here"))
        wait_for(lambda: empty(spool), "the spool to be mended, and to empty")
        assert uplink.status().connections == 1
    assert len(mended) == 3
    assert all(b - a >= 0.45 for a, b in itertools.pairwise(mended))
    assert next(asked) < 10
