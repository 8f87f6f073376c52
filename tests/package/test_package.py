"""The package on a booted Debian: installed with no network, upgraded, downgraded, removed, purged."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import time

from edge import __version__
from edge.vision.model_file import DEFAULT_CARD
from tests.broker import collect, subscribed, until
from tests.certificates import Authority
from tests.package.conftest import NEXT, build
from tests.provision.ca import OpensslCa

UNIT = "cam-7"
POLICY = {
    "schema": "policy/1",
    "version": 5,
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2036-01-01T00:00:00Z",
    "timezone": "UTC",
    "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "00:00", "end": "24:00"}],
    "watch": {"mode": "continuous"},
    "rules": [
        {
            "id": "phone",
            "kind": "object",
            "labels": ["cell phone"],
            "hold_s": 1,
            "release_s": 1,
            "cooldown_s": 0,
        }
    ],
}


def version(box):
    return box.run("deskwatch", "--version").split()[-1]


def turned_to(box):
    return str((box.root / "opt/deskwatch/current").readlink())


def wait(box, condition, what):
    """Wait for it; in vain, tell what the unit said."""
    try:
        until(condition, what, 45)
    except AssertionError as error:
        raise AssertionError(f"{error}: {box.journal('deskwatch.service')}") from error


def active(box):
    return box.run("systemctl", "is-active", "deskwatch.service", check=False).strip()


def identity(box):
    folder = box.root / "etc/deskwatch/identity"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_leaves_nothing_behind(box, packages):
    before = box.files()
    said = box.dpkg("--install", packages[0])
    assert "warning" not in said.lower(), said
    assert version(box) == __version__
    assert "good" in box.run("deskwatch", "model", "check", DEFAULT_CARD, timeout_s=60)
    assert box.dpkg("--verify", "deskwatch") == ""
    assert box.shows("deskwatch.service", "UnitFileState") == "enabled"
    assert active(box) == "inactive"  # nobody has set it up
    assert box.shows("deskwatch.service", "ConditionResult") == "no"
    assert not list((box.root / "opt/deskwatch").rglob("*.part"))
    box.dpkg("--remove", "deskwatch")
    assert not (box.root / "opt/deskwatch").exists()
    said = box.dpkg("--purge", "deskwatch")
    assert "warning" not in said.lower(), said
    after = box.files()
    assert {name: after.get(name) for name in before} == before
    assert sorted(set(after) - set(before)) == []


def test_a_unit_from_the_card_to_the_next_version_and_back(box, packages, mosquitto, phone_photo, tmp_path):
    this, following = packages
    box.dpkg("--install", this)
    ca, brokers = OpensslCa(tmp_path / "ca"), Authority(tmp_path / "brokers", "brokers CA")
    set_up(box, ca, brokers, mosquitto.port, phone_photo)
    assert "deskwatch" in box.run("ls", "-l", "/etc/deskwatch/identity/current/unit.key")

    # With the broker away it watches, and what it saw waits.
    box.run("systemctl", "start", "deskwatch.service", timeout_s=60)
    box.run("deskwatch", "notice", "--accept")
    wait(box, lambda: "opened phone" in box.journal("deskwatch.service"), "an event")
    kept, settings = identity(box), (box.root / "etc/deskwatch/unit.toml").read_text()

    said = box.dpkg("--install", following)
    assert "warning" not in said.lower(), said
    assert version(box) == NEXT
    assert active(box) == "active", box.journal("deskwatch.service")
    assert sorted(path.name for path in (box.root / "opt/deskwatch").iterdir()) == [NEXT, "bin", "current"]
    assert identity(box) == kept
    assert (box.root / "etc/deskwatch/unit.toml").read_text() == settings
    box.run("deskwatch", "provision", "--check")

    # The next version delivers what this one saw, as the same unit, by the same certificate.
    server = brokers.issue("broker", host="127.0.0.1")
    lines = [f"cafile {ca.file}", f"certfile {server.certificate}", f"keyfile {server.key}"]
    more = "require_certificate true\nuse_identity_as_username true"
    mosquitto.start(listener="\n".join([*lines, more]))
    reader = {name: tmp_path / "reader" / name for name in ("unit.key", "unit.pem")}
    events = received(mosquitto, box, brokers, reader)
    assert events[0]["data"]["seq"] == 1
    assert f"u'{UNIT}'" in mosquitto.said()

    box.dpkg("--install", this)
    assert version(box) == __version__
    assert active(box) == "active", box.journal("deskwatch.service")
    assert identity(box) == kept

    # What a version after this one made of the spool is refused in words, and stays as it is.
    box.run("systemctl", "stop", "deskwatch.service", timeout_s=90)
    spool = box.root / "var/lib/deskwatch/spool.db"
    with contextlib.closing(sqlite3.connect(spool)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    box.run(
        "chown", "deskwatch:", *(f"/var/lib/deskwatch/{path.name}" for path in spool.parent.glob("spool.db*"))
    )
    before = spool.read_bytes()
    box.run("systemctl", "start", "deskwatch.service", check=False, timeout_s=60)
    wait(box, lambda: "99" in box.journal("deskwatch.service"), "the refusal")
    assert "wanted" in box.journal("deskwatch.service") or "newer" in box.journal("deskwatch.service")
    box.run("systemctl", "stop", "deskwatch.service", "deskwatch-safe.service", check=False, timeout_s=90)
    assert spool.read_bytes() == before

    box.dpkg("--remove", "deskwatch")
    assert identity(box) == kept  # a removal keeps it
    # What the unit left elsewhere, and an import that was cut off.
    toml = box.root / "etc/deskwatch/unit.toml"
    toml.write_text(toml.read_text().replace("# textfile = ", "textfile = "))
    figures = box.root / "var/lib/prometheus/node-exporter/deskwatch.prom"
    figures.parent.mkdir(parents=True)
    part = box.root / "etc/NetworkManager/system-connections/.deskwatch.nmconnection.part"
    for file in (figures, part):
        file.touch()
    box.dpkg("--purge", "deskwatch")
    left = [name for name in box.files() if "deskwatch" in name]
    assert left == []


def test_a_crash_loop_ends_in_safe_mode_and_an_upgrade_leads_out_of_it(
    box, packages, mosquitto, phone_photo, tmp_path
):
    """One crash is a restart, several are safe mode; a break, and what waits, outlast all of it."""
    this, following = packages
    box.dpkg("--install", this)
    set_up(
        box, OpensslCa(tmp_path / "ca"), Authority(tmp_path / "brokers", "CA"), mosquitto.port, phone_photo
    )
    unit, safe = "deskwatch.service", "deskwatch-safe.service"
    box.run("systemctl", "start", unit, timeout_s=60)
    box.run("deskwatch", "notice", "--accept")
    wait(box, lambda: "opened phone" in box.journal(unit), "an event")
    box.run("deskwatch", "break", "--reason", "lunch")
    was = box.shows(unit, "MainPID")
    box.run("systemctl", "kill", "--signal=SEGV", unit)
    wait(box, lambda: box.shows(unit, "MainPID") not in ("0", was) and active(box) == "active", "a restart")
    assert "Started" not in box.journal(safe)  # one crash is no reason for it
    assert "29 min left" in box.run("deskwatch", "status")

    settings = box.root / "etc/deskwatch/unit.toml"
    good = settings.read_text()
    settings.write_text(good.replace('card = "desk-384x320-int8"', 'card = "nosuch"'))
    box.run("systemctl", "kill", "--signal=KILL", unit)
    wait(box, lambda: box.shows(safe, "ActiveState") == "active", "safe mode")
    assert box.journal(safe).count("Started") == 1
    assert box.shows("deskwatch-retry.timer", "ActiveState") == "active"
    said = box.run("deskwatch", "status", check=False)  # 1: it is in safe mode
    assert "29 min left" in said
    assert re.search(r"waiting +[1-9]", said), said
    assert "model.hash" in box.run("deskwatch", "diagnose", "--only", "model.hash", check=False)

    # Whoever mends it by another version need not know how a service is made to forget that it failed.
    settings.write_text(good)
    box.dpkg("--install", following)
    assert active(box) == "active", box.journal(unit)
    assert box.shows(safe, "ActiveState") != "active"
    assert "29 min left" in box.run("deskwatch", "status")
    box.dpkg("--install", this)
    assert active(box) == "active", box.journal(unit)
    assert "lunch" in box.run("deskwatch", "status")
    box.run("deskwatch", "resume")


def set_up(box, ca, brokers, port, photo):
    """Set a unit up as a technician does: a file on the card, a request, and the certificate."""
    etc = box.root / "etc/deskwatch"
    (etc / "policy.json").write_text(json.dumps(POLICY))
    shutil.copy(photo, box.root / "srv/photo.png")
    (box.root / "boot/firmware").mkdir()
    (box.root / "etc/NetworkManager/system-connections").mkdir(parents=True)
    card = box.root / "boot/firmware/deskwatch.toml"
    card.write_text(
        f'[unit]\ntenant = "acme"\nid = "{UNIT}"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        f"ca_pem = '''\n{brokers.pem}'''\n[wifi]\nssid = \"home\"\npassword = \"12345678\"\n"
    )
    box.run("systemctl", "start", "deskwatch-import.service", check=False)
    assert not card.exists(), box.journal("deskwatch-import.service")
    wifi = box.root / "etc/NetworkManager/system-connections/deskwatch.nmconnection"
    assert stat.S_IMODE(wifi.stat().st_mode) == 0o600
    box.run("systemctl", "start", "deskwatch.service")
    assert active(box) == "inactive"  # its certificate is awaited
    request = box.run("deskwatch", "provision", "--request")
    (box.root / "root/unit.pem").write_bytes(ca.sign(request.encode()))
    shutil.copy(ca.file, box.root / "root/ca.pem")
    box.run("deskwatch", "provision", "--certificate", "/root/unit.pem", "--ca", "/root/ca.pem")
    key = etc / "identity/current/unit.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    text = (etc / "unit.toml").read_text()
    text = text.replace('kind = "pi" ', 'kind = "replay" ').replace("# source =", "source =")
    text = text.replace('"/srv/clip.mp4"', '"/srv/photo.png"').replace(
        "reconnect_spread_s = 30 ", "reconnect_spread_s = 0.2 "
    )
    text = text.replace("reconnect_max_s = 120", "reconnect_max_s = 1")
    (etc / "unit.toml").write_text(text)


def received(mosquitto, box, brokers, reader):
    """Return the events that come to the broker, by seq; the unit's own pair opens the broker here too."""
    from edge.uplink.tls import Tls

    folder = next(iter(reader.values())).parent
    folder.mkdir()
    for name, path in reader.items():
        shutil.copy(box.root / "etc/deskwatch/identity/current" / name, path)
    tls = Tls(ca_pem=brokers.pem, certificate_file=reader["unit.pem"], key_file=reader["unit.key"])
    with subscribed(mosquitto, f"deskwatch/v1/acme/{UNIT}/event", tls=tls) as listener:
        got = collect(listener, lambda messages: len(messages) >= 1, 60)
    return sorted((json.loads(one.payload) for one in got), key=lambda event: event["data"]["seq"])


