"""`deskwatch support-bundle` and `operator open-bundle`: what is typed, what comes back, what goes wrong."""

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.cli import main
from edge.control.client import ask
from edge.control.protocol import CheckSaid, MakeBundle, Refused
from edge.evidence.sealing import new_private_key, open_bundle
from edge.support import command
from edge.support.bundle import decode
from edge.support.noted import NOTED, read
from edge.support.pseudonyms import KEY_FILE
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read as read_log
from edge.worklog.reading import verify
from tests.daemon import COMMAND

KEY = new_private_key()


@pytest.fixture
def unit(daemon, tmp_path):
    """A unit that ran once: it has a log, and the support's key."""
    (tmp_path / "support.pub").write_bytes(KEY.public_pem())
    (tmp_path / "op.key").write_bytes(KEY.pem())
    with daemon.config.open("a") as file:
        file.write(f'\n[support]\nkey_file = "{tmp_path}/support.pub"\n')
    daemon.policy["rules"] = daemon.policy["rules"][:1]
    (daemon.folder / "policy.json").write_text(json.dumps(daemon.policy))
    daemon.state.mkdir(mode=0o700)
    with WorkerLog.open(daemon.state / "log", now_at=now) as log:
        log.append([Here("camera", "starting")])
    return daemon


def now():
    return dt.datetime.now(dt.UTC)


def typed(unit, out, *more):
    return main(["support-bundle", "--config", str(unit.config), "--out", str(out), "--offline", *more])


def notes(unit):
    found = [entry.note for entry in read_log(unit.state / "log")]
    return [note for note in found if isinstance(note, Here) and note.what == NOTED]


def nothing_made(unit, out):
    assert not out.exists()
    assert notes(unit) == []
    assert list(out.parent.glob(".*.part")) == []


@pytest.fixture
def few_checks(monkeypatch):
    """Without the diagnosis, which has its own tests and takes its time."""
    monkeypatch.setattr(command, "table", tuple)


pytestmark = pytest.mark.usefixtures("few_checks")


def test_a_bundle_is_written_for_its_owner_alone_and_noted_first(unit, tmp_path, capsys):
    out = tmp_path / "a.bundle"
    assert typed(unit, out) == 0
    said = capsys.readouterr()
    assert "the unit does not run" in said.err
    assert f"Only who has key {KEY.kid} can open it" in said.out
    assert "word for word" in said.out
    assert out.stat().st_mode & 0o777 == 0o600
    (note,) = notes(unit)
    noted, bundle = read(note.text)
    assert (noted.recipient, noted.bytes) == (KEY.kid, out.stat().st_size)
    assert bytes(noted.bundle) == open_bundle(out.read_bytes(), [KEY])
    assert bundle.unit.startswith("unit-")
    assert verify(unit.state / "log").problem is None


def test_it_is_noted_before_it_is_written(unit, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "write_file", lambda *_a, **_k: seen.append(len(notes(unit))))
    assert typed(unit, tmp_path / "a.bundle") == 0
    assert seen == [1]


def test_the_name_has_nothing_of_the_unit(unit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["support-bundle", "--config", str(unit.config), "--offline"]) == 0
    (made,) = tmp_path.glob("*.bundle")
    assert made.name.startswith("support-2")
    assert "cam-1" not in made.name


def test_the_operator_reads_it_as_a_table_or_as_json(unit, tmp_path, capsys):
    out, key = tmp_path / "a.bundle", str(tmp_path / "op.key")
    typed(unit, out)
    capsys.readouterr()
    assert main(["operator", "open-bundle", str(out), "--key", key]) == 0
    said = capsys.readouterr().out
    assert "it did not run" in said
    assert "broker.tls" in said
    assert main(["operator", "open-bundle", str(out), "--key", key, "--json"]) == 0
    assert decode(capsys.readouterr().out.encode()) == decode(open_bundle(out.read_bytes(), [KEY]))


