"""What docs/ tells a reader of the messages is what the code writes and reads."""

import ast
import datetime as dt
import functools
import json
import re
import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from edge.contract import asyncapi, schemas
from edge.contract.__main__ import stale
from edge.evidence.sealing import parcel
from edge.policy.document import ObjectRule, PolicyError, parse_policy
from edge.policy.judge import Answer, Ended, Finding, Opened
from edge.uplink import command_messages as commands
from edge.uplink import event_records as records
from edge.uplink import twin_messages as twin
from edge.uplink.envelope import ALGORITHM, TYPE
from edge.uplink.messages import (
    Alarm,
    AlarmCode,
    BreakBy,
    Capture,
    Health,
    Lost,
    Model,
    State,
    decode_event,
    decode_health,
    decode_state,
    encode,
    encode_health,
)
from edge.uplink.records import LostRange, OpenInfraction, Serial
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, InvalidMessage, Problem, timestamp
from edge.vision.model_file import checkout
from edge.vision.types import Box, Track

DOCS = checkout() / "docs"
NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
AT = timestamp(NOON)
MODEL = Model(name="desk-384x320-int8", sha256="ab" * 32)
TOPICS = Topics("acme", "cam-0042")
ORIGIN = records.Origin(TOPICS, "boot-1", MODEL)
SPECS = "@asyncapi/specs@6.11.1"


# ---- what the code makes


def stamp(event_id: str) -> records.Stamp:
    return records.Stamp(event_id, NOON, 500.25, ClockQuality.SYNCHRONISED, 7)


def serial(seq: int) -> Serial:
    return Serial("e" * 32, seq)


def events() -> list[bytes]:
    rule = ObjectRule(id="phone", labels=("cell phone",), hold_s=2)
    opens = OpenInfraction("id-1", "phone", "object", NOON - dt.timedelta(seconds=2), NOON)
    seen = Track(1, "cell phone", 0.69, Box(0.1, 0.2, 0.3, 0.4), 0.0, 0.0, seen=True)
    verdict = Opened(rule, 10.0, 12.0, Finding(Answer.YES, (seen,), frozenset()))
    jpeg, days = parcel(b"\xff\xd8picture", None, "cam-1", "id-1"), dt.timedelta(days=20)
    lost = LostRange("event", "d" * 32, 4, 9, 6, Lost.SPOOL_FULL)
    unknown = LostRange("thumbnail", "d" * 32, 1, 9, None, Lost.CORRUPT)
    made = (
        records.opened_record(ORIGIN, stamp("id-1"), opens, verdict, jpeg, days, serial(1)),
        records.opened_record(ORIGIN, stamp("id-2"), opens, verdict, None, days, serial(2)),
        records.closed_record(ORIGIN, stamp("id-3"), opens, 7.25, Ended.LOST_SIGHT, serial(3)),
        records.break_started_record(
            ORIGIN, stamp("id-4"), "lunch", BreakBy.BUTTON, NOON + dt.timedelta(minutes=30), serial(4)
        ),
        records.break_ended_record(ORIGIN, stamp("id-5"), "id-4", 61.5, "lunch", BreakBy.TIME, serial(5)),
        records.gap_record(ORIGIN, stamp("id-6"), lost, serial(6)),
        records.gap_record(ORIGIN, stamp("id-7"), unknown, serial(7)),
        records.clock_set_record(ORIGIN, stamp("id-8"), -3.5, serial(8)),
    )
    return [record.messages[0].payload for record in made]


def states() -> list[bytes]:
    alarm = Alarm(code=AlarmCode.DEAD_LETTERS, detail="3 wait")
    common: dict[str, Any] = {"boot_id": "boot-1", "firmware": "0.1.0", "at": AT}
    return [
        encode(State(**common, online=True, session=3, connection=1, model=MODEL, policy_version=7,
                     capture=Capture.BLOCKED, reason="covered", alarms=(alarm,))),
        encode(State(**common, online=False, model=None, policy_version=None, capture=Capture.UNKNOWN)),
    ]  # fmt: skip


