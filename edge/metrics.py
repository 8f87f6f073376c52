"""The same figures as a Prometheus text file, for a node exporter's textfile collector.

https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md (text format 0.0.4)
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.device.system import MEANINGS, SINCE_BIT
from edge.uplink.messages import Capture, Health
from edge.uplink.wire import ClockQuality, moment

log = logging.getLogger(__name__)

WRITE_EVERY_S = 60.0
_MODE = 0o644
"""The exporter runs as another user."""
_KIND = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Neither through a link nor into a pipe, on which it would wait for ever."""
Value = float | int | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of samples."""

    name: str
    kind: str
    about: str
    value: Callable[[Health], Value]


METRICS = (
    Metric("deskwatch_health_timestamp_seconds", "gauge", "When these figures were taken.",
           lambda health: moment(health.at).timestamp()),
    Metric("deskwatch_up_seconds", "gauge", "How long the unit has run.", lambda health: health.up_s),
    Metric("deskwatch_restarts_total", "counter", "Starts of the unit since boot, less one.",
           lambda health: health.restarts),
    Metric("deskwatch_frames_total", "counter", "Frames taken since the unit's start.",
           lambda health: health.frames),
    Metric("deskwatch_inferences_total", "counter", "Runs of the model, one counted in 5 s.",
           lambda health: health.inferences),
    Metric("deskwatch_frames_skipped_total", "counter", "Frames thrown away unseen.",
           lambda health: health.skipped),
    Metric("deskwatch_camera_faults_total", "counter", "Faults of the camera since the unit's start.",
           lambda health: health.camera_faults),
    Metric("deskwatch_temperature_celsius", "gauge", "The hottest sensor of the processor.",
           lambda health: health.temperature_c),
    Metric("deskwatch_under_voltage", "gauge", "1 while the supply is too low.",
           lambda health: None if health.under_voltage is None else int(health.under_voltage)),
    Metric("deskwatch_disk_free_bytes", "gauge", "Room on the disk of the unit's state.",
           lambda health: health.disk_free_bytes),
    Metric("deskwatch_memory_available_bytes", "gauge", "Memory that may be had on the machine.",
           lambda health: health.memory_available_bytes),
    Metric("deskwatch_spool_events", "gauge", "Events that wait for the broker.",
           lambda health: health.spool_events),
    Metric("deskwatch_spool_thumbnails", "gauge", "Pictures that wait for the broker.",
           lambda health: health.spool_thumbnails),
    Metric("deskwatch_spool_used_bytes", "gauge", "Room that the spool uses.",
           lambda health: health.spool_used_bytes),
    Metric("deskwatch_dead_letters", "gauge", "Messages that the broker would not take.",
           lambda health: health.dead_letters),
    Metric("deskwatch_clock_synchronised", "gauge", "1 where the system says that its clock was set.",
           lambda health: int(health.clock is ClockQuality.SYNCHRONISED)),
    Metric("deskwatch_clock_max_error_seconds", "gauge", "The most that the clock is wrong by.",
           lambda health: health.clock_error_s),
)  # fmt: skip
_PERCENTILES = (("50", "inference_p50_s"), ("95", "inference_p95_s"), ("99", "inference_p99_s"))
"""Not "quantile": that label is a summary's, which has a sum as well."""


def exposition(health: Health) -> str:
    """Return the text of the file; what is not known is left out."""
    return "\n".join((*_lines(health), ""))


def _lines(health: Health) -> Iterator[str]:
    for metric in METRICS:
        if (value := metric.value(health)) is not None:
            yield from _head(metric.name, metric.kind, metric.about)
            yield f"{metric.name} {_number(value)}"
    percentiles = [(name, getattr(health, field)) for name, field in _PERCENTILES]
    if any(value is not None for _, value in percentiles):
        name = "deskwatch_inference_seconds"
        yield from _head(name, "gauge", "Time of the last runs of the model, pre-processing included.")
        for percentile, value in percentiles:
            if value is not None:
                yield f'{name}{{percentile="{percentile}"}} {_number(value)}'
    if health.throttled is not None:
        name = "deskwatch_throttled"
        yield from _head(name, "gauge", "What the firmware says of supply and heat: 1 where it holds.")
        for bit, (reason, _) in enumerate(MEANINGS):
            for when, shift in (("now", 0), ("boot", SINCE_BIT)):
                held = health.throttled >> bit + shift & 1
                yield f'{name}{{reason="{reason}",since="{when}"}} {held}'
    yield from _head("deskwatch_capture_state", "gauge", "What the camera does: 1 for the one that holds.")
    for capture in Capture:
        yield f'deskwatch_capture_state{{state="{capture}"}} {int(capture is health.capture)}'


def _head(name: str, kind: str, about: str) -> tuple[str, str]:
    return f"# HELP {name} {about}", f"# TYPE {name} {kind}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


class Textfile:
    """Written whole, by rename: the exporter never reads half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.trouble: str | None = None
        """Why it was not written the last time."""

    def write(self, health: Health) -> None:
        """Replace the file. One that cannot be written is said in the system's log, once."""
        beside = self._path.with_name(f".{self._path.name}.new")  # *.prom alone is read
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _KIND, _MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), _MODE)
                file.write(exposition(health))
            beside.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            if self.trouble is None:
                log.warning("health.textfile: wanted a file that can be written, got: %s", error)
            self.trouble = str(error)
        else:
            self.trouble = None
