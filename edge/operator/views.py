"""How an operator sees it: lines, coloured on a terminal only, and a live table of a push."""

import datetime as dt
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from edge import check_report
from edge.operator.commanding import facts_told
from edge.operator.push import Outcome, Progress, verdict
from edge.operator.watching import Line, Tone
from edge.output import put
from edge.story import printable
from edge.uplink.command_messages import DiagnoseResult

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live
    from rich.table import Table

ROWS = 30
"""Units that the table shows: those that are not done first."""
_SGR = {Tone.GOOD: "32", Tone.NOTICE: "33", Tone.ALARM: "1;31", Tone.DIM: "2"}
_TONES = {
    Outcome.CONFIRMED: Tone.GOOD,
    Outcome.TRIAL: Tone.NOTICE,
    Outcome.SENT: Tone.PLAIN,
    Outcome.WAITING: Tone.DIM,
}
_RICH = {Tone.GOOD: "green", Tone.NOTICE: "yellow", Tone.ALARM: "bold red", Tone.DIM: "dim", Tone.PLAIN: ""}


def fancy() -> bool:
    """Tell whether somebody sits at a terminal."""
    return sys.stdout.isatty()


def coloured() -> bool:
    """Tell whether lines may carry colour: https://no-color.org."""
    return fancy() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line_of(line: Line, now_at: dt.datetime, *, colour: bool) -> str:
    """Return a line for people: when it was heard, who said what, and when that was if not just now."""
    late = _late(line.at, now_at) if line.at else ""
    text = printable(f"{now_at.astimezone():%H:%M:%S}  {line.unit:<16}  {line.text}{late}")
    code = _SGR.get(line.tone) if colour else None
    return f"\033[{code}m{text}\033[0m" if code else text


def _late(at: str, now_at: dt.datetime) -> str:
    """Return when something was, unless that is just now: as it came, where no calendar has that day."""
    try:
        said_at = dt.datetime.fromisoformat(at)
        if abs((now_at - said_at).total_seconds()) <= 60.0:
            return ""
        return f"  (of {said_at.astimezone():%Y-%m-%d %H:%M:%S})"
    except (ValueError, OverflowError):  # the year before the first one, in another time zone
        return f"  (of {at})"


def json_of(line: Line, now_at: dt.datetime) -> str:
    """Return a line for programs."""
    message = line.message if line.message is not None else {"problem": line.text}
    whole = {"received_at": now_at.isoformat(timespec="milliseconds"), "unit": line.unit, "kind": line.kind}
    return msgspec.json.encode({**whole, "message": message}).decode()


def outcome_json(progress: Progress) -> str:
    """Return what became of a push at one unit, for programs."""
    whole = {"unit": progress.unit, "outcome": progress.outcome, "online": not progress.offline}
    return msgspec.json.encode({**whole, "detail": progress.detail, "verdict": verdict(progress)}).decode()


def summary(progress: Mapping[str, Progress]) -> str:
    """Return how many units are how far, in words."""
    counts = Counter(one.outcome for one in progress.values())
    offline = sum(one.offline and not one.final for one in progress.values())
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    return f"{said or 'none'}{f' ({offline} offline)' if offline else ''}"


def diagnosis_lines(unit: str, result: DiagnoseResult) -> Iterator[str]:
    """Give what a unit found of itself, the worst first with what to do, then what it says of itself."""
    width = shutil.get_terminal_size((80, 24)).columns
    yield printable(f"Unit {unit}")
    yield from check_report.lines_of(result.checks, width, colour=coloured(), sort=True)
    yield ""
    yield "What it says of itself:"
    yield from (printable(f"  {line}") for line in facts_told(result))


@dataclass(slots=True)
class Lines:
    """One line per change: a log, where there is no terminal."""

    began_s: float = field(default_factory=time.monotonic)

    def changed(self, progress: Progress) -> None:
        """Print a change."""
        presence = "" if progress.state is None else ", offline" if progress.offline else ", online"
        detail = f": {progress.detail}" if progress.detail else ""
        elapsed_s = time.monotonic() - self.began_s
        put(printable(f"{elapsed_s:6.1f} s  {progress.unit:<16}  {progress.outcome}{presence}{detail}"))


class Screen:
    """All units of a push, as rich draws them."""

    def __init__(self, title: str, progress: Mapping[str, Progress]) -> None:
        self._title = title
        self._progress = progress

    def changed(self, progress: Progress) -> None:
        """Nothing to do: the table reads the progress when it is drawn."""

    def __rich_console__(self, _console: "Console", options: "ConsoleOptions") -> Iterator["Table"]:
        # The terminal writes ^C at the end of the last line: with room there, it does not tear the table.
        yield self._table(max(40, options.max_width - 8))

    def _table(self, width: int) -> "Table":
        from rich.table import Table  # noqa: PLC0415  an extra
        from rich.text import Text  # noqa: PLC0415

        table = Table(title=Text(self._title), caption=summary(self._progress), width=width)
        table.add_column("unit", no_wrap=True)
        table.add_column("link", no_wrap=True)
        table.add_column("policy", ratio=1)
        # What still moves, and what went wrong, stands first.
        order = sorted(self._progress.values(), key=lambda one: (one.outcome is Outcome.CONFIRMED, one.unit))
        for one in order[:ROWS]:
            tone = _TONES.get(one.outcome, Tone.ALARM)
            link = "never heard of" if one.state is None else "offline" if one.offline else "online"
            detail = f": {one.detail}" if one.detail else ""
            what = Text(printable(f"{one.outcome}{detail}"), style=_RICH[tone])
            table.add_row(Text(printable(one.unit)), link, what)
        if len(order) > ROWS:
            table.add_row(f"and {len(order) - ROWS} more", "", "")
        return table


@contextmanager
def shown(title: str, progress: Mapping[str, Progress], *, quiet: bool) -> Iterator["Lines | Screen | None"]:
    """Show a push for the length of the `with`: a table on a terminal where rich is installed, else lines."""
    if quiet:
        yield None
        return
    live = _live(title, progress) if fancy() else None
    if live is None:
        put(title)
        yield Lines()
        return
    screen, terminal = live
    with terminal:
        yield screen


def _live(title: str, progress: Mapping[str, Progress]) -> "tuple[Screen, Live] | None":
    try:
        from rich.live import Live  # noqa: PLC0415  an extra
    except ImportError:
        return None
    screen = Screen(title, progress)
    return screen, Live(screen, refresh_per_second=4)
