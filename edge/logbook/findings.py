"""What is not as it was written in a log, in plain words. The exact ones stand behind them."""

import re

from edge.story import printable
from edge.worklog.entries import Began
from edge.worklog.reading import Unread

NOTED = "the worker's log was changed: "
"""So begins what the unit notes of a finding, at most 256 characters of it."""
_AT = r"(?:^|.*?, )entry ([0-9]+)"
_PLAIN = (
    (rf"{_AT}: wanted the checksum", "Entry {} is not as it was written"),
    (rf"{_AT}: wanted a line that ends", "Entry {} cannot be read any more"),
    (rf"{_AT}: wanted an entry of this log", "Entry {} cannot be read any more"),
    (rf"{_AT}: wanted the end of the line", "The end of the log is not as it was written"),
    (rf"{_AT}: wanted whole lines", "Entry {} is cut off"),
    (rf"{_AT}: wanted it to follow", "Entry {} does not follow the one before it"),
    (rf"{_AT}: wanted entry ([0-9]+), got entry", "Entry {1} is not where it was"),
    (rf"{_AT}: wanted this file", "Entries are missing from number {} on"),
    (rf"{_AT}: wanted (?:the file|to read it)", "Entries cannot be read from number {} on"),
    (rf"{_AT}: wanted (?:a note that entries|no hash before)", "What stood before entry {} is missing"),
    (rf"{_AT}: wanted the hash", "Entry {} is not the one that was written"),
    (rf"{_AT}, which says .* pruned", "What entry {} says of deleted entries does not fit"),
    (r"entries ([0-9]+) to ([0-9]+): wanted a log", "Entries {} to {} are missing at the end"),
    (r"pictures/.*, of entry ([0-9]+): wanted", "The picture of entry {} is missing, or is another"),
    (r".*: wanted only (?:files|pictures) of the log", "Something that the unit did not write lies in it"),
    (r".*: wanted (?:[0-9]+ bytes|the newest|the file that|a file of)", "It was changed while the unit ran"),
    (r"head: wanted", "The note of how far it goes is missing, or is another"),
)
_NOTED = re.compile(rf"{re.escape(NOTED)}.*?(?=; |$)", re.DOTALL)


def plain(problem: str) -> str:
    """Return what was found as a plain sentence, without its full stop."""
    for pattern, said in _PLAIN:
        if found := re.match(pattern, problem, re.DOTALL):
            return said.format(*found.groups())
    return "Something in it is not as it was written"


def of(began: Began) -> str:
    """Return the exact words of the finding for which a log was begun anew."""
    return printable(began.reason.removeprefix(NOTED))


def anew(began: Began) -> bool:
    """Tell whether a log took the place of one that was changed."""
    return began.reason != "first"


def reason(text: str) -> str:
    """Return a reason that the unit gave, with a finding in it named and not spelt out once more."""
    return printable(_NOTED.sub("the worker's log was changed", text))


def unread(line: Unread) -> str:
    """Return what stands in the place of entries that do not read."""
    if line.changed:
        return f"Entry {line.from_seq} was changed: it cannot be read"
    if line.from_seq == line.to_seq:
        return f"Entry {line.from_seq} is missing"
    return f"Entries {line.from_seq} to {line.to_seq} are missing"
