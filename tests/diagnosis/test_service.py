"""Settings, service, sockets, errors: each fault of theirs is found, with what to do."""

import ast
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from edge.clock import SystemClock
from edge.control.client import ControlDenied, ask
from edge.control.protocol import Status as AskStatus
from edge.control.protocol import StatusAnswer
from edge.control.server import ControlServer
from edge.diagnosis import errors, service, settings, sockets
from edge.diagnosis.check import Patient, Status
from edge.diagnosis.patient import admit
from edge.diagnosis.runner import run_check
from edge.error_ring import KEPT, keeping_errors
from edge.uplink.messages import Capture
from edge.vision.model_file import checkout

CHECKS = {check.name: check for area in (settings, service, sockets, errors) for check in area.CHECKS}
SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "Result": "success",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "WatchdogUSec": "1min",
    "StatusText": "watching, connected to mqtt.example:8883",
}
TOML = """[unit]\ntenant = "acme"\nid = "cam-1"\n[broker]\nhost = "127.0.0.1"\nport = 1883
[paths]\nstate = "{folder}/state"\npolicy = "{folder}/policy.json"\n"""


class Unit:
    """A unit's files, and a system that was booted with a systemd of our own making."""

    def __init__(self, folder, monkeypatch, stack):
        self.folder, self.monkeypatch, self.stack = folder, monkeypatch, stack
        self.root, self.state = folder / "root", folder / "state"
        self.root.mkdir()
        self.state.mkdir(mode=0o700)
        self.toml = folder / "unit.toml"
        self.toml.write_text(TOML.format(folder=folder))
        self.patient = lambda: admit(self.toml, offline=True)

    def below(self, **more):
        """Look at the tree of ours in the place of the real /proc and /run."""
        self.patient = lambda: Patient(SystemClock(), self.toml, root=self.root, **more)

    def systemd(self, shown=None, journal=()):
        (self.root / "run/systemd/system").mkdir(parents=True)
        told_us = int(time.monotonic() * 1e6)
        shown = {**SHOWN, "WatchdogTimestampMonotonic": str(told_us), **(shown or {})}
        tools = self.folder / "tools"
        tools.mkdir()
        for name, lines in (
            ("systemctl", [f"{key}={value}" for key, value in shown.items()]),
            ("journalctl", [json.dumps(line) for line in journal]),
        ):
            said = tools / f"{name}.said"
            said.write_text("".join(f"{line}\n" for line in lines))
            (tools / name).write_text(f'#!/bin/sh\necho "$@" >> {tools}/{name}.asked\ncat {said}\n')
            (tools / name).chmod(0o755)
        self.monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        self.below()

    def answers(self, facts):
        self.stack.enter_context(ControlServer(self.state, lambda _request: StatusAnswer(facts)))

    def listens(self, answer):
        """Have somebody at the control socket who says `answer`, or nothing at all."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.state / "control.sock"))
        listener.listen()
        self.stack.callback(listener.close)
        if answer is None:
            return

        def serve():
            with contextlib.suppress(OSError):
                connected, _ = listener.accept()
                with connected:
                    connected.recv(65_536)
                    connected.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()

    def as_nobody(self):
        if os.geteuid() != 0:
            pytest.skip("needs root, to be somebody else")
        os.seteuid(65_534)
        self.stack.callback(os.seteuid, 0)


@pytest.fixture
def unit(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        yield Unit(tmp_path, monkeypatch, stack)


def missing(unit):
    unit.toml.unlink()


def denied(unit):
    unit.folder.chmod(0o700)
    unit.as_nobody()


def wrong(unit):
    unit.toml.write_text(unit.toml.read_text().replace("port = 1883", "port = 70000"))


def changed(unit):
    unit.answers({"unit.up_s": 3600.0})


def silent(unit):
    unit.listens(None)


def not_ours(unit):
    unit.answers({})
    config = unit.patient().config
    unit.as_nobody()
    with pytest.raises(ControlDenied) as raised:
        ask(unit.state, AskStatus())
    unit.patient = lambda: Patient(SystemClock(), unit.toml, config, trouble=raised.value)


def other_version(unit):
    unit.listens(b'{"kind": "haiku"}\n')


def safe_mode(unit):
    unit.answers({"capture.state": Capture.SAFE_MODE.value, "capture.reason": "exit-code"})


def gave_up(unit):
    unit.systemd({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "5"})


def often(unit):
    unit.systemd({"NRestarts": "3"})


def bitten(unit):
    unit.systemd(journal=[{"__REALTIME_TIMESTAMP": "1764000000000000", "UNIT_RESULT": "watchdog"}])


def starving(unit):
    unit.systemd({"WatchdogTimestampMonotonic": str(int((time.monotonic() - 45) * 1e6))})


def off(unit):
    unit.systemd({"WatchdogUSec": "0"})


def open_port(unit):
    listener = socket.create_server(("0.0.0.0", 0))
    unit.stack.callback(listener.close)
    unit.port = listener.getsockname()[1]


def unit_listens(unit):
    name = unit.folder / "deskwatch"
    name.symlink_to(os.path.realpath(sys.executable))
    code = (
        "import socket, sys\n"
        "listener = socket.create_server(('::', 0), family=socket.AF_INET6)\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [name, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    unit.stack.enter_context(process)
    unit.stack.callback(process.kill)
    unit.port = int(process.stdout.readline())


def logged(unit):
    ring = unit.stack.enter_context(keeping_errors())
    logging.getLogger("edge.uplink").error("the disk at %s does not answer", "/mnt/alice")
    facts = ring.facts()
    unit.patient = lambda: Patient(SystemClock(), unit.toml, facts=facts, errors=ring.logged())


FAULTS = {
    ("config.readable", "missing"): ("fail", missing, "there is none"),
    ("config.readable", "denied"): ("fail", denied, "not yours to read"),
    ("config.readable", "wrong"): ("fail", wrong, "broker.port"),
    ("config.readable", "changed"): ("warn", changed, "changed since"),
    ("service.running", "not-running"): ("fail", lambda _unit: None, "does not run"),
    ("service.running", "silent"): ("fail", silent, "does not answer"),
    ("service.running", "denied"): ("warn", not_ours, "not yours to ask"),
    ("service.running", "other-version"): ("fail", other_version, "another version"),
    ("service.running", "safe-mode"): ("fail", safe_mode, "in safe mode: exit-code"),
    ("service.restarts", "gave-up"): ("fail", gave_up, "after 5 restarts: exit-code, exit code 2"),
    ("service.restarts", "often"): ("warn", often, "3 restarts"),
    ("service.watchdog", "bitten"): ("warn", bitten, "once since boot, last 24 Nov 16:00 UTC"),
    ("service.watchdog", "starving"): ("fail", starving, "s ago: watching"),
    ("service.watchdog", "off"): ("warn", off, "off"),
    ("sockets.listening", "open-port"): ("warn", open_port, "tcp {port} ("),
    ("sockets.listening", "unit-listens"): ("fail", unit_listens, "tcp {port} (deskwatch)"),
    ("errors.recent", "logged"): ("warn", logged, "the disk at /mnt/alice does not answer"),
}
PROVEN = frozenset(FAULTS)


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_what_is_wrong_is_found(unit, name, code):
    status, break_it, value = FAULTS[name, code]
    break_it(unit)
    found = run_check(CHECKS[name], unit.patient())
    assert (found.status.value, found.code) == (status, code), found
    assert found.hint == CHECKS[name].hints[code]
    assert value.format(port=getattr(unit, "port", None)) in found.value


def test_safe_mode_is_seen_on_a_break_and_the_worker_s_words_are_not_told(unit):
    unit.answers({"capture.state": "break", "capture.reason": "my back", "unit.safe": 1.0})
    found = run_check(CHECKS["service.running"], unit.patient())
    assert (found.status, found.code, found.value) == (Status.FAIL, "safe-mode", "in safe mode")


def test_every_hint_is_proven():
    assert {(name, code) for name, check in CHECKS.items() for code in check.hints} == PROVEN


def test_a_sound_unit_passes(unit):
    unit.answers({"unit.up_s": 0.0, "errors.count": 0.0, "capture.state": "watching"})
    for name in ("config.readable", "service.running", "errors.recent"):
        found = run_check(CHECKS[name], unit.patient())
        assert found.status is Status.PASS, found
    unit.systemd({"NRestarts": "2"})
    for name in ("service.restarts", "service.watchdog"):
        found = run_check(CHECKS[name], unit.patient())
        assert found.status is Status.PASS, found
    asked = (unit.folder / "tools/journalctl.asked").read_text()
    assert "UNIT=deskwatch.service UNIT_RESULT=watchdog" in asked


def test_where_no_systemd_booted_the_system_its_checks_are_skipped(unit):
    unit.below()
    for name in ("service.restarts", "service.watchdog", "errors.recent"):
        assert run_check(CHECKS[name], unit.patient()).status is Status.SKIP


def test_the_unit_itself_starts_no_other_process_and_tells_no_text(unit):
    unit.systemd({"ActiveState": "failed"})
    unit.toml.write_text("host = '/home/alice'")
    facts = {"errors.count": 1.0, "errors.last": "the disk at %s does not answer", "errors.last_at": "?"}
    unit.below(facts=facts, inside=True)
    found = {name: run_check(check, unit.patient()) for name, check in CHECKS.items()}
    assert not list((unit.folder / "tools").glob("*.asked"))
    assert found["service.restarts"].status is Status.SKIP
    assert found["config.readable"].value == "wrong"
    assert "the disk at %s does not answer" in found["errors.recent"].value
    assert "alice" not in "".join(map(str, found.values()))


def test_the_journal_tells_of_errors_where_the_unit_does_not_run(unit):
    unit.systemd(
        journal=[
            {"MESSAGE": "ERROR: old", "PRIORITY": "6", "__REALTIME_TIMESTAMP": "1764000000000000"},
            {
                "MESSAGE": [100, 101, 115, 107, 255],
                "PRIORITY": "3",
                "__REALTIME_TIMESTAMP": "1764000060000000",
            },
            {"MESSAGE": "INFO: watching", "PRIORITY": "6", "__REALTIME_TIMESTAMP": "1764000120000000"},
        ]
    )
    found = run_check(CHECKS["errors.recent"], unit.patient())
    assert (found.status, found.value) == (Status.WARN, "2, the last at 24 Nov 16:01 UTC: desk\ufffd")


def test_sockets_of_this_machine_alone_and_those_of_every_unit_are_fine(unit):
    net = unit.root / "proc/net"
    net.mkdir(parents=True)
    head = "  sl  local_address rem_address st\n"
    line = (
        "{n}: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {n} 1\n"
    )
    world, here = "00000000", f"{int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder):08X}"
    tcp = [(world, 22, "0A"), (here, 1883, "0A"), (world, 41000, "01")]
    udp = [(world, 68, "07"), (world, 5353, "07"), (world, 40000, "07"), (here, 53, "07"), (world, 123, "01")]

    def write(name, rows):
        text = "".join(line.format(n=n, address=a, port=p, state=s) for n, (a, p, s) in enumerate(rows))
        (net / name).write_text(head + text)

    write("tcp", tcp)
    write("udp", udp)
    unit.below()
    assert run_check(CHECKS["sockets.listening"], unit.patient()).status is Status.PASS
    write("udp", [*udp, (world, 161, "07")])
    found = run_check(CHECKS["sockets.listening"], unit.patient())
    assert (found.code, found.value) == ("open-port", "udp 161")
    six = "".join(f"{int.from_bytes(b, sys.byteorder):08X}" for b in (bytes(4),) * 3 + (b"\0\0\0\1",))
    write("udp", udp)
    write("tcp6", [(six, 631, "0A")])
    assert run_check(CHECKS["sockets.listening"], unit.patient()).status is Status.PASS
    write("tcp6", [("0" * 32, 631, "0A")])
    assert run_check(CHECKS["sockets.listening"], unit.patient()).value == "tcp 631"


@pytest.mark.parametrize(
    ("text", "seconds"), [("1min", 60.0), ("1min 30s", 90.0), ("500ms", 0.5), ("0", 0.0), ("infinity", 0.0)]
)
def test_a_time_of_systemctl_is_read(text, seconds):
    assert service._microseconds(text) == pytest.approx(seconds)


def test_the_ring_keeps_the_newest_counts_all_and_never_raises():
    with keeping_errors() as ring:
        for number in range(KEPT + 5):
            logging.getLogger("edge.x").error("failed at %s", f"/home/alice/{number}")
        logging.getLogger("edge.x").warning("only %s", "a warning")
        logging.getLogger("paho.client").error("secret %s", "alice")
        ring.handle(logging.LogRecord("edge.x", logging.ERROR, "x.py", 1, "wrong %d", ("number",), None))
    facts = ring.facts()
    assert facts["errors.count"] == KEPT + 7
    assert facts["errors.last"] == "wrong %d"
    kept = ring.logged()
    assert len(kept) == KEPT + 1
    assert kept[-1].text == "(cannot be formatted)"
    assert kept[-2].template == "(of the library paho)"
    assert "alice" not in "".join(one.template for one in kept) + str(facts)
    assert f"failed at /home/alice/{KEPT + 4}" in [one.text for one in kept]
    logging.getLogger("edge.x").error("after its end")
    assert ring.facts() == facts


def test_what_is_logged_as_an_error_or_a_warning_is_a_constant_of_the_source():
    """Else the template of a line would hold what was filled in, and leave the unit."""
    wrong, found = [], 0
    for path in (checkout() / "edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (
                isinstance(node.func.value, ast.Name) and node.func.value.id in {"log", "logging", "logger"}
            ):
                continue
            if node.func.attr in {"warning", "error", "exception", "critical", "log"}:
                found += 1
                template = node.args[1 if node.func.attr == "log" else 0]
                if not (isinstance(template, ast.Constant) and isinstance(template.value, str)):
                    wrong.append(f"{path}:{node.lineno}")
    assert found > 20
    assert wrong == []
