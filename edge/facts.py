"""How the unit is, as facts with names: the answer to `cmd/diagnose`."""

from edge import __version__
from edge.clock import Clock
from edge.uplink.carry import LinkStatus
from edge.uplink.messages import State
from edge.uplink.records import SpoolError
from edge.uplink.spool import Spool
from edge.uplink.twin_messages import Reported
from edge.uplink.wire import timestamp

Facts = dict[str, str | float | None]


def link_facts(status: LinkStatus) -> Facts:
    """Return how the connection to the broker is."""
    return {
        "link.address": status.address,
        "link.protocol": status.protocol,
        "link.connected": float(status.connected),
        "link.since_at": timestamp(status.since_at),
        "link.connections": status.connections,
        "link.last_error": status.last_error and status.last_error[:256],
        "link.delivered": status.delivered,
        "link.refused": status.refused,
        "link.ingester_seq": status.ingester_seq,
        "link.subscriptions_refused": status.subscriptions_refused,
        "link.messages_refused": sum(status.refusals.values()),
        "link.replies_dropped": status.replies_dropped,
    }


def spool_facts(spool: Spool) -> Facts:
    """Return what waits, and what was lost; what is wrong with the spool where it cannot tell."""
    try:
        depth, lost = spool.depth(), spool.lost()
    except SpoolError as error:
        return {"spool.error": str(error)[:256]}
    return {
        "spool.epoch": spool.epoch,
        "spool.events": depth.events,
        "spool.thumbnails": depth.thumbnails,
        "spool.dead_letters": depth.refused,
        "spool.used_bytes": depth.used_bytes,
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
