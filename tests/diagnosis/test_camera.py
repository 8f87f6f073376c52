"""What can be wrong with the camera is found, in the figures of a real watch or daemon."""

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture.standin import Fault, StandInCamera
from edge.capture.usb import open_error
from edge.clock import SteppedClock
from edge.config import BrokerTable, CameraTable, Config, PathsTable, UnitTable, read_config
from edge.control.client import ask
from edge.control.protocol import Status
from edge.diagnosis.camera import CHECKS
from edge.diagnosis.camera_there import may_use
from edge.diagnosis.check import Patient, Result
from edge.diagnosis.check import Status as CheckStatus
from edge.diagnosis.runner import run_check
from edge.errors import EdgeError
from edge.facts import camera_facts, watch_facts
from tests.broker import until
from tests.daemon import Daemon
from tests.diagnosis import sights
from tests.test_watch import MONDAY, Rig

CHECK = {check.name: check for check in CHECKS}


def config(folder: Path, camera: CameraTable | None = None) -> Config:
    return Config(
        unit=UnitTable(tenant="acme", id="cam-1"),
        broker=BrokerTable(host="127.0.0.1", port=1883),
        camera=camera or CameraTable(kind="usb", device="/dev/video0"),
        paths=PathsTable(state=folder / "state", policy=folder / "policy.json"),
    )


def tree(folder: Path) -> Path:
    """A machine with a USB camera, as far as a probe looks: the node is a real character device."""
    (folder / "dev").mkdir(parents=True)
    (folder / "dev" / "video0").symlink_to("/dev/null")
    about = folder / "sys/class/video4linux/video0"
    about.mkdir(parents=True)
    (about / "index").write_text("0\n")
    (about / "name").write_text("C920\n")
    return folder


def watched(scene, seconds: float, *, fps: float = 10.0, fault: Fault | None = None) -> dict:
    """What a real watch tells of a camera that it had before it for so long."""
    rig = Rig(scene, until_s=seconds)
    rig.camera = StandInCamera(rig.clock, scene, fps=fps)
    if fault is not None:
        rig.camera.fail(fault)
    rig.watch = rig.make()
    rig.run()
    _, _, state, reason = rig.told.of("capture")[-2]  # the last is that it was stopped
    return {
        **watch_facts(rig.watch.counts, rig.clock.now_s()),
        **camera_facts(rig.watch.counts, rig.clock.now_s(), is_open=False),
        "capture.state": state.value,
        "capture.reason": reason,
    }


@dataclass(frozen=True)
class Sight:
    """A scene, for how long it is watched, and what the hint has to speak of."""

    scene: object
    says: str
    seconds: float = 4.0
    fps: float = 10.0
    fault: Fault | None = None
    status: CheckStatus = CheckStatus.FAIL


SIGHTS = {
    ("camera.present", "gives-no-frame"): Sight(sights.good, "cable", 20.0, fault=Fault.STALLED),
    ("camera.rate", "too-few-frames"): Sight(sights.good, "light", 30.0, fps=0.5),
    ("camera.rate", "few-frames"): Sight(sights.good, "hub", fps=3.0, status=CheckStatus.WARN),
    ("camera.frozen", "frozen"): Sight(sights.still, "restart", 35.0),
    ("camera.black", "black"): Sight(sights.black, "cap"),
    ("camera.covered", "covered"): Sight(sights.taped, "tape"),
    ("camera.exposure", "washed-out"): Sight(sights.white, "window"),
    ("camera.exposure", "glare"): Sight(sights.window, "curtain", status=CheckStatus.WARN),
    ("camera.exposure", "dim"): Sight(sights.evening, "lamp", status=CheckStatus.WARN),
    ("camera.defocused", "blurred"): Sight(sights.blurred, "ring", 6.0),
    ("camera.moved", "moved"): Sight(sights.turned(350), "aim", 45.0, status=CheckStatus.WARN),
}
ABSENCES = {
    ("camera.present", "no-footage"): "camera.source",
    ("camera.present", "absent"): "Plug",
    ("camera.present", "not-a-camera"): "lower number",
    ("camera.present", "not-permitted"): "usermod",
    ("camera.present", "no-sensor"): "ribbon",
    ("camera.present", "busy"): "Another program",
}
PROVEN = frozenset(SIGHTS) | frozenset(ABSENCES)


def found(name: str, patient: Patient) -> Result:
    return run_check(CHECK[name], patient)


@pytest.fixture
def patient(tmp_path):
    return Patient(
        SteppedClock(MONDAY), tmp_path / "unit.toml", config(tmp_path), root=tree(tmp_path / "root")
    )


@pytest.mark.parametrize(("name", "code"), SIGHTS, ids="/".join)
def test_what_a_watch_sees_amiss_is_found_with_what_to_do(name, code, patient):
    sight = SIGHTS[name, code]
    facts = watched(sight.scene, sight.seconds, fps=sight.fps, fault=sight.fault)
    result = found(name, replace(patient, facts=facts))
    assert (result.status, result.code) == (sight.status, code), result
    assert result.hint == CHECK[name].hints[code]
    assert sight.says in result.hint
    assert result.value
    assert result.limit


def test_a_camera_that_sees_well_passes_all_of_it(patient):
    seen = replace(patient, facts=watched(sights.good, 35.0))
    results = [run_check(check, seen) for check in CHECKS]
    assert [(each.name, each.status, each.code) for each in results] == [
        (check.name, CheckStatus.PASS, "") for check in CHECKS
    ], results


