"""The twin: what is refused and why, how a trial ends, and that nothing else changes the policy."""

import itertools
import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import SteppedClock
from edge.uplink.envelope import MAX_ENVELOPE_BYTES, new_signing_key, seal, trust
from edge.uplink.inbox import Inbox
from edge.uplink.signals import Received
from edge.uplink.twin_messages import Document, Phase
from edge.uplink.twin_state import (
    MAX_BLOCKED,
    Begin,
    Confirm,
    Mark,
    Notes,
    Offered,
    Proof,
    Resigned,
    RollBack,
    Started,
    Stopped,
    Turn,
    TwinState,
    Unstorable,
    step,
)
from tests.uplink.policies import (
    KEY,
    LOCAL,
    NO_PROOF,
    NOW,
    TIMEOUT_S,
    TOPICS,
    TRUSTED,
    UNIT,
    Unit,
    document,
)

LOCAL_VERSION = json.loads(LOCAL)["version"]


@pytest.fixture
def unit(tmp_path) -> Unit:
    return Unit(tmp_path)


def test_with_nothing_from_afar_the_unit_s_own_file_is_in_force(unit):
    assert unit.reports == []  # nobody listens yet
    unit.twin.turn()
    unit.twin.turn()
    assert [report.phase for report in unit.reports] == [Phase.NONE]
    assert (unit.version, unit.last.running.version) == (LOCAL_VERSION, LOCAL_VERSION)
    assert unit.last.session == 3
    assert unit.twin.reported == unit.last


def test_a_policy_runs_on_trial_and_is_confirmed_by_its_proof(unit):
    before = unit.twin.policy
    assert unit.offer(document(1)) is None
    assert unit.version == 1
    assert unit.twin.policy is not before
    assert (unit.last.phase, unit.last.key, unit.last.error) == (Phase.TRIAL, KEY.kid, None)
    assert unit.last.desired == unit.last.running
    unit.wait(30)
    assert unit.last.phase is Phase.TRIAL
    unit.prove()
    assert (unit.last.phase, unit.last.desired.version, unit.version) == (Phase.CONFIRMED, 1, 1)
    reported = len(unit.reports)
    unit.proof = NO_PROOF
    unit.wait(2 * TIMEOUT_S)
    assert (unit.version, len(unit.reports)) == (1, reported)
    assert Unit(unit.state).version == 1


@pytest.mark.parametrize(
    ("lacks", "code"),
    [
        ({"connected": False}, "trial-not-connected"),
        ({"puback_s": None}, "trial-not-published"),
        ({"puback_s": 999.0}, "trial-not-published"),
        ({"frame_s": None}, "trial-no-frame"),
        ({"frame_s": 999.0}, "trial-no-frame"),
        ({"inference_s": None}, "trial-no-inference"),
        ({"inference_s": 999.0}, "trial-no-inference"),
        ({"inference_s": 999.0, "off": True}, "trial-no-inference"),
        ({"connected": False, "puback_s": None, "frame_s": None, "inference_s": None}, "trial-not-connected"),
    ],
)
def test_a_policy_that_lacks_a_proof_is_rolled_back_for_that(unit, lacks, code):
    """The trial begins at 1000 s: what came before it was under another policy."""
    unit.confirm(1)
    good = unit.twin.policy
    assert unit.offer(document(2)) is None
    unit.prove(**lacks)
    unit.wait(TIMEOUT_S - 1)
    assert (unit.last.phase, unit.version) == (Phase.TRIAL, 2)
    unit.wait(1)
    assert (unit.last.phase, unit.last.error.code) == (Phase.ROLLED_BACK, code)
    assert (unit.last.desired.version, unit.last.running.version) == (2, 1)
    assert unit.twin.policy is good
    unit.prove()  # too late
    assert (unit.last.phase, unit.version) == (Phase.ROLLED_BACK, 1)


def test_off_shift_no_frame_is_wanted(unit):
    assert unit.offer(document(1)) is None
    unit.prove(frame_s=None, off=True)
    assert unit.last.phase is Phase.CONFIRMED


