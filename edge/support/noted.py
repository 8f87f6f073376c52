"""What the worker's log says of a support bundle: its very text, and what is in it, in words."""

from collections.abc import Iterator

import msgspec

from edge.support.bundle import Bundle, BundleUnreadable, decode
from edge.uplink.wire import Count, Sha256, Text, Wire

NOTED = "support bundle made"
"""`what` of the note."""


class Noted(Wire, frozen=True, kw_only=True):
    """Text of the note."""

    recipient: Text
    """Id of the key that alone opens it."""
    sha256: Sha256
    """Of the file."""
    bytes: Count
    """Its size."""
    bundle: msgspec.Raw
    """What is in it, word for word."""


def read(text: str) -> tuple[Noted, Bundle | None] | None:
    """Return what a note says; no bundle: another version made it. None: it is no note of one."""
    try:
        noted = msgspec.json.decode(text.encode("utf-8", "surrogatepass"), type=Noted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    try:
        return noted, decode(bytes(noted.bundle))
    except BundleUnreadable:
        return noted, None


def told(bundle: Bundle) -> Iterator[str]:
    """Give what is in a bundle, in words for whoever works there."""
    if bundle.running:
        yield f"{_counted(len(bundle.facts), 'fact')} of the unit, as numbers and words of the firmware"
    else:
        yield "no facts, as the unit did not run"
    yield f"how {_counted(len(bundle.checks), 'check')} of the diagnosis ended"
    yield f"{_counted(len(bundle.errors), 'error message')} of the firmware, without what was filled in"
    yield f"{_counted(len(bundle.settings), 'setting')}: numbers, choices, and whether something is set"
    if bundle.policy is not None:
        rules = sum(bundle.policy.rules.values())
        yield f"the version of the rules, and how many there are ({rules}), not what they say"
    yield f"the unit and its organisation under other names: {bundle.unit}, {bundle.tenant}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
