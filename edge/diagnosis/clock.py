"""The clock: a wrong one makes good certificates fail, commands expire and breaks end at the wrong time."""

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge.border import read_bounded
from edge.device.clock_quality import clock_is_synchronised, read_kernel_clock
from edge.device.time_server import NoTime, ask, servers
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.policy.document import PolicyError, read_policy
from edge.state_folder import LOG_FOLDER
from edge.uplink.wire import InvalidMessage, moment
from edge.worklog.entries import parse
from edge.worklog.errors import BrokenEntry
from edge.worklog.segments import listed, name_of

RELEASED_AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
"""This firmware was not there before; to be raised with each release."""
ABSURD_AT = RELEASED_AT.replace(year=RELEASED_AT.year + 20)
"""No unit runs the same firmware for so long."""
SLACK = dt.timedelta(minutes=5)
"""A clock that is put right steps back a little: what it wrote just before is no proof against it."""
OFF_S = 2.0
"""A clock that a time server keeps is right to less."""
WRONG_S = 60.0
"""Commands live for a minute or so, and at five minutes the workstation's beats are refused."""
"""Below the state, as the unit makes it."""
_ASK_S = 1.5
_SERVERS = 2
_SEGMENTS = 2
_SEGMENT_MAX_BYTES = 8 << 20


def probe_plausible(patient: Patient) -> Verdict:
    """Hold the clock against all that must be earlier than now."""
    now_at = patient.clock.now_at()
    value, limit = _shown(now_at), f"after {_shown(RELEASED_AT)}, when this firmware was made"
    if now_at < RELEASED_AT:
        return failed("before-firmware", value, limit)
    if now_at >= ABSURD_AT:
        return failed("far-ahead", value, f"before {_shown(ABSURD_AT)}")
    newest = max(_kept(patient), default=None)
    if newest is None or newest[0] <= now_at + SLACK:
        return passed(value, limit)
    limit = f"after {_shown(newest[0])}, the time of {newest[1]}"
    if clock_is_synchronised(patient.root / "run"):
        return warned("kept-ahead", value, limit)
    return failed("behind", value, limit)


def probe_synchronised(patient: Patient) -> Verdict:
    """Ask the kernel whether anybody set its clock; inside the service, which may not ask, go by the mark."""
    if not clock_is_synchronised(patient.root / "run"):
        return warned("unsynchronised", "no time server has set it", "set by a time server")
    return passed("set by a time server", "set by a time server")


def probe_offset(patient: Patient) -> Verdict:
    """Ask the machine's own time servers, else the kernel, by how much the clock is wrong."""
    limit = f"within {OFF_S:g} s"
    if not patient.offline and (offset_s := _asked(patient)) is not None:
        value = f"{abs(offset_s):,.3f} s {'behind' if offset_s > 0 else 'ahead of'} the time server"
        if abs(offset_s) >= WRONG_S:
            return failed("wrong", value, limit)
        return warned("off", value, limit) if abs(offset_s) >= OFF_S else passed(value, limit)
    kernel = read_kernel_clock()
    if kernel is None and patient.inside:
        return skipped("the sandbox does not let it ask the kernel: run deskwatch diagnose at the unit")
    if kernel is None or not kernel.synchronised:
        why = "nothing is sent" if patient.offline else "no time server answers"
        return skipped(f"the clock is not set, and {why}")
    error_s = abs(kernel.offset_s) + kernel.max_error_s
    value = f"within {error_s:.3f} s, as the kernel knows"
    return warned("uncertain", value, limit) if error_s >= OFF_S else passed(value, limit)


def _asked(patient: Patient) -> float | None:
    """Return what the clock lacks, by the first time server that answers."""
    for server in servers(patient.root)[:_SERVERS]:
        with suppress(NoTime):
            now_s = lambda: patient.clock.now_at().timestamp()  # noqa: E731
            return ask(server, now_s, RELEASED_AT.timestamp(), _ASK_S).offset_s
    return None


def _kept(patient: Patient) -> Iterator[tuple[dt.datetime, str]]:
    """Give the times of what is on the disk: all of it was written before now."""
    if patient.config is None:
        return
    state = patient.config.paths.state
    for folder in (state, state / LOG_FOLDER):
        with suppress(OSError, ValueError, OverflowError):
            times_s = [path.stat().st_mtime for path in folder.iterdir() if path.is_file()]
            if times_s:
                yield dt.datetime.fromtimestamp(max(times_s), dt.UTC), "the newest file of the unit"
    with suppress(OSError):
        if (entry_at := max(_entries(state / LOG_FOLDER), default=None)) is not None:
            yield entry_at, "an entry of the worker's log"
    with suppress(OSError, PolicyError):
        yield read_policy(patient.config.paths.policy).issued_at, "the policy's issued_at"


def _entries(folder: Path) -> Iterator[dt.datetime]:
    """Give the times of the last entries: a clock that is wrong now wrote the newest itself."""
    for first_seq in listed(folder)[-_SEGMENTS:]:
        for line in read_bounded(folder / name_of(first_seq), _SEGMENT_MAX_BYTES).splitlines():
            with suppress(BrokenEntry, InvalidMessage):
                yield moment(parse(line)[0].at)


def _shown(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


_SET = "timedatectl tells; set it by hand with sudo timedatectl set-time"

CHECKS = (
    Check(
        "clock.plausible",
        probe_plausible,
        {
            "before-firmware": "The clock is wrong, so certificates seem not yet valid. Connect the unit"
            " to a network that"
            f" lets it reach a time server (UDP port 123), wait a minute, and run this again; {_SET}.",
            "behind": "The clock stands before things that the unit has kept already. Connect the unit to"
            " a network that"
            f" lets it reach a time server (UDP port 123), and run this again; {_SET}.",
            "far-ahead": "The clock is years ahead, so certificates seem expired. Connect the unit to a"
            " network that"
            f" lets it reach a time server (UDP port 123), and run this again; {_SET}.",
            "kept-ahead": "The clock is right, and was ahead once: what the unit kept then bears later times."
            " Nothing needs to be done.",
        },
    ),
    Check(
        "clock.synchronised",
        probe_synchronised,
        {
            "unsynchronised": "Let the unit reach a time server: UDP port 123 must be open, and"
            " timedatectl must say"
            " NTP service: active (else sudo timedatectl set-ntp true).",
        },
    ),
    Check(
        "clock.offset",
        probe_offset,
        {
            "wrong": "The clock is wrong although a time server answers: sudo timedatectl set-ntp true, then"
            " sudo systemctl restart systemd-timesyncd (or chrony), and run this again.",
            "off": "The clock is not quite right: wait ten minutes and run this again. If it stays:"
            " sudo systemctl restart systemd-timesyncd (or chrony).",
            "uncertain": "No time server has answered for long: check that UDP port 123 is open from the"
            " unit's network.",
        },
        timeout_s=8.0,
    ),
)
