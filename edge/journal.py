"""Log lines as the journal takes them: with their priority, so that `journalctl -p err` finds errors."""

import logging
import os
import sys
from collections.abc import Mapping

_ERR, _WARNING, _INFO, _DEBUG = 3, 4, 6, 7
"""Of sd-daemon(3)."""


class JournalFormatter(logging.Formatter):
    """Begins each line with `<3>` and the like: of a traceback, a line alone would be information."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        mark = f"<{_priority(record.levelno)}>"
        return "\n".join(f"{mark}{line}" for line in super().format(record).splitlines() or [""])


def to_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether standard error leads to the journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _priority(level: int) -> int:
    for least, priority in ((logging.ERROR, _ERR), (logging.WARNING, _WARNING), (logging.INFO, _INFO)):
        if level >= least:
            return priority
    return _DEBUG
