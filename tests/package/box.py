"""A small Debian that has booted, and what is in its files."""

import hashlib
import re
import shutil
import stat
from pathlib import Path

from tests.systemd.container import Container

_PASSING = re.compile(
    r"^(run|proc|sys|dev|tmp|var/(cache|log|tmp|lib/(dpkg|apt))|root/packages)(/|$)"
    r"|^etc/((passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock|machine-id|resolv\.conf|hostname)$"
    r"|^var/lib/(systemd/(random-seed|catalog|timers|coredump|linger|rfkill|pstore|ephemeral-trees)|private)"
    r"|__pycache__"
)
"""What a boot, or dpkg itself, leaves behind with any package; the second copies that passwd's tools keep."""


class Box(Container):
    """A Debian of its own, its /usr too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, {})
        self._binds = {}
        (root / "root" / "packages").mkdir()

    def run(self, *command: str, check: bool = True, timeout_s: float = 30.0) -> str:
        """Run a command in it, as root, in its root folder; return its output."""
        return super().run("env", "--chdir=/", *command, check=check, timeout_s=timeout_s)

    def dpkg(self, *words: str | Path, check: bool = True) -> str:
        """Run dpkg with no network at all; packages are brought in."""
        inside = [self.bring(word) if isinstance(word, Path) else word for word in words]
        return self.run("unshare", "--net", "dpkg", *inside, check=check, timeout_s=180)

    def bring(self, package: Path) -> str:
        there = self.root / "root" / "packages" / package.name
        if not there.exists():
            shutil.copy(package, there)
        return f"/root/packages/{package.name}"

    def files(self) -> dict[str, str]:
        """Return what is in the root, less what passes: of files in /etc the content, of others the kind."""
        found = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if _PASSING.search(name):
                continue
            status = path.lstat()
            found[name] = stat.filemode(status.st_mode)
            if stat.S_ISREG(status.st_mode) and name.startswith("etc/"):
                found[name] += hashlib.sha256(path.read_bytes()).hexdigest()
        return found
