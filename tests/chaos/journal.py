"""What really happened, written by the one who did it: a line an act, that no SIGKILL can take back.

A `write` that returned is in the kernel, whatever becomes of the process, so no fsync is needed: no fault
takes this machine down. The journals lie on the machine's own disk, not on the one that is filled and cut.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines; several processes in turn may write to the same file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, act: str, **facts: Any) -> None:
        """Write one line, at once and in one piece."""
        line = json.dumps({"act": act, **facts}).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            raise OSError(f"journal: wrote {written} of {len(line)} bytes")

    def close(self) -> None:
        os.close(self._descriptor)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Give every line; a last one that was cut short was never whole, so it is none."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
