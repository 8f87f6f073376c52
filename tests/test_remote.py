"""A unit that is run from afar: the shipped daemon, a real mosquitto, and the operator's own commands."""

import datetime as dt
import json
import re
import signal
import subprocess

import pytest

from edge.diagnosis.table import table
from edge.state_folder import TWIN_FOLDER
from edge.uplink.command_messages import decode_ack
from edge.uplink.listener import listen
from edge.uplink.messages import decode_state
from edge.uplink.signals import Publication
from edge.uplink.twin_messages import decode_reported
from edge.uplink.wire import timestamp
from tests.broker import collect, free_port, subscribed, until
from tests.daemon import COMMAND
from tests.test_unit import events_of, states_of

ROOT = "deskwatch/v1/acme/cam-1"
UNICORN = {"id": "x", "kind": "object", "labels": ["unicorn"]}


class Operator:
    """`deskwatch operator`, with a key and a broker."""

    def __init__(self, folder, mosquitto):
        self.folder = folder
        self.broker = ["--tenant", "acme", "--broker", f"127.0.0.1:{mosquitto.port}", "--no-tls"]
        self.run("keygen", folder / "op")

    def run(self, *words, timeout_s=90):
        command = [COMMAND, "operator", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def push(self, policy):
        path = self.folder / "new.json"
        path.write_text(json.dumps(policy))
        key = ["--key", self.folder / "op.key"]
        done = self.run("push", path, "--unit", "cam-1", *self.broker, *key, "--timeout", "60", "--json")
        return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else done.stderr

    def command(self, name, *more):
        done = self.run("command", name, "--unit", "cam-1", *self.broker, *more, "--json")
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
def operator(tmp_path, daemon, mosquitto):
    mosquitto.start()
    operator = Operator(tmp_path, mosquitto)
    keys = f'[twin]\ntrusted_keys = ["{tmp_path}/op.pub"]\nconfirm_timeout_s = 30'
    daemon.config.write_text(f"{daemon.config.read_text()}\n{keys}\n")
    return operator


def online(daemon):
    """Start a unit, and wait until it watches and listens: a broker keeps nothing for who never came."""
    daemon.watching()
    # It leaves behind the subscriptions.
    with listen(daemon.broker.config("waits-for-state"), f"{ROOT}/state") as listener:
        states = [decode_state(one.payload) for one in collect(listener, lambda got: newest(got, daemon), 60)]
    daemon.session = states[-1].session


def newest(got, daemon):
    """Whether the unit that was started last is online."""
    states = [decode_state(one.payload) for one in got]
    return any(state.online and state.session > daemon.session for state in states)


def newer(daemon, version=6, **changes):
    return {**daemon.policy, "version": version, **changes}


def reported(mosquitto):
    with subscribed(mosquitto, f"{ROOT}/config/reported") as listener:
        return decode_reported(listener.receive(10.0).payload)


def test_a_signed_policy_is_proven_and_outlasts_a_restart(daemon, operator, mosquitto):
    online(daemon)
    renamed = newer(daemon, rules=[{**daemon.policy["rules"][0], "id": "telephone"}])
    with subscribed(mosquitto, f"{ROOT}/event") as listener:
        code, outcome = operator.push(renamed)
        assert (code, outcome["outcome"]) == (0, "confirmed"), outcome
        collect(listener, lambda got: any(e.subject == "telephone" for e in events_of(got)), 30)
    assert daemon.stop() == 0
    online(daemon)
    assert "policy version 6" in daemon.said()
    until(lambda: reported(mosquitto).session == 2, "the second session")
    assert (reported(mosquitto).phase, reported(mosquitto).running.version) == ("confirmed", 6)


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"version": 1, "unit": "cam-2"}, "other-unit", "$.unit"),
        ({"thumbnail": {"retain_days": 90}}, "below-floor", "$.thumbnail.retain_days"),
        (
            {"rules": [{"id": "x", "kind": "object", "labels": ["unicorn"]}]},
            "unserved-label",
            "$.rules[0].labels[0]",
        ),
    ],
)
def test_a_policy_that_this_unit_cannot_run_is_refused_with_code_and_path(
    daemon, operator, mosquitto, changes, code, path
):
    """What `sign` would refuse already is signed here all the same: a unit trusts no tool."""
    from edge.uplink.envelope import read_signing_key, seal

    online(daemon)
    envelope = seal(
        json.dumps(newer(daemon, **changes)).encode(), read_signing_key(operator.folder / "op.key")
    )
    with subscribed(mosquitto, f"{ROOT}/config/reported") as listener:
        listener.publish(Publication(f"{ROOT}/config/desired", envelope, "application/jose", retain=True))
        got = collect(listener, lambda got: any(decode_reported(m.payload).error for m in got), 20)
    report = decode_reported(got[-1].payload)
    assert (report.phase, report.error.code, report.error.path) == ("refused", code, path)
    assert report.running.version == 5


