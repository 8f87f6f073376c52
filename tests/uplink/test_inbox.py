"""Whatever comes down: it is handled, or counted, and nothing escapes."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.uplink.command_messages import decode_command
from edge.uplink.inbox import FAULT, INVALID, UNKNOWN_TOPIC, Inbox, Refusal
from edge.uplink.ingester import Ingester
from edge.uplink.patience import Patience
from edge.uplink.signals import Received
from tests.uplink.conftest import TOPICS


def message(topic: str, payload: bytes = b"", *, retain: bool = False) -> Received:
    return Received(topic, 1, retain, payload)


class Clerk:
    """Keeps what it is given, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.got: list[str] = []
        self.error = error

    def __call__(self, message: Received) -> None:
        self.got.append(message.topic)
        if self.error is not None:
            raise self.error


def test_a_message_goes_to_the_handler_of_its_topic_alone():
    desired, commands = Clerk(), Clerk()
    inbox = Inbox({"u/config/desired": desired, "u/cmd/+": commands})
    assert inbox.filters == ("u/config/desired", "u/cmd/+")
    topics = (
        "u/config/desired",
        "u/cmd/break",
        "u/cmd/",
        "u/cmd",
        "u/cmd/a/b",
        "u/config/desired/x",
        "",
        "/",
    )
    for topic in topics:
        inbox.take(message(topic))
    assert desired.got == ["u/config/desired"]
    assert commands.got == ["u/cmd/break", "u/cmd/"]
    assert inbox.refusals == {UNKNOWN_TOPIC: 5}


@pytest.mark.parametrize("wrong", ["a/#", "#", "a/+/b", "+", "+/a", "a+/+"])
def test_a_filter_that_is_no_such_thing_is_refused(wrong):
    with pytest.raises(ValueError, match="filter: wanted a topic"):
        Inbox({wrong: Clerk()})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal("expired", "$.expires_at", "wanted a later time"), "expired"),
        (RecursionError("too deep"), FAULT),
        (ValueError("no"), FAULT),
        (MemoryError(), FAULT),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), FAULT),
    ],
)
def test_what_a_handler_raises_is_counted_and_said_once_a_minute(error, code, caplog):
    now_s = [0.0]
    inbox = Inbox({"u/a": Clerk(error)}, lambda: now_s[0])
    for at_s in (0.0, 1.0, 59.0, 61.0):
        now_s[0] = at_s
        inbox.take(message("u/a"))
    assert inbox.refusals == {code: 4}
    said = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 2
    assert all(bool(r.exc_info) == (code == FAULT) for r in said)


def test_a_stranger_cannot_write_lines_into_the_log(caplog):
    inbox = Inbox({})
    inbox.take(message("u/\nroot: all is well" + "x" * 5000))
    (said,) = caplog.records
    assert "\n" not in said.getMessage()
    assert len(said.getMessage()) < 600


def test_what_is_not_the_contract_is_invalid():
    inbox = Inbox({"u/cmd/+": lambda message: print(decode_command("break", message.payload))})
    for payload in (b"", b"\xff", b"[" * 100_000, b'{"id":1}', b"null"):
        inbox.take(message("u/cmd/break", payload))
    assert inbox.refusals == {INVALID: 5}


class Books:
    """Stands where the spool does; fails the test if anything is released."""

    epoch = "e" * 32

    def acknowledge(self, epoch: str, seq: int) -> int:
        if seq > 7:
            raise ValueError(f"wanted at most 7, got {seq}")
        assert epoch == self.epoch
        return 0


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=2000),
        st.text(max_size=300).map(str.encode),
        st.integers(0, 5000).map(lambda depth: b"[" * depth + b"]" * depth),
        st.integers().map(lambda seq: f'{{"epoch":"{"e" * 32}","seq":{seq}}}'.encode()),
        st.floats().map(lambda seq: f'{{"epoch":"{"e" * 32}","seq":{seq}}}'.encode()),
    ),
    st.booleans(),
)
def test_no_acknowledgement_however_wrong_does_harm(payload, retain):
    """It is refused and counted, or it is one of numbers that were given out."""
    ingester = Ingester(TOPICS.ack, Patience())
    ingester.inbox.take(message(TOPICS.ack, payload, retain=retain))
    ingester.settle(Books(), 1.0)
    refused = sum(ingester.inbox.refusals.values())
    assert refused == (ingester.seq is None)
    assert "fault" not in ingester.inbox.refusals
    assert not ingester.resend_due(1e9)  # nothing waits


def acked(ingester: Ingester, seq: int, *, retain: bool = False, gone: int = 0, at_s: float = 0.0) -> None:
    class Spool(Books):
        def acknowledge(self, epoch, seq):
            return gone

    payload = f'{{"epoch":"{Books.epoch}","seq":{seq}}}'.encode()
    ingester.inbox.take(message(TOPICS.ack, payload, retain=retain))
    ingester.settle(Spool(), at_s)


def test_when_what_waits_is_sent_again():
    """After 60 s, then after twice as long each time; at once after progress; sooner where it asks."""
    ingester = Ingester(TOPICS.ack, Patience(resend_s=60.0, nudge_s=5.0))
    ingester.connected(0.0)
    assert not ingester.resend_due(1000.0)  # nothing waits
    ingester.waits(1000.0)
    assert not ingester.resend_due(1059.0)
    assert ingester.resend_due(1060.0)
    ingester.resent(1060.0)
    assert not ingester.resend_due(1179.0)
    assert ingester.resend_due(1180.0)
    acked(ingester, 3, gone=1, at_s=1100.0)  # it speaks
    assert not ingester.resend_due(1159.0)
    assert ingester.resend_due(1160.0)
    acked(ingester, 3, retain=True, at_s=1101.0)  # what the broker kept is no word of its own
    assert not ingester.resend_due(1159.0)
    acked(ingester, 3, at_s=1101.0)  # it says again what it said: it was away
    assert ingester.resend_due(1105.0)
    ingester.resent(1105.0)
    acked(ingester, 3, at_s=1106.0)
    assert not ingester.resend_due(1114.0)  # one that repeats itself is not answered each time
    assert ingester.resend_due(1115.0)
    ingester.idle()
    assert not ingester.resend_due(1e9)


def test_when_an_ingester_is_silent():
    ingester = Ingester(TOPICS.ack, Patience(resend_s=60.0, silent_s=600.0))
    ingester.connected(0.0)
    assert not ingester.silent(10_000.0)
    ingester.waits(1000.0)
    ingester.waits(1500.0)
    ingester.resent(1100.0)  # sending again is no word of its
    assert not ingester.silent(1599.0)
    assert ingester.silent(1600.0)
    ingester.connected(5000.0)  # the unit was away
    assert not ingester.silent(5059.0)
    assert ingester.silent(5060.0)
    acked(ingester, 3, gone=1, at_s=5060.0)
    assert not ingester.silent(5061.0)
