"""Four units as a technician finds them: `deskwatch diagnose` names the cause in its first failing line.

Each is a real unit with a real broker that wants TLS and a certificate; each is looked at while it runs,
and while it does not.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.control.client import NoUnitHere, ask
from edge.control.protocol import Status, StatusAnswer
from tests.broker import Mosquitto, until
from tests.certificates import Authority
from tests.chaos.disk import Disk, NoDisk
from tests.clip import frames
from tests.daemon import COMMAND, Daemon

UNIT = "cam-1"
SEED = 6
ELSEWHERE = {"service.running", "service.restarts"}
"""That a unit was stopped is said too, and is no news to whoever stopped it."""
SIGHT_S = 90.0


class Unit(Daemon):
    """A unit with a certificate, on footage of its own, whose clock may be wrong."""

    def __init__(
        self, folder: Path, footage: Path, broker: Mosquitto, brokers: Authority, units: Authority
    ) -> None:
        super().__init__(folder, footage, broker)
        self._units, self._brokers = units, brokers
        self.env: dict[str, str] = {}
        """What its programs find beside our own environment."""

    def certify(self, **life: float) -> None:
        """Give it a certificate; `life` is Authority.issue's."""
        pair = self._units.issue(UNIT, **life)
        pair.key.chmod(0o600)
        text = self.config.read_text().replace(
            "tls = false",
            f'tls = true\nca_file = "{self._brokers.file}"\ncertificate_file = "{pair.certificate}"\n'
            f'key_file = "{pair.key}"',
        )
        self.config.write_text(text)

    def keep_state_in(self, folder: Path) -> None:
        self.config.write_text(self.config.read_text().replace(str(self.state), str(folder)))
        self.state = folder

    def start(self, *, accepted: bool = True) -> "Unit":
        if accepted:
            self.accept_notice()
        (self.folder / "policy.json").write_text(json.dumps(self.policy))
        with self.log.open("a") as log:
            command = [COMMAND, "run", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.env})
        return self

    def facts(self) -> dict[str, object]:
        """Return what it says of itself; nothing, where it does not run."""
        with contextlib.suppress(NoUnitHere, TimeoutError):
            answer = ask(self.state, Status(), 20.0)
            assert isinstance(answer, StatusAnswer)
            return dict(answer.facts)
        return {}

    def sees(self, condition, what: str) -> None:
        """Wait until its facts fulfil a condition."""
        until(lambda: (facts := self.facts()) and condition(facts), f"{what}: {self.said()[-500:]}", SIGHT_S)

    def diagnose(self) -> "Findings":
        command = [COMMAND, "diagnose", "--json", "--config", self.config]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=110, env={**os.environ, **self.env}
        )
        assert done.stdout, done.stderr
        return Findings(done.returncode, json.loads(done.stdout))


