"""`deskwatch status`: what a unit does and why, on one screen; of one that is down, what its disk tells."""

import argparse
import datetime as dt
import shutil
import textwrap
from collections.abc import Iterator

import msgspec

from edge.diagnosis.check import Patient
from edge.diagnosis.patient import STATE, admit
from edge.logbook import figures, view
from edge.logbook.words import camera_note
from edge.output import coloured, put
from edge.state_folder import LOG_FOLDER
from edge.status.rows import Known, ago, rows
from edge.status.words import ALARMS, CAPTURES, REASONS
from edge.story import printable
from edge.uplink.messages import Alarm, Capture
from edge.worklog.entries import Entry, Here
from edge.worklog.reading import newest

RUNS, DOWN = 0, 1
NEXT = "Next: sudo deskwatch diagnose"
"""Where something is wrong: it says what, and what to do."""
EVENTS_LEAST, EVENTS = 3, 8
"""Lines of the worker's log: as many as the screen has room for."""
_READ = 400
"""Entries of the worker's log that are looked through: those of the last hours."""
_LABEL = 8
_LEAST, _MOST = 30, 100
_BOLD, _RED, _YELLOW, _PLAIN = "\033[1m", "\033[1;31m", "\033[33m", "\033[0m"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    running: bool
    silence: str
    unit: str | None
    tenant: str | None
    since_at: str | None
    """Since when the camera does what `capture.state` says, as the worker's log has it."""
    last: str | None
    """What the camera did last, as the worker's log has it."""
    facts: dict[str, str | float | None]
    alarms: tuple[Alarm, ...]
    events: tuple[str, ...]


def run(arguments: argparse.Namespace) -> int:
    """Show it; return 0 where the unit runs and is not in safe mode, else 1."""
    known = _known(admit(arguments.config))
    if arguments.json:
        put(_json(known))
    else:
        colour = coloured()
        width = max(_LEAST, min(_MOST, shutil.get_terminal_size((80, 24)).columns))
        above = list(lines_of(known, width, colour=colour))
        below = (NEXT,) if known.is_wrong else ()
        left = shutil.get_terminal_size((80, 24)).lines - len(above) - 3 - len(below)
        last = last_lines(known, width, max(EVENTS_LEAST - len(below), min(EVENTS, left)))
        for line in (*above, "", *last, *below):
            put(line)
    return RUNS if known.patient.facts is not None and not known.safe else DOWN


def _known(patient: Patient) -> Known:
    folder = (STATE if patient.config is None else patient.config.paths.state) / LOG_FOLDER
    log, trouble = list[Entry](), ""
    try:
        log = newest(folder, _READ)
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    return Known(patient, log, trouble, patient.clock.now_at())


def lines_of(known: Known, width: int, *, colour: bool) -> Iterator[str]:
    """Give the lines of the screen, down to what is to be seen to."""
    head, why = _does(known)
    for number, line in enumerate(textwrap.wrap(head, width, break_on_hyphens=False)):
        tone = _BOLD if known.patient.facts is not None else _RED
        yield f"{tone}{line}{_PLAIN}" if colour and number == 0 else line
    yield from _indented(why, width, "  ")
    for number, (label, text) in enumerate(rows(known)):
        if number == 0:
            yield ""
        yield from _row(label, printable(text), width)
    for number, alarm in enumerate(known.patient.alarms):
        what, do = ALARMS[alarm.code]
        if number == 0:
            yield ""
        for each in _indented(f"! {what}{f': {printable(alarm.detail)}' if alarm.detail else ''}", width, ""):
            yield f"{_YELLOW}{each}{_PLAIN}" if colour else each
        yield from _indented(f"→ {do}", width, "  ")


def _does(known: Known) -> tuple[str, str]:
    """Return what it does, since when, and why."""
    patient = known.patient
    name = "This unit" if patient.config is None else f"Unit {patient.config.unit.id}"
    since, said = _camera_since(known.log)
    if patient.facts is None:
        last = f" Last in its log: it {said}, {ago(since, known.now_at)}." if since and said else ""
        why = printable(patient.config_error or patient.silence)
        do = (type(patient.trouble).__doc__ or "").partition(": ")[2]
        do = f"{do[:1].upper()}{do[1:]}"
        return f"{name} does not run, or cannot be asked.", f"{why}.{last} {' '.join(do.split())}".strip()
    state = known.text("capture.state")
    does, why = CAPTURES.get(state, (printable(state), ""))
    if known.safe and state != Capture.SAFE_MODE:
        does, why = f"{does}, and in safe mode", f"{why}; {CAPTURES[Capture.SAFE_MODE][1]}"
    reason = known.text("capture.reason")
    started = "" if since is None else f", {ago(since, known.now_at)}"
    because = ". Why: ".join(filter(None, (why, REASONS.get(reason, printable(reason)))))
    return f"{name} {does}{started}.", f"{because[:1].upper()}{because[1:]}." if because else ""


def _camera_since(log: list[Entry]) -> tuple[dt.datetime | None, str]:
    """Return when the camera began what the log tells last of it, and what that is."""
    for entry in reversed(log):
        if isinstance(entry.note, Here) and (told := camera_note(entry.note)) is not None:
            does, _ = CAPTURES.get(told[0], (told[0].value, ""))
            return figures.parsed(entry.at), does
    return None, ""


def last_lines(known: Known, width: int, count: int) -> Iterator[str]:
    """Give the newest lines of the worker's log."""
    if known.log_trouble:
        yield from _indented(f"The log cannot be read ({known.log_trouble}): try with sudo.", width, "")
        return
    zone = dt.datetime.now().astimezone().tzinfo or dt.UTC
    lines = [line for line in view.lines_of(known.log, zone, colour=False) if line.startswith("  ")]
    yield "Last in its log (all of it: deskwatch log):" if lines else "Its log says nothing yet."
    for line in lines[-count:]:
        clock, _, kind, text = line.split(maxsplit=3)
        said = f"{clock[:5]}  {kind:<5}  {text}"
        yield f"  {said}" if len(said) <= width - 2 else f"  {said[: width - 3].rstrip()}…"


def _row(label: str, text: str, width: int) -> Iterator[str]:
    indent = " " * (_LABEL + 2)
    rows = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    for number, row in enumerate(rows):
        yield f"{label:<{_LABEL}}  {row.strip()}" if number == 0 else row


def _indented(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _json(known: Known) -> str:
    config = known.patient.config
    since, said = _camera_since(known.log)
    zone = dt.datetime.now().astimezone().tzinfo or dt.UTC
    lines = [line.strip() for line in view.lines_of(known.log, zone, colour=False) if line.startswith("  ")]
    whole = Status(
        running=known.patient.facts is not None,
        silence=known.patient.silence,
        unit=None if config is None else config.unit.id,
        tenant=None if config is None else config.unit.tenant,
        since_at=None if since is None else since.isoformat(timespec="milliseconds"),
        last=said or None,
        facts=dict(known.facts),
        alarms=known.patient.alarms,
        events=tuple(lines[-EVENTS:]),
    )
    return msgspec.json.encode(whole).decode()
