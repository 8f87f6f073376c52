"""One self-contained HTML page of events with their pictures: no script, no request to anywhere."""

import base64
import datetime as dt
import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Entry:
    """One infraction, as far as it is known."""

    rule: str
    kind: str
    what: str
    """What was seen, in words."""
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    duration_s: float | None
    reason: str | None
    """Why it closed; None while it is open."""
    picture: bytes | None
    """JPEG."""
    event_id: str
    payload: str
    """The opened event, as JSON."""
    sealed_to: str | None = None
    """Id of the key that its picture is sealed to."""


def render(title: str, lead: str, entries: Sequence[Entry], footer: str) -> str:
    """Return the page. Every text is escaped; pictures are inside it as data."""
    cards = "\n".join(_card(entry) for entry in entries) or "<li><section><p>Nothing.</p></section></li>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{_style()}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p>\n<ul>\n{cards}\n</ul>'
        f"<footer>{html.escape(footer)}</footer></main></body></html>\n"
    )


def _style() -> str:
    return resources.files("edge.defaults").joinpath("page.css").read_text("utf-8")


def _card(entry: Entry) -> str:
    picture = "<span>no picture</span>"
    if entry.sealed_to is not None:
        picture = f"<span>a picture sealed to key {html.escape(entry.sealed_to)}</span>"
    if entry.picture is not None:
        data = base64.b64encode(entry.picture).decode("ascii")
        alt = html.escape(f"{entry.rule}: {entry.what}", quote=True)
        picture = f'<img alt="{alt}" src="data:image/jpeg;base64,{data}">'
    if entry.duration_s is None:
        lasted = '<span class="open">still open</span>'
    else:
        lasted = f"{entry.duration_s:.1f} s, closed: {html.escape(entry.reason or '')}"
    return (
        f"<li><figure>{picture}</figure><section><h2>{html.escape(entry.rule)} "
        f"<small>{html.escape(entry.kind)}</small></h2><p>{html.escape(entry.what)}</p><dl>"
        f"<dt>Opened</dt><dd>{_moment(entry.opened_at)}</dd><dt>Lasted</dt><dd>{lasted}</dd>"
        f"<dt>Event</dt><dd>{html.escape(entry.event_id)}</dd></dl>"
        f"<details><summary>The event as published</summary><pre>{html.escape(entry.payload)}</pre></details>"
        "</section></li>"
    )


def _moment(at: dt.datetime) -> str:
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'
