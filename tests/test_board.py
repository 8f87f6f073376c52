"""The board at a broker that others may publish to: whatever comes, it holds, and writes in one folder."""

import json

import pytest

from edge.board import KEPT, Board
from edge.demo import Lines, json_line
from edge.evidence.sealing import new_private_key, seal
from edge.output import OutputUnwritable
from edge.policy.judge import Ended
from edge.uplink.messages import (
    Capture,
    ClosedData,
    ClosedEvent,
    Model,
    OpenedData,
    OpenedEvent,
    Rule,
    State,
    encode,
)
from edge.uplink.signals import Received
from edge.uplink.twin_messages import Document, Phase, Reported, encode_reported
from edge.uplink.wire import ClockQuality

ROOT = "deskwatch/v1/demo/desk-1"
AT = "2026-03-02T09:00:00.000Z"
JPEG = b"\xff\xd8\xff\xe0 a picture"
MODEL = Model(name="m", sha256="0" * 64)
COMMON = {
    "unit": "desk-1",
    "tenant": "demo",
    "epoch": "e" * 32,
    "seq": 1,
    "monotonic_s": 3.0,
    "boot_id": "b",
    "clock": ClockQuality.SYNCHRONISED,
    "policy_version": 1,
    "model": MODEL,
    "rule": Rule(id="phone", kind="object"),
}


def opened(event_id="e1", at=AT, **data):
    shown = OpenedData(**COMMON, since_at=AT, hold_s=2.0, **{"labels": ("cell phone",), "score": 0.5, **data})
    return OpenedEvent(id=event_id, source="/s", subject="phone", time=at, data=shown)


def closed(event_id="e2", opened_id="e1"):
    data = ClosedData(**COMMON, opened_id=opened_id, duration_s=4.0, reason=Ended.ENDED)
    return ClosedEvent(id=event_id, source="/s", subject="phone", time=AT, data=data)


def message(level, payload):
    return Received(f"{ROOT}/{level}" if level is not None else ROOT, 1, retain=False, payload=payload)


@pytest.fixture
def board(tmp_path):
    (tmp_path / "out").mkdir()
    return Board(ROOT, tmp_path / "out")


def files(board):
    return sorted(path.relative_to(board.out.parent).as_posix() for path in board.out.parent.rglob("*.*"))


def drawn(board):
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=120, record=True)
    with board.live() as view:
        console.print(view)
    return console.export_text()


def test_it_pairs_what_belongs_together_in_any_order(board):
    state = State(
        online=True, boot_id="b", firmware="1", model=MODEL, policy_version=1, capture=Capture.WATCHING, at=AT
    )
    for level, payload in [
        ("thumb/e1", JPEG),
        ("event", encode(closed())),
        ("event", encode(opened())),
        ("state", encode(state)),
    ]:
        board.take(message(level, payload))
    assert files(board) == ["out/e1.jpg"]
    assert (board.out / "e1.jpg").read_bytes() == JPEG
    assert board.summary() == "4 messages arrived: 1 opened, 1 closed, 1 pictures"
    assert board.garbage == 0
    page = board.write_page("foot").read_text()
    assert "4.0 s, closed: ended" in page
    assert "data:image/jpeg" in page
    assert "4.0 s (ended)" in drawn(board)


def test_a_sealed_picture_is_kept_as_it_came_and_said_to_be_one(board):
    key = new_private_key()
    sealed = seal(JPEG, key.recipient, "desk-1", "e1")
    board.take(message("event", encode(opened())))
    board.take(message("thumb/e1", sealed))
    assert files(board) == ["out/e1.sealed"]
    assert (board.out / "e1.sealed").read_bytes() == sealed
    assert board.summary() == "2 messages arrived: 1 opened, 0 closed, 0 pictures, 1 sealed"
    assert f"a picture sealed to key {key.kid}" in board.write_page("foot").read_text()
    assert "sealed" in drawn(board)
    board.take(message("thumb/e2", sealed[:50]))
    assert (board.garbage, len(board.sealed)) == (1, 1)


@pytest.mark.parametrize(
    "event_id",
    [
        *["../escaped", "..", "", ".", ".hidden", "a/b", "/etc/x", "a\\b", "a\n", "a\0", "ä", "x" * 65, "-x"],
        *["e1/../../escaped", "e1/", "a b", "%2e%2e"],
    ],
)
def test_a_picture_of_a_hostile_name_is_garbage(board, event_id):
    board.take(message(f"thumb/{event_id}", JPEG))
    assert files(board) == []
    assert (board.garbage, board.pictures) == (1, {})


def test_a_report_of_the_policy_is_understood(board):
    running = Document(version=1, sha256="ab" * 32)
    report = Reported(phase=Phase.NONE, running=running, session=1, at="2026-03-04T05:06:07.089Z")
    board.take(Received(f"{board.root}/config/reported", 1, retain=True, payload=encode_reported(report)))
    assert (board.messages, board.garbage) == (1, 0)


@pytest.mark.parametrize(
    ("level", "payload"),
    [
        (None, b""),
        ("", b""),
        ("stat", b"{}"),
        ("state/x", b"{}"),
        ("event", b""),
        ("event", b"\xff\xfe"),
        ("event", b"[" * 100_000),
        ("event", b"{" * 10),
        ("event", encode(opened()).replace(AT.encode(), b"2026-99-99T99:99:99.999Z")),
        ("event", encode(opened()).replace(b"cell phone", b"\\ud800")),
        ("state", b"null"),
        ("thumb/e1", b"<html>"),
        ("thumb/e1", b""),
    ],
)
def test_garbage_is_counted_and_never_raises(board, level, payload):
    received = message(level, payload)
    board.take(received)
    assert (board.messages, board.garbage) == (1, 1)
    assert "1 not understood" in board.summary()
    assert files(board) == []
    board.write_page("foot")
    assert json.loads(json_line(received))["topic"] == received.topic


@pytest.mark.parametrize("topic", ["", "/", "other", "deskwatch/v1/demo/desk-12/thumb/e1"])
def test_a_topic_of_another_unit_is_garbage(board, topic):
    board.take(Received(topic, 1, retain=False, payload=JPEG))
    assert board.garbage == 1
    assert files(board) == []


def test_words_of_the_wire_are_neither_markup_nor_terminal_commands(board, capsys):
    board.take(message("event", encode(opened(labels=("[/] [red]", "\x1b[2J\x9b<script>"), score=None))))
    text = drawn(board)
    assert "[/] [red]" in text
    assert not set("\x1b\x9b") & set(text)
    assert "<script" not in board.write_page("foot").read_text()
    capsys.readouterr()
    Lines(as_json=False).show(message("event", b'{"a": "\x1b[2J"}'))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("\n") == 1


def test_a_flood_is_bounded_to_the_newest(board):
    for number in range(KEPT + 5):
        board.take(message("event", encode(opened(f"e{number}"))))
    assert len(board.opened) == KEPT
    assert "e4" not in board.opened
    assert f"e{KEPT + 4}" in board.opened


def test_a_folder_that_is_gone_is_an_error(board):
    board.out.rmdir()
    with pytest.raises(OutputUnwritable, match=r"e1\.jpg"):
        board.take(message("thumb/e1", JPEG))
