"""A unit that was downgraded meets what a newer version kept: it reads it, or says so, and loses nothing."""

import contextlib
import hashlib
import json
import sqlite3

import msgspec
import pytest

from edge.config import ConfigError
from edge.diary import WorkersDiary
from edge.last_settings import KEPT, read_or_last
from edge.notebook import TwoPlaces
from edge.notice import NOTICE_FILE, Notice
from edge.policy.breaks import BreakBy
from edge.repair import UNREADABLE, Repair
from edge.uplink.diary import NotNoted
from edge.uplink.records import SpoolNewer
from edge.uplink.signals import Publication
from edge.uplink.spool import Spool
from edge.uplink.twin_state import Notes
from edge.uplink.twin_store import NOTES_FILE, TwinStore
from edge.worklog import entries as log_entries
from edge.worklog.entries import Head, Here
from edge.worklog.errors import LogDamaged
from edge.worklog.reading import read, read_whole, set_aside, verify
from tests.uplink.conftest import NOW, TOPICS, put_event
from tests.worklog.logs import opened, segments, texts

NEWER_NOTES = {
    "kind": {"kind": "gesture", "what": "waved"},
    "field": {"kind": "here", "what": "said", "mood": "weary"},
}


@pytest.fixture
def spool(tmp_path):
    with Spool.open(tmp_path / "spool.db") as spool:
        yield spool


def newer_line(note, head):
    """A line as a newer version writes it: sound, but for what it says."""
    whole, _ = log_entries.encode(
        log_entries.Entry(head.seq + 1, "2026-11-23T12:00:00.000Z", head.sha256, None)
    )
    body = whole[: -log_entries._SUFFIX_CHARS].replace(b'"note":null', b'"note":' + json.dumps(note).encode())
    sha = hashlib.sha256(body)
    line = body + log_entries._CHECK + sha.hexdigest()[: log_entries._CHECK_CHARS].encode() + log_entries._END
    return line, Head(head.seq + 1, hashlib.sha256(line).hexdigest())


@pytest.mark.parametrize("note", NEWER_NOTES.values(), ids=NEWER_NOTES)
def test_a_log_with_what_a_newer_version_notes_is_named_and_set_aside_whole(tmp_path, note):
    folder = tmp_path / "log"
    with opened(folder) as log:
        log.append([Here("said", "before")])
        head = log.head
    line, _ = newer_line(note, head)
    with segments(folder)[-1].open("ab") as file:
        file.write(line + b"\n")
    with opened(folder) as log:
        assert "wanted an entry of this log, got" in log.damage
        assert f"entry {head.seq + 1}" in log.damage
        with pytest.raises(LogDamaged):
            log.append([Here("said", "after")])
        diary = WorkersDiary(log, TOPICS, lambda: NOW)
        with pytest.raises(NotNoted):  # what cannot be noted does not leave
            diary.leaving([Publication(TOPICS.event, b"{}", "application/json")])
        assert verify(folder).problem is not None
        assert len(list(read_whole(folder))) == head.seq + 1
        log.start_anew("another version wrote it")
        log.append([Here("said", "after")])
    assert texts(folder) == ["after"]
    assert verify(folder).problem is None
    (kept,) = set_aside(folder)
    assert line in segments(kept)[-1].read_bytes().split(b"\n")
    assert [entry.note.text for entry in read(kept) if isinstance(entry.note, Here)] == ["before"]


@pytest.mark.parametrize("changes", [{"language": "nl"}, {"by": "gesture"}, {"accepted_at": 7}])
def test_a_notice_that_a_newer_version_had_accepted_is_asked_for_again(tmp_path, changes):
    notice = Notice(tmp_path)
    notice.accept(notice.version, BreakBy.BUTTON, NOW)
    path = tmp_path / NOTICE_FILE
    newer = json.dumps({**json.loads(path.read_bytes()), **changes})
    path.write_text(newer)
    notice = Notice(tmp_path)
    assert not notice.accepted
    assert path.read_text() == newer  # as it was, for the version that knows it
    notice.accept(notice.version, BreakBy.BUTTON, NOW)
    assert Notice(tmp_path).accepted


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ('3\n{"why": "opened", "by": "case-switch"}', '{"why": "opened", "by": "case-switch"}'),
        ('{"number": 3, "why": "opened"}', UNREADABLE),
        ("v2 3\nopened", UNREADABLE),
    ],
)
@pytest.mark.parametrize("place", ["file", "spool"])
def test_a_repair_that_a_newer_version_noted_blocks_however_it_wrote_it(tmp_path, spool, note, why, place):
    if place == "file":
        (tmp_path / "repair.json").write_text(note)
    else:
        spool.note("repair", note)
    assert Repair(TwoPlaces(tmp_path, spool, "repair")).why == why
    assert note in ((tmp_path / "repair.json").read_text() if place == "file" else spool.noted("repair"))


def test_twin_notes_with_more_in_them_are_kept_beside_and_said_to_be_lost(tmp_path):
    body = json.dumps({**msgspec.to_builtins(Notes()), "blocked": ["ab" * 32], "rollout": "canary"}).encode()
    data = body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n"
    (tmp_path / NOTES_FILE).write_bytes(data)
    loaded = TwinStore(tmp_path).load(lambda _data: pytest.fail("wanted no envelope opened: there is none"))
    assert (loaded.lost, loaded.notes, loaded.confirmed) == (True, Notes(), None)
    assert (tmp_path / f"{NOTES_FILE}.corrupt").read_bytes() == data


def test_settings_with_a_key_of_a_newer_version_are_refused_by_its_name(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    paths = f'[paths]\nstate = "{state}"\npolicy = "/etc/deskwatch/policy.json"'
    text = f'[unit]\ntenant = "acme"\nid = "cam-1"\n[broker]\nhost = "b.example"\n{paths}\n'
    newer = f"{text}[hologram]\nbright = 3\n"
    for path in (tmp_path / "unit.toml", state / KEPT):
        path.write_text(newer)
    with pytest.raises(ConfigError, match="hologram"):
        read_or_last(tmp_path / "unit.toml", {"STATE_DIRECTORY": str(state)})
    assert (state / KEPT).read_text() == newer


def test_a_newer_spool_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "spool.db"
    with Spool.open(path) as spool:
        put_event(spool)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(SpoolNewer, match="got 99"):
        Spool.open(path)
    assert path.read_bytes() == before
