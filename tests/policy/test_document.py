"""The policy document: what is taken, and where each kind of mistake is said to be."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.policy.document import (
    MAX_POLICY_BYTES,
    ActivityRule,
    ObjectRule,
    PeopleRule,
    PolicyError,
    PolicyMissing,
    Spot,
    TamperRule,
    check_labels,
    parse_policy,
    read_policy,
)

DESIGN = {
    "schema": "policy/1",
    "version": 7,
    "unit": "cam-0042",
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2027-01-01T00:00:00Z",
    "timezone": "America/Bogota",
    "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "17:00"}],
    "watch": {"mode": "spot", "mean_interval_s": 600, "burst_s": 20},
    "breaks": {"max_s": 1800},
    "masks": [[[0, 0], [0.2, 0], [0.2, 1], [0, 1]]],
    "rules": [
        {
            "id": "phone",
            "kind": "object",
            "labels": ["cell phone"],
            "enter": 0.55,
            "leave": 0.40,
            "hold_s": 2,
            "release_s": 5,
            "cooldown_s": 60,
            "thumbnail": True,
        },
        {"id": "paper", "kind": "object", "labels": ["paper"]},
        {"id": "eating", "kind": "object", "labels": ["food"]},
        {"id": "extra-person", "kind": "people", "max": 1, "hold_s": 5},
        {"id": "absent", "kind": "people", "min": 1, "hold_s": 120},
        {"id": "camera-blocked", "kind": "tamper", "hold_s": 10},
        {"id": "idle", "kind": "activity", "quiet_s": 300},
    ],
    "thumbnail": {"max_side_px": 480, "max_bytes": 40000, "retain_days": 20},
}


def changed(path: str, value: object) -> bytes:
    """The design's policy with the value at a dotted path replaced, or removed where value is `...`."""
    document = json.loads(json.dumps(DESIGN))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at = document
    for key in parents:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(document).encode()


