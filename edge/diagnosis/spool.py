"""What waits to be sent, whether it can be read, and what was lost."""

import threading
from dataclasses import dataclass
from pathlib import Path

from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.diagnosis.holder import told_of_holder
from edge.state_folder import SPOOL_FILE
from edge.uplink.looking import Look, look
from edge.uplink.records import SpoolCorrupt, SpoolEmpty, SpoolError, SpoolLocked, SpoolNewer

FILLS, FULL = 0.8, 0.98
"""Of `spool.max_bytes`. Over the latter, each new message takes the place of an older one."""
WAITS_S = 6 * 3600.0
GIVEN_UP = 0.8
"""Of `spool.max_age_days`."""
_DAY_S = 86_400.0
_LOOK_LIMIT_S = 40.0
"""All pages of the largest spool that a unit has by default, from a slow card."""
_BESIDE_S = 0.5
_NONE_YET = "there is none yet: the unit makes it when it starts"
_looking = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is in it."""

    waiting: int
    dead_letters: int
    used_bytes: int
    oldest_s: float | None
    lost_events: int
    lost_thumbnails: int
    expired: int


def probe_integrity(patient: Patient) -> Verdict:
    """Look whether the file can be read, whole; nothing in it is changed."""
    if patient.facts is not None:
        error = patient.facts.get("spool.error")
        return passed("the unit reads and writes it") if error is None else failed("unusable", str(error))
    if patient.config is None:
        return skipped("unit.toml cannot be used: see config.readable")
    return _looked_at(patient, patient.config.paths.state / SPOOL_FILE)


def _looked_at(patient: Patient, path: Path) -> Verdict:
    try:
        if not path.exists():
            return skipped(_NONE_YET)
        if (stranger := _other_owner(path)) is not None:
            return failed("denied", f"{stranger} is another user's", "the user's that the unit runs as")
        found = _look_once(patient, path)
    except _Elsewhere:
        return skipped("the look that was begun before has not ended")
    except SpoolLocked:
        return told_of_holder(patient, path)
    except (SpoolError, OSError) as error:
        return _not_sound(error)
    return passed(
        "sound" if found is not None else "sound, of an older version: a start brings it up to date"
    )


def _not_sound(error: SpoolError | OSError) -> Verdict:
    match error:
        case SpoolNewer():
            return failed("newer", "written by a newer deskwatch", "one of this version")
        case SpoolCorrupt():
            return failed("damaged", "damaged", "sound")
        case SpoolEmpty():
            return skipped(_NONE_YET)
        case PermissionError():
            return skipped("not yours to read: run it with sudo")
        case OSError():
            return failed("unusable", error.strerror or "cannot be read", "sound")
    return failed("unusable", str(error), "sound")


def _other_owner(path: Path) -> str | None:
    """Return which of its files is not the user's who owns the folder, and so the unit's."""
    owner = path.parent.stat().st_uid
    for name in (path.name, f"{path.name}.lock", f"{path.name}-wal"):
        file = path.with_name(name)
        if file.exists() and file.stat().st_uid != owner:
            return name
    return None


class _Elsewhere(Exception):
    """Another check looks: it never leaves this module."""


def _look_once(patient: Patient, path: Path) -> Look | None:
    """Look for all checks of this patient: it takes seconds. Raises what `look` does, and _Elsewhere."""
    if not _looking.acquire(timeout=_BESIDE_S):
        raise _Elsewhere
    try:
        if "spool" not in patient.found:
            try:
                patient.found["spool"] = look(path)
            except (SpoolError, OSError) as error:
                patient.found["spool"] = error
        found = patient.found["spool"]
    finally:
        _looking.release()
    if isinstance(found, SpoolError | OSError):
        raise found
    assert found is None or isinstance(found, Look)
    return found


def probe_depth(patient: Patient) -> Verdict:
    """Look how full it is."""
    figures = _figures(patient)
    if isinstance(figures, Verdict):
        return figures
    if patient.config is None:
        return skipped("unit.toml cannot be used: see config.readable")
    most_bytes = patient.config.spool.max_bytes
    share, limit = figures.used_bytes / most_bytes, f"under {FILLS:.0%}"
    value = f"{figures.waiting} wait, {share:.0%} of {most_bytes / (1 << 20):.0f} MiB"
    if share >= FULL:
        return failed("full", value, limit)
    return warned("fills", value, limit) if share >= FILLS else passed(value, limit)


def probe_oldest(patient: Patient) -> Verdict:
    """Look since when the oldest waits."""
    figures = _figures(patient)
    if isinstance(figures, Verdict):
        return figures
    if figures.oldest_s is None:
        return passed(
            "nothing waits" if not figures.waiting else "its age is not known: the clock was not set"
        )
    limit = f"under {WAITS_S / 3600:.0f} h"
    value = f"{figures.oldest_s / 3600:.1f} h"
    most_s = patient.config.spool.max_age_days * _DAY_S if patient.config is not None else None
    if most_s is not None and figures.oldest_s > GIVEN_UP * most_s:
        return failed("given-up-soon", value, limit)
    return warned("waits", value, limit) if figures.oldest_s > WAITS_S else passed(value, limit)


def probe_dead_letters(patient: Patient) -> Verdict:
    """Look whether the broker would not take something."""
    figures = _figures(patient)
    if isinstance(figures, Verdict):
        return figures
    count = figures.dead_letters
    return warned("refused", f"{count} wait on the unit", "none") if count else passed("none", "none")


def probe_gaps(patient: Patient) -> Verdict:
    """Look whether events were lost."""
    figures = _figures(patient)
    if isinstance(figures, Verdict):
        return figures
    pictures = f"{figures.lost_thumbnails} pictures lost, {figures.expired} past their time"
    if figures.lost_events:
        return warned("lost", f"{figures.lost_events} events lost; {pictures}", "no events")
    return passed(f"no event lost; {pictures}", "no events")


def _figures(patient: Patient) -> _Figures | Verdict:
    if patient.facts is not None:
        return _told(patient)
    if patient.config is None:
        return skipped("unit.toml cannot be used: see config.readable")
    try:
        found = _look_once(patient, patient.config.paths.state / SPOOL_FILE)
    except _Elsewhere:
        return skipped("the look that was begun before has not ended: see spool.integrity")
    except SpoolEmpty:
        return skipped(_NONE_YET)
    except (SpoolError, OSError):
        return skipped("needs spool.integrity")
    if found is None:
        return skipped("it is of an older version: start the unit")
    depth, lost, oldest_at = found.depth, found.lost, found.oldest_at
    now_at = patient.clock.now_at()
    age_s = None if oldest_at is None else max(0.0, (now_at - oldest_at).total_seconds())
    waiting = depth.events + depth.thumbnails
    return _Figures(
        waiting, depth.refused, depth.used_bytes, age_s, lost.events, lost.thumbnails, lost.expired
    )


def _told(patient: Patient) -> _Figures | Verdict:
    facts = patient.facts or {}
    if facts.get("spool.error") is not None:
        return skipped("needs spool.integrity")
    if not isinstance(facts.get("spool.events"), int | float):
        return skipped("the unit does not say")

    def count(name: str) -> int:
        value = facts.get(f"spool.{name}")
        return int(value) if isinstance(value, int | float) else 0

    oldest_s = facts.get("spool.oldest_s")
    return _Figures(
        count("events") + count("thumbnails"),
        count("dead_letters"),
        count("used_bytes"),
        float(oldest_s) if isinstance(oldest_s, int | float) else None,
        count("lost_events"),
        count("lost_thumbnails"),
        count("expired"),
    )


_LINK = "See broker.dns to broker.publish: what is wrong there keeps events on the unit."

CHECKS = (
    Check(
        "spool.integrity",
        probe_integrity,
        {
            "damaged": "A start of the unit keeps what can be read of it, and reports the rest as lost."
            " The card is"
            " failing: replace it soon.",
            "newer": "A newer deskwatch was installed here. Install that version again: this one leaves"
            " the events as"
            " they are.",
            "denied": "Its folder must be the unit's user's: chown -R deskwatch on the state folder.",
            "held": "Another process has the unit's state folder, so no unit can start. See what it is with"
            " ps -fp and its number, stop it, then: sudo systemctl restart deskwatch",
            "unusable": "Look at disk.free and disk.writable first. If both pass, restart the unit; if it"
            " stays,"
            " replace the card.",
        },
        timeout_s=_LOOK_LIMIT_S,
    ),
    Check(
        "spool.depth",
        probe_depth,
        {
            "fills": f"It fills up: pictures will give way, then events. {_LINK}",
            "full": f"It is full, and older messages give way to newer ones. {_LINK}",
        },
        timeout_s=_LOOK_LIMIT_S,
    ),
    Check(
        "spool.oldest",
        probe_oldest,
        {
            "waits": f"Nothing has left for hours. {_LINK} With uplink.release = ack, look at the ingester.",
            "given-up-soon": f"The oldest events will soon be given up (spool.max_age_days). {_LINK}",
        },
        timeout_s=_LOOK_LIMIT_S,
    ),
    Check(
        "spool.dead-letters",
        probe_dead_letters,
        {
            "refused": "The broker would not take them; they are tried again on later connections. Look at"
            " its access"
            " list (docs/acl) and its largest packet.",
        },
        timeout_s=_LOOK_LIMIT_S,
    ),
    Check(
        "spool.gaps",
        probe_gaps,
        {
            "lost": "They are gone, and gap events say which. Look at disk.free, spool.depth and the card;"
            " the count"
            " is since the spool was made.",
        },
        timeout_s=_LOOK_LIMIT_S,
    ),
)
