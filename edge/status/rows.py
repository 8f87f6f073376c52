"""How a unit is, in rows of a label and a text: what `deskwatch status` shows."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge.diagnosis.check import Patient
from edge.facts import Facts
from edge.logbook import figures
from edge.status.disk import NOT_KNOWN, left_rows
from edge.story import printable
from edge.uplink.messages import Capture
from edge.uplink.twin_messages import Phase
from edge.worklog.entries import Entry


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of a unit."""

    patient: Patient
    log: list[Entry]
    log_trouble: str
    """Why there is no `log`."""
    now_at: dt.datetime

    @property
    def facts(self) -> Facts:
        """What it says of itself; nothing where it does not run."""
        return self.patient.facts or {}

    def text(self, name: str) -> str:
        """Return a fact as a text; empty where there is none."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """Return a fact as a number."""
        value = self.facts.get(name)
        return value if isinstance(value, int | float) else None

    @property
    def safe(self) -> bool:
        """Whether it is in safe mode, on a break too."""
        return self.text("capture.state") == Capture.SAFE_MODE or bool(self.number("unit.safe"))

    @property
    def is_wrong(self) -> bool:
        """Whether the diagnosis has something to say of it."""
        wrong = self.patient.facts is None or self.safe or bool(self.patient.alarms)
        sees = self.text("capture.state") not in _ILL
        troubled = any(self.text(name) for name in ("spool.error", "led.trouble", "button.trouble"))
        return wrong or troubled or not sees or not self.number("link.connected")


_ILL = (Capture.BLOCKED, Capture.LED_FAULT, Capture.CAMERA_FAULT, Capture.REPAIR)


def rows(known: Known) -> Iterator[tuple[str, str]]:
    """Give a label and a text for each thing that the unit tells, or has left."""
    if known.patient.facts is None:
        if known.patient.config is not None:
            yield from left_rows(known.patient.config, known.patient.clock)
        return
    yield "policy", _policy(known)
    yield "link", _link(known)
    yield "waiting", _waiting(known)
    yield "worker", f"light {_part(known, 'led')}, button {_part(known, 'button')}, {_notice(known)}"
    if repair := known.text("repair.reason"):
        yield "repair", f"{repair}. When done: deskwatch repair --done"
    if (left_s := known.number("break.left_s")) is not None:
        yield "break", f"{figures.span(left_s)} left at most. To end it: deskwatch resume"
    if count := known.number("errors.count"):
        last = next((one for one in reversed(known.patient.errors) if one.level != "WARNING"), None)
        said = "" if last is None else f", the last: {last.text}"
        yield "errors", f"{count:.0f} since the start{said}"
    up = known.number("unit.up_s")
    yield "runs", f"{known.text('unit.firmware')}, up {figures.span(up or 0.0)}, {_work(known)}"


def _policy(known: Known) -> str:
    version, phase = known.number("policy.version"), known.text("policy.phase")
    text = f"version {version or 0:.0f}"
    text += ", the unit's own: none came from afar" if phase == Phase.NONE else f", {phase}"
    desired = known.number("policy.desired_version")
    if desired is not None and desired != version:
        text += f"; wanted: version {desired:.0f}"
    if error := known.text("policy.error"):
        text += f"; why not: {error} {known.text('policy.error_path')}".rstrip()
    return text


_CONSTANT = re.compile(r"\[Errno -?\d+\] | ?\([A-Z][A-Z0-9_]{6,}\)|\[SSL: \w+\] | \(_ssl\.c:\d+\)")
"""What stands in errors for whoever writes programs."""


def _link(known: Known) -> str:
    address, since = known.text("link.address"), figures.parsed(known.text("link.since_at"))
    when = f", {ago(since, known.now_at)}" if since else ""
    if known.number("link.connected"):
        return f"connected to {address}{when}"
    error = _CONSTANT.sub("", known.text("link.last_error"))
    return f"NOT connected to {address}{when}{f': {error}' if error else ''}"


def _waiting(known: Known) -> str:
    if error := known.text("spool.error"):
        return f"{NOT_KNOWN}: {error}"
    events, pictures = known.number("spool.events") or 0, known.number("spool.thumbnails") or 0
    text = f"{figures.number(int(events), 'event')}, {figures.number(int(pictures), 'picture')}"
    if not events and not pictures:
        text = "nothing"
    if refused := known.number("spool.dead_letters"):
        text += f"; {refused:.0f} refused by the broker"
    if lost := known.number("spool.lost_events"):
        text += f"; {lost:.0f} lost since ever"
    return text


def _part(known: Known, name: str) -> str:
    if not known.number(f"{name}.fitted"):
        return "not fitted"
    trouble = known.text(f"{name}.trouble")
    return f"does not work: {trouble}" if trouble else "works"


def _notice(known: Known) -> str:
    accepted = known.text("notice.accepted_at")
    return (
        f"notice accepted {_day(accepted)}" if accepted else "notice NOT accepted: deskwatch notice --accept"
    )


def _work(known: Known) -> str:
    frames, runs = known.number("watch.frames") or 0, known.number("watch.inferences") or 0
    return f"{figures.number(int(frames), 'frame')}, {figures.number(int(runs), 'run')} of the model"


def ago(at: dt.datetime, now_at: dt.datetime) -> str:
    """Return since when: by the clock on the wall, and how long that is."""
    local, now = at.astimezone(), now_at.astimezone()
    day = "" if local.date() == now.date() else f"{local:%d %b} "
    lasted_s = (now_at - at).total_seconds()
    return f"since {day}{local:%H:%M}" + (f" ({figures.span(lasted_s)})" if lasted_s >= 0 else "")


def _day(text: str) -> str:
    at = figures.parsed(text)
    return printable(text) if at is None else f"on {at.astimezone():%d %b %Y at %H:%M}"
