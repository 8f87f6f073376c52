"""The notice: nothing is accepted but the very text that the worker accepted, at the unit, on the disk."""

import datetime as dt
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.notice import NOTICE_FILE, Notice, NoticeError, NoticeNotKept, parse, shipped
from edge.policy.breaks import BreakBy
from edge.uplink.twin_store import Disk
from tests.broker import until

AT = dt.datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=dt.UTC)
ONE = "version: 1\nThe camera looks.\n"
STEPS = ("write", "replace", "remove", "sync_folder")


class Killed(BaseException):
    """The process ended here."""


class Counted(Disk):
    """A disk on which, at step number `at`, something happens; `after`: once the step is done."""

    def __init__(self, at, error, *, after=False):
        self.done, self._at, self._error, self._after = [], at, error, after

    def _step(self, name, do):
        mine = len(self.done) == self._at
        self.done.append(name)
        if mine and not self._after:
            raise self._error
        do()
        if mine:
            raise self._error

    def write(self, path, data):
        self._step("write", lambda: super(Counted, self).write(path, data))

    def replace(self, path, target):
        self._step("replace", lambda: super(Counted, self).replace(path, target))

    def remove(self, path):
        self._step("remove", lambda: super(Counted, self).remove(path))

    def sync_folder(self, path):
        self._step("sync_folder", lambda: super(Counted, self).sync_folder(path))


class ReadOnly(Disk):
    """Mounted read-only, until it is not."""

    full = True

    def _refuse(self):
        if self.full:
            raise OSError(30, "Read-only file system")

    def write(self, path, data):
        self._refuse()
        super().write(path, data)

    def replace(self, path, target):
        self._refuse()
        super().replace(path, target)

    def remove(self, path):
        self._refuse()
        super().remove(path)


@pytest.fixture
def accepted(tmp_path):
    """A folder in which the worker has accepted ONE."""
    Notice(tmp_path, text=ONE).accept("1", BreakBy.LOCAL, AT)
    return tmp_path


def test_at_first_nothing_is_accepted(tmp_path):
    notice = Notice(tmp_path)
    assert (notice.accepted, notice.accepted_at) == (False, None)
    assert notice.facts() == {"notice.version": notice.version, "notice.accepted_at": None}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", [BreakBy.BUTTON, BreakBy.LOCAL])
def test_what_the_worker_accepts_outlasts_a_restart(tmp_path, by):
    notice = Notice(tmp_path, text=ONE)
    notice.accept("1", by, AT)
    for each in (notice, Notice(tmp_path, text=ONE)):
        assert (each.accepted, each.accepted_at) == (True, AT)
        assert each.facts()["notice.accepted_at"] == "2026-03-04T05:06:07.089Z"
    assert [path.name for path in tmp_path.iterdir()] == [NOTICE_FILE]
    assert json.loads((tmp_path / NOTICE_FILE).read_bytes())["by"] == by


def test_to_accept_twice_is_to_accept_once(tmp_path):
    notice = Notice(tmp_path, text=ONE)
    notice.accept("1", BreakBy.LOCAL, AT)
    notice.accept("1", BreakBy.BUTTON, AT + dt.timedelta(days=1))
    assert Notice(tmp_path, text=ONE).accepted_at == AT


@pytest.mark.parametrize("by", [BreakBy.COMMAND, BreakBy.TIME])
def test_nobody_accepts_it_from_afar(tmp_path, by):
    notice = Notice(tmp_path, text=ONE)
    with pytest.raises(NoticeError, match="at the unit, by button or command line, got "):
        notice.accept("1", by, AT)
    assert not notice.accepted
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_it_came_from_afar_is_not_believed(accepted):
    file = accepted / NOTICE_FILE
    file.write_text(file.read_text().replace('"local"', '"command"'))
    assert not Notice(accepted, text=ONE).accepted


def test_another_version_is_not_accepted(tmp_path):
    notice = Notice(tmp_path, text=ONE)
    with pytest.raises(NoticeError, match=r"wanted version 1 of the notice accepted, got '2'"):
        notice.accept("2", BreakBy.LOCAL, AT)
    assert not notice.accepted
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        ONE.replace("version: 1", "version: 2"),
        ONE.replace("looks", "looks and listens"),
        ONE + "\n",
    ],
)
def test_a_new_version_or_another_text_asks_again(accepted, text):
    notice = Notice(accepted, text=text)
    assert not notice.accepted
    notice.accept(notice.version, BreakBy.BUTTON, AT)
    assert Notice(accepted, text=text).accepted
    assert not Notice(accepted, text=ONE).accepted  # back to the firmware before: asked again too