def reports() -> list[bytes]:
    running, desired = (twin.Document(version=n, sha256="cd" * 32) for n in (6, 7))
    error = Problem(
        code=twin.RefusalCode.INVALID, path="$.rules[2].labels", problem="wanted a list, got null"
    )
    return [
        twin.encode_reported(twin.Reported(phase=twin.Phase.NONE, running=running, session=0, at=AT)),
        twin.encode_reported(
            twin.Reported(
                phase=twin.Phase.REFUSED,
                desired=desired,
                running=running,
                error=error,
                key="k",
                session=3,
                at=AT,
            )
        ),
    ]


def replies() -> list[bytes]:
    seen = commands.Seen(label="cell phone", count=1, score=0.7)
    results = (
        commands.SpotCheckResult(capture=Capture.WATCHING, seen=(seen,), blind=("dark",), frame_at=AT),
        commands.BreakResult(ends_at=AT),
        commands.ResumeResult(lasted_s=12.5),
        commands.DiagnoseResult(facts={"spool.events": 3, "broker.address": "b:1883", "broker.error": None}),
        commands.IdentifyResult(for_s=10.0),
        commands.ReloadResult(),
    )
    error = Problem(code=commands.CommandError.ON_BREAK, problem="wanted no break, got one")
    made = [commands.Reply(id="c-1", at=AT, result=result) for result in results]
    return [commands.encode_reply(reply) for reply in (*made, commands.Reply(id="c-2", at=AT, error=error))]


def orders(name: str) -> list[bytes]:
    more = {"identify": {"for_s": 5.0}, "break": {"reason": "lunch"}}.get(name, {})
    return [
        commands.encode_command(name, commands.COMMANDS[name](id="c-1", expires_at=AT)),
        commands.encode_command(name, commands.COMMANDS[name](id="c-2", expires_at=AT, **more)),
    ]


def healths() -> list[bytes]:
    common: dict[str, Any] = {
        "at": AT, "session": 3, "boot_id": "boot-1", "up_s": 61.5, "restarts": 1, "capture": Capture.WATCHING,
        "frames": 120, "inferences": 60, "skipped": 60, "camera_faults": 0,
    }  # fmt: skip
    told: dict[str, Any] = {
        "clock_error_s": 0.25, "inference_p50_s": 0.125, "inference_p95_s": 0.25, "inference_p99_s": 0.5,
        "temperature_c": 54.5, "throttled": 0x50000, "under_voltage": False, "disk_free_bytes": 1 << 33,
        "memory_available_bytes": 1 << 27, "spool_events": 0, "spool_thumbnails": 0, "spool_used_bytes": 4096,
        "dead_letters": 0,
    }  # fmt: skip
    return [
        encode_health(Health(**common, **told, clock=ClockQuality.SYNCHRONISED)),
        encode_health(Health(**common, **dict.fromkeys(told), clock=ClockQuality.UNSYNCHRONISED)),
    ]


MESSAGES = {
    "state": states,
    "health": healths,
    "event": events,
    "reported": reports,
    **{f"command-{name}": functools.partial(orders, name) for name in commands.COMMANDS},
    "reply": replies,
    "ack": lambda: [commands.encode_ack(commands.Ack(epoch="e" * 32, seq=41))],
    "activity": lambda: [commands.encode_activity(commands.Activity(at=AT))],
    "policy": lambda: [(checkout() / "edge/defaults/policy.json").read_bytes()],
}
DECODERS = {
    "state": decode_state,
    "health": decode_health,
    "event": decode_event,
    "reported": twin.decode_reported,
    **{f"command-{name}": functools.partial(commands.decode_command, name) for name in commands.COMMANDS},
    "reply": commands.decode_reply,
    "ack": commands.decode_ack,
    "activity": commands.decode_activity,
    "policy": parse_policy,
}


def decodes(name: str, payload: bytes) -> bool:
    try:
        DECODERS[name](payload)
    except (InvalidMessage, PolicyError):
        return False
    return True


# ---- the schemas


