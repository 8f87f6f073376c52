"""The demo as a newcomer runs it: real footage, a real broker, and what arrived there."""

import datetime as dt
import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "deskwatch"


def demo(out, *arguments, **environment):
    return subprocess.run(
        [COMMAND, "demo", "--out", out, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def shown(phone_photo, people_photo, tmp_path_factory):
    """Two pictures in turn, in real time: a phone in a hand, then two people."""
    out = tmp_path_factory.mktemp("demo")
    done = demo(out, "--json", "--source", phone_photo, people_photo)
    assert done.returncode == 0, done.stderr
    return out, [json.loads(line) for line in done.stdout.splitlines()], done


def events(messages):
    return [m["payload"] for m in messages if m["topic"].endswith("/event")]


def test_all_arrives_in_order_none_twice_none_missing(shown):
    _, messages, done = shown
    got = events(messages)
    assert [event["data"]["seq"] for event in got] == list(range(1, len(got) + 1))
    assert len({event["id"] for event in got}) == len(got)
    opened = {event["id"]: event["subject"] for event in got if ".opened." in event["type"]}
    closed = [event["data"]["opened_id"] for event in got if ".closed." in event["type"]]
    assert sorted(opened.values()) == ["extra-person", "phone"]
    assert sorted(closed) == sorted(opened)
    assert all(set(message) == {"topic", "qos", "retain", "payload"} for message in messages)
    assert {message["qos"] for message in messages if not message["topic"].endswith("/health")} == {1}
    assert {message["qos"] for message in messages if message["topic"].endswith("/health")} == {0}
    assert "not understood" not in done.stderr


def test_each_picture_comes_after_its_event_and_is_saved_as_it_came(shown):
    out, messages, _ = shown
    topics = [message["topic"] for message in messages]
    thumbs = {
        t.rpartition("/")[2]: m["payload"] for t, m in zip(topics, messages, strict=True) if "/thumb/" in t
    }
    for event in events(messages):
        if ".opened." not in event["type"]:
            continue
        picture = thumbs[event["id"]]
        place = [m["payload"] is event for m in messages].index(True)
        assert topics.index(event["data"]["thumbnail"]["topic"]) > place
        saved = (out / f"{event['id']}.jpg").read_bytes()
        assert picture == {"bytes": len(saved), "sha256": hashlib.sha256(saved).hexdigest()}
        assert event["data"]["thumbnail"]["sha256"] == picture["sha256"]


def test_the_state_goes_from_birth_to_goodbye(shown):
    _, messages, _ = shown
    states = [m["payload"] for m in messages if m["topic"].endswith("/state")]
    assert states[0]["online"]
    assert "watching" in [state["capture"] for state in states]
    assert not states[-1]["online"]
    assert all(m["retain"] for m in messages if m["topic"].endswith("/state"))


def test_the_page_holds_every_event_and_picture_and_asks_nobody_for_anything(shown):
    out, messages, _ = shown
    page = (out / "page.html").read_text("utf-8")
    for event in events(messages):
        if ".opened." in event["type"]:
            assert event["id"] in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_it_says_what_it_does(shown):
    _, _, done = shown
    assert "broker: " in done.stderr
    assert "page.html" in done.stderr
    assert "Traceback" not in done.stderr


def test_by_itself_it_plays_the_project_s_own_clip_and_stops_when_told(tmp_path):
    """From a fresh clone, with no shared folder anywhere."""
    nowhere = {"DESKWATCH_SHARED": str(tmp_path / "nowhere"), "DESKWATCH_MODELS": ""}
    done = demo(tmp_path, "--json", "--for", "4", **nowhere)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()][-1]["payload"]["online"] is False


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_stops_the_unit_and_writes_the_page(phone_photo, tmp_path, told):
    """As Ctrl-C in a terminal does: the signal goes to the whole process group. An infraction is open."""
    demo = subprocess.Popen(
        [COMMAND, "demo", "--out", tmp_path, "--json", "--source", *[phone_photo] * 20],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    messages = []
    try:
        for line in demo.stdout:
            messages.append(json.loads(line))
            if "/thumb/" in messages[-1]["topic"]:
                os.killpg(demo.pid, told)
                break
        rest, said = demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.wait()
    messages += [json.loads(line) for line in rest.splitlines()]
    assert (demo.returncode, "Traceback" in said) == (0, False), said
    opened, closed = events(messages)
    assert closed["data"]["reason"] == "stopped"
    assert messages[-1]["payload"]["online"] is False
    page = (tmp_path / "page.html").read_text("utf-8")
    assert opened["id"] in page
    assert "closed: stopped" in page


def test_footage_that_was_not_seen_whole_is_a_partial_failure(phone_photo, cut_clip, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.png").write_bytes(phone_photo.read_bytes())
    (folder / "2.jpg").write_text("no image")
    done = demo(tmp_path / "out", "--json", "--source", cut_clip, folder)
    assert done.returncode == 1
    assert f"{cut_clip}: the video ended before its time" in done.stderr
    assert f"{folder}: 1 images could not be read" in done.stderr


def test_the_reader_of_its_lines_may_go_away(tmp_path):
    command = f"{COMMAND} demo --json --for 4 --out {tmp_path} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert (tmp_path / "page.html").is_file()


def test_it_runs_on_the_interpreter_that_is_asked_for(phone_photo, tmp_path):
    done = demo(tmp_path, "--json", "--for", "1", "--interpreter", "tflite", "--source", phone_photo)
    try:
        importlib.metadata.version("tflite-runtime")
    except importlib.metadata.PackageNotFoundError:
        assert done.returncode == 2
        assert "tflite-runtime" in done.stderr
    else:
        assert done.returncode == 0


def test_off_shift_it_says_so_instead_of_waiting(tmp_path):
    document = json.loads((Path(__file__).parents[1] / "edge" / "defaults" / "policy.json").read_text())
    now = dt.datetime.now(dt.UTC)
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    document["shifts"] = [{"days": [days[(now.weekday() + 3) % 7]], "start": "08:00", "end": "09:00"}]
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(document))
    done = demo(tmp_path / "out", "--policy", policy)
    assert done.returncode == 2
    assert "wanted a shift that is on now" in done.stderr


def test_piped_it_prints_a_sentence_for_each_message(phone_photo, tmp_path):
    done = demo(tmp_path, "--for", "4", "--source", phone_photo)
    lines = done.stdout.splitlines()
    assert "state  watching" in lines
    assert any(line.startswith("event  opened  phone") for line in lines)
    assert all(len(line) < 120 for line in lines)
