"""The pieces of a support bundle: tables, pseudonyms, templates, and what the worker's log says of it."""

import ast
import datetime as dt
import json
import logging
import re
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Config
from edge.control.protocol import MAX_LINE_BYTES, BundleMade, CheckSaid, LoggedError, line_of, read_answer
from edge.diagnosis.check import Result, Status
from edge.diagnosis.runner import HINTS
from edge.evidence.sealing import (
    MAGIC,
    NotABundle,
    NotSealed,
    SealKeyUnusable,
    Spoilt,
    UnknownRecipient,
    new_private_key,
    open_bundle,
    open_sealed,
    read_recipient,
    seal,
    seal_bundle,
)
from edge.logbook import words
from edge.logbook.gathering import moments_of
from edge.policy.document import parse_policy
from edge.support import bundle as document
from edge.support.bundle import (
    MAX_BYTES,
    MAX_ERRORS,
    Bundle,
    BundleUnreadable,
    ErrorSaid,
    Value,
    Versions,
    decode,
    encode,
)
from edge.support.extracts import (
    UNITS,
    board,
    check_said,
    checks_said,
    errors_said,
    facts_said,
    kernel,
    policy_said,
    settings_said,
    versions,
)
from edge.support.noted import NOTED
from edge.support.opening import lines_of
from edge.support.pseudonyms import KEY_FILE, NoPseudonyms, Pseudonyms
from edge.support.tables import FACTS, FACTS_LEFT_OUT, SETTINGS, SETTINGS_LEFT_OUT, known_checks
from edge.support.templates import is_ours
from edge.support.treatment import GIVEN, NUMBER, OTHER, TIME, Unfit, one_of, pseudonym, some_of
from edge.vision.model_file import checkout
from edge.worklog.entries import Entry, Here

NAMES = Pseudonyms(bytes(32))
KEY, NEXT = new_private_key(), new_private_key()
TREATMENTS = {**FACTS, **SETTINGS}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


def made(**more):
    fields = {
        "made_at": "2026-03-04T05:06:07.089Z",
        "running": True,
        "unit": NAMES.name("unit", "cam-1"),
        "tenant": NAMES.name("tenant", "acme"),
        "versions": Versions(deskwatch="1", python="3.11", interpreter="", kernel="6.1", board=OTHER),
        "facts": {"spool.events": 3.0},
        "settings": {"broker.tls": True},
    }
    return Bundle(**{**fields, **more})


# The tables.


def names_in(*files):
    """The keys of the dicts in the source, and of what is assigned to."""
    sources = [ast.parse((checkout() / file).read_text()) for file in files]
    dicts = [node for source in sources for node in ast.walk(source) if isinstance(node, ast.Dict)]
    keys = {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}
    return {key for key in keys if isinstance(key, str) and re.fullmatch(r"[a-z]+\.[a-z_0-9]+", key)}


def test_every_fact_in_the_source_has_a_line_or_a_reason_why_it_stays():
    page = (checkout() / "docs" / "messages.md").read_text("utf-8")
    table = page.partition("\n| fact of `diagnose` |")[2].partition("\n\n")[0]
    files = [f"edge/{name}.py" for name in ("facts", "unit", "desk", "notice", "health", "error_ring")]
    wanted = set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", table)) | names_in(*files)
    assert len(wanted) > 50
    assert wanted - FACTS.keys() - FACTS_LEFT_OUT.keys() == set()


def test_every_setting_has_a_line_or_a_reason_why_it_stays():
    named = {
        f"{table.encode_name}.{key}"
        for table in msgspec.structs.fields(Config)
        for key in table.type.__struct_fields__
    }
    assert named == set(SETTINGS) | set(SETTINGS_LEFT_OUT)
    assert not set(SETTINGS) & set(SETTINGS_LEFT_OUT)
    assert not set(FACTS) & set(FACTS_LEFT_OUT)
    assert all(FACTS_LEFT_OUT.values())
    assert all(SETTINGS_LEFT_OUT.values())


def test_what_has_no_line_stays_out_and_is_counted():
    facts = {"spool.events": 3, "spool.secret": "canary", "capture.reason": "canary", "unit.up_s": "canary"}
    assert facts_said(facts, NAMES) == ({"spool.events": 3.0}, 2)


@pytest.mark.parametrize("name", sorted(TREATMENTS))
@given(text=TEXTS, words=st.lists(TEXTS, max_size=3))
def test_no_treatment_lets_a_text_of_somebodys_through(name, text, words):
    for value in (
        f"canary {text}",
        ",".join(["canary", *words]),
        ["canary", *words],
        b"canary",
        Path("/canary"),
    ):
        try:
            said = TREATMENTS[name](value, NAMES)
        except Unfit:
            continue
        assert "canary" not in str(said)
        assert isinstance(said, bool | float) or re.fullmatch(r"[a-z0-9,.-]*", said)
        msgspec.convert(said, Value)


