"""The command line: what a stranger types, what comes back, and the exit code."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import __version__
from edge.cli import main
from edge.detect import drawing_paths
from edge.evidence.sealing import new_private_key, open_sealed
from edge.policy.recipient import Recipient
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, checkout, find_card
from tests.clip import CLIP

SSD = "ssd-mobilenet-v1-coco"
MODEL = f"{DEFAULT_CARD}.tflite"
POLICY = Path(__file__).parents[1] / "edge" / "defaults" / "policy.json"


at_example = "2026-03-02T09:00, got "
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
COMMAND = Path(sys.executable).parent / "deskwatch"


def run(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def test_the_installed_command_answers():
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"deskwatch {__version__}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["policy", "check", POLICY]])
def test_a_full_standard_output_is_an_error_in_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, env=BUFFERED, text=True, check=False
        )
    assert done.returncode == 2
    first, recovery = done.stderr.splitlines()
    assert first.startswith("deskwatch: standard output: wanted ")
    assert "No space left on device" in first
    assert recovery.startswith("  what to do: ")


@pytest.mark.parametrize("arguments", [["--help"], ["policy", "check", POLICY]])
def test_a_reader_that_goes_away_is_no_noise(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, env=BUFFERED, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_output_is_no_fault_of_ours(closed):
    watch = [COMMAND, "operator", "watch", "--broker", "127.0.0.1:1", "--no-tls", "--tenant", "acme"]
    line = shlex.join(map(str, watch))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2  # nobody listens there; Python's own word for a fault is 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        *[[name, "--help"] for name in ("run", "replay", "detect", "demo", "bench", "policy", "model")],
        *[[name, "--help"] for name in ("log", "break", "resume", "notice", "repair", "operator")],
    ],
)
def test_help_says_what_each_command_is_for(arguments, capsys):
    assert run(*arguments) == (0 if arguments else 64)
    said = "".join(capsys.readouterr())
    assert "usage: deskwatch" in said
    assert max(len(line) for line in said.splitlines()) <= 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["watch"], "invalid choice"),
        (["replay"], "SOURCE"),
        (["detect", "--model", "x"], "IMAGE"),
        (["run"], "--config"),
        (["policy"], "VERB"),
        (["bench", "--seconds", "0"], "above 0"),
        (["bench", "--seconds", "abc"], "wanted seconds above 0, below a million, got 'abc'"),
        (["bench", "--seconds", "nan"], "wanted seconds"),
        (["bench", "--seconds", "1e-9"], "wanted 1 second or more, got '1e-9'"),
        (["bench", "--frames", "-5"], "wanted a whole number, 0 or more, got '-5'"),
        (["bench", "--threads", "4"], "--threads"),
        *[
            (
                ["replay", "a.mp4", "--model", "x", "--at", at],
                f"wanted a time from 2000 to 2099, {at_example}",
            )
            for at in ("noon", "", "9999-12-31T23:59", "0001-01-01", "0001-01-01T00:00+14:00")
        ],
        *[
            (
                ["replay", "a.mp4", "--break", span],
                f"wanted START-END in seconds, the end later, below a million: 3-8, got {span!r}",
            )
            for span in ("3", "8-3", "3-3", "a-b", "nan-8", "0-inf", "")
        ],
        (["detect", "a.jpg", "--model", "x", "--threads", "99"], "--threads"),
    ],
)
def test_wrong_usage_is_64_and_points_to_help(arguments, says, capsys):
    assert run(*arguments) == 64
    error = capsys.readouterr().err
    assert says in error
    assert "--help" in error


def test_a_good_policy(capsys):
    assert run("policy", "check", POLICY) == 0
    assert f"good: version 1, 6 rules, continuous, on labels of {DEFAULT_CARD}\n" in capsys.readouterr().out


def test_a_policy_that_can_never_watch_is_a_finding(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["expires_at"] = "2026-02-01T00:00:00Z"
    wrong = tmp_path / "policy.json"
    wrong.write_text(json.dumps(document))
    assert run("policy", "check", wrong) == 1
    assert "$.expires_at" in capsys.readouterr().out


def test_a_policy_says_whom_its_pictures_are_sealed_to(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["thumbnail"]["recipient"] = "x25519:hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"
    sealed = tmp_path / "policy.json"
    sealed.write_text(json.dumps(document))
    assert run("policy", "check", sealed) == 0
    kid = Recipient.parse(document["thumbnail"]["recipient"]).kid
    assert f"its pictures are sealed to key {kid}" in capsys.readouterr().out
    document["thumbnail"]["recipient"] = "key-1"
    sealed.write_text(json.dumps(document))
    assert run("policy", "check", sealed) == 1
    assert "$.thumbnail.recipient" in capsys.readouterr().out


def test_a_replay_under_a_policy_with_a_recipient_writes_no_open_picture(tmp_path, capsys):
    key, out = new_private_key(), tmp_path / "out"
    document = json.loads(POLICY.read_text())
    document["thumbnail"]["recipient"] = key.recipient.text
    sealed = tmp_path / "policy.json"
    sealed.write_text(json.dumps(document))
    assert run("replay", CLIP, "--policy", sealed, "--out", out) == 1
    files = sorted(out.iterdir())
    assert files
    assert {path.suffix for path in files} == {".sealed"}
    assert f"sealed to {key.kid}" in capsys.readouterr().out
    for path in files:
        data = path.read_bytes()
        assert b"JFIF" not in data
        assert b"JFIF" in open_sealed(data, [key], "replay", path.stem)[:20]


def test_a_good_policy_says_when_it_watches(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["timezone"] = "America/Bogota"
    good = tmp_path / "policy.json"
    good.write_text(json.dumps(document))
    assert run("policy", "check", good) == 0
    assert re.search(r"watches from \w{3} \d{4}-\d\d-\d\d \d\d:\d\d America/Bogota", capsys.readouterr().out)


def test_a_wrong_policy_is_a_finding_with_its_path(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["rules"][0]["hold"] = 3
    wrong = tmp_path / "policy.json"
    wrong.write_text(json.dumps(document))
    assert run("policy", "check", wrong) == 1
    said = capsys.readouterr().out
    assert "$.rules[0].hold" in said
    assert "policy.json" in said


def test_a_missing_policy_is_an_error(tmp_path, capsys):
    assert run("policy", "check", tmp_path / "absent.json") == 2
    assert "absent.json" in capsys.readouterr().err
    assert run("policy", "check", tmp_path) == 2
    assert "Is a directory" in capsys.readouterr().err


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy", "check", LONG],
        ["policy", "check", POLICY, "--model", LONG],
        ["model", "check", LONG],
        ["model", "fetch", SSD, "--into", LONG],
        ["replay", LONG],
        ["replay", "a.jpg", "--model", LONG],
        ["replay", "a.jpg", "--out", LONG],
        ["replay", "a.jpg", "--policy", LONG],
        ["detect", LONG],
        ["detect", "a.jpg", "--draw", LONG],
        ["run", "--config", LONG],
    ],
)
def test_a_name_that_is_too_long_is_an_error_that_says_so(arguments, capsys):
    assert run(*arguments) == 2
    assert f"{LONG[:200]}" in (error := capsys.readouterr().err)
    assert "too long" in error or "no such path" in error


@pytest.mark.parametrize(
    "arguments", [["run", "--config"], ["policy", "check"], ["replay", "a.jpg", "--policy"]]
)
def test_a_pipe_is_not_waited_for(tmp_path, arguments, capsys):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert run(*arguments, path) == 2
        assert f"{path}: wanted" in (error := capsys.readouterr().err)
        assert "neither a file nor a folder" in error


def test_a_policy_that_is_too_large_is_a_finding(tmp_path, capsys):
    large = tmp_path / "large.json"
    large.write_bytes(POLICY.read_bytes().ljust(100_000))
    assert run("policy", "check", large) == 1
    assert "more than 64000 bytes" in capsys.readouterr().out


def test_a_policy_is_checked_against_a_model_s_labels(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["rules"][0]["labels"] = ["bottle"]
    wrong = tmp_path / "policy.json"
    wrong.write_text(json.dumps(document))
    assert run("policy", "check", wrong) == 1
    assert "$.rules[0].labels[0]" in capsys.readouterr().out
    assert run("policy", "check", wrong, "--model", SSD) == 1
    assert "$.rules[1].labels[0]" in capsys.readouterr().out
    document["rules"] = document["rules"][:1]
    wrong.write_text(json.dumps(document))
    assert run("policy", "check", wrong, "--model", SSD) == 0
    assert f"on labels of {SSD}" in capsys.readouterr().out


def test_the_model_that_ships_is_good_and_has_nothing_to_be_fetched(capsys):
    assert run("model", "check", DEFAULT_CARD) == 0
    assert re.search(r"good: .*384x320, 9 labels, .* \d", capsys.readouterr().out)
    assert run("model", "fetch", DEFAULT_CARD) == 0
    assert capsys.readouterr().out == f"{checkout() / 'models' / MODEL}: in place and verified\n"


def test_a_model_without_an_address_cannot_be_fetched(tmp_path, capsys):
    shutil.copy(find_card(DEFAULT_CARD), tmp_path / "card.toml")
    assert run("model", "fetch", tmp_path / "card.toml") == 2
    assert "take the file from where the card came from" in capsys.readouterr().err
    assert run("model", "check", tmp_path / "card.toml") == 1
    assert "copy the file there" in (said := capsys.readouterr().out)
    assert str(tmp_path) in said
    (tmp_path / MODEL).write_bytes(b"this is text\n" * 9)
    assert run("model", "fetch", tmp_path / "card.toml") == 2
    assert "wanted a TFLite model" in capsys.readouterr().err


@pytest.fixture
def card(tmp_path):
    """A copy of the card with its model beside it, to spoil."""
    shutil.copy(find_card(DEFAULT_CARD), tmp_path / "card.toml")
    (tmp_path / MODEL).write_bytes((checkout() / "models" / MODEL).read_bytes())
    return tmp_path / "card.toml"


def test_a_spoilt_model_is_a_finding_that_names_wanted_and_got(card, capsys):
    model = card.with_name(MODEL)
    good = model.read_bytes()
    for data, says in [
        (good[:100_000], MODEL),
        (b"this is text\n" * 9, MODEL),
        (good[:-1] + bytes([good[-1] ^ 1]), "sha256"),
    ]:
        model.write_bytes(data)
        assert run("model", "check", card) == 1
        assert says in capsys.readouterr().out


def test_a_card_with_an_unknown_key_is_a_finding(card, capsys):
    card.write_text('colour = "red"\n' + card.read_text())
    assert run("model", "check", card) == 1
    assert "colour" in capsys.readouterr().out


def test_a_card_that_nests_without_end_is_a_finding(tmp_path, capsys):
    deep = tmp_path / "deep.toml"
    deep.write_text("a = " + "[" * 100_000)
    assert run("model", "check", deep) == 1
    assert "deep.toml" in capsys.readouterr().out


def test_no_rule_may_name_a_class_that_the_model_does_not_use(tmp_path, capsys):
    document = json.loads(POLICY.read_text())
    document["rules"][0]["labels"] = ["???"]
    wrong = tmp_path / "policy.json"
    wrong.write_text(json.dumps(document))
    assert run("policy", "check", wrong, "--model", SSD) == 1
    assert "$.rules[0].labels[0]" in capsys.readouterr().out


def test_an_unknown_model_is_an_error_that_says_what_to_do(capsys):
    assert run("model", "check", "no-such-model") == 2
    said = capsys.readouterr().err
    assert "no-such-model" in said
    assert "what to do:" in said


def test_detect_gives_what_the_detector_sees(phone_photo, capsys):
    photo = phone_photo
    assert run("detect", photo, "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["image"] == str(photo)
    detector = Detector.load(find_card(DEFAULT_CARD))
    rgb = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    wanted = detector.detect(detector.view(np.asarray(rgb)))
    assert [d["label"] for d in line["detections"]] == [d.label for d in wanted]
    assert "cell phone" in [d["label"] for d in line["detections"]]
    assert line["detections"][0]["score"] == pytest.approx(wanted[0].score, abs=1e-3)
    box = wanted[0].box
    assert line["detections"][0]["box"] == pytest.approx([box.x0, box.y0, box.x1, box.y1], abs=1e-3)


def test_detect_names_and_skips_what_is_no_image(phone_photo, tmp_path, capsys):
    photo, text = phone_photo, tmp_path / "text.jpg"
    text.write_text("no image")
    assert run("detect", photo, text, tmp_path / "absent.jpg", "--json") == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert "text.jpg" in said.err
    assert "absent.jpg" in said.err
    assert run("detect", text) == 2


def test_detect_goes_on_after_an_image_that_claims_to_be_enormous(phone_photo, tmp_path, capsys):
    size = (100_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    header = b"\0\0\0\rIHDR" + size + zlib.crc32(b"IHDR" + size).to_bytes(4)
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + bytes(100))
    photo = phone_photo
    assert run("detect", tmp_path / "huge.png", photo, "--json") == 1
    said = capsys.readouterr()
    assert [json.loads(line)["image"] for line in said.out.splitlines()] == [str(photo)]
    assert "huge.png" in said.err


def test_drawings_of_the_same_name_do_not_overwrite_each_other():
    images = [Path(name) for name in ("a/x.jpg", "b/x.jpg", "x-2.png", "a/x.jpg", "y.jpg")]
    names = [path.name for path in drawing_paths(Path("out"), images)]
    assert names == ["x.png", "x-2.png", "x-2-2.png", "x-3.png", "y.png"]
    assert drawing_paths(Path("out.jpg"), images[:1]) == [Path("out.jpg")]


def test_detect_draws_boxes(phone_photo, tmp_path, capsys):
    photo = phone_photo
    assert run("detect", photo, "--draw", tmp_path / "drawn.png") == 0
    drawn, plain = cv2.imread(str(tmp_path / "drawn.png")), cv2.imread(str(photo))
    assert drawn.shape == plain.shape
    assert 0.01 < (drawn != plain).any(axis=2).mean() < 0.5
    assert run("detect", photo, photo, "--draw", tmp_path / "folder") == 0
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == ["phone-2.png", "phone.png"]
    capsys.readouterr()


def test_a_drawing_that_cannot_be_is_refused_before_the_model_is_loaded(tmp_path, capsys):
    image = tmp_path / "a.png"
    image.write_bytes(b"image")
    for draw, says in [
        (image, "another file than the image"),
        (tmp_path, "another file than the image"),
        (tmp_path / "drawn", "wanted a name that ends in .png"),
        (tmp_path / "drawn.xyz", "wanted a name that ends in .png"),
        (image / "drawn.png", "wanted a folder"),
    ]:
        assert run("detect", image, "--model", "no-such-model", "--draw", draw) == 2
        assert says in capsys.readouterr().err
    assert image.read_bytes() == b"image"


def test_replay_prints_a_line_per_event_and_saves_thumbnails(phone_photo, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert run("replay", phone_photo, "--policy", POLICY, "--out", out, "--json") == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    opened = [event for event in events if event["type"] == "deskwatch.infraction.opened.v1"]
    assert "phone" in [event["subject"] for event in opened]
    assert [event["data"]["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {path.stem for path in out.iterdir()} == {event["id"] for event in opened}


def test_replay_in_words(phone_photo, capsys):
    assert run("replay", phone_photo, "--hold", "3") == 1
    said = capsys.readouterr().out
    assert re.search(r"0:02\.[01]  opened  phone +cell phone 0\.\d\d", said)
    assert "30 frames" in said


def test_a_replay_that_finds_nothing_is_0(phone_photo, capsys):
    assert run("replay", phone_photo, "--hold", "1") == 0
    assert "0 infractions" in capsys.readouterr().out


def test_a_truncated_clip_is_a_partial_failure(cut_clip, capsys):
    assert run("replay", cut_clip) == 1
    assert "truncated" in capsys.readouterr().err


def test_footage_that_is_none_is_an_error(tmp_path, capsys):
    assert run("replay", tmp_path / "absent.mp4") == 2
    assert "absent.mp4" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_made_is_an_error(phone_photo, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("replay", phone_photo, "--out", tmp_path / "file" / "folder") == 2
    assert "folder for pictures" in capsys.readouterr().err


def test_the_daemon_names_what_is_wrong_with_its_settings(tmp_path, capsys):
    assert run("run", "--config", tmp_path / "absent.toml") == 2
    assert "absent.toml" in capsys.readouterr().err
