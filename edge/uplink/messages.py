"""What a unit says: its state, and events as CloudEvents 1.0 JSON.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import enum
from typing import Literal

from edge.policy.breaks import BreakBy
from edge.policy.judge import Ended
from edge.uplink.wire import (
    BoxTuple,
    ClockQuality,
    Count,
    Epoch,
    Fraction,
    MessageId,
    Positive,
    Reader,
    Remark,
    Seconds,
    Sha256,
    Text,
    Timestamp,
    Wire,
    encode_as,
)

EVENT_CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
"""Content type of a structured-mode CloudEvent (CloudEvents MQTT binding, section 3.2)."""


class Capture(enum.StrEnum):
    """What the camera is doing, as `state` tells it."""

    STARTING = "starting"
    """The unit has begun, and looked at nothing yet."""
    WATCHING = "watching"
    """The camera is open, and sees."""
    AIMING = "aiming"
    """Between spot checks, the camera is open for somebody at the unit who lines it up; no rule is judged."""
    BETWEEN_CHECKS = "between-checks"
    """In a shift, under a policy of spot checks: the camera is closed until the next one."""
    OFF_SHIFT = "off-shift"
    """The policy does not let the unit look now: the camera is closed."""
    BREAK = "break"
    """The worker takes a break: the camera is closed."""
    BLOCKED = "blocked"
    """The camera is open and cannot see: covered, dark, moved."""
    NOTICE = "notice"
    """The worker has not accepted the notice: the camera is closed until then."""
    LED_FAULT = "led-fault"
    """The light that shows when the camera is open does not work: the camera is closed."""
    REPAIR = "repair"
    """The unit is under repair, or was tampered with: the camera is closed until somebody there says so."""
    SAFE_MODE = "safe-mode"
    """The unit failed again and again: the camera stays closed, the uplink and the diagnosis work."""
    CAMERA_FAULT = "camera-fault"
    """The camera does not open, or gives no picture."""
    STOPPED = "stopped"
    """The unit was told to stop."""
    UNKNOWN = "unknown"
    """Only offline: the unit went away without a word, or to be connected with other settings."""


class Model(Wire, frozen=True, kw_only=True):
    """The detector that looked."""

    name: Text
    """Of its card."""
    sha256: Sha256
    """Of the model's file."""


class Rule(Wire, frozen=True, kw_only=True):
    """The line of the policy that spoke."""

    id: Text
    """The rule's id in the policy."""
    kind: Text
    """`object`, `people`, `tamper` or `activity`."""


class AlarmCode(enum.StrEnum):
    """What somebody should see to."""

    DEAD_LETTERS = "dead-letters"
    """The broker would not take some messages: they wait on the unit."""
    SPOOL_SALVAGED = "spool-salvaged"
    """The spool's file was damaged: what could be read of it was kept."""
    SPOOL_UNWRITABLE = "spool-unwritable"
    """Events cannot be written to the unit's disk."""
    DISK_FULL = "disk-full"
    """The unit's disk is full: pictures give way, and what room is left is for events."""
    CLOCK_UNSYNCHRONISED = "clock-unsynchronised"
    """The unit does not know the time."""
    INGESTER_SILENT = "ingester-silent"
    """Events are to be released by the ingester, and it acknowledges nothing."""
    NO_INDICATOR = "no-indicator"
    """The unit has no light of its own that shows when the camera is open."""
    INDICATOR_FAILED = "indicator-failed"
    """That light does not work: the camera stays closed."""
    CAMERA_HELD = "camera-held"
    """The camera is closed, and a driver that hangs may hold it still: the light stays on."""
    NO_BUTTON = "no-button"
    """The unit has no break button, or one that cannot be read."""
    LOG_UNWRITABLE = "log-unwritable"
    """The worker's log cannot be written: nothing leaves the unit until it can."""
    POWER = "power"
    """The supply is too low, or was within the last ten minutes: the unit may crash, and its card suffer."""
    TOO_HOT = "too-hot"
    """The processor is so hot that it is slowed down."""
    CERTIFICATE_EXPIRES = "certificate-expires"
    """Two thirds of the life of the unit's certificate are over, or all of it: it needs a new one."""
    CERTIFICATE_REFUSED = "certificate-refused"
    """The broker does not take the unit's newest certificate: the unit comes with the one before it."""


class Alarm(Wire, frozen=True, kw_only=True):
    """One thing that somebody should see to, in `state` for as long as it holds."""

    code: AlarmCode
    detail: Remark = ""
    """For people: how many, which file."""


