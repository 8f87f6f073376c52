"""The disk of the unit's state: room, rights, pace and wear."""

import errno
import os
import statistics
import tempfile
import time
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from edge.device.system import System, size_text, used_bytes
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned

FULL_BYTES = 8 << 20
"""What the spool's own journal and a hundred pictures take: with less, pictures give way to events."""
LOG_BYTES = 288 << 20
"""What the worker's log grows to, its pictures included."""
FILES_LEFT = 64
"""A log's segment, a picture and a note are a file each."""
SLOW_S = 0.5
"""A report holds up the next look for so long: noticeable at two looks a second."""
TOO_SLOW_S = 2.0
"""The camera stays open for as long as a report is written, and a break waits for it to close."""
_LOOKED_AT = 2000
_BYTES, _TIMES = 4096, 3
WORN_TENTHS, WORN_OUT_TENTHS = 9, 11
"""Above 80 % of the life that its maker promises; above all of it."""
_SPARE_LOW, _SPARE_GONE = 2, 3
_NO_CONFIG = "where the state lies stands in unit.toml, which cannot be used"


def probe_free(patient: Patient) -> Verdict:
    """Compare what is free with what the unit may still write."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    state = patient.config.paths.state
    disk = System(patient.root).disk(_there(state))
    value = f"{size_text(disk.free_bytes)} free of {size_text(disk.total_bytes)}"
    if disk.free_bytes < FULL_BYTES:
        return failed("full", value, f"at least {size_text(FULL_BYTES)}")
    if disk.files_free is not None and disk.files_free < FILES_LEFT:
        return failed("no-files", f"room for {disk.files_free} more files", f"at least {FILES_LEFT}")
    may_grow = max(0, patient.config.spool.max_bytes + LOG_BYTES - used_bytes(state))
    limit = f"at least {size_text(may_grow)}, which the unit may still fill"
    return warned("small", value, limit) if disk.free_bytes < may_grow else passed(value, limit)


def probe_writable(patient: Patient) -> Verdict:
    """Write a small file beside the unit's own, and take it away."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    state, limit = patient.config.paths.state, "a file can be written"
    try:
        _write(state)
    except OSError as error:
        return _unwritable(error, state, limit)
    if (stranger := _stranger(state)) is not None:  # root writes anywhere, and the unit is not root
        return failed("other-owner", f"{stranger} is another user's", "all of it the unit's user's")
    return passed("written, synced, removed", limit)


def _stranger(state: Path) -> str | None:
    """Return what in the state, or in a folder of it, is not its owner's."""
    owner = state.stat().st_uid
    with suppress(OSError):  # what comes and goes meanwhile, and what others may not see
        for path in islice(chain(state.iterdir(), state.glob("*/*")), _LOOKED_AT):
            with suppress(FileNotFoundError):
                if path.lstat().st_uid != owner:
                    return str(path.relative_to(state))
    return None


def _unwritable(error: OSError, state: Path, limit: str) -> Verdict:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return failed("missing", "its folder is not there", limit)
        case errno.EROFS:
            return failed("read-only", "its file system is read-only", limit)
        case errno.EACCES | errno.EPERM if _others(state):
            return skipped("its folder is another user's: run this with sudo")
        case errno.EACCES | errno.EPERM:
            return failed("no-rights", "its folder does not let its user write", limit)
        case errno.ENOSPC | errno.EDQUOT:
            return failed("no-room", "no room for a file of 4 KiB", limit)
        case _:
            return failed("broken", f"writing ends in: {error.strerror}", limit)


