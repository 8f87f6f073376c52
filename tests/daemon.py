"""`deskwatch run` as a process of its own."""

import datetime as dt
import json
import signal
import subprocess
import sys
from pathlib import Path

from edge.notice import Notice
from edge.policy.breaks import BreakBy
from tests.broker import Mosquitto, until

COMMAND = Path(sys.executable).parent / "deskwatch"
SOON = "reconnect_spread_s = 0.2\nreconnect_max_s = 2"
RULES = [
    {"id": "phone", "kind": "object", "labels": ["cell phone"], "hold_s": 1, "release_s": 1, "cooldown_s": 0},
]


class Daemon:
    """`deskwatch run` on a photo of a phone, again and again."""

    def __init__(self, folder: Path, photo: Path, broker: Mosquitto) -> None:
        self.folder = folder
        self.broker = broker
        self.process: subprocess.Popen[str] | None = None
        self.log = folder / "log"
        self.state = folder / "state"
        self.session = 0
        """Of the start that was last seen to be online."""
        self.policy = {
            "schema": "policy/1",
            "version": 5,
            "issued_at": "2026-01-01T00:00:00Z",
            "expires_at": "2036-01-01T00:00:00Z",
            "timezone": "UTC",
            "shifts": [
                {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}
            ],
            "watch": {"mode": "continuous"},
            "rules": RULES,
        }
        lines = [
            '[unit]\ntenant = "acme"\nid = "cam-1"',
            f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\n{SOON}',
            f'[camera]\nkind = "replay"\nsource = "{photo}"',
            f'[paths]\nstate = "{self.state}"\npolicy = "{folder}/policy.json"',
        ]
        self.config = folder / "unit.toml"
        self.config.write_text("\n".join(lines))

    def call(self, port: int) -> None:
        """Take the broker to be on another port."""
        text = self.config.read_text()
        self.config.write_text(text.replace(f"port = {self.broker.port}", f"port = {port}"))

    def accept_notice(self) -> None:
        """Accept the notice as whoever sits at the unit would; once."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        notice = Notice(self.state)
        if not notice.accepted:
            notice.accept(notice.version, BreakBy.LOCAL, dt.datetime.now(dt.UTC))

    def start(self, *, accepted: bool = True) -> "Daemon":
        if accepted:
            self.accept_notice()
        (self.folder / "policy.json").write_text(json.dumps(self.policy))
        with self.log.open("a") as log:
            self.process = subprocess.Popen([COMMAND, "run", "--config", self.config], stdout=log, stderr=log)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)

    def watching(self) -> "Daemon":
        """Start, and wait until it watches."""
        before = self.log.read_text().count("watching") if self.log.exists() else 0
        self.start()
        began = lambda: self.said().count("watching") > before or self.process.poll() is not None  # noqa: E731
        until(began, "the watch to begin", 30)
        assert self.process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()
