"""`deskwatch log`: the worker reads what the unit wrote for them, and checks that it is whole."""

import argparse
import datetime as dt
import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.config import Config, read_config
from edge.errors import EdgeError
from edge.logbook import figures, view
from edge.logbook.cards import Log
from edge.logbook.days import days_of
from edge.logbook.gathering import Line, Part
from edge.logbook.page import render
from edge.logbook.survey import Survey, Verdict, server_words, survey, verdict
from edge.output import complain, for_whom, put, write_file
from edge.state_folder import LOG_FOLDER
from edge.worklog.entries import Began, Entry, Head, Pruned, encode
from edge.worklog.reading import Verified, picture_bytes, read, read_whole, set_aside, verify

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
    folder = config.paths.state / LOG_FOLDER
    _check_there(folder)
    now_at = dt.datetime.now(dt.UTC)
    verified = verify(folder, now_at=now_at)
    former = set_aside(folder)
    about = survey(_entries(folder), [(path, _entries(path)) for path in former])
    said = verdict(verified, about, folder)
    if arguments.json:
        return _json(folder, about, verified)
    if arguments.html is not None:
        page = _page(config, folder, about, said, verified.head, now_at).encode()
        write_file(arguments.html, page, mode=_PRIVATE, owner=for_whom())
        size = figures.size(len(page))
        put(f"{arguments.html}: written, for your eyes only ({size}). Open it in a browser.")
    elif not (arguments.verify or digits):
        _show(config, folder, about, said)
    found = digits is None or _find(folder, former, digits, verified)
    for line in view.verdict_lines(said):
        put(line)
    put(view.head_line(verified))
    return GOOD if said.good and found else FINDING


def _json(folder: Path, about: Survey, verified: Verified) -> int:
    for entry in _entries(folder):
        put(encode(entry)[0].decode())
    if verified.problem is not None:
        complain(f"{folder}: {verified.problem}")
    if about.anew:
        where = ", ".join(map(str, about.former)) or "nowhere any more"
        complain(f"{folder}: this is the log now alone; what was changed before it lies aside: {where}")
    return GOOD if verified.problem is None and not about.anew else FINDING


def _config(path: Path) -> Config:
    """Return the unit's settings. Raises NoUnitFile, ConfigError."""
    try:
        path.stat()
    except PermissionError:
        pass  # which is said where it is read
    except (OSError, ValueError) as error:
        raise NoUnitFile(f"{path}: wanted the settings of a unit, got: {error}") from error
    return read_config(path)


def _entries(folder: Path) -> Iterator[Entry]:
    """Give every entry that reads. Raises LogUnreadable."""
    try:
        yield from read(folder)
    except OSError as error:
        raise LogUnreadable(f"{folder}: wanted to read the log, got: {error.strerror}") from error


def _lines(folder: Path) -> Iterator[Line]:
    """Give every entry, and what does not read in its place. Raises LogUnreadable."""
    try:
        yield from read_whole(folder)
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


def _show(config: Config, folder: Path, about: Survey, said: Verdict) -> None:
    if not said.good:
        put(f"{said.title}. {said.text.partition('. ')[0]}. More of this, and what to do, stands at the end.")
        put("")
    servers = server_words(about, config.broker.host)
    put(
        f"The log that unit {config.unit.id} keeps for you. What was sent went to {config.unit.tenant},"
        f" {servers}. Times are those of {about.zone_name}."
    )
    for line in ("", *view.rules_lines(about, config.broker.host), ""):
        put(line)
    for path in about.former:
        put(f"From {path.name}, which was changed: what it says cannot be relied on.")
        for line in view.lines_of(_lines(path), about.zone, colour=_coloured(), current=False):
            put(line)
        put("")
    if about.former:
        put("From the log that is written now:")
    for line in view.lines_of(_lines(folder), about.zone, colour=_coloured()):
        put(line)
    put("")


def _page(config: Config, folder: Path, about: Survey, said: Verdict, head: Head, now_at: dt.datetime) -> str:
    lines, former, not_read = _newest(folder, about.former)
    folders = (folder, *about.former)  # a power cut may have left pictures where they were
    return render(
        Log(
            unit=config.unit.id,
            tenant=config.unit.tenant,
            server=config.broker.host,
            made_at=now_at,
            zone=about.zone,
            zone_name=about.zone_name,
            verdict=said,
            head=head,
            survey=about,
            days=days_of(lines, about.zone, now_at, former=former, anew=about.anew and not not_read),
            not_read=not_read,
            show=lambda ref: next(filter(None, (picture_bytes(one, ref, now_at) for one in folders)), None),
        )
    )


def _newest(folder: Path, former: Sequence[Path]) -> tuple[Sequence[Line], list[Part], int]:
    """Return the newest lines of the log, those of logs before it that still fit, and how many do not."""
    left, not_read = PAGE_ENTRIES, 0
    parts: list[Part] = []
    for path in (folder, *reversed(former)):
        count, newest = 0, deque[Line](maxlen=left)
        for line in _lines(path):
            count += 1
            newest.append(line)
        left -= len(newest)
        not_read += count - len(newest)
        parts.append(Part(path.name, newest))
    return tuple(parts[0].lines), parts[:0:-1], not_read


def _digits(text: str) -> str:
    """Return a fingerprint, or its beginning, as it was written down. Raises NoFingerprint."""
    digits = "".join(text.split()).removesuffix("…").lower()
    if not re.fullmatch(r"[0-9a-f]{16,64}", digits):
        raise NoFingerprint(f"--head: wanted 16 to 64 of the characters 0-9 and a-f, got {text!r}")
    return digits


def _find(folder: Path, former: Sequence[Path], digits: str, verified: Verified) -> bool:
    """Say whether an entry whose fingerprint begins so is in the chain, or was, or is in one set aside."""
    said = next(filter(None, (_told(entry, digits, verified) for entry in _entries(folder))), None)
    for path in former:
        for entry in _entries(path) if said is None else ():
            if encode(entry)[1].startswith(digits):
                said = f"That is the fingerprint of entry {entry.seq} of a log that was changed: {path}."
    if said is None and any(_before(entry, digits) for entry in _entries(folder)):
        said = "That is the last fingerprint that fits of the log before this one, which was changed."
    put(
        said
        or f"Not in this log: {digits}. It was written down wrongly, or pruned since, or the log is another."
    )
    return said is not None


def _before(entry: Entry, digits: str) -> bool:
    return isinstance(entry.note, Began) and entry.note.before.startswith(digits)


def _told(entry: Entry, digits: str, verified: Verified) -> str | None:
    """Return what an entry tells of the one with that fingerprint."""
    pruned = None
    match entry.note:
        case Pruned(to_seq=to_seq, last_sha256=sha256) if sha256.startswith(digits):
            pruned = to_seq
        case _ if entry.seq == verified.from_seq > 1 and entry.prev.startswith(digits):
            pruned = entry.seq - 1
    if pruned is not None:
        return f"That is the fingerprint of entry {pruned}, which was deleted since, to keep the log small."
    if not encode(entry)[1].startswith(digits):
        return None
    unchanged = "" if verified.problem else ": all that is left up to there is as it was then"
    return f"That is the fingerprint of entry {entry.seq}{unchanged}."


def _coloured() -> bool:
    """Tell whether lines may carry colour: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
