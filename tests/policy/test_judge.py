"""The judge: opens once, closes once, and never takes "cannot tell" for "no"."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.policy.document import ActivityRule, ObjectRule, PeopleRule, TamperRule
from edge.policy.judge import (
    LOST_SIGHT_S,
    Answer,
    Closed,
    Ended,
    Opened,
    ask,
    interrupt,
    judge,
    pause,
)
from edge.vision.types import Blind, Box, Sight, Track

PHONE = ObjectRule(
    id="phone", labels=("cell phone",), enter=0.55, leave=0.40, hold_s=2, release_s=5, cooldown_s=60
)
EXTRA = PeopleRule(id="extra-person", max=1, given_hold_s=5)
ABSENT = PeopleRule(id="absent", min=1, given_hold_s=120, release_s=2)
BLOCKED = TamperRule(id="camera-blocked", hold_s=10)
IDLE = ActivityRule(id="idle", quiet_s=300)
IDS = itertools.count(1)

NEAR = Box(0.4, 0.3, 0.6, 0.9)
NOTHING = Sight(())


def track(label="cell phone", score=0.9, *, seen=True, box=NEAR) -> Track:
    return Track(next(IDS), label, score, box, 0.0, 0.0, seen)


def sight(*tracks: Track, blind=()) -> Sight:
    return Sight(tracks, frozenset(blind))


class Bench:
    """Steps one rule at 10 frames a second and keeps what came of it."""

    def __init__(self, rule, period_s=0.1):
        self.rule, self.period_s = rule, period_s
        self.state, self.now_s, self.verdicts, self.shots = {}, 0.0, [], []
        self.on_hold = False

    def see(self, what: Sight, for_s: float, last_beat_s=None):
        for _ in range(round(for_s / self.period_s)):
            self.state, found = judge(self.state, [self.rule], what, last_beat_s, self.now_s)
            self.verdicts += [(self.now_s, verdict) for verdict in found.verdicts]
            self.shots += found.shots
            self.on_hold = self.rule.id in found.on_hold
            self.now_s += self.period_s
        return self

    @property
    def kinds(self):
        return [type(verdict) for _, verdict in self.verdicts]


def test_a_phone_opens_once_at_its_hold_and_closes_once_with_its_length():
    bench = Bench(PHONE).see(NOTHING, 1).see(sight(track()), 10).see(NOTHING, 30)
    assert bench.kinds == [Opened, Closed]
    (opened_s, opened), (closed_s, closed) = bench.verdicts
    assert opened_s == pytest.approx(1.0 + PHONE.hold_s, abs=0.05)
    assert opened.since_s == pytest.approx(1.0)
    assert closed_s == pytest.approx(11.0 + PHONE.release_s, abs=0.15)
    assert closed.duration_s == pytest.approx(9.9, abs=0.05)
    assert closed.reason is Ended.ENDED


def test_shorter_than_its_hold_is_nothing():
    assert Bench(PHONE).see(sight(track()), 1.9).see(NOTHING, 10).verdicts == []


def test_a_hold_of_zero_opens_at_the_first_frame():
    bench = Bench(ObjectRule(id="x", labels=("cell phone",), hold_s=0)).see(sight(track()), 0.1)
    assert bench.kinds == [Opened]


def test_scores_enter_high_and_leave_low():
    weak, strong = sight(track(score=0.45)), sight(track(score=0.6))
    assert Bench(PHONE).see(weak, 10).verdicts == []
    bench = Bench(PHONE).see(strong, 0.2).see(weak, 10)
    assert bench.kinds == [Opened]
    bench.see(sight(track(score=0.39)), 10)
    assert bench.kinds == [Opened, Closed]


def test_a_gap_shorter_than_release_does_not_close():
    bench = Bench(PHONE)
    for _ in range(5):
        bench.see(sight(track()), 3).see(NOTHING, PHONE.release_s - 0.2)
    assert bench.kinds == [Opened]


def test_cooldown_keeps_the_rule_silent():
    bench = Bench(PHONE).see(sight(track()), 3).see(NOTHING, 6).see(sight(track()), 30).see(NOTHING, 6)
    assert bench.kinds == [Opened, Closed]
    bench.see(NOTHING, 60).see(sight(track()), 3)
    assert bench.kinds == [Opened, Closed, Opened]


def test_missed_frames_are_not_counted_as_seen():
    flicker = Bench(PHONE)
    for _ in range(40):
        flicker.see(sight(track()), 0.2).see(sight(track(seen=False)), 0.2)
        if flicker.verdicts:
            break
    ((opened_s, _),) = flicker.verdicts
    # A third of the steps follow a "yes" with a "yes": the hold takes longer, and opens on a seen frame.
    assert opened_s > 2 * PHONE.hold_s


@pytest.mark.parametrize("blind", [Blind.COVERED, Blind.DARK, Blind.MOVED, Blind.STALLED, Blind.STALE])
def test_a_blind_camera_never_reports_an_empty_chair(blind):
    bench = Bench(ABSENT, 1.0).see(sight(track("person")), 10).see(sight(blind=[blind]), 4000)
    assert bench.verdicts == []
    bench.see(NOTHING, 119).see(sight(blind=[blind]), 60).see(NOTHING, 119)
    assert bench.verdicts == []


def test_a_person_who_sits_too_still_for_the_detector_is_never_absent():
    bench = Bench(ABSENT, 1.0).see(sight(track("person")), 10).see(sight(track("person", seen=False)), 4000)
    assert bench.verdicts == []


def test_an_empty_chair_opens_after_its_hold_and_closes_when_a_person_comes():
    bench = Bench(ABSENT).see(NOTHING, 125).see(sight(track("person")), 3)
    (opened_s, _), (closed_s, closed) = bench.verdicts
    assert opened_s == pytest.approx(120, abs=0.15)
    assert closed_s == pytest.approx(127, abs=0.15)
    assert closed.duration_s == pytest.approx(125, abs=0.15)


def test_the_family_in_the_background_counts_only_if_the_policy_says_so():
    small = track("person", box=Box(0.1, 0.3, 0.2, 0.5))
    crowd = sight(track("person"), small)
    assert Bench(EXTRA).see(crowd, 20).verdicts == []
    counting_all = PeopleRule(id="extra-person", max=1, min_height=0.0)
    assert Bench(counting_all).see(crowd, 20).kinds == [Opened]
    # Nor does a child in the doorway fill the chair.
    assert Bench(ABSENT, 1.0).see(sight(small), 130).kinds == [Opened]


def test_a_second_person_who_may_be_there_is_not_reported():
    maybe = sight(track("person"), track("person", seen=False))
    assert ask(EXTRA, maybe, None, 0.0, counted=False).answer is Answer.UNKNOWN
    assert Bench(EXTRA).see(maybe, 60).verdicts == []


def test_an_infraction_out_of_sight_for_long_is_closed_as_that():
    bench = Bench(PHONE).see(sight(track()), 5).see(sight(blind=[Blind.COVERED]), LOST_SIGHT_S + 1)
    assert bench.kinds == [Opened, Closed]
    assert bench.verdicts[1][1].reason is Ended.LOST_SIGHT
    assert bench.verdicts[1][1].duration_s == pytest.approx(4.9)


def test_a_covered_lens_is_reported_and_a_dark_room_is_not():
    assert Bench(BLOCKED).see(sight(blind=[Blind.COVERED]), 11).kinds == [Opened]
    assert Bench(BLOCKED).see(sight(blind=[Blind.DARK]), 600).verdicts == []
    only_moved = TamperRule(id="moved", causes=("moved",), hold_s=1)
    assert Bench(only_moved).see(sight(blind=[Blind.COVERED]), 60).verdicts == []


def test_a_tamper_rule_says_what_it_saw():
    bench = Bench(BLOCKED).see(sight(blind=[Blind.MOVED, Blind.DARK]), 11)
    assert bench.verdicts[0][1].finding.blind == {Blind.MOVED}


def test_idle_needs_a_source_of_beats():
    assert Bench(IDLE, 10.0).see(NOTHING, 4000, last_beat_s=None).verdicts == []
    bench = Bench(IDLE, 2.0).see(NOTHING, 310, last_beat_s=0.0)
    assert bench.kinds == [Opened]
    assert bench.verdicts[0][0] == 300
    bench.see(NOTHING, 20, last_beat_s=305.0)
    assert bench.kinds == [Opened, Closed]


def test_only_an_object_s_box_may_be_sharp():
    box = Box(0.1, 0.2, 0.3, 0.4)
    assert {shot.boxes for shot in Bench(PHONE).see(sight(track(box=box)), 3).shots} == {(box,)}
    two = sight(track("person"), track("person", box=Box(0.1, 0.2, 0.3, 0.9)))
    shots = Bench(EXTRA).see(two, 6).shots
    assert shots
    assert {shot.boxes for shot in shots} == {()}
    covered = Bench(BLOCKED).see(sight(blind=[Blind.COVERED]), 11).shots
    assert {shot.boxes for shot in covered} == {()}


def test_shots_are_offered_from_the_first_sight_to_the_verdict_and_not_after():
    bench = Bench(PHONE).see(sight(track()), 10)
    assert len(bench.shots) == 21
    no_picture = ObjectRule(id="phone", labels=("cell phone",), thumbnail=False)
    assert Bench(no_picture).see(sight(track()), 10).shots == []


def test_an_interruption_closes_what_is_open_and_forgets_what_is_on_hold():
    bench = Bench(PHONE).see(sight(track()), 5)
    state, closed = interrupt(bench.state, [PHONE], Ended.OFF_SHIFT)
    assert [(c.rule, c.reason) for c in closed] == [(PHONE, Ended.OFF_SHIFT)]
    assert closed[0].duration_s == pytest.approx(4.9)
    assert state == {}
    assert interrupt(Bench(PHONE).see(sight(track()), 1).state, [PHONE], Ended.STOPPED) == ({}, ())


def test_a_pause_between_checks_keeps_what_is_open_and_drops_what_is_on_hold():
    bench = Bench(PHONE).see(sight(track()), 1.5)
    assert bench.on_hold
    bench.state = pause(bench.state)
    bench.now_s += 600
    assert bench.see(sight(track()), 1.5).verdicts == []
    bench.see(sight(track()), 1)
    assert bench.kinds == [Opened]
    bench.state = pause(bench.see(NOTHING, 3).state)
    bench.now_s += 600
    bench.see(NOTHING, 3)
    assert bench.kinds == [Opened]
    bench.see(NOTHING, 3)
    assert bench.kinds == [Opened, Closed]


def test_time_between_far_apart_frames_is_not_credited():
    bench = Bench(ABSENT, period_s=60.0).see(NOTHING, 6000)
    assert bench.verdicts == []


answers = st.sampled_from(
    [
        sight(track()),
        sight(track(seen=False)),
        sight(track(score=0.45)),
        NOTHING,
        sight(blind=[Blind.COVERED]),
        sight(blind=[Blind.STALLED]),
    ]
)


@given(st.lists(st.tuples(answers, st.floats(0.01, 40.0)), max_size=80))
def test_whatever_happens_opens_and_closes_alternate_and_lengths_are_true(steps):
    state, now_s, verdicts = {}, 0.0, []
    for what, step_s in steps:
        now_s += step_s
        state, found = judge(state, [PHONE], what, None, now_s)
        verdicts += found.verdicts
        for verdict in found.verdicts:
            if isinstance(verdict, Opened):
                assert verdict.finding.answer is Answer.YES
                assert now_s - verdict.since_s >= PHONE.hold_s - 1e-6
            else:
                assert 0 <= verdict.duration_s <= now_s
    _, closed = interrupt(state, [PHONE], Ended.STOPPED)
    verdicts += closed
    assert [type(v) for v in verdicts] == [Opened, Closed] * (len(verdicts) // 2)


def test_an_outage_longer_than_the_bound_starts_the_hold_anew():
    for outage_s in (5.2, 8.8):
        blind = sight(blind=[Blind.COVERED])
        bench = Bench(PHONE).see(sight(track()), 1.5).see(blind, outage_s).see(sight(track()), 3)
        ((opened_s, opened),) = bench.verdicts
        assert opened.since_s == pytest.approx(1.5 + outage_s, abs=0.15)
        assert opened_s == pytest.approx(opened.since_s + PHONE.hold_s, abs=0.15)


def test_a_short_outage_delays_the_hold_and_no_more():
    bench = Bench(PHONE).see(sight(track()), 1.5).see(sight(blind=[Blind.COVERED]), 3).see(sight(track()), 3)
    ((opened_s, opened),) = bench.verdicts
    assert opened.since_s == 0.0
    assert 5.0 < opened_s < 5.4


def test_a_new_hold_begins_with_a_first_shot():
    bench = Bench(PHONE).see(sight(track()), 1).see(sight(blind=[Blind.COVERED]), 6).see(sight(track()), 1)
    firsts = [index for index, shot in enumerate(bench.shots) if shot.first]
    assert firsts == [0, 10]


def test_the_event_is_of_the_moment_of_the_best_shot():
    scores = [0.6, 0.7, 0.9, 0.9, 0.8, 0.6, 0.6]
    bench = Bench(ObjectRule(id="phone", labels=("cell phone",), hold_s=0.5))
    for score in scores:
        bench.see(sight(track(score=score)), 0.1)
    ((_, opened),) = bench.verdicts
    assert opened.finding.score == 0.9
    best = max(bench.shots, key=lambda shot: shot.quality)
    assert best.boxes == (opened.finding.tracks[0].box,)


def test_time_that_cannot_be_told_is_no_release():
    bench = Bench(PHONE).see(sight(track()), 3)
    for _ in range(4):
        bench.see(NOTHING, 0.2).see(sight(blind=[Blind.COVERED]), 6)
    assert bench.kinds == [Opened]
    # Seconds of "no" add up over what cannot be told, so that it ends all the same.
    for _ in range(30):
        bench.see(NOTHING, 0.5).see(sight(track(seen=False)), 0.2)
    assert bench.kinds == [Opened, Closed]
    assert bench.verdicts[1][1].reason is Ended.ENDED


def test_what_is_seen_now_and_then_is_not_on_hold_for_ever():
    bench = Bench(PHONE)
    for _ in range(2000):
        bench.see(sight(track()), 0.1).see(sight(track(seen=False)), 1.0)
        assert bench.verdicts == []
        held = bench.state["phone"]
        assert bench.now_s - getattr(held, "since_s", bench.now_s) <= 10 * (2 + 5) + 1.2


def test_a_check_should_look_on_while_anything_is_undecided():
    def undecided(*what):
        state, found, now_s = {}, None, 0.0
        for one in what:
            for _ in range(25):
                state, found = judge(state, [PHONE], one, None, now_s)
                now_s += 0.1
        return found.undecided

    assert not undecided(NOTHING)
    assert not undecided(sight(track()))  # open, and there
    assert undecided(sight(track()), NOTHING)  # open, and perhaps going
    assert undecided(sight(track()), sight(blind=[Blind.COVERED]))
