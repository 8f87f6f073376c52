"""Whatever comes on a topic that the unit listens to: nothing escapes, nothing changes, and it is counted."""

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.clock import SteppedClock
from edge.policy.document import parse_policy
from edge.uplink.activity import Beats
from edge.uplink.command_messages import COMMANDS, BreakResult, Reply, ResumeResult
from edge.uplink.commands import Commands
from edge.uplink.envelope import new_signing_key, seal, trust
from edge.uplink.inbox import FAULT, Inbox
from edge.uplink.ingester import Ingester
from edge.uplink.patience import Patience
from edge.uplink.signals import Received
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.twin import Twin
from edge.uplink.twin_messages import Phase, Reported
from edge.uplink.twin_state import Proof
from edge.uplink.twin_store import TwinStore
from edge.uplink.wire import timestamp
from tests.uplink.conftest import TOPICS, put_event

NOW = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
LABELS = ("person", "cell phone", "paper", "food")
POLICY = json.loads(resources.files("edge.defaults").joinpath("policy.json").read_bytes())
IN_FORCE = 7


def document(**changes: object) -> bytes:
    fields = {"unit": TOPICS.unit, "version": IN_FORCE, "issued_at": "2026-03-01T00:00:00Z", **changes}
    return json.dumps({**POLICY, **fields}).encode()


@dataclass
class Doer:
    """The unit behind the commands: notes what it is asked to do."""

    done: list[str] = field(default_factory=list)

    def start_break(self, reason: str) -> BreakResult:
        self.done.append("break")
        return BreakResult(ends_at=timestamp(NOW))

    def end_break(self, reason: str) -> ResumeResult:
        self.done.append("resume")
        return ResumeResult(lasted_s=1.0)

    def look_now(self, answer: object) -> None:
        self.done.append("spot-check")

    def diagnose(self, answer: object) -> None:
        self.done.append("diagnose")

    def identify(self, for_s: float, answer: object) -> None:
        self.done.append("identify")

    def reload(self, answer: object) -> None:
        self.done.append("reload")


