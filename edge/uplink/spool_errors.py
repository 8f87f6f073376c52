"""In which words a technician hears why the spool cannot be used."""

import errno
from pathlib import Path

from edge.uplink.records import SpoolCorrupt, SpoolError, SpoolFull, SpoolLocked, SpoolUnwritable

_FOLDER = "its folder must be writable by the user that runs the unit"
_DAMAGED = "what can be read of it is kept when the spool is recovered or opened anew"
_RECOVERY: dict[int, tuple[type[SpoolError], str]] = {
    1: (SpoolCorrupt, _DAMAGED),  # ERROR: no such table or column, in a file that had them
    3: (SpoolUnwritable, _FOLDER),  # PERM
    5: (SpoolLocked, "stop the other program that has it open"),  # BUSY
    8: (SpoolUnwritable, "mount its folder read-write, owned by the user that runs the unit"),  # READONLY
    10: (SpoolError, "check the disk or card, it failed to read or write"),  # IOERR
    11: (SpoolCorrupt, _DAMAGED),  # CORRUPT
    13: (SpoolFull, "free some space on its disk"),  # FULL
    14: (SpoolUnwritable, _FOLDER),  # CANTOPEN
    17: (SpoolCorrupt, _DAMAGED),  # SCHEMA
    18: (SpoolCorrupt, _DAMAGED),  # TOOBIG: a length that no message has
    19: (SpoolCorrupt, _DAMAGED),  # CONSTRAINT: a position or an id twice
    20: (SpoolCorrupt, _DAMAGED),  # MISMATCH
    24: (SpoolCorrupt, _DAMAGED),  # FORMAT
    26: (SpoolCorrupt, _DAMAGED),  # NOTADB
}
"""By primary result code: https://sqlite.org/rescode.html"""
_SHORT_READ = 10 | 2 << 8  # IOERR_SHORT_READ: the file ends in the middle of a page
_UNDECODABLE = "Could not decode to UTF-8"  # Python's own: SQLite gives no code for it


def of_sqlite(path: Path, error: Exception) -> SpoolError:
    """Say what an error of SQLite's means."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    undecodable = isinstance(error, UnicodeDecodeError) or str(error).startswith(_UNDECODABLE)
    if code == _SHORT_READ or undecodable:
        code = 11
    kind, hint = _RECOVERY.get(code & 0xFF, (SpoolError, "restart the unit"))
    return kind(f"{path}: {error}: {hint}")


def of_damage(path: Path, error: Exception) -> SpoolCorrupt:
    """Say what a row means that cannot have been written so."""
    return SpoolCorrupt(f"{path}: {error}: {_DAMAGED}")


def of_os(path: Path, error: OSError) -> SpoolError:
    """Say what an error of the file system's means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull(f"{path}: {error.strerror}: free some space on its disk")
    return SpoolUnwritable(f"{path}: {error.strerror} ({error.filename}): {_FOLDER}")
