"""What is not as it was written is found and named; what a power cut leaves is no damage."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.worklog.entries import Began, Entry, Head, Here, Pruned, encode, parse
from edge.worklog.errors import LogDamaged
from edge.worklog.reading import picture_bytes, read, verify
from edge.worklog.segments import note_head
from tests.worklog.logs import DAY, NOW, Clock, entries, jpeg, opened, segments, sent, texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of three segments, of 4, 3 and 3 entries, and a picture of entry 3."""
    folder, clock = tmp_path / "log", Clock()
    with opened(folder, clock) as log:
        for day in range(3):
            clock.at = NOW + day * DAY
            ref = log.keep_picture("ev-1", jpeg(1), NOW + 9 * DAY)
            log.append([Here("said", f"{day} a"), sent(f"{day}", ref if day == 0 else None)])
            log.append([Here("said", f"{day} c")])
    assert [path.name[12:16] for path in segments(folder)] == ["0001", "0005", "0008"]
    return folder


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def found(folder: Path) -> str:
    """The problem, which a reader and the unit see alike."""
    problem = verify(folder, now_at=NOW).problem
    copy = folder.with_name("cpy")
    shutil.copytree(folder, copy)
    with opened(copy) as log:
        assert (log.damage or "").replace("cpy", "log") == (problem or "").replace("other", "log")
        if problem is not None:
            head = log.head
            with pytest.raises(LogDamaged, match=re.escape(problem.split(": ")[0])):
                log.append([Here("said", "more")])
            assert log.head == head
    shutil.rmtree(copy)
    return problem or ""


def change(place: int, new: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = segments(folder)[place]
        path.write_bytes(b"".join(new(lines(path))))

    return changed


def rewritten(line: bytes) -> bytes:
    """The line with another text and a right checksum, as somebody who knows the format writes it."""
    entry, _ = parse(line[:-1])
    return encode(Entry(entry.seq, entry.at, entry.prev, Here("said", "nothing")))[0] + b"\n"


def rebuild(folder: Path, change: Callable[[Entry], Entry]) -> None:
    """Change one entry and write all after it anew, each hash right: only what was noted elsewhere tells."""
    head: Head | None = None
    for path in segments(folder):
        new = []
        for line in lines(path):
            entry, sha256 = parse(line[:-1])
            changed = change(entry)
            if head is not None and head.sha256 != "same":
                changed = Entry(changed.seq, changed.at, head.sha256, changed.note)
            data, got = encode(changed)
            head = Head(entry.seq, "same" if got == sha256 else got)
            new.append(data + b"\n")
        path.write_bytes(b"".join(new))


def rebuilt(folder: Path) -> None:
    rebuild(folder, lambda entry: replace(entry, note=Here("said", "no")) if entry.seq == 6 else entry)


def remove(place: int) -> Callable[[Path], None]:
    return lambda folder: segments(folder)[place].unlink()


def stray(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("x") and None


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (
            change(1, lambda ls: [ls[0].replace(b"1 a", b"1 b"), *ls[1:]]),
            "segment-00000005.jsonl, entry 5: want",
        ),
        (
            change(2, lambda ls: [*ls[:2], ls[2].replace(b"2 c", b"2 d")]),
            "segment-00000008.jsonl, entry 10: want",
        ),
        (
            change(1, lambda ls: [ls[1], ls[0], ls[2]]),
            "segment-00000005.jsonl, entry 5: wanted entry 5, got entry 6",
        ),
        (change(1, lambda ls: [ls[0], ls[0], *ls[1:]]), "00005.jsonl, entry 6: wanted entry 6, got entry 5"),
        (change(1, lambda ls: [ls[0], ls[2]]), "00005.jsonl, entry 6: wanted entry 6, got entry 7"),
        (
            change(1, lambda ls: ls[:2]),
            "segment-00000007.jsonl, entry 7: wanted this file, got segment-00000008",
        ),
        (change(1, lambda ls: [*ls[:2], ls[2][:-1]]), "00005.jsonl, entry 7: wanted whole lines"),
        (
            change(1, lambda ls: []),
            "00005.jsonl, entry 5: wanted whole lines up to the end of the file, got none",
        ),
        (
            change(1, lambda ls: [ls[0], rewritten(ls[1]), ls[2]]),
            "00005.jsonl, entry 7: wanted it to follow entry 6",
        ),
        (change(2, lambda ls: [*ls[:2], rewritten(ls[2])]), "entry 10: wanted the hash"),
        (change(0, lambda ls: [rewritten(ls[0]), *ls[1:]]), "00001.jsonl, entry 1: wanted the note of why"),
        (change(2, lambda ls: ls[:1]), "entries 9 to 10: wanted a log up to the noted head"),
        (
            change(2, lambda ls: [*ls[:2], ls[2][:-1] + b"}"]),
            "00008.jsonl, entry 10: wanted the end of the line",
        ),
        (change(2, lambda ls: [*ls[:2], ls[2][:40]]), "entries 10 to 10: wanted a log up to the noted head"),
        (
            change(2, lambda ls: [*ls[:2], bytes(900) + b"\n"]),
            "00008.jsonl, entry 10: wanted a line that ends in",
        ),
        (rebuilt, "entry 10: wanted the hash"),
        (
            remove(0),
            "segment-00000005.jsonl, entry 5: wanted a note that entries up to 4 were pruned, got none",
        ),
        (remove(1), "segment-00000005.jsonl, entry 5: wanted this file, got segment-00000008.jsonl"),
        (remove(2), "entries 8 to 10: wanted a log up to the noted head"),
        (lambda folder: (folder / "head").unlink(), "head: wanted the noted head, got none"),
        (lambda folder: (folder / "head").write_text("{"), "head: wanted the noted head, got none"),
        (stray("notes.txt"), "notes.txt: wanted only files of the log"),
        (stray("segment-000000005.jsonl"), "segment-000000005.jsonl: wanted only files of the log"),
        (stray("pictures/mine.jpg"), "pictures/mine.jpg: wanted only pictures of the log"),
        (
            lambda folder: next((folder / "pictures").iterdir()).write_bytes(jpeg(2)),
            "of entry 3: wanted the picture",
        ),
        (lambda folder: next((folder / "pictures").iterdir()).unlink(), "pictures/ev-1, of entry 3: wanted"),
        (lambda folder: shutil.rmtree(folder / "pictures"), "pictures/ev-1, of entry 3: wanted the picture"),
        (lambda folder: [path.unlink() for path in segments(folder)], "entries 1 to 10: wanted a log up to"),
    ],
)
def test_damage_is_named(folder, spoil, named):
    assert found(folder) == ""
    spoil(folder)
    assert named in found(folder)


