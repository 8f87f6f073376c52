"""The default policy with the default model on the project's own clip: each infraction once, and no other."""

import datetime as dt
from dataclasses import dataclass
from importlib import resources

import pytest

from edge import offline
from edge.policy.document import read_policy
from edge.uplink.messages import OpenedEvent
from edge.vision.detector import Detector
from edge.vision.model_file import DEFAULT_CARD, find_card
from tests.clip import CLIP, phase

MONDAY = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
LATE_S = 2.0
"""How long after its hold, or its release, the model may take to see that something came or went."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, in seconds from the clip's start."""

    at_s: float
    what: str
    rule: str
    reason: str | None


@pytest.fixture(scope="module")
def policy():
    with resources.as_file(resources.files("edge.defaults").joinpath("policy.json")) as path:
        return read_policy(path)


@pytest.fixture(scope="module")
def replayed(policy):
    detector = Detector.load(find_card(DEFAULT_CARD))

    def replay(source):
        told = []

        def tell(record):
            event = offline.event_of(record)
            at_s = (dt.datetime.fromisoformat(event.time) - MONDAY).total_seconds()
            opened = isinstance(event, OpenedEvent)
            reason = None if opened else event.data.reason
            told.append(Told(at_s, "opened" if opened else "closed", event.subject, reason))

        done = offline.replay(source, detector, policy, MONDAY, tell, seed=1)
        assert done.problems == ()
        return told

    return replay


@dataclass(frozen=True, slots=True)
class Breach:
    """A part of the clip that breaks a rule: the phases in which it comes, is there, and goes."""

    rule: str
    comes: str
    there: str
    goes: str | None


STORY = (
    Breach("phone", "phone is brought up", "phone in use", "phone is put away"),
    Breach("extra-person", "second person comes", "second person stands behind", "second person leaves"),
    Breach("paper", "sheets are laid down", "sheets on the desk", "sheets are taken away"),
    Breach("absent", "worker gets up and leaves", "empty chair", "worker comes back"),
    Breach("camera-blocked", "lens is being covered", "lens is covered", None),
)


@pytest.fixture(scope="module")
def story(replayed):
    return replayed(CLIP)


def test_each_infraction_of_the_clip_opens_once_and_closes_and_there_is_no_other(story):
    assert [one.rule for one in story if one.what == "opened"] == [breach.rule for breach in STORY]
    assert sorted(one.rule for one in story if one.what == "closed") == sorted(b.rule for b in STORY)


@pytest.mark.parametrize("breach", STORY, ids=lambda breach: breach.rule)
def test_it_opens_when_its_hold_is_full_and_closes_when_its_release_is(story, policy, breach):
    (rule,) = [one for one in policy.rules if one.id == breach.rule]
    opened, closed = [one for one in story if one.rule == breach.rule]
    first_s, latest_s = phase(breach.comes).from_s, phase(breach.there).from_s
    assert first_s + rule.hold_s <= opened.at_s <= latest_s + rule.hold_s + LATE_S
    if closed.reason == "stopped":  # the clip ends first
        assert closed.at_s == story[-1].at_s
        return
    assert closed.reason == "ended"
    assert breach.goes is not None
    first_s, latest_s = phase(breach.goes).from_s, phase(breach.goes).to_s
    assert first_s + rule.release_s <= closed.at_s <= latest_s + rule.release_s + LATE_S


@pytest.mark.parametrize(
    "name",
    [
        "book.mkv",
        "bottle-detection.mp4",
        "classroom.gif",
        "eat.mkv",
        "head-pose-face-detection-female-and-male.gif",
        "head-pose-face-detection-female.gif",
    ],
)
def test_where_there_is_no_phone_paper_or_food_none_is_reported(shared, replayed, name):
    told = replayed(shared / "clips" / name)
    assert [one for one in told if one.rule in {"phone", "paper", "eating"}] == []