def test_a_treatment_that_lets_one_through_is_found(monkeypatch):
    monkeypatch.setitem(TREATMENTS, "led.trouble", one_of(["canary x"]))
    with pytest.raises(AssertionError):
        test_no_treatment_lets_a_text_of_somebodys_through.hypothesis.inner_test(
            name="led.trouble", text="x", words=[]
        )


def test_each_treatment_says_what_it_is_meant_to():
    assert NUMBER(3, NAMES) == 3.0
    for wrong in (True, "3", float("nan"), float("inf"), 2**60, []):
        with pytest.raises(Unfit):
            NUMBER(wrong, NAMES)
    assert NUMBER(None, NAMES) is None
    assert (GIVEN(None, NAMES), GIVEN("", NAMES), GIVEN("a reason", NAMES)) == (False, False, True)
    assert one_of(["pass"])("pass", NAMES) == "pass"
    assert one_of(["pass"])("passed", NAMES) == OTHER
    assert some_of(["dark", "moved"])("moved, dark,cat", NAMES) == "dark,moved,other"
    assert some_of(["dark"])("", NAMES) == ""
    assert TIME("2026-03-04T05:06:07.089Z", NAMES) == "2026-03-04T05:06:07.089Z"
    with pytest.raises(Unfit):
        TIME("2026-03-04T05:06:07.089Z canary", NAMES)
    assert re.fullmatch(r"host-[a-z2-7]{16}", pseudonym("host")("broker:1883", NAMES))


def test_of_settings_a_bundle_has_numbers_choices_and_whether_there_is_one():
    config = msgspec.convert(
        {
            "unit": {"tenant": "canary", "id": "canary"},
            "broker": {"host": "canary", "username": "canary", "tls": False},
            "paths": {"state": "/canary", "policy": "/canary"},
            "camera": {"kind": "replay", "source": "/canary"},
            "model": {"card": "canary"},
        },
        Config,
        dec_hook=lambda _kind, value: Path(value),
    )
    said = settings_said(config, NAMES)
    assert "canary" not in str(said)
    assert said["broker.username"] is True
    assert said["broker.password_file"] is False
    assert said["broker.port"] == 8883.0
    assert said["camera.kind"] == "replay"
    assert said["model.card"] == OTHER
    assert set(said) == set(SETTINGS)


def test_of_a_policy_a_bundle_has_how_much_there_is():
    raw = json.loads((checkout() / "edge" / "defaults" / "policy.json").read_text())
    raw["rules"] = [
        {"id": "canary-1", "kind": "object", "labels": ["canary"]},
        {"id": "canary-2", "kind": "object", "labels": ["canary"]},
        {"id": "canary-3", "kind": "tamper"},
    ]
    said = policy_said(parse_policy(json.dumps(raw).encode()), "ab" * 32, NAMES)
    assert said.rules == {"object": 2, "tamper": 1}
    assert "canary" not in str(said)
    assert raw["timezone"] not in str(said)


# Checks and errors.


def result(value="", code="", status=Status.FAIL, name="power.temperature"):
    return Result(name=name, status=status, value=value, limit="", code=code, hint="canary")


def test_of_a_check_a_bundle_has_name_status_code_and_a_number_with_its_unit():
    assert check_said(result("81 °C", "too-hot")) == CheckSaid(
        name="power.temperature", status="fail", code="too-hot", number=81.0, unit="°C"
    )
    for text in (
        "canary",
        "81 canary",
        "10.0.0.7",
        "12345678",
        "81 °C canary",
        "canary 81 °C",
        "81 °C\n",
        "",
    ):
        said = check_said(result(text))
        assert (said.number, said.unit) == (None, "")


def test_checks_and_codes_that_are_none_of_ours_stay_out():
    known = known_checks()
    name = next(iter(known))
    good = CheckSaid(name=name, status="fail", code=next(iter(HINTS)), number=1.0, unit="s")
    strangers = [
        CheckSaid(name="canary.canary", status="pass"),
        CheckSaid(name=name, status="fail", code="canary"),
        CheckSaid(name=name, status="fail", number=1.0, unit="canary"),
        good,
    ]
    assert checks_said([good, *strangers], known) == ((good,), 4)
    assert all(len(unit) <= 8 for unit in UNITS)


def logged(template, logger="edge.from_before", level="error"):
    at = "2026-03-04T05:06:07.089Z"
    return LoggedError(at=at, level=level, logger=logger, template=template, text="canary")