@pytest.mark.parametrize("scene", [sights.black, sights.taped, sights.white], ids=["black", "taped", "white"])
def test_one_cause_fails_in_one_line(scene, patient):
    seen = replace(patient, facts=watched(scene, 6.0))
    failing = [each.name for each in (run_check(check, seen) for check in CHECKS) if each.status == "fail"]
    assert len(failing) == 1, failing


def test_what_was_seen_long_ago_says_so_and_what_never_was_is_skipped(patient):
    facts = watched(sights.taped, 4.0)
    result = found("camera.covered", replace(patient, facts={**facts, "camera.frame_age_s": 720.0}))
    assert result.code == "covered"
    assert "12 min ago" in result.value
    never = {**facts, "camera.blind": None, "capture.state": "off-shift"}
    result = found("camera.covered", replace(patient, facts=never))
    assert (result.status, result.value) == (CheckStatus.SKIP, "not looked yet since the start: off-shift")


@pytest.mark.parametrize(("name", "code"), ABSENCES, ids="/".join)
def test_a_camera_that_is_not_there_is_found_without_opening_it(name, code, patient, tmp_path, monkeypatch):
    monkeypatch.setattr("edge.diagnosis.permitted_look.make_camera", None)  # who opened one would fail of it
    facts = watched(sights.good, 4.0)
    node = patient.root / "dev" / "video0"
    match code:
        case "no-footage":
            table = CameraTable(kind="replay", source=tmp_path / "gone.mp4")
            patient = replace(patient, config=config(tmp_path, table))
        case "absent":
            node.unlink()
        case "not-a-camera":
            (patient.root / "sys/class/video4linux/video0/index").write_text("1\n")
        case "not-permitted":
            node.unlink()
            os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3)) if os.geteuid() == 0 else node.touch()
            (tmp_path / "state").mkdir()
            if os.geteuid() != 0:
                pytest.skip("only root makes a device of somebody else's")
            os.chown(tmp_path / "state", 65534, 65534)
        case "no-sensor":
            patient = replace(patient, config=config(tmp_path, CameraTable()))
            lens = patient.root / "sys/class/video4linux/v4l-subdev0"
            lens.mkdir()
            (lens / "name").write_text("dw9807 10-000c\n")
        case "busy":
            facts = {**watched(sights.good, 20.0, fault=Fault.BUSY)}
            held = OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            facts["capture.reason"] = str(open_error(Path("/dev/video0"), held))
    result = found(name, replace(patient, facts=facts))
    assert (result.status, result.code) == (CheckStatus.FAIL, code), result
    assert result.hint == CHECK[name].hints[code]
    assert ABSENCES[name, code] in result.hint


def test_a_sensor_that_the_kernel_found_is_there_and_its_lens_is_none(patient, tmp_path):
    folder = patient.root / "sys/class/video4linux"
    for number, name in enumerate(("rp1-cfe-csi2", "dw9807 10-000c", "imx708 10-001a")):
        (folder / f"v4l-subdev{number}").mkdir()
        (folder / f"v4l-subdev{number}" / "name").write_text(f"{name}\n")
    facts = watched(sights.good, 4.0)
    one = replace(patient, config=config(tmp_path, CameraTable()), facts=facts)
    assert (found("camera.present", one).status, found("camera.present", one).value) == (
        CheckStatus.PASS,
        "imx708",
    )
    other = replace(one, config=config(tmp_path, CameraTable(device="1")))
    assert found("camera.present", other).code == "no-sensor"


def test_a_real_daemon_tells_what_it_sees_and_how_fast(mosquitto, tmp_path, patient):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    for number in range(60):
        writer.write(np.ascontiguousarray(sights.taped(number)[:, :, ::-1]))
    writer.release()
    daemon = Daemon(tmp_path, clip, mosquitto).start()
    try:
        facts: dict = {}

        def told() -> bool:
            with contextlib.suppress(EdgeError):
                answer = ask(daemon.state, Status())
                facts.update(answer.facts)
            return facts.get("camera.blind") == "covered" and facts.get("watch.inference_p99_s") is not None

        until(told, "the daemon to see the tape", 60)
        assert facts["model.golden"] == "good"
        assert facts["camera.open"] == 1.0
        assert facts["camera.frame_age_s"] < 10.0
        assert facts["policy.shortest_hold_s"] == 1.0
        assert 0.0 < facts["watch.inference_p50_s"] <= facts["watch.inference_p95_s"] < 10.0
        assert facts["watch.skipped"] >= 0
        seen = replace(patient, facts=facts, inside=True, config=read_config(daemon.config))
        results = {check.name: run_check(check, seen) for check in CHECKS}
        assert results["camera.covered"].code == "covered"
        assert results["camera.present"].status == CheckStatus.PASS
    finally:
        daemon.stop()


def test_no_figure_tells_what_was_seen(patient):
    """The same room with two different persons' places: the results are numbers of one line."""
    seen = replace(patient, facts=watched(sights.good, 4.0))
    for check in CHECKS:
        result = run_check(check, seen)
        assert len(result.value) <= 256
        assert "\n" not in result.value
    assert not any(isinstance(value, bytes | list | np.ndarray) for value in seen.facts.values())


def test_a_device_is_for_the_units_user_by_owner_group_or_all(tmp_path):
    (tmp_path / "state").mkdir()
    node = tmp_path / "node"
    node.touch()
    for mode, mine in ((0o600, True), (0o400, False), (0o060, False)):
        node.chmod(mode)
        assert may_use(node.stat(), config(tmp_path)) is (mine or os.geteuid() == 0)