def test_a_key_with_a_passphrase_opens_it(unit, tmp_path, capsys):
    out, key, secret = tmp_path / "a.bundle", tmp_path / "locked.key", tmp_path / "secret"
    typed(unit, out)
    key.write_bytes(KEY.pem("open sesame"))
    secret.write_text("open sesame\n")
    words = ["operator", "open-bundle", str(out), "--key", str(key), "--passphrase-file", str(secret)]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("another key", "wanted that private key"),
        ("a picture", "wanted a support bundle, beginning with"),
        ("nothing", "No such file"),
        ("a folder", "wanted a support bundle, got: "),
        ("cut", "wanted what was sealed to key"),
        ("too large", "more than"),
    ],
)
def test_what_is_no_bundle_or_not_for_this_key_is_told(unit, tmp_path, capsys, what, said):
    out, key = tmp_path / "a.bundle", tmp_path / "op.key"
    typed(unit, out)
    data = out.read_bytes()
    match what:
        case "another key":
            key.write_bytes(new_private_key().pem())
        case "a picture":
            out.write_bytes(b"DWS1" + data[4:])
        case "nothing":
            out.unlink()
        case "a folder":
            out.unlink()
            out.mkdir()
        case "cut":
            out.write_bytes(data[:-1])
        case "too large":
            out.write_bytes(data + bytes(50_000))
    capsys.readouterr()
    assert main(["operator", "open-bundle", str(out), "--key", str(key)]) == 2
    done = capsys.readouterr()
    assert said in done.err
    assert "what to do" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no key named", "support.key_file: wanted a public key, got none"),
        ("no key there", "support.pub: wanted a readable key file, got: No such file"),
        ("a private key", "wanted an X25519 public key in PEM, got something else"),
        ("a key that signs", "got another kind: Ed25519PublicKey"),
        ("garbage", "wanted an X25519 public key in PEM, got something else"),
        ("a folder", "wanted a readable key file"),
        ("a key for everybody", "support.pub: wanted"),
    ],
)
def test_without_a_good_key_there_is_no_bundle_and_no_note(unit, tmp_path, capsys, what, said):
    path, out = tmp_path / "support.pub", tmp_path / "a.bundle"
    match what:
        case "no key named":
            unit.config.write_text(unit.config.read_text().partition("[support]")[0])
        case "no key there":
            path.unlink()
        case "a private key":
            path.write_bytes(KEY.pem())
        case "a key that signs":
            public = Ed25519PrivateKey.generate().public_key()
            path.write_bytes(public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
        case "garbage":
            path.write_bytes(b"\0" * 100)
        case "a folder":
            path.unlink()
            path.mkdir()
        case "a key for everybody":
            head = "MCowBQYDK2VuAyEA"  # SubjectPublicKeyInfo of X25519, then a point of small order
            path.write_text(f"-----BEGIN PUBLIC KEY-----\n{head}{'A' * 43}=\n-----END PUBLIC KEY-----\n")
    assert typed(unit, out) == 2
    assert said in capsys.readouterr().err
    nothing_made(unit, out)


@pytest.mark.parametrize("where", ["nowhere/a.bundle", "."])
def test_a_place_that_takes_no_file_is_told_before_the_log_says_anything(unit, tmp_path, where):
    assert typed(unit, tmp_path / where) == 2
    assert notes(unit) == []


def test_a_log_that_was_changed_makes_no_bundle(unit, tmp_path, capsys):
    (segment,) = (unit.state / "log").glob("segment-*")
    data = bytearray(segment.read_bytes())
    data[30] ^= 1
    segment.write_bytes(data)
    before = {path: path.read_bytes() for path in (unit.state / "log").iterdir() if path.is_file()}
    out = tmp_path / "a.bundle"
    assert typed(unit, out) == 2
    assert "wanted the checksum" in capsys.readouterr().err
    assert not out.exists()
    # It is for the unit to close the camera, and to begin a new one.
    assert {path: path.read_bytes() for path in (unit.state / "log").iterdir() if path.is_file()} == before


@pytest.mark.parametrize("what", ["gone", "empty", "no state"])
def test_a_log_that_is_gone_is_not_begun_in_secret(unit, tmp_path, capsys, what):
    if what == "no state":
        shutil.rmtree(unit.state)
    else:
        shutil.rmtree(unit.state / "log")
    if what == "empty":
        (unit.state / "log").mkdir()
    out = tmp_path / "a.bundle"
    assert typed(unit, out) == 2
    assert "wanted the " in capsys.readouterr().err
    assert not out.exists()
    assert not list(unit.state.glob("log/*"))


def test_a_log_that_somebody_else_writes_makes_no_bundle(unit, tmp_path, capsys):
    out = tmp_path / "a.bundle"
    with WorkerLog.open(unit.state / "log", now_at=now):
        assert typed(unit, out) == 2
    assert "log" in capsys.readouterr().err
    nothing_made(unit, out)


def on_full_disk(tmp_path, *words, mount="state"):
    """Run the command where a folder of it is a disk that is full, in a mount namespace of its own."""
    script = (
        'set -e; disk="$1"; shift; tmp=$(mktemp -d); cp -a "$disk/." "$tmp/";'
        ' mount -t tmpfs -o size=256k none "$disk"; cp -a "$tmp/." "$disk/"; rm -r "$tmp";'
        ' dd if=/dev/zero of="$disk/filler" bs=1k 2>/dev/null || true;'
        ' code=0; "$@" || code=$?; ls -A "$disk"; exit $code'
    )
    command_line = ["unshare", "--mount", "sh", "-c", script, "sh", str(mount), *map(str, words)]
    return subprocess.run(command_line, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a disk of its own")
@pytest.mark.parametrize("full", ["state", "out"])
def test_on_a_full_disk_there_is_no_file_and_no_part_of_one(unit, tmp_path, full):
    folder = tmp_path / "out"
    folder.mkdir()
    words = [COMMAND, "support-bundle", "--config", unit.config, "--out", folder / "a.bundle", "--offline"]
    done = on_full_disk(tmp_path, *words, mount=unit.state if full == "state" else folder)
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr
    assert "what to do" in done.stderr
    assert list(folder.iterdir()) == []
    if full == "out":
        assert "a.bundle" not in done.stdout
        assert ".part" not in done.stdout
        assert len(notes(unit)) == 1  # it was made, and the worker knows


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_what_root_makes_the_units_user_can_go_on_with(unit, tmp_path):
    for path in [unit.state, *unit.state.rglob("*")]:
        os.chown(path, 65534, 65534)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    assert typed(unit, tmp_path / "a.bundle") == 0
    assert os.geteuid() == 0
    owners = {path.stat().st_uid for path in unit.state.rglob("*") if path.name != "control.sock"}
    assert owners == {65534}
    assert (unit.state / KEY_FILE).stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_behind_sudo_the_file_is_theirs_who_asked(unit, tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    assert typed(unit, tmp_path / "a.bundle") == 0
    made = (tmp_path / "a.bundle").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (65534, 65534, 0o600)


@pytest.mark.parametrize("moment", range(6))
def test_killed_at_any_moment_there_is_a_whole_file_or_none_and_never_one_that_is_not_noted(
    unit, tmp_path, moment
):
    """Killed before or after each step that matters, by a process of its own."""
    out = tmp_path / "a.bundle"
    step = ["recipient_of", "Pseudonyms.of", "seal_bundle", "append", "write_file", "replace"][moment]
    script = f"""
import os, signal, sys
from pathlib import Path
from edge.cli import main
from edge.support import command, making
from edge.worklog.log import WorkerLog
command.table = tuple
def killed(*_arguments, **_more):
    os.kill(os.getpid(), signal.SIGKILL)
def after(function):
    def run(*arguments, **more):
        function(*arguments, **more)
        killed()
    return run
step = {step!r}
if step == "append":
    WorkerLog.append = after(WorkerLog.append)
elif step == "Pseudonyms.of":
    making.Pseudonyms.of = after(making.Pseudonyms.of)
elif step == "replace":
    Path.replace = killed
elif step == "write_file":
    command.write_file = killed
else:
    setattr(making, step, killed)
main(sys.argv[1:])
"""
    words = ["support-bundle", "--config", str(unit.config), "--out", str(out), "--offline"]
    done = subprocess.run(
        [shutil.which("python3", path=str(COMMAND.parent)), "-c", script, *words], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(notes(unit)) <= 1
    assert verify(unit.state / "log").problem is None
    assert typed(unit, out) == 0  # and nothing is left that stands in the way
    (*_, last) = notes(unit)
    assert bytes(read(last.text)[0].bundle) == open_bundle(out.read_bytes(), [KEY])


# With the unit up.


@pytest.fixture
def running(unit):
    unit.watching()
    return unit


def test_the_running_unit_makes_it_notes_it_and_gives_out_nothing_in_the_clear(running, tmp_path):
    out = tmp_path / "a.bundle"
    assert typed(running, out) == 0
    (note,) = notes(running)
    bundle = decode(open_bundle(out.read_bytes(), [KEY]))
    assert bundle.running
    assert bundle.facts["capture.state"] == "watching"
    assert bytes(read(note.text)[0].bundle) == open_bundle(out.read_bytes(), [KEY])


def test_whoever_may_ask_gets_only_what_is_ours_into_it(running):
    strangers = tuple(CheckSaid(name="canary.canary", status="fail", code="canary") for _ in range(5))
    sealed = ask(running.state, MakeBundle(strangers), 60.0).sealed
    bundle = decode(open_bundle(sealed, [KEY]))
    assert bundle.checks == ()
    assert bundle.left_out.checks == 5


def test_whoever_asks_and_asks_pushes_nothing_out_of_the_log(running):
    answers = [ask(running.state, MakeBundle(), 60.0) for _ in range(7)]
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(refused) == 2
    assert "support bundles" in refused[0].problem
    assert len(notes(running)) == 5


def test_what_the_running_unit_cannot_note_it_does_not_give_out(running, tmp_path, capsys):
    newest = max((running.state / "log").glob("segment-*"))
    with newest.open("ab") as file:
        file.write(b"x")
    out = tmp_path / "a.bundle"
    before = len(notes(running))
    assert typed(running, out) == 2
    assert not out.exists()
    assert len(notes(running)) == before


def test_without_the_key_the_running_unit_says_so(running, tmp_path, capsys):
    (tmp_path / "support.pub").unlink()
    answer = ask(running.state, MakeBundle(), 60.0)
    assert isinstance(answer, Refused)
    assert "support.pub: wanted a readable key file" in answer.problem
    assert notes(running) == []


def test_the_log_page_shows_all_of_it(running, tmp_path):
    typed(running, tmp_path / "a.bundle")
    page = tmp_path / "log.html"
    main(["log", "--config", str(running.config), "--html", str(page)])
    text = page.read_text()
    assert "Support bundle made" in text
    assert "for support: a file of" in text
    bundle = json.loads(open_bundle((tmp_path / "a.bundle").read_bytes(), [KEY]))
    for name in (*bundle["facts"], *bundle["settings"], bundle["unit"], bundle["policy"]["document"]):
        assert name in text
    assert "characters more" not in text.partition("Support bundle made")[2].partition("</li>")[0]


def test_a_factory_reset_takes_the_key_of_the_pseudonyms(unit, tmp_path):
    typed(unit, tmp_path / "a.bundle")
    first = decode(open_bundle((tmp_path / "a.bundle").read_bytes(), [KEY])).unit
    assert (unit.state / KEY_FILE).exists()
    (unit.state / "spool.db").touch()
    words = ["--config", unit.config, "--wifi", tmp_path / "wifi", "--site", tmp_path / "site"]
    assert main(["reset", "--factory", "--yes", *map(str, words)]) == 0
    assert not (unit.state / KEY_FILE).exists()
    assert first