class State(Wire, frozen=True, kw_only=True):
    """Payload of `state`: birth, change, explicit offline, and will.

    Of two messages of a unit, the one with the higher (`session`, `connection`) is the later: a reader drops
    an offline that is older than the online it holds, whenever a broker delivers a late will.
    """

    online: bool
    """False in a goodbye and in a will."""
    session: Count = 0
    """+1 at each start of the unit, durable; the uplink fills it in."""
    connection: Count = 0
    """+1 at each connection within a session; the uplink fills it in."""
    boot_id: Text
    """The system's boot, as the kernel names it."""
    firmware: Text
    """Version of deskwatch."""
    model: Model | None
    """What looks."""
    policy_version: Count | None
    """Of the policy in force."""
    capture: Capture
    reason: Remark = ""
    """For people: why `capture` is what it is."""
    alarms: tuple[Alarm, ...] = ()
    """What somebody should see to now; empty when all is well."""
    at: Timestamp
    """When it was written: in a will, when the connection was made."""


class Health(Wire, frozen=True, kw_only=True):
    """Payload of `health`: how the unit fares, every minute while it is connected.

    Counts are since the unit's start; null stands for what this machine does not tell, or is not there yet.
    """

    at: Timestamp
    """When it was measured."""
    session: Count
    """As in `state`."""
    boot_id: Text
    """The system's boot, as the kernel names it."""
    clock: ClockQuality
    clock_error_s: Seconds | None
    """The most that the clock is wrong by, as the kernel knows."""
    up_s: Seconds
    """Since the unit's start."""
    restarts: Count
    """Starts of the unit in this boot, less one."""
    capture: Capture
    frames: Count
    """Frames taken."""
    inferences: Count
    """Spells of five seconds in which the model ran: its runs themselves would tell when somebody moves."""
    skipped: Count
    """Frames that were thrown away unseen, as a break began or the gate closed meanwhile."""
    camera_faults: Count
    """Times that the camera did not open, or gave no picture."""
    inference_p50_s: Seconds | None
    """Of the last runs of the model, pre-processing included, half took no longer."""
    inference_p95_s: Seconds | None
    """95 of 100 took no longer."""
    inference_p99_s: Seconds | None
    """99 of 100 took no longer."""
    temperature_c: float | None
    """The processor's hottest sensor."""
    throttled: Count | None
    """The firmware's bits: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit, as of
    now; 16 to 19 the same since boot, as far as the unit ran."""
    under_voltage: bool | None
    """Whether the supply is too low now."""
    disk_free_bytes: Count | None
    """On the disk of the unit's state."""
    memory_available_bytes: Count | None
    """Of the whole machine."""
    spool_events: Count | None
    """Events that wait; null where the spool cannot be read."""
    spool_thumbnails: Count | None
    """Pictures that wait."""
    spool_used_bytes: Count | None
    """What both take up."""
    dead_letters: Count | None
    """Messages that the broker would not take."""


class ThumbnailRef(Wire, frozen=True, kw_only=True):
    """The picture that was spooled with the event. It may never come: pictures give way before events."""

    topic: Text
    """Where it is published."""
    media_type: Text
    """`image/jpeg`; `application/vnd.deskwatch.sealed` where the policy names a recipient."""
    bytes: Positive
    """Its size, as published."""
    sha256: Sha256
    """Of its bytes, as published."""
    recipient: Text | None = None
    """Id of the key that it is sealed to; none: it is not sealed."""
    expires_at: Timestamp
    """End of its retention: whoever has it deletes it then."""


class EventData(Wire, frozen=True, kw_only=True):
    """What the data of every event begins with."""

    unit: Text
    """The unit's id."""
    tenant: Text
    """The organisation."""
    epoch: Epoch
    """The life of the unit's spool: `seq` counts from 1 in each. A new one begins where a spool was lost."""
    seq: Positive
    """Contiguous per unit and epoch: a number that is missing will come, or stands in a gap event."""
    boot_id: Text
    """The system's boot, as the kernel names it."""
    clock: ClockQuality
    monotonic_s: Seconds
    """The unit's monotonic clock at `time`; with `boot_id`, good for what the wall clock is not."""


class LookData(EventData, frozen=True, kw_only=True):
    """What the data of an infraction's events begins with."""

    policy_version: Count
    """Of the policy that was in force."""
    model: Model
    rule: Rule


class OpenedData(LookData, frozen=True, kw_only=True):
    """What was seen when an infraction opened."""

    since_at: Timestamp
    """Start of the hold: when it was first seen."""
    hold_s: Seconds
    """How long the rule wanted it seen before it opened."""
    labels: tuple[Text, ...] = ()
    """What was seen, as the model names it; for tamper rules the causes."""
    score: Fraction | None = None
    """Best score over the hold; None for rules that have none."""
    boxes: tuple[BoxTuple, ...] = ()
    """x0, y0, x1, y1 in 0–1 of the frame; for object rules only."""
    people: Count | None = None
    """Counted people, for people rules."""
    thumbnail: ThumbnailRef | None = None
    """None where the policy wants no picture, or there was none."""


