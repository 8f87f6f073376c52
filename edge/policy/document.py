"""The policy document: what is forbidden, when we look, what a picture may hold. Parsed once, at the border.

Ranges are part of the types, so an invalid policy cannot be built; what a policy may never loosen (retention,
sharpness outside the evidence box) has no key here at all.
"""

import datetime as dt
import errno
import zoneinfo
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.border import locate, read_bounded
from edge.errors import EdgeError
from edge.policy.broker import Broker
from edge.policy.floor import BREAK_MIN_S, first_below, value_at, why_below
from edge.policy.floor import PERSON as PERSON  # noqa: PLC0414  one of the document's own words
from edge.policy.floor import RETAIN_MAX_DAYS as RETAIN_MAX_DAYS  # noqa: PLC0414
from edge.policy.recipient import PATTERN, WANTED, Recipient

MAX_POLICY_BYTES = 64_000
SCHEMA = "policy/1"

_RULE_ID = "1 to 64 lower-case letters, digits and -, the first no -"
_UNIT_ID = "* or a unit's id: 1 to 64 letters, digits, . _ and -"
_CLOCK = "HH:MM, 00:00 to 23:59"
RuleId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z", description=_RULE_ID)]
UnitId = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})\Z", description=_UNIT_ID)]
Start = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description=_CLOCK)]
End = Annotated[
    str,
    Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z", description=f"{_CLOCK}, or 24:00"),
]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
Score = Annotated[float, Meta(gt=0.0, le=1.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Cause = Literal["covered", "defocused", "moved", "frozen"]
CAUSES: tuple[Cause, ...] = ("covered", "defocused", "moved", "frozen")
Point = tuple[Share, Share]
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=32)]


class PolicyError(EdgeError):
    """The policy is refused and the one before it stays: correct the document there, then try again."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{problem} - at {path}")
        self.path = path
        self.problem = problem


class PolicyMissing(PolicyError):
    """There is no policy to read: put one there (edge/defaults/policy.json is one), or correct the path."""


class SchemaUnknown(PolicyError):
    """This firmware does not read this kind of document: write it as policy/1, or update the firmware."""


class BelowFloor(PolicyError):
    """The policy asks for less privacy than the firmware grants: take that out; nobody can sign it away."""


class LabelUnserved(PolicyError):
    """A rule asks for what the unit's model does not know: name a label of its card, or fit another model."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Shift(_Part, frozen=True, kw_only=True):
    """When the worker is at work, on the clock of the policy's time zone."""

    days: Annotated[tuple[Day, ...], Meta(min_length=1, max_length=7)]
    """The days on which it starts."""
    start: Start
    end: End
    """An end before the start is on the next day; 24:00 is the midnight that ends the day."""

    def __post_init__(self) -> None:
        _unique("days", self.days)
        if self.start == self.end:
            raise ValueError(
                f"end: wanted another time than the start, got {self.end} (a whole day is 00:00 to 24:00)"
            )


class Continuous(_Part, frozen=True, kw_only=True, tag_field="mode", tag="continuous"):
    """Look all through the shift."""


class Spot(_Part, frozen=True, kw_only=True, tag_field="mode", tag="spot"):
    """Look in short bursts at random moments (a Poisson process); the camera is closed in between."""

    mean_interval_s: Annotated[float, Meta(ge=30.0, le=28_800.0)]
    burst_s: Annotated[float, Meta(ge=3.0, le=600.0)]

    def __post_init__(self) -> None:
        if self.burst_s > self.mean_interval_s:
            raise ValueError(
                f"burst_s: wanted at most mean_interval_s {self.mean_interval_s:g}, or mode continuous, "
                f"got {self.burst_s:g}"
            )


class Breaks(_Part, frozen=True, kw_only=True):
    """How long a break lasts before watching resumes by itself. Its start can never be refused."""

    max_s: Annotated[float, Meta(ge=BREAK_MIN_S, le=28_800.0)] = 1_800.0


class Thumbnail(_Part, frozen=True, kw_only=True):
    """Bounds of the redacted picture. What is sharp in it is compiled in, not configured."""

    max_side_px: Annotated[int, Meta(ge=64, le=960)] = 480
    max_bytes: Annotated[int, Meta(ge=2_000, le=200_000)] = 40_000
    retain_days: Annotated[float, Meta(gt=0.0, le=RETAIN_MAX_DAYS)] = RETAIN_MAX_DAYS
    recipient: Annotated[str, Meta(pattern=PATTERN, description=WANTED)] | None = None
    """The public key that pictures are sealed to; none: they are not sealed."""

    def __post_init__(self) -> None:
        if self.recipient is not None:
            try:
                Recipient.parse(self.recipient)
            except ValueError as error:
                raise ValueError(f"recipient: {error}") from error

    @property
    def sealed_to(self) -> Recipient | None:
        """Who alone may read the pictures."""
        return None if self.recipient is None else Recipient.parse(self.recipient)


