"""The service as it ships, booted: a real systemd, a real broker, a photo for a camera."""

import json

import pytest

from edge.uplink.messages import Capture, ClosedEvent, OpenedEvent
from tests.broker import collect, subscribed, until
from tests.systemd.service import SAFE, SETTINGS, STATE, UNIT
from tests.test_unit import events_of, states_of


def closed(messages):
    """Return why infractions were closed."""
    return [event.data.reason for event in events_of(messages) if isinstance(event, ClosedEvent)]


def test_it_starts_says_so_watches_once_the_notice_is_accepted_and_says_goodbye(service, mosquitto):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        service.start()  # comes back once it said READY=1
        assert service.container.shows(UNIT, "SubState") == "running"
        collect(listener, lambda got: any(s.capture is Capture.NOTICE for s in states_of(got)), 30)
        service.accept_notice()  # by somebody of its group, at the control socket
        collect(listener, lambda got: any(isinstance(e, OpenedEvent) for e in events_of(got)), 30)
        until(lambda: "connected to" in service.container.shows(UNIT, "StatusText"), "the status line", 15)
        service.stop()
        last = collect(listener, lambda got: any(not s.online for s in states_of(got)), 30)
    assert states_of(last)[-1].capture is Capture.STOPPED
    assert closed(last) == ["stopped"]
    assert service.container.shows(UNIT, "Result") == "success"
    assert "no unit runs here" in service.ask("break", check=False)  # and asking does not start it
    assert service.container.shows(UNIT, "ActiveState") == "inactive"


def test_one_that_hangs_is_restarted_by_the_watchdog(service, mosquitto):
    mosquitto.start()
    service.drop_in(UNIT, "more", "[Service]\nWatchdogSec=4\n")
    service.reload()
    service.start()
    service.accept_notice()
    hung = service.pid()
    with subscribed(mosquitto) as listener:
        collect(listener, lambda got: any(isinstance(e, OpenedEvent) for e in events_of(got)), 30)
        service.container.run("kill", "-STOP", str(hung))
        until(lambda: service.pid() not in (0, hung), "another process in its place", 30)
        again = collect(
            listener,
            lambda got: any(s.online and s.session == 2 for s in states_of(got)) and closed(got),
            30,
        )
    assert "Watchdog timeout" in service.said()
    assert 'File "/opt/checkout/edge/' in service.said()  # it says where it hung
    assert service.container.shows(UNIT, "NRestarts") == "1"
    assert closed(again) == ["restarted"]


def test_the_watchdog_is_content_while_the_broker_is_away_and_the_camera_closed(service, mosquitto):
    service.drop_in(UNIT, "more", "[Service]\nWatchdogSec=2\n")
    service.reload()
    service.start()  # there is no broker, and the notice is not accepted
    was = service.pid()
    told = lambda: service.container.shows(UNIT, "WatchdogTimestampMonotonic")  # noqa: E731
    seen = {told()}
    until(lambda: len(seen.add(told()) or seen) > 8, "eight signs of life", 30)
    assert (service.pid(), service.container.shows(UNIT, "NRestarts")) == (was, "0")


def test_a_crash_loop_ends_in_safe_mode_and_what_waits_still_arrives(service, mosquitto):
    service.start()
    service.accept_notice()
    until(lambda: service.facts()["spool.events"], "an event that waits for the broker", 30)
    service.model.write_bytes(b"no model")
    service.container.run("systemctl", "kill", "--signal=KILL", UNIT)
    until(lambda: service.is_active(SAFE), "safe mode", 60)
    assert service.container.shows(UNIT, "ActiveState") == "failed"
    service.container.run("systemctl", "kill", "--signal=STOP", SAFE)  # else it may be before whoever listens
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        service.container.run("systemctl", "kill", "--signal=CONT", SAFE)
        got = collect(
            listener,
            lambda got: (
                any(isinstance(e, OpenedEvent) for e in events_of(got))
                and any(s.capture is Capture.SAFE_MODE for s in states_of(got))
            ),
            30,
        )
        assert any(s.reason.startswith(UNIT) for s in states_of(got))
        assert "On a break" in service.ask("break")  # it can be asked at the unit
        collect(listener, lambda got: any(s.capture is Capture.BREAK for s in states_of(got)), 30)
        assert service.is_active("deskwatch-retry.timer")
        # What it does an hour later: try again.
        service.fresh_model()
        service.container.run("systemctl", "reset-failed", UNIT)
        service.drop_in("deskwatch-retry.timer", "more", "[Timer]\nAccuracySec=1ms\nOnActiveSec=1s\n")
        service.reload()
        service.container.run("systemctl", "restart", "deskwatch-retry.timer")
        until(lambda: service.is_active(UNIT), "the timer to start it again", 30)
        assert not service.is_active(SAFE)
        assert not service.is_active("deskwatch-retry.timer")
        assert "is over" in service.ask("resume")
        collect(listener, lambda got: any(s.capture is Capture.WATCHING for s in states_of(got)), 30)


def unreadable_settings(service):
    settings = service.root / SETTINGS.removeprefix("/")
    settings.write_text(f"{settings.read_text()}\n[model\n")


def too_little_memory(service):
    if "memory" not in service.container.run("cat", "/sys/fs/cgroup/cgroup.controllers", check=False).split():
        pytest.skip("this machine lets no container limit memory")
    service.drop_in(UNIT, "more", "[Service]\nMemoryMax=12M\n")
    service.reload()


