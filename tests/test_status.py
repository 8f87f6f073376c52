"""`deskwatch status`: one screen of what the unit does and why; of one that is down, what is left."""

import json
import os
import signal
import subprocess

import pytest

from edge.clock import SystemClock
from edge.diagnosis.check import Patient
from edge.status.command import lines_of
from edge.status.rows import Known
from edge.status.words import ALARMS, CAPTURES
from edge.uplink.messages import Alarm, AlarmCode, Capture
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from edge.worklog.reading import newest, read
from tests.broker import until
from tests.daemon import COMMAND

SOUND = {
    "capture.state": "watching",
    "capture.reason": "",
    "policy.version": 5.0,
    "policy.phase": "none",
    "link.address": "mqtt.example:8883",
    "link.connected": 1.0,
    "link.since_at": "2026-03-04T05:06:07.089Z",
    "spool.events": 0.0,
    "spool.thumbnails": 0.0,
    "led.fitted": 1.0,
    "button.fitted": 1.0,
    "notice.accepted_at": "2026-03-04T05:06:07.089Z",
    "unit.up_s": 3600.0,
    "unit.firmware": "0.1.0",
    "watch.frames": 10.0,
    "watch.inferences": 1.0,
}


def status(config, *more, columns=80):
    words = [COMMAND, "status", "--config", config, *more]
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "24"}
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=env)


def screen(facts, alarms=(), errors=(), width=80):
    clock = SystemClock()
    patient = Patient(clock, "unit.toml", facts=facts, alarms=alarms, errors=errors)
    return "\n".join(lines_of(Known(patient, [], "", clock.now_at()), width, colour=False))


def test_a_unit_that_runs_says_what_it_does_and_why_on_one_screen(daemon, mosquitto):
    mosquitto.start()
    daemon.watching()
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen")
    done = status(daemon.config)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Unit cam-1 is watching, since ")
    assert "policy    version 5, the unit's own: none came from afar" in lines
    assert f"link      connected to 127.0.0.1:{mosquitto.port}, since " in done.stdout
    assert "! There is no light that shows when the camera is open" in done.stdout
    assert "Cell phone seen" in done.stdout
    assert lines[-1] == "Next: sudo deskwatch diagnose"  # it has neither light nor button
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert max(map(len, status(daemon.config, columns=50).stdout.splitlines())) <= 50
    told = json.loads(status(daemon.config, "--json").stdout)
    assert (told["running"], told["unit"], told["last"]) == (True, "cam-1", "is watching")
    assert told["facts"]["capture.state"] == "watching"
    assert {alarm["code"] for alarm in told["alarms"]} >= {"no-indicator", "no-button"}


def test_one_that_was_killed_says_so_and_what_its_disk_tells(daemon):
    daemon.watching()
    until(lambda: "The camera was open" in status(daemon.config).stdout, "its log to say that it watches")
    daemon.stop(signal.SIGKILL)
    done = status(daemon.config)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "Unit cam-1 does not run, or cannot be asked."
    assert "systemctl status deskwatch" in done.stdout
    assert "Last in its log: it is watching, since" in " ".join(done.stdout.split())
    assert "policy    version 5" in lines
    assert "notice    accepted" in lines
    assert json.loads(status(daemon.config, "--json").stdout)["running"] is False


