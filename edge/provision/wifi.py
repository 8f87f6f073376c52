"""A Wi-Fi network as NetworkManager keeps it: a keyfile (man 5 nm-settings-keyfile).

Raspberry Pi OS has NetworkManager from Bookworm on; wpa_supplicant.conf is read by nobody there.
"""

import uuid
from pathlib import Path

FILE = "deskwatch.nmconnection"
FOLDER = Path("/etc/NetworkManager/system-connections")
_SPACE = uuid.UUID("5d1f6b52-6f0c-4c7f-8c8e-0a5bb8a1d0f4")


def keyfile(ssid: str, password: str | None, *, hidden: bool) -> str:
    """Return the file's text. The name goes in as bytes: no character of it has a meaning there."""
    lines = [
        "[connection]",
        "id=deskwatch",
        f"uuid={uuid.uuid5(_SPACE, ssid)}",
        "type=wifi",
        "autoconnect-priority=10",
        "",
        "[wifi]",
        "mode=infrastructure",
        f"ssid={''.join(f'{byte};' for byte in ssid.encode())}",
    ]
    if hidden:
        lines.append("hidden=true")
    if password is not None:
        lines += ["", "[wifi-security]", "key-mgmt=wpa-psk", f"psk={_escaped(password)}"]
    return "\n".join([*lines, "", "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""])


def _escaped(value: str) -> str:
    """Write a value as GLib's key files have it: backslashes doubled, and spaces at its begin spelt."""
    value = value.replace("\\", "\\\\")
    kept = value.lstrip(" ")
    return "\\s" * (len(value) - len(kept)) + kept
