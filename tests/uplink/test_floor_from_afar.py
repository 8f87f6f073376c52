"""A policy that the rightful operator signed and that loosens the floor: refused, and nothing applied."""

import json
import re

import pytest

from edge.policy.floor import FLOORS, NEVER
from edge.uplink.twin_messages import Document, Phase
from tests.uplink.policies import Unit, document

RULE = {"id": "phone", "kind": "object", "labels": ["cell phone"]}
LOOSER = [
    # A sharp background.
    ({"thumbnail": {"background": "sharp"}}, "$.thumbnail.background"),
    ({"thumbnail": {"sharp_background": True}}, "$.thumbnail.sharp_background"),
    ({"thumbnail": {"mosaic": False}}, "$.thumbnail.mosaic"),
    ({"rules": [RULE, {"id": "who", "kind": "people", "max": 1, "sharp": True}]}, "$.rules[1].sharp"),
    ({"rules": [{**RULE, "labels": ["person"]}]}, "$.rules[0].labels"),
    # Pictures for longer.
    ({"thumbnail": {"retain_days": 90}}, "$.thumbnail.retain_days"),
    ({"thumbnail": {"retain_days": 20.001}}, "$.thumbnail.retain_days"),
    # No light.
    ({"led": False}, "$.led"),
    ({"led": {"pin": None}}, "$.led"),
    ({"watch": {"mode": "continuous", "led": "off"}}, "$.watch.led"),
    # No breaks, or next to none.
    ({"breaks": False}, "$.breaks"),
    ({"breaks": None}, "$.breaks"),
    ({"breaks": {"enabled": False}}, "$.breaks.enabled"),
    ({"breaks": {"max_s": 0}}, "$.breaks.max_s"),
    ({"breaks": {"max_s": 299}}, "$.breaks.max_s"),
    ({"breaks": {"infraction": True}}, "$.breaks.infraction"),
    # Capture off shift, on a break, before the notice.
    ({"watch": {"mode": "continuous", "off_shift": True}}, "$.watch.off_shift"),
    ({"watch": {"mode": "continuous", "on_break": True}}, "$.watch.on_break"),
    ({"watch": {"mode": "continuous", "always": True}}, "$.watch.always"),
    ({"notice": "accepted"}, "$.notice"),
    # More than pictures, and who is in them.
    ({"audio": True}, "$.audio"),
    ({"live_view": True}, "$.live_view"),
    ({"rules": [{**RULE, "identify": True}]}, "$.rules[0].identify"),
    ({"log": False}, "$.log"),
]


def place(keys: list[str | int], value: object) -> object:
    """Return `value` nested under `keys`."""
    for key in reversed(keys):
        value = [value] if isinstance(key, int) else {key: value}
    return value


def asking_for(path: str) -> dict[str, object]:
    keys = [int(name) if name.isdigit() else name for name in re.findall(r"[a-z_]+|\d+", path)]
    (change,) = [place(keys, value=True)]
    assert isinstance(change, dict)
    if "rules" in change:
        change["rules"] = [RULE | change["rules"][0]]
    if "watch" in change:
        change["watch"] = {"mode": "continuous"} | change["watch"]
    return change


EVERY_KEY = [(asking_for(path), path) for path in (key.replace("[*]", "[0]") for key in NEVER)]


def files(unit: Unit) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in unit.state.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("changes", "path"), LOOSER + EVERY_KEY)
def test_a_looser_policy_is_refused_whoever_signed_it(tmp_path, changes, path):
    unit = Unit(tmp_path)
    unit.confirm(4)
    policy, before = unit.twin.policy, files(unit)
    assert unit.offer(document(5, **changes)) == "below-floor"
    report = unit.last
    assert (report.phase, report.error.code, report.error.path) == (Phase.REFUSED, "below-floor", path)
    assert report.desired.version in (5, None)
    assert report.running == Document(version=4, sha256=report.running.sha256)
    assert unit.twin.policy is policy
    assert files(unit) == before
    assert Unit(tmp_path).version == 4  # nor after a restart


def test_each_value_that_is_bounded_is_among_them():
    """A new floor without a case above is a promise without a proof."""
    tried = {re.sub(r"\[\d+\]", "[*]", path) for _, path in LOOSER}
    assert {floor.path for floor in FLOORS} <= tried


def test_what_is_tighter_is_taken(tmp_path):
    unit = Unit(tmp_path)
    unit.confirm(4)
    tighter = {
        "thumbnail": {"retain_days": 1, "max_side_px": 160},
        "breaks": {"max_s": 3600},
        "masks": [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]],
    }
    assert unit.offer(document(5, **tighter)) is None
    assert json.loads(document(5, **tighter))["breaks"]["max_s"] == unit.twin.policy.breaks.max_s
