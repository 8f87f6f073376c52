"""Whatever happens, in any order: the log verifies, and what append returned for is there or was pruned."""

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.worklog import reading
from edge.worklog.entries import Here, PicturesGone, Pruned
from edge.worklog.pictures import MAX_KEPT
from edge.worklog.reading import picture_bytes, read, verify
from tests.worklog.logs import DAY, NOW, Clock, jpeg, opened, segments, sent

BOUND_BYTES, PICTURES_BYTES = 30_000, 12_000
PICTURE_BYTES = 3000


class Life(RuleBasedStateMachine):
    """A unit's log over power cuts, clocks that jump, pruning and expiry."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folder, self.clock = self.root / "log", Clock()
        self.right_at = NOW
        self.said: dict[int, str] = {}  # by seq, what append returned for
        self.pruned: dict[int, Pruned] = {}  # by its own seq
        self.pictures: dict[str, dt.datetime] = {}  # when each must be gone, by the right time
        self.written_at: dict[str, dt.datetime] = {}
        self.number = 0
        self.cut = False  # a power cut may leave what was pruned, until the next tidying
        self.open()

    def open(self) -> None:
        self.log = opened(
            self.folder,
            self.clock,
            max_bytes=BOUND_BYTES,
            pictures_max_bytes=PICTURES_BYTES,
            max_age=3 * DAY,
        )
        assert self.log.damage is None

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.root)

    @rule(sizes=st.lists(st.integers(0, 2500), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        texts = [f"{self.number}-{place} {'x' * size}" for place, size in enumerate(sizes)]
        self.number += 1
        self.log.append([Here("said", text) for text in texts])
        last = self.log.head.seq
        self.said |= {last - len(texts) + 1 + place: text for place, text in enumerate(texts)}

    @rule(days=st.floats(0.01, 30))
    def keep(self, days: float) -> None:
        event_id = f"ev-{self.number}"
        self.number += 1
        expires_at = self.clock.at + days * DAY
        ref = self.log.keep_picture(event_id, jpeg(self.number, PICTURE_BYTES), expires_at)
        self.log.append([sent(event_id, ref)])
        self.pictures[event_id], self.written_at[event_id] = expires_at, self.right_at

    @rule(days=st.floats(-40, 40), known=st.booleans())
    def the_clock_jumps(self, days: float, known: bool) -> None:
        self.clock.at = self.right_at + days * DAY
        self.log.expire(synchronised=not known)

    @rule(hours=st.floats(0, 60))
    def time_goes_by_and_the_clock_is_right(self, hours: float) -> None:
        self.right_at += dt.timedelta(hours=hours)
        self.clock.at = self.right_at
        self.log.expire(synchronised=True)
        self.no_picture_is_late()

    def no_picture_is_late(self) -> None:
        """At the right time: none past its expiry, none that could be left 20 days from now."""
        for path in (self.folder / "pictures").iterdir():
            event_id = path.name.split(".")[0]
            assert self.right_at < self.pictures[event_id]
            assert int(path.name.split(".")[1]) <= (self.right_at + MAX_KEPT).timestamp()

    @rule(rubbish=st.binary(max_size=40).filter(lambda data: b"\n" not in data), share=st.floats(0, 1))
    def the_power_is_cut(self, rubbish: bytes, share: float) -> None:
        """Of a batch on its way, any part may be on the disk, and what is noted of the head may not."""
        durable = {path.name: path.read_bytes() for path in segments(self.folder)}
        said, head = dict(self.said), (self.folder / "head").read_bytes()
        self.append([300, 10])
        newest = segments(self.folder)[-1]
        before = durable.get(newest.name, b"")
        written = newest.read_bytes()[len(before) :]
        copy = self.root / "cut"
        shutil.copytree(self.folder, copy)
        self.log.close()
        shutil.rmtree(self.folder)
        copy.rename(self.folder)
        for name, data in durable.items():
            (self.folder / name).write_bytes(data)  # pruned with the batch, but not yet deleted
        part = written[: int(len(written) * share)]
        torn = rubbish if share < 1 and part[-1:] in {b"", b"\n"} else b""
        (self.folder / newest.name).write_bytes(before + part + torn)
        if newest.name not in durable:
            (self.folder / "head").write_bytes(head)
        self.said = said
        self.open()
        self.cut = True

    @rule()
    def start_again(self) -> None:
        self.log.expire(synchronised=False)
        self.cut = False
        self.log.close()
        self.open()

    @invariant()
    def all_is_there_or_was_pruned(self) -> None:
        if not hasattr(self, "log"):
            return
        found = verify(self.folder, now_at=self.clock.at)
        assert found.problem is None
        assert found.head == self.log.head
        there = {}
        for entry in read(self.folder):
            if isinstance(entry.note, Here):
                there[entry.seq] = entry.note.text
            elif isinstance(entry.note, Pruned):
                self.pruned[entry.seq] = entry.note
        gone = [note for seq, note in self.pruned.items() if seq <= self.log.head.seq]
        for seq, text in self.said.items():
            assert there.get(seq) == text or any(note.from_seq <= seq <= note.to_seq for note in gone)
        if not self.cut:
            assert sum(path.stat().st_size for path in segments(self.folder)) <= BOUND_BYTES
        held = sum(path.stat().st_size for path in (self.folder / "pictures").iterdir())
        assert held <= PICTURES_BYTES


Life.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log that was pruned, of several segments, with pictures and letters that take two bytes."""
    folder, clock = tmp_path_factory.mktemp("written") / "log", Clock()
    with opened(folder, clock, max_bytes=12_000) as log:
        for number in range(60):
            ref = log.keep_picture(f"ev-{number}", jpeg(number), NOW + 9 * DAY) if number % 9 == 0 else None
            log.append([Here("said", f"é {number}"), sent(f"{number} {'x' * (number % 7 * 40)}", ref)])
    assert verify(folder, now_at=NOW).problem is None
    assert verify(folder, now_at=NOW).from_seq > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_PAUSE_S", 0.0)  # nobody writes
        yield folder


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_one_changed_byte_is_found_and_the_entry_named(written, data):
    path = data.draw(st.sampled_from(segments(written)))
    whole = path.read_bytes()
    place = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 3, len(whole) - 1)))
    old = whole[place]
    new = data.draw(
        st.one_of(st.integers(0, 255), st.sampled_from(b'\n"}x\0')).filter(lambda byte: byte != old)
    )
    path.write_bytes(whole[:place] + bytes([new]) + whole[place + 1 :])
    try:
        seq = int(path.name[8:16]) + whole[:place].count(b"\n")
        assert (verify(written, now_at=NOW).problem or "").startswith(f"{path.name}, entry {seq}: ")
    finally:
        path.write_bytes(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_one_changed_byte_of_a_picture_is_found_and_the_entry_named(written, data):
    refs = {e.seq: e.note.picture for e in read(written) if getattr(e.note, "picture", None)}
    assert not [e for e in read(written) if isinstance(e.note, PicturesGone)]
    seq = data.draw(st.sampled_from(sorted(refs)))
    (path,) = (written / "pictures").glob(f"{refs[seq].event_id}.*.jpg")
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(
        whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    )
    try:
        problem = verify(written, now_at=NOW).problem or ""
        assert problem.startswith(
            f"pictures/{path.name}, of entry {seq}: wanted the picture {refs[seq].sha256}"
        )
        assert picture_bytes(written, refs[seq], NOW) is None
    finally:
        path.write_bytes(whole)