def test_a_policy_that_leads_to_a_dead_broker_comes_back_by_itself(daemon, operator, mosquitto):
    online(daemon)
    lost = newer(daemon, broker={"host": "127.0.0.1", "port": free_port(), "tls": False})
    code, outcome = operator.push(lost)
    assert (code, outcome["outcome"]) == (1, "rolled back"), outcome
    report = reported(mosquitto)
    assert (report.phase, report.error.code) == ("rolled-back", "trial-not-connected")
    assert report.running.version == 5
    code, outcome = operator.push(newer(daemon, version=7))
    assert (code, outcome["outcome"]) == (0, "confirmed"), outcome


def test_a_power_cut_on_trial_brings_the_last_known_good_back(daemon, operator, mosquitto):
    online(daemon)
    lost = newer(daemon, broker={"host": "127.0.0.1", "port": free_port(), "tls": False})
    key = ["--key", operator.folder / "op.key", "--timeout", "60"]
    pushing = subprocess.Popen(
        [COMMAND, "operator", "push", _written(operator, lost), "--unit", "cam-1", *operator.broker, *key],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    notes = daemon.state / TWIN_FOLDER / "twin.json"
    until(lambda: notes.exists() and '"trial":{' in notes.read_text(), "the trial", 30)
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    online(daemon)
    assert pushing.wait(60) == 1
    report = reported(mosquitto)
    assert (report.phase, report.error.code) == ("rolled-back", "trial-interrupted")
    assert report.running.version == 5


def _written(operator, policy):
    path = operator.folder / "lost.json"
    path.write_text(json.dumps(policy))
    return path


def test_commands_are_done_and_answered(daemon, operator, mosquitto):
    online(daemon)
    code, reply = operator.command("break", "--reason", "water")
    assert code == 0, reply
    with subscribed(mosquitto, f"{ROOT}/state") as listener:
        collect(listener, lambda got: states_of(got)[-1].capture == "break" if got else False)
    code, reply = operator.command("spot-check")
    assert (code, reply["error"]["code"]) == (1, "on-break")

    code, reply = operator.command("diagnose")
    assert code == 0, reply
    facts = reply["result"]["facts"]
    assert facts["capture.state"] == "break"
    assert facts["policy.version"] == 5
    assert facts["spool.dead_letters"] == 0
    assert 0 < facts["break.left_s"] <= 1800

    checks = reply["result"]["checks"]
    assert [one["name"] for one in checks] == [check.name for check in table()]
    assert not [one for one in checks if one["code"] in {"could-not-run", "too-slow"}]
    assert "water" not in json.dumps(checks)

    code, reply = operator.command("resume")
    assert code == 0, reply
    code, reply = operator.command("spot-check")
    assert code == 0, reply
    assert [seen["label"] for seen in reply["result"]["seen"]] == ["cell phone"]
    assert reply["result"]["capture"] == "watching"
    code, reply = operator.command("spot-check")
    assert (code, reply["error"]["code"]) == (1, "busy")
    code, reply = operator.command("identify")
    assert (code, reply["error"]["code"]) == (1, "no-led")


def test_a_diagnosis_from_afar_is_shown_the_worst_first_and_has_nothing_of_the_worker(
    daemon, operator, mosquitto
):
    canary = "kanarienvogel"
    folder = daemon.folder / canary
    folder.mkdir()
    text = daemon.config.read_text().replace(f"{daemon.folder}/policy.json", f"{folder}/policy.json")
    daemon.config.write_text(text)
    (folder / "policy.json").write_text(json.dumps(daemon.policy))
    online(daemon)
    where = ["--config", str(daemon.config)]
    assert subprocess.run([COMMAND, "repair", "--reason", canary, *where], check=False).returncode == 0
    (folder / "policy.json").write_text(json.dumps({**daemon.policy, "rules": [{"id": canary}]}))
    daemon.config.write_text(f"{text}\n[{canary}]\n")
    done = operator.run("command", "diagnose", "--unit", "cam-1", *operator.broker)
    assert done.returncode == 0, done.stderr
    table_text, _, facts = done.stdout.partition("What it says of itself:")
    assert facts, done.stdout
    assert canary not in done.stdout
    assert re.search(r"^  repair.reason +told at the unit alone", facts, re.MULTILINE)
    lines = table_text.splitlines()
    assert lines[0] == "Unit cam-1"
    assert lines[1].startswith("FAIL: config.readable: wrong"), lines[1]
    statuses = [line[:4] for line in lines[2:] if line[:4].strip() in {"FAIL", "WARN", "SKIP", "PASS"}]
    order = ["FAIL", "WARN", "SKIP", "PASS"]
    assert statuses == sorted(statuses, key=order.index)
    assert "→ Correct the line that is named in unit.toml" in " ".join(table_text.split())
    assert re.search(r"^  link.connected +yes$", facts, re.MULTILINE)


def test_a_break_outlasts_a_kill_and_its_events_arrive(daemon, operator, mosquitto):
    with subscribed(mosquitto) as listener:
        online(daemon)
        code, reply = operator.command("break", "--reason", "water")
        assert code == 0, reply
        until(lambda: "INFO: break" in daemon.said(), "the break")
        daemon.stop(signal.SIGKILL)
        daemon.start()
        until(lambda: daemon.said().count("INFO: break") == 2, "the break to go on", 30)
        code, reply = operator.command("resume", "--reason", "back")
        assert code == 0, reply
        got = collect(listener, lambda got: any("break.ended" in type_of(m) for m in got), 30)
    breaks = [event for event in events_of(got) if event.subject == "break"]
    started, ended = breaks[0], breaks[-1]
    assert {event.id for event in breaks} == {started.id, ended.id}
    assert (started.data.reason, started.data.by) == ("water", "command")
    assert (ended.data.started_id, ended.data.by) == (started.id, "command")


def type_of(message):
    return json.loads(message.payload).get("type", "") if message.topic.endswith("/event") else ""


def test_a_reload_starts_over_with_what_is_in_the_file_and_refuses_what_is_not_good(
    daemon, operator, mosquitto
):
    online(daemon)
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("[camera]", "[kamera]"))
    code, reply = operator.command("reload")
    assert (code, reply["error"]["code"]) == (1, "failed")
    assert "kamera" in reply["error"]["problem"]
    daemon.config.write_text(good + "[spool]\nmax_age_days = 30\n")
    code, reply = operator.command("reload")
    assert code == 0, reply
    until(lambda: daemon.said().count("INFO: deskwatch ") == 2, "the second hello", 30)
    code, reply = operator.command("diagnose")
    assert (code, reply["result"]["facts"]["unit.session"]) == (0, 2)
    assert daemon.stop() == 0


