"""Results of a diagnosis as people read them, at the unit and afar: a sentence, then a table that fits."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from edge.story import printable
from edge.uplink.check_messages import COULD_NOT_RUN
from edge.uplink.check_messages import CheckResult as Result
from edge.uplink.check_messages import CheckStatus as Status

ALL_WELL, WARNS, FAILS, INCOMPLETE = 0, 1, 2, 3
"""Exit codes of `deskwatch diagnose`."""
NARROW_BELOW = 64
"""With fewer columns, as of a phone, what was found stands below the name."""
_LEAST, _MOST = 30, 100
_SGR: Final = {Status.PASS: "32", Status.WARN: "33", Status.FAIL: "1;31", Status.SKIP: "2"}
_WORST_FIRST = (Status.FAIL, Status.WARN, Status.SKIP, Status.PASS)


def exit_code(results: Sequence[Result]) -> int:
    """Return 3 where a check could not run, else 2 where one fails, 1 where one warns, else 0."""
    found = {result.status for result in results}
    if any(result.code == COULD_NOT_RUN for result in results):
        return INCOMPLETE
    return FAILS if Status.FAIL in found else WARNS if Status.WARN in found else ALL_WELL


def worst_first(results: Sequence[Result]) -> list[Result]:
    """Return them by status, and of each status in the order of the table."""
    return sorted(results, key=lambda result: _WORST_FIRST.index(result.status))


def summary(results: Sequence[Result]) -> str:
    """Return how it stands in a sentence: the first that fails is the likely cause of what fails below it."""
    by = {status: [one for one in results if one.status is status] for status in Status}
    broken = [one for one in by[Status.SKIP] if one.code == COULD_NOT_RUN]
    if by[Status.FAIL]:
        first, head, rest = by[Status.FAIL][0], "FAIL", [f"{len(by[Status.FAIL]) - 1} more fail"]
        rest.append(_counted(len(by[Status.WARN]), "warning"))
    elif broken:
        first, head, rest = broken[0], "COULD NOT RUN", [_counted(len(by[Status.WARN]), "warning")]
    elif by[Status.WARN]:
        first, head, rest = by[Status.WARN][0], "WARN", [f"{len(by[Status.WARN]) - 1} more warn"]
    else:
        skipped = f", {len(by[Status.SKIP])} skipped" if by[Status.SKIP] else ""
        return f"PASS: {_counted(len(by[Status.PASS]), 'check')} as wanted{skipped}."
    if by[Status.FAIL] and broken:
        rest.append(f"{len(broken)} could not run")
    found = first.value.removeprefix("could not run: ").removesuffix(".")
    more = ", ".join(part for part in rest if not part.startswith("0 "))
    return f"{head}: {first.name}: {found}.{f' And {more}.' if more else ''}"


def lines_of(results: Sequence[Result], width: int, *, colour: bool, sort: bool = False) -> Iterator[str]:
    """Give the lines of the whole report; with `sort` the worst first."""
    width = max(_LEAST, min(width, _MOST))
    said = textwrap.wrap(printable(summary(results)), width, break_on_hyphens=False)
    worst = min((one.status for one in results), key=_WORST_FIRST.index, default=Status.PASS)
    yield from (_coloured(line, worst if worst is not Status.SKIP else Status.WARN, colour) for line in said)
    yield ""
    name_width = max((len(one.name) for one in results), default=0)
    for result in worst_first(results) if sort else results:
        yield from _rows(result, width, name_width, colour=colour)


def _rows(result: Result, width: int, name_width: int, *, colour: bool) -> Iterator[str]:
    status = "ERR" if result.code == COULD_NOT_RUN else result.status.upper()
    text = _found(result)
    mark = f"{status:<4}"
    if width < NARROW_BELOW:
        indent = " " * 5
        head = f"{mark} {result.name}"
        if result.status is Status.PASS and result.value:
            text = result.value  # what was wanted says little there, and a phone is small
        short = f"{head}: {text}"
        if result.status in {Status.PASS, Status.SKIP} and len(short) <= width:
            rows = [short]
        else:
            rows = [head, *_wrapped(text, width, indent)]
    else:
        indent = " " * (name_width + 7)
        first, *rest = _wrapped(text, width, indent) or [""]
        rows = [f"{mark} {result.name:<{name_width}}  {first.strip()}", *rest]
    rows = [printable(row) for row in rows]
    yield _coloured(rows[0].rstrip(), result.status, colour, len(mark))
    yield from rows[1:]
    if result.hint:
        yield from _wrapped(printable(f"→ {result.hint}"), width, indent, hanging="  ")


def _found(result: Result) -> str:
    """Return what was found and wanted in one text."""
    if not result.limit:
        return result.value
    return f"{result.value} (wanted: {result.limit})" if result.value else f"wanted: {result.limit}"


def _wrapped(text: str, width: int, indent: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_on_hyphens=False,
    )


def _coloured(line: str, status: Status, colour: bool, upto: int | None = None) -> str:
    """Return a line with its beginning in the status's colour."""
    if not colour or not line:
        return line
    end = len(line) if upto is None else upto
    return f"\033[{_SGR[status]}m{line[:end]}\033[0m{line[end:]}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