OURS = "a worker's log that is deleted may not be missed: %s"


def test_only_constants_of_our_source_leave():
    said, left_out = errors_said(
        [
            logged(OURS, level="WARNING"),
            logged(OURS, level="WARNING"),
            logged("the unit's canary"),
            logged(OURS % "canary"),
            logged("(of the library paho)", logger="paho.mqtt"),
            logged(OURS, logger="canary"),
            logged(OURS, level="canary"),
            logged(OURS, logger="edge.canary.module"),
            logged(OURS, logger="edge.clock"),
        ]
    )
    assert said == (ErrorSaid(level="warning", logger="edge.from_before", template=OURS, count=2),)
    assert left_out == 7


@given(TEXTS)
def test_a_text_that_was_put_together_is_none_of_ours(text):
    assert not is_ours("edge.from_before", f"the unit's {text} canary")
    assert not is_ours(text, OURS)
    assert is_ours("edge.from_before", OURS)


def log_calls():
    """Every call of a logger in our source: where it is, and what it is given as its message."""
    levels = {"debug", "info", "warning", "error", "exception", "critical", "log"}
    for path in sorted((checkout() / "edge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if not (call and node.func.attr in levels and isinstance(node.func.value, ast.Name)):
                continue
            if node.func.value.id in {"log", "logger", "logging", "_log"}:
                yield f"{path.name}:{node.lineno}", node.args[node.func.attr == "log"]


def is_constant(message):
    return isinstance(message, ast.Constant) and isinstance(message.value, str)


def test_no_message_of_the_log_is_put_together_before_it_is_logged():
    calls = list(log_calls())
    assert len(calls) > 100
    assert [where for where, message in calls if not is_constant(message)] == []


@pytest.mark.parametrize("source", ['f"a {b}"', '"a %s" % b', '"a {}".format(b)', '"a" + b', "b", "str(b)"])
def test_a_message_that_is_put_together_would_be_found(source):
    assert not is_constant(ast.parse(source, mode="eval").body)


def test_a_record_that_formats_itself_is_none_of_ours():
    record = logging.LogRecord("edge.unit", logging.ERROR, "", 0, "canary %s", ("x",), None)
    assert not is_ours(record.name, record.msg)
    assert not is_ours("edge.unit", ValueError("canary"))


# The document.


def test_a_bundle_is_read_as_it_was_written():
    assert decode(encode(made())) == made()


def test_a_bundle_always_fits_the_log_and_the_control_socket():
    error = ErrorSaid(level="error", logger="edge." + "x" * 59, template="x" * 256, count=2**53)
    many = encode(made(errors=(error,) * (4 * MAX_ERRORS)))
    assert len(many) <= MAX_BYTES
    said = decode(many)
    assert len(said.errors) + said.left_out.errors == 4 * MAX_ERRORS
    sealed = seal_bundle(bytes(MAX_BYTES), KEY.recipient)
    line = line_of(BundleMade(sealed, ("x" * 100,) * 10))
    assert len(line) <= MAX_LINE_BYTES
    assert read_answer(line) == BundleMade(sealed, ("x" * 100,) * 10)


def test_a_bundle_has_no_place_for_a_text(monkeypatch):
    for wrong in ({"facts": {"a": "canary?"}}, {"unit": "cam-1"}, {"settings": {"a b": 1.0}}):
        with pytest.raises(document.InvalidMessage):
            encode(made(**wrong))


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_bundle_or_unreadable(data):
    with pytest.raises(BundleUnreadable):
        decode(data)


def test_a_newer_bundle_is_said_to_be_one():
    raw = {**json.loads(encode(made())), "schema": "support-bundle/2"}
    with pytest.raises(BundleUnreadable, match="support-bundle/1"):
        decode(json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("6.6.31+rpt-rpi-v8", "6.6.31-rpi-v8"),
        ("6.1.0-21-amd64", "6.1.0-amd64"),
        ("6.1.0", "6.1.0"),
        ("6.1.0-canary", "6.1.0-other"),
        ("canary", OTHER),
        ("6.1.0-canary\n", OTHER),
    ],
)
def test_a_kernel_is_a_number_and_a_known_flavour(release, said):
    assert kernel(release) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4\0", "Raspberry Pi 4 Model B Rev 1.4"),
        ("Raspberry Pi Zero 2 W Rev 1.0\0", "Raspberry Pi Zero 2 W Rev 1.0"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", "Raspberry Pi 3 Model B Plus Rev 1.3"),
        ("Raspberry Pi Compute Module 4 Rev 1.0\0", "Raspberry Pi Compute Module 4 Rev 1.0"),
        ("Raspberry Pi 5 of canary\0", OTHER),
        ("canary\0", OTHER),
    ],
)
def test_a_board_is_a_raspberry_pi_or_another(tmp_path, text, said):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text(text)
    assert board(tmp_path) == said
    assert board(tmp_path / "nothing") == OTHER


