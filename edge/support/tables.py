"""What a support bundle may have, by name: facts of the unit, and settings. What has no line stays out.

Each name that stays out on purpose is here too, with the reason: so a new one is decided on, not forgotten.
"""

from collections.abc import Collection, Mapping

from edge import __version__
from edge.diagnosis.runner import HINTS
from edge.notice import shipped
from edge.support.treatment import (
    FLAG,
    GIVEN,
    HASH,
    NUMBER,
    TIME,
    Treatment,
    one_of,
    pseudonym,
    some_of,
)
from edge.uplink.messages import Capture
from edge.uplink.signals import Cause
from edge.uplink.twin_messages import Phase, RefusalCode
from edge.vision.card import GOOD
from edge.vision.model_file import DEFAULT_CARD
from edge.vision.types import Blind

_CARDS = (DEFAULT_CARD, "nanodet-plus-m-320-coco", "ssd-mobilenet-v1-coco")
"""Those that ship: a card of a customer's own may have any name."""
_PROTOCOLS = ("5", "3.1.1")

FACTS: Mapping[str, Treatment] = {
    "unit.firmware": one_of([__version__]),
    "unit.boot_id": pseudonym("boot"),
    "unit.session": NUMBER,
    "unit.up_s": NUMBER,
    "unit.restarts": NUMBER,
    "unit.safe": NUMBER,
    "power.temperature_c": NUMBER,
    "power.throttled": NUMBER,
    "power.under_voltage": NUMBER,
    "memory.available_bytes": NUMBER,
    "disk.free_bytes": NUMBER,
    "disk.total_bytes": NUMBER,
    "network.signal_dbm": NUMBER,
    "model.name": one_of(_CARDS),
    "model.sha256": HASH,
    "model.golden": one_of([GOOD]),
    "clock.now_at": TIME,
    "clock.synchronised": NUMBER,
    "clock.max_error_s": NUMBER,
    "capture.state": one_of(Capture),
    "break.left_s": NUMBER,
    "led.fitted": NUMBER,
    "led.trouble": GIVEN,
    "button.fitted": NUMBER,
    "button.trouble": GIVEN,
    "notice.version": one_of([shipped().version]),
    "notice.accepted_at": GIVEN,
    "repair.reason": GIVEN,
    "log.entries": NUMBER,
    "log.pictures_dropped": NUMBER,
    "watch.frames": NUMBER,
    "watch.inferences": NUMBER,
    "watch.skipped": NUMBER,
    "watch.camera_faults": NUMBER,
    "watch.rate_hz": NUMBER,
    "watch.inference_p50_s": NUMBER,
    "watch.inference_p95_s": NUMBER,
    "watch.inference_p99_s": NUMBER,
    "watch.inference_age_s": NUMBER,
    "camera.open": NUMBER,
    "camera.frame_age_s": NUMBER,
    "camera.grey": NUMBER,
    "camera.brightness": NUMBER,
    "camera.white": NUMBER,
    "camera.contrast": NUMBER,
    "camera.sharpness": NUMBER,
    "camera.blind": some_of(Blind),
    "camera.still_s": NUMBER,
    "camera.fault": GIVEN,
    "policy.phase": one_of(Phase),
    "policy.version": NUMBER,
    "policy.sha256": pseudonym("policy"),
    "policy.shortest_hold_s": NUMBER,
    "policy.desired_version": NUMBER,
    "policy.error": one_of(RefusalCode),
    "link.address": pseudonym("host"),
    "link.protocol": one_of(_PROTOCOLS),
    "link.connected": NUMBER,
    "link.since_at": TIME,
    "link.connections": NUMBER,
    "link.last_error": GIVEN,
    "link.last_cause": one_of(Cause),
    "link.last_answer": GIVEN,
    "link.identity": one_of(["current", "previous"]),
    "link.unacknowledged_s": NUMBER,
    "link.delivered": NUMBER,
    "link.refused": NUMBER,
    "link.ingester_seq": NUMBER,
    "link.subscriptions_refused": NUMBER,
    "link.messages_refused": NUMBER,
    "link.replies_dropped": NUMBER,
    "link.puback_age_s": NUMBER,
    "link.round_trip_s": NUMBER,
    "spool.epoch": pseudonym("epoch"),
    "spool.events": NUMBER,
    "spool.thumbnails": NUMBER,
    "spool.dead_letters": NUMBER,
    "spool.used_bytes": NUMBER,
    "spool.oldest_s": NUMBER,
    "spool.lost_events": NUMBER,
    "spool.lost_thumbnails": NUMBER,
    "spool.expired": NUMBER,
    "spool.error": GIVEN,
    "errors.count": NUMBER,
    "errors.last_at": TIME,
}

FACTS_LEFT_OUT: Mapping[str, str] = {
    "unit.code": "made from the unit's id, and made to be told apart by",
    "capture.reason": "the worker's own words, on a break",
    "policy.error_path": "a path in the customer's document",
    "log.head": "the worker's, to check the log by",
    "errors.last": "the errors stand in the bundle as they stand in the source",
}
"""Facts that stay on the unit, and why."""

SETTINGS: Mapping[str, Treatment] = {
    "broker.port": NUMBER,
    "broker.protocol": one_of(_PROTOCOLS),
    "broker.keepalive_s": NUMBER,
    "broker.reconnect_spread_s": NUMBER,
    "broker.reconnect_max_s": NUMBER,
    "broker.tls": FLAG,
    "broker.username": GIVEN,
    "broker.password_file": GIVEN,
    "broker.ca_file": GIVEN,
    "broker.certificate_file": GIVEN,
    "broker.key_file": GIVEN,
    "camera.kind": one_of(["pi", "usb", "replay"]),
    "camera.width_px": NUMBER,
    "camera.height_px": NUMBER,
    "camera.evidence_width_px": NUMBER,
    "camera.evidence_height_px": NUMBER,
    "model.card": one_of(_CARDS),
    "model.threads": NUMBER,
    "model.interpreter": one_of(["auto", "litert", "tflite"]),
    "spool.max_bytes": NUMBER,
    "spool.max_age_days": NUMBER,
    "uplink.release": one_of(["puback", "ack"]),
    "twin.trusted_keys": GIVEN,
    "twin.confirm_timeout_s": NUMBER,
    "led.pin": NUMBER,
    "led.sense_pin": NUMBER,
    "led.active_high": FLAG,
    "button.pin": NUMBER,
    "button.pull_up": FLAG,
    "button.hold_s": NUMBER,
    "health.textfile": GIVEN,
}

SETTINGS_LEFT_OUT: Mapping[str, str] = {
    "unit.tenant": "stands at the head, as a pseudonym",
    "unit.id": "stands at the head, as a pseudonym",
    "broker.host": "stands among the facts, as a pseudonym",
    "camera.device": "a path",
    "camera.source": "a path",
    "paths.state": "a path",
    "paths.policy": "a path",
    "support.key_file": "a path",
}
"""Settings that stay on the unit, and why."""

FLAVOURS = (
    "rpi-v8",
    "rpi-2712",
    "rpi-v7",
    "rpi-v7l",
    "v8",
    "v8-16k",
    "v7l",
    "arm64",
    "amd64",
    "cloud-amd64",
    "generic",
)
"""Of kernels: what may stand behind the number."""
INTERPRETERS = ("ai-edge-litert", "tflite-runtime")


def known_checks() -> Mapping[str, Collection[str]]:
    """Return the codes of each check of the diagnosis, by its name."""
    from edge.diagnosis.table import table  # noqa: PLC0415  every probe, for a bundle alone

    return {check.name: (*check.hints, *HINTS) for check in table()}
