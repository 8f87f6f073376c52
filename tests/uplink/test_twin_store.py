"""The twin on the disk: cut short at every write, killed, full, read-only, edited, and worn."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge.uplink.envelope import new_signing_key, seal, trust
from edge.uplink.twin_messages import Phase
from edge.uplink.twin_store import CONFIRMED_FILE, NOTES_FILE, TRIAL_FILE, Disk
from tests.uplink.policies import KEY, LOCAL, NO_PROOF, TIMEOUT_S, TRUSTED, Unit, document

LOCAL_VERSION = msgspec.json.decode(LOCAL)["version"]


def life(unit: Unit):
    """What befalls a unit's twin, a call a step. Each gives first what may be in force after a crash in it,
    and the version that it puts on trial."""
    yield {LOCAL_VERSION}, 1
    assert unit.offer(document(1)) is None
    yield {LOCAL_VERSION, 1}, None
    unit.prove()
    yield {1}, 2
    assert unit.offer(document(2)) is None
    yield {1, 2}, None
    unit.prove()
    yield {2}, 3
    assert unit.offer(document(3)) is None
    yield {2}, None
    unit.proof = NO_PROOF
    unit.wait(TIMEOUT_S)
    yield {2}, 4
    assert unit.offer(document(4)) is None
    yield {2}, 5
    assert unit.offer(document(5)) is None
    yield {2, 5}, None
    unit.prove()
    yield {5}, 6
    assert unit.offer(document(6)) is None
    yield {5}, None
    unit.twin.stop()
    yield {5}, None


class Journal(Disk):
    """Does what it is told, and notes all that a power cut may leave, within and after each operation.

    Names are down on the medium from the next `sync_folder` on; until then each change of them, whatever the
    order, is there or not.
    """

    def __init__(self) -> None:
        self.down: dict[str, bytes | None] = {}
        self.loose: list[dict[str, bytes | None]] = []
        self.states: list[dict[str, bytes]] = []

    def _note(self) -> None:
        for pick in itertools.product((False, True), repeat=len(self.loose)):
            files: dict[str, bytes | None] = dict(self.down)
            for change in itertools.compress(self.loose, pick):
                files.update(change)
            self.states.append({name: data for name, data in files.items() if data is not None})

    def write(self, path, data):
        for torn in (b"", data[: len(data) // 2]):
            self.loose.append({path.name: torn})
            self._note()
            self.loose.pop()
        path.write_bytes(data)
        self.loose.append({path.name: data})
        self._note()

    def replace(self, path, target):
        data = path.read_bytes()
        super().replace(path, target)
        self.loose.append({target.name: data, path.name: None})
        self._note()

    def remove(self, path):
        super().remove(path)
        self.loose.append({path.name: None})
        self._note()

    def sync_folder(self, path):
        if path.name == "twin":
            for change in self.loose:
                self.down.update(change)
            self.down = {name: data for name, data in self.down.items() if data is not None}
            self.loose = []
        self._note()


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    (folder / "twin").mkdir(parents=True)
    for name, data in files.items():
        (folder / "twin" / name).write_bytes(data)
    return folder


def check_reopened(unit: Unit, allowed: set[int]) -> None:
    """What holds whenever the power went: a policy that was known to be good, and a twin that still works."""
    assert unit.version in allowed
    unit.twin.turn()
    assert unit.last.phase is not Phase.TRIAL
    assert unit.last.running.version == unit.version
    unit.confirm(1_000)
    assert Unit(unit.state).version == 1_000


def test_whatever_write_was_the_last_one_known_good_policy_is_there(tmp_path):
    journal = Journal()
    unit = Unit(tmp_path / "real", disk=journal)
    (tmp_path / "real").mkdir()
    steps = life(unit)
    allowed, tries = next(steps)
    seen = 0
    for number in itertools.count():
        journal.states = []
        following = next(steps, None)
        states = {tuple(sorted(files.items())) for files in journal.states}
        for index, files in enumerate(states):
            crashed = Unit(lay_out(tmp_path / f"{number}-{index}", dict(files)))
            check_reopened(crashed, allowed)
        seen += len(states)
        if tries is not None:
            # Cut short right after the trial began: it ran, so it is blocked, and no older one comes.
            crashed = Unit(lay_out(tmp_path / f"{number}-after", journal.down))
            assert crashed.offer(document(tries)) == "blocked"
            assert crashed.last.error.code == "trial-interrupted"
            if tries > 1:
                assert crashed.offer(document(tries - 1, timezone="UTC")) == "older-version"
            assert crashed.offer(document(tries, timezone="UTC")) == "version-reused"
        if following is None:
            break
        allowed, tries = following
    assert seen > 60


KILLED = """
import os, signal, sys
from pathlib import Path
from edge.uplink.twin_store import Disk
from tests.uplink.policies import Unit
from tests.uplink.test_twin_store import life

