"""A machine to be looked at: a tree for /proc and /sys, a real folder for its state, a clock of one's own."""

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge.clock import SystemClock
from edge.config import BrokerTable, Config, PathsTable, UnitTable
from edge.diagnosis.check import Check, Patient, Result
from edge.diagnosis.runner import run_check
from edge.vision.model_file import checkout

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
ROOT = os.geteuid() == 0


class At(SystemClock):
    """The system's clock, with another wall time."""

    def __init__(self, now_at: dt.datetime) -> None:
        super().__init__()
        self._by = now_at - dt.datetime.now(dt.UTC)

    def now_at(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self._by


class Machine:
    def __init__(self, folder: Path) -> None:
        self.take(folder)
        self.root.mkdir()
        self.state.mkdir(mode=0o700)

    def take(self, folder: Path) -> None:
        """Take up a machine that is there."""
        self.folder, self.root, self.state = folder, folder / "root", folder / "state"
        self.facts: dict | None = {}
        self.offline = True
        self.clock = SystemClock()
        self.policy = checkout() / "edge/defaults/policy.json"

    def file(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        return file

    def patient(self, **more) -> Patient:
        config = Config(
            unit=UnitTable(tenant="acme", id="cam-1"),
            broker=BrokerTable(host="127.0.0.1", port=1883),
            paths=PathsTable(state=self.state, policy=self.policy),
        )
        told = {"config": config, "facts": self.facts, "offline": self.offline, "root": self.root}
        return Patient(clock=self.clock, config_path=self.folder / "unit.toml", **{**told, **more})

    def look(self, check: Check, **more) -> Result:
        return run_check(check, self.patient(**more))

    def mount(self, options: str, folder: Path | None = None) -> None:
        """Lay a small disk of its own under the state folder."""
        if not ROOT:
            pytest.skip("needs root, to mount a small disk")
        words = ["mount", "-t", "tmpfs", "-o", options, "deskwatch-test", str(folder or self.state)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")

    def look_under_strace(self, name: str, inject: str) -> Result:
        """Have another process look, while the kernel treats one kind of its calls in another way."""
        strace = shutil.which("strace")
        if strace is None:
            pytest.skip("needs strace")
        words = [strace, "-f", "-q", "-o", "/dev/null", "-e", f"inject={inject}"]
        words += [sys.executable, "-m", "tests.diagnosis.machine", str(self.folder), name]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=checkout(), timeout=150)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=Result)

    def look_as(self, user: int, name: str) -> Result:
        """Have a child of ours look as another user."""
        check, (reads, writes) = table()[name], os.pipe()
        child = os.fork()
        if not child:  # no exception may come back from here: it would be a second pytest
            try:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                os.write(writes, msgspec.json.encode(self.look(check)))
            finally:
                os._exit(0)
        os.close(writes)
        with os.fdopen(reads, "rb") as said:
            result = said.read()
        os.waitpid(child, 0)
        return msgspec.json.decode(result, type=Result)


def table() -> dict[str, Check]:
    """The checks of the machine itself, by name."""
    from edge.diagnosis import clock, disk, memory, power, wifi

    return {check.name: check for area in (power, memory, disk, clock, wifi) for check in area.CHECKS}


def assert_found(result: Result, check: Check, code: str, status: str) -> None:
    """The status, the code and the hint of the table, which fits its line, and a value for people."""
    assert (result.status.value, result.code) == (status, code), result
    assert result.hint == check.hints[code]
    assert result.value


def main() -> None:
    """Look at the machine in a folder, as one who is started in another way than the tests are."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    machine = Machine.__new__(Machine)
    machine.take(folder)
    sys.stdout.write(msgspec.json.encode(machine.look(table()[name])).decode())


if __name__ == "__main__":
    main()