def wrong_by(offset: str) -> dict[str, str]:
    """Return what in a program's environment puts its clock wrong.

    `faketime COMMAND` stays between us and the program, and a signal would end it alone: it is asked what it
    sets, no more.
    """
    if shutil.which("faketime") is None:
        pytest.skip("no faketime here: apt install faketime")
    words = ["faketime", "-m", "--exclude-monotonic", "-f", offset, "env", "-0"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = dict(line.partition("=")[::2] for line in said.split("\0"))
    names = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
    return {**{name: found[name] for name in names}, "NO_FAKE_STAT": "1", "FAKETIME_DISABLE_SHM": "1"}


@dataclass(frozen=True)
class Findings:
    exit_code: int
    report: dict

    @property
    def failing(self) -> list[dict]:
        return [one for one in self.report["results"] if one["status"] == "fail"]

    def cause(self, *, stopped: bool = False) -> tuple[str, str]:
        """Return name and code of the first line that fails; `stopped`: beside that the unit was."""
        assert self.exit_code in (2, 3), self.report
        lines = [one for one in self.failing if not (stopped and one["name"] in ELSEWHERE)]
        assert lines, self.failing
        assert lines[0]["hint"], lines[0]
        return lines[0]["name"], lines[0]["code"]


def footage(folder: Path, pictures: list[np.ndarray]) -> Path:
    """Return a clip of these pictures with a sensor's noise: no two frames are the same."""
    noise = np.random.default_rng(SEED)
    path = folder / "footage.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    for picture in pictures:
        noisy = picture.astype(np.int16) + noise.normal(0, 2, picture.shape).astype(np.int16)
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage(tmp_path_factory.mktemp("desk"), frames(60))


@pytest.fixture(scope="module")
def thumb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lens with tape on it: an even, brownish grey, a little darker to the edges."""
    across = np.linspace(-1, 1, 640)[None, :] ** 2 + np.linspace(-1, 1, 480)[:, None] ** 2
    grey = 70.0 - 6.0 * across
    picture = np.stack([grey * 0.8, grey * 0.9, grey], axis=-1).astype(np.uint8)
    return footage(tmp_path_factory.mktemp("thumb"), [picture] * 60)


@pytest.fixture
def make_unit(tmp_path: Path, mosquitto: Mosquitto) -> Iterator:
    brokers, units = Authority(tmp_path / "brokers", "brokers CA"), Authority(tmp_path / "units", "units CA")
    server = brokers.issue("broker", host="127.0.0.1", from_days=-3650, until_days=3650)
    files = f"cafile {units.file}\ncertfile {server.certificate}\nkeyfile {server.key}"
    mosquitto.start(listener=f"{files}\nrequire_certificate true\nuse_identity_as_username true")
    made: list[Unit] = []

    def make(picture: Path) -> Unit:
        folder = tmp_path / f"unit-{len(made)}"
        folder.mkdir()
        made.append(Unit(folder, picture, mosquitto, brokers, units))
        return made[-1]

    yield make
    for unit in made:
        if unit.process is not None and unit.process.poll() is None:
            unit.process.kill()
            unit.process.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = Disk(folder)
    except NoDisk as why:
        pytest.skip(str(why))
    yield disk
    disk.close()


def test_a_unit_with_nothing_wrong_has_no_line_that_fails(make_unit, desk):
    unit = make_unit(desk)
    unit.certify(until_days=300)
    unit.start()
    unit.sees(lambda facts: facts["link.connected"] and facts["watch.inferences"], "a unit at work")
    findings = unit.diagnose()
    assert findings.failing == []
    assert findings.exit_code in (0, 1)
    unit.stop()
    assert unit.diagnose().cause() == ("service.running", "not-running")
    assert [one["name"] for one in unit.diagnose().failing if one["name"] not in ELSEWHERE] == []


def test_a_certificate_that_has_expired(make_unit, desk):
    unit = make_unit(desk)
    unit.certify(from_days=-100, until_days=-2)
    unit.start()
    unit.sees(lambda facts: facts["link.last_error"], "a broker that refuses it")
    assert unit.diagnose().cause() == ("identity.certificate", "expired")
    unit.stop()
    assert unit.diagnose().cause(stopped=True) == ("identity.certificate", "expired")


def test_a_lens_that_is_covered(make_unit, thumb):
    unit = make_unit(thumb)
    unit.certify(until_days=300)
    unit.start()
    unit.sees(lambda facts: "covered" in str(facts["camera.blind"]), "what it sees of the cover")
    assert unit.diagnose().cause() == ("camera.covered", "covered")
    unit.stop()
    assert unit.diagnose().cause(stopped=True) == ("camera.covered", "covered")


def test_a_disk_that_is_full(make_unit, desk, small_disk):
    unit = make_unit(desk)
    unit.certify(until_days=300)
    unit.keep_state_in(small_disk.mount_point / "state")
    unit.start()
    unit.sees(lambda facts: facts["link.connected"], "a connection")
    small_disk.fill()
    assert unit.diagnose().cause() == ("disk.free", "full")
    unit.stop()
    assert unit.diagnose().cause(stopped=True) == ("disk.free", "full")


@pytest.mark.parametrize(("offset", "code"), [("-9000d", "before-firmware"), ("+9000d", "far-ahead")])
def test_a_clock_that_is_wrong(make_unit, desk, offset, code):
    """The clock that its programs see, by libfaketime; the certificate is good today."""
    unit = make_unit(desk)
    unit.certify(until_days=300)
    unit.env = wrong_by(offset)
    unit.start()
    unit.sees(lambda facts: facts["link.last_error"], "a broker that it does not believe")
    assert unit.diagnose().cause() == ("clock.plausible", code)
    unit.stop()
    assert unit.diagnose().cause(stopped=True) == ("clock.plausible", code)
