"""Canaries in every text that a unit knows: none of them is in a support bundle, sealed or opened.

A real daemon and the real commands, up and down; and the proof that a leak would be seen.
"""

import base64
import copy
import datetime as dt
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from edge.config import read_config
from edge.control.client import NoUnitHere, ask
from edge.control.protocol import LoggedError, Status
from edge.evidence.sealing import new_private_key, open_bundle
from edge.policy.document import parse_policy
from edge.support import extracts
from edge.support.bundle import decode
from edge.support.making import Sources, gather
from edge.support.noted import NOTED, read
from edge.support.pseudonyms import Pseudonyms
from edge.support.tables import FACTS, FACTS_LEFT_OUT
from edge.support.treatment import Treatment
from edge.uplink.signals import Publication
from edge.worklog.entries import Here
from edge.worklog.reading import read as read_log
from edge.worklog.reading import verify
from tests.broker import free_port, subscribed, until
from tests.daemon import COMMAND
from tests.support.canaries import Canaries, found

KEY = new_private_key()
NAMED = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
"""Runs a command on a host of another name, which comes next."""


class Planted:
    """A unit whose every text is a canary, and that has something to complain of."""

    def __init__(self, daemon, photo, folder):
        self.daemon, self.folder, self.canaries = daemon, folder, Canaries()
        plant = self.canaries.plant
        self.state = daemon.state = folder / plant("state folder") / "state"
        self.state.parent.mkdir()
        self.photo = folder / f"{plant('footage')}.png"
        self.photo.write_bytes(photo.read_bytes())
        (folder / f"{plant('support key file')}.pub").write_bytes(KEY.public_pem())
        (folder / plant("password file")).write_text(plant("password"))
        out = folder / plant("operator key")
        subprocess.run([COMMAND, "operator", "keygen", out], check=True, capture_output=True)
        daemon.policy["rules"] = [
            {"id": plant("rule id"), "kind": "object", "labels": ["cell phone"]},
            {"id": f"{plant('people rule')}-2", "kind": "people", "max": 1},
        ]
        self.configure(f"{plant('broker host')}.invalid", free_port())
        self.environ = {**os.environ, plant("variable").upper(): plant("value of a variable")}
        self.on_host = [*NAMED, plant("host name")] if os.geteuid() == 0 else []

    def configure(self, host, port):
        plant = self.canaries.plant
        self.daemon.config.write_text(
            f"""
            [unit]
            tenant = "{plant("tenant")}"
            id = "{plant("unit id")}"
            [broker]
            host = "{host}"
            port = {port}
            tls = false
            username = "{plant("username")}"
            password_file = "{self.folder}/{plant("password file")}"
            reconnect_spread_s = 0.2
            reconnect_max_s = 1
            [camera]
            kind = "replay"
            source = "{self.photo}"
            [paths]
            state = "{self.state}"
            policy = "{self.daemon.folder}/policy.json"
            [twin]
            trusted_keys = ["{self.folder}/{plant("operator key")}.pub"]
            [support]
            key_file = "{self.folder}/{plant("support key file")}.pub"
            [health]
            textfile = "{self.folder}/{plant("text file")}.prom"
            """
        )

    def start(self):
        plant = self.canaries.plant
        self.daemon.accept_notice()
        (self.state / f"{plant('file in the state folder')}.json").write_text(plant("text in a file there"))
        (self.daemon.folder / "policy.json").write_text(json.dumps(self.daemon.policy))
        command = [*self.on_host, COMMAND, "run", "--config", self.daemon.config]
        with self.daemon.log.open("a") as log:
            self.daemon.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environ)

    def until_said(self, *words):
        until(lambda: all(word in self.said() for word in words), f"the unit to say {words}", 60)

    def said(self):
        assert self.daemon.process.poll() is None, self.daemon.said()
        return self.daemon.said()

    def typed(self, *words):
        done = subprocess.run(
            [*self.on_host, COMMAND, *map(str, words), "--config", self.daemon.config],
            capture_output=True,
            text=True,
            check=False,
            env=self.environ,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        return done

    def bundle(self, name):
        out = self.folder / name
        self.typed("support-bundle", "--out", out, "--offline")
        assert out.stat().st_mode & 0o777 == 0o600
        return out.read_bytes()

    def fact(self, name):
        try:
            return ask(self.state, Status()).facts[name]
        except NoUnitHere:
            self.said()
            return None

    def notes(self):
        notes = [entry.note for entry in read_log(self.state / "log")]
        return [note for note in notes if isinstance(note, Here) and note.what == NOTED]


@pytest.fixture
def planted(daemon, phone_photo, tmp_path):
    return Planted(daemon, phone_photo, tmp_path)


def opened(sealed):
    return open_bundle(sealed, [KEY])


@pytest.mark.timeout(300)
def test_no_canary_is_in_a_bundle_with_the_unit_up_or_down(planted):
    plant = planted.canaries.plant
    planted.start()
    planted.until_said("watching", plant("broker host"))  # which leads nowhere: that is complained of
    planted.typed("break", "--reason", plant("reason of a break"))
    planted.typed("repair", "--reason", plant("reason of a repair"))
    facts = ask(planted.state, Status()).facts
    assert facts.keys() <= FACTS.keys() | FACTS_LEFT_OUT.keys()
    up = planted.bundle("up.bundle")
    planted.daemon.stop()
    down = planted.bundle("down.bundle")

    marks = planted.canaries.planted
    told = decode(opened(up))
    assert told.running
    assert told.facts["repair.reason"] is True
    assert told.facts["link.connected"] == 0.0
    assert told.left_out.facts == told.left_out.checks == 0
    assert told.checks
    assert [each.count for each in told.errors if each.template == "uplink: %s"] != []
    assert told.left_out.errors == 0
    assert told.policy.rules == {"object": 1, "people": 1}
    assert not decode(opened(down)).running
    # What the unit said, and its facts, are full of them; the bundles have none.
    assert len(found(planted.daemon.log.read_bytes() + json.dumps(facts).encode(), marks)) >= 4
    for sealed in (up, down):
        assert found(opened(sealed), marks) == []
        assert found(sealed, marks) == []
    # What the worker reads is what was sealed.
    notes = planted.notes()
    assert len(notes) == 2
    for note, sealed in zip(notes, (up, down), strict=True):
        noted, _ = read(note.text)
        assert bytes(noted.bundle) == opened(sealed)
        assert noted.bytes == len(sealed)
    assert verify(planted.state / "log").problem is None
    # This machine's host, folders and addresses are no canaries, and are not there either.
    clear = opened(up).decode().lower()
    assert os.uname().nodename.lower() not in re.findall(r"[a-z0-9.-]+", clear)
    for word in (str(planted.folder).lower(), "/home", "/etc", ".invalid"):
        assert word not in clear


@pytest.mark.timeout(300)
def test_no_canary_comes_from_the_broker_either(planted, mosquitto):
    """Commands, policies and garbage that somebody sends, and a password that the broker refuses."""
    plant = planted.canaries.plant
    mosquitto.start()
    planted.configure("127.0.0.1", mosquitto.port)
    planted.start()
    root = f"deskwatch/v1/{plant('tenant')}/{plant('unit id')}"
    with subscribed(mosquitto) as listener:
        until(lambda: planted.fact("link.connected"), "the link")
        for topic, payload in (
            (f"cmd/{plant('name of a command')}", {"id": plant("id of a command"), "expires_at": "2036"}),
            ("cmd/break", {"id": plant("id of a break"), "reason": plant("reason from afar")}),
            ("config/desired", plant("a policy")),
            ("activity", {"at": plant("a beat")}),
        ):
            body = json.dumps(payload).encode()
            listener.publish(Publication(f"{root}/{topic}", body, "application/json"))
        until(lambda: planted.fact("link.messages_refused") >= 1, "garbage to be refused")
        until(lambda: planted.fact("policy.phase") == "refused", "the policy to be refused")
        sealed = [planted.bundle("a.bundle")]
    mosquitto.stop()
    mosquitto.start(anonymous=False)
    causes = ("password", "not-authorised")
    until(lambda: planted.fact("link.last_cause") in causes, "the password to be refused")
    sealed.append(planted.bundle("b.bundle"))
    assert decode(opened(sealed[1])).facts["link.last_cause"] in causes
    assert decode(opened(sealed[0])).facts["policy.error"] == "bad-envelope"
    for each in sealed:
        assert found(opened(each), planted.canaries.planted) == []


def gathered(planted, facts):
    names = Pseudonyms(bytes(32))
    sources = Sources(
        config=read_config(planted.daemon.config),
        now_at=dt.datetime.now(dt.UTC),
        facts=facts,
        known_checks={},
    )
    return msgspec.json.encode(gather(sources, names))


def types_of(kind):
    """A type, and those that it is made of."""
    yield kind
    for part in get_args(kind):
        if not isinstance(part, str):  # a word of a Literal
            yield from types_of(part)


def test_no_setting_and_no_fact_that_takes_a_text_lets_one_through(planted):
    """Each key of unit.toml whose type takes a free text or a path, and each fact, whatever it should be."""
    # A copy: tables that unit.toml does not name are the defaults, which all later tests have too.
    plant, config = Canaries(), copy.deepcopy(read_config(planted.daemon.config))
    for table in config.__struct_fields__:
        for field in msgspec.structs.fields(getattr(config, table)):
            kinds = {str, Path} & {part for part in types_of(field.type) if isinstance(part, type)}
            if kinds:
                mark = plant.plant(f"{table}.{field.name}")
                msgspec.structs.force_setattr(
                    getattr(config, table), field.name, Path("/", mark) if Path in kinds else mark
                )
    wanted = {"broker.ca_file", "broker.key_file", "broker.username", "camera.device", "model.card"}
    assert wanted <= plant.planted.keys()
    facts = {name: plant.plant(name) for name in (*FACTS, *FACTS_LEFT_OUT, "network.ssid", "host.name")}
    logged = [
        LoggedError(
            at="", level="ERROR", logger=logger, template=plant.plant(logger), text=plant.plant("text")
        )
        for logger in ("edge.unit", "edge.nothing", "paho")
    ]
    sources = Sources(
        config=config, now_at=dt.datetime.now(dt.UTC), facts=facts, known_checks={}, errors=logged
    )
    document = msgspec.json.encode(gather(sources, Pseudonyms(bytes(32))))
    assert found(document, plant.planted) == []
    assert len(plant.planted) > 90


def test_the_hash_of_a_policy_is_under_another_name(planted):
    """Of the few documents that a customer may have, one could be found out by its hash."""
    raw = json.dumps(planted.daemon.policy).encode()
    sha256 = hashlib.sha256(raw).hexdigest()
    sources = Sources(
        config=read_config(planted.daemon.config),
        now_at=dt.datetime.now(dt.UTC),
        facts={"policy.sha256": sha256},
        known_checks={},
        policy=(parse_policy(raw), sha256),
    )
    one, other = (gather(sources, Pseudonyms(bytes([number]) * 32)) for number in (1, 2))
    assert sha256.encode() not in msgspec.json.encode(one)
    assert one.facts["policy.sha256"] == one.policy.document != other.policy.document


@pytest.mark.parametrize("how", ["plain", "reversed", "upper", "hex", "base64", "split", "percent"])
def test_a_treatment_that_lets_one_through_would_be_seen(planted, monkeypatch, how):
    mark = planted.canaries.plant("reason of a repair")
    let_through = {
        "plain": mark,
        "reversed": mark[::-1],
        "upper": mark.upper(),
        "hex": mark.encode().hex(),
        "base64": base64.b64encode(f"x{mark}".encode()).decode(),
        "split": f"{mark[:4]}-{mark[4:]}",
        "percent": "".join(f"%{byte:02x}" for byte in mark.encode()),
    }[how]
    facts = {"repair.reason": mark, "unit.up_s": 3.0}
    assert found(gathered(planted, facts), planted.canaries.planted) == []
    monkeypatch.setitem(
        extracts.FACTS, "repair.reason", Treatment("as it is", lambda _value, _names: let_through)
    )
    assert found(gathered(planted, facts), planted.canaries.planted) == ["reason of a repair"]