def test_a_reload_with_settings_that_do_not_start_leaves_the_unit_as_it_was(daemon, operator, mosquitto):
    """What no check beforehand can know: whether there is such a pin, or the disk takes a file."""
    online(daemon)
    good = daemon.config.read_text()
    nowhere = daemon.folder / "a-file"
    nowhere.write_text("")
    daemon.config.write_text(good.replace(f'state = "{daemon.state}"', f'state = "{nowhere}/state"'))
    code, reply = operator.command("reload")
    assert code == 0, reply
    until(lambda: "goes on as before" in daemon.said(), "the unit to try", 30)
    code, reply = operator.command("diagnose")
    assert (code, reply["result"]["facts"]["unit.session"]) == (0, 2)
    assert str(nowhere) in daemon.said()
    assert daemon.stop() == 0


def test_events_stay_on_the_unit_until_the_ingester_has_them(daemon, operator, mosquitto, tmp_path):
    daemon.config.write_text(daemon.config.read_text() + '[uplink]\nrelease = "ack"\n')
    online(daemon)
    until(lambda: "opened phone" in daemon.said(), "the phone to be seen", 30)
    code, reply = operator.command("diagnose")
    assert (code, reply["result"]["facts"]["spool.events"]) == (0, 1)
    daemon.stop(signal.SIGKILL)
    store = tmp_path / "store.db"
    with subscribed(mosquitto, f"{ROOT}/ack") as listener:
        ingester = subprocess.Popen(
            [COMMAND, "operator", "ack", *operator.broker, "--store", store],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: "ingester" in mosquitto.said(), "the ingester to connect", 30)
            online(daemon)
            collect(listener, lambda got: any(decode_ack(m.payload).seq >= 2 for m in got), 60)
        finally:
            ingester.terminate()
            assert ingester.wait(20) == 0
    code, reply = operator.command("diagnose")
    assert (code, reply["result"]["facts"]["link.ingester_seq"] >= 2) == (0, True)


def test_a_command_that_is_old_retained_or_garbage_changes_nothing(daemon, operator, mosquitto):
    online(daemon)
    assert operator.command("diagnose")[0] == 0  # it is there, and listens
    old = {"id": "old", "expires_at": timestamp(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))}
    with subscribed(mosquitto, f"{ROOT}/reply/spot-check") as listener:
        for name, payload in (
            ("spot-check", json.dumps(old).encode()),
            ("break", b"\xff" * 100),
            ("self-destruct", b"{}"),
        ):
            listener.publish(Publication(f"{ROOT}/cmd/{name}", payload, "application/json"))
        (reply,) = collect(listener, len, 20)
    assert json.loads(reply.payload)["error"]["code"] == "expired"
    _, reply = operator.command("diagnose")
    facts = reply["result"]["facts"]
    assert (facts["capture.state"], facts["link.messages_refused"]) == ("watching", 3)