def test_one_without_settings_says_what_to_do(tmp_path):
    done = status(tmp_path / "unit.toml")
    assert done.returncode == 1
    assert done.stdout.startswith("This unit does not run, or cannot be asked.\n")
    assert "unit.toml:wantedareadableTOMLfile" in "".join(done.stdout.split())  # wrapped wherever it fits
    assert "\n\n\n" not in done.stdout


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"capture.state": "break", "break.left_s": 600.0}, "break     10 min left at most"),
        ({"capture.state": "repair", "repair.reason": "a loose\x1b cable"}, "repair    a loose· cable."),
        ({"capture.state": "off-shift"}, "is off shift, camera closed"),
        ({"capture.state": "blocked", "capture.reason": "covered"}, "out of focus or moved. Why: covered."),
        (
            {"policy.desired_version": 6.0, "policy.phase": "refused", "policy.error": "below-floor"},
            "below-floor",
        ),
        ({"link.connected": 0.0, "link.last_error": "refused"}, "NOT connected to mqtt.example:8883"),
        ({"spool.events": 3.0, "spool.dead_letters": 2.0}, "3 events, 0 pictures; 2 refused by the broker"),
        ({"spool.error": "disk I/O error"}, "not known: disk I/O error"),
        ({"led.trouble": "no current"}, "light does not work: no current"),
        ({"notice.accepted_at": None}, "notice NOT accepted: deskwatch notice --accept"),
        ({"capture.state": "break", "unit.safe": 1.0}, "is on a break, camera closed, and in safe mode."),
        (
            {
                "link.connected": 0.0,
                "link.last_error": "cannot reach it: [Errno -2] No name (SSL_BAD_X)",
            },
            "cannot reach it: No name",
        ),
        ({"errors.count": 2.0}, "errors    2 since the start"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(changed, wanted):
    sound, now = screen(SOUND), screen({**SOUND, **changed})
    assert wanted in " ".join(now.split()) or wanted in now
    assert wanted not in sound


@pytest.mark.parametrize("code", AlarmCode)
def test_every_alarm_says_what_is_wrong_and_what_to_do(code):
    told = screen(SOUND, alarms=(Alarm(code=code, detail="here"),))
    what, do = ALARMS[code]
    assert f"! {what}: here" in told
    assert do in " ".join(told.split())


@pytest.mark.parametrize(
    ("changed", "alarms", "wrong"),
    [
        ({}, (), False),
        ({"capture.state": "break"}, (), False),
        ({"capture.state": "break", "unit.safe": 1.0}, (), True),
        ({"link.connected": 0.0}, (), True),
        ({"capture.state": "camera-fault"}, (), True),
        ({"spool.error": "disk I/O error"}, (), True),
        ({}, (Alarm(code=AlarmCode.DISK_FULL),), True),
    ],
)
def test_the_next_step_is_named_where_something_is_wrong(changed, alarms, wrong):
    clock = SystemClock()
    patient = Patient(clock, "unit.toml", facts={**SOUND, **changed}, alarms=alarms)
    assert Known(patient, [], "", clock.now_at()).is_wrong is wrong


def test_a_unit_that_hangs_has_no_error_of_a_database_and_no_repair(daemon):
    daemon.watching()
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        done = status(daemon.config)
        words = [COMMAND, "diagnose", "--json", "--config", daemon.config]
        found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert "database is locked" not in done.stdout
    assert "repair --done" not in done.stdout
    assert done.stdout.endswith("\nNext: sudo deskwatch diagnose\n")
    results = {one["name"]: one for one in json.loads(found.stdout)["results"]}
    assert results["service.running"]["code"] == "silent"
    assert (results["worker.repair"]["status"], results["worker.repair"]["code"]) == ("skip", "")
    assert results["spool.integrity"]["status"] == "skip", results["spool.integrity"]


def test_every_state_of_the_camera_has_its_words():
    assert set(CAPTURES) == set(Capture)


def test_a_unit_that_says_too_little_is_still_shown():
    assert screen({}).startswith("This unit")
    assert screen({"capture.state": "a state of tomorrow"}).startswith("This unit a state of tomorrow")


def test_the_newest_entries_are_read_from_the_end(tmp_path):
    folder = tmp_path / "log"
    clock = SystemClock()
    with WorkerLog.open(folder, now_at=clock.now_at, now_s=clock.now_s) as log:
        for number in range(50):
            log.append([Here("camera", f"{number}")])
    whole = list(read(folder))
    for count in (0, 1, 7, len(whole), 1000):
        assert newest(folder, count) == whole[len(whole) - min(count, len(whole)) :]
    assert newest(tmp_path / "none", 5) == []


def test_a_look_at_a_unit_that_never_started_leaves_its_folder_as_it_was(daemon):
    daemon.accept_notice()
    (daemon.folder / "policy.json").write_text(json.dumps(daemon.policy))
    before = sorted(file.name for file in daemon.state.iterdir())
    done = status(daemon.config)
    assert "waiting   nothing\n" in done.stdout, done.stdout + done.stderr
    assert sorted(file.name for file in daemon.state.iterdir()) == before


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("repair", "new camera", "When done: deskwatch repair --done. Why: new camera."),
        ("off-shift", "policy-not-yet-valid", "Why: by its clock the policy is not valid yet: deskwatch"),
        ("off-shift", "policy-expired", "Why: its policy has expired: push a newer one"),
    ],
)
def test_the_reason_stands_apart_from_what_to_type_and_is_no_code(state, reason, said):
    text = screen({**SOUND, "capture.state": state, "capture.reason": reason}, width=200)
    assert said in text
