"""A look of our own, where no unit runs: through the gate alone, noted in the worker's log, gone at once."""

import datetime as dt
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.breaks import Breaks, Notebook
from edge.capture.standin import Fault, StandInCamera
from edge.clock import SteppedClock
from edge.config import BrokerTable, CameraTable, Config, PathsTable, UnitTable
from edge.device.boot import boot_id
from edge.device.hardware import Hardware
from edge.device.indicator import StandinButton, StandinIndicator
from edge.diagnosis import behind, own_look, permitted_look
from edge.diagnosis.camera import CHECKS
from edge.diagnosis.check import Patient, Status
from edge.diagnosis.runner import run
from edge.notebook import TwoPlaces
from edge.notice import Notice
from edge.policy.breaks import BreakBy
from edge.policy.gate import Signal
from edge.repair import Repair
from edge.uplink.lockfile import LockFile
from edge.uplink.spool import Spool
from edge.worklog.entries import Here
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read
from tests.diagnosis import sights
from tests.diagnosis.test_camera import tree

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
POLICY = {
    "schema": "policy/1",
    "version": 5,
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2036-01-01T00:00:00Z",
    "timezone": "UTC",
    "shifts": [{"days": ["mon"], "start": "08:00", "end": "17:00"}],
    "watch": {"mode": "spot", "mean_interval_s": 600, "burst_s": 20},
    "rules": [{"id": "phone", "kind": "object", "labels": ["cell phone"]}],
}


@dataclass
class Home:
    """A unit that does not run: all that it left, a camera that counts its openings, a light and a button."""

    folder: Path
    scene: object = sights.good
    light: StandinIndicator = field(default_factory=StandinIndicator)
    buttons: list = field(default_factory=list)
    clock: SteppedClock = field(default_factory=lambda: SteppedClock(NOON))

    def __post_init__(self):
        self.camera = StandInCamera(self.clock, self.shown)
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700)
        (self.folder / "policy.json").write_text(json.dumps(POLICY))
        self.notice = Notice(self.state)
        self.notice.accept(self.notice.version, BreakBy.LOCAL, NOON)
        with Spool.open(self.state / "spool.db"), self.log():
            pass
        self.config = Config(
            unit=UnitTable(tenant="acme", id="cam-1"),
            broker=BrokerTable(host="127.0.0.1", port=1883),
            camera=CameraTable(kind="usb", device="/dev/video0"),
            paths=PathsTable(state=self.state, policy=self.folder / "policy.json"),
        )
        self.root = tree(self.folder / "root")

    def shown(self, number: int) -> np.ndarray:
        return self.scene(number)

    def log(self) -> WorkerLog:
        return WorkerLog.open(self.state / "log", now_at=self.clock.now_at)

    def patient(self) -> Patient:
        return Patient(self.clock, self.folder / "unit.toml", self.config, silence="none", root=self.root)

    def button(self, on_press, on_hold) -> StandinButton:
        self.buttons.append(StandinButton(on_press=on_press, on_hold=on_hold))
        return self.buttons[-1]

    def kept(self) -> dict[str, bytes]:
        """All that is on the disk, but for the worker's log."""
        return {
            str(path): path.read_bytes()
            for path in self.state.rglob("*")
            if path.is_file() and "log" not in path.parts[len(self.state.parts)]
        }

    def noted(self) -> list[str]:
        notes = [entry.note for entry in read(self.state / "log")]
        return [note.text for note in notes if isinstance(note, Here) and note.what == "camera"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = Home(tmp_path)
    monkeypatch.setattr(permitted_look, "make_camera", lambda _table, _clock: home.camera)
    monkeypatch.setattr(permitted_look, "make_hardware", lambda _config: Hardware(home.light, home.button))
    return home


def results(home: Home, patient: Patient | None = None) -> dict:
    return {result.name: result for result in run(CHECKS, patient or home.patient())}


def test_one_look_serves_all_checks_and_is_noted_before_and_after(home):
    before = home.kept()
    looked = results(home)
    assert [entry for entry in home.camera.record if not entry.startswith("frame")] == ["open", "close"]
    assert {name: each.status for name, each in looked.items()} == {
        check.name: Status.SKIP if check.name == "camera.moved" else Status.PASS for check in CHECKS
    }
    assert "how sharp it was before is not known" in looked["camera.defocused"].limit
    assert home.noted() == ["watching: a diagnosis at the unit", "stopped: a diagnosis at the unit"]
    assert home.light.shown == [Signal.WATCHING, Signal.OFF]
    assert home.light.closed
    assert home.kept() == before
    home.light = StandinIndicator()
    results(home)  # another run looks anew
    assert home.camera.record.count("open") == 2


@pytest.mark.parametrize(
    ("scene", "name", "code"),
    [
        (sights.black, "camera.black", "black"),
        (sights.taped, "camera.covered", "covered"),
        (sights.white, "camera.exposure", "washed-out"),
        (sights.window, "camera.exposure", "glare"),
        (sights.evening, "camera.exposure", "dim"),
        (sights.blurred, "camera.defocused", "blurred"),
        (sights.still, "camera.frozen", "frozen"),
    ],
    ids=["black", "taped", "white", "window", "evening", "blurred", "still"],
)
def test_a_look_of_our_own_finds_what_is_amiss(home, scene, name, code):
    home.scene = scene
    assert results(home)[name].code == code


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.BUSY, "gives-no-frame"), (Fault.STALLED, "gives-no-frame")],
    ids=["busy", "stalled"],
)
def test_a_camera_that_fails_is_told_once_and_closed(home, fault, code):
    home.camera.fail(fault)
    looked = results(home)
    assert looked["camera.present"].code == code
    assert looked["camera.black"].status == Status.SKIP
    assert home.light.shown[-1] is Signal.OFF
    assert home.camera.record.count("open") == home.camera.record.count("close")


