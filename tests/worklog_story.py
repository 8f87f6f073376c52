"""A log as a unit writes it, for the tests of how it is shown: a real folder, real events, a real picture."""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.evidence.thumbnail import encode as jpeg_of
from edge.evidence.thumbnail import redact
from edge.policy.breaks import BreakBy
from edge.policy.judge import Ended
from edge.uplink.messages import (
    EVENT_CONTENT_TYPE,
    Alarm,
    BreakEndedData,
    BreakEndedEvent,
    BreakStartedData,
    BreakStartedEvent,
    Capture,
    ClosedData,
    ClosedEvent,
    Event,
    Model,
    OpenedData,
    OpenedEvent,
    Rule,
    State,
    ThumbnailRef,
    encode,
)
from edge.uplink.wire import ClockQuality, timestamp
from edge.worklog.entries import Note, PictureRef, PolicyTook, Sent
from edge.worklog.log import WorkerLog

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
MODEL = Model(name="desk", sha256="0" * 64)
RETAIN = dt.timedelta(days=6)


def at(hour: int, minute: int = 0, second: int = 0, *, days: int = 0) -> dt.datetime:
    """A time of the story's day, UTC."""
    return NOON.replace(hour=hour, minute=minute, second=second) + dt.timedelta(days=days)


def policy_note(version: int = 1, **changes: object) -> PolicyTook:
    document = {
        "schema": "policy/1",
        "version": version,
        "issued_at": "2026-11-01T00:00:00Z",
        "expires_at": "2027-11-01T00:00:00Z",
        "timezone": "UTC",
        "shifts": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "17:00"}],
        "watch": {"mode": "continuous"},
        "rules": [
            {"id": "phone", "kind": "object", "labels": ["cell phone"]},
            {"id": "absent", "kind": "people", "min": 1, "thumbnail": False},
        ],
    }
    text = json.dumps({**document, **changes})
    return PolicyTook(version, hashlib.sha256(text.encode()).hexdigest(), text)


def sent(topic: str, payload: bytes, media_type: str = "application/json") -> Sent:
    return Sent(topic, media_type, len(payload), hashlib.sha256(payload).hexdigest(), payload.decode())


def said(event: Event) -> Sent:
    return sent("event", encode(event), EVENT_CONTENT_TYPE)


def _data(now_at: dt.datetime, clock: ClockQuality) -> dict:
    return {
        "unit": "cam-1",
        "tenant": "acme",
        "epoch": "0" * 32,
        "seq": 1,
        "boot_id": "boot",
        "clock": clock,
        "monotonic_s": 1.0,
    }


def _envelope(event_id: str, subject: str, now_at: dt.datetime) -> dict:
    return {"id": event_id, "source": "/unit", "subject": subject, "time": timestamp(now_at)}


def opened(
    event_id: str, now_at: dt.datetime, *, jpeg: bytes = b"", label: str = "cell phone", **more
) -> Sent:
    clock = more.pop("clock", ClockQuality.SYNCHRONISED)
    reference = None
    if jpeg:
        reference = ThumbnailRef(
            topic=f"deskwatch/v1/acme/cam-1/thumb/{event_id}",
            media_type="image/jpeg",
            bytes=len(jpeg),
            sha256=hashlib.sha256(jpeg).hexdigest(),
            expires_at=timestamp(now_at + RETAIN),
            recipient=more.pop("recipient", None),
        )
    kind = more.pop("kind", "object")
    data = OpenedData(
        **_data(now_at, clock),
        policy_version=1,
        model=MODEL,
        rule=Rule(id="phone", kind=kind),
        since_at=timestamp(now_at),
        hold_s=2.0,
        labels=(label,) if label else (),
        thumbnail=reference,
        **more,
    )
    return said(OpenedEvent(**_envelope(event_id, "phone", now_at), data=data))


def closed(opened_id: str, now_at: dt.datetime, lasted_s: float = 74.0) -> Sent:
    data = ClosedData(
        **_data(now_at, ClockQuality.SYNCHRONISED),
        policy_version=1,
        model=MODEL,
        rule=Rule(id="phone", kind="object"),
        opened_id=opened_id,
        duration_s=lasted_s,
        reason=Ended.ENDED,
    )
    return said(ClosedEvent(**_envelope(f"end-{opened_id}", "phone", now_at), data=data))


def break_started(event_id: str, now_at: dt.datetime, reason: str = "water") -> Sent:
    data = BreakStartedData(
        **_data(now_at, ClockQuality.SYNCHRONISED),
        reason=reason,
        by=BreakBy.BUTTON,
        ends_at=timestamp(now_at + dt.timedelta(minutes=30)),
    )
    return said(BreakStartedEvent(**_envelope(event_id, "break", now_at), data=data))


def break_ended(started_id: str, now_at: dt.datetime, lasted_s: float, reason: str = "water") -> Sent:
    data = BreakEndedData(
        **_data(now_at, ClockQuality.SYNCHRONISED),
        started_id=started_id,
        duration_s=lasted_s,
        reason=reason,
        by=BreakBy.BUTTON,
    )
    return said(BreakEndedEvent(**_envelope(f"end-{started_id}", "break", now_at), data=data))


def state(
    capture: Capture,
    now_at: dt.datetime,
    *,
    session: int = 1,
    reason: str = "",
    alarms: tuple[Alarm, ...] = (),
) -> Sent:
    message = State(
        online=True,
        session=session,
        boot_id="boot",
        firmware="0",
        model=MODEL,
        policy_version=1,
        capture=capture,
        reason=reason,
        alarms=alarms,
        at=timestamp(now_at),
    )
    return sent("state", encode(message))


def picture(seed: int = 0) -> bytes:
    """A redacted JPEG, as a unit makes it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), np.uint8)
    return jpeg_of(redact(pixels, (), 160), 40_000).data


def thumb(event_id: str, jpeg: bytes, ref: PictureRef | None) -> Sent:
    return Sent(f"thumb/{event_id}", "image/jpeg", len(jpeg), hashlib.sha256(jpeg).hexdigest(), None, ref)


@dataclass
class Unit:
    """A unit.toml and a log, written at times that the test sets."""

    folder: Path
    now_at: dt.datetime = field(default=NOON)

    def __post_init__(self) -> None:
        self.config = self.folder / "unit.toml"
        self.log_folder = self.folder / "state" / "log"
        self.log_folder.parent.mkdir()
        self.config.write_text(
            '[unit]\ntenant = "acme"\nid = "cam-1"\n[broker]\nhost = "broker.example.com"\n'
            f'[paths]\nstate = "{self.folder}/state"\npolicy = "{self.folder}/policy.json"\n'
        )

    def open(self) -> WorkerLog:
        return WorkerLog.open(self.log_folder, now_at=lambda: self.now_at)

    def write(self, log: WorkerLog, now_at: dt.datetime, *notes: Note) -> None:
        self.now_at = now_at
        log.append(notes)
