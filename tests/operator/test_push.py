"""Pushing a policy: to real links that answer as a unit does, through the command line."""

import hashlib
import json
import time

import pytest

from edge.cli import main
from edge.operator.push import Delivered, Outcome, Progress, Said, step, verdict
from edge.operator.signing import is_envelope
from edge.uplink.envelope import open_envelope, trust
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import Document, Phase, Reported, encode_reported
from edge.uplink.wire import JSON, Problem, timestamp
from tests.broker import subscribed, until
from tests.operator.fleet import NOW, FakeUnit, state, unit

OWN = Document(version=7, sha256="7" * 64)
PROBLEM = Problem(code="older-version", path="$.version", problem="wanted at least 9, got 8")


def reported(phase, desired, *, session=1, error=None, running=None):
    return Reported(
        phase=phase,
        desired=desired,
        running=running or (desired if phase in (Phase.TRIAL, Phase.CONFIRMED) else OWN),
        error=error,
        key="k",
        session=session,
        at=timestamp(NOW),
    )


def document_of(policy_file, version=8):
    return Document(version=version, sha256=hashlib.sha256(policy_file.read_bytes()).hexdigest())


def report(unit_id, *args, **more):
    payload = encode_reported(reported(*args, **more))
    return Publication(Topics("acme", unit_id).reported, payload, JSON, retain=True)


def answering(unit_id, document, *phases):
    """Say one phase after the other as soon as the policy comes."""

    def answer(message):
        if not message.topic.endswith("config/desired"):
            return []
        return [
            report(unit_id, phase, document, error=PROBLEM if phase in FAILED else None) for phase in phases
        ]

    return answer


FAILED = (Phase.REFUSED, Phase.ROLLED_BACK)


def push(broker, *arguments):
    at = f"127.0.0.1:{broker.port}"
    return main(["operator", "push", "--broker", at, "--no-tls", "--tenant", "acme", *map(str, arguments)])


@pytest.fixture
def signed(policy_file, key, tmp_path):
    assert main(["operator", "sign", str(policy_file), "--key", str(tmp_path / "op.key")]) == 0
    return policy_file.with_suffix(".jws")


def test_a_policy_is_pushed_and_every_unit_confirms_it(broker, signed, policy_file, key, capsys):
    document = document_of(policy_file)
    phases = (Phase.TRIAL, Phase.CONFIRMED)
    with (
        unit(broker.config("u1"), answering("u1", document, *phases)) as one,
        unit(broker.config("u2"), answering("u2", document, *phases)),
    ):
        assert push(broker, signed, "--unit", "u1", "--unit", "u2") == 0
    (message,) = one.received
    assert message.payload == signed.read_bytes()
    assert open_envelope(message.payload, trust(key.public)).document == policy_file.read_bytes()
    said = capsys.readouterr().out
    assert f"version 8, sha256 {document.sha256}, signed by key {key.kid}, to 2 units, 0 of them" in said
    assert "u1                on trial, online\n" in said
    assert said.endswith("confirmed by 2 of 2 units\n")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_policy_stays_at_the_broker_for_a_unit_that_is_away(broker, signed, protocol, capsys):
    began_s = time.monotonic()
    assert push(broker, signed, "--unit", "u1", "--timeout", 2, "--protocol", protocol) == 1
    assert time.monotonic() - began_s >= 2
    assert "u1: no answer: no unit of that name was ever heard of\n" in capsys.readouterr().out
    with subscribed(broker, "deskwatch/v1/acme/u1/config/desired") as listener:
        left = listener.receive(5)
    assert (left.payload, left.retain) == (signed.read_bytes(), True)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ((Phase.REFUSED,), "u1: refused: older-version at $.version: wanted at least 9, got 8"),
        ((Phase.TRIAL, Phase.ROLLED_BACK), "u1: rolled back: older-version at $.version"),
        ((Phase.TRIAL,), "u1: on trial: not yet confirmed"),
        ((), "u1: no answer\n"),
    ],
)
def test_what_did_not_work_is_told_with_its_reason(broker, signed, policy_file, phases, words, capsys):
    with unit(broker.config("u1"), answering("u1", document_of(policy_file), *phases)):
        final = phases and phases[-1] in FAILED
        assert push(broker, signed, "--unit", "u1", "--timeout", 30 if final else 2) == 1
    said = capsys.readouterr().out
    assert words in said
    assert said.endswith("confirmed by 0 of 1 unit\n")