def probe_latency(patient: Patient) -> Verdict:
    """Measure a small write that is made to last, as each report is one."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    took_s: list[float] = []
    try:
        for _ in range(_TIMES):
            took_s.append(_write(patient.config.paths.state))
            if took_s[0] >= TOO_SLOW_S:
                break
    except OSError:
        return skipped("no file can be written: see disk.writable")
    median_s = statistics.median(took_s)
    value, limit = f"{median_s * 1000:.0f} ms", f"under {SLOW_S * 1000:.0f} ms"
    if median_s >= TOO_SLOW_S:
        return failed("stalls", value, limit)
    return warned("slow", value, limit) if median_s >= SLOW_S else passed(value, limit)


def probe_wear(patient: Patient) -> Verdict:
    """Ask the card how far it is used up."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    wear = System(patient.root).wear(_there(patient.config.paths.state))
    if wear is None:
        return skipped("the card does not tell, as most SD cards")
    used, spare, limit = wear.used_tenths or 0, wear.spare or 0, "under 80 % of its life"
    life = (
        "more than all of its life used"
        if used >= WORN_OUT_TENTHS
        else f"up to {used * 10} % of its life used"
    )
    reserve = {_SPARE_LOW: "80 % of its reserve used", _SPARE_GONE: "90 % of its reserve used"}.get(spare, "")
    value = ", ".join(part for part in (life if used else "", reserve) if part) or "its reserve is whole"
    if used >= WORN_OUT_TENTHS or spare >= _SPARE_GONE:
        return failed("worn-out", value, limit)
    return (
        warned("worn", value, limit) if used >= WORN_TENTHS or spare >= _SPARE_LOW else passed(value, limit)
    )


def _write(folder: Path) -> float:
    """Write, sync and remove a file; return the seconds that took. Where the disk can, it has no name."""
    began_s = time.monotonic()
    name = None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        descriptor, name = tempfile.mkstemp(".tmp", ".diagnose-", folder)
    try:
        os.write(descriptor, bytes(_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        if name is not None:
            Path(name).unlink(missing_ok=True)
    return time.monotonic() - began_s


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next((path for path in (folder, *folder.parents) if os.path.isdir(path)), Path("/"))  # noqa: PTH112  it raises nothing


def _others(folder: Path) -> bool:
    """Tell whether the folder is of another user than the one who runs this."""
    try:
        return folder.stat().st_uid != os.geteuid()
    except OSError:
        return True


CHECKS = (
    Check(
        "disk.free",
        probe_free,
        {
            "full": "Free space: see what is large with sudo du -xh / | sort -h | tail, remove what is not"
            " the unit's."
            " Nothing of the unit's own needs to go: it gives way by itself.",
            "no-files": "The disk has no room for more files. Find the folder with very many of them"
            " (sudo du -x --inodes / | sort -n | tail) and remove what is not the unit's.",
            "small": "The disk may become full: use a larger card, or make spool.max_bytes in unit.toml"
            " smaller.",
        },
    ),
    Check(
        "disk.writable",
        probe_writable,
        {
            "missing": "Start the unit once, which makes the folder; or correct paths.state in unit.toml.",
            "read-only": "The card failed, or was mounted read-only: restart the unit; if it is so again,"
            " replace the card.",
            "no-rights": "Give the folder back to the unit: sudo chown -R deskwatch: /var/lib/deskwatch"
            " (or what paths.state names).",
            "other-owner": "Something ran as another user and left it there; the unit may not write it:"
            " sudo chown -R deskwatch: /var/lib/deskwatch (or what paths.state names), then restart it.",
            "no-room": "Free space on the disk: see disk.free.",
            "broken": "The card does not take what is written: restart the unit; if it is so again,"
            " replace the card.",
        },
    ),
    Check(
        "disk.latency",
        probe_latency,
        {
            "slow": "Something else writes much, or the card is slow or failing: stop what else runs;"
            " if it stays, replace the card by one of class A1 or better.",
            "stalls": "The card stalls, as one does that is about to fail: replace it. What the unit has"
            " not sent"
            " yet is on it.",
        },
        timeout_s=20.0,
    ),
    Check(
        "disk.wear",
        probe_wear,
        {
            "worn": "The card nears its end: plan to replace it.",
            "worn-out": "The card is used up and may fail any day: replace it now.",
        },
    ),
)