def _paths(value, above=""):
    """The dotted paths of all that is in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield f"{above}{key}"
        yield from _paths(inner, f"{above}{key}.")


def test_the_design_s_policy_is_taken_whole():
    policy = parse_policy(json.dumps(DESIGN).encode())
    kinds = [type(rule) for rule in policy.rules]
    assert kinds == [ObjectRule] * 3 + [PeopleRule] * 2 + [TamperRule, ActivityRule]
    assert policy.rules[0].leave == 0.40
    assert policy.rules[1].leave_score == pytest.approx(0.75 * 0.55)
    assert policy.watch == Spot(mean_interval_s=600, burst_s=20)
    assert policy.masks[0][2] == (0.2, 1.0)


@pytest.mark.parametrize(
    ("path", "value", "where", "says"),
    [
        ("foo", 1, "$.foo", "'foo'"),
        ("rules.1.hold", 1, "$.rules[1].hold", "'hold'"),
        ("watch.interval", 1, "$.watch.interval", "keys burst_s, mean_interval_s, mode; got 'interval'"),
        ("watch.mode", "random", "$.watch.mode", "wanted one of continuous, spot; got 'random'"),
        ("shifts.0.end", "24:30", "$.shifts[0].end", "wanted HH:MM, 00:00 to 23:59, or 24:00, got '24:30'"),
        ("schema", "policy/2", "$.schema", "policy/2"),
        ("version", "7", "$.version", "wanted a whole number, got a text"),
        ("version", 0, "$.version", "got 0"),
        ("version", ..., "$", "wanted the key 'version'"),
        ("rules", [], "$.rules", "length >= 1"),
        ("rules.0.enter", 1.5, "$.rules[0].enter", "got 1.5"),
        ("rules.0.enter", 0.3, "$.rules[0].leave", "at most enter 0.3, got 0.4"),
        ("rules.0.hold_s", -1, "$.rules[0].hold_s", "got -1"),
        ("rules.0.kind", "face", "$.rules[0].kind", "'face'"),
        ("rules.0.id", "Phone!", "$.rules[0].id", "'Phone!'"),
        ("rules.0.id", "phone\n", "$.rules[0].id", "lower-case letters"),
        ("rules.0.labels", ["a", "a"], "$.rules[0].labels", "'a' twice"),
        ("rules.0.labels", ["cell phone", "person"], "$.rules[0].labels", "never pictured sharp"),
        ("rules.1.id", "phone", "$.rules", "'phone' twice"),
        ("rules.3.min", 1, "$.rules[3]", "got both"),
        ("rules.3.max", ..., "$.rules[3]", "got none"),
        ("rules.5.causes", ["dark"], "$.rules[5].causes[0]", "'dark'"),
        ("rules.6.quiet_s", 1, "$.rules[6].quiet_s", "got 1"),
        ("rules.6.hold_s", 1, "$.rules[6].hold_s", "'hold_s'"),
        ("timezone", "America/Macondo", "$.timezone", "'America/Macondo'"),
        ("timezone", "../../etc/passwd", "$.timezone", "IANA"),
        ("shifts.0.start", "8:00", "$.shifts[0].start", "'8:00'"),
        ("shifts.0.end", "08:00", "$.shifts[0].end", "another time than the start"),
        ("shifts.0.days", ["mon", "mon"], "$.shifts[0].days", "'mon' twice"),
        ("shifts.0.days", ["monday"], "$.shifts[0].days[0]", "'monday'"),
        ("watch.burst_s", 601, "$.watch", "<= 600"),
        ("watch.mean_interval_s", 15, "$.watch.mean_interval_s", "got 15"),
        ("watch", {"mode": "spot", "mean_interval_s": 60, "burst_s": 90}, "$.watch.burst_s", "got 90"),
        ("issued_at", "2026-01-01T00:00:00", "$.issued_at", "timezone"),
        ("expires_at", "2025-01-01T00:00:00Z", "$.expires_at", "after issued_at"),
        ("masks.0.1", [0.2, 1.2], "$.masks[0][1][1]", "got 1.2"),
        ("masks.0", [[0, 0], [0.5, 0.5], [1, 1]], "$.masks[0]", "an area"),
        ("masks.0", [[0, 0], [1, 1], [1, 0], [0, 1]], "$.masks[0]", "do not cross"),
        ("masks.0", [[0, 0], [1, 1]], "$.masks[0]", "length >= 3"),
        ("thumbnail.retain_days", 90, "$.thumbnail.retain_days", "<= 20"),
        (
            "thumbnail.sharp_background",
            True,
            "$.thumbnail.sharp_background",
            "wanted one of the keys max_bytes",
        ),
    ],
)
def test_each_mistake_is_named_with_its_path(path, value, where, says):
    with pytest.raises(PolicyError) as refused:
        parse_policy(changed(path, value))
    assert refused.value.path.startswith(where)
    assert says in str(refused.value)
    assert where in str(refused.value)


@pytest.mark.parametrize(
    "document",
    [
        *[b"", b"\xff\xfe", b"{", b"[]", b"null", b"7", b'{"schema": NaN}', b"[" * 30_000, b'{"a":' * 10_000],
        # A field that is wrong, in a document that is wrong behind it or says something else of it later.
        b'{"schema":"policy/1","version":0, oops',
        b'{"thumbnail":{"max_bytes":1},"thumbnail":null}',
        b'{"rules":[{"id":"A","kind":"object"}],"rules":[]}',
    ],
)
def test_what_is_no_policy_at_all_is_refused(document):
    with pytest.raises(PolicyError):
        parse_policy(document)


SOUND = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(_paths(DESIGN))), SOUND)
def test_whatever_stands_at_a_path_is_taken_or_refused_with_a_path(path, value):
    with suppress(PolicyError):
        parse_policy(changed(path, value))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(json.dumps(DESIGN)) - 1), st.integers(0, 255)), max_size=4))
def test_whatever_bytes_are_spoilt_it_is_taken_or_refused(spoilt):
    document = bytearray(json.dumps(DESIGN).encode())
    for at, byte in spoilt:
        document[at] = byte
    with suppress(PolicyError):
        parse_policy(bytes(document))


def test_a_document_over_the_bound_is_refused_before_it_is_read():
    with pytest.raises(PolicyError, match=f"at most {MAX_POLICY_BYTES} bytes"):
        parse_policy(json.dumps(DESIGN).encode().ljust(MAX_POLICY_BYTES + 1))


def test_a_file_is_named(tmp_path):
    with pytest.raises(PolicyMissing, match=r"absent\.json: wanted a policy file"):
        read_policy(tmp_path / "absent.json")
    with pytest.raises(PolicyMissing, match="Is a directory"):
        read_policy(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PolicyMissing, match="pipe: wanted a policy file, got: neither"):
        read_policy(tmp_path / "pipe")
    file = tmp_path / "policy.json"
    file.write_bytes(changed("version", 0))
    with pytest.raises(PolicyError, match=r"policy\.json: .* - at \$\.version"):
        read_policy(file)


def test_rules_that_the_model_cannot_serve_are_named():
    policy = parse_policy(json.dumps(DESIGN).encode())
    check_labels(policy, {"person", "cell phone", "paper", "food"})
    with pytest.raises(PolicyError, match="'paper'") as refused:
        check_labels(policy, {"person", "cell phone", "food"})
    assert refused.value.path == "$.rules[1].labels[0]"
    with pytest.raises(PolicyError, match="'person'") as refused:
        check_labels(policy, {"cell phone", "paper", "food"})
    assert refused.value.path == "$.rules[3]"


def test_an_empty_chair_has_more_patience_than_a_second_person():
    policy = parse_policy(changed("rules.4.hold_s", ...))
    assert policy.rules[4].hold_s == 30
    assert parse_policy(changed("rules.3.hold_s", ...)).rules[3].hold_s == 2
    assert parse_policy(json.dumps(DESIGN).encode()).rules[4].hold_s == 120


KEY = "x25519:hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("key-1", "wanted x25519: and 43 characters of base64url"),
        ("", "wanted x25519: and 43 characters of base64url"),
        (KEY.replace("x25519", "ed25519"), "wanted x25519: and 43 characters of base64url"),
        (KEY[:-1], "wanted x25519: and 43 characters of base64url"),
        (KEY + "\n", "wanted x25519: and 43 characters of base64url"),
        (KEY.replace("_", "/"), "wanted x25519: and 43 characters of base64url"),
        (KEY[:-1] + "p", f"wanted the spelling {KEY}"),
        ("x25519:" + 43 * "A", "a point of small order"),
        ("x25519:AQ" + 41 * "A", "a point of small order"),
        ("x25519:" + 42 * "_" + "8", "wanted a number below 2^255 - 19"),
        (7, "wanted a text or nothing, got a whole number"),
    ],
)
def test_a_recipient_that_nothing_can_be_sealed_to_is_refused_at_its_path(text, says):
    with pytest.raises(PolicyError) as refused:
        parse_policy(changed("thumbnail.recipient", text))
    assert refused.value.path == "$.thumbnail.recipient"
    assert says in refused.value.problem


def test_a_policy_names_whom_its_pictures_are_sealed_to():
    thumbnail = parse_policy(changed("thumbnail.recipient", KEY)).thumbnail
    assert thumbnail.sealed_to.text == KEY
    assert parse_policy(changed("thumbnail.max_bytes", 40_000)).thumbnail.sealed_to is None
