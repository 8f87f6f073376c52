"""`deskwatch log`: the worker reads what the unit wrote for them, and checks that it is whole."""

import argparse
import datetime as dt
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config, read_config
from edge.errors import EdgeError
from edge.logbook import figures, view
from edge.logbook.cards import Log
from edge.logbook.days import days_of
from edge.logbook.page import render
from edge.output import complain, put, write_file
from edge.worklog.entries import Began, Entry, Pruned, encode
from edge.worklog.reading import Verified, picture_bytes, read, verify

GOOD, FINDING = 0, 1
PAGE_ENTRIES = 20_000
"""A page is made of the newest: a unit has little memory, and so has a phone that opens it."""
_PRIVATE = 0o600


class NoLog(EdgeError):
    """The unit has written no log yet: start it (`deskwatch run`), or name its unit.toml with --config."""


class LogClosed(EdgeError):
    """You may not read the log: run the same with sudo, or as the user that the unit runs as."""


class NoUnitFile(EdgeError):
    """There is no unit.toml: run this at the unit, or name its unit.toml with --config."""


class LogUnreadable(EdgeError):
    """The disk does not give the log back: look at its health, and copy the unit's state folder."""


class NoFingerprint(EdgeError):
    """What stands behind --head names no entry: give at least the first 16 characters that were shown."""


def run(arguments: argparse.Namespace) -> int:
    """Show, check or save the log; return the exit code: 1 where it is not whole, or lacks the head."""
    digits = None if arguments.head is None else _digits("".join(arguments.head))
    config = _config(arguments.config)
    folder = config.paths.state / "log"
    _check_there(folder)
    now_at = dt.datetime.now(dt.UTC)
    verified = verify(folder, now_at=now_at)
    if arguments.json:
        for entry in _entries(folder):
            put(encode(entry)[0].decode())
        if verified.problem is not None:
            complain(f"{folder}: {verified.problem}")
        return GOOD if verified.problem is None else FINDING
    survey = view.survey(_entries(folder))
    if arguments.html is not None:
        page = _page(config, folder, verified, survey, now_at).encode()
        write_file(arguments.html, page, mode=_PRIVATE, owner=_owner())
        size = figures.size(len(page))
        put(f"{arguments.html}: written, for your eyes only ({size}). Open it in a browser.")
    elif not (arguments.verify or digits):
        _show(config, folder, survey)
    found = digits is None or _find(folder, digits, verified)
    verdict = view.verdict(verified, survey)
    put(f"{verdict.title}. {verdict.text}")
    put(view.head_line(verified))
    return GOOD if verdict.good and found else FINDING


def _config(path: Path) -> Config:
    """Return the unit's settings. Raises NoUnitFile, LogClosed, ConfigError."""
    try:
        path.stat()
        closed = not os.access(path, os.R_OK)
    except PermissionError:
        closed = True
    except (OSError, ValueError) as error:
        raise NoUnitFile(f"{path}: wanted the settings of a unit, got: {error}") from error
    if closed:
        raise LogClosed(f"{path}: wanted to read the unit's settings, got: Permission denied")
    return read_config(path)


def _entries(folder: Path) -> Iterator[Entry]:
    """Give every entry that reads. Raises LogUnreadable."""
    try:
        yield from read(folder)
    except OSError as error:
        raise LogUnreadable(f"{folder}: wanted to read the log, got: {error.strerror}") from error


def _check_there(folder: Path) -> None:
    """Raise NoLog or LogClosed where there is nothing that can be read."""
    try:
        next(folder.iterdir(), None)
    except PermissionError as error:
        raise LogClosed(f"{folder}: wanted to read the log, got: {error.strerror}") from error
    except OSError as error:
        raise NoLog(f"{folder}: wanted the folder of a log, got: {error.strerror}") from error


def _show(config: Config, folder: Path, survey: view.Survey) -> None:
    put(
        f"The log that unit {config.unit.id} keeps for you. What was sent went to {config.unit.tenant}."
        f" Times are those of {survey.zone_name}."
    )
    put("")
    for line in view.lines_of(_entries(folder), survey.zone, colour=_coloured()):
        put(line)
    put("")


def _page(config: Config, folder: Path, verified: Verified, survey: view.Survey, now_at: dt.datetime) -> str:
    count, newest = 0, deque[Entry](maxlen=PAGE_ENTRIES)
    for entry in _entries(folder):
        count += 1
        newest.append(entry)
    return render(
        Log(
            unit=config.unit.id,
            tenant=config.unit.tenant,
            made_at=now_at,
            zone=survey.zone,
            zone_name=survey.zone_name,
            verdict=view.verdict(verified, survey),
            head=verified.head,
            policy=survey.policy,
            days=days_of(newest, survey.zone, now_at),
            not_read=count - len(newest),
            show=lambda ref: picture_bytes(folder, ref, now_at),
        )
    )


def _digits(text: str) -> str:
    """Return a fingerprint, or its beginning, as it was written down. Raises NoFingerprint."""
    digits = "".join(text.split()).removesuffix("…").lower()
    if not re.fullmatch(r"[0-9a-f]{16,64}", digits):
        raise NoFingerprint(f"--head: wanted 16 to 64 of the characters 0-9 and a-f, got {text!r}")
    return digits


def _find(folder: Path, digits: str, verified: Verified) -> bool:
    """Say whether an entry whose fingerprint begins so is in the chain, or was and is noted as pruned."""
    said = next(filter(None, (_told(entry, digits, verified) for entry in _entries(folder))), None)
    put(
        said
        or f"Not in this log: {digits}. It was written down wrongly, or pruned since, or the log is another."
    )
    return said is not None


def _told(entry: Entry, digits: str, verified: Verified) -> str | None:
    """Return what an entry tells of the one with that fingerprint."""
    pruned = None
    match entry.note:
        case Pruned(to_seq=to_seq, last_sha256=sha256) if sha256.startswith(digits):
            pruned = to_seq
        case Began(before=sha256) if sha256.startswith(digits):
            return "That is the last fingerprint of the log before this one."
        case _ if entry.seq == verified.from_seq > 1 and entry.prev.startswith(digits):
            pruned = entry.seq - 1
    if pruned is not None:
        return f"That is the fingerprint of entry {pruned}, which was deleted since, to keep the log small."
    if not encode(entry)[1].startswith(digits):
        return None
    unchanged = "" if verified.problem else ": all that is left up to there is as it was then"
    return f"That is the fingerprint of entry {entry.seq}{unchanged}."


def _owner() -> tuple[int, int] | None:
    """Return for whom sudo runs this: the page is theirs, or they could not open it."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
        return int(user), int(group)
    return None


def _coloured() -> bool:
    """Tell whether lines may carry colour: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
