"""Which boot of the machine this is."""

from pathlib import Path


def boot_id() -> str:
    """Return the kernel's id of this boot, or "" where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
