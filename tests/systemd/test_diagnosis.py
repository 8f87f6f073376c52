"""`deskwatch diagnose` beside the service as it ships: who asks, what runs, what the sandbox lets through."""

import json
import subprocess

import pytest

from edge.uplink.messages import OpenedEvent
from tests.broker import collect, subscribed, until
from tests.daemon import COMMAND
from tests.systemd.service import SAFE, SETTINGS, SOMEBODY, UNIT
from tests.test_unit import events_of

ROOT = ["env", "LD_LIBRARY_PATH=/opt/python/lib"]
WHO = {"root": ROOT, "one of the group": SOMEBODY}
TEXTFILE = "/var/lib/prometheus/node-exporter/deskwatch.prom"


def diagnose(service, who, *words):
    """Return the results by name, in their order; nothing could not be run."""
    command = ["/opt/deskwatch/bin/deskwatch", "diagnose", "--json", "--config", SETTINGS, *words]
    said = service.container.run(*WHO[who], *command, check=False, timeout_s=110)
    line = next((line for line in said.splitlines() if line.startswith("{")), "")
    assert line, said
    results = {one["name"]: one for one in json.loads(line)["results"]}
    assert [one for one in results.values() if one["code"] == "could-not-run"] == []
    return results


def failing(results):
    return [(one["name"], one["code"]) for one in results.values() if one["status"] == "fail"]


def watching(service, mosquitto):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        service.start()
        service.accept_notice()
        collect(listener, lambda got: any(isinstance(e, OpenedEvent) for e in events_of(got)), 60)


@pytest.mark.parametrize("who", WHO)
def test_of_a_unit_at_work_nothing_fails(service, mosquitto, who):
    watching(service, mosquitto)
    results = diagnose(service, who)
    assert failing(results) == []
    passes = {name for name, one in results.items() if one["status"] == "pass"}
    # Without D-Bus, which is not in this container, the service manager speaks to root alone.
    asked = {"service.restarts", "service.watchdog"} if who == "root" else set()
    if results["service.watchdog"]["code"] == "bitten":  # by another test of this boot, which had it hang
        asked -= {"service.watchdog"}
    assert {"config.readable", "service.running", *asked} <= passes
    assert {"broker.dns", "broker.tcp", "broker.publish", "spool.integrity", "policy.phase"} <= passes
    assert service.is_active(UNIT)  # and looking did it no harm
    assert service.container.shows(UNIT, "NRestarts") == "0"


@pytest.mark.parametrize("who", WHO)
def test_of_a_unit_that_was_stopped_it_says_so_and_starts_nothing(service, mosquitto, who):
    watching(service, mosquitto)
    service.stop()
    results = diagnose(service, who)
    assert results["clock.synchronised"]["status"] in {"pass", "warn"}  # beyond the sandbox the kernel tells
    assert failing(results)[0] == ("service.running", "not-running")
    assert service.container.shows(UNIT, "ActiveState") == "inactive"
    if who == "root":
        # What root leaves in the state folder would be in the service's way.
        owners = service.container.run("find", "/var/lib/deskwatch", "!", "-user", "deskwatch")
        assert owners == ""
        service.start()


@pytest.mark.parametrize("who", WHO)
def test_in_safe_mode_the_first_line_that_fails_is_why(service, mosquitto, who):
    watching(service, mosquitto)
    service.model.write_bytes(b"no model")
    service.container.run("systemctl", "kill", "--signal=KILL", UNIT)
    until(lambda: service.is_active(SAFE), "safe mode", 60)
    until(lambda: "no unit runs" not in service.ask("notice", check=False), "its control socket", 30)
    found = failing(diagnose(service, who))
    assert found[0][0] == "model.hash", found
    assert ("service.running", "safe-mode") in found
    assert service.is_active(SAFE)


def test_asked_over_mqtt_the_unit_looks_within_its_sandbox(service, mosquitto):
    watching(service, mosquitto)
    words = ["operator", "command", "diagnose", "--unit", "cam-1", "--tenant", "acme", "--json"]
    words += ["--broker", f"127.0.0.1:{mosquitto.port}", "--no-tls", "--timeout", "100"]
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=110, check=False)
    reply = json.loads(done.stdout)
    checks = {one["name"]: one for one in reply["result"]["checks"]}
    print(*(f"{one['name']}: {one['status']}: {one['value']}" for one in checks.values()), sep="\n")
    assert [one for one in checks.values() if one["code"] == "could-not-run"] == []
    assert failing(checks) == []
    assert checks["service.running"]["status"] == "pass"
    assert checks["disk.writable"]["status"] == "pass"
    assert not any(one["code"] == "too-slow" for one in checks.values())


def test_its_figures_are_written_for_a_node_exporter_where_a_drop_in_lets_it(service, mosquitto):
    folder = TEXTFILE.rpartition("/")[0]
    service.container.run("install", "-d", "-o", "deskwatch", folder)
    service.drop_in(UNIT, "more", f"[Service]\nReadWritePaths={folder}\n")
    settings = service.root / SETTINGS.removeprefix("/")
    settings.write_text(f'{settings.read_text()}\n[health]\ntextfile = "{TEXTFILE}"\n')
    service.reload()
    watching(service, mosquitto)
    file = service.root / TEXTFILE.removeprefix("/")
    until(file.exists, "the text file", 90)
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert all(line.startswith("deskwatch_") and len(line.rsplit(" ", 1)) == 2 for line in lines)
    assert file.stat().st_mode & 0o044 == 0o044  # the exporter is somebody else


def test_without_the_drop_in_it_says_so_and_watches_on(service, mosquitto):
    service.container.run("rm", "-rf", TEXTFILE)
    settings = service.root / SETTINGS.removeprefix("/")
    settings.write_text(f'{settings.read_text()}\n[health]\ntextfile = "{TEXTFILE}"\n')
    watching(service, mosquitto)
    service.said_by(UNIT, "health.textfile", 90)
    assert service.is_active(UNIT)
    assert not (service.root / TEXTFILE.removeprefix("/")).exists()
