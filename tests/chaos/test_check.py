"""The check can fail: each kind of fault, forged into a run that was good, is found."""

from dataclasses import replace

import pytest

from tests.chaos.check import Fed, Hole, Kept, check, rows, table

E = "0" * 32
FED = [Fed(f"id-{n}", E, n, float(n)) for n in range(1, 11)]
KEPT = [Kept(each.event_id, each.epoch, each.seq) for each in FED]
BEGUN = frozenset(each.event_id for each in FED) | {"never-returned"}
RECEIVED = [each.event_id for each in KEPT]


def test_a_good_run_is_good():
    assert check(FED, BEGUN, KEPT, [], RECEIVED).good


def test_a_put_that_did_not_return_may_arrive_or_not():
    late = Kept("never-returned", E, 11)
    assert check(FED, BEGUN, [*KEPT, late], [], [*RECEIVED, late.event_id]).good


def test_a_forged_loss_is_found():
    verdict = check(FED, BEGUN, [each for each in KEPT if each.seq != 4], [], RECEIVED)
    assert not verdict.good
    assert [each.seq for each in verdict.lost] == [4]
    assert verdict.unexplained == ((E, 4),)


def test_the_loss_of_the_last_is_found():
    assert [each.seq for each in check(FED, BEGUN, KEPT[:-1], [], RECEIVED).lost] == [10]


def test_a_loss_that_a_gap_tells_of_is_none():
    verdict = check(
        FED, BEGUN, [k for k in KEPT if k.seq not in (4, 5)], [Hole(E, 4, 5, "spool-full")], RECEIVED
    )
    assert verdict.good
    assert [each.seq for each in verdict.in_gap] == [4, 5]


@pytest.mark.parametrize("hole", [Hole("f" * 32, 4, 4, "x"), Hole(E, 5, 9, "x"), Hole(E, 1, 3, "x")])
def test_a_gap_of_other_numbers_explains_nothing(hole):
    assert not check(FED, BEGUN, [k for k in KEPT if k.seq != 4], [hole], RECEIVED).good


def test_a_forged_duplicate_is_found():
    verdict = check(FED, BEGUN, [*KEPT, KEPT[2]], [], RECEIVED)
    assert not verdict.good
    assert {each.event_id for each in verdict.doubled} == {"id-3"}


def test_one_number_for_two_events_is_found():
    twin = Kept("never-returned", E, 3)
    assert {e.event_id for e in check(FED, BEGUN, [*KEPT, twin], [], RECEIVED).doubled} == {
        "id-3",
        twin.event_id,
    }


def test_an_event_that_nobody_fed_is_found():
    assert not check(FED, BEGUN, [*KEPT, Kept("stranger", E, 11)], [], RECEIVED).good
    assert check(FED, BEGUN, [*KEPT, Kept("gap", E, 11, gap=True)], [], RECEIVED).good


def test_an_event_under_another_number_is_found():
    moved = [replace(each, seq=12) if each.seq == 4 else each for each in KEPT]
    assert [each.event_id for each in check(FED, BEGUN, moved, [], RECEIVED).made_up] == ["id-4"]


def test_a_number_that_was_used_up_in_silence_is_found():
    later = Kept("never-returned", E, 13)
    assert check(FED, BEGUN, [*KEPT, later], [], RECEIVED).unexplained == ((E, 11), (E, 12))


def test_what_came_again_is_counted_and_is_no_fault():
    verdict = check(FED, BEGUN, KEPT, [], [*RECEIVED, "id-2", "id-2"])
    assert verdict.good
    assert verdict.redelivered == {"id-2": 2}


def test_the_table_blames_the_fault_that_was_on():
    verdict = check(FED, BEGUN, [k for k in KEPT if k.seq != 4], [], [*RECEIVED, "id-9"])
    lines = rows(verdict, FED, {"calm": 1, "storm": 2}, lambda at_s: "storm" if 3 <= at_s < 6 else "calm")
    assert [(r.fault, r.times, r.fed, r.redelivered, r.lost) for r in lines] == [
        ("calm", 1, 7, 1, 0),
        ("storm", 2, 3, 0, 1),
    ]
    assert table(lines, verdict).splitlines()[2].split() == ["storm", "2", "3", "0", "0", "1", "0"]