def as_ecma(validator, pattern, instance, schema):
    """`$` of ECMA-262 is the very end; Python's would let a line feed through."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$\Z", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(Draft202012Validator, {"pattern": as_ecma})


@functools.cache
def validator(name: str):
    return Validator(json.loads((DOCS / "schemas" / f"{name}.json").read_text()))


def test_the_files_are_what_the_message_types_say():
    behind = [str(path.relative_to(DOCS)) for path in stale(DOCS)]
    assert behind == [], "run scripts/contract"


def test_a_change_by_hand_and_a_file_that_nothing_makes_are_stale(tmp_path):
    shutil.copytree(DOCS / "schemas", tmp_path / "schemas")
    shutil.copy(DOCS / "asyncapi.yaml", tmp_path)
    with (tmp_path / "asyncapi.yaml").open("a") as file:
        file.write("# by hand\n")
    (tmp_path / "schemas" / "ack.json").unlink()
    (tmp_path / "schemas" / "old.json").write_text("{}")
    assert [path.name for path in stale(tmp_path)] == ["asyncapi.yaml", "ack.json", "old.json"]


def test_they_are_made_the_same_each_time():
    assert json.dumps(schemas.documents()) == json.dumps(schemas.documents())


@pytest.mark.parametrize("name", schemas.PAYLOADS)
def test_every_schema_is_one(name):
    Draft202012Validator.check_schema(validator(name).schema)


@pytest.mark.parametrize("name", schemas.PAYLOADS)
def test_every_pattern_means_the_same_to_a_javascript_reader(name):
    for pattern in re.findall(r'"pattern": (".*")', json.dumps(validator(name).schema, indent=1)):
        assert not re.search(r"\\[AZdDwWbB]|\(\?", json.loads(pattern)), pattern


@pytest.mark.parametrize("name", schemas.PAYLOADS)
def test_what_the_code_writes_is_valid(name):
    for payload in MESSAGES[name]():
        validator(name).validate(json.loads(payload))
        assert decodes(name, payload)


def test_every_kind_of_event_is_tried():
    wanted = {part["properties"]["type"]["const"] for part in validator("event").schema["$defs"].values()
              if "type" in part.get("properties", {})}  # fmt: skip
    assert {json.loads(payload)["type"] for payload in events()} == wanted


@pytest.mark.parametrize("name", sorted(set(schemas.PAYLOADS) - {"policy"}))  # docs/policy.md describes it
def test_everything_in_it_is_described(name):
    """A constant says what it is; where there is a reference, the other end does."""
    bare = set()
    for kind, part in [(name, validator(name).schema), *validator(name).schema.get("$defs", {}).items()]:
        assert part["description"], kind
        for key, value in part.get("properties", {}).items():
            if not {"description", "$ref", "const"} & set(value):
                bare.add((kind, key))
        told = [line for line in part["description"].splitlines() if line.startswith("- `") and "`: " in line]
        assert len(told) == len(part.get("enum", [])), kind
    assert bare == set()


# ---- Mutants: the schema and the reader judge them alike.

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(-1e6, 1e6).filter(lambda x: x != int(x)),
    st.text(max_size=8),
    st.sampled_from(
        ["", "x" * 64, "x" * 65, "x" * 256, "x" * 257, "e" * 32, "ab" * 32, AT, AT + "\n", AT[:-1]]
    ),
    st.sampled_from(["event", "watching", "lost-sight", "1.0", "٢٠٢٦-03-04T05:06:07.089Z", "phone\n"]),
    st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 0.5, 1.5, 60.5, -0.5]),
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)


def places(document: Any, path: tuple = ()) -> list[tuple]:
    items = document.items() if isinstance(document, dict) else ()
    items = enumerate(document) if isinstance(document, list) else items
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def mutate(data: st.DataObject, document: Any) -> Any:
    path = data.draw(st.sampled_from(places(document)), "place")
    if not path:
        return data.draw(values, "document") if data.draw(st.integers(0, 9)) == 0 else document
    parent = functools.reduce(lambda part, key: part[key], path[:-1], document)
    match data.draw(st.sampled_from(["set", "delete", "add"]), "way"):
        case "set":
            parent[path[-1]] = data.draw(values, "value")
        case "delete":
            del parent[path[-1]]
        case "add" if isinstance(parent, dict):
            parent[data.draw(st.text(max_size=4), "key")] = data.draw(values, "value")
        case "add":
            parent.insert(path[-1], data.draw(values, "value"))
    return document


@pytest.mark.parametrize("name", schemas.PAYLOADS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutants_are_judged_alike_by_the_schema_and_by_the_reader(name, data):
    document = json.loads(data.draw(st.sampled_from(MESSAGES[name]()), "message"))
    for _ in range(data.draw(st.integers(1, 2), "mutations")):
        document = mutate(data, document)
    valid = validator(name).is_valid(document)
    read = decodes(name, json.dumps(document).encode())
    if name == "policy":  # its dates, zones, and what its keys want of each other are the reader's alone
        assert valid or not read
    else:
        assert valid is read


def near(value: Any) -> list[Any]:
    """Values of the same kind, at the bounds and past them."""
    match value:
        case bool():
            return [not value, int(value), str(value)]
        case int():
            return [0, 1, -1, 0.5, 2**53, 2**53 + 1, True]
        case float():
            return [-0.5, 0.5, 1.5, 60.5, 1]
        case str():
            sizes = [value[:1].ljust(size, value[:1] or "x") for size in (0, 1, 64, 65, 256, 257, 1024, 1025)]
            return [*sizes, value + "\n", value[:-1], value.upper(), value + value]
        case _:
            return [None, {}, []]


@pytest.mark.parametrize("name", sorted(set(schemas.PAYLOADS) - {"policy"}))
def test_what_is_near_a_bound_is_judged_alike_by_the_schema_and_by_the_reader(name):
    for payload in MESSAGES[name]():
        for path in places(json.loads(payload))[1:]:
            document = json.loads(payload)
            parent = functools.reduce(lambda part, key: part[key], path[:-1], document)
            for value in near(parent[path[-1]]):
                parent[path[-1]] = value
                read = decodes(name, json.dumps(document).encode())
                assert validator(name).is_valid(document) is read, (path, value)


# ---- asyncapi.yaml


@functools.cache
def document() -> dict[str, Any]:
    return yaml.safe_load((DOCS / "asyncapi.yaml").read_text())


@pytest.fixture(scope="session")
def official(request) -> dict[str, Any]:
    """The schema that the AsyncAPI project publishes; it comes as a package of npm's only."""
    folder = request.config.cache.mkdir("asyncapi-specs")
    path = folder / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
    if not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"no npm here to install {SPECS} with: apt install npm")
        words = [
            npm,
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(folder),
            SPECS,
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install {SPECS}: {done.stderr[-300:]}")
    return json.loads(path.read_text())


def test_it_is_valid_by_the_official_schema_of_asyncapi(official):
    problems = [
        f"{error.json_path}: {error.message}" for error in Draft7Validator(official).iter_errors(document())
    ]
    assert problems == []


def test_the_official_schema_is_one_that_refuses(official):
    broken = {**document(), "operations": {"x": {"action": "shout"}}}
    assert not Draft7Validator(official).is_valid(broken)


def test_every_reference_in_it_leads_somewhere():
    found = re.findall(r"'\$ref': '(#/[^']*)'", str(document()))
    assert len(found) > 50
    for reference in set(found):
        part = document()
        for key in reference.removeprefix("#/").split("/"):
            part = part[key]


def test_it_has_every_topic_and_nothing_else():
    """Whatever is added to Topics has to be added here: by its public names."""
    topics = Topics("{tenant}", "{unit}")
    wanted = set()
    for name in (name for name in dir(Topics) if not name.startswith("_")):
        value = getattr(topics, name)
        if name == "command":
            wanted |= {topics.command(command) for command in commands.COMMANDS}
        elif callable(value):
            wanted.add(value({"thumb": "{event_id}", "reply": "{name}"}[name]))
        elif name not in ("tenant", "unit", "root", "source"):
            wanted.add(value)
    addresses = [channel["address"] for channel in document()["channels"].values()]
    assert sorted(addresses) == sorted(wanted)


def test_each_channel_names_the_parameters_of_its_address_and_has_one_operation():
    for name, channel in document()["channels"].items():
        assert set(channel["parameters"]) == set(re.findall(r"{(\w+)}", channel["address"]))
        ways = [
            op for op in document()["operations"].values() if op["channel"]["$ref"] == f"#/channels/{name}"
        ]
        assert len(ways) == 1
        assert ways[0]["bindings"]["mqtt"]["qos"] == (0 if name == "health" else 1)


@pytest.mark.parametrize(
    "channel", [c for c in asyncapi.CHANNELS if isinstance(c.payload, str)], ids=lambda c: c.name
)
def test_its_schemas_take_what_the_code_writes_and_refuse_what_it_does_not(channel):
    payload = document()["channels"][channel.name]["messages"][channel.name]["payload"]
    schema = {**payload, "components": document()["components"]}
    Draft7Validator.check_schema(schema)
    for message in MESSAGES[channel.payload]():
        good = json.loads(message)
        Draft7Validator(schema).validate(good)
        assert not Draft7Validator(schema).is_valid({**good, "more": 1})
        for key in good:
            assert not Draft7Validator(schema).is_valid({**good, key: [None]})


# ---- docs/messages.md


PAGE = (DOCS / "messages.md").read_text()


@pytest.mark.parametrize(
    ("head", "codes"),
    [
        ("`reason` of a closed event", Ended),
        ("`by` of a break", BreakBy),
        ("`reason` of a gap", Lost),
        ("`clock`", ClockQuality),
        ("`capture`", Capture),
        ("`code` of an alarm", AlarmCode),
        ("`phase`", twin.Phase),
        ("`error.code` of a policy", twin.RefusalCode),
        ("name", commands.COMMANDS),
        ("`error.code` of a command", commands.CommandError),
    ],
)
def test_the_page_tells_every_code_and_no_other(head, codes):
    table = PAGE.partition(f"\n| {head} |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([^`]+)` \| .*[^ |]", table, re.MULTILINE) == [str(code) for code in codes]


def test_the_page_tells_every_topic():
    table = PAGE.partition("\n| topic |")[2].partition("\n\n")[0]
    told = [
        cell.replace("{event id}", "{event_id}")
        for cell in re.findall(r"^\| `([^`]+)` ", table, re.MULTILINE)
    ]
    root = Topics("{tenant}", "{unit}").root
    wanted = {channel.address.removeprefix(f"{root}/") for channel in asyncapi.CHANNELS}
    assert set(told) == {"cmd/{name}" if address.startswith("cmd/") else address for address in wanted}
    for channel in asyncapi.CHANNELS:
        level = channel.address.removeprefix(f"{root}/")
        level = "cmd/{name}" if level.startswith("cmd/") else level.replace("event_id", "event id")
        way, retained = {"send": "up", "receive": "down"}[channel.way], "yes" if channel.retain else "no"
        assert f"| `{level}` | {way} | {retained} |" in table


def test_the_page_tells_every_type_of_event():
    wanted = {json.loads(payload)["type"] for payload in events()}
    assert set(re.findall(r"^\| `(deskwatch\.[a-z.0-9]+)` ", PAGE, re.MULTILINE)) == wanted


def test_every_example_of_the_page_is_valid():
    found = re.findall(r"^```json ([a-z-]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 6
    for name, example in found:
        validator(name).validate(json.loads(example))
        assert decodes(name, example.encode())


def test_the_page_tells_every_fact_of_diagnose():
    """The names are the keys of the dicts in edge/facts.py, and of what is put beside them."""
    names = ("facts", "unit", "desk", "notice", "health", "error_ring")
    files = tuple(f"edge/{name}.py" for name in names)
    sources = [ast.parse((checkout() / file).read_text()) for file in files]
    dicts = [node for source in sources for node in ast.walk(source) if isinstance(node, ast.Dict)]
    wanted = {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}
    table = PAGE.partition("\n| fact of `diagnose` |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", table))
    assert told == {name for name in wanted if "." in name}


def test_the_page_tells_the_header_of_an_envelope():
    assert f'`{{"alg": "{ALGORITHM}", "kid": …, "typ": "{TYPE}"}}`' in PAGE