def test_what_a_unit_said_before_is_an_answer_only_if_it_confirmed(broker, signed, policy_file, capsys):
    document = document_of(policy_file)
    with unit(broker.config("u1")) as one, unit(broker.config("u2")) as two:
        one.say(report("u1", Phase.REFUSED, document, error=PROBLEM))
        two.say(report("u2", Phase.CONFIRMED, document))
        settled(broker, "u1", "u2")
        assert push(broker, signed, "--unit", "u1", "--unit", "u2", "--timeout", 3) == 1
    assert "u1: no answer\nconfirmed by 1 of 2 units\n" in capsys.readouterr().out


def test_a_refusal_of_before_and_again_is_an_answer(broker, signed, policy_file, capsys):
    document = document_of(policy_file)

    def again(message):
        return [report("u1", Phase.REFUSED, document, error=PROBLEM, session=2)]

    with unit(broker.config("u1"), again) as one:
        one.say(report("u1", Phase.REFUSED, document, error=PROBLEM))
        settled(broker, "u1")
        assert push(broker, signed, "--unit", "u1", "--timeout", 30) == 1
    assert "u1: refused: older-version" in capsys.readouterr().out


def settled(broker, *units):
    """Wait until the broker has a report of each."""
    with subscribed(broker, "deskwatch/v1/acme/+/config/reported") as listener:
        waiting = {Topics("acme", name).reported for name in units}
        while waiting:
            waiting -= {listener.receive(10).topic}


def test_a_fleet_is_found_by_its_states_and_the_offline_wait(broker, policy_file, key, tmp_path, capsys):
    document = document_of(policy_file)
    answer = answering("u1", document, Phase.TRIAL, Phase.CONFIRMED)
    with (
        unit(broker.config("u1"), answer),
        unit(broker.config("u2"), birth=state(online=False, session=9)),
    ):
        options = [policy_file, "--key", tmp_path / "op.key", "--fleet"]
        assert push(broker, *options, "--timeout", 3) == 1
        said = capsys.readouterr().out
        assert "to 2 units, 1 of them offline\n" in said
        assert "u2: waiting: offline; it gets the policy when it is back\nconfirmed by 1 of 2 units\n" in said
        began_s = time.monotonic()
        assert push(broker, *options, "--timeout", 60, "--no-wait-offline", "--json") == 0
        assert time.monotonic() - began_s < 30
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["unit"], line["outcome"], line["online"]) for line in lines] == [
        ("u1", "confirmed", True),
        ("u2", "sent", False),
    ]


def test_an_envelope_that_the_unit_cannot_read_is_refused_too(broker, signed, capsys):
    def answer(message):
        return [report("u1", Phase.REFUSED, None, error=PROBLEM)]

    with unit(broker.config("u1"), answer):
        assert push(broker, signed, "--unit", "u1", "--timeout", 30) == 1
    assert "u1: refused: older-version" in capsys.readouterr().out


def test_the_wait_outlives_the_broker(broker, signed, policy_file, capsys):
    """The broker is restarted while a unit tries the policy; it confirms on its next connection."""
    broker.stop()
    broker.start("persistence true", f"persistence_location {broker.folder}/")
    document = document_of(policy_file)

    def answer(message):
        broker.stop()
        broker.start("persistence true", f"persistence_location {broker.folder}/")
        with unit(broker.config("u1"), lambda _: [report("u1", Phase.CONFIRMED, document)]):
            settled(broker, "u1")
        return []

    fake = FakeUnit(broker.config("u1"), Topics("acme", "u1"), answer)
    fake.start()
    try:
        assert push(broker, signed, "--unit", "u1", "--timeout", 60) == 0
        until(lambda: fake.failure is not None, "the first connection to find that its broker went")
    finally:
        with pytest.raises(ConnectionError):
            fake.stop()


