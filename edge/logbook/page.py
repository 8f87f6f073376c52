"""The worker's log as one self-contained HTML page: no script, no request to anywhere, bounded in size."""

import datetime as dt
import re
from collections.abc import Sequence
from importlib import resources

from edge.logbook import figures, rules, timeline, words
from edge.logbook.cards import Log, Room, cards_of, policy_told, safe
from edge.logbook.days import Day
from edge.logbook.moments import Kind, Moment
from edge.logbook.survey import server_words

TOLD_MAX = 200
"""Messages of a unit about itself that are listed for a day."""


def render(log: Log, room: Room | None = None) -> str:
    """Return the page. Every text is escaped; pictures are inside it as data, as far as there is `room`."""
    room = room or Room()
    days, left_out = _days(log, room)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        'style-src \'unsafe-inline\'"><meta name="referrer" content="no-referrer">'
        f"<title>Your log · {safe(log.unit)}</title><style>{_style()}</style></head><body><main>\n"
        f"{_top(log)}{_totals(log)}{_rules_now(log)}"
        f"{_contents(log.days[: len(log.days) - left_out])}{timeline.legend()}\n"
        f"{days}{_left_out(log, room, left_out)}{_foot(log)}</main></body></html>\n"
    )


def _style() -> str:
    return resources.files("edge.defaults").joinpath("log.css").read_text("utf-8")


def _top(log: Log) -> str:
    made = (
        f"{figures.date(log.made_at.astimezone(log.zone).date())}, {log.made_at.astimezone(log.zone):%H:%M}"
    )
    mark, kind = "✓" if log.verdict.good else "!", log.verdict.sound.value
    role = "" if log.verdict.good else ' role="alert"'
    return (
        '<header><p class="eyebrow">deskwatch</p><h1>What your unit saw, and what it sent</h1>'
        f'<p class="lead">This is the log that the unit <b>{safe(log.unit)}</b> keeps for you. Whatever'
        f" leaves it is written here first, and all of it goes to <b>{safe(log.tenant)}</b>,"
        f" {safe(server_words(log.survey, log.server))}. This page was made on {safe(made)}, and nothing was"
        f" sent for it. Times are those of {safe(log.zone_name)}.</p>"
        "</header>\n"
        f'<section class="verdict {kind}"{role}><span class="mark" aria-hidden="true">{mark}</span>'
        f"<div><h2>{safe(log.verdict.title)}</h2><p>{safe(log.verdict.text)}</p>{_head(log)}</div></section>\n"
    )


def _head(log: Log) -> str:
    if not log.verdict.good:
        exact = ""
        if log.verdict.exact:
            exact = f"<details><summary>Word for word</summary><pre>{safe(log.verdict.exact)}</pre></details>"
        to_do = re.sub("`([^`]*)`", r"<code>\1</code>", safe(log.verdict.to_do))
        return f"<p>{to_do}</p>{exact}"
    if not log.head.seq:
        return ""
    return (
        f'<p class="note">Write this down to check later: entry <b>{log.head.seq:,}</b>,'
        f" <code>{safe(figures.fingerprint(log.head.sha256))}</code></p>"
    )