class World:
    """All that listens in a unit, on a real disk, with a signed policy in force and events that wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = SteppedClock(NOW, 1000.0)
        self.key, self.stranger = new_signing_key(), new_signing_key()
        self.spool = Spool.open(folder / "spool.db")
        for _ in range(5):
            put_event(self.spool)
        self.reported: list[Reported] = []
        self.replies: list[Reply] = []
        self.doer = Doer()
        local = document(version=1)
        self.twin = Twin(
            TwinStore(folder / "twin"),
            trust(self.key.public),
            TOPICS.unit,
            LABELS,
            (parse_policy(local), local),
            self.clock,
            confirm_timeout_s=60.0,
            report=self.reported.append,
            proof=self._proof,
            session=1,
        )
        self.commands = Commands(
            self.doer,
            lambda _name, reply: self.replies.append(reply),
            self.spool.remember,
            self.clock,
            lambda: True,
        )
        self.beats = Beats(self.clock, lambda: True)
        self.inbox = Inbox(
            {
                TOPICS.desired: self.twin.desired,
                TOPICS.command("+"): self.commands.take,
                TOPICS.activity: self.beats.take,
            }
        )
        self.ingester = Ingester(TOPICS.ack, Patience())
        self._begin()

    def _begin(self) -> None:
        """Put a policy into force, do one command and take one beat: there is something to lose."""
        self.take(TOPICS.desired, seal(document(), self.key))
        self.clock.sleep(1.0)
        self.twin.turn()
        assert self.twin.reported.phase is Phase.CONFIRMED
        self.take(TOPICS.command("identify"), command("identify", id="done"))
        self.take(TOPICS.activity, json.dumps({"at": timestamp(self.clock.now_at())}).encode())
        assert self.doer.done == ["identify"]
        assert self.refusals == Counter()

    def _proof(self) -> Proof:
        now_s = self.clock.now_s()
        return Proof(connected=True, puback_s=now_s, frame_s=now_s, inference_s=now_s, off=False)

    def take(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """As the uplink does."""
        message = Received(topic, qos, retain, payload)
        if topic in self.ingester.inbox.filters:
            self.ingester.inbox.take(message)
            self.ingester.settle(self.spool, self.clock.now_s())
        else:
            self.inbox.take(message)

    @property
    def refusals(self) -> Counter[str]:
        return Counter(self.inbox.refusals) + Counter(self.ingester.inbox.refusals)

    def state(self) -> object:
        """All that a message could change: on the disk, and in memory."""
        return (
            {path.name: path.read_bytes() for path in sorted((self._folder / "twin").iterdir())},
            self.twin.policy,
            tuple(self.doer.done),
            self.beats.last_beat_s,
            self.spool.depth(),
            self.spool.lost(),
            self.ingester.seq,
        )


def command(name: str, **changes: object) -> bytes:
    fields: dict[str, object] = {"id": "a", "expires_at": timestamp(NOW + dt.timedelta(minutes=5))}
    return json.dumps({**fields, **changes}).encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.spool.close()


def assert_refused(world: World, topic: str, payload: bytes, *, retain: bool = False) -> None:
    before, counted = world.state(), world.refusals
    world.take(topic, payload, retain=retain)
    assert world.state() == before
    new = world.refusals - counted
    assert new.total() == 1, f"wanted one refusal, got {new}"
    assert FAULT not in new, f"a handler failed where it should have refused: {payload[:200]!r}"


LISTENED = [TOPICS.desired, TOPICS.activity, TOPICS.ack, *(TOPICS.command(name) for name in COMMANDS)]
topics = st.sampled_from(LISTENED)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**400), 2**53 + 1, 2**64, -1, "1e999", "\0", "a" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "expires_at", "at", "epoch", "seq", "reason", "for_s", "x"]) | st.text(),
            inner,
        )
    ),
    max_leaves=12,
)
deep = st.builds(
    lambda opening, depth, closed: opening * depth + (b"]" if opening == b"[" else b"}") * (depth * closed),
    st.sampled_from([b"[", b'{"id":', b'{"at":[', b'[{"seq":']),
    st.sampled_from([10, 500, 1_100, 20_000]),
    st.integers(0, 1),
)
not_utf8 = st.builds(lambda junk: b'{"id": "' + junk + b'\xff\xfe", "at": 1}', st.binary(max_size=40))
too_long = st.builds(
    lambda size: b'{"id": "' + b"a" * size + b'"}', st.sampled_from([5_000, 70_000, 300_000])
)
huge = st.sampled_from(
    [
        b'{"epoch": "%s", "seq": 1e999}' % (b"e" * 32),
        b'{"epoch": "%s", "seq": %s}' % (b"e" * 32, b"9" * 5000),
        b'{"id": "a", "expires_at": %s}' % (b"9" * 5000),
        b'{"id": "a", "expires_at": "9999-99-99T99:99:99.999Z"}',
        b'{"id": "a", "expires_at": "0000-01-01T00:00:00.000Z"}',
        b'{"at": "9999-12-31T23:59:59.999Z"}',
        b'{"at": "0001-01-01T00:00:00.000Z"}',
        b'{"at": "2026-02-31T00:00:00.000Z"}',
        b"-" + b"9" * 5000,
        b"NaN",
        b"\xef\xbb\xbf{}",
    ]
)
junk = st.one_of(
    st.binary(min_size=1, max_size=2_000),  # an empty one is a retained message deleted
    json_values.map(lambda value: json.dumps(value).encode()),
    deep,
    not_utf8,
    too_long,
    huge,
)
MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(topic=topics, payload=junk, retain=st.booleans())
def test_junk(world, topic, payload, retain):
    assert_refused(world, topic, payload, retain=retain)


@MANY
@given(name=st.sampled_from(sorted(COMMANDS)), data=st.data())
def test_a_command_of_which_one_thing_is_wrong(world, name, data):
    wrong: dict[str, object] = data.draw(
        st.sampled_from(
            [
                {"id": ""},
                {"id": "x" * 65},
                {"id": "a\nb"},
                {"id": 7},
                {"id": None},
                {"id": "done"},  # done before, by another name of command too
                {"expires_at": timestamp(NOW - dt.timedelta(seconds=1))},
                {"expires_at": timestamp(NOW + dt.timedelta(days=1, seconds=5))},
                {"expires_at": "2026-02-31T00:00:00.000Z"},
                {"expires_at": "2026-03-04T12:05:00Z"},
                {"expires_at": 1e18},
                {"unknown": 1},
                {"reason": "r" * 257} if name in ("break", "resume") else {"reason": "r"},
                {"for_s": 61} if name == "identify" else {"for_s": 1},
            ]
        )
    )
    assert_refused(world, TOPICS.command(name), command(name, **wrong))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_retained_command_or_a_bare_id(world, name):
    assert_refused(world, TOPICS.command(name), command(name), retain=True)
    assert_refused(world, TOPICS.command(name), b'{"id": "a"}')


@MANY
@given(name=st.text(max_size=40).filter(lambda name: name not in COMMANDS and "/" not in name))
def test_a_command_that_no_unit_knows(world, name):
    assert_refused(world, f"{TOPICS.root}/cmd/{name}", command("x"))


@MANY
@given(
    topic=st.one_of(
        st.text(max_size=60).filter(lambda topic: topic not in LISTENED),
        st.sampled_from([Topics("acme", "unit-2"), Topics("other", "unit-1")]).flatmap(
            lambda other: st.sampled_from([other.desired, other.ack, other.activity, other.command("break")])
        ),
        st.sampled_from([TOPICS.event, TOPICS.state, TOPICS.reported, TOPICS.root, f"{TOPICS.ack}/x"]),
    ),
    payload=junk,
)
def test_another_units_topic(world, topic, payload):
    assert_refused(world, topic, payload)
    assert_refused(world, topic, command("break"))


@MANY
@given(data=st.data())
def test_a_beat_that_is_retained_stale_or_seen_before(world, data):
    now_at = world.clock.now_at()
    ago_s = data.draw(st.integers(0, 10**7) | st.integers(-(10**7), -301))
    beat = json.dumps({"at": timestamp(now_at - dt.timedelta(seconds=ago_s))}).encode()
    assert_refused(world, TOPICS.activity, beat)
    assert_refused(world, TOPICS.activity, beat, retain=True)


@MANY
@given(seq=st.integers(6, 2**53), retain=st.booleans())
def test_an_acknowledgement_of_what_was_never_sent(world, seq, retain):
    ack = json.dumps({"epoch": world.spool.epoch, "seq": seq}).encode()
    assert_refused(world, TOPICS.ack, ack, retain=retain)


@MANY
@given(epoch=st.binary(min_size=16, max_size=16), seq=st.integers(1, 2**53))
def test_an_acknowledgement_of_another_life_releases_nothing(world, epoch, seq):
    before = world.state()
    world.take(TOPICS.ack, json.dumps({"epoch": epoch.hex(), "seq": seq}).encode(), retain=True)
    assert world.state() == before
    assert FAULT not in world.refusals


def signed(world: World, **changes: object) -> bytes:
    return seal(document(**changes), world.key)


HOSTILE = {
    "another unit's": {"version": 8, "unit": "unit-2"},
    "expired": {"version": 8, "expires_at": "2026-03-02T00:00:00Z"},
    "older": {"version": IN_FORCE - 1},
    "the same version, other bytes": {"timezone": "Europe/Paris"},
    "a schema of the future": {"version": 8, "schema": "policy/9"},
    "a label that nobody trained": {
        "version": 8,
        "rules": [{"id": "x", "kind": "object", "labels": ["gun"]}],
    },
    "a picture kept too long": {"version": 8, "thumbnail": {"retain_days": 21}},
    "an unknown key": {"version": 8, "live_view": True},
    "a version of many digits": {"version": 10**30},
    "a negative version": {"version": -1},
    "no rules of this earth": {"version": 8, "rules": [[[[[[]]]]]]},
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("retain", [True, False])
def test_a_policy_that_is_signed_and_still_wrong(world, what, retain):
    assert_refused(world, TOPICS.desired, signed(world, **HOSTILE[what]), retain=retain)
    assert world.reported[-1].phase is Phase.REFUSED
    assert world.reported[-1].running.version == IN_FORCE


def test_a_policy_that_a_stranger_signed(world):
    assert_refused(world, TOPICS.desired, seal(document(version=8), world.stranger))


@MANY
@given(data=st.data())
def test_a_signed_policy_of_which_a_byte_is_another(world, data):
    good = signed(world, version=8)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[at]))
    forged = good[:at] + bytes([byte]) + good[at + 1 :]
    assert_refused(world, TOPICS.desired, forged, retain=True)


def test_no_second_spelling_of_a_signature_is_taken(world):
    """Of the last character of a signature only two bits count: the other fifteen spellings are none."""
    good = signed(world, version=8)
    for other in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=":
        if other != good[-1]:
            assert_refused(world, TOPICS.desired, good[:-1] + bytes([other]))


@MANY
@given(data=st.data())
def test_a_signed_policy_cut_short_or_with_more_behind_it(world, data):
    good = signed(world, version=8)
    cut = good[: data.draw(st.integers(1, len(good) - 1))]
    more = good + data.draw(st.binary(min_size=1, max_size=50))
    assert_refused(world, TOPICS.desired, cut)
    assert_refused(world, TOPICS.desired, more)


@MANY
@given(content=json_values)
def test_any_document_under_a_good_signature(world, content):
    assert_refused(world, TOPICS.desired, seal(json.dumps(content).encode(), world.key))


def test_at_the_end_the_unit_still_does_what_it_is_told(world):
    """The refusals above did not come of a unit that refuses everything."""
    world.take(TOPICS.command("break"), command("break", id="last"))
    assert world.doer.done == ["identify", "break"]
    world.take(TOPICS.ack, json.dumps({"epoch": world.spool.epoch, "seq": 3}).encode())
    assert world.spool.depth().events == 2
    world.take(TOPICS.desired, signed(world, version=8))
    assert world.twin.policy.version == 8
    assert FAULT not in world.refusals
