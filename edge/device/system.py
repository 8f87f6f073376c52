"""The machine's own figures, from /proc and /sys alone: what is not there is None, never a guess."""

import math
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

THROTTLED_FILE = Path("sys/devices/platform/soc/soc:firmware/get_throttled")
"""Raspberry Pi OS's kernel only. It shows what the kernel asked of the firmware last, every 2 seconds; and as
the kernel then clears the firmware's memory, "since boot" in it means since the time before. So whoever wants
to know of the whole boot looks at least that often, and remembers: `edge/health.py`."""
SINCE_BIT = 16
MEANINGS = (
    ("under-voltage", "the supply gives less than 4.63 V"),
    ("frequency capped", "the processor may not run at its full speed"),
    ("throttled", "the processor is slowed down"),
    ("soft temperature limit", "the processor is near the limit of its temperature"),
)
"""By bit: what it is called, and what it means. Bit + 16: the same, since boot."""
_KIB = 1024
_MILLI = 1000.0
_NO_SIGNAL_DBM = -200
"""Drivers that are not connected show -256."""
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})\Z")


@dataclass(frozen=True, slots=True)
class Throttled:
    """The firmware's bits: 0 to 3 as it is now, 16 to 19 as it was at some time."""

    bits: int

    @property
    def now(self) -> tuple[str, ...]:
        """What holds now, by name."""
        return _named(self.bits)

    @property
    def since_boot(self) -> tuple[str, ...]:
        """What held now or before, by name."""
        return _named(self.bits >> SINCE_BIT | self.bits)

    def with_past(self, past: "Throttled") -> "Throttled":
        """Return these bits, with what held in `past` as something that held before."""
        was = (past.bits | past.bits >> SINCE_BIT | self.bits) & 0xF
        return Throttled(self.bits | was << SINCE_BIT)


def _named(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, (name, _) in enumerate(MEANINGS) if bits >> bit & 1)


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the whole machine."""

    total_bytes: int
    available_bytes: int
    """What may be had before something has to go."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that a folder lies on."""

    total_bytes: int
    free_bytes: int
    """For who is not root."""
    files_free: int | None
    """How many more files fit; None where the file system sets no bound."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class Wear:
    """What a card of the MMC family says of itself; SD cards say nothing, as a rule."""

    device: str
    used_tenths: int | None
    """1: up to a tenth of its life is used; 10: all but used; 11: more than it was made for."""
    spare: int | None
    """Its reserve blocks. 1: normal, 2: 80 % are used, 3: 90 % are used."""


@dataclass(frozen=True, slots=True)
class Wifi:
    """How one radio hears its access point."""

    interface: str
    signal_dbm: int | None
    """None: it is not connected."""


@dataclass(frozen=True, slots=True)
class System:
    """Reads anew at each call; cheap enough for once a second."""

    root: Path = Path("/")
    """Below it lie /proc and /sys."""

    def temperature_c(self) -> float | None:
        """Return the hottest of the processor's sensors."""
        zones = self._below("sys/class/thermal", "thermal_zone*/temp")
        found = [value / _MILLI for path in zones if (value := _number(path)) is not None]
        return max((value for value in found if -55.0 <= value <= 200.0), default=None)

    def throttled(self) -> Throttled | None:
        """Return the firmware's bits; None where there is no such firmware, or its kernel does not tell."""
        text = _text(self.root / THROTTLED_FILE)
        found = _HEX.match(text or "")
        return None if found is None else Throttled(int(found[1], 16))

    def under_voltage(self) -> bool | None:
        """Return whether the supply is too low, as of the last two seconds."""
        for name in self._below("sys/class/hwmon", "hwmon*/name"):
            if (
                _text(name) == "rpi_volt"
                and (value := _number(name.with_name("in0_lcrit_alarm"))) is not None
            ):
                return value != 0
        bits = self.throttled()
        return None if bits is None else bool(bits.bits & 1)

    def memory(self) -> Memory | None:
        """Return what memory there is."""
        found = {}
        for line in (_text(self.root / "proc/meminfo") or "").splitlines():
            name, _, rest = line.partition(":")
            value = rest.removesuffix("kB").strip()
            if value.isdecimal():
                found[name] = int(value) * _KIB
        if "MemTotal" not in found or "MemAvailable" not in found:
            return None
        return Memory(found["MemTotal"], found["MemAvailable"])

    def disk(self, folder: Path) -> Disk:
        """Return how full the file system below `folder` is. Raises OSError."""
        at = os.statvfs(folder)
        total_bytes, free_bytes = at.f_blocks * at.f_frsize, at.f_bavail * at.f_frsize
        read_only = bool(at.f_flag & os.ST_RDONLY)
        return Disk(total_bytes, free_bytes, at.f_favail if at.f_files else None, read_only)

    def wear(self, folder: Path) -> Wear | None:
        """Return how far the card below `folder` is used up; None where nothing tells."""
        device = self._card_of(folder)
        if device is None:
            return None
        lives = [int(part, 16) for part in (_text(device / "life_time") or "").split() if _HEX.match(part)]
        used = [life for life in lives if 1 <= life <= 11]  # 0: not defined
        spare = _text(device / "pre_eol_info")
        spare_level = int(spare, 16) if spare and _HEX.match(spare) else 0
        if not used and not 1 <= spare_level <= 3:
            return None
        name = device.parent.name
        return Wear(name, max(used, default=None), spare_level if 1 <= spare_level <= 3 else None)

    def _card_of(self, folder: Path) -> Path | None:
        """Return the `device` folder in /sys of the card that `folder` lies on, or of the only card."""
        number = folder.stat().st_dev
        block = self.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
        with suppress(OSError):
            disk = block.resolve(strict=True)
            for path in (disk, disk.parent):  # of a partition the disk is the parent
                if (path / "device").is_dir():
                    return path / "device" if path.name.startswith("mmcblk") else None
        cards = [path / "device" for path in self._below("sys/block", "mmcblk*") if "boot" not in path.name]
        return cards[0] if len(cards) == 1 else None

    def wifi(self) -> Wifi | None:
        """Return how the radio with the best signal hears; None where there is no radio."""
        heard = dict(self._heard())
        radios = {path.parent.name for path in self._below("sys/class/net", "*/wireless")} | set(heard)
        if not radios:
            return None
        best = max(radios, key=lambda name: (heard.get(name) is not None, heard.get(name) or 0, name))
        return Wifi(best, heard.get(best))

    def _heard(self) -> Iterable[tuple[str, int | None]]:
        for line in (_text(self.root / "proc/net/wireless") or "").splitlines()[2:]:
            name, _, rest = line.partition(":")
            parts = rest.split()
            if len(parts) >= 3:
                level = _float(parts[2].removesuffix("."))
                there = level is not None and _NO_SIGNAL_DBM < level < 0
                yield name.strip(), int(level) if there and level is not None else None

    def cable(self) -> str | None:
        """Return the name of a network interface, no radio, that has a carrier."""
        for path in self._below("sys/class/net", "*/carrier"):
            device = path.parent
            real = device.name != "lo" and (device / "device").exists()
            if real and not (device / "wireless").exists() and _text(path) == "1":
                return device.name
        return None

    def _below(self, folder: str, pattern: str) -> list[Path]:
        with suppress(OSError):
            return sorted((self.root / folder).glob(pattern))
        return []


def used_bytes(folder: Path) -> int:
    """Return what lies in a folder, as far as it may be read."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(path) / name).lstat().st_blocks * 512
    return total


def size_text(size_bytes: float) -> str:
    """Return a size as people read it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode("ascii", "replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    return _float(_text(path) or "")


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