class _Timed(_Part, frozen=True, kw_only=True, tag_field="kind"):
    id: RuleId
    release_s: Seconds = 5.0
    """How long the answer must be "no" before an open infraction closes."""
    cooldown_s: Seconds = 60.0
    """How long after it closed the rule stays silent."""


class _Scored(_Timed, frozen=True, kw_only=True):
    enter: Score = 0.55
    """Score from which a track counts."""
    leave: Score | None = None
    """Score below which a track that counted no longer does; three quarters of `enter` where not given."""

    @property
    def leave_score(self) -> float:
        """The score below which a track that counted no longer does."""
        return 0.75 * self.enter if self.leave is None else self.leave

    def _check_scores(self) -> None:
        if self.leave is not None and self.leave > self.enter:
            raise ValueError(f"leave: wanted at most enter {self.enter:g}, got {self.leave:g}")


class ObjectRule(_Scored, frozen=True, kw_only=True, tag="object"):
    """A restricted object is in sight."""

    labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=32)]
    hold_s: Seconds = 2.0
    """How long it must be seen before the infraction opens."""
    thumbnail: bool = True

    def __post_init__(self) -> None:
        self._check_scores()
        _unique("labels", self.labels)
        if PERSON in self.labels:
            raise ValueError(f"labels: wanted objects, got {PERSON!r}, whom a rule of kind people counts")


class PeopleRule(_Scored, frozen=True, kw_only=True, tag="people"):
    """Too few people (`min`), or too many (`max`)."""

    min: Annotated[int, Meta(ge=1, le=20)] | None = None
    max: Annotated[int, Meta(ge=0, le=20)] | None = None
    min_height: Share = 0.25
    """People less tall than this share of the frame (the family in the background) do not count."""
    given_hold_s: Seconds | None = msgspec.field(default=None, name="hold_s")
    thumbnail: bool = True

    @property
    def hold_s(self) -> float:
        """Where not given: 2 s for one too many, and 30 s for an empty chair, which needs more patience."""
        if self.given_hold_s is not None:
            return self.given_hold_s
        return 2.0 if self.min is None else 30.0

    def __post_init__(self) -> None:
        self._check_scores()
        if (self.min is None) == (self.max is None):
            got = "none" if self.min is None else "both"
            raise ValueError(f"wanted exactly one of min and max, got {got}")


class TamperRule(_Timed, frozen=True, kw_only=True, tag="tamper"):
    """The camera is kept from seeing."""

    causes: Annotated[tuple[Cause, ...], Meta(min_length=1, max_length=4)] = CAUSES
    hold_s: Seconds = 10.0
    thumbnail: bool = True

    def __post_init__(self) -> None:
        _unique("causes", self.causes)


class ActivityRule(_Timed, frozen=True, kw_only=True, tag="activity"):
    """The workstation was idle for `quiet_s`. With no source of beats, nothing is reported."""

    quiet_s: Annotated[float, Meta(ge=10.0, le=86_400.0)] = 300.0

    @property
    def hold_s(self) -> float:
        """The quiet has been waited for already: none."""
        return 0.0

    @property
    def thumbnail(self) -> bool:
        """No picture shows a keyboard that is not used."""
        return False


Rule = ObjectRule | PeopleRule | TamperRule | ActivityRule


