"""docs/install.md, typed as it stands: some of it on this machine, the rest on a booted Debian."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edge import __version__
from tests.certificates import Authority
from tests.package.conftest import HERE
from tests.package.test_package import wait
from tests.pages import blocks, commands, sections

PAGE, TECHNICIAN = sections("install.md"), sections("technician.md")
HOME = "/root"


class Desk:
    """A folder on the machine of whoever sets units up, which looks like a checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "edge").symlink_to(HERE / "edge")
        (folder / ".venv").symlink_to(sys.prefix)

    def type(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


def typed(section: str, *programs: str) -> list[list[str]]:
    """Return the commands of a section that begin with one of these programs."""
    found = [words for words in commands(PAGE[section]) if words[0] in programs]
    assert found, f"{section} has none of {programs}"
    return found


def at_unit(box, words: list[str], *, check: bool = True) -> str:
    return box.run("sh", "-c", f"cd {HOME} && {shlex.join(words)}", check=check, timeout_s=180)


def card(desk: Desk, brokers: Authority, port: int) -> str:
    """Return the page's deskwatch.toml, with this test's broker, and keys where the page has words."""
    [lines] = [block for block in blocks(PAGE["2. The card"]) if block[0] == "[unit]"]
    text = "\n".join(lines) + "\n"
    text = text.replace("broker.example.com", "127.0.0.1").replace("8883", str(port))
    text = re.sub(r"^\(the certificate .*\)$", brokers.pem.strip(), text, flags=re.MULTILINE)
    public = lambda found: (desk.folder / found[1]).read_text().strip()  # noqa: E731
    return re.sub(r"^\(what is in (.*)\)$", public, text, flags=re.MULTILINE)


def give_it_a_camera(box, photo: Path) -> None:
    """A photo, where a unit has a camera."""
    shutil.copy(photo, box.root / "srv/photo.png")
    settings = box.root / "etc/deskwatch/unit.toml"
    text = settings.read_text().replace('kind = "pi" ', 'kind = "replay" ')
    text = text.replace('# source = "/srv/clip.mp4"', 'source = "/srv/photo.png"')
    settings.write_text(text.replace("reconnect_spread_s = 30 ", "reconnect_spread_s = 0.2 "))


def test_the_page_leads_from_a_card_to_a_unit_that_runs(box, packages, mosquitto, phone_photo, tmp_path):
    desk, brokers = Desk(tmp_path / "desk"), Authority(tmp_path / "brokers", "brokers CA")
    first = "1. On your machine: the package, a key, a policy"
    for words in typed(first, ".venv/bin/deskwatch", "cp"):
        desk.type(words)
    authority, sign = typed(first, "openssl")
    desk.type(authority)

    firmware = box.root / "boot/firmware"
    firmware.mkdir(parents=True)
    (box.root / "etc/NetworkManager/system-connections").mkdir(parents=True)
    (firmware / "deskwatch.toml").write_text(card(desk, brokers, mosquitto.port))
    [install] = typed("3. At the unit", "dpkg")
    assert Path(install[-1]).name == f"deskwatch_{__version__}+deb12_arm64.deb"
    shutil.copy(packages[0], box.root / install[-1].lstrip("/"))

    server = brokers.issue("broker", host="127.0.0.1")
    files = f"cafile {desk.folder}/ca.pem\ncertfile {server.certificate}\nkeyfile {server.key}"
    mosquitto.start(listener=f"{files}\nrequire_certificate true\nuse_identity_as_username true")
    said = {}
    for words in typed("3. At the unit", "dpkg", "systemctl", "deskwatch"):
        if "deskwatch.service" in words:
            give_it_a_camera(box, phone_photo)
        said[" ".join(words[:3])] = at_unit(box, words, check=words[1] != "diagnose")
        if "--request" in words:
            shutil.copy(box.root / HOME[1:] / "unit.csr", desk.folder)
            desk.type(sign)
            for name in ("unit.pem", "ca.pem"):
                shutil.copy(desk.folder / name, box.root / HOME[1:])
    assert "good" in said["deskwatch provision --check"]
    assert "PLEASE READ THIS" in said["deskwatch notice"]
    wait(box, lambda: "opened phone" in box.journal("deskwatch.service"), "an event")

    # What a technician types besides. There is no light here, so that nobody could be asked for `aim`.
    for section in ("One line", "Send it in", "Repair"):
        for words in commands(TECHNICIAN[section]):
            at_unit(box, words, check=words[1] != "diagnose")
    assert "light" in at_unit(box, commands(TECHNICIAN["Line the camera up"])[0], check=False)

    # The policy goes by the operator's certificate here, for want of somebody to type a password.
    pair = box.root / "etc/deskwatch/identity/current"
    for words in typed("4. Its policy", ".venv/bin/deskwatch"):
        if "push" in words:
            at = [
                f"127.0.0.1:{mosquitto.port}" if word.startswith("broker.example") else word for word in words
            ]
            at = at[: at.index("--username")]
            at += ["--ca-file", brokers.file, "--cert", pair / "unit.pem", "--key-file", pair / "unit.key"]
            assert "confirmed" in desk.type(at)
    nothing_is_left(box)


def nothing_is_left(box):
    """Go back as the page says: nothing of it may be in an image."""
    for words in typed("Ten thousand", "systemctl", "deskwatch"):
        at_unit(box, words)
    [find] = typed("Ten thousand", "find")
    left = [line for line in at_unit(box, find, check=False).splitlines() if line.startswith("/")]
    assert left == []


def test_that_search_would_find_something(box, packages):
    """A unit that was set up, however little."""
    box.dpkg("--install", packages[0])
    (box.root / "etc/deskwatch/unit.toml").write_text(json.dumps({}))
    [find] = typed("Ten thousand", "find")
    assert "/etc/deskwatch/unit.toml" in at_unit(box, find, check=False)
