"""Shares of small groups, with their intervals."""

import pytest

from deskmodel.subgroups import Found, Scene, SeenBox, groups, table, wilson


def test_wilsons_interval_is_the_textbooks() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="wanted 1 or more, got 0"):
        wilson(0, 0)


def test_a_person_counts_in_each_group_that_it_is_of() -> None:
    child = SeenBox("person", (0.0, 0.0, 0.2, 0.2), skin_tone=0.9, age_years=8.0, hand="L")
    assert set(groups(child, Scene("lamp", "room", [child]))) == {
        "person: all",
        "person: light, lamp",
        "person: view, room",
        "person: of the frame, 1–5 %",
        "person: skin, dark",
        "person: children",
    }
    phone = SeenBox("cell phone", (0.0, 0.0, 0.05, 0.1), hand="L")
    assert "cell phone: in the left hand" in set(groups(phone, Scene("day", "webcam", [phone])))


def test_the_table_counts_hits_of_each_group() -> None:
    page = table([Found(("a", "b"), hit=True), Found(("a",), hit=False)])
    assert "| a | 1 of 2 | 0.50 |" in page
    assert "| b | 1 of 1 | 1.00 |" in page
