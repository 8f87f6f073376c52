"""A fleet as it is heard: what changed, for a line each."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from edge.device.system import Throttled, size_text
from edge.operator.addresses import filter_of, unit_of
from edge.operator.presence import later
from edge.story import told
from edge.uplink.messages import (
    Alarm,
    Health,
    OpenedEvent,
    State,
    decode_event,
    decode_health,
    decode_state,
)
from edge.uplink.signals import Received
from edge.uplink.twin_messages import Phase, Reported, decode_reported
from edge.uplink.wire import InvalidMessage, Wire

KEPT = 100_000
"""Units that are remembered."""
_Item = TypeVar("_Item")


class Tone(enum.StrEnum):
    """What a line is to whoever reads along."""

    PLAIN = "plain"
    GOOD = "good"
    NOTICE = "notice"
    ALARM = "alarm"
    DIM = "dim"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a unit said."""

    unit: str
    at: str
    """When the unit said that it was; empty where nobody knows."""
    text: str
    tone: Tone
    kind: str
    """The topic's last level."""
    message: Wire | None = None
    """For programs. None for what could not be read."""


def filters(tenant: str, unit: str, *, health: bool = False) -> list[str]:
    """Return what to listen to; `unit` may be `addresses.ANY`. `health` is a line a minute of each unit."""
    topics = (("state",), ("config", "reported"), ("event",), *((("health",),) if health else ()))
    return [filter_of(tenant, unit, *levels) for levels in topics]


@dataclass(slots=True)
class Fleet:
    """Every unit's latest state and report, so that only news is told."""

    tenant: str
    states: dict[str, State] = field(default_factory=dict)
    reports: dict[str, Reported] = field(default_factory=dict)

    def take(self, message: Received) -> list[Line]:
        """Return what is new in a message. An offline that is older than the online it follows is dropped."""
        match unit_of(self.tenant, message.topic):
            case (unit, (*_, kind)) if message.payload:
                try:
                    return list(self._lines(unit, kind, message.payload))
                except InvalidMessage as error:
                    return [Line(unit, "", f"{kind}: {error}", Tone.NOTICE, kind)]
            case _:
                return []

    def _lines(self, unit: str, kind: str, payload: bytes) -> Iterator[Line]:
        match kind:
            case "state":
                yield from self._state(unit, decode_state(payload))
            case "reported":
                yield from self._report(unit, decode_reported(payload))
            case "health":
                health = decode_health(payload)
                well = not (health.under_voltage or (health.throttled or 0) & 0xF or health.dead_letters)
                yield Line(unit, health.at, _fares(health), Tone.DIM if well else Tone.NOTICE, kind, health)
            case "event":
                event = decode_event(payload)
                tone = Tone.NOTICE if isinstance(event, OpenedEvent) else Tone.PLAIN
                if event.subject == "gap":
                    tone = Tone.ALARM
                yield Line(unit, event.time, told(event), tone, kind, event)

    def _state(self, unit: str, state: State) -> Iterator[Line]:
        held = self.states.get(unit)
        if not later(held, state) or state == held:
            return
        _keep(self.states, unit, state)
        if held is None or _said(held) != _said(state):
            tone = Tone.GOOD if state.online else Tone.ALARM
            yield Line(unit, state.at, _said(state), tone, "state", state)
        before = held.alarms if held else ()
        for alarm in (one for one in state.alarms if one not in before):
            yield Line(unit, state.at, _alarm(alarm), Tone.ALARM, "alarm", alarm)
        still = {alarm.code for alarm in state.alarms}
        for alarm in (one for one in before if one.code not in still):
            yield Line(unit, state.at, f"over    {alarm.code}", Tone.GOOD, "alarm-over", alarm)

    def _report(self, unit: str, report: Reported) -> Iterator[Line]:
        held = self.reports.get(unit)
        _keep(self.reports, unit, report)
        if held is None or _reported(held) != _reported(report):
            failed = report.phase in (Phase.REFUSED, Phase.ROLLED_BACK)
            tone = Tone.ALARM if failed else Tone.PLAIN
            yield Line(unit, report.at, _reported(report), tone, "reported", report)


def _said(state: State) -> str:
    policy = "no policy" if state.policy_version is None else f"policy {state.policy_version}"
    words = f"{state.capture}{f': {state.reason}' if state.reason else ''}"
    link = f"session {state.session}.{state.connection}"
    return (
        f"{'online' if state.online else 'offline':<7} {words}, {policy}, firmware {state.firmware}, {link}"
    )


def _fares(health: Health) -> str:
    """Return a health in a line: heat, supply, what waits, the clock, the pace."""
    told = [] if health.temperature_c is None else [f"{health.temperature_c:.0f} °C"]
    told += Throttled(health.throttled or 0).now
    if health.spool_events is not None:
        told.append(f"spool {health.spool_events}")
    told.append(f"clock {health.clock}")
    if health.disk_free_bytes is not None:
        told.append(f"{size_text(health.disk_free_bytes)} free")
    if health.inference_p95_s is not None:
        told.append(f"p95 {health.inference_p95_s * 1000:.0f} ms")
    return f"health  {', '.join((*told, f'up {_up(health.up_s)}'))}"


def _up(seconds: float) -> str:
    if seconds < 60.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600.0 else f"{seconds / 3600:.1f} h"


def _alarm(alarm: Alarm) -> str:
    return f"ALARM   {alarm.code}{f': {alarm.detail}' if alarm.detail else ''}"


def _reported(report: Reported) -> str:
    document = report.desired
    what = f"version {document.version}, {document.sha256[:12]}" if document else "one that is not trusted"
    if report.phase is Phase.NONE:
        what = f"none was sent; version {report.running.version}, the unit's own, is in force"
    why = f": {report.error.code} at {report.error.path}: {report.error.problem}" if report.error else ""
    return f"policy  {report.phase}: {what}{why}"


def _keep(kept: dict[str, _Item], unit: str, item: _Item) -> None:
    kept.pop(unit, None)
    kept[unit] = item
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