def test_what_failed_is_blocked_and_its_cause_stays_told(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    unit.wait(TIMEOUT_S)
    for _ in range(3):  # it is retained, and comes again with every connection
        assert unit.offer(document(2)) == "blocked"
        assert (unit.last.phase, unit.last.error.code) == (Phase.ROLLED_BACK, "trial-not-connected")
    unit = Unit(unit.state)
    unit.twin.turn()
    assert (unit.last.phase, unit.last.error.code) == (Phase.ROLLED_BACK, "trial-not-connected")
    assert unit.offer(document(2)) == "blocked"
    assert unit.offer(document(2, timezone="UTC")) == "version-reused"
    unit.confirm(3)


def test_without_a_confirmed_one_it_goes_back_to_the_unit_s_own_file(unit):
    assert unit.offer(document(1)) is None
    unit.wait(TIMEOUT_S)
    assert (unit.version, unit.last.running.version) == (LOCAL_VERSION, LOCAL_VERSION)


def test_a_crash_on_trial_is_found_at_the_next_start(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    unit = Unit(unit.state)
    assert unit.version == 1
    unit.twin.turn()
    assert (unit.last.phase, unit.last.error.code) == (Phase.ROLLED_BACK, "trial-interrupted")
    assert unit.offer(document(2)) == "blocked"
    unit = Unit(unit.state)
    unit.twin.turn()
    assert unit.last.error.code == "trial-interrupted"


def test_a_clean_stop_on_trial_holds_nothing_against_it(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    unit.twin.stop()
    unit.twin.stop()
    reported = len(unit.reports)
    assert unit.offer(document(3)) is None
    unit.prove()
    assert (unit.version, len(unit.reports)) == (2, reported)  # from then on nothing changes
    unit = Unit(unit.state)
    unit.twin.turn()
    assert (unit.version, unit.last.phase) == (1, Phase.CONFIRMED)
    unit.confirm(2)


def test_a_stop_in_a_crash_on_trial_blocks_the_policy(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    unit.proof = PROVEN
    assert (unit.version, unit.twin.confirmed.version) == (2, 1)
    unit.twin.stop(crashed=True)
    unit.twin.turn()  # the uplink goes on for a while
    unit = Unit(unit.state)
    unit.twin.turn()
    assert (unit.version, unit.last.phase, unit.last.error.code) == (
        1,
        Phase.ROLLED_BACK,
        "trial-interrupted",
    )
    assert unit.offer(document(2)) == "blocked"


def test_a_newer_one_replaces_a_trial_without_blocking_it(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    unit.wait(TIMEOUT_S - 1)
    assert unit.offer(document(3)) is None
    unit.wait(TIMEOUT_S - 1)  # it has its own time
    assert (unit.version, unit.last.phase) == (3, Phase.TRIAL)
    unit.wait(1)
    assert (unit.version, unit.last.desired.version) == (1, 3)
    assert unit.offer(document(2)) == "older-version"


def test_what_runs_already_changes_nothing(unit):
    assert unit.offer(document(1)) is None
    policy = unit.twin.policy
    unit.wait(10)
    assert unit.offer(document(1)) is None
    assert (unit.last.phase, unit.twin.policy) == (Phase.TRIAL, policy)
    unit.wait(TIMEOUT_S - 11)
    unit.prove()
    assert unit.offer(document(1)) is None
    assert (unit.last.phase, unit.last.desired.version) == (Phase.CONFIRMED, 1)
    assert unit.twin.policy is policy
    unit.clock.sleep(400 * 86_400)  # past its expiry: that counted when it came
    assert unit.offer(document(1)) is None
    assert unit.last.phase is Phase.CONFIRMED


def test_going_back_to_the_confirmed_one_is_told_as_that(unit):
    unit.confirm(1)
    assert unit.offer(document(2)) is None
    assert unit.offer(document(1)) == "older-version"
    assert unit.version == 2
    unit.wait(TIMEOUT_S)
    assert unit.offer(document(1)) is None
    assert (unit.last.phase, unit.last.desired.version) == (Phase.CONFIRMED, 1)
    assert unit.offer(document(2)) == "blocked"
    assert (unit.last.phase, unit.last.error.code) == (Phase.REFUSED, "blocked")


def test_a_deleted_message_changes_nothing(unit):
    unit.confirm(1)
    reported = len(unit.reports)
    assert unit.take(b"") is None
    assert (unit.version, len(unit.reports)) == (1, reported)


OTHER = new_signing_key()
RULE = {"id": "phone", "kind": "object"}


@pytest.mark.parametrize(
    ("content", "code", "path"),
    [
        (b"\xff", "invalid", "$"),
        (b"[" * 30_000, "invalid", "$"),
        (b"null", "invalid", "$"),
        (document(5, schema="policy/2", sealed=True), "unknown-schema", "$.schema"),
        (document(5, schema=...), "invalid", "$"),
        (document(5, schema=7), "invalid", "$.schema"),
        (document(5, colour="red"), "invalid", "$.colour"),
        (document(5, rules=[{**RULE, "labels": ["cell phone"], "enter": 7}]), "invalid", "$.rules[0].enter"),
        (document(5, **{"\ud800": 1}), "invalid", "$"),
        (document(5, **{"é" * 300: 1}), "invalid", "$." + "é" * 253 + "…"),
        (document(5, thumbnail={"retain_days": 90}), "below-floor", "$.thumbnail.retain_days"),
        (document(5, led=False), "below-floor", "$.led"),
        (document(5, broker={"host": "h", "port": 1883}), "below-floor", "$.broker.tls"),
        (document(5, thumbnail={"recipient": "key-1"}), "invalid", "$.thumbnail.recipient"),
        (document(5, thumbnail={"recipient": f"x25519:{43 * 'A'}"}), "invalid", "$.thumbnail.recipient"),
        (document(5, rules=[{**RULE, "labels": ["drone"]}]), "unserved-label", "$.rules[0].labels[0]"),
        (document(5, unit="unit-2"), "other-unit", "$.unit"),
        (document(5, expires_at="2026-03-04T05:06:07Z"), "expired", "$.expires_at"),
        (document(3), "older-version", "$.version"),
        (document(4, timezone="UTC"), "version-reused", "$.version"),
        (document(5, unit=UNIT).ljust(64_001), "too-large", "$"),
    ],
)
def test_each_refusal_has_its_code_and_its_path_and_changes_nothing(unit, content, code, path):
    unit.confirm(4)
    policy, files = unit.twin.policy, _files(unit)
    assert unit.offer(content) == code
    assert unit.last.phase is Phase.REFUSED
    assert (unit.last.error.code, unit.last.error.path) == (code, path)
    assert unit.last.desired.sha256
    assert unit.last.key == KEY.kid
    assert unit.last.running == Document(version=4, sha256=unit.twin.reported.running.sha256)
    assert unit.twin.policy is policy
    assert _files(unit) == files
    unit.confirm(5)  # and its version is not used up


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (b"{}", "bad-envelope"),
        (document(5), "bad-envelope"),
        (seal(document(5), OTHER), "unknown-key"),
        (seal(document(5), KEY)[:-2] + b"AA", "bad-signature"),
        (b"A" * (MAX_ENVELOPE_BYTES + 1), "too-large"),
    ],
)
def test_what_no_trusted_key_signed_is_not_read(unit, envelope, code):
    unit.confirm(4)
    assert unit.take(envelope) == code
    assert (unit.last.phase, unit.last.desired, unit.last.key) == (Phase.REFUSED, None, None)
    assert unit.version == 4


def test_the_checks_come_in_their_order(unit):
    """All is wrong with it; one after the other is put right."""
    unit.confirm(4)
    unit.offer(document(5))
    unit.wait(TIMEOUT_S)
    wrong: dict[str, object] = {
        "version": 3,
        "expires_at": "2026-02-01T00:00:00Z",
        "unit": "unit-2",
        "rules": [{**RULE, "labels": ["drone"]}],
        "masks": 7,
        "thumbnail": {"retain_days": 90},
        "schema": "policy/9",
    }
    seen = [unit.offer(document(0, **wrong), OTHER)]
    right = {"schema": "policy/1", "masks": [], "thumbnail": {}, "rules": ..., "unit": "*", "expires_at": ...}
    sound = json.loads(document(0))
    for name, value in right.items():
        seen.append(unit.offer(document(0, **wrong)))
        wrong[name] = sound[name] if value is ... else value
    seen.append(unit.offer(document(0, **wrong)))
    seen.append(unit.offer(document(5, timezone="UTC")))
    seen.append(unit.offer(document(5)))
    assert seen == [
        "unknown-key",
        "unknown-schema",
        "invalid",
        "below-floor",
        "unserved-label",
        "other-unit",
        "expired",
        "older-version",
        "version-reused",
        "blocked",
    ]


def _files(unit: Unit) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (unit.state / "twin").iterdir()}


def test_for_this_unit_or_for_all(unit):
    unit.confirm(1, unit=UNIT)
    unit.confirm(2, unit="*")


def test_a_policy_may_name_a_broker_and_it_is_on_trial_with_it(unit):
    broker = {"host": "mqtt.example.com", "port": 8884, "protocol": "3.1.1", "keepalive_s": 60}
    unit.confirm(1)
    assert unit.offer(document(2, broker=broker)) is None
    assert (unit.twin.policy.broker.host, unit.twin.policy.broker.encrypted) == ("mqtt.example.com", True)
    unit.wait(TIMEOUT_S)
    assert unit.twin.policy.broker is None


def test_a_unit_without_tls_may_be_sent_to_a_broker_without_it(tmp_path):
    unit = Unit(tmp_path, plain_broker=True)
    unit.confirm(1, broker={"host": "localhost", "port": 1883})
    assert Unit(tmp_path, plain_broker=True).version == 1


def test_the_same_policy_under_a_new_key_takes_the_key_over(unit, tmp_path):
    unit.confirm(1)
    both = trust(KEY.public, OTHER.public)
    unit = Unit(tmp_path, trusted=both)
    policy = unit.twin.policy
    assert unit.offer(document(1), OTHER) is None
    assert (unit.last.phase, unit.last.key) == (Phase.CONFIRMED, OTHER.kid)
    assert unit.twin.policy is policy
    unit = Unit(tmp_path, trusted=trust(OTHER.public))
    unit.twin.turn()
    assert (unit.version, unit.last.phase, unit.last.key) == (1, Phase.CONFIRMED, OTHER.kid)
    assert unit.offer(document(1, timezone="UTC"), OTHER) == "version-reused"


def test_two_trusted_keys_share_the_versions(tmp_path):
    unit = Unit(tmp_path, trusted=trust(KEY.public, OTHER.public))
    unit.confirm(7)
    assert unit.offer(document(6), OTHER) == "older-version"
    assert unit.offer(document(8), OTHER) is None


def test_a_clock_that_is_behind_takes_what_has_expired_but_never_what_is_older(tmp_path):
    clock = SteppedClock(NOW.replace(year=1970), 1_000.0)
    unit = Unit(tmp_path, clock=clock)
    unit.confirm(2)
    assert unit.offer(document(1)) == "older-version"


def test_an_inbox_counts_what_is_refused_and_nothing_escapes(unit):
    inbox = Inbox({TOPICS.desired: unit.twin.desired})
    for payload in (b"{}", seal(document(1, led=False), KEY), seal(document(1), KEY), b""):
        inbox.take(Received(TOPICS.desired, 1, retain=True, payload=payload))
    assert inbox.refusals == {"bad-envelope": 1, "below-floor": 1}
    assert unit.version == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({*json.loads(document(1)), "masks", "thumbnail", "breaks", "broker", "led", "unit"})


@pytest.fixture(scope="module")
def standing(tmp_path_factory) -> Unit:
    unit = Unit(tmp_path_factory.mktemp("standing"))
    unit.confirm(2**53)
    return unit


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=200) | st.tuples(st.sampled_from(NAMES), VALUES))
def test_whatever_is_signed_by_mistake_is_refused_and_changes_nothing(standing, content):
    if isinstance(content, tuple):
        content = document(2**53, **{content[0]: content[1]})
    policy, files = standing.twin.policy, _files(standing)
    code = standing.offer(content)
    assert (code is None) == (content == document(2**53))
    assert standing.twin.policy is policy
    assert _files(standing) == files


