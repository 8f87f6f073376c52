"""The unit as a service: the files of systemd/, this checkout's code and packages, in a container."""

import json
import shutil
import sys
import sysconfig
from pathlib import Path

from tests.broker import until
from tests.daemon import RULES, SOON
from tests.systemd.container import Container, write_root

CHECKOUT = Path(__file__).parents[2]
SYSTEMD = CHECKOUT / "systemd"
STATE = "/var/lib/deskwatch"
SETTINGS = "/etc/deskwatch/unit.toml"
MODEL = "desk-384x320-int8"
SAFE = "deskwatch-safe.service"
UNIT = "deskwatch.service"
POLICY = {
    "schema": "policy/1",
    "version": 5,
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2036-01-01T00:00:00Z",
    "timezone": "UTC",
    "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}],
    "watch": {"mode": "continuous"},
    "rules": RULES,
}
QUICK = "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\nRestartSec=100ms\n"
"""What the tests change: where Python's library is, and how long a restart waits."""


SOMEBODY = ["setpriv", "--reuid=4711", "--regid=deskwatch", "--clear-groups"]
SOMEBODY += ["env", "LD_LIBRARY_PATH=/opt/python/lib"]
FACTS = f"""
import json, pathlib
from edge.control.client import ask
from edge.control.protocol import Status
print(json.dumps(ask(pathlib.Path("{STATE}"), Status()).facts))
"""


class Service:
    """deskwatch.service and what belongs to it, with a photo of a phone for a camera."""

    def __init__(self, folder: Path, photo: Path) -> None:
        self.root = folder / "root"
        write_root(self.root)
        self._install_code()
        self._install_units()
        etc = self.root / "etc" / "deskwatch"
        (etc / "model").mkdir(parents=True)
        for ending in ("toml", "tflite"):
            shutil.copy(CHECKOUT / "models" / f"{MODEL}.{ending}", etc / "model")
        shutil.copy(photo, etc / "phone.png")
        (etc / "policy.json").write_text(json.dumps(POLICY))
        prefix = Path(sys.base_prefix)
        packages = Path(sysconfig.get_path("purelib"))
        self.container = Container(
            self.root,
            {
                prefix: "/opt/python",
                packages: "/opt/packages",
                CHECKOUT / "edge": "/opt/checkout/edge",
            },
        )

    def _install_code(self) -> None:
        """Make the virtual environment of the package, of links to what is bound in."""
        venv = self.root / "opt" / "deskwatch"
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = venv / "lib" / name / "site-packages"
        (venv / "bin").mkdir(parents=True)
        site.mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text("home = /opt/python/bin\ninclude-system-site-packages = false\n")
        (venv / "bin" / "python3").symlink_to(f"/opt/python/bin/{name}")
        (site / "checkout.pth").write_text("/opt/checkout\n/opt/packages\n")
        command = venv / "bin" / "deskwatch"
        command.write_text(
            "#!/opt/deskwatch/bin/python3\nimport sys\nfrom edge.cli import main\nsys.exit(main())\n"
        )
        command.chmod(0o755)

    def _install_units(self) -> None:
        units = self.root / "etc" / "systemd" / "system"
        for kind in ("service", "socket", "timer"):
            for file in SYSTEMD.glob(f"*.{kind}"):
                shutil.copy(file, units)
        for kind in ("sysusers", "tmpfiles"):
            folder = self.root / "etc" / f"{kind}.d"
            folder.mkdir()
            shutil.copy(SYSTEMD / f"deskwatch.{kind}", folder / "deskwatch.conf")
        for unit in (UNIT, SAFE):
            self.drop_in(unit, "quick", QUICK)

    def drop_in(self, unit: str, name: str, text: str) -> None:
        """Change a unit of the container; reload() makes it count."""
        folder = self.root / "etc" / "systemd" / "system" / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.conf").write_text(text)

    def reload(self) -> None:
        self.container.run("systemctl", "daemon-reload")

    def fresh(self, port: int) -> None:
        """Forget all that was before, and take the broker at this port from now on."""
        lines = [
            '[unit]\ntenant = "acme"\nid = "cam-1"',
            f'[broker]\nhost = "127.0.0.1"\nport = {port}\ntls = false\n{SOON}',
            '[camera]\nkind = "replay"\nsource = "/etc/deskwatch/phone.png"',
            f'[model]\ncard = "/etc/deskwatch/model/{MODEL}.toml"\nthreads = 1',
            f'[paths]\nstate = "{STATE}"\npolicy = "/etc/deskwatch/policy.json"',
        ]
        (self.root / SETTINGS.removeprefix("/")).write_text("\n".join(lines))
        self.fresh_model()
        run = self.container.run
        run("systemctl", "stop", UNIT, SAFE)
        run("systemctl", "reset-failed")
        run("find", STATE, "-mindepth", "1", "-delete")
        for file in self.root.glob("etc/systemd/system/*.d/more.conf"):
            file.unlink()
        self.reload()

    @property
    def model(self) -> Path:
        return self.root / "etc" / "deskwatch" / "model" / f"{MODEL}.tflite"

    def fresh_model(self) -> None:
        """Put the model back."""
        shutil.copy(CHECKOUT / "models" / f"{MODEL}.tflite", self.model)

    def start(self) -> None:
        """Start it, and return when it says that it is ready."""
        self.container.run("systemctl", "start", UNIT)

    def stop(self) -> None:
        self.container.run("systemctl", "stop", UNIT)

    def ask(self, *words: str, check: bool = True) -> str:
        """Run `deskwatch` as somebody who is in the unit's group, and nothing more."""
        command = ["/opt/deskwatch/bin/deskwatch", *words, "--config", SETTINGS]
        return self.container.run(*SOMEBODY, *command, check=check)

    def facts(self) -> dict[str, str | float | None]:
        """Return what the unit tells of itself at its control socket."""
        return json.loads(self.container.run(*SOMEBODY, "/opt/deskwatch/bin/python3", "-c", FACTS))

    def accept_notice(self) -> None:
        self.ask("notice", "--accept")

    def pid(self) -> int:
        """Return the main process's id, in the container."""
        return int(self.container.shows(UNIT, "MainPID"))

    def is_active(self, unit: str) -> bool:
        return self.container.shows(unit, "ActiveState") == "active"

    def said(self, unit: str = UNIT) -> str:
        return self.container.journal(unit)

    def said_by(self, unit: str, words: str, timeout_s: float = 30.0) -> None:
        """Wait until a unit's log has these words."""
        until(
            lambda: words in self.said(unit),
            f"{words!r} in the log of {unit}:\n{self.said(unit)[-2000:]}",
            timeout_s,
        )
