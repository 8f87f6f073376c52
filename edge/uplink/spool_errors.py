"""In which words a technician hears why the spool cannot be used."""

import errno
from pathlib import Path

from edge.uplink.records import SpoolCorrupt, SpoolError, SpoolFull, SpoolLocked, SpoolUnwritable

_FOLDER = "its folder must be writable by the user that runs the unit"
_LOST = "move it away and start again; what it held is lost"
_RECOVERY: dict[int, tuple[type[SpoolError], str]] = {
    3: (SpoolUnwritable, _FOLDER),  # PERM
    5: (SpoolLocked, "stop the other program that has it open"),  # BUSY
    8: (SpoolUnwritable, "mount its folder read-write, owned by the user that runs the unit"),  # READONLY
    10: (SpoolError, "check the disk or card, it failed to read or write"),  # IOERR
    11: (SpoolCorrupt, _LOST),  # CORRUPT
    13: (SpoolFull, "free some space on its disk"),  # FULL
    14: (SpoolUnwritable, _FOLDER),  # CANTOPEN
    26: (SpoolCorrupt, _LOST),  # NOTADB
}
"""By primary result code: https://sqlite.org/rescode.html"""


def of_sqlite(path: Path, error: Exception) -> SpoolError:
    """Say what an error of SQLite's means."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    kind, hint = _RECOVERY.get(code & 0xFF, (SpoolError, "restart the unit"))
    return kind(f"{path}: {error}: {hint}")


def of_os(path: Path, error: OSError) -> SpoolError:
    """Say what an error of the file system's means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull(f"{path}: {error.strerror}: free some space on its disk")
    return SpoolUnwritable(f"{path}: {error.strerror} ({error.filename}): {_FOLDER}")
