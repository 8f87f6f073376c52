"""The check of the camera's journal, on journals that are made up: each kind of forbidden frame is named."""

import pytest

from tests.gate_check import FORBIDS, check

ON = "2026-11-24T09:00:00+00:00"


class Camera:
    """Writes a life's journal: a frame each 0.1 s."""

    def __init__(self):
        self.lines: list[dict] = []
        self.life = 0

    def note(self, act, s, **more):
        self.lines.append({"act": act, "life": self.life, "s": s, **more})
        return self

    def born(self, s, *, lit=True):
        self.life += 1
        self.note("born", s)
        return self.note("light", s + 0.01, signal="watching" if lit else "off")

    def open(self, s, at=ON):
        return self.note("open", s, asked_s=s, at=at)

    def frame(self, s, at=ON, asked_s=None):
        return self.note("frame", s, asked_s=s - 0.1 if asked_s is None else asked_s, at=at)

    def close(self, s):
        return self.note("close", s).note("light", s, signal="off")


def hands(*done):
    """(seconds, what, good): asked, and told 0.1 s later; good None: killed before anybody said."""
    lines = []
    for s, what, good in ((0.1, "accept", True), *done):
        lines.append({"act": "asked", "what": what, "s": s})
        lines.append({"act": "told", "what": what, "s": s + 0.1, "good": good})
    return lines


def test_a_good_day_is_good():
    camera = Camera().born(1.0).open(1.1).frame(1.2).frame(2.9).frame(3.15).close(3.2)
    camera.note("light", 5.0, signal="watching").open(5.1).frame(5.2)
    verdict = check(camera.lines, hands((3.0, "break", True), (4.9, "resume", True)))
    assert verdict.faults == []
    assert (verdict.frames, verdict.lives, verdict.lives_with_frames, verdict.under_way) == (4, 1, 1, 1)
    assert verdict.spans == {"withdraw": 1, "break": 1}


@pytest.mark.parametrize("forbid", FORBIDS)
@pytest.mark.parametrize(
    "forbidden",
    [
        pytest.param(lambda camera: camera.frame(3.9), id="begun long after"),
        pytest.param(lambda camera: camera.frame(3.15).frame(3.25), id="a second one under way"),
        pytest.param(lambda camera: camera.born(3.2).open(3.3), id="opened after a restart"),
        pytest.param(lambda camera: camera.born(3.2).open(3.3).frame(3.35), id="after a restart"),
    ],
)
def test_a_frame_while_it_is_forbidden_is_found(forbid, forbidden):
    camera = Camera().born(1.0).open(1.1).frame(1.2)
    forbidden(camera)
    assert check(camera.lines, hands((3.0, forbid, True))).floors == {forbid}
    assert check(camera.lines, hands((3.0, forbid, None))).floors == set()  # perhaps it never came to be
    assert check(camera.lines, hands((2.5, forbid, True), (2.7, FORBIDS[forbid], True))).floors == set()


def test_nothing_is_captured_before_the_notice_is_accepted():
    camera = Camera().born(1.0).open(1.1).frame(1.2)
    assert check(camera.lines, []).floors == {"withdraw"}
    assert check(camera.lines, hands()).floors == set()


@pytest.mark.parametrize(
    ("frames", "good"),
    [
        ([(5.0, "11:59:59.9", 4.9)], True),
        ([(5.0, "12:00:00.05", 4.9)], True),  # it was under way
        ([(5.0, "12:00:00.05", 4.9), (5.1, "12:00:00.15", 5.0)], False),
        ([(5.9, "12:00:01", 5.8)], False),
        ([(5.0, "07:59:59", 4.9)], False),
        ([(5.0, "00:10:00", 4.9)], False),
    ],
)
def test_a_frame_outside_the_shift_is_found(frames, good):
    camera = Camera().born(1.0).open(1.1).frame(1.2)
    for s, clock, asked_s in frames:
        camera.frame(s, f"2026-11-24T{clock}+00:00", asked_s)
    assert check(camera.lines, hands()).floors == (set() if good else {"shift"})


def test_a_restart_after_the_end_of_the_shift_opens_nothing():
    over = "2026-11-24T12:00:00.2+00:00"
    camera = Camera().born(1.0).open(1.1).frame(1.2).born(5.1).open(5.2, over)
    assert check(camera.lines, hands()).floors == {"shift"}


@pytest.mark.parametrize(
    "dark",
    [
        lambda camera: camera.born(1.0, lit=False).open(1.1),
        lambda camera: camera.born(1.0).open(1.1).note("light", 1.15, signal="off").frame(1.2),
        lambda camera: camera.born(1.0).open(1.1).note("light", 1.2, signal="fault").close(1.3),
        lambda camera: camera.born(1.0).open(1.1).close(1.2).frame(1.3),
        lambda camera: camera.born(1.0).open(1.1).frame(1.2).born(2.0, lit=False).open(2.1).frame(2.2),
    ],
)
def test_a_camera_without_its_light_is_found(dark):
    assert check(dark(Camera()).lines, hands()).floors == {"light"}


@pytest.mark.parametrize("forbid", ["break", "repair"])
def test_what_a_restart_has_forgotten_is_found_without_any_frame(forbid):
    journal = hands((3.0, forbid, True), (4.0, FORBIDS[forbid], False))
    assert check(Camera().born(1.0).born(3.5).lines, journal).floors == {"forgotten"}
    again = hands((3.0, forbid, None), (4.0, FORBIDS[forbid], False))
    assert check(Camera().born(1.0).born(3.5).lines, again).floors == set()