def test_a_segment_that_cannot_be_read(folder):
    path = segments(folder)[1]
    path.unlink()
    path.mkdir()
    assert "segment-00000005.jsonl, entry 5: wanted to read it, got" in found(folder)


def test_a_beginning_that_is_not_the_one_that_was_noted_as_pruned_is_named(folder):
    with opened(folder, clock := Clock(NOW + 61.5 * DAY)) as log:
        log.expire(synchronised=True)
    assert [path.name[12:16] for path in segments(folder)] == ["0008", "0011"]
    assert verify(folder, now_at=clock.at).problem is None
    shutil.copytree(folder, other := folder.with_name("other"))
    rebuild(other, lambda entry: replace(entry, prev="0" * 64) if entry.seq == 8 else entry)
    assert "entry 11, which says that entries 1 to 7 were pruned: wanted the last hash" in found(other)
    segments(folder)[0].unlink()
    assert "00011.jsonl, entry 11: wanted a note that entries up to 10 were pruned" in found(folder)


def heal_head(folder: Path) -> None:
    """Note the head that a log has now, as somebody does who knows all files."""
    note_head(folder, Head(entries(folder)[-1].seq, parse(lines(segments(folder)[-1])[-1][:-1])[1]))


def test_a_log_that_names_a_hash_before_its_first_entry(folder):
    rebuild(folder, lambda entry: replace(entry, prev="0" * 64) if entry.seq == 1 else entry)
    heal_head(folder)
    assert "segment-00000001.jsonl, entry 1: wanted no hash before it, got 0000" in found(folder)


def test_notes_of_pruning_that_leave_entries_out_are_named(folder):
    for days in (60.5, 61.5):  # one segment each
        with opened(folder, clock := Clock(NOW + days * DAY)) as log:
            log.expire(synchronised=True)
    notes = {entry.seq: entry.note for entry in entries(folder) if isinstance(entry.note, Pruned)}
    assert [(note.from_seq, note.to_seq) for note in notes.values()] == [(1, 4), (5, 7)]
    assert verify(folder, now_at=clock.at).problem is None
    rebuild(
        folder, lambda entry: replace(entry, note=replace(entry.note, to_seq=3)) if entry.seq == 11 else entry
    )
    heal_head(folder)
    assert "entry 13, which says that entries 5 to 7 were pruned: wanted it to go on from entry 4" in found(
        folder
    )


