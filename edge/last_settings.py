"""The settings that a unit last started with: for safe mode, where unit.toml cannot be read any more.

Of a typing error there a unit fails again and again, and which broker it is to answer would be in it.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from edge.config import Config, ConfigError, read_config
from edge.worklog.disk import sync_folder, write_whole

log = logging.getLogger(__name__)

KEPT = "unit.toml"
"""In the state folder."""


def keep(path: Path, config: Config) -> None:
    """Keep what is in unit.toml at `path`, as the unit started with it. What fails is logged."""
    kept = config.paths.state / KEPT
    part = kept.with_name(f".{KEPT}.part")
    try:
        data = path.read_bytes()
        if not kept.is_symlink() and kept.exists() and kept.read_bytes() == data:
            return
        part.unlink(missing_ok=True)
        write_whole(part, data)
        if read_config(part) == config:  # else somebody writes there just now
            part.replace(kept)
            sync_folder(kept.parent)
        part.unlink(missing_ok=True)
    except (ConfigError, OSError) as error:
        log.warning("the settings are not kept for safe mode: %s", error)


def read_or_last(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings at `path`; where they are no good, those that the unit last started with.

    The service manager names the state folder (systemd.exec(5), $STATE_DIRECTORY). Raises ConfigError where
    there are none either.
    """
    try:
        return read_config(path)
    except ConfigError as error:
        state = environ.get("STATE_DIRECTORY", "")
        try:
            kept = read_config(Path(state) / KEPT)
        except ConfigError:
            kept = None
        if not state or kept is None:
            raise
        log.error("the settings are no good, and those that the unit last started with stand in: %s", error)
        return kept