def test_cut_off_at_any_moment_of_an_upgrade_it_still_works(box, packages):
    """dpkg is killed, with all it started, at moments spread over the upgrade."""
    this, following = packages
    quick = "--force-unsafe-io"  # what is not killed need not be on the disk
    box.dpkg(quick, "--install", this)
    began_s = time.monotonic()
    box.dpkg("--install", following)
    whole_s = time.monotonic() - began_s
    seen, cuts = [], 6
    for cut in range(cuts):
        box.dpkg(quick, "--install", this)
        assert version(box) == __version__
        killed = kill_after(box, whole_s * (cut + 0.5) / cuts, "--install", box.bring(following))
        assert version(box) in (__version__, NEXT)
        assert "good" in box.run("deskwatch", "model", "check", DEFAULT_CARD, timeout_s=60)
        seen.append((killed, turned_to(box)))
        box.dpkg(quick, "--install", following)  # whoever comes back does it again
        assert version(box) == NEXT
        assert sorted(path.name for path in (box.root / "opt/deskwatch").iterdir()) == [
            NEXT,
            "bin",
            "current",
        ]
        assert box.dpkg("--verify", "deskwatch") == ""
    assert (True, ".kept") in seen, f"no cut came between: {seen}"


def kill_after(box, seconds, *words):
    """Run dpkg and kill it and its children so many seconds later; return whether it was still at work."""
    inside = ["nsenter", f"--target={box._leader}", "--mount", "--pid", "--root", "--wd=/"]
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    process = subprocess.Popen(
        [*inside, "env", "-i", path, "dpkg", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    return True


def test_an_upgrade_that_fails_leaves_the_old_version(box, packages):
    """The card is full: dpkg gives up, and all is as it was."""
    this, following = packages
    box.dpkg("--install", this)
    broken = box.root / "root/packages/broken.deb"
    shutil.copy(following, broken)
    with broken.open("r+b") as file:
        file.truncate(following.stat().st_size * 2 // 3)
    said = box.dpkg("--install", "/root/packages/broken.deb", check=False)
    assert "error" in said
    assert version(box) == __version__
    assert turned_to(box) == __version__
    assert "installed" in box.run("dpkg-query", "-W", "-f=${Status}", "deskwatch")
    assert sorted(path.name for path in (box.root / "opt/deskwatch").iterdir()) == [
        __version__,
        "bin",
        "current",
    ]


def test_the_same_source_gives_the_same_package(source, packages, tmp_path):
    again = build(source, tmp_path, "--wheels", packages[0].with_suffix(".wheels"))
    assert again.read_bytes() == packages[0].read_bytes()