@pytest.mark.parametrize(
    "tail", [b"x", b'{"seq":11,"at"', bytes(5000), bytes(5000) + b'"}\n', b'{"seq"' + bytes(90) + b"\n\n"]
)
def test_what_a_power_cut_leaves_is_cut_and_no_damage(folder, tail):
    path = segments(folder)[2]
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert verify(folder, now_at=NOW).problem is None
    with opened(folder) as log:
        assert (log.damage, log.head.seq) == (None, 10)
        assert path.read_bytes() == whole
        log.append([Here("said", "on")])
    assert verify(folder, now_at=NOW).problem is None
    assert texts(folder)[-1] == "on"


@pytest.mark.parametrize("tail", [b"", b'{"seq":11', bytes(5000)])
def test_a_segment_that_was_only_begun_goes(folder, tail):
    (folder / "segment-00000011.jsonl").write_bytes(tail)
    assert verify(folder, now_at=NOW).problem is None
    with opened(folder) as log:
        assert (log.damage, log.head.seq) == (None, 10)
        assert len(segments(folder)) == 3
        log.append([Here("said", "on")])
    assert verify(folder, now_at=NOW).problem is None


def test_a_new_log_names_the_last_good_hash_of_the_one_it_replaces(folder):
    for time in range(5):
        path = segments(folder)[-1]
        good = parse(lines(path)[-2][:-1])[1] if time == 0 else entries(folder)[-2]
        path.write_bytes(path.read_bytes()[:-9] + b"z" + path.read_bytes()[-8:])
        with opened(folder) as log:
            last_good = log.head.sha256
            assert time or last_good == good
            log.start_anew("entry 10 was changed")
            assert log.damage is None
            log.append([Here("said", "anew")])
            log.start_anew("nothing is wrong")  # does nothing
        first, second = entries(folder)
        assert first.note == Began("entry 10 was changed", last_good)
        assert second.note == Here("said", "anew")
        assert verify(folder, now_at=NOW).problem is None
    aside = sorted(path.name for path in folder.parent.glob("log.*"))
    assert aside == ["log.damaged-3", "log.damaged-4", "log.damaged-5", "log.lock"]


def test_pictures_outlive_the_log_that_was_damaged_and_no_longer(folder):
    (folder / "stray").write_text("")
    clock = Clock()
    with opened(folder, clock) as log:
        log.start_anew("a stray file")
        ref = log.picture_ref("ev-1")
        assert ref is not None
        assert picture_bytes(folder, ref, NOW) == jpeg(1)
        log.append([sent("again", ref)])
        assert verify(folder, now_at=NOW).problem is None
        clock.at = NOW + 9 * DAY
        assert log.expire(synchronised=False) == 1
    assert not any(
        jpeg(1)[100:200] in path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()
    )


def test_a_picture_that_stayed_with_a_log_moved_aside_expires_too(folder):
    clock = Clock()
    shutil.copytree(folder, folder.with_name("log.damaged-7"))
    with opened(folder, clock) as log:
        clock.at = NOW + 9 * DAY
        assert log.expire(synchronised=False) == 2
    assert not list(folder.parent.rglob("*.jpg"))


@pytest.mark.parametrize("done", [0, 1])
def test_a_move_that_was_interrupted_is_finished(folder, done):
    new = folder.with_name("log.new")
    with opened(new):
        pass
    if done:
        folder.rename(folder.with_name("log.damaged-1"))
    with opened(folder) as log:
        assert log.damage is None
        assert log.head.seq == (1 if done else 10)
    assert not new.exists()


def test_a_damaged_log_is_still_read(folder):
    change(1, lambda ls: [ls[0], b"rubbish\n", ls[2]])(folder)
    assert [entry.seq for entry in read(folder)] == [1, 2, 3, 4, 5, 7, 8, 9, 10]


def test_a_head_noted_behind_is_good(folder):
    """The head is noted now and then: a unit that was killed may have appended more."""
    note_head(folder, Head(1, parse(lines(segments(folder)[0])[0][:-1])[1]))
    assert found(folder) == ""
