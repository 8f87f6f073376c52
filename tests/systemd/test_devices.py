"""The service as it ships cannot open a microphone: a real systemd and a real kernel are asked.

A container boots with the unit file; only what it runs is exchanged, for a program that opens devices. Nodes
are made for devices that need not exist: where the sandbox lets it through the driver is asked, and says that
it has none (ENXIO, ENODEV); where it does not, the kernel says EPERM before anybody is asked.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
Requires=nodes.service
After=nodes.service
[Service]
ExecStart=
ExecStart=/usr/bin/python3 /probe.py {paths}
Type=oneshot
Restart=no
StandardOutput=file:/{name}.out
StandardError=file:/{name}.err
"""


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


def write_root(root, unit):
    """A root folder of little more than /usr, with the service twice: as it ships, and free of its policy."""
    units = root / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for folder in ("usr", "var/lib", "tmp", "run", "root", "opt", "proc", "sys", "dev"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    etc = root / "etc"
    (etc / "os-release").write_text("ID=test\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nvideo:x:44:\n")
    (etc / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\n")
    (root / "probe.py").write_text(PROBE)
    make = "; ".join(
        f"mkdir -p {Path(path).parent}; test -e {path} || mknod {path} c {major} {minor}; chmod 666 {path}"
        for path, (major, minor) in NODES.items()
    )
    quiet = "[Unit]\nDefaultDependencies=no\n"
    (units / "nodes.service").write_text(
        f"{quiet}[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{make}'\n"
    )
    for name, more in (("strict", ""), ("free", "DevicePolicy=auto\nDeviceAllow=\n")):
        (units / f"{name}.service").write_text(unit)
        (units / f"{name}.service.d").mkdir()
        once = ONCE.format(paths=" ".join(NODES), name=name)
        # One after the other: they share a state and a runtime folder.
        after = "" if name == "free" else "After=free.service\n"
        (units / f"{name}.service.d" / "once.conf").write_text(quiet + after + once + more)
    (units / "end.service").write_text(
        f"{quiet}Wants=strict.service free.service\nAfter=strict.service free.service\n"
        "[Service]\nType=oneshot\nExecStart=/bin/systemctl --force --force poweroff\n"
    )
    (units / "test.target").write_text(f"{quiet}Requires=end.service\n")


def boot(root):
    """Boot the folder until it powers itself off. Skips where that is not possible here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("to boot a container takes root")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("no systemd-nspawn here: apt install systemd-container")
    machine = f"deskwatch-test-{os.getpid()}"
    command = ["systemd-nspawn", f"--directory={root}", "--bind-ro=/usr", f"--machine={machine}"]
    # bpf: how systemd has the kernel enforce a DevicePolicy in the unified hierarchy.
    command += ["--register=no", "--keep-unit", "--capability=CAP_BPF", "--system-call-filter=bpf"]
    command += ["--boot", "--console=pipe", "--", "systemd.unit=test.target"]
    try:
        return subprocess.run(
            command,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("a container does not boot here within a minute")
    finally:
        with contextlib.suppress(OSError):
            Path("/run/systemd/nspawn/propagate", machine).rmdir()


def answers(root, name):
    try:
        said = dict(line.split() for line in (root / f"{name}.out").read_text().splitlines())
    except FileNotFoundError:
        return {}
    assert set(said) == set(NODES), (root / f"{name}.err").read_text()
    return said


def test_the_service_can_open_a_camera_and_no_microphone(tmp_path):
    unit = SERVICE.read_text()
    if not re.search(r"^ *81 video4linux$", Path("/proc/devices").read_text(), re.MULTILINE):
        # This kernel does not know the class by its name: let systemd look it up by the node.
        unit = unit.replace("char-video4linux", CAMERA)
    root = tmp_path / "root"
    write_root(root, unit)
    done = boot(root)
    free, strict = answers(root, "free"), answers(root, "strict")
    if not free:
        pytest.skip(f"a container does not boot here: {(done.stdout + done.stderr)[-300:]}")
    if set(free.values()) - ASKED:
        pytest.skip(f"what lies around this process forbids devices already: {free}")
    assert strict[CAMERA] in ASKED
    assert {path: said for path, said in strict.items() if path != CAMERA} == dict.fromkeys(
        NODES.keys() - {CAMERA}, "EPERM"
    )
