"""From the log's entries to what happened: all is put together that tells of the same thing."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from edge.logbook import figures, findings, refusals, words
from edge.logbook.moments import Kind, Moment, Picture
from edge.logbook.news import News
from edge.policy.document import Policy, PolicyError, parse_policy
from edge.story import printable
from edge.uplink.command_messages import Reply
from edge.uplink.messages import (
    BreakEndedEvent,
    BreakStartedEvent,
    ClockSetEvent,
    ClosedEvent,
    Event,
    GapEvent,
    Health,
    OpenedEvent,
    State,
)
from edge.uplink.twin_messages import Phase, Reported
from edge.uplink.wire import ClockQuality
from edge.worklog.entries import (
    Began,
    Command,
    Entry,
    Here,
    PicturesGone,
    PolicyTook,
    Pruned,
    Sent,
)
from edge.worklog.reading import Unread

LATE_S = 60.0
"""What left the unit so much later than it happened says so."""


Line = Entry | Unread


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of one log."""

    of: str
    """The log, where it was changed and set aside; "" of the one that is written now."""
    lines: Iterable[Line]


def moments_of(entries: Iterable[Line], zone: dt.tzinfo, news: News | None = None) -> list[Moment]:
    """Return what happened, in the order in which it was first written. `news`: of what came before."""
    return gather([Part("", entries)], zone, news)


def gather(parts: Iterable[Part], zone: dt.tzinfo, news: News | None = None) -> list[Moment]:
    """Return what happened, told by logs one after the other."""
    gathered = _Gathered(zone, news or News())
    for part in parts:
        gathered.of = part.of
        for line in part.lines:
            if isinstance(line, Unread):
                gathered.take_unread(line)
            else:
                gathered.take(line)
    return gathered.moments


