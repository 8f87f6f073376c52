"""What no policy may ask for, whoever wrote it, and the broker that it may name."""

import json
import re
import subprocess

import pytest

from edge.policy.document import (
    BelowFloor,
    LabelUnserved,
    PolicyError,
    SchemaUnknown,
    check_labels,
    parse_policy,
)
from edge.policy.floor import FLOORS, NEVER, first_below, value_at, why_below
from tests.policy.test_document import DESIGN, changed


def with_at(path: str, value: object) -> bytes:
    """The design's policy with a value put at a JSON path whose parents it has; `[*]` is the first place."""
    document = json.loads(json.dumps(DESIGN))
    at = document
    *parents, last = re.findall(r"\.([^.\[]+)|\[([0-9*]+)\]", path)
    for key, index in parents:
        at = at[key] if key else at[0 if index == "*" else int(index)]
    at[last[0] or int(last[1])] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("$.thumbnail.retain_days", 90, "after 20 days at most"),
        ("$.thumbnail.retain_days", 20.001, "after 20 days at most"),
        ("$.breaks.max_s", 299, "five minutes at least"),
        ("$.rules[0].labels", ["cell phone", "person"], "never pictured sharp"),
    ],
)
def test_a_value_below_the_floor_is_refused_as_that(path, value, says):
    with pytest.raises(BelowFloor, match=says) as refused:
        parse_policy(with_at(path, value))
    assert refused.value.path == path


@pytest.mark.parametrize("path", NEVER)
@pytest.mark.parametrize("value", [True, False, "on", None])
def test_a_switch_of_the_floor_is_refused_as_that_whatever_it_says(path, value):
    with pytest.raises(BelowFloor, match=re.escape(NEVER[path])) as refused:
        parse_policy(with_at(path, value))
    assert refused.value.path == path.replace("[*]", "[0]")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.thumbnail.retain_days", "long"),
        ("$.thumbnail.retain_days", 0),
        ("$.breaks.max_s", 100_000),
        ("$.rules[0].labels", []),
        ("$.colour", "red"),
    ],
)
def test_another_mistake_at_the_same_place_is_only_a_mistake(path, value):
    with pytest.raises(PolicyError) as refused:
        parse_policy(with_at(path, value))
    assert type(refused.value) is PolicyError


def test_every_floor_holds_in_the_types_too_and_its_edge_is_allowed():
    """The table names what is bounded; the bound itself is where a policy is built."""
    assert {floor.path for floor in FLOORS} == {
        "$.thumbnail.retain_days",
        "$.breaks",
        "$.breaks.max_s",
        "$.rules[*].labels",
    }
    assert parse_policy(with_at("$.thumbnail.retain_days", 20)).thumbnail.retain_days == 20
    assert parse_policy(with_at("$.breaks.max_s", 300)).breaks.max_s == 300


def test_a_floor_without_a_type_to_hold_it_is_found_in_the_whole_document():
    assert first_below(DESIGN) is None
    loose = {"rules": [{}, {"labels": ["person"]}], "thumbnail": {"retain_days": 21}}
    assert first_below({"rules": loose["rules"]}) == ("$.rules[1].labels", FLOORS[3].says)
    assert first_below(loose)[0] == "$.thumbnail.retain_days"
    for odd in (None, 7, [], {"rules": 7}, {"rules": {"labels": 1}}, {"thumbnail": [1]}):
        assert first_below(odd) is None


def test_values_are_found_by_their_path():
    assert value_at(DESIGN, "$.rules[3].max") == 1
    assert value_at(DESIGN, "$") == DESIGN
    for path in ("$.rules[99].max", "$.rules.max", "$.nothing", "$.version[0]", "$. ["):
        assert value_at(DESIGN, path) is None
    assert why_below("$.led", None) == NEVER["$.led"]
    assert why_below("$.version", 1) is None


def test_kinds_of_refusal_are_told_apart():
    with pytest.raises(SchemaUnknown, match="wanted 'policy/1', got 'policy/2'") as refused:
        parse_policy(changed("schema", "policy/2"))
    assert refused.value.path == "$.schema"
    with pytest.raises(SchemaUnknown):  # whatever else it has that this firmware does not know
        parse_policy(b'{"schema": "policy/2", "new": 1}')
    for value in (None, 1, ["policy/1"], ...):
        with pytest.raises(PolicyError) as refused:
            parse_policy(changed("schema", value))
        assert type(refused.value) is PolicyError
    with pytest.raises(LabelUnserved):
        check_labels(parse_policy(json.dumps(DESIGN).encode()), {"person"})


@pytest.fixture(scope="module")
def ca_pem(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("ca")
    words = "openssl req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
    subprocess.run(words.split(), check=True, capture_output=True, cwd=folder)
    return (folder / "ca.pem").read_text()


def test_a_broker_may_be_named(ca_pem):
    assert parse_policy(json.dumps(DESIGN).encode()).broker is None
    least = parse_policy(with_at("$.broker", {"host": "mqtt.example.com"})).broker
    assert (least.port, least.protocol, least.keepalive_s, least.encrypted) == (8883, "5", 30, True)
    most = {
        "host": "::1",
        "port": 443,
        "protocol": "3.1.1",
        "tls": True,
        "keepalive_s": 5,
        "ca_pem": ca_pem * 2,
    }
    assert parse_policy(with_at("$.broker", most)).broker.ca_pem == ca_pem * 2
    assert not parse_policy(with_at("$.broker", {"host": "h", "port": 1883})).broker.encrypted
    assert parse_policy(with_at("$.broker", {"host": "h", "port": 1883, "tls": True})).broker.encrypted


@pytest.mark.parametrize(
    ("broker", "where", "says"),
    [
        ({}, "$.broker", "wanted the key 'host'"),
        ({"host": "a b"}, "$.broker.host", "without white space"),
        ({"host": ""}, "$.broker.host", "length >= 1"),
        ({"host": "h" * 254}, "$.broker.host", "length <= 253"),
        ({"host": "h", "port": 0}, "$.broker.port", "got 0"),
        ({"host": "h", "port": 65536}, "$.broker.port", "got 65536"),
        ({"host": "h", "protocol": "3.1"}, "$.broker.protocol", "wanted one of 3.1.1, 5"),
        ({"host": "h", "keepalive_s": 4}, "$.broker.keepalive_s", "got 4"),
        ({"host": "h", "password": "secret"}, "$.broker.password", "wanted one of the keys"),
        ({"host": "h", "ca_pem": "no certificate"}, "$.broker.ca_pem", "wanted certificates in PEM"),
        ({"host": "h", "ca_pem": "é"}, "$.broker.ca_pem", "wanted certificates in PEM"),
        ({"host": "h", "ca_pem": "x" * 16_385}, "$.broker.ca_pem", "length <= 16384"),
        ({"host": "h", "port": 1883, "ca_pem": "x"}, "$.broker.tls", "wanted true beside ca_pem"),
        ({"host": "h", "tls": False, "ca_pem": "x"}, "$.broker.tls", "wanted true beside ca_pem"),
    ],
)
def test_a_mistake_in_the_broker_is_named_with_its_path(broker, where, says):
    with pytest.raises(PolicyError, match=re.escape(says)) as refused:
        parse_policy(with_at("$.broker", broker))
    assert refused.value.path == where


def test_a_certificate_that_is_cut_off_is_none(ca_pem):
    with pytest.raises(PolicyError, match="wanted certificates in PEM"):
        parse_policy(with_at("$.broker", {"host": "h", "ca_pem": ca_pem[:100]}))