class Deadly(Disk):
    def __init__(self, at): self.left = at
    def count(self):
        self.left -= 1
        if self.left < 0: os.kill(os.getpid(), signal.SIGKILL)
    def write(self, path, data):
        self.count()
        if self.left == 0:
            path.write_bytes(data[:len(data) // 2])
            self.count()
        path.write_bytes(data)  # what is in the kernel's hands survives a kill
    def replace(self, *args): self.count(); super().replace(*args)
    def remove(self, *args): self.count(); super().remove(*args)
    def sync_folder(self, *args): self.count()

for at in range(1000):
    folder = Path(sys.argv[1]) / str(at)
    folder.mkdir()
    child = os.fork()
    if not child:
        with (folder / "steps").open("wb", buffering=0) as steps:
            for allowed, _ in life(Unit(folder, disk=Deadly(at))):
                steps.write(repr(allowed).encode() + b"\\n")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_process_that_is_killed_at_any_write_comes_back_with_a_policy_known_good(tmp_path):
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-W", "error", "-c", KILLED, tmp_path], check=True, env=env, timeout=100)
    folders = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 40
    for folder in folders:
        allowed = eval((folder / "steps").read_text().splitlines()[-1])
        check_reopened(Unit(folder), allowed)


class Failing(Disk):
    """Fails from some operation on, as a full or read-only disk does, until it is mended."""

    def __init__(self, number: int = errno.ENOSPC) -> None:
        self.left = 1 << 30
        self.number = number
        self.failed = 0

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.failed += 1
            raise OSError(self.number, os.strerror(self.number))

    def make_folder(self, path):
        self._count()
        super().make_folder(path)

    def write(self, path, data):
        self._count()
        super().write(path, data)

    def replace(self, path, target):
        self._count()
        super().replace(path, target)

    def remove(self, path):
        self._count()
        super().remove(path)

    def sync_folder(self, path):
        self._count()
        super().sync_folder(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_cannot_be_stored_is_refused_and_not_applied(tmp_path, number):
    for after in itertools.count():
        folder = tmp_path / str(after)
        folder.mkdir()
        disk = Failing(number)
        unit = Unit(folder, disk=disk)
        disk.left = after
        code = unit.offer(document(1))
        if not disk.failed:
            assert after == 8  # the folder and its name, and three operations a file
            break
        assert code == "not-stored"
        assert unit.version == LOCAL_VERSION
        assert (unit.last.phase, unit.last.error.code) == (Phase.REFUSED, "not-stored")
        assert os.strerror(number) in unit.last.error.problem
        assert Unit(folder).version == LOCAL_VERSION
        if after < 6:  # from then on the notes may be there: a restart takes what never ran for cut short
            copy = shutil.copytree(folder, tmp_path / f"{after}-copy")
            assert Unit(copy).offer(document(1)) is None
        disk.left = 1 << 30
        assert unit.offer(document(1)) is None  # it comes again, and now there is room
        assert unit.version == 1


def test_a_real_disk_without_room_refuses_and_keeps_what_ran(tmp_path):
    """A file that may grow no further, as on a full disk: the kernel itself says no."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.uplink.policies import Unit, document\n"
        "unit = Unit(Path(sys.argv[1])); unit.confirm(1)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "assert unit.offer(document(2)) == 'not-stored', unit.last\n"
        "assert unit.version == 1"
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=env)
    unit = Unit(tmp_path)
    assert unit.version == 1
    assert sorted(path.name for path in (tmp_path / "twin").iterdir()) == [CONFIRMED_FILE, NOTES_FILE]


def test_a_trial_that_failed_to_begin_does_not_spoil_the_one_that_runs(tmp_path):
    disk = Failing()
    unit = Unit(tmp_path, disk=disk)
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    disk.left = 3  # the envelope of 3 is written over that of 2, the notes are not
    assert unit.offer(document(3)) == "not-stored"
    disk.left = 1 << 30
    assert unit.version == 2
    unit.prove()
    assert unit.last.phase is Phase.CONFIRMED
    assert Unit(tmp_path).version == 2


def test_a_proven_policy_waits_for_room_and_goes_back_when_none_comes(tmp_path):
    disk = Failing()
    unit = Unit(tmp_path, disk=disk)
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    disk.left = 0
    unit.prove()
    assert (unit.last.phase, unit.version) == (Phase.TRIAL, 2)
    unit.wait(TIMEOUT_S / 2)
    disk.left = 1 << 30
    unit.prove()
    assert (unit.last.phase, unit.version) == (Phase.CONFIRMED, 2)
    assert unit.offer(document(3)) is None
    disk.left = 0
    unit.prove()
    unit.wait(TIMEOUT_S)
    assert (unit.last.phase, unit.last.error.code, unit.version) == (Phase.ROLLED_BACK, "not-stored", 2)
    disk.left = 1 << 30
    assert unit.offer(document(3)) is None  # nothing is held against it


def test_a_confirmed_policy_keeps_its_old_name_while_it_must_and_is_not_written_over(tmp_path):
    disk = Failing()
    unit = Unit(tmp_path, disk=disk)
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    disk.left = 3  # the notes are down, the envelope does not move
    unit.prove()
    assert unit.last.phase is Phase.CONFIRMED
    assert (tmp_path / "twin" / TRIAL_FILE).read_bytes() == seal(document(2), KEY)
    assert Unit(shutil.copytree(tmp_path, tmp_path / "copy")).version == 2
    assert unit.offer(document(3)) == "not-stored"
    disk.left = 1 << 30
    assert unit.offer(document(3)) is None
    assert (tmp_path / "twin" / CONFIRMED_FILE).read_bytes() == seal(document(2), KEY)
    assert Unit(tmp_path).version == 2


def test_a_read_only_disk_still_starts_with_what_is_on_it(tmp_path):
    unit = Unit(tmp_path)
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    disk = Failing(errno.EROFS)
    disk.left = 0
    crashed = Unit(tmp_path, disk=disk)
    crashed.twin.turn()
    assert (crashed.version, crashed.last.error.code) == (1, "trial-interrupted")
    assert crashed.offer(document(2)) == "blocked"
    assert crashed.offer(document(3)) == "not-stored"


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff" * 50, b"[" * 5_000, b"0" * 70_000, None],
    ids=["empty", "bare", "binary", "deep", "long", "folder"],
)
@pytest.mark.parametrize("on_trial", [False, True])
def test_notes_that_cannot_be_read_cost_neither_the_policy_nor_the_versions(tmp_path, content, on_trial):
    unit = Unit(tmp_path)
    unit.confirm(7)
    if on_trial:
        assert unit.offer(document(8)) is None
    notes = tmp_path / "twin" / NOTES_FILE
    notes.unlink()
    notes.mkdir() if content is None else notes.write_bytes(content)
    unit = Unit(tmp_path)
    assert unit.version == 7
    unit.twin.turn()
    assert unit.offer(document(6)) == "older-version"
    assert unit.offer(document(7, timezone="UTC")) == ("older-version" if on_trial else "version-reused")
    assert unit.offer(document(8)) == ("blocked" if on_trial else None)
    unit.confirm(9)
    assert Unit(tmp_path).version == 9


def test_a_bit_that_flipped_in_the_notes_is_noticed(tmp_path):
    Unit(tmp_path).confirm(7)
    notes = tmp_path / "twin" / NOTES_FILE
    good = notes.read_bytes()
    for at in range(len(good)):
        notes.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        unit = Unit(tmp_path)
        assert unit.version == 7
        assert unit.offer(document(6)) == "older-version"
        assert (tmp_path / "twin" / f"{NOTES_FILE}.corrupt").exists()
        (tmp_path / "twin" / f"{NOTES_FILE}.corrupt").unlink()


def test_deleted_notes_still_hold_older_versions_back(tmp_path):
    Unit(tmp_path).confirm(7)
    (tmp_path / "twin" / NOTES_FILE).unlink()
    unit = Unit(tmp_path)
    assert unit.version == 7
    assert unit.offer(document(6)) == "older-version"


def test_an_edited_envelope_is_not_in_force(tmp_path, caplog):
    Unit(tmp_path).confirm(7)
    confirmed = tmp_path / "twin" / CONFIRMED_FILE
    good = confirmed.read_bytes()
    stranger = new_signing_key()
    head, _, signature = good.split(b".")
    edited = {
        b".".join((head, seal(document(7, timezone="UTC"), KEY).split(b".")[1], signature)): "bad-signature",
        seal(document(7), stranger): "unknown-key",
        document(7): "bad-envelope",
        b"": "bad-envelope",
        seal(document(6), KEY): "older-version",
        seal(document(7, timezone="UTC"), KEY): "older-version",
        seal(document(9, unit="other"), KEY): "other-unit",
        seal(document(9, schema="policy/2"), KEY): "unknown-schema",
    }
    for content, code in edited.items():
        confirmed.write_bytes(content)
        unit = Unit(tmp_path)
        unit.twin.turn()
        assert (unit.version, unit.last.phase) == (LOCAL_VERSION, Phase.ROLLED_BACK)
        assert unit.last.error.code == code
        assert unit.last.desired.version == 7
        assert "not in force" in caplog.text
        assert unit.offer(document(6)) == "older-version"
    confirmed.unlink()
    unit = Unit(tmp_path)
    unit.twin.turn()
    assert (unit.version, unit.last.error.code) == (LOCAL_VERSION, "bad-envelope")
    unit.confirm(7)  # what was lost comes back with the next connection
    assert Unit(tmp_path).version == 7


def test_a_policy_goes_with_its_key_and_comes_back_with_it(tmp_path):
    Unit(tmp_path).confirm(7)
    other = new_signing_key()
    for trusted in ({}, trust(other.public)):
        unit = Unit(tmp_path, trusted=trusted)
        unit.twin.turn()
        assert (unit.version, unit.last.error.code) == (LOCAL_VERSION, "unknown-key")
    assert Unit(tmp_path).version == 7
    # The versions of a key that is gone hold none back: its thief could have used up every number.
    unit = Unit(tmp_path, trusted=trust(other.public))
    assert unit.offer(document(5), other) is None
    unit.prove()
    assert Unit(tmp_path, trusted=trust(other.public)).version == 5


def test_a_policy_that_another_model_cannot_serve_is_not_in_force(tmp_path):
    Unit(tmp_path).confirm(7)
    unit = Unit(tmp_path, labels=frozenset({"person"}))
    unit.twin.turn()
    assert (unit.version, unit.last.error.code) == (LOCAL_VERSION, "unserved-label")
    assert unit.last.error.path == "$.rules[0].labels[0]"
    assert Unit(tmp_path).version == 7


def test_a_card_that_lost_the_notes_but_not_the_envelope_loses_no_policy(tmp_path):
    """Some cards answer a sync before they have done it."""
    unit = Unit(tmp_path)
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    notes = (tmp_path / "twin" / NOTES_FILE).read_bytes()
    unit.prove()
    (tmp_path / "twin" / NOTES_FILE).write_bytes(notes)
    assert Unit(tmp_path).version == 2


def test_only_the_unit_s_own_user_reads_the_folder(tmp_path):
    Unit(tmp_path).confirm(1)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "twin").iterdir()}
    assert modes == {0o600}
    assert (tmp_path / "twin").stat().st_mode & 0o777 == 0o700
    assert TRUSTED
