"""SIGKILL at random points around all that closes the camera: no frame that the gate forbids.

`python -m tests.test_gate_kills --kills 1000 --seed 7` goes on for longer.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.aim import SEEN_S
from edge.control.client import ControlCut, ControlDenied, ControlSilent, NoUnitHere, ask
from edge.control.protocol import (
    AcceptNotice,
    AimAnswer,
    AimAsk,
    AimEnd,
    AimLook,
    BeginRepair,
    Done,
    EndRepair,
    Resume,
    TakeBreak,
    WithdrawNotice,
)
from edge.notice import shipped
from tests.broker import free_port, until
from tests.chaos.journal import Journal, read
from tests.gate_check import AIMS, FORBIDS, Verdict, check
from tests.gate_unit import Life, live

KILLS = 160
MORNING_S, NOON_S = 9 * 3600.0, 12 * 3600.0
REQUESTS = {
    "break": lambda: TakeBreak("water"),
    "resume": Resume,
    "withdraw": WithdrawNotice,
    "accept": lambda: AcceptNotice(shipped().version),
    "repair": lambda: BeginRepair("a screw is loose"),
    "done": EndRepair,
}
ACTS = ("shift", *FORBIDS)
AIM_ACTS = ("asking", "silence", "aim-end", *ACTS)
PATIENCE_S = 30.0


class Rig:
    """A unit, the hands that forbid and allow, and the kills. Every random choice comes from `chance`."""

    _spot, _forbids = False, FORBIDS

    def __init__(self, folder: Path, chance: random.Random, blind: str = "") -> None:
        self._folder, self._chance, self._blind = folder, chance, blind
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.gate_unit"])
        self._hands = Journal(folder / "hands.jsonl")
        self._port = free_port()
        self._unit = None
        self._seen: list[dict] = []
        self._read_bytes = 0
        self.kills: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        (folder / "state").mkdir(mode=0o700)
        self._life = Life(folder, 0, self._port, blind, self._spot)
        self.set_clock(MORNING_S)

    # The unit

    def start(self) -> None:
        self._life = Life(self._folder, self._life.number + 1, self._port, self._blind, self._spot)
        self._unit = self._processes.Process(target=live, args=(self._life,), daemon=True)
        self._unit.start()

    def kill(self, when: str) -> None:
        """SIGKILL; wait until it is gone."""
        assert self._unit.is_alive(), self.log()  # it has to die by us, and by nothing else
        os.kill(self._unit.pid, signal.SIGKILL)
        self._unit.join()
        self.kills[when] += 1

    def close(self) -> None:
        if self._unit is not None:
            self._unit.kill()
            self._unit.join()
        self._hands.close()

    def log(self) -> str:
        return (self._folder / "unit.log").read_text()[-4000:]

    def verdict(self) -> Verdict:
        return check(read(self._life.journal), read(self._folder / "hands.jsonl"), self._forbids)

    def now(self, act: str, of: Callable[[dict], bool] = lambda _line: True) -> list[dict]:
        """Return what this life's journal has of an act."""
        if self._life.journal.exists():
            with self._life.journal.open("rb") as lines:
                lines.seek(self._read_bytes)
                whole, newline, _ = lines.read().rpartition(b"\n")
            self._read_bytes += len(whole + newline)
            self._seen += map(json.loads, whole.splitlines())
        return [
            line
            for line in self._seen
            if line["life"] == self._life.number and line["act"] == act and of(line)
        ]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        until(lambda: condition() or not self._unit.is_alive(), what, PATIENCE_S)
        assert self._unit.is_alive(), self.log()

    def up(self) -> None:
        """Wait until the gate was asked for the first time."""
        self.wait(lambda: self.now("light"), f"life {self._life.number} to be up")

    # The hands

    def set_clock(self, second_of_day: float) -> None:
        """Set the unit's wall clock."""
        a_day = 1_790_000_000 // 86_400 * 86_400
        fresh = self._life.wall.with_suffix(".new")
        fresh.write_text(repr(a_day + second_of_day - time.monotonic()))
        fresh.replace(self._life.wall)

    def do(self, what: str) -> bool | None:
        """Forbid or allow; return whether it was done, None where nobody said."""
        self._hands.note("asked", what=what, s=time.monotonic())
        good: bool | None = True
        if what == "led":
            self._life.led_fault.touch()
        elif what == "mend":
            self._life.led_fault.unlink(missing_ok=True)
        else:
            try:
                good = isinstance(ask(self._life.state, REQUESTS[what]()), Done)
            except (NoUnitHere, ControlCut, ControlSilent, ControlDenied):
                good = None
        self._hands.note("told", what=what, s=time.monotonic(), good=good)
        self.answers[f"{what} {good}"] += 1
        return good

    def allow_all(self) -> None:
        """Bring everything back that may be forbidden, and see frames come."""
        for what in self._chance.sample(list(FORBIDS.values()), len(FORBIDS)):
            self.wait(lambda what=what: self.do(what) is not None, f"an answer to {what}")
        self.see_frames()

    def see_frames(self) -> None:
        before = len(self.now("frame"))
        self.wait(lambda: len(self.now("frame")) > before, "a frame, when nothing forbids one")
        self._sleep(self._chance.uniform(0.0, 0.08))

    # What is done to it

    def strike(self, act: str) -> None:
        """Forbid, and kill: before the answer, at once after it, or when the camera has closed."""
        chance = self._chance
        how = chance.choice(["amid", "amid", "at the answer", "later"])
        if act == "shift":
            ends_in_s = chance.uniform(0.0, 0.1)
            self.set_clock(NOON_S - ends_in_s)
            self._sleep(ends_in_s + chance.uniform(-0.05, 0.15))
        elif how == "amid":
            delay_s = chance.choice([0.002, 0.01, 0.05]) * chance.random()
            killer = threading.Timer(delay_s, self.kill, [act])
            killer.start()
            self.do(act)
            killer.join()
            return
        else:
            self.do(act)
            if how == "later":
                self.wait(self._is_closed, f"the camera to close for {act}")
                self._sleep(chance.uniform(0.0, 0.1))
        self.kill(act)

    def _is_closed(self) -> bool:
        return len(self.now("close")) == len(self.now("open"))

    def linger(self) -> None:
        """Start it again, with nobody to allow anything; kill it after a while, or in its cradle."""
        self.start()
        if self._chance.random() < 0.7:
            self.up()
            self._sleep(self._chance.uniform(0.02, 0.1))
        else:
            self.wait(lambda: self.now("born"), "a birth")
            self._sleep(self._chance.uniform(0.0, 0.06))
        self.kill("after a restart")

    def torment(self, act: str) -> None:
        """Have it watch, forbid that, kill it, and see what it does when it is back."""
        self.set_clock(MORNING_S)
        self.do("mend")  # a unit that is born with a broken light tries it again only seconds later
        self.start()
        self.up()
        self.allow_all()
        if (
            act in REQUESTS and self._chance.random() < 0.3
        ):  # once without a kill: what was before is no excuse
            self.do(act)
            self.do(FORBIDS[act])
            self.see_frames()
        self.strike(act)
        self.linger()

    @staticmethod
    def _sleep(seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class AimRig(Rig):
    """The same, of a unit that looks for an aim alone: somebody asks, and a press of the button agrees."""

    _spot, _forbids = True, AIMS

    def start(self) -> None:
        self._life.pressed.unlink(missing_ok=True)
        self._hands.note("told", what="aim-end", s=time.monotonic(), good=True)  # no aim outlasts a life
        super().start()

    def do(self, what: str) -> bool | None:
        if what == "silence":
            return True
        if what != "aim-end":
            return super().do(what)
        with contextlib.suppress(NoUnitHere, ControlCut, ControlSilent, ControlDenied):
            if isinstance(ask(self._life.state, AimEnd(self._token)), Done):
                self._hands.note("told", what=what, s=time.monotonic(), good=True)
                return True
        return None

    def see_frames(self) -> None:
        """Ask for an aim, agree, and see frames come."""
        self._ask()
        asked_s, pressed = time.monotonic(), False

        def seen() -> bool:
            nonlocal pressed
            answer = ask(self._life.state, AimLook(self._token))
            assert isinstance(answer, AimAnswer), answer
            assert answer.phase != "ended", answer
            if not pressed and time.monotonic() - asked_s > SEEN_S + 0.3:
                pressed = True
                self._hands.note("asked", what="agree", s=time.monotonic())
                self._life.pressed.touch()
            time.sleep(0.05)
            return answer.picture is not None

        self.wait(seen, "a picture, once somebody agreed")
        self._sleep(self._chance.uniform(0.0, 0.08))

    def _ask(self) -> None:
        def taken() -> bool:
            answer = ask(self._life.state, AimAsk())
            self._token = answer.token if isinstance(answer, AimAnswer) else ""
            return bool(self._token)

        self.wait(taken, "an aim to be asked for")

    def torment(self, act: str) -> None:
        """Have it be lined up; forbid that, end it, or say no more; kill it, and see it do nothing."""
        self.set_clock(MORNING_S)
        self.do("mend")
        self.start()
        self.up()
        if act == "asking":  # killed while the light asks, and at the press itself
            for what in FORBIDS.values():
                self.wait(lambda what=what: self.do(what) is not None, f"an answer to {what}")
            self._ask()
            self._sleep(SEEN_S + 0.3 if (presses := self._chance.random() < 0.6) else 0.0)
            if presses:
                self._hands.note("asked", what="agree", s=time.monotonic())
                self._life.pressed.touch()
            self._sleep(self._chance.uniform(0.0, 0.1))
            self.kill(act)
        else:
            self.allow_all()
            self.strike(act)
        self.linger()


@contextlib.contextmanager
def rig_in(folder: Path, seed: int, blind: str = "", *, kind: type[Rig] = Rig):
    rig = kind(folder, random.Random(seed), blind)
    try:
        yield rig
    finally:
        rig.close()


def run(rig: Rig, chance: random.Random, kills: int, of: tuple[str, ...] = ACTS) -> Verdict:
    """Torment it with each act in turn, in rounds in random order, until it was killed so often."""
    acts: list[str] = []
    while rig.kills.total() < kills:
        acts = acts or chance.sample(of, len(of))
        rig.torment(acts.pop())
    return rig.verdict()


def told(verdict: Verdict, rig: Rig, seed: int) -> str:
    lines = [
        f"seed {seed}: {rig.kills.total()} kills: {_counts(rig.kills)}",
        f"answers: {_counts(rig.answers)}",
        f"frames: {verdict.frames}, in {verdict.lives_with_frames} of {verdict.lives} lives",
        f"times that it was forbidden for sure: {_counts(verdict.spans)}",
        f"frames and opens under way at that moment: {verdict.under_way}",
        f"forbidden frames, and other faults: {len(verdict.faults)}",
    ]
    return "\n".join([*lines, *(f"  {fault.floor}: {fault.what}" for fault in verdict.faults[:10])])


def _counts(of: Counter[str]) -> str:
    return ", ".join(f"{what} {times}" for what, times in sorted(of.items()))


def test_no_forbidden_frame_however_often_it_is_killed(tmp_path, capsys):
    seed = int(os.environ.get("DESKWATCH_GATE_SEED", "0")) or random.randrange(1, 1 << 31)
    kills = int(os.environ.get("DESKWATCH_GATE_KILLS", "0")) or KILLS
    with rig_in(tmp_path, seed) as rig:
        verdict = run(rig, random.Random(seed + 1), kills)
        report = told(verdict, rig, seed)
    with capsys.disabled():
        print(f"\n{report}")
    assert not verdict.faults, report
    assert rig.kills.total() >= kills
    assert all(rig.kills[act] >= kills // 16 for act in ACTS), report
    assert verdict.lives_with_frames >= kills // 3, report  # it was watching when it was struck
    assert all(verdict.spans[floor] >= 2 for floor in FORBIDS), report


@pytest.mark.timeout(300)
def test_no_aim_gives_a_forbidden_frame_or_outlasts_a_kill(tmp_path, capsys):
    """Nor does a press that came while the light asked, and was not noted: it was no grant."""
    seed = int(os.environ.get("DESKWATCH_GATE_SEED", "0")) or random.randrange(1, 1 << 31)
    kills = int(os.environ.get("DESKWATCH_GATE_KILLS", "0")) or 2 * len(AIM_ACTS)
    with rig_in(tmp_path, seed, kind=AimRig) as rig:
        verdict = run(rig, random.Random(seed + 1), kills, AIM_ACTS)
        report = told(verdict, rig, seed)
    with capsys.disabled():
        print(f"\n{report}")
    assert not verdict.faults, report
    assert all(rig.kills[act] >= 1 for act in AIM_ACTS), report
    assert verdict.lives_with_frames >= len(AIM_ACTS) - 2, report  # it was lined up when it was struck
    assert verdict.spans["aim-end"] >= len(AIM_ACTS) - 2, report


def test_a_unit_that_looks_without_an_aim_is_caught(tmp_path):
    with rig_in(tmp_path, 1, blind="aim-end", kind=AimRig) as rig:
        rig.start()
        for allow in FORBIDS.values():
            rig.wait(lambda allow=allow: rig.do(allow) is not None, f"an answer to {allow}")
        rig.wait(lambda: rig.now("frame"), "a frame that nobody agreed to")
        rig.kill("aim-end")
        assert rig.verdict().floors == {"aim-end"}


def test_a_break_that_was_acknowledged_outlasts_a_kill_at_that_moment(tmp_path):
    """And a withdrawal, and a repair: the answer is sent when the disk has it."""
    with rig_in(tmp_path, 1) as rig:
        for act in ("break", "withdraw", "repair"):
            rig.start()
            rig.up()
            rig.allow_all()
            assert rig.do(act)
            rig.kill(act)
            rig.start()
            rig.up()
            rig.wait(lambda: rig.now("light"), "the light to say why")
            time.sleep(0.1)  # five frames' time
            assert rig.now("open") == rig.now("frame") == []
            assert rig.now("light")[-1]["signal"] in {"break", "notice", "fault"}
            assert rig.do(FORBIDS[act])  # it was on indeed
            rig.wait(lambda: rig.now("frame"), "frames to come again")
            rig.kill(act)
        assert not rig.verdict().faults


@pytest.mark.parametrize("floor", [*ACTS, "light", "forgotten"])
def test_a_unit_whose_gate_is_broken_is_caught(tmp_path, floor):
    """Each floor taken out on purpose, in turn: the same rig and the same check name it."""
    with rig_in(tmp_path, 1, blind=floor) as rig:
        rig.start()
        for allow in FORBIDS.values():
            rig.wait(lambda allow=allow: rig.do(allow) is not None, f"an answer to {allow}")
        rig.wait(lambda: rig.now("frame"), "frames")
        if floor == "shift":
            rig.set_clock(NOON_S)
        elif floor != "light":
            assert rig.do("break" if floor == "forgotten" else floor)
        time.sleep(0.1)
        rig.kill(floor)
        rig.start()
        rig.wait(lambda: rig.now("frame"), "a frame that is forbidden")
        rig.kill(floor)
        verdict = rig.verdict()
    named = {"break"} if floor == "forgotten" else {floor}
    assert verdict.floors == named, told(verdict, rig, 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.test_gate_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the same acts in the same order")
    arguments = parser.parse_args()
    seed = arguments.seed or random.randrange(1, 1 << 31)
    with tempfile.TemporaryDirectory() as scratch, rig_in(Path(scratch), seed) as rig:
        verdict = run(rig, random.Random(seed + 1), arguments.kills)
        print(told(verdict, rig, seed))
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