def test_versions_are_told():
    said = versions()
    assert said.python.count(".") == 2
    assert said.interpreter


def test_a_table_shows_what_is_wrong_first():
    checks = (
        CheckSaid(name="a.b", status="pass"),
        CheckSaid(name="c.d", status="fail", code="off", number=1.5, unit="s"),
    )
    said = list(lines_of(made(checks=checks)))
    assert said.index("  fail  c.d                      off                      1.5 s") < said.index(
        "  pass  a.b"
    )
    assert "  spool.events                     3" in said


# Pseudonyms.


def test_a_pseudonym_is_the_same_at_each_time_and_another_for_each_unit(tmp_path):
    first = Pseudonyms.of(tmp_path).name("host", "broker")
    assert Pseudonyms.of(tmp_path).name("host", "broker") == first
    assert Pseudonyms.of(tmp_path).name("unit", "broker")[-16:] != first[-16:]
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    assert Pseudonyms.of(tmp_path).name("host", "broker") != first
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33)])
def test_a_key_that_is_none_makes_no_pseudonyms(tmp_path, data):
    (tmp_path / KEY_FILE).write_bytes(data)
    with pytest.raises(NoPseudonyms):
        Pseudonyms.of(tmp_path)


def test_a_state_folder_that_takes_no_key_is_told(tmp_path):
    with pytest.raises(NoPseudonyms, match="wanted a key there"):
        Pseudonyms.of(tmp_path / "nothing")


# Sealing.


def test_a_bundle_opens_for_its_key_alone():
    sealed = seal_bundle(b"document", KEY.recipient)
    assert open_bundle(sealed, [NEXT, KEY]) == b"document"
    with pytest.raises(UnknownRecipient):
        open_bundle(sealed, [NEXT])
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises((NotABundle, UnknownRecipient, Spoilt)):
            open_bundle(bytes(changed), [KEY])
        with pytest.raises((NotABundle, Spoilt)):
            open_bundle(sealed[:at], [KEY])


def test_a_bundle_never_opens_as_a_picture_nor_a_picture_as_a_bundle():
    bundle, picture = seal_bundle(b"document", KEY.recipient), seal(b"picture", KEY.recipient, "", "")
    with pytest.raises(NotSealed):
        open_sealed(bundle, [KEY], "", "")
    with pytest.raises(NotABundle):
        open_bundle(picture, [KEY])
    with pytest.raises(Spoilt):
        open_sealed(MAGIC + bundle[4:], [KEY], "", "")
    with pytest.raises(Spoilt):
        open_bundle(b"DWB1" + picture[4:], [KEY])


def test_a_key_to_seal_to_is_read_or_told_to_be_none(tmp_path):
    path = tmp_path / "support.pub"
    with pytest.raises(SealKeyUnusable, match="No such file"):
        read_recipient(path)
    path.write_bytes(KEY.public_pem())
    assert read_recipient(path) == KEY.recipient
    for wrong in (b"", b"canary", KEY.pem(), KEY.public_pem() * 100):
        path.write_bytes(wrong)
        with pytest.raises(SealKeyUnusable, match=r"support\.pub: wanted a"):
            read_recipient(path)


# What the worker reads.


def entry(text):
    return Entry(7, "2026-03-04T05:06:07.089Z", "", Here(NOTED, text))


def test_the_log_tells_the_worker_what_is_in_it_and_who_can_open_it():
    raw = {"recipient": KEY.kid, "sha256": "ab" * 32, "bytes": 900, "bundle": json.loads(encode(made()))}
    (moment,) = moments_of([entry(json.dumps(raw))], dt.UTC)
    assert moment.title == "Support bundle made"
    (fact,) = moment.facts
    assert KEY.kid[:4] in fact
    assert "1 fact of the unit" in fact


@given(TEXTS)
def test_whatever_a_note_of_a_bundle_says_the_log_can_be_read(text):
    assert words.here(NOTED, text)
    raw = {"recipient": "k", "sha256": "ab" * 32, "bytes": 9, "bundle": {"schema": text}}
    assert "another version" in words.here(NOTED, json.dumps(raw))


def test_the_page_tells_what_stays_on_the_unit_and_why():
    page = (checkout() / "docs" / "support-bundle.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == dict(FACTS_LEFT_OUT)
