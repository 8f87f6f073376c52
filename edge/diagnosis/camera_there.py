"""Whether a camera is there, told without opening it: from files of the kernel, and who may use what."""

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable
from pathlib import Path

from edge.config import CameraTable, Config
from edge.diagnosis.check import Patient, Verdict, failed, passed

VIDEO = "sys/class/video4linux"
_SENSOR = re.compile(r"(?P<chip>[a-z0-9_]+) \d+-[0-9a-f]{4}")
"""How the kernel names what sits on an I2C bus (v4l2_i2c_subdev_set_name): driver, bus, address."""
_NOT_SENSORS = ("dw9", "ad5398", "ak73", "lm35", "bu64")
"""Chips of lenses and flashes, on the same bus."""


def _replay(_patient: Patient, table: CameraTable) -> Verdict:
    source = table.source
    if source is None or not os.access(source, os.R_OK):
        return failed("no-footage", f"nothing to read at {source}", "footage that is there")
    return passed("footage is there")


def _usb(patient: Patient, table: CameraTable) -> Verdict:
    node, limit = patient.root / table.device.lstrip("/"), "a camera that captures"
    try:
        found = node.stat()
    except OSError:
        others = sorted(each.name for each in (patient.root / "dev").glob("video*"))
        return failed("absent", f"no {table.device}; there is {', '.join(others[:8]) or 'none'}", limit)
    about = patient.root / VIDEO / Path(table.device).resolve().name
    if not stat.S_ISCHR(found.st_mode) or _line(about / "index") not in (None, "0"):
        return failed("not-a-camera", f"{table.device} gives no pictures", limit)
    assert patient.config is not None, "wanted a unit with settings"
    if not may_use(found, patient.config):
        return failed("not-permitted", f"{table.device} is not for the unit's user", limit)
    return passed(_line(about / "name") or table.device, limit)


def _pi(patient: Patient, table: CameraTable) -> Verdict:
    names = [_line(each / "name") or "" for each in (patient.root / VIDEO).glob("v4l-subdev*")]
    chips = [match["chip"] for name in sorted(names) if (match := _SENSOR.fullmatch(name)) is not None]
    sensors = [chip for chip in chips if not chip.startswith(_NOT_SENSORS)]
    limit = f"camera {table.device} on the ribbon cable"
    if int(table.device) >= len(sensors):
        return failed("no-sensor", f"the kernel found {len(sensors)}: {', '.join(sensors) or 'none'}", limit)
    return passed(sensors[int(table.device)], limit)


PRESENCE: dict[str, Callable[[Patient, CameraTable], Verdict]] = {"replay": _replay, "usb": _usb, "pi": _pi}


def may_use(node: os.stat_result, config: Config) -> bool:
    """Return whether the unit's user, who owns its state, may read and write a device; by whoever looks."""
    try:
        user = config.paths.state.stat().st_uid
        name = pwd.getpwuid(user).pw_name
        groups = os.getgrouplist(name, pwd.getpwuid(user).pw_gid)
        groups += [group.gr_gid for group in grp.getgrall() if name in group.gr_mem]
    except (OSError, KeyError):
        user, groups = os.geteuid(), [*os.getgroups(), os.getegid()]
    if user == 0:
        return True
    both = stat.S_IRUSR | stat.S_IWUSR
    shift = 0 if node.st_uid == user else 3 if node.st_gid in groups else 6
    return node.st_mode << shift & both == both


def _line(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return None