class ClosedData(LookData, frozen=True, kw_only=True):
    """How an infraction ended."""

    opened_id: Text
    """`id` of the event that opened it."""
    duration_s: Seconds
    """From `since_at` of the opened event to the last time it was seen."""
    reason: Ended


class BreakStartedData(EventData, frozen=True, kw_only=True):
    """The worker takes a break: nothing is watched."""

    reason: Remark
    """As whoever started it gave it; may be empty."""
    by: BreakBy
    ends_at: Timestamp
    """When watching resumes at the latest."""


class BreakEndedData(EventData, frozen=True, kw_only=True):
    """A break ended."""

    started_id: Text
    """`id` of the event that started it."""
    duration_s: Seconds
    """How long it was on."""
    reason: Remark
    """The break's own."""
    by: BreakBy


class Lost(enum.StrEnum):
    """Why something was given up."""

    SPOOL_FULL = "spool-full"
    """The spool's bound was reached: the oldest gave way."""
    DISK_FULL = "disk-full"
    """The unit's disk took no more, and too much waited in memory."""
    TOO_OLD = "too-old"
    """It waited longer than the unit keeps an event."""
    EXPIRED = "expired"
    """A picture's retention ended."""
    REFUSED = "refused"
    """The broker would not have it, as long as it was kept."""
    RELEASED = "released"
    """The unit gave it to the broker when it did not wait for the ingester yet: it came, or will not."""
    CORRUPT = "corrupt"
    """The spool's file was damaged."""


class GapData(EventData, frozen=True, kw_only=True):
    """What of these numbers did not come will not come. Whoever waits for it waits no more."""

    what: Literal["event", "thumbnail"]
    """What was lost."""
    lost_epoch: Epoch
    """The epoch of the numbers below."""
    from_seq: Positive
    """The first number of the range."""
    to_seq: Positive
    """Events: with a count, all from `from_seq` to here are lost; without one, those that did not come."""
    count: Positive | None
    """None where it cannot be known: then, of events too, those of the range are lost that did not come."""
    reason: Lost


class ClockSetData(EventData, frozen=True, kw_only=True):
    """The clock was set: `time` belongs to `monotonic_s` of `boot_id`, which puts earlier times right."""

    stepped_s: float
    """What the wall clock was put forward by; negative where it was put back."""


class _CloudEvent(Wire, frozen=True, kw_only=True, tag_field="type"):
    specversion: Literal["1.0"] = "1.0"
    """Of CloudEvents."""
    id: MessageId
    """Unique: two messages with the same one are the same event."""
    source: Text
    """The unit, as a URI reference."""
    subject: Text
    """The rule's id; else `break`, `gap`, `clock`."""
    time: Timestamp
    """When it happened; see `data.clock` for what that is worth."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Of `data`."""


class OpenedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.infraction.opened.v1"):
    """An infraction opened."""

    data: OpenedData


class ClosedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.infraction.closed.v1"):
    """An infraction closed."""

    data: ClosedData


class BreakStartedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.break.started.v1"):
    """A break started."""

    data: BreakStartedData


class BreakEndedEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.break.ended.v1"):
    """A break ended."""

    data: BreakEndedData


class GapEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.gap.v1"):
    """Something was given up."""

    data: GapData


class ClockSetEvent(_CloudEvent, frozen=True, kw_only=True, tag="deskwatch.clock.set.v1"):
    """The clock was synchronised."""

    data: ClockSetData


Event = OpenedEvent | ClosedEvent | BreakStartedEvent | BreakEndedEvent | GapEvent | ClockSetEvent

_events: Reader[Event] = Reader("event", Event)  # type: ignore[arg-type]  # mypy has no type for a union's own
_states = Reader("state", State)
_healths = Reader("health", Health)


def encode(message: State | Event) -> bytes:
    """Return the JSON of a message, or raise InvalidMessage."""
    return encode_as(message, _states) if isinstance(message, State) else encode_as(message, _events)


def encode_health(health: Health) -> bytes:
    """Return the JSON of a health, or raise InvalidMessage."""
    return encode_as(health, _healths)


def decode_health(payload: bytes) -> Health:
    """Read the payload of `health`."""
    return _healths.read(payload)


def decode_state(payload: bytes) -> State:
    """Read the payload of `state`."""
    return _states.read(payload)


def decode_event(payload: bytes) -> Event:
    """Read the payload of `event`."""
    return _events.read(payload)
