"""One line of the worker's log: what it says, and what ties it to the line before it. All of it pure.

A line is one JSON object. `prev` is the SHA-256 of the line before it, without its newline, so that no line
can be changed, moved or left out unseen. `check`, the last key, begins the SHA-256 of all that stands before
it in the line: it tells which of two lines that do not fit is the wrong one, and guards the last line of all.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from edge.worklog.errors import BrokenEntry

_CHECK, _CHECK_CHARS = b',"check":"', 16
_END = b'"}'
_SUFFIX_CHARS = len(_CHECK) + _CHECK_CHARS + len(_END)
_SHOWN_CHARS = 60


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    """Something that the worker may want to know of."""


class Began(_Note, frozen=True, tag="began"):
    """The first of a log. `before`: the last good hash of the log before it, "" where there was none."""

    reason: str
    before: str = ""


class PictureRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The plain JPEG of what was sent; `sealed_to`: the key that it was sealed to on its way."""

    event_id: str
    sha256: str
    bytes: int
    expires_at: str
    sealed_to: str = ""


class Sent(_Note, frozen=True, tag="sent"):
    """Handed to the broker. `topic` lies below the unit's root; `payload` is the text where it is JSON."""

    topic: str
    media_type: str
    bytes: int
    sha256: str
    payload: str | None = None
    picture: PictureRef | None = None


class Command(_Note, frozen=True, tag="command"):
    """Done for somebody afar."""

    name: str
    payload: str


class PolicyTook(_Note, frozen=True, tag="policy-took"):
    """A policy took force."""

    version: int
    sha256: str
    document: str


class Here(_Note, frozen=True, tag="here"):
    """Done at the unit itself."""

    what: str
    text: str = ""


class Pruned(_Note, frozen=True, tag="pruned"):
    """Old entries that gave way: which, the hash of the last of them, and how many notes of each kind."""

    from_seq: int
    to_seq: int
    last_sha256: str
    counts: dict[str, int]


class PicturesGone(_Note, frozen=True, tag="pictures-gone"):
    """Pictures that were deleted. `why`: "expired", or "no-room" for newer ones."""

    why: str
    event_ids: tuple[str, ...]


Note = Began | Sent | Command | PolicyTook | Here | Pruned | PicturesGone


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A numbered line. `at` is the unit's wall time, which may jump: the numbers say what came first."""

    seq: int
    at: str
    prev: str
    note: Note


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last entry's number and the hash of its line; before the first, 0 and ""."""

    seq: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that are to be written as one."""

    data: bytes
    head: Head
    first_seq: int
    at: str
    counts: dict[str, int]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> tuple[bytes, str]:
    """Return the line without its newline, and its hash."""
    body = _encoder.encode(entry)[:-1]
    sha = hashlib.sha256(body)
    suffix = _CHECK + sha.hexdigest()[:_CHECK_CHARS].encode() + _END
    sha.update(suffix)
    return body + suffix, sha.hexdigest()


def parse(line: bytes) -> tuple[Entry, str]:
    """Return the entry and the hash of a line. Raises BrokenEntry where it is not as it was written."""
    body, suffix = line[:-_SUFFIX_CHARS], line[-_SUFFIX_CHARS:]
    if not (body and suffix.startswith(_CHECK) and suffix.endswith(_END)):
        raise BrokenEntry(f"wanted a line that ends in its checksum, got {_shown(line)}")
    sha = hashlib.sha256(body)
    wanted, got = sha.hexdigest()[:_CHECK_CHARS], suffix[len(_CHECK) : -len(_END)].decode("ascii", "replace")
    if wanted != got:
        raise BrokenEntry(f"wanted the checksum {wanted} of what it says, got {got}: it was changed")
    sha.update(suffix)
    try:
        entry = _decoder.decode(body + b"}")
    except msgspec.MsgspecError as error:
        raise BrokenEntry(f"wanted an entry of this log, got {_shown(line)}: {error}") from error
    if entry.seq == 1 and not isinstance(entry.note, Began):
        raise BrokenEntry(f"wanted the note of why the log began, got {_shown(line)}")
    return entry, sha.hexdigest()


def follow(entry: Entry, before: Head) -> None:
    """Check that an entry comes right after another. Raises BrokenEntry."""
    if entry.seq != before.seq + 1:
        raise BrokenEntry(f"wanted entry {before.seq + 1}, got entry {entry.seq}")
    if entry.prev != before.sha256:
        raise BrokenEntry(
            f"wanted it to follow entry {before.seq} with the hash {before.sha256 or 'of nothing'},"
            f" got {entry.prev or 'no hash'}"
        )


def chain(notes: Iterable[Note], head: Head, now_at: dt.datetime) -> Batch:
    """Return the lines of `notes` as they follow `head`."""
    at, first_seq = at_text(now_at), head.seq + 1
    lines: list[bytes] = []
    counts: dict[str, int] = {}
    for note in notes:
        line, sha256 = encode(Entry(head.seq + 1, at, head.sha256, note))
        head = Head(head.seq + 1, sha256)
        lines += (line, b"\n")
        count(counts, note)
    return Batch(b"".join(lines), head, first_seq, at, counts)


def count(counts: dict[str, int], note: Note) -> None:
    """Add one to the notes of its kind."""
    kind = str(note.__struct_config__.tag)
    counts[kind] = counts.get(kind, 0) + 1


def at_text(when_at: dt.datetime) -> str:
    """Return a time as it stands in the log: UTC, in milliseconds, so that texts sort as times do."""
    return when_at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(line: bytes) -> str:
    return f"{len(line)} bytes that begin {line[:_SHOWN_CHARS]!r}"
