"""The service as it ships cannot open a microphone: a real systemd and a real kernel are asked.

Only what the unit runs is exchanged, for a program that opens devices. Nodes are made for devices that need
not exist: where the sandbox lets it through the driver is asked, and says that it has none (ENXIO, ENODEV);
where it does not, the kernel says EPERM before anybody is asked.
"""

import re
from pathlib import Path

import pytest

from tests.systemd.service import SAFE, UNIT

SERVICE = Path(__file__).parents[2] / "systemd" / "deskwatch.service"
NODES = {
    "/dev/snd/pcmC0D0c": (116, 24),  # ALSA: the first card's first capture stream
    "/dev/snd/controlC0": (116, 0),
    "/dev/dsp": (14, 3),  # OSS
    "/dev/bus/usb/001/002": (189, 1),  # a USB sound card without its driver
    "/dev/video0": (81, 0),
}
CAMERA = "/dev/video0"
ASKED = {"ENXIO", "ENODEV", "ENOENT", "open"}
"""What is said where the driver was asked; "open" on a machine that has the device."""

PROBE = """
import errno, os, sys
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        print(path, "open")
    except OSError as error:
        print(path, errno.errorcode[error.errno])
"""
ONCE = """
[Unit]
OnFailure=
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
ExecStart=
ExecStart=/opt/deskwatch/bin/python3 /devices.py {paths}
StandardOutput=truncate:/devices
"""
FREE = "DevicePolicy=auto\nDeviceAllow=\n"


def settings():
    """The unit file's [Service] settings, in order."""
    text = SERVICE.read_text()
    return re.findall(r"^(\w+)=(.*)$", text[text.index("[Service]") : text.index("[Install]")], re.MULTILINE)


def test_only_what_cameras_and_pins_need_may_be_opened():
    given = settings()
    assert ("DevicePolicy", "closed") in given
    allowed = {value for name, value in given if name == "DeviceAllow"}
    classes = {f"char-{name} rw" for name in ("video4linux", "media", "dma_heap", "gpiochip")}
    assert allowed == classes | {"/dev/gpiomem rw"}
    families = next(value for name, value in given if name == "RestrictAddressFamilies")
    assert set(families.split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    assert ("ProtectHome", "yes") in given  # with it, /run/user and a user's sound server are out of reach
    assert ("NoNewPrivileges", "yes") in given
    assert {"LimitCORE": "0", "MemorySwapMax": "0"}.items() <= dict(given).items()


def make_nodes(service):
    for path, (major, minor) in NODES.items():
        make = f"mkdir -p {Path(path).parent}; test -e {path} || mknod {path} c {major} {minor}"
        service.container.run("sh", "-c", f"{make}; chmod 666 {path}")


def answers(service, unit, more=""):
    """Return what is said to who would open each node under a unit's sandbox."""
    service.drop_in(unit, "more", ONCE.format(paths=" ".join(NODES)) + more)
    service.reload()
    service.container.run("systemctl", "start", unit)
    said = dict(line.split() for line in (service.root / "devices").read_text().splitlines())
    assert set(said) == set(NODES)
    return said


def known(service):
    """Where this kernel does not know the class by its name, let systemd look it up by the node."""
    if re.search(r"^ *81 video4linux$", Path("/proc/devices").read_text(), re.MULTILINE):
        return ""
    return f"DeviceAllow={CAMERA} rw\n"


def test_the_service_can_open_a_camera_and_no_microphone(service):
    (service.root / "devices.py").write_text(PROBE)
    make_nodes(service)
    free = answers(service, UNIT, FREE)
    if set(free.values()) - ASKED:
        pytest.skip(f"what lies around this process forbids devices already: {free}")
    strict = answers(service, UNIT, known(service))
    assert strict[CAMERA] in ASKED
    assert {path: said for path, said in strict.items() if path != CAMERA} == dict.fromkeys(
        NODES.keys() - {CAMERA}, "EPERM"
    )
    # In safe mode there is no camera either.
    assert answers(service, SAFE) == dict.fromkeys(NODES, "EPERM")