class Policy(_Part, frozen=True, kw_only=True):
    """The whole document, `policy/1`."""

    schema: Literal["policy/1"]
    version: Annotated[int, Meta(ge=1, le=2**53)]
    unit: UnitId = "*"
    """The unit it is for; `*` is any."""
    issued_at: Annotated[dt.datetime, Meta(tz=True)]
    expires_at: Annotated[dt.datetime, Meta(tz=True)]
    timezone: str
    """IANA name of the zone on whose clock the shifts are."""
    shifts: Annotated[tuple[Shift, ...], Meta(min_length=1, max_length=32)]
    watch: Continuous | Spot
    breaks: Breaks = Breaks()
    masks: Annotated[tuple[Polygon, ...], Meta(max_length=16)] = ()
    """Polygons, x and y in 0–1 of the frame, made black before anything looks at it."""
    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=64)]
    thumbnail: Thumbnail = Thumbnail()
    broker: Broker | None = None
    """Where to connect; where not given, as unit.toml says."""

    def __post_init__(self) -> None:
        if self.expires_at <= self.issued_at:
            raise ValueError(
                f"expires_at: wanted a time after issued_at {self.issued_at}, got {self.expires_at}"
            )
        _unique("rules", tuple(rule.id for rule in self.rules))
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            wanted = "an IANA name such as America/Bogota"
            raise ValueError(f"timezone: wanted {wanted}, got {self.timezone!r}") from error
        for index, polygon in enumerate(self.masks):
            if _crosses(polygon):
                raise ValueError(f"masks[{index}]: wanted sides that do not cross, got some that do")
            if _area(polygon) < 1e-6:
                raise ValueError(f"masks[{index}]: wanted a polygon with an area, got points in a line")

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The zone on whose clock the shifts are."""
        return zoneinfo.ZoneInfo(self.timezone)


def parse_policy(document: bytes) -> Policy:
    """Return the policy in a JSON `document`.

    Raises PolicyError with the path of the first mistake; SchemaUnknown and BelowFloor are such.
    """
    if len(document) > MAX_POLICY_BYTES:
        raise PolicyError("$", f"wanted at most {MAX_POLICY_BYTES} bytes, got {len(document)}")
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError("$", f"wanted a JSON document, got something else: {error}") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(schema, str) and schema != SCHEMA:
        raise SchemaUnknown("$.schema", f"wanted {SCHEMA!r}, got {schema[:80]!r}")
    try:
        policy = msgspec.convert(raw, Policy)
    except msgspec.ValidationError as error:
        path, problem = locate(str(error), Policy, raw)
        if (why := why_below(path, value_at(raw, path))) is not None:
            raise BelowFloor(path, f"{problem}: {why}") from error
        raise PolicyError(path, problem) from error
    if (below := first_below(raw)) is not None:
        raise BelowFloor(*below)
    return policy


def shortest_hold_s(policy: Policy) -> float | None:
    """Return the shortest hold of a rule on what the model finds; None: there is no such rule."""
    looked_for = [rule.hold_s for rule in policy.rules if isinstance(rule, ObjectRule | PeopleRule)]
    return min(looked_for, default=None)


def read_policy(path: Path) -> Policy:
    """Return the policy in the file at `path`. Raises PolicyError that names the file."""
    try:
        document = read_bounded(path, MAX_POLICY_BYTES)
    except OSError as error:
        kind = PolicyError if error.errno == errno.EFBIG else PolicyMissing
        raise kind("$", f"{path}: wanted a policy file, got: {error.strerror}") from error
    try:
        return parse_policy(document)
    except PolicyError as error:
        raise PolicyError(error.path, f"{path}: {error.problem}") from error


def check_labels(policy: Policy, labels: Collection[str]) -> None:
    """Raise LabelUnserved for the first rule that a model with these `labels` cannot serve."""
    known = ", ".join(sorted(set(labels) - {PERSON}))
    for index, rule in enumerate(policy.rules):
        match rule:
            case ObjectRule():
                for place, label in enumerate(rule.labels):
                    if label not in labels:
                        path = f"$.rules[{index}].labels[{place}]"
                        raise LabelUnserved(path, f"wanted a label of the model ({known}), got {label!r}")
            case PeopleRule() if PERSON not in labels:
                problem = f"wanted a model that sees a {PERSON!r}, got one that sees: {known}"
                raise LabelUnserved(f"$.rules[{index}]", problem)
            case _:
                pass


def _unique(what: str, values: tuple[str, ...]) -> None:
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise ValueError(f"{what}: wanted each once, got {twice!r} twice")


def _area(polygon: tuple[Point, ...]) -> float:
    """Shoelace formula."""
    ring = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in ring)) / 2.0


def _crosses(polygon: tuple[Point, ...]) -> bool:
    """Tell whether two sides cross: each has the ends of the other on both its hands."""
    sides = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    return any(
        _hand(a, b, c) * _hand(a, b, d) < 0.0 and _hand(c, d, a) * _hand(c, d, b) < 0.0
        for index, (a, b) in enumerate(sides)
        for c, d in sides[:index]
    )


def _hand(a: Point, b: Point, c: Point) -> float:
    """Return above 0 where c lies on one hand of the line from a to b, below 0 on the other."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