def _totals(log: Log) -> str:
    moments = [moment for day in log.days for moment in day.moments]
    pictures = [moment.picture for moment in moments if moment.picture and moment.picture.sent_at]
    watched_s = sum(day.lasted_s(words.Mode.WATCHING) for day in log.days)
    unknown = any(day.lasted_s(words.Mode.UNKNOWN) >= 1.0 for day in log.days)
    counts = (
        (_count(moments, Kind.SEEN), "report" if _count(moments, Kind.SEEN) == "1" else "reports"),
        (f"{len(pictures):,}", "picture sent" if len(pictures) == 1 else "pictures sent"),
        (_count(moments, Kind.BREAK), "break" if _count(moments, Kind.BREAK) == "1" else "breaks"),
        (_count(moments, Kind.ASKED), "requests from afar"),
        (_unbroken(figures.span(watched_s)), f"camera open{', as far as is known' if unknown else ''}"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for value, name in counts)
    days = figures.number(len(log.days), "day")
    of = ", with what can still be read of the log that was changed" if log.survey.former else ""
    title = f'<h2 class="quiet">In {days}{of}</h2>'
    return f'<section aria-label="In all">{title}<dl class="totals">{cells}</dl></section>\n'


def _unbroken(text: str) -> str:
    """Return a duration that breaks between its parts only."""
    return re.sub(r"(?<=[0-9]) ", "\N{NO-BREAK SPACE}", text)


def _count(moments: Sequence[Moment], kind: Kind) -> str:
    return f"{sum(moment.kind is kind for moment in moments):,}"


def _rules_now(log: Log) -> str:
    about = log.survey
    if about.policy is None:
        return f"<section><h2>The rules</h2><p>{rules.UNKNOWN}.</p></section>\n"
    told = policy_told(about.policy, log.zone, log.server)
    whose = ""
    if about.policy_of:
        whose = f"<p>So says {safe(about.policy_of)}, which was changed; this log does not say it itself.</p>"
    return f'<section class="rules"><h2>The rules now</h2>{whose}{told}</section>\n'


def _contents(days: Sequence[Day]) -> str:
    if len(days) < 4:
        return ""
    links = "".join(f'<a href="#d{day.date}">{day.date:%a} {day.date.day} {day.date:%b}</a>' for day in days)
    return f'<nav aria-label="Days">{links}</nav>\n'


def _days(log: Log, room: Room) -> tuple[str, int]:
    """Return the days that there is room for, and how many were left out."""
    sections: list[str] = []
    for index, day in enumerate(log.days):
        if room.text_chars <= 0:
            return "".join(sections), len(log.days) - index
        section = _day(log, day, room)
        sections.append(section)
        if index + 1 < len(log.days):
            sections.append(_nothing_between(log, log.days[index + 1].date, day.date))
    return "".join(sections), 0


def _nothing_between(log: Log, earlier: dt.date, later: dt.date) -> str:
    days = (later - earlier).days - 1
    if days < 1:
        return ""
    said = "is written, and nothing left the unit" if log.verdict.good else "is written that can be read"
    first, last = earlier + dt.timedelta(days=1), later - dt.timedelta(days=1)
    which = (
        f"On {figures.date(first)}" if days == 1 else f"From {figures.date(first)} to {figures.date(last)}"
    )
    return f'<p class="nothing">{which}: nothing {said}.</p>\n'


def _day(log: Log, day: Day, room: Room) -> str:
    items = [moment for moment in day.moments if moment.kind is not Kind.TOLD]
    told = [moment for moment in day.moments if moment.kind is Kind.TOLD]
    name = f"{day.date:%A}, {figures.date(day.date)}"
    unset = " (the unit did not know the time)" if day.date.year < 2024 else ""
    cards = (
        cards_of(log, items, room)
        if items
        else '<p class="nothing">No more than that is written of this day.</p>'
    )
    return (
        f'<section class="day" id="d{day.date}"><h2>{name}{unset}</h2>'
        f"<p>{_summary(log, day)}</p>{timeline.bar(day, log.zone, name)}"
        f"{timeline.table(day, log.zone)}{cards}{_told(log, told)}</section>\n"
    )


def _summary(log: Log, day: Day) -> str:
    seen = [moment for moment in day.moments if moment.kind is Kind.SEEN]
    sent = sum(1 for moment in seen if moment.picture and moment.picture.sent_at)
    breaks = sum(1 for moment in day.moments if moment.kind is Kind.BREAK)
    asked = sum(1 for moment in day.moments if moment.kind is Kind.ASKED)
    lasted = {mode: figures.span(day.lasted_s(mode)) for mode in words.Mode if day.lasted_s(mode)}
    watching, resting = lasted.get(words.Mode.WATCHING), lasted.get(words.Mode.BREAK)
    unknown_s = day.lasted_s(words.Mode.UNKNOWN)
    if watching:
        said = [f"The camera was open for {watching}"]
    elif unknown_s < 1.0:
        said = ["The camera was not open" if day.spans else "What the camera did is not written"]
    else:
        known = sum(span.lasted_s for span in day.spans) - unknown_s
        nothing = "What the camera did is not known"
        said = [nothing if known < 1.0 else "As far as is known, the camera was not open"]
    if breaks:
        in_all = f" of {resting}{' in all' if breaks > 1 else ''}" if resting else ""
        said.append(f"you took {figures.number(breaks, 'break')}{in_all}")
    if seen:
        said.append(
            f"{figures.number(len(seen), 'report')} and {figures.number(sent, 'picture')} left the unit"
        )
    else:
        said.append(f"nothing {'' if log.verdict.good else 'that can be read '}was reported")
    if asked:
        said.append(f"there {'was' if asked == 1 else 'were'} {figures.number(asked, 'request')} from afar")
    whole = ", ".join(said[:-1]) + (", and " if len(said) > 1 else "") + said[-1] + "."
    if unknown_s >= 1.0 and not whole.startswith("What the camera did is"):
        another = "another " if watching else ""
        whole += f" What the camera did for {another}{lasted[words.Mode.UNKNOWN]} is not known."
    return safe(whole)


def _told(log: Log, told: Sequence[Moment]) -> str:
    if not told:
        return ""
    new = [one for one in told if one.new]
    rows = "".join(
        f"<li><time>{one.at.astimezone(log.zone):%H:%M:%S}</time> {safe(one.title)}</li>"
        for one in new[:TOLD_MAX]
    )
    more = f"<li>and {len(new) - TOLD_MAX:,} more</li>" if len(new) > TOLD_MAX else ""
    if again := len(told) - len(new):
        times = figures.number(again, "time")
        more += f"<li>{times} it said only what it had said before, or how it fares</li>"
    label = f"{figures.number(len(told), 'note')} of the unit about itself"
    return f'<details class="told"><summary>{label}</summary><ul>{rows}{more}</ul></details>'


def _left_out(log: Log, room: Room, days: int) -> str:
    said = []
    if days:
        first, last = log.days[-days], log.days[-1]
        said.append(f"{figures.number(days, 'day')}, {figures.date(last.date)} to {figures.date(first.date)}")
    if log.not_read:
        said.append(figures.number(log.not_read, "older entry", "older entries"))
    if room.pictures_left_out:
        said.append(
            figures.number(room.pictures_left_out, "picture that is", "pictures that are") + " still kept"
        )
    if not said:
        return ""
    return (
        f'<p class="left-out">Not on this page, to keep it small: {safe("; ".join(said))}.'
        " <code>deskwatch log --json</code> shows every entry.</p>\n"
    )


def _foot(log: Log) -> str:
    whole = ""
    if log.head.seq:
        whole = f" The whole fingerprint of entry {log.head.seq:,} is <code>{safe(log.head.sha256)}</code>."
    return (
        "<footer><h2>How you can check this</h2><p>Each entry carries the fingerprint of the one before it,"
        " so that none can be changed, moved or taken out without a trace. Whoever controls the unit could"
        " still write a whole new log in its place. Against that helps what you wrote down:"
        " <code>deskwatch log --head</code> with the characters above says whether that entry is still there,"
        f" and unchanged.{whole}</p><p>The camera's frames are looked at in memory and thrown away; nothing"
        " leaves the unit that is not written here first. The pictures are your own copies, made before"
        " sealing. Keep this page as you would keep them: it shows your home.</p></footer>"
    )
