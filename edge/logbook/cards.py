"""What a page tells of each thing that happened: its picture, where that went, and the entries themselves."""

import base64
import datetime as dt
import html
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from edge.logbook import figures, rules
from edge.logbook.days import Day
from edge.logbook.moments import Kind, Moment, Picture
from edge.logbook.survey import Survey, Verdict
from edge.policy.document import Policy
from edge.story import printable
from edge.support.bundle import MAX_BYTES
from edge.support.noted import NOTED
from edge.worklog.entries import Command, Entry, Head, Here, PictureRef, PolicyTook, Sent

PICTURES_MAX = 300
PICTURES_MAX_BYTES = 12 << 20
TEXT_MAX_CHARS = 6 << 20
"""Days that do not fit any more are left out, the oldest first; so is the end of a day that is larger."""
PAYLOAD_MAX_CHARS = 8_000
BUNDLE_MAX_CHARS = 2 * MAX_BYTES
"""A support bundle is shown whole, indented too: it is the worker's right to read it."""
ENTRIES_MAX = 8
"""Entries that are shown of one thing: it has two or three."""
FOLD = 4
"""So many like things in a row are folded."""
_TAGS = {
    Kind.SEEN: "Reported",
    Kind.BREAK: "Break",
    Kind.ASKED: "Asked from afar",
    Kind.RULES: "Rules",
    Kind.HERE: "At the unit",
    Kind.TOLD: "State",
    Kind.LOST: "Lost",
    Kind.LOG: "This log",
    Kind.OTHER: "Sent",
}
Show = Callable[[PictureRef], bytes | None]


@dataclass(frozen=True, slots=True)
class Log:
    """What a page tells."""

    unit: str
    tenant: str
    server: str
    """Where reports go under a policy that names no server."""
    made_at: dt.datetime
    zone: dt.tzinfo
    zone_name: str
    verdict: Verdict
    head: Head
    survey: Survey
    days: Sequence[Day]
    """Newest first."""
    not_read: int
    """Entries that are too old for the page."""
    show: Show
    """Gives the worker's own copy of a picture."""


@dataclass(slots=True)
class Room:
    """What the page may still grow by."""

    pictures: int = PICTURES_MAX
    picture_bytes: int = PICTURES_MAX_BYTES
    text_chars: int = TEXT_MAX_CHARS
    pictures_left_out: int = 0

    def takes(self, data: bytes) -> bool:
        """Tell whether a picture still fits, and count it."""
        if not self.pictures or len(data) > self.picture_bytes:
            self.pictures_left_out += 1
            return False
        self.pictures -= 1
        self.picture_bytes -= len(data)
        return True


def safe(text: str) -> str:
    """Return a text as it may stand in the page, whoever wrote it."""
    return html.escape(printable(text), quote=True)