@settings(deadline=None, max_examples=200)
@given(payload=st.binary(min_size=1, max_size=400))
def test_no_bytes_from_a_broker_change_anything(standing, payload):
    policy, files = standing.twin.policy, _files(standing)
    assert standing.take(payload) == "bad-envelope"
    assert standing.twin.policy is policy
    assert _files(standing) == files


def test_a_policy_is_read_whole_while_others_come(unit):
    """The watch reads the policy between its frames, in another thread."""
    seen, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(unit.twin.policy)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in range(1, 10):
        unit.confirm(version)
    done.set()
    watcher.join(10)
    versions = [policy.version for policy in seen if policy.version != LOCAL_VERSION]
    assert versions == sorted(versions)


# The steps by themselves.

KEYS = ("a", "b")
MARKS = [Mark(version=v, sha256=f"{v:063x}{x}", key=key) for v in (1, 2, 3) for x in "01" for key in KEYS]
PROVEN = Proof(connected=True, puback_s=1e9, frame_s=1e9, inference_s=1e9, off=False)
SIGNALS = st.one_of(
    st.sampled_from(MARKS).map(lambda mark: Offered(mark, frozenset(KEYS))),
    st.sampled_from([Turn(NO_PROOF), Turn(PROVEN), Turn(replace(PROVEN, connected=False))]),
    st.sampled_from([Started(), Stopped(), Unstorable()]),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(SIGNALS, st.floats(0, 200)), max_size=40))