def test_nothing_is_pushed_where_it_could_only_be_refused(broker, signed, policy_file, key, tmp_path, capsys):
    other = json.loads(policy_file.read_text())
    wrong = tmp_path / "wrong.json"
    key_option = ["--key", tmp_path / "op.key"]
    for changes, problem in [
        ({"unit": "u2"}, "$.unit: wanted '*' or 'u1', got 'u2'"),
        ({"expires_at": "2026-01-02T00:00:00Z"}, "$.expires_at"),
        ({"rules": [{"id": "a", "kind": "object", "labels": ["unicorn"]}]}, "got 'unicorn'"),
        ({"version": 0}, "$.version"),
    ]:
        wrong.write_text(json.dumps(other | changes))
        assert push(broker, wrong, *key_option, "--unit", "u1", "--timeout", 1) == 2
        assert problem in capsys.readouterr().err
    assert push(broker, policy_file, "--unit", "u1") == 2
    assert push(broker, signed, *key_option, "--unit", "u1") == 2
    assert push(broker, tmp_path / "none.json", *key_option, "--unit", "u1") == 2
    assert push(broker, signed, "--unit", "a/b") == 2
    assert push(broker, signed, "--fleet") == 2
    assert "wanted units that have said how they are, got none" in capsys.readouterr().err
    broker.stop()
    assert push(broker, signed, "--unit", "u1") == 2


def test_a_signed_policy_looks_like_none(policy_file, signed):
    assert is_envelope(signed.read_bytes())
    assert not is_envelope(policy_file.read_bytes())


SHA = "8" * 64
DOCUMENT = Document(version=8, sha256=SHA)
OTHER = Document(version=9, sha256="9" * 64)


def walk(*happenings):
    progress = Progress("u1")
    for happening in happenings:
        progress = step(progress, happening, SHA)
    return progress


def said(phase, document=DOCUMENT, *, before=False, session=1):
    return Said(reported(phase, document, session=session), before)


TAKEN = Delivered(None)


@pytest.mark.parametrize(
    ("happenings", "outcome"),
    [
        ((), Outcome.WAITING),
        ((TAKEN,), Outcome.SENT),
        ((Delivered("0x87 Not authorized"),), Outcome.NOT_TAKEN),
        ((said(Phase.NONE, None, before=True), TAKEN, said(Phase.NONE, None)), Outcome.SENT),
        ((said(Phase.TRIAL), TAKEN), Outcome.TRIAL),
        ((TAKEN, said(Phase.CONFIRMED, OTHER)), Outcome.SENT),
        ((TAKEN, said(Phase.TRIAL), said(Phase.TRIAL, OTHER)), Outcome.REPLACED),
        ((said(Phase.REFUSED, before=True), TAKEN, said(Phase.REFUSED)), Outcome.SENT),
        ((said(Phase.REFUSED, before=True), TAKEN, said(Phase.REFUSED, session=2)), Outcome.REFUSED),
        ((said(Phase.CONFIRMED, before=True),), Outcome.CONFIRMED),
        ((said(Phase.TRIAL, before=True), TAKEN), Outcome.TRIAL),
        (
            (said(Phase.REFUSED, before=True), TAKEN, said(Phase.TRIAL), said(Phase.REFUSED)),
            Outcome.REFUSED,
        ),
        ((said(Phase.TRIAL, before=True), TAKEN, said(Phase.CONFIRMED)), Outcome.CONFIRMED),
    ],
)
def test_a_units_progress(happenings, outcome):
    assert walk(*happenings).outcome is outcome


def test_a_late_will_of_an_older_connection_does_not_make_a_unit_offline():
    progress = walk(state(session=3, connection=2), state(online=False, session=3, connection=1))
    assert not progress.offline
    assert walk(state(session=3, connection=2), state(online=False, session=3, connection=2)).offline
    assert verdict(walk(TAKEN)) == "no answer: no unit of that name was ever heard of"
