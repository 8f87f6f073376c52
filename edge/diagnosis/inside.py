"""The checks as the running unit does them itself, for `cmd/diagnose`."""

from pathlib import Path

from edge.clock import SystemClock
from edge.config import Config
from edge.diagnosis.check import Patient
from edge.examination import Examine
from edge.facts import Facts
from edge.uplink.check_messages import CheckResult


def examiner(path: Path, config: Config) -> Examine:
    """Return what runs the table on the unit with these settings."""

    def examine(facts: Facts) -> tuple[CheckResult, ...]:
        from edge.diagnosis.runner import run
        from edge.diagnosis.table import table

        return tuple(run(table(), Patient(SystemClock(), path, config, facts=facts, inside=True)))

    return examine