def test_a_policy_is_confirmed_by_a_proven_turn_and_by_nothing_else(signals):
    state, now_s, highest = TwinState(Notes()), 0.0, 0
    for signal, pause_s in signals:
        now_s += pause_s
        after, actions = step(state, signal, now_s, TIMEOUT_S)
        before, notes = state.notes, after.notes
        if notes.confirmed != before.confirmed and Resigned() not in actions:
            assert actions == (Confirm(),)
            assert signal == Turn(PROVEN)
            assert notes.confirmed == before.trial
        if Begin() in actions:
            assert isinstance(signal, Offered)
            assert notes.trial.version >= highest
            assert notes.trial.sha256 not in notes.blocked
            highest = max(highest, notes.trial.version)
        if set(notes.blocked) != set(before.blocked):
            assert RollBack() in actions
            assert before.trial.sha256 in notes.blocked
            assert notes.trial is None
        if isinstance(signal, Started | Stopped | Unstorable):
            assert notes.trial is None
        if notes.trial is not None and isinstance(signal, Turn):
            assert now_s - after.since_s < TIMEOUT_S
        assert notes.confirmed is None or notes.confirmed.version <= highest
        state = after


def test_what_is_remembered_is_bounded():
    state = TwinState(Notes())
    for version in itertools.count(1):
        mark = Mark(version=version, sha256=f"{version:064x}", key=f"key-{version}")
        state, _ = step(state, Offered(mark, frozenset({mark.key})), 0.0, TIMEOUT_S)
        state, _ = step(state, Started(), 0.0, TIMEOUT_S)
        if version == 100:
            break
    assert len(state.notes.blocked) == MAX_BLOCKED
    assert state.notes.blocked[0] == f"{100:064x}"
    assert len(state.notes.newest) == 16
    assert TRUSTED
