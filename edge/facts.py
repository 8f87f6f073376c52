"""How the unit is, as facts with names: the answer to `cmd/diagnose`."""

import datetime as dt
import re

from edge import __version__
from edge.clock import Clock
from edge.counts import Counts
from edge.uplink.link_status import LinkStatus
from edge.uplink.messages import Capture, State
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_messages import Reported
from edge.uplink.wire import timestamp
from edge.vision.types import Figures

Facts = dict[str, str | float | None]

TOLD_HERE = "told at the unit alone: deskwatch diagnose"
"""In the place of a text that does not leave the unit."""
_QUOTES = re.compile(r"(?<![^\s\"'(=:,])/(?!(?:dev|proc|sys)/)[^\s/]|\bgot\b")
"""A path that is none of every unit's; the word by which our errors say what they got: anybody's text."""
_THEIR_OWN = frozenset({"policy.error_path"})
"""A path in the document that whoever asks sent: no file's."""


def quotes(text: str) -> bool:
    """Return whether a text holds a path, or what an error quotes: it does not leave the unit."""
    return _QUOTES.search(text) is not None


def facts_afar(facts: Facts) -> Facts:
    """Return the facts as they may leave the unit: with no path, and no text that somebody wrote.

    The reason of a break, or of a repair, is `state`'s to tell.
    """
    written = {"repair.reason"}
    if facts.get("capture.state") in (Capture.BREAK, Capture.REPAIR):
        written.add("capture.reason")

    def stays(name: str, value: str) -> bool:
        return name in written or (quotes(value) and name not in _THEIR_OWN)

    return {
        name: TOLD_HERE if isinstance(value, str) and value and stays(name, value) else value
        for name, value in facts.items()
    }


def link_facts(status: LinkStatus, now_s: float) -> Facts:
    """Return how the connection to the broker is."""
    cause = status.last_cause
    return {
        "link.address": status.address,
        "link.protocol": status.protocol,
        "link.connected": float(status.connected),
        "link.since_at": timestamp(status.since_at),
        "link.connections": status.connections,
        "link.last_error": status.last_error and status.last_error[:256],
        "link.last_cause": cause and cause.value,
        "link.identity": status.identity,
        "link.puback_age_s": _age(status.last_puback_s, now_s),
        "link.round_trip_s": _rounded(status.round_trip_s, 4),
        "link.unacknowledged_s": _age(status.unacknowledged_since_s, now_s),
        "link.last_answer": status.last_answer and status.last_answer[:256],
        "link.delivered": status.delivered,
        "link.refused": status.refused,
        "link.ingester_seq": status.ingester_seq,
        "link.subscriptions_refused": status.subscriptions_refused,
        "link.messages_refused": sum(status.refusals.values()),
        "link.replies_dropped": status.replies_dropped,
    }


def spool_facts(spool: Spool, now_at: dt.datetime) -> Facts:
    """Return what waits, and what was lost; what is wrong with the spool where it cannot tell."""
    try:
        depth, lost, oldest_at = spool.depth(), spool.lost(), spool.oldest_at()
    except SpoolError as error:
        return {"spool.error": str(error)[:256]}
    return {
        "spool.epoch": spool.epoch,
        "spool.events": depth.events,
        "spool.thumbnails": depth.thumbnails,
        "spool.dead_letters": depth.refused,
        "spool.used_bytes": depth.used_bytes,
        "spool.oldest_s": None if oldest_at is None else round(_seconds(oldest_at, now_at), 1),
        "spool.lost_events": lost.events,
        "spool.lost_thumbnails": lost.thumbnails,
        "spool.expired": lost.expired,
    }


def policy_facts(reported: Reported) -> Facts:
    """Return which policy runs, and what became of the newest that was wanted."""
    desired, error = reported.desired, reported.error
    return {
        "policy.phase": reported.phase.value,
        "policy.version": reported.running.version,
        "policy.sha256": reported.running.sha256,
        "policy.desired_version": None if desired is None else desired.version,
        "policy.error": None if error is None else error.code,
        "policy.error_path": None if error is None else error.path,
    }


def unit_facts(state: State, session: int, clock: Clock, started_s: float) -> Facts:
    """Return what the unit itself is, and does."""
    return {
        "unit.firmware": __version__,
        "unit.boot_id": state.boot_id,
        "unit.session": session,
        "unit.up_s": round(clock.now_s() - started_s, 1),
        "model.name": None if state.model is None else state.model.name,
        "model.sha256": None if state.model is None else state.model.sha256,
        "clock.now_at": timestamp(clock.now_at()),
        "capture.state": state.capture.value,
        "capture.reason": state.reason,
    }


def watch_facts(counts: Counts, now_s: float) -> Facts:
    """Return what the watch has done, and how long it takes for it."""
    took = counts.latencies.percentiles()
    return {
        "watch.frames": counts.frames,
        "watch.inferences": counts.spells,
        "watch.skipped": counts.skipped,
        "watch.camera_faults": counts.camera_faults,
        "watch.inference_p50_s": None if took is None else round(took.p50_s, 4),
        "watch.inference_p95_s": None if took is None else round(took.p95_s, 4),
        "watch.inference_p99_s": None if took is None else round(took.p99_s, 4),
        "watch.inference_age_s": _age(counts.inference_s, now_s),
    }


def camera_facts(counts: Counts, now_s: float, *, is_open: bool) -> Facts:
    """Return how the camera is, and what the measures said of the last frame: numbers, and no picture."""
    last = counts.last
    seen = Figures() if last is None else last.figures
    return {
        "camera.open": float(is_open),
        "camera.frame_age_s": _age(counts.frame_s, now_s),
        "camera.fault": counts.fault and counts.fault[:256],
        "camera.blind": None if last is None else ",".join(sorted(last.blind)),
        "camera.still_s": None if last is None else round(last.still_s, 1),
        "camera.grey": _rounded(seen.grey, 1),
        "camera.brightness": _rounded(seen.brightness, 1),
        "camera.white": _rounded(seen.white, 3),
        "camera.contrast": _rounded(seen.contrast, 2),
        "camera.sharpness": _rounded(seen.sharpness, 3),
        "watch.rate_hz": _rounded(counts.rate.hz(now_s if is_open else None), 2),
    }


def _seconds(then_at: dt.datetime, now_at: dt.datetime) -> float:
    return max(0.0, (now_at - then_at).total_seconds())


def _age(then_s: float | None, now_s: float) -> float | None:
    return None if then_s is None else round(max(0.0, now_s - then_s), 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