def test_what_was_withdrawn_is_not_accepted(accepted):
    notice = Notice(accepted, text=ONE)
    notice.withdraw()
    assert not notice.accepted
    assert not Notice(accepted, text=ONE).accepted
    notice.withdraw()  # there is nothing to withdraw, and that is well
    notice.accept("1", BreakBy.LOCAL, AT)
    notice.turn()
    assert Notice(accepted, text=ONE).accepted


# A disk that fails.


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(3))
def test_what_cannot_be_kept_is_not_accepted(tmp_path, step, after):
    notice = Notice(tmp_path, Counted(step, OSError(5, "Input/output error"), after=after), ONE)
    with pytest.raises(NoticeNotKept, match=r"notice\.json: wanted it written, got: Input/output error"):
        notice.accept("1", BreakBy.LOCAL, AT)
    assert not notice.accepted
    assert not Notice(tmp_path, text=ONE).accepted
    notice.accept("1", BreakBy.LOCAL, AT)  # the disk is well again
    assert notice.accepted
    assert Notice(tmp_path, text=ONE).accepted


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(2))
def test_one_step_that_fails_does_not_undo_a_withdrawal(accepted, step, after):
    notice = Notice(accepted, Counted(step, OSError(5, "Input/output error"), after=after), ONE)
    notice.withdraw()
    assert not notice.accepted
    assert not Notice(accepted, text=ONE).accepted


def test_a_withdrawal_that_the_disk_does_not_take_holds_and_says_so_and_is_tried_again(accepted):
    disk = ReadOnly()
    notice = Notice(accepted, disk, ONE)
    assert notice.accepted
    with pytest.raises(NoticeNotKept, match=r"would not outlast a restart: .*Read-only file system"):
        notice.withdraw()
    notice.turn()
    assert not notice.accepted
    assert Notice(accepted, text=ONE).accepted  # as it said
    disk.full = False
    notice.turn()
    assert not Notice(accepted, text=ONE).accepted


def test_a_withdrawal_does_not_wait_for_an_acceptance_that_hangs(tmp_path):
    started, go_on = threading.Event(), threading.Event()

    class Slow(Disk):
        def sync_folder(self, path):
            started.set()
            assert go_on.wait(60)
            super().sync_folder(path)

    notice = Notice(tmp_path, Slow(), ONE)
    told = []

    def accept():
        try:
            notice.accept("1", BreakBy.LOCAL, AT)
        except NoticeError as error:
            told.append(str(error))

    one, two = threading.Thread(target=accept), threading.Thread(target=notice.withdraw)
    one.start()
    assert started.wait(60)
    two.start()
    until(lambda: notice._withdrawals, "the withdrawal", 60)
    go_on.set()
    one.join(60)
    assert told == ["wanted the notice accepted, but it was withdrawn meanwhile"]
    two.join(60)
    assert not notice.accepted
    assert not Notice(tmp_path, text=ONE).accepted


# A process that is killed between two steps.


def killed_runs(folder, text, reset, do):
    """Do it again and again, killed before and after each of its steps; give the step after each."""
    for after in (False, True):
        step, whole = 0, False
        while not whole:
            reset()
            disk = Counted(step, Killed(), after=after)
            notice = Notice(folder, disk, text)
            try:
                do(notice)
            except Killed:
                assert set(disk.done) <= set(STEPS)
                yield step, after
            else:
                whole = True
            step += 1


def test_killed_amid_an_acceptance_nothing_is_accepted_that_was_not(tmp_path):
    two = ONE.replace("version: 1", "version: 2")
    runs = killed_runs(
        tmp_path,
        ONE,
        lambda: Notice(tmp_path, text=ONE).withdraw(),
        lambda notice: notice.accept("1", BreakBy.LOCAL, AT),
    )
    there = []
    for _ in runs:
        there.append(Notice(tmp_path, text=ONE).accepted)
        assert not Notice(tmp_path, text=two).accepted
        assert not Notice(tmp_path, text=ONE + "and listens").accepted
    assert there == [False, False, True, False, True, True]  # only once it has its name


def test_killed_amid_an_acceptance_of_a_new_text_it_is_one_or_the_other(tmp_path):
    two = ONE.replace("version: 1", "version: 2")

    def reset():
        Notice(tmp_path, text=two).withdraw()
        Notice(tmp_path, text=ONE).accept("1", BreakBy.LOCAL, AT)

    there = []
    for _ in killed_runs(tmp_path, two, reset, lambda notice: notice.accept("2", BreakBy.LOCAL, AT)):
        one, other = (Notice(tmp_path, text=text).accepted for text in (ONE, two))
        assert one != other
        there.append(other)
    assert there == [False, False, True, False, True, True]


