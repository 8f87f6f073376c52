"""The files of systemd/ as they stand: the sandbox as systemd scores it, and what belongs together."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.device.watchdog import FRAME_LIMIT_S, INFERENCE_LIMIT_S, SPOOL_LIMIT_S, TURN_LIMIT_S
from edge.guard import BEGIN_LIMIT_S

SYSTEMD = Path(__file__).parents[2] / "systemd"
EXPOSURE_MAX = 1.5
CAMERA = {"char-video4linux rw", "char-media rw", "char-dma_heap rw"}
SERVICES = ["deskwatch.service", "deskwatch-safe.service"]


def settings(name, section):
    """Return a section's settings, in order."""
    found, here = [], ""
    for line in (SYSTEMD / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == section and "=" in line and not line.startswith("#"):
            found.append(tuple(line.split("=", 1)))
    return found


def analysis(path):
    """Return what systemd-analyze says of a unit file's sandbox."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt install systemd")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Overall exposure" not in done.stdout:
        pytest.skip(f"this systemd scores no files: {done.stderr[-300:]}")
    return done.stdout


def exposure(path):
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", analysis(path))[1])


@pytest.mark.parametrize("name", [*SERVICES, "deskwatch-import.service"])
def test_the_sandbox_is_as_tight_as_it_is_said_to_be(name):
    assert exposure(SYSTEMD / name) <= EXPOSURE_MAX


def test_a_sandbox_that_is_looser_would_be_found(tmp_path):
    loose = tmp_path / SERVICES[0]
    text = (SYSTEMD / SERVICES[0]).read_text("utf-8")
    for line in ("RestrictNamespaces=yes", "PrivateMounts=yes", "ProtectProc=invisible"):
        assert line in text
        loose.write_text(text.replace(line, ""))
        assert exposure(loose) > EXPOSURE_MAX, line


def test_each_exception_is_argued_for():
    """What systemd-analyze takes off points for stands in the comment that says why."""
    text = (SYSTEMD / SERVICES[0]).read_text("utf-8")
    why = text[text.index("# The sandbox.") : text.index("NoNewPrivileges")]
    marked = re.findall(r"✗ (\S+)", analysis(SYSTEMD / SERVICES[0]))
    words = {word for name in marked for word in re.findall(r"\w+", name.partition("=~")[2] or name)}
    assert words
    assert {word for word in words if word not in why} == set()


def test_safe_mode_has_the_same_sandbox_and_no_camera():
    service, safe = (settings(name, "Service") for name in SERVICES)
    differs = {"ExecStart", "RestartSec"}
    assert [pair for pair in service if pair[0] not in differs and pair[1] not in CAMERA] == [
        pair for pair in safe if pair[0] not in differs
    ]
    assert ("DeviceAllow", "char-video4linux rw") in service
    assert dict(safe)["ExecStart"] == dict(service)["ExecStart"].replace(" run ", " run --safe ")


def test_the_two_sockets_are_the_same_place():
    first, second = (settings(f"{name}.socket", "Socket") for name in ("deskwatch", "deskwatch-safe"))
    assert first == second
    folder = dict(settings(SERVICES[0], "Service"))["StateDirectory"]
    assert dict(first)["ListenStream"] == f"/var/lib/{folder}/control.sock"


def test_a_unit_that_hangs_again_and_again_comes_to_safe_mode():
    """However long each start takes to fail, all that safe mode waits for fall within the interval."""
    unit, service = dict(settings(SERVICES[0], "Unit")), dict(settings(SERVICES[0], "Service"))
    of = lambda name: float(service[name])  # noqa: E731
    hangs_s = max(BEGIN_LIMIT_S, TURN_LIMIT_S, SPOOL_LIMIT_S, FRAME_LIMIT_S, INFERENCE_LIMIT_S)
    fails_s = of("TimeoutStartSec") + hangs_s + of("WatchdogSec") + of("TimeoutAbortSec") + of("RestartSec")
    assert float(unit["StartLimitIntervalSec"]) > float(unit["StartLimitBurst"]) * fails_s
    retry = dict(settings("deskwatch-retry.timer", "Timer"))["OnActiveSec"]
    assert retry == "1h"
    assert float(unit["StartLimitIntervalSec"]) < 3600.0  # else the timer would find it refused


def test_what_the_units_name_is_there():
    named = set()
    for file in SYSTEMD.glob("deskwatch*.*"):
        for name, value in settings(file.name, "Unit") + settings(file.name, "Timer"):
            if name in {"After", "Conflicts", "Wants", "OnFailure", "Unit"}:
                named |= {word for word in value.split() if word.startswith("deskwatch")}
    assert named
    assert [name for name in named if not (SYSTEMD / name).is_file()] == []
