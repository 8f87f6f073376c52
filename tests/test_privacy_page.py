"""docs/privacy.md: each promise names tests that exist, and nothing of the floor is without a promise."""

import ast
import re

import pytest

from edge.policy.schedule import Off
from edge.vision.model_file import checkout

PAGE = (checkout() / "docs" / "privacy.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("| promise | mechanism |")[2].partition("\n\n")[0].splitlines()[2:]
]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row[2])})


def functions_of(path):
    tree = ast.parse((checkout() / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_is_there(name):
    path, _, function = name.partition("::")
    assert (checkout() / path).is_file()
    assert function in functions_of(path)


def test_each_promise_has_a_mechanism_and_a_proof():
    assert len(ROWS) >= 30
    for row in ROWS:
        promise, mechanism, proof = row
        assert promise
        assert mechanism
        assert re.findall(r"`(tests/[\w/]+\.py::\w+)`", proof), promise


def test_every_reason_of_the_gate_is_promised():
    words = {
        Off.NOTICE: "before the notice is accepted",
        Off.LED: "with the light failing",
        Off.REPAIR: "during a repair",
        Off.SAFE: "in safe mode",
        Off.OFF_SHIFT: "off shift",
        Off.BREAK: "on a break",
        # These close the camera for the employer's sake, or follow from the shift.
        Off.BETWEEN_CHECKS: None,
        Off.POLICY_EXPIRED: None,
        Off.POLICY_NOT_YET: None,
    }
    assert set(words) == set(Off)
    for said in words.values():
        assert said is None or said in ROWS[0][0]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w./-]+)\)", PAGE))))
def test_links_lead_somewhere(link):
    assert (checkout() / "docs" / link).is_file()