def policy_told(policy: Policy, zone: dt.tzinfo, server: str) -> str:
    """Return what a policy allows."""
    lines = "".join(f"<li>{safe(rules.rule(line))}</li>" for line in policy.rules)
    facts = rules.facts(policy, zone, server)
    told = "".join(f"<dt>{name}</dt><dd>{safe(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{told}</dl><p class="what">It reports:</p><ul class="what">{lines}</ul>'


def cards_of(log: Log, moments: Sequence[Moment], room: Room) -> str:
    """Return what happened on a day, with runs of the same thing folded."""
    parts = []
    for (kind, title), group in itertools.groupby(moments, key=lambda one: (one.kind, one.title)):
        run = list(group)
        cards = "".join(_cards(log, run, room))
        if len(run) >= FOLD:
            first, last = (f"{one.at.astimezone(log.zone):%H:%M}" for one in (run[0], run[-1]))
            label = f"{len(run):,} × {title}, {first} to {last}"
            folded = f"<details><summary>{safe(label)}</summary><ol>{cards}</ol></details>"
            cards = f'<li class="fold {kind}">{folded}</li>'
        parts.append(cards)
    return f'<ol class="moments">{"".join(parts)}</ol>'


def _cards(log: Log, moments: Sequence[Moment], room: Room) -> Iterator[str]:
    for index, moment in enumerate(moments):
        if room.text_chars <= 0:
            yield f'<li class="nothing">{len(moments) - index:,} more did not fit on this page.</li>'
            return
        card = _card(log, moment, room)
        room.text_chars -= len(card)
        yield card


def _card(log: Log, moment: Moment, room: Room) -> str:
    local = moment.at.astimezone(log.zone)
    said = [*moment.facts[:ENTRIES_MAX], *(["Its end is not written yet"] if moment.lasts else [])]
    facts = f"<p>{safe(' '.join(f'{fact}.' for fact in said))}</p>" if said else ""
    allows = ""
    if moment.policy is not None:
        about = policy_told(moment.policy, log.zone, log.server)
        allows = f"<details><summary>What they allow</summary>{about}</details>"
    elif moment.kind is Kind.RULES and any(isinstance(one.note, PolicyTook) for one in moment.entries):
        facts += "<p>This firmware cannot read them; word for word they stand below.</p>"
    former = f'<span class="former">from {safe(moment.of)}, which was changed</span>' if moment.of else ""
    grave = " grave" if moment.grave or moment.kind is Kind.OTHER else ""
    return (
        f'<li class="moment {moment.kind}{grave}"><p class="when"><time datetime="{moment.at.isoformat()}">'
        f'{local:%H:%M:%S}</time> <span class="tag">{_TAGS[moment.kind]}</span>{former}</p>'
        f"<h3>{safe(moment.title)}</h3>{facts}{_picture(log, moment, room)}{allows}{_exactly(moment)}</li>"
    )


def _picture(log: Log, moment: Moment, room: Room) -> str:
    picture = moment.picture
    if picture is None:
        return ""
    data = log.show(picture.ref) if picture.ref is not None else None
    fits = data is not None and room.takes(data)
    if data is not None and fits:
        alt = f"Redacted picture that went with: {moment.title}, {moment.at.astimezone(log.zone):%H:%M:%S}"
        encoded = base64.b64encode(data).decode("ascii")
        shown = f'<img alt="{safe(alt)}" src="data:image/jpeg;base64,{encoded}">'
    else:
        why = "This page has no room for it; it is still kept" if data is not None else _why_not(log, picture)
        shown = f'<p class="none">{safe(why)}.</p>'
    return f"<figure>{shown}<figcaption>{_caption(log, picture, here=data is not None)}</figcaption></figure>"


def _why_not(log: Log, picture: Picture) -> str:
    expires_at = figures.parsed(picture.expires_at)
    gone_at = picture.gone_at
    if gone_at is not None:
        return f"The picture was deleted here on {figures.moment(gone_at, log.zone)}: {picture.gone_why}"
    if expires_at is not None and expires_at <= log.made_at:
        over = figures.moment(picture.expires_at, log.zone)
        return f"The picture was deleted here; its time was over on {over}"
    return "No copy of the picture is on the unit"


def _caption(log: Log, picture: Picture, *, here: bool) -> str:
    if picture.sent_at is None:
        said = [f"Has not left the unit ({figures.size(picture.bytes)})"]
    else:
        said = [
            f"Went to {log.tenant} at {figures.clock(picture.sent_at, log.zone)}",
            figures.size(picture.bytes),
        ]
    if picture.sealed_to:
        said.append(f"sealed: only who holds the key {figures.fingerprint(picture.sealed_to)} … can open it")
    until = figures.moment(picture.expires_at, log.zone)
    expires_at = figures.parsed(picture.expires_at)
    if expires_at is not None and expires_at <= log.made_at:
        said.append(f"had to be deleted there too by {until}")
    elif picture.expires_at and picture.sent_at is None:
        said.append(f"kept here until {until} at most" if here else f"to be deleted by {until}")
    elif picture.expires_at:
        kept = f"kept here until {until} at most; whoever received it" if here else "whoever received it"
        said.append(f"{kept} has to delete it by {'then too' if here else until}")
    return safe("; ".join(said) + ".")


def _exactly(moment: Moment) -> str:
    """Return the entries, word for word."""
    if not moment.entries:
        return ""
    told = "".join(_entry(entry) for entry in moment.entries[:ENTRIES_MAX])
    more = len(moment.entries) - ENTRIES_MAX
    if more > 0:
        told += f"<p>And {figures.number(more, 'entry', 'entries')} more.</p>"
    numbers = ", ".join(f"{entry.seq}" for entry in moment.entries[:ENTRIES_MAX])
    which = f"entry {numbers}" if len(moment.entries) == 1 else f"entries {numbers}"
    which += f" of {safe(moment.of)}" if moment.of else ""
    return f'<details class="exact"><summary>Word for word ({which})</summary>{told}</details>'


def _entry(entry: Entry) -> str:
    match entry.note:
        case Sent(payload=None) as sent:
            said = f"{sent.topic}: {sent.media_type}, {sent.bytes} bytes, SHA-256 {sent.sha256}"
        case Sent(payload=str(payload)) as sent:
            said = f"{sent.topic}\n{_indented(payload)}"
        case Command(payload=payload) as command:
            said = f"cmd/{command.name}\n{_indented(payload)}"
        case PolicyTook(document=document) as took:
            said = f"SHA-256 {took.sha256}\n{_indented(document)}"
        case Here(what=what, text=text) if what == NOTED:
            said = f"{what}\n{_indented(text)}"
        case _:
            said = _indented(msgspec.json.encode(entry.note).decode())
    most = BUNDLE_MAX_CHARS if isinstance(entry.note, Here) else PAYLOAD_MAX_CHARS
    if len(said) > most:
        said = f"{said[:most]}\n… and {len(said) - most:,} characters more"
    shown = "\n".join(safe(line) for line in said.split("\n"))
    return f"<p>Entry {entry.seq}, written {safe(entry.at)}</p><pre>{shown}</pre>"


def _indented(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return payload