class _Gathered:
    """Puts entries that tell of the same thing together, by the id that they share."""

    def __init__(self, zone: dt.tzinfo, news: News) -> None:
        self.moments: list[Moment] = []
        self.of = ""
        self._zone, self._news = zone, news
        self._by_id: dict[str, Moment] = {}
        self._last_at = dt.datetime.fromtimestamp(0, dt.UTC)

    def take_unread(self, line: Unread) -> None:
        said = findings.unread(line)
        self.moments.append(Moment(self._last_at, Kind.LOG, said, of=self.of, grave=True))

    def take(self, entry: Entry) -> None:
        at = figures.parsed(entry.at) or dt.datetime.fromtimestamp(0, dt.UTC)
        self._last_at = at
        match entry.note:
            case Sent() as sent:
                self._sent(entry, sent, at)
            case Command(name=name, payload=payload):
                self._new(entry, at, Kind.ASKED, words.asked(name), key=f"command {_id_of(payload)}")
            case PolicyTook(version=version, sha256=sha256, document=document):
                title = self._news.rules(version, sha256)
                if not title:
                    self._told(entry, at, "")
                else:
                    self._new(entry, at, Kind.RULES, title).policy = policy_of(document)
            case Here() as here if (camera := words.camera_note(here)) is not None:
                self._told(entry, at, self._news.camera(*camera))
            case Here(what=what, text=text):
                facts = [words.here(what, text)] if text else []
                self._new(entry, at, Kind.HERE, printable(what[:1].upper() + what[1:]), facts)
            case Began() as began:
                self._began(entry, began, at)
            case Pruned(from_seq=first, to_seq=last, counts=counts):
                title = f"Entries {first:,} to {last:,} were deleted to keep the log within bounds"
                facts = [f"They were: {words.kinds(counts)}"] if counts else []
                self._new(entry, at, Kind.LOG, title, facts)
            case PicturesGone() as gone:
                count = figures.number(len(gone.event_ids), "picture")
                self._new(entry, at, Kind.LOG, f"{count} deleted from this log: {words.gone(gone.why)}")
                self._pictures_gone(entry, gone)

    def _began(self, entry: Entry, began: Began, at: dt.datetime) -> None:
        if not findings.anew(began):
            self._new(entry, at, Kind.LOG, "This log begins")
            return
        facts = [f"Found in it: {findings.plain(findings.of(began))}"]
        if began.before:
            facts.append(
                f"The last entry of it that fits has the fingerprint {figures.fingerprint(began.before)}"
            )
        title = "This log begins anew: the one before it was changed"
        self._new(entry, at, Kind.LOG, title, facts).grave = True

    def _new(
        self,
        entry: Entry,
        at: dt.datetime,
        kind: Kind,
        title: str,
        facts: Sequence[str] = (),
        *,
        key: str = "",
    ) -> Moment:
        moment = Moment(at, kind, title, list(facts), [entry], of=self.of)
        self.moments.append(moment)
        if key:
            self._by_id[key] = moment
        return moment

    def _told(self, entry: Entry, at: dt.datetime, news: str) -> None:
        moment = self._new(entry, at, Kind.TOLD, news or "The unit said once more what it had said before")
        moment.new = bool(news)

    def _add(self, key: str, entry: Entry, facts: Sequence[str]) -> Moment | None:
        """Add an entry to what it belongs to, if that is known."""
        moment = self._by_id.get(key)
        if moment is not None:
            moment.facts.extend(facts)
            moment.entries.append(entry)
        return moment

    def _over(self, event_id: str, entry: Entry, fact: str) -> Moment | None:
        moment = self._add(f"event {event_id}", entry, [fact])
        if moment is not None:
            moment.lasts = False
        return moment

    def _sent(self, entry: Entry, sent: Sent, at: dt.datetime) -> None:
        match words.message_of(sent):
            case State() as state:
                self._told(entry, at, self._news.state(state))
            case Reported() as said if title := self._news.reported(said):
                grave = said.phase in (Phase.REFUSED, Phase.ROLLED_BACK)
                facts = refusals.exactly(said.error)
                self._new(entry, at, Kind.RULES if grave else Kind.TOLD, title, facts).grave = grave
            case Reported():
                self._told(entry, at, "")
            case Health() as said:
                title = self._news.health(at.astimezone(self._zone).date())
                self._told(entry, at, title)
                self.moments[-1].facts.extend(words.fares(said))
            case Reply() as reply:
                facts = [words.answered(reply, self._zone), *refusals.exactly(reply.error)]
                if self._add(f"command {reply.id}", entry, facts) is None:
                    self._new(entry, at, Kind.ASKED, words.asked(sent.topic.removeprefix("reply/")), facts)
            case None:
                self._picture_or_other(entry, sent, at)
            case event:
                self._event(entry, event, sent, at)

    def _event(self, entry: Entry, event: Event, sent: Sent, at: dt.datetime) -> None:
        known = event.data.clock is not ClockQuality.UNSYNCHRONISED
        happened_at = (figures.parsed(event.time) or at) if known else at
        late = self._late(happened_at, at) if (at - happened_at).total_seconds() > LATE_S else []
        match event:
            case OpenedEvent(data=data):
                facts = [f"Rule “{printable(event.subject)}”", *late]
                moment = self._new(
                    entry, happened_at, Kind.SEEN, words.seen(event), facts, key=f"event {event.id}"
                )
                moment.lasts = True
                if data.thumbnail is not None:
                    ref = data.thumbnail
                    moment.picture = Picture(ref.expires_at, ref.bytes, ref.recipient or "", sent.picture)
            case ClosedEvent(data=data):
                fact = f"Lasted {figures.span(data.duration_s)}, until {words.ended(data.reason)}"
                if self._over(data.opened_id, entry, fact) is None:
                    title = f"What rule “{printable(event.subject)}” had reported was over"
                    self._new(entry, happened_at, Kind.SEEN, title, [fact, *late])
            case BreakStartedEvent(data=data):
                reason = f": {printable(data.reason)}" if data.reason else ""
                facts = [f"Started {words.by_whom(data.by)}", *late]
                self._new(entry, happened_at, Kind.BREAK, f"Break{reason}", facts, key=f"event {event.id}")
            case BreakEndedEvent(data=data):
                fact = f"Lasted {figures.span(data.duration_s)}, ended {words.by_whom(data.by)}"
                if self._over(data.started_id, entry, fact) is None:
                    self._new(entry, happened_at, Kind.BREAK, "A break ended", [fact, *late])
            case GapEvent(data=data):
                count = "Some" if data.count is None else f"{data.count:,}"
                things = "reports" if data.what == "event" else "pictures"
                title = f"{count} {things} will never be sent: {words.lost(data.reason)}"
                self._new(entry, happened_at, Kind.LOST, title)
            case ClockSetEvent(data=data):
                title = f"The unit's clock was set, by {data.stepped_s:+,.1f} s"
                self._new(entry, happened_at, Kind.TOLD, title)

    def _pictures_gone(self, entry: Entry, gone: PicturesGone) -> None:
        for event_id in gone.event_ids:
            moment = self._by_id.get(f"event {event_id}")
            if moment is not None and moment.picture is not None:
                moment.picture = dataclasses.replace(
                    moment.picture, gone_at=entry.at, gone_why=words.gone(gone.why)
                )

    def _late(self, happened_at: dt.datetime, left_at: dt.datetime) -> list[str]:
        happened, left = happened_at.astimezone(self._zone), left_at.astimezone(self._zone)
        if happened.date() == left.date():
            return [f"Happened at {happened:%H:%M}, left the unit at {left:%H:%M}"]
        days = (f"{figures.date(one.date())}, {one:%H:%M}" for one in (happened, left))
        return ["Happened on {}, left the unit on {}".format(*days)]

    def _picture_or_other(self, entry: Entry, sent: Sent, at: dt.datetime) -> None:
        topic, _, event_id = sent.topic.partition("/")
        if topic != "thumb":
            title = f"Something was sent that this page cannot read: {printable(sent.topic)}"
            self._new(entry, at, Kind.OTHER, title, [figures.size(sent.bytes)])
            return
        moment = self._add(f"event {event_id}", entry, [])
        if moment is None:
            key = f"event {event_id}"
            moment = self._new(entry, at, Kind.SEEN, "A picture left the unit", key=key)
        ref = sent.picture
        due = moment.picture
        expires_at = ref.expires_at if ref else due.expires_at if due else ""
        sealed_to = (ref.sealed_to if ref else "") or (due.sealed_to if due else "")
        moment.picture = Picture(
            expires_at, sent.bytes, sealed_to, ref or (due.ref if due else None), entry.at
        )


def policy_of(document: str) -> Policy | None:
    """Return a policy as the log keeps it; None where this firmware does not read it."""
    try:
        return parse_policy(document.encode("utf-8", "surrogatepass"))
    except PolicyError:
        return None


def _id_of(payload: str) -> str:
    try:
        decoded = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    return str(decoded.get("id", "")) if isinstance(decoded, dict) else ""
