"""Who is looked at: the settings, and what the running unit says of itself, as far as either can be had."""

import tomllib
from pathlib import Path

from edge.border import read_bounded
from edge.clock import Clock, SystemClock
from edge.config import ConfigError, read_config
from edge.control.client import ask
from edge.control.protocol import NotUnderstood, Status, StatusAnswer
from edge.diagnosis.check import Patient
from edge.errors import EdgeError

STATE = Path("/var/lib/deskwatch")
"""Where the shipped service keeps its state: asked there where unit.toml does not say."""
_MAX_BYTES = 256_000


def admit(path: Path, *, offline: bool = False, clock: Clock | None = None) -> Patient:
    """Return the unit with these settings. Raises nothing: what cannot be had is told in it."""
    clock = clock or SystemClock()
    config, config_error = None, ""
    try:
        config = read_config(path)
    except (ConfigError, ValueError) as error:
        config_error = str(error)
    state = _state(path) if config is None else config.paths.state
    try:
        answer = ask(state, Status())
        if not isinstance(answer, StatusAnswer):
            raise NotUnderstood(f"wanted how the unit is, got {type(answer).__name__}")
    except EdgeError as error:
        return Patient(
            clock,
            path,
            config,
            config_error,
            silence=str(error),
            trouble=error,
            offline=offline,
        )
    return Patient(
        clock,
        path,
        config,
        config_error,
        facts=answer.facts,
        offline=offline,
        errors=answer.errors,
        alarms=answer.alarms,
    )


def _state(path: Path) -> Path:
    """Return the state folder that settings name which are wrong in something else."""
    try:
        named = tomllib.loads(read_bounded(path, _MAX_BYTES).decode())["paths"]["state"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return STATE
    return Path(named) if isinstance(named, str) and "\0" not in named else STATE