def an_end_while_it_starts(service):
    service.drop_in(UNIT, "more", "[Service]\nExecStartPre=/bin/sh -c 'kill -SEGV $$$$'\n")
    service.reload()


@pytest.mark.parametrize(
    ("broken", "result"),
    [(unreadable_settings, "exit-code"), (too_little_memory, "oom-kill"), (an_end_while_it_starts, "signal")],
)
def test_whatever_it_fails_of_safe_mode_answers_and_the_way_back_is_short(service, mosquitto, broken, result):
    service.start()
    service.accept_notice()
    until(lambda: service.facts()["spool.events"], "an event that waits for the broker", 30)
    good = (service.root / SETTINGS.removeprefix("/")).read_text()
    broken(service)
    service.container.run("systemctl", "kill", "--signal=KILL", UNIT)
    until(lambda: service.is_active(SAFE), "safe mode", 90)
    assert service.container.shows(UNIT, "Result") == result
    service.container.run("systemctl", "kill", "--signal=STOP", SAFE)  # else it may be before whoever listens
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        service.container.run("systemctl", "kill", "--signal=CONT", SAFE)
        collect(
            listener,
            lambda got: (
                any(isinstance(e, OpenedEvent) for e in events_of(got))
                and any(s.capture is Capture.SAFE_MODE for s in states_of(got))
            ),
            30,
        )
    # As docs/technician.md has it.
    (service.root / SETTINGS.removeprefix("/")).write_text(good)
    service.drop_in(UNIT, "more", "")
    service.reload()
    service.container.run("systemctl", "reset-failed", UNIT)
    service.start()
    assert not service.is_active(SAFE)


def test_it_knows_when_its_clock_was_set(service):
    """The sandbox keeps it from asking the kernel: the mark of systemd-timesyncd tells it."""
    mark = "/run/systemd/timesync/synchronized"
    service.start()
    assert service.facts()["clock.synchronised"] == 0.0
    service.container.run("mkdir", "-p", mark.rpartition("/")[0])
    service.container.run("touch", mark)
    try:
        until(lambda: service.facts()["clock.synchronised"] == 1.0, "the clock to be known as set", 30)
    finally:
        service.container.run("rm", mark)


PROBE = """
import errno, json, os, socket, sys
def tried(what):
    try:
        what()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def write(path):
    with open(path, "w") as file:
        file.write("x")
def listen(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as ear:
        if address is not None:
            if family == socket.AF_UNIX and os.path.exists(address):
                os.unlink(address)
            ear.bind(address)
        ear.listen()
def make(*kind):
    socket.socket(*kind).close()
said = {path: tried(lambda: write(path)) for path in sys.argv[2:]}
said["tcp"] = tried(lambda: listen(socket.AF_INET, ("127.0.0.1", 0)))
said["tcp, unbound"] = tried(lambda: listen(socket.AF_INET, None))
said["tcp6"] = tried(lambda: listen(socket.AF_INET6, ("::1", 0)))
said["unix"] = tried(lambda: listen(socket.AF_UNIX, "/var/lib/deskwatch/ear"))
said["bluetooth"] = tried(lambda: make(31, socket.SOCK_RAW, 0))
said["packet"] = tried(lambda: make(socket.AF_PACKET, socket.SOCK_RAW, 0))
said["out"] = tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close())
said["clock"] = tried(lambda: __import__("time").clock_settime(0, 1e9))
print(json.dumps(said))
"""
WITHIN = [f"{STATE}/file", "/tmp/file", "/run/deskwatch/file"]
BEYOND = ["/etc/deskwatch/unit.toml", "/etc/file", "/opt/file", "/usr/file", "/var/lib/file", "/run/file"]
BEYOND += ["/root/file", "/home/file", "/proc/sys/kernel/hostname", "/sys/fs/cgroup/file", "/dev/shm/../file"]
NO = {"EPERM", "EACCES", "EROFS"}


@pytest.mark.parametrize("unit", [UNIT, SAFE])
def test_the_sandbox_stops_a_write_beyond_its_folders_and_a_socket_that_listens(service, mosquitto, unit):
    mosquitto.start()
    (service.root / "probe.py").write_text(PROBE)
    probe = f"/opt/deskwatch/bin/python3 /probe.py {mosquitto.port} {' '.join(WITHIN + BEYOND)}"
    # "+", and it would run as root beyond the sandbox: the same must then be possible, or nothing is shown.
    for sign, name in (("", "inside"), ("+", "outside")):
        service.drop_in(
            unit,
            "more",
            "[Unit]\nOnFailure=\n[Service]\nType=oneshot\nRestart=no\nExecStart=\nWatchdogSec=0\n"
            f"ExecStart={sign}{probe}\nStandardOutput=truncate:/{name}\n",
        )
        service.reload()
        service.container.run("systemctl", "start", unit)
    inside, outside = (json.loads((service.root / name).read_text()) for name in ("inside", "outside"))
    assert {what: inside[what] for what in [*WITHIN, "out"]} == dict.fromkeys([*WITHIN, "out"], "done")
    assert {what: said for what, said in inside.items() if what in BEYOND and said not in NO} == {}
    listening = ["tcp", "tcp, unbound", "tcp6", "unix"]
    assert {what: inside[what] for what in listening} == dict.fromkeys(listening, "EPERM")
    assert {inside["bluetooth"], inside["packet"]} == {"EAFNOSUPPORT"}
    assert inside["clock"] == "EPERM"
    possible = {what for what in outside if outside[what] == "done"}
    assert {"/etc/file", "/opt/file", "/var/lib/file", "/run/file", "tcp", "unix"} <= possible