def take_break(home: Home, started_at: dt.datetime = NOON) -> None:
    with Spool.open(home.state / "spool.db") as spool:
        kept = TwoPlaces(home.state, spool)
        clock = SteppedClock(started_at)
        notebook = Notebook(kept.read, kept.write)
        Breaks(clock, lambda: 1800.0, lambda *_: None, notebook=notebook, boot_id=boot_id()).start(
            "tea", BreakBy.LOCAL
        )


def begin_repair(home: Home) -> None:
    with Spool.open(home.state / "spool.db") as spool:
        Repair(TwoPlaces(home.state, spool, "repair")).begin("a new lens")


def block_only_in_spool(home: Home) -> None:
    begin_repair(home)
    (home.state / "repair.json").unlink()


def break_only_in_spool(home: Home) -> None:
    take_break(home)
    (home.state / "break.json").unlink()


def policy(home: Home, **more) -> None:
    (home.folder / "policy.json").write_text(json.dumps({**POLICY, **more}))


FORBIDDEN = {
    "off-shift": (
        lambda home: home.clock.advance_to(home.clock.now_s() + 6 * 3600),
        "off shift until Monday 08:00",
    ),
    "policy-over": (lambda home: policy(home, expires_at="2026-02-01T00:00:00Z"), "policy-expired"),
    "policy-to-come": (lambda home: policy(home, issued_at="2026-12-01T00:00:00Z"), "policy-not-yet-valid"),
    "no-policy": (lambda home: (home.folder / "policy.json").unlink(), "no policy"),
    "break": (take_break, "on a break"),
    "break-noted-in-the-spool-alone": (break_only_in_spool, "on a break"),
    "break-unreadable": (lambda home: (home.state / "break.json").write_text("?"), "wanted the text"),
    "notice": (lambda home: home.notice.withdraw(), "has not accepted the notice"),
    "repair": (begin_repair, "blocked for a repair"),
    "repair-noted-in-the-spool-alone": (block_only_in_spool, "blocked for a repair"),
    "repair-unreadable": (lambda home: (home.state / "repair.json").write_text("?"), "blocked for a repair"),
    "light": (lambda home: setattr(home.light, "failure", "no current"), "light does not work"),
    "log-gone": (lambda home: (home.state / "log").rename(home.folder / "taken"), "no worker's log"),
    "log-in-use": (lambda home: setattr(home, "held", home.log()), "only process that writes"),
    "unit-silent": (
        lambda home: setattr(home, "held", LockFile.hold(home.state / "spool.db.lock")),
        "does not answer",
    ),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_keeps_a_units_camera_closed_keeps_ours_closed(home, case):
    forbid, why = FORBIDDEN[case]
    forbid(home)
    before = home.kept()
    looked = results(home)
    assert list(home.camera.record) == []
    assert Signal.WATCHING not in home.light.shown
    assert home.noted() == [] or case == "log-in-use"
    for check in CHECKS[1:]:
        assert looked[check.name].status == Status.SKIP
        assert why in looked[check.name].value
    assert home.kept() == before


def test_a_log_that_was_changed_lets_nobody_look(home):
    with home.log() as log:
        log.append([Here("repair done")] * 3)
    segment = max((home.state / "log").iterdir(), key=lambda path: path.is_file() and path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert results(home)["camera.black"].status == Status.SKIP
    assert list(home.camera.record) == []


class FailsWhenLit(StandinIndicator):
    """A light that is found broken once it should be on."""

    def trouble(self) -> str | None:
        return "it stays dark" if self.signal is Signal.WATCHING else None


def test_a_light_that_stays_dark_keeps_the_camera_closed(home):
    home.light = FailsWhenLit()
    assert results(home)["camera.black"].status == Status.SKIP
    assert list(home.camera.record) == []


def test_a_press_of_the_button_ends_the_look_at_once(home):
    def scene(number):
        if number == 5:
            home.buttons[-1].press()
        return sights.good(number)

    home.scene = scene
    results(home)
    frames = [entry for entry in home.camera.record if entry.startswith("frame")]
    assert len(frames) == 6
    assert home.camera.record[-1] == "close"


@pytest.mark.parametrize("what", ["light", "notice", "shift", "a unit starts"])
def test_what_comes_up_during_the_look_ends_it(home, what):
    def scene(number):
        if number == 5:
            match what:
                case "light":
                    home.light.failure = "no current"
                case "notice":
                    home.notice.withdraw()
                case "shift":
                    home.clock.advance_to(home.clock.now_s() + 6 * 3600)
                case _:
                    home.held = LockFile.hold(home.state / "spool.db.lock")
        return sights.good(number)

    home.scene = scene
    results(home)
    assert len([entry for entry in home.camera.record if entry.startswith("frame")]) == 6
    assert home.camera.record[-1] == "close"


def test_a_unit_that_starts_before_it_opens_is_let_have_the_camera(home, monkeypatch):
    """Whoever takes a break there is told that it is on: it must not be news to a look that goes on."""
    real = own_look.OwnLook._note

    def note(self, capture):
        real(self, capture)
        home.held = getattr(home, "held", None) or LockFile.hold(home.state / "spool.db.lock")

    monkeypatch.setattr(own_look.OwnLook, "_note", note)
    assert results(home)["camera.black"].status == Status.SKIP
    assert list(home.camera.record) == []


def test_the_worker_s_log_has_it_before_the_camera_opens(home, monkeypatch):
    noted = []
    real = home.camera.open
    monkeypatch.setattr(home.camera, "open", lambda: (noted.append(home.noted()), real()))
    results(home)
    assert noted == [["watching: a diagnosis at the unit"]]


def test_no_picture_stays_in_memory(home, monkeypatch):
    """A colour that only the camera has: whatever the look made of it is overwritten."""
    kept = []
    real = own_look.look

    def look(state, content, now_s, **more):
        after, scene = real(state, content, now_s, **more)
        kept.append((content.base if content.base is not None else content, scene))
        return after, scene

    monkeypatch.setattr(own_look, "look", look)
    results(home)
    content, scene = kept[-1]
    assert not content.any()
    assert not scene.grey.any()
    assert not scene.half.any()
    assert not scene.blocks.any()


def test_a_running_unit_is_asked_and_its_camera_left_alone(home):
    patient = replace(home.patient(), facts={"camera.blind": None, "capture.state": "break"}, inside=True)
    looked = results(home, patient)
    assert list(home.camera.record) == []
    assert looked["camera.black"].value == "not looked yet since the start: break"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves files of its own behind")
def test_what_root_writes_into_the_log_is_the_units(home):
    for path in (home.state, *home.state.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in home.state.parents[:4]:  # it is written as the unit's user, who has to get there
        path.chmod(path.stat().st_mode | 0o011)
    results(home)
    assert home.camera.record.count("open") == 1
    assert {path.stat().st_uid for path in home.state.rglob("*")} == {65534}


def test_a_replayed_clip_is_looked_at_by_the_real_camera(tmp_path, monkeypatch):
    home = Home(tmp_path)
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    for number in range(40):
        writer.write(np.ascontiguousarray(sights.taped(number)[:, :, ::-1]))
    writer.release()
    monkeypatch.setattr(permitted_look, "make_hardware", lambda _config: Hardware(home.light))
    table = CameraTable(kind="replay", source=clip)
    home.config = Config(
        unit=home.config.unit, broker=home.config.broker, camera=table, paths=home.config.paths
    )
    looked = results(home)
    assert looked["camera.covered"].code == "covered"
    assert looked["camera.rate"].status == Status.PASS


def test_what_a_unit_left_is_read_as_it_stands(home):
    assert behind.noted_repair(home.config) is None
    assert behind.unit_that_holds(home.config) is None
    assert behind.policy_in_force(home.config).version == 5
