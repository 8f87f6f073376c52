"""A container that systemd boots in: this machine's /usr, and an /etc and /var of its own.

It shares this machine's network: a mosquitto of the tests is at 127.0.0.1 in it too.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import until

BOOT_S = 30.0
CGROUPS = Path("/sys/fs/cgroup")


def need_a_container():
    """Skip where none can be booted."""
    why = ""
    if sys.platform != "linux" or os.geteuid() != 0:
        why = "to boot a container takes root"
    elif shutil.which("systemd-nspawn") is None:
        why = "no systemd-nspawn here: apt install systemd-container"
    elif not Path("/usr/lib/systemd/systemd").exists():
        why = "no systemd here to be booted in a container"
    if why:
        pytest.skip(why)


def write_root(root: Path) -> None:
    """Make a root folder of little more than /usr, which is bound in."""
    for folder in ("usr", "var/lib", "tmp", "run", "root", "opt", "proc", "sys", "dev", "etc/systemd/system"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    etc = root / "etc"
    (etc / "os-release").write_text("ID=test\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


_NUMBERS = itertools.count(1)


class Container:
    """One that boots `root` into basic.target. `binds`: read-only, folder here to folder there."""

    def __init__(self, root: Path, binds: dict[Path, str]) -> None:
        self.root = root
        # One process may have several, of which each ends by itself.
        self._name = f"deskwatch-test-{os.getpid()}-{next(_NUMBERS)}"
        self._binds = {Path("/usr"): "/usr", **binds}
        self._process: subprocess.Popen[bytes] | None = None
        self._console = root.parent / "console"
        self._leader = 0

    def boot(self) -> None:
        """Boot it, and wait until commands work. Skips where it does not come up."""
        command = ["systemd-nspawn", f"--directory={self.root}", f"--machine={self._name}"]
        command += [f"--bind-ro={here}:{there}" for here, there in self._binds.items()]
        # bpf: how systemd has the kernel enforce a DevicePolicy in the unified hierarchy.
        # adjtimex: a unit reads by it whether its clock is set; nspawn would forbid what no machine does.
        command += [
            "--register=no",
            "--keep-unit",
            "--capability=CAP_BPF",
            "--system-call-filter=bpf adjtimex clock_adjtime",
        ]
        command += ["--boot", "--console=pipe", "--", "systemd.unit=basic.target"]
        # A control group of its own: else two that boot at a time would share one.
        move = "".join(f'echo $$ > "{group}/cgroup.procs"; ' for group in self._make_groups())
        with self._console.open("wb") as out:
            self._process = subprocess.Popen(
                ["sh", "-c", f'{move}exec "$@"', "sh", *command],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            until(self._is_up, "the container to boot", BOOT_S)
        except AssertionError as error:
            self.stop()
            said = self._console.read_text("utf-8", "replace")[-400:]
            pytest.skip(f"a container does not boot here: {error}: {said}")

    def run(self, *command: str, check: bool = True, timeout_s: float = 30.0) -> str:
        """Run a command in it, as root; return its output."""
        inside = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
        ]
        done = subprocess.run(
            [*inside, "env", "--chdir=/", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{command}: {said}"
        return said

    def shows(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", "-u", unit, check=False)

    def stop(self) -> None:
        """End it, at once: nothing in it is kept."""
        if self._process is not None:
            if self._leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(
                        self._leader, signal.SIGKILL
                    )  # the first process of its namespace: all go with it
            elif self._process.poll() is None:
                self._process.kill()
            self._process.wait(20)
            self._process = None
        for group in self._groups():
            until(lambda group=group: _gone(group), f"{group} to be empty", 60)
        with contextlib.suppress(OSError):
            Path("/run/systemd/nspawn/propagate", self._name).rmdir()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "it ended"
        if not self._leader:
            self._leader = self._find_leader()
        if not self._leader:
            return False
        try:
            return "active" in self.run("systemctl", "is-active", "basic.target", check=False).split()
        except (OSError, subprocess.TimeoutExpired):
            return False

    def _find_leader(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                return int(child)
        return 0

    def _groups(self) -> list[Path]:
        found = [
            CGROUPS / name for name in ("unified", "systemd") if (CGROUPS / name / "cgroup.procs").exists()
        ]
        return [folder / self._name for folder in found or [CGROUPS]]

    def _make_groups(self) -> list[Path]:
        made = []
        for group in self._groups():
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                made.append(group)
        return made


def _gone(group: Path) -> bool:
    """Take away a control group and all below it, once they are empty."""
    folders = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not group.exists()
