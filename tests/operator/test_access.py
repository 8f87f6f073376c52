"""Over TLS with certificates, under the access list that the documentation ships."""

import subprocess

import pytest

from edge.cli import main
from edge.operator.station import Station
from edge.uplink.command_messages import IdentifyResult, Reply, decode_ack, decode_command, encode_reply
from edge.uplink.signals import Publication
from edge.uplink.tls import Tls
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import Phase
from edge.uplink.wire import JSON, timestamp
from edge.vision.model_file import checkout
from tests.certificates import Authority
from tests.operator.fleet import NOW, opened, publication, unit
from tests.operator.test_ack import DESKWATCH
from tests.operator.test_push import document_of, report


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def broker(mosquitto, authority):
    server = authority.issue("server", host="127.0.0.1")
    lines = [
        f"certfile {server.certificate}",
        f"keyfile {server.key}",
        f"cafile {authority.file}",
        "require_certificate true",
        "use_identity_as_username true",
    ]
    acl = checkout() / "docs" / "acl" / "mosquitto.acl"
    mosquitto.start(f"acl_file {acl}", listener="\n".join(lines), anonymous=False)
    return mosquitto


@pytest.fixture
def access(broker, authority):
    """The options of one who has a certificate."""

    def access(name):
        pair = authority.issue(name)
        return [
            *("--broker", f"127.0.0.1:{broker.port}", "--tenant", "acme"),
            *("--ca-file", str(authority.file), "--cert", str(pair.certificate), "--key-file", str(pair.key)),
        ]

    return access


def of_the_unit(broker, authority, name):
    pair = authority.issue(name)
    return broker.config(name, tls=Tls(authority.file, pair.certificate, pair.key))


def test_the_operator_pushes_and_the_technician_commands(
    broker, authority, access, policy_file, key, tmp_path, capsys
):
    document = document_of(policy_file)

    def answer(message):
        name = message.topic.rsplit("/", 1)[1]
        if name == "desired":
            return [report("u1", Phase.CONFIRMED, document)]
        command = decode_command(name, message.payload)
        reply = Reply(id=command.id, at=timestamp(NOW), result=IdentifyResult(for_s=command.for_s))
        return [Publication(Topics("acme", "u1").reply(name), encode_reply(reply), JSON)]

    push = ["operator", "push", str(policy_file), "--key", str(tmp_path / "op.key"), "--timeout", "20"]
    identify = ["operator", "command", "identify", "--for", "5", "--unit", "u1"]
    with unit(of_the_unit(broker, authority, "u1"), answer):
        assert main([*push, "--fleet", *access("operator")]) == 0
        assert main([*identify, *access("technician")]) == 0
        said = capsys.readouterr().out
        assert "confirmed by 1 of 1 unit\n" in said
        assert said.endswith("u1: blinks for 5 s\n")
        # The broker refuses a technician's policy: over MQTT 5 with a code, and that is told.
        assert main([*push, "--unit", "u1", *access("technician")]) == 1
    assert "u1: not taken: 0x87 Not authorized\n" in capsys.readouterr().out


def test_the_ingester_acknowledges(broker, authority, access, tmp_path):
    store = tmp_path / "store.db"
    command = [DESKWATCH, "operator", "ack", "--store", store, *access("ingester")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ingesting:
        assert "storing what comes" in ingesting.stdout.readline()
        with Station(of_the_unit(broker, authority, "u1"), [Topics("acme", "u1").ack]) as station:
            station.publish("event", publication(opened(1, unit="u1")))
            heard = []
            while not heard:
                heard = station.turn(1.0)
        assert decode_ack(heard[0].payload).seq == 1
        ingesting.terminate()


def test_another_authority_is_refused_in_words(broker, access, tmp_path, capsys):
    other = Authority(tmp_path / "theirs", "another CA")
    options = access("operator")
    options[options.index("--ca-file") + 1] = str(other.file)
    assert main(["operator", "watch", *options]) == 2
    assert "certificate" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--client-id", "--username"])
@pytest.mark.parametrize("text", ["x" * 65_536, "\udcff"])
def test_a_name_that_mqtt_cannot_carry_is_refused_before_anybody_is_called(option, text, tmp_path, capsys):
    (tmp_path / "secret").write_text("s\n")
    watch = ["operator", "watch", "--broker", "127.0.0.1:1", "--no-tls", "--tenant", "acme", option, text]
    secret = ["--password-file", str(tmp_path / "secret")] if option == "--username" else []
    assert main([*watch, *secret]) == 2
    name = option.removeprefix("--").replace("-", "_")
    assert f"broker.{name}: wanted at most 65535 bytes of UTF-8" in capsys.readouterr().err