def test_killed_amid_a_withdrawal_it_is_withdrawn_once_the_file_is_gone(tmp_path):
    there = []
    for _ in killed_runs(
        tmp_path,
        ONE,
        lambda: Notice(tmp_path, text=ONE).accept("1", BreakBy.LOCAL, AT),
        lambda notice: notice.withdraw(),
    ):
        there.append(Notice(tmp_path, text=ONE).accepted)
        assert there[-1] == (tmp_path / NOTICE_FILE).exists()
    assert there == [True, False, False, False]


# What may be found in its place.


def folder_there(path):
    path.mkdir()


def link_to_itself(path):
    path.symlink_to(path)


def link_to_a_good_one(path):
    there = path.parent / "there"
    there.mkdir()
    Notice(there, text=ONE).accept("1", BreakBy.LOCAL, AT)
    path.symlink_to(there / NOTICE_FILE)


def gigabyte(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


def pipe(path):
    import os

    os.mkfifo(path)


def text(content):
    return lambda path: path.write_bytes(content)


GOOD = {"version": "1", "sha256": parse(ONE).sha256, "accepted_at": "2026-03-04T05:06:07Z", "by": "local"}


def but(**changes):
    return text(json.dumps({**GOOD, **changes}).encode())


def test_the_good_one_is_good(tmp_path):
    but()(tmp_path / NOTICE_FILE)
    assert Notice(tmp_path, text=ONE).accepted


@pytest.mark.parametrize(
    "found",
    [
        folder_there,
        link_to_itself,
        link_to_a_good_one,
        gigabyte,
        pipe,
        text(b""),
        text(b"\xff\xfe"),
        text(b"[" * 4000),
        text(b"null"),
        text(json.dumps(GOOD).encode()[:-1]),
        text(json.dumps(GOOD).encode() + b" " * 5000),
        but(accepted_at="2026-03-04T05:06:07"),
        but(accepted_at="yesterday"),
        but(accepted_at=None),
        but(by="somebody"),
        but(sha256="0" * 64),
        but(version="2"),
        but(version=1),
        but(extra=1),
    ],
)
def test_what_is_no_acceptance_is_none(tmp_path, found):
    found(tmp_path / NOTICE_FILE)
    notice = Notice(tmp_path, text=ONE)
    assert not notice.accepted
    if found is not folder_there:
        notice.accept("1", BreakBy.LOCAL, AT)
        assert Notice(tmp_path, text=ONE).accepted
        return
    with pytest.raises(NoticeNotKept, match="Is a directory"):
        notice.accept("1", BreakBy.LOCAL, AT)
    assert not notice.accepted


@given(st.binary(max_size=300))
def test_no_bytes_that_were_not_written_by_an_acceptance_are_one(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("notice")
    (folder / NOTICE_FILE).write_bytes(data)
    assert not Notice(folder, text=ONE).accepted


@given(st.integers(0), st.integers(1, 255))
def test_one_changed_byte_of_what_counts_is_no_acceptance(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("notice")
    Notice(folder, text=ONE).accept("1", BreakBy.LOCAL, AT)
    data = bytearray((folder / NOTICE_FILE).read_bytes())
    of = data.index(b'"accepted_at"')  # behind it is the time alone, and by whom
    data[place % of] ^= change
    (folder / NOTICE_FILE).write_bytes(data)
    assert not Notice(folder, text=ONE).accepted


# The text.


@pytest.mark.parametrize(
    "whole", ["", "version: 1", "version: 1\n\n", "The camera looks.\n", "version:\nx", "version: a b\nx"]
)
def test_a_text_without_its_version_is_none(tmp_path, whole):
    with pytest.raises(NoticeError, match='begins with "version: 1"'):
        Notice(tmp_path, text=whole)


def test_the_notice_that_ships_fits_a_page_and_names_what_can_be_done():
    notice = shipped()
    assert notice.version == "1"
    lines = notice.text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 78
    said = " ".join(notice.text.split())
    for words in (
        "deskwatch notice --accept",
        "deskwatch notice --withdraw",
        "deskwatch break",
        "deskwatch resume",
        "deskwatch log --html",
        "20 days at most",
        "driven by software",
        "No sound. No live view, but a coarse one at the device, to line it up,",
        "if you press the button while it asks; that is neither kept nor sent.",
    ):
        assert words in said
